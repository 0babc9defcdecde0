//! OTTL statements and the processors that run them, beside what the Collector's own end-to-end tests expect and with
//! the reference messages as oracle.

#[path = "ottl/common.rs"]
mod common;

#[path = "ottl/field.rs"]
mod field;

#[path = "ottl/filter.rs"]
mod filter;

#[path = "ottl/flat.rs"]
mod flat;

#[path = "ottl/hostile.rs"]
mod hostile;

#[path = "ottl/functions.rs"]
mod functions;

#[path = "ottl/oracle.rs"]
mod oracle;

#[path = "ottl/recorded.rs"]
mod recorded;

#[path = "ottl/statements.rs"]
mod statements;

#[path = "ottl/transform.rs"]
mod transform;

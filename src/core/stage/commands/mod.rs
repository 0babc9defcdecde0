//! What a plan does for podgate's other commands, without running: rights (`rbac`), questions to the surroundings (`doctor`),
//! letters sent again (`replay`), policies judged on recordings (`what-if`).

pub mod access;
pub mod probe;
pub mod rehearsal;
pub mod replay;

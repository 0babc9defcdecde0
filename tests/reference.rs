//! The reference deployment: podgate on a node in front of APM Server, under the configuration and the command that the
//! field has, with applications that know their pod, a label and a restart count of 0.
//!
//! The same against a real API server is tests/real/reference.py, which writes docs/reference-deployment.md.

#[path = "apm_server/mod.rs"]
mod apm_server;
#[path = "reference/apps.rs"]
mod apps;
#[path = "reference/configuration.rs"]
mod configuration;
#[path = "reference/double.rs"]
mod double;
#[path = "reference/failures.rs"]
mod failures;
#[path = "reference/restarts.rs"]
mod restarts;
#[path = "reference/world.rs"]
mod world;

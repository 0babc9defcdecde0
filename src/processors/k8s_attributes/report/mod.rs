//! What the processor tells of itself: metrics, log lines, and the admin page that explains one resource.

pub mod explain;
pub mod first_data;
pub mod metrics;
pub mod miss_log;
pub mod runs;

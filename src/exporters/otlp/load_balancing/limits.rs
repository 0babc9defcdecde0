//! What holds for members whoever names them.

/// More members than a fleet has; a longer list is a mistake.
pub const ENDPOINTS_MAX: usize = 1_024;
/// Where no port is written.
pub const OTLP_PORT: u16 = 4317;

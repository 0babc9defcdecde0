//! Who may connect and send, and what that costs: places, fair shares of the memory budget, the memory of open connections.

pub mod connection_limit;
pub mod connection_memory;
pub mod fair_share;
pub mod gates;
pub mod report;

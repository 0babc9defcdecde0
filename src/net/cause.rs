//! Why a connection ended or was not let in: the label it is counted under, and what its owner can do about it.
//!
//! A closed vocabulary, so that every series is there from the start and counting neither allocates nor locks.

/// Why a connection is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The client ended it.
    Client,
    Shutdown,
    Age,
    Idle,
    Silent,
    SlowPreface,
    SlowHead,
    WriteStall,
    Memory,
    DrainsMax,
    TlsOnPlainPort,
    /// Its place was given to a new connection.
    Evicted,
    PingFlood,
    SettingsFlood,
    ResetFlood,
    PriorityFlood,
    EmptyDataFlood,
    ContinuationFlood,
    WindowUpdateFlood,
    /// Not let in.
    ConnectionsMax,
    ConnectionsPerAddressMax,
    /// The kernel gave us no socket.
    Accept,
}

const FLOOD_CURE: &str =
    "the peer attacks or has a fault; if its traffic is meant, raise podgate.control_frames_per_second";

impl Cause {
    pub const COUNT: usize = Cause::ALL.len();
    pub const ALL: [Cause; 22] = [
        Cause::Client,
        Cause::Shutdown,
        Cause::Age,
        Cause::Idle,
        Cause::Silent,
        Cause::SlowPreface,
        Cause::SlowHead,
        Cause::WriteStall,
        Cause::Memory,
        Cause::DrainsMax,
        Cause::TlsOnPlainPort,
        Cause::Evicted,
        Cause::PingFlood,
        Cause::SettingsFlood,
        Cause::ResetFlood,
        Cause::PriorityFlood,
        Cause::EmptyDataFlood,
        Cause::ContinuationFlood,
        Cause::WindowUpdateFlood,
        Cause::ConnectionsMax,
        Cause::ConnectionsPerAddressMax,
        Cause::Accept,
    ];

    /// Label of the metric that counts it.
    pub fn name(self) -> &'static str {
        match self {
            Cause::Client => "client",
            Cause::Shutdown => "shutdown",
            Cause::Age => "age",
            Cause::Idle => "idle",
            Cause::Silent => "silent",
            Cause::SlowPreface => "slow_preface",
            Cause::SlowHead => "slow_head",
            Cause::WriteStall => "write_stall",
            Cause::Memory => "memory",
            Cause::DrainsMax => "drains_max",
            Cause::TlsOnPlainPort => "tls_on_plain_port",
            Cause::Evicted => "evicted",
            Cause::PingFlood => "ping_flood",
            Cause::SettingsFlood => "settings_flood",
            Cause::ResetFlood => "reset_flood",
            Cause::PriorityFlood => "priority_flood",
            Cause::EmptyDataFlood => "empty_data_flood",
            Cause::ContinuationFlood => "continuation_flood",
            Cause::WindowUpdateFlood => "window_update_flood",
            Cause::ConnectionsMax => "connections_max",
            Cause::ConnectionsPerAddressMax => "connections_per_address_max",
            Cause::Accept => "accept",
        }
    }

    /// The connection was never served.
    pub fn is_refusal(self) -> bool {
        matches!(self, Cause::ConnectionsMax | Cause::ConnectionsPerAddressMax | Cause::Accept)
    }

    /// What whoever runs the gateway or the client can do; `None` for ends that need nobody.
    pub fn cure(self) -> Option<&'static str> {
        Some(match self {
            Cause::Client | Cause::Shutdown | Cause::Age | Cause::Idle => return None,
            Cause::Silent => "the peer connected and said nothing; a port probe, or a client that waits for TLS",
            Cause::SlowPreface | Cause::SlowHead => {
                "the peer began a request and did not go on; an attack, a lost network, or podgate.head_timeout too short"
            }
            Cause::WriteStall => {
                "the peer does not read its answers; an attack, a lost network, or podgate.write_stall_timeout too short"
            }
            Cause::Memory => {
                "there is no memory for another connection: raise limit_mib of memory_limiter, or send less"
            }
            Cause::DrainsMax => "too many refused requests at once; the log lines about refused requests say why",
            Cause::TlsOnPlainPort => {
                "a client speaks TLS to a plain port; use http:// in its endpoint, or OTEL_EXPORTER_OTLP_INSECURE=true"
            }
            Cause::Evicted => {
                "every place was taken and this connection was idle: open fewer connections, or allow more"
            }
            Cause::PingFlood
            | Cause::SettingsFlood
            | Cause::ResetFlood
            | Cause::PriorityFlood
            | Cause::EmptyDataFlood
            | Cause::ContinuationFlood
            | Cause::WindowUpdateFlood => FLOOD_CURE,
            Cause::ConnectionsMax => "raise podgate.max_connections, or open fewer connections",
            Cause::ConnectionsPerAddressMax => {
                "raise podgate.max_connections_per_address, or let the sender keep one connection"
            }
            Cause::Accept => "raise the limit of open files if this stays",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cause_stands_at_its_own_place_with_a_name_of_its_own() {
        let names: std::collections::BTreeSet<&str> = Cause::ALL.into_iter().map(Cause::name).collect();
        assert_eq!(names.len(), Cause::COUNT);
        for (at, cause) in Cause::ALL.into_iter().enumerate() {
            assert_eq!(cause as usize, at, "{cause:?}");
        }
    }
}

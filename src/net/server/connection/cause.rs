//! Why a connection ended or was not let in: the label it is counted under, and what its owner can do about it.
//!
//! A closed vocabulary, so that every series is there from the start and counting neither allocates nor locks.

/// Why a connection is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseCause {
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
    PlainOnTlsPort,
    TlsHandshake,
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
    "the peer attacks or is faulty; if its traffic is intended, raise podgate.control_frames_per_second";

impl CloseCause {
    pub const COUNT: usize = CloseCause::ALL.len();
    pub const ALL: [CloseCause; 24] = [
        CloseCause::Client,
        CloseCause::Shutdown,
        CloseCause::Age,
        CloseCause::Idle,
        CloseCause::Silent,
        CloseCause::SlowPreface,
        CloseCause::SlowHead,
        CloseCause::WriteStall,
        CloseCause::Memory,
        CloseCause::DrainsMax,
        CloseCause::TlsOnPlainPort,
        CloseCause::PlainOnTlsPort,
        CloseCause::TlsHandshake,
        CloseCause::Evicted,
        CloseCause::PingFlood,
        CloseCause::SettingsFlood,
        CloseCause::ResetFlood,
        CloseCause::PriorityFlood,
        CloseCause::EmptyDataFlood,
        CloseCause::ContinuationFlood,
        CloseCause::WindowUpdateFlood,
        CloseCause::ConnectionsMax,
        CloseCause::ConnectionsPerAddressMax,
        CloseCause::Accept,
    ];

    /// Label of the metric that counts it.
    pub fn name(self) -> &'static str {
        match self {
            CloseCause::Client => "client",
            CloseCause::Shutdown => "shutdown",
            CloseCause::Age => "age",
            CloseCause::Idle => "idle",
            CloseCause::Silent => "silent",
            CloseCause::SlowPreface => "slow_preface",
            CloseCause::SlowHead => "slow_head",
            CloseCause::WriteStall => "write_stall",
            CloseCause::Memory => "memory",
            CloseCause::DrainsMax => "drains_max",
            CloseCause::TlsOnPlainPort => "tls_on_plain_port",
            CloseCause::PlainOnTlsPort => "plain_on_tls_port",
            CloseCause::TlsHandshake => "tls_handshake",
            CloseCause::Evicted => "evicted",
            CloseCause::PingFlood => "ping_flood",
            CloseCause::SettingsFlood => "settings_flood",
            CloseCause::ResetFlood => "reset_flood",
            CloseCause::PriorityFlood => "priority_flood",
            CloseCause::EmptyDataFlood => "empty_data_flood",
            CloseCause::ContinuationFlood => "continuation_flood",
            CloseCause::WindowUpdateFlood => "window_update_flood",
            CloseCause::ConnectionsMax => "connections_max",
            CloseCause::ConnectionsPerAddressMax => "connections_per_address_max",
            CloseCause::Accept => "accept",
        }
    }

    /// The connection was never served.
    pub fn is_refusal(self) -> bool {
        matches!(self, CloseCause::ConnectionsMax | CloseCause::ConnectionsPerAddressMax | CloseCause::Accept)
    }

    /// What whoever runs the gateway or the client can do; `None` for ends that need nobody.
    pub fn cure(self) -> Option<&'static str> {
        Some(match self {
            CloseCause::Client | CloseCause::Shutdown | CloseCause::Age | CloseCause::Idle => return None,
            // Told when it fails, with what the two did not agree on.
            CloseCause::TlsHandshake => return None,
            CloseCause::Silent => "the peer connected and sent nothing; a port probe, or a client that waits for TLS",
            CloseCause::SlowPreface | CloseCause::SlowHead => {
                "the peer began a request and did not finish it; an attack, a lost network, or podgate.head_timeout too short"
            }
            CloseCause::WriteStall => {
                "the peer does not read its answers; an attack, a lost network, or podgate.write_stall_timeout too short"
            }
            CloseCause::Memory => {
                "there is no memory for another connection: raise limit_mib of memory_limiter, or send less"
            }
            CloseCause::DrainsMax => "too many refused requests at once; the log lines about refused requests say why",
            CloseCause::TlsOnPlainPort => {
                "a client speaks TLS to a plain port; use http:// in its endpoint, or OTEL_EXPORTER_OTLP_INSECURE=true"
            }
            CloseCause::PlainOnTlsPort => {
                "a client speaks plainly to a TLS port; use https:// in its endpoint, and give it the authority's certificate"
            }
            CloseCause::Evicted => {
                "every place was taken and this connection was idle: open fewer connections, or allow more"
            }
            CloseCause::PingFlood
            | CloseCause::SettingsFlood
            | CloseCause::ResetFlood
            | CloseCause::PriorityFlood
            | CloseCause::EmptyDataFlood
            | CloseCause::ContinuationFlood
            | CloseCause::WindowUpdateFlood => FLOOD_CURE,
            CloseCause::ConnectionsMax => "raise podgate.max_connections, or open fewer connections",
            CloseCause::ConnectionsPerAddressMax => {
                "raise podgate.max_connections_per_address, or let the sender keep one connection"
            }
            CloseCause::Accept => "raise the limit of open files if this stays",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cause_stands_at_its_own_place_with_a_name_of_its_own() {
        let names: std::collections::BTreeSet<&str> = CloseCause::ALL.into_iter().map(CloseCause::name).collect();
        assert_eq!(names.len(), CloseCause::COUNT);
        for (at, cause) in CloseCause::ALL.into_iter().enumerate() {
            assert_eq!(cause as usize, at, "{cause:?}");
        }
    }
}

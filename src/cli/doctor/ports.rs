//! Whether the configured ports are free, or podgate's own already.

use std::io;
use std::net::{SocketAddr, TcpListener};

use serde_json::Value;

use crate::core::stage::commands::probe::{Finding, ProbeHealth};

/// Binds every fixed address for a moment. `running` is the status page of a gateway that runs here.
pub fn ask(listeners: &[(SocketAddr, String)], running: Option<&Value>) -> Vec<Finding> {
    let one =
        |(address, path): &(SocketAddr, String)| judge(*address, path, TcpListener::bind(address).map(drop), running);
    listeners.iter().map(one).collect()
}

fn judge(address: SocketAddr, path: &str, bound: io::Result<()>, running: Option<&Value>) -> Finding {
    let Err(error) = bound else {
        return Finding::new(ProbeHealth::Good, "port", format!("{address} is free for {path}"));
    };
    let taken = error.kind() == io::ErrorKind::AddrInUse;
    let owner = running.filter(|_| taken).and_then(|status| owner(status, address));
    if let Some(owner) = owner {
        return Finding::new(
            ProbeHealth::Good,
            "port",
            format!("{address} is held by the podgate that runs here ({owner})"),
        );
    }
    let help = match error.kind() {
        io::ErrorKind::AddrInUse => {
            "another process listens there: stop it (ss -ltnp tells which), or change the endpoint"
        }
        io::ErrorKind::AddrNotAvailable => {
            "no interface of this machine has this address: is its variable set correctly?"
        }
        io::ErrorKind::PermissionDenied => "ports below 1024 need privileges; choose a higher one",
        _ => "check the endpoint",
    };
    Finding::new(ProbeHealth::Bad, "port", format!("{path} cannot listen on {address}: {error}")).with_help(help)
}

/// The listener of the running gateway that has this port.
fn owner(status: &Value, address: SocketAddr) -> Option<&str> {
    let listeners = status["listeners"].as_object()?;
    let is_it = |at: &Value| {
        at.as_str().and_then(|at| at.parse::<SocketAddr>().ok()).is_some_and(|at| at.port() == address.port())
    };
    listeners.iter().find(|(_, at)| is_it(at)).map(|(path, _)| path.as_str())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_port_is_free_or_ones_own_or_in_the_way() {
        let address: SocketAddr = "127.0.0.1:4317".parse().expect("an address");
        let judged = |bound: io::Result<()>, running| judge(address, "receivers::otlp", bound, running);
        let taken = || Err(io::Error::from(io::ErrorKind::AddrInUse));
        assert_eq!(judged(Ok(()), None).health, ProbeHealth::Good);
        let running = json!({"listeners": {"receivers::otlp::protocols::grpc": "0.0.0.0:4317"}});
        assert!(judged(taken(), Some(&running)).message.contains("podgate that runs here"));
        for (bound, running, help) in [
            (taken(), None, "another process"),
            (taken(), Some(&json!({"listeners": {"x": "127.0.0.1:9"}})), "another process"),
            (Err(io::Error::from(io::ErrorKind::AddrNotAvailable)), None, "no interface"),
            (Err(io::Error::from(io::ErrorKind::PermissionDenied)), None, "below 1024"),
        ] {
            let finding = judged(bound, running);
            assert_eq!(finding.health, ProbeHealth::Bad);
            assert!(finding.help.is_some_and(|text| text.contains(help)), "{help}");
        }
    }

    #[test]
    fn a_real_port_that_is_taken_is_found() {
        let holder = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = holder.local_addr().expect("bound");
        let findings = ask(&[(address, "receivers::otlp".to_owned())], None);
        assert_eq!(findings[0].health, ProbeHealth::Bad, "{findings:?}");
    }
}

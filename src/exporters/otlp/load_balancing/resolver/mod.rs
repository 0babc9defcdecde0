//! Who the members are: asked for at start and again and again, or told by a watch, as a list of `host:port`.

pub mod k8s;

use std::time::Duration;

use tokio::time::timeout;

use crate::core::outside::Outside;
use crate::core::stage::tasks::Pulse;
use crate::exporters::otlp::load_balancing::config::ResolverSettings;
use crate::exporters::otlp::load_balancing::limits::ENDPOINTS_MAX;
use crate::exporters::otlp::load_balancing::resolver::k8s::ServiceResolver;

/// The first list of a watch is waited for this long by who asks for it once.
const FIRST_LIST: Duration = Duration::from_secs(10);

impl ResolverSettings {
    /// As metrics name it.
    pub fn kind(&self) -> &'static str {
        match self {
            ResolverSettings::Static(_) => "static",
            ResolverSettings::Dns { .. } => "dns",
            ResolverSettings::K8s(_) => "k8s",
        }
    }

    /// For logs and pages: where the list comes from.
    pub fn source(&self) -> String {
        match self {
            ResolverSettings::Static(hosts) => format!("{} configured hosts", hosts.len()),
            ResolverSettings::Dns { hostname, .. } => format!("the addresses of {hostname}"),
            ResolverSettings::K8s(service) => service.source(),
        }
    }

    /// When to ask again after an answer; `None` where there is nothing to ask.
    pub fn interval(&self) -> Option<Duration> {
        match self {
            ResolverSettings::Static(_) | ResolverSettings::K8s(_) => None,
            ResolverSettings::Dns { interval, .. } => Some(*interval),
        }
    }

    /// The members now, at most [`ENDPOINTS_MAX`]; why they are not known, as a sentence's end.
    pub async fn ask(&self, outside: &Outside) -> Result<Vec<String>, String> {
        match self {
            ResolverSettings::Static(hosts) => Ok(hosts.clone()),
            ResolverSettings::K8s(service) => {
                let late = || Err(format!("the API server has sent no list within {FIRST_LIST:?}"));
                timeout(FIRST_LIST, first_list(service, outside)).await.unwrap_or_else(|_| late())
            }
            ResolverSettings::Dns { hostname, port, timeout: patience, .. } => {
                let answer = timeout(*patience, outside.look_up(hostname, *port)).await;
                let found = match answer {
                    Err(_) => return Err(format!("no answer for {hostname} within {patience:?}")),
                    Ok(Err(error)) => return Err(format!("{hostname}: {error}")),
                    Ok(Ok(found)) => found,
                };
                let mut members: Vec<String> = found.iter().map(ToString::to_string).collect();
                members.sort_unstable();
                members.dedup();
                if members.is_empty() {
                    return Err(format!("{hostname} has no address"));
                }
                members.truncate(ENDPOINTS_MAX);
                Ok(members)
            }
        }
    }
}

async fn first_list(service: &ServiceResolver, outside: &Outside) -> Result<Vec<String>, String> {
    let (mut reader, pulse) = (service.reader(outside), Pulse::default());
    loop {
        let state = reader.next(&pulse).await;
        if let Some(members) = service.members(&state) {
            return members;
        }
    }
}

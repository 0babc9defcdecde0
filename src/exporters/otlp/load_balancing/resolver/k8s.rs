//! The resolver `k8s`: the endpoints of a service, as a watch of its EndpointSlices tells them.

use std::path::{Path, PathBuf};

use crate::config::check::Section;
use crate::core::outside::Outside;
use crate::core::stage::commands::access::{Access, OWN_NAMESPACE};
use crate::exporters::otlp::load_balancing::limits::{ENDPOINTS_MAX, OTLP_PORT};
use crate::kube::client::Credentials;
use crate::kube::decode::ServiceEndpoint;
use crate::kube::endpoints::{EndpointReader, ServiceState};

const PORTS_MAX: usize = 16;
const OWN_NAMESPACE_FILE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";
/// Where a pod's own namespace is not told, as in the Collector.
const DEFAULT_NAMESPACE: &str = "default";
const IN_CLUSTER: &str = "KUBERNETES_SERVICE_HOST";

/// A service whose endpoints are the members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceResolver {
    pub service: String,
    /// `None`: the pod's own.
    pub namespace: Option<String>,
    /// One member of each endpoint for each.
    pub ports: Vec<u16>,
    /// `hostname.service.namespace` in place of addresses.
    pub return_hostnames: bool,
    /// An API server that asks for no credentials, in place of the pod's own.
    pub api_server: Option<String>,
}

impl ServiceResolver {
    /// Reads and checks `resolver::k8s`.
    pub fn check(keys: &Section<'_>) -> Option<ServiceResolver> {
        const EXPECTED: &str = "name.namespace of the gateways' Service, such as podgate-gateway.observability";
        let Some(written) = keys.string("service").filter(|name| !name.is_empty()) else {
            return keys.missing("service", EXPECTED);
        };
        let _ = keys.duration("timeout");
        keys.without_effect("timeout", "the watch has bounds of its own for every wait");
        let ports = ports(keys);
        let return_hostnames = keys.bool("return_hostnames").unwrap_or(false);
        let api_server = keys.section("podgate").and_then(|own| {
            let url = own.string("api_server").filter(|url| !url.is_empty());
            own.finish();
            url
        });
        let parts: Vec<&str> = written.split('.').collect();
        let is_cluster_name = parts.get(2).is_none_or(|third| *third == "svc");
        if parts.iter().any(|part| !is_label(part)) || !is_cluster_name {
            return keys.invalid("service", format!("{written:?} is no name of a Service"), EXPECTED);
        }
        let (service, namespace) = ((*parts.first()?).to_owned(), parts.get(1).map(|name| (*name).to_owned()));
        Some(ServiceResolver { service, namespace, ports: ports?, return_hostnames, api_server })
    }

    /// For logs and pages.
    pub fn source(&self) -> String {
        let namespace = self.namespace.as_deref().unwrap_or("the pod's own namespace");
        format!("the endpoints of the service {} in {namespace}", self.service)
    }

    /// What the watch must be allowed to read.
    pub fn access(&self) -> Access {
        Access {
            group: "discovery.k8s.io",
            resource: "endpointslices",
            verbs: &["get", "list", "watch"],
            namespaces: vec![self.namespace.clone().unwrap_or_else(|| OWN_NAMESPACE.to_owned())],
            reason: format!("the members of the service {}", self.service),
        }
    }

    /// Opens nothing yet. A pod's own namespace is read now.
    pub fn reader(&self, outside: &Outside) -> EndpointReader {
        EndpointReader::new(outside, self.credentials(), &self.home(), &self.service)
    }

    /// As client libraries find them: the pod's own service account in a cluster, a kubeconfig elsewhere.
    pub fn credentials(&self) -> Credentials {
        match &self.api_server {
            Some(url) => Credentials::Url(url.clone()),
            None if std::env::var_os(IN_CLUSTER).is_some() => Credentials::ServiceAccount,
            None => Credentials::KubeConfig { context: None, file: None::<PathBuf> },
        }
    }

    /// The service's namespace.
    pub fn home(&self) -> String {
        let own = || std::fs::read_to_string(Path::new(OWN_NAMESPACE_FILE)).ok().map(|name| name.trim().to_owned());
        let named = self.namespace.clone().or_else(own).filter(|name| !name.is_empty());
        named.unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned())
    }

    /// The members that a state of the service means; `None` while nothing is known, why not as a sentence's end.
    pub fn members(&self, state: &ServiceState) -> Option<Result<Vec<String>, String>> {
        if let Some(trouble) = &state.trouble {
            return Some(Err(trouble.clone()));
        }
        let usable = state.usable.as_ref()?;
        let home = self.return_hostnames.then(|| self.home());
        let hosts = usable.iter().filter_map(|endpoint| self.host(endpoint, home.as_deref()));
        let members = hosts.flat_map(|host| self.ports.iter().map(move |port| format!("{host}:{port}")));
        let members: Vec<String> = members.take(ENDPOINTS_MAX).collect();
        Some(match (members.is_empty(), usable.is_empty()) {
            (false, _) => Ok(members),
            (true, true) => Err(format!("no endpoint of the service {} is ready", self.service)),
            (true, false) => Err(format!("no endpoint of the service {} has a hostname", self.service)),
        })
    }

    /// One that has no hostname yet gets one with a later event.
    fn host(&self, endpoint: &ServiceEndpoint, home: Option<&str>) -> Option<String> {
        if let Some(home) = home {
            let named = !endpoint.hostname.is_empty();
            return named.then(|| format!("{}.{}.{home}", endpoint.hostname, self.service));
        }
        let is_ipv6 = endpoint.address.contains(':');
        Some(if is_ipv6 { format!("[{}]", endpoint.address) } else { endpoint.address.clone() })
    }
}

/// A label of a DNS name, as Kubernetes has it.
fn is_label(text: &str) -> bool {
    let is_sign = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&text.len()) && text.bytes().all(is_sign)
}

fn ports(keys: &Section<'_>) -> Option<Vec<u16>> {
    const EXPECTED: &str = "numbers from 1 to 65535, such as [4317]; at most 16 of them";
    let written = keys.strings("ports").unwrap_or_default();
    match written.iter().map(|port| port.parse::<u16>()).collect::<Result<Vec<u16>, _>>() {
        Ok(ports) if ports.is_empty() => Some(vec![OTLP_PORT]),
        Ok(ports) if ports.len() <= PORTS_MAX && !ports.contains(&0) => Some(ports),
        _ => keys.invalid("ports", "`ports` has something that is no port", EXPECTED),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolver(ports: &[u16], return_hostnames: bool) -> ServiceResolver {
        let (service, namespace) = ("gateway".to_owned(), Some("otel".to_owned()));
        ServiceResolver { service, namespace, ports: ports.to_vec(), return_hostnames, api_server: None }
    }

    fn state(endpoints: &[(&str, &str)]) -> ServiceState {
        let endpoint = |(address, hostname): &(&str, &str)| ServiceEndpoint {
            pod: String::new(),
            address: (*address).to_owned(),
            hostname: (*hostname).to_owned(),
            ready: true,
            serving: true,
            terminating: false,
        };
        ServiceState { usable: Some(endpoints.iter().map(endpoint).collect()), trouble: None }
    }

    #[test]
    fn every_endpoint_is_a_member_for_each_port_by_its_address_or_by_its_name() {
        let known = state(&[("10.0.0.1", "gateway-0"), ("fd00::2", "")]);
        let members = resolver(&[4317, 9], false).members(&known).expect("known").expect("some");
        assert_eq!(members, ["10.0.0.1:4317", "10.0.0.1:9", "[fd00::2]:4317", "[fd00::2]:9"]);
        let members = resolver(&[4317], true).members(&known).expect("known").expect("some");
        assert_eq!(members, ["gateway-0.gateway.otel:4317"]);
    }

    #[test]
    fn without_a_list_nothing_is_said_and_without_members_why() {
        let resolver = resolver(&[4317], true);
        assert_eq!(resolver.members(&ServiceState::default()), None);
        let none = resolver.members(&state(&[])).expect("known").expect_err("none");
        assert_eq!(none, "no endpoint of the service gateway is ready");
        let nameless = resolver.members(&state(&[("10.0.0.1", "")])).expect("known").expect_err("none");
        assert_eq!(nameless, "no endpoint of the service gateway has a hostname");
        let trouble = ServiceState { usable: None, trouble: Some("403".to_owned()) };
        assert_eq!(resolver.members(&trouble), Some(Err("403".to_owned())));
    }
}

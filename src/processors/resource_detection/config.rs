//! The configuration of `resource_detection`, from the Collector's YAML to detectors.

use std::sync::Arc;
use std::time::Duration;

use super::cloud::{Cloud, CloudMetadata};
use super::detector::{Detector, DetectorKind};
use super::{cloud, env, k8s_api, system};
use crate::config::check::{Section, nearest, text_of};
use crate::core::diagnostic::{Diagnostic, code};
use crate::core::node::Node;
use crate::core::stage::factory::CheckContext;
use crate::kube::client::Credentials;
use crate::net::client::target::Target;

const TIMEOUT: Duration = Duration::from_secs(5);
const TIMEOUT_MAX: Duration = Duration::from_secs(300);
const REFRESH_MIN: Duration = Duration::from_secs(1);
/// Detectors podgate has, and the old name of one.
const KNOWN: [&str; 7] = ["env", "system", "k8s_api", "ec2", "gcp", "azure", "aks"];
const OLD_K8S_API: &str = "k8snode";
/// Detectors that only the Collector has.
const FOREIGN: &[&str] = &[
    "akamai",
    "alibaba_ecs",
    "azurecontainerapps",
    "consul",
    "digitalocean",
    "docker",
    "dynatrace",
    "ecs",
    "eks",
    "elastic_beanstalk",
    "elasticbeanstalk",
    "heroku",
    "hetzner",
    "ibmcloud_classic",
    "ibmcloud_vpc",
    "kubeadm",
    "lambda",
    "nova",
    "openshift",
    "oraclecloud",
    "scaleway",
    "tencent_cvm",
    "upcloud",
    "vultr",
];

pub fn check(cx: &CheckContext<'_>, node: &Node) -> Option<Plan> {
    let section = Section::new(node, cx.path.clone(), &cx.checks.diagnostics);
    if !section.is_map() {
        return None;
    }
    let reader = Reader { cx, section: &section };
    let detectors = reader.detectors();
    let overrides = section.bool("override").unwrap_or(true);
    let timeout = section.duration("timeout").unwrap_or(TIMEOUT);
    if timeout.is_zero() || timeout > TIMEOUT_MAX {
        section.invalid::<()>("timeout", format!("a detector cannot have {timeout:?}"), "more than 0, at most 5m");
    }
    let refresh = section.duration("refresh_interval").filter(|every| !every.is_zero());
    if refresh.is_some_and(|every| every < REFRESH_MIN) {
        section.invalid::<()>("refresh_interval", "the machine does not change so often", "at least 1s");
    }
    let _ = section.bool("fail_on_missing_metadata");
    let why = "what a detector could not find is asked for again in the background, while data flows";
    section.without_effect("fail_on_missing_metadata", why);
    section.without_effect("retry", why);
    if section.node("attributes").is_some() {
        let help =
            "enable single attributes under the detector: `system: {resource_attributes: {host.id: {enabled: true}}}`";
        section.error("attributes", code::RETIRED, "`attributes` was removed by the Collector", Some(help));
    }
    // A block of a detector that is not named says nothing; one that is named was refused with it.
    FOREIGN.iter().for_each(|name| _ = section.node(name));
    section.finish();
    Some(Plan { detectors: detectors?, overrides, timeout, refresh })
}

struct Reader<'a> {
    cx: &'a CheckContext<'a>,
    section: &'a Section<'a>,
}

impl Reader<'_> {
    fn detectors(&self) -> Option<Vec<Arc<Detector>>> {
        let mut names = Vec::new();
        let mut sound = true;
        match self.section.list("detectors") {
            None => names.push("env"),
            Some(items) => {
                for (at, item) in items.iter().enumerate() {
                    match self.name(at, item) {
                        Some(name) if !names.contains(&name) => names.push(name),
                        Some(_) => {}
                        None => sound = false,
                    }
                }
            }
        }
        // Blocks are read whether their detector is named or not, for their own faults.
        let mut all = vec![self.env(), self.system(), self.k8s_api(names.contains(&"k8s_api"))];
        all.extend(Cloud::ALL.map(|cloud| self.cloud(cloud, names.contains(&cloud.name()))));
        let chosen = names.iter().map(|name| {
            let at =
                all.iter().position(|detector| detector.as_ref().is_some_and(|detector| detector.name == *name))?;
            all[at].take().map(Arc::new)
        });
        let chosen: Option<Vec<_>> = chosen.collect();
        chosen.filter(|_| sound)
    }

    fn name(&self, at: usize, item: &Node) -> Option<&'static str> {
        let written = text_of(item).unwrap_or_default();
        let written = written.trim();
        let fault =
            |code| Diagnostic::error(code, item.place).at(format!("{}::{at}", self.section.child_path("detectors")));
        let diagnostics = &self.cx.checks.diagnostics;
        if let Some(known) = KNOWN.into_iter().find(|known| *known == written) {
            return Some(known);
        }
        if written == OLD_K8S_API {
            let message = "`k8snode` is the old name of `k8s_api` (renamed in v0.154)";
            self.section.warn("detectors", code::DEPRECATED, message, None);
            return Some("k8s_api");
        }
        let has = format!("podgate has {}", KNOWN.join(", "));
        if FOREIGN.contains(&written) {
            let message = format!("the detector `{written}` is not supported yet");
            let help = "remove it, or start with --unsupported=skip and read what is lost";
            diagnostics.push(fault(code::NOT_YET).says(message).expected(has).help(help));
        } else {
            let meant = nearest(written, KNOWN.into_iter()).map(|near| format!("did you mean `{near}`?"));
            let message = format!("there is no detector {written:?}");
            diagnostics.push(fault(code::INVALID_VALUE).says(message).expected(meant.unwrap_or(has)));
        }
        None
    }

    fn env(&self) -> Option<Detector> {
        if let Some(block) = self.section.section("env") {
            block.finish();
        }
        let value = |name: &str| self.cx.checks.environment.variable(name).filter(|text| !text.trim().is_empty());
        let text = env::VARIABLES.iter().find_map(|name| value(name)).unwrap_or_default();
        Some(Detector { name: "env", source: DetectorKind::Env(env::Env { text }), enabled: None })
    }

    fn system(&self) -> Option<Detector> {
        let mut names = vec![system::NameSource::Dns, system::NameSource::Os];
        let mut enabled = defaults(system::ATTRIBUTES);
        if let Some(block) = self.section.section("system") {
            if let Some(given) = block.strings("hostname_sources").filter(|given| !given.is_empty()) {
                names = given.iter().filter_map(|name| name_source(&block, name)).collect();
            }
            let missing = ["os.name", "os.version", "os.build.id", "host.interface"];
            enabled = self.enabled(&block, system::ATTRIBUTES, &missing);
            block.finish();
        }
        let source = DetectorKind::System(system::System { names, root: "/".into() });
        Some(Detector { name: "system", source, enabled: Some(enabled) })
    }

    /// `None` when it is named and its node is not known.
    fn k8s_api(&self, named: bool) -> Option<Detector> {
        let attributes = [(k8s_api::NODE_NAME, true), (k8s_api::NODE_UID, true)];
        let (mut enabled, mut auth) = (defaults(&attributes), Credentials::ServiceAccount);
        let (mut variable, mut place) = (k8s_api::VARIABLE.to_owned(), "detectors");
        for key in ["k8s_api", OLD_K8S_API] {
            let Some(block) = self.section.section(key) else { continue };
            enabled = self.enabled(&block, &attributes, &["k8s.cluster.uid"]);
            let context = block.string("context");
            let kinds = [("serviceAccount", 0), ("kubeConfig", 1), ("none", 2)];
            auth = match block.choice("auth_type", &kinds).unwrap_or(0) {
                0 => Credentials::ServiceAccount,
                1 => Credentials::KubeConfig { context, file: None },
                _ => Credentials::None,
            };
            if let Some(own) = block.section("podgate") {
                auth = own.string("api_server").map_or(auth, Credentials::Url);
                own.finish();
            }
            if let Some(name) = block.string("node_from_env_var").filter(|name| !name.is_empty()) {
                (variable, place) = (name, key);
            }
            block.finish();
        }
        let node = self.cx.checks.environment.variable(&variable).unwrap_or_default();
        let is_name =
            !node.is_empty() && node.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-".contains(&byte));
        if named && !is_name {
            let state = if node.is_empty() { "is not set" } else { "does not hold a node's name" };
            let message = format!("the environment variable {variable} {state}, so the node is not known");
            let help = format!(
                "in the pod spec: env: [{{name: {variable}, valueFrom: {{fieldRef: {{fieldPath: spec.nodeName}}}}}}]"
            );
            self.section.error(place, code::INVALID_VALUE, message, Some(&help));
            return None;
        }
        let source = DetectorKind::K8sApi(k8s_api::K8sApi::new(node, auth));
        Some(Detector { name: "k8s_api", source, enabled: Some(enabled) })
    }

    fn cloud(&self, cloud: Cloud, named: bool) -> Option<Detector> {
        let variable = |name: &str| self.cx.checks.environment.variable(name).filter(|text| !text.is_empty());
        let mut enabled = defaults(cloud.attributes());
        // Where the vendors' own libraries look for another address.
        let mut address = match cloud {
            Cloud::Ec2 if named => variable("AWS_EC2_METADATA_SERVICE_ENDPOINT"),
            Cloud::Gcp if named => variable("GCE_METADATA_HOST").map(|host| format!("http://{host}")),
            _ => None,
        };
        if let Some(block) = self.section.section(cloud.name()) {
            let missing: &[&str] = match cloud {
                Cloud::Gcp => &["faas.name", "faas.version", "faas.instance", "faas.id", "gcp.gce.instance.name"],
                _ => &[],
            };
            enabled = self.enabled(&block, cloud.attributes(), missing);
            for list in ["tags", "labels"] {
                if block.strings(list).is_some_and(|patterns| !patterns.is_empty()) {
                    block.not_yet(&[list]);
                }
            }
            // How the vendor's library asks again; podgate does so by its own rules.
            for key in ["tags_from_imds", "max_attempts", "max_backoff", "fail_on_missing_metadata"] {
                let _ = block.node(key);
            }
            if let Some(own) = block.section("podgate") {
                address = own.string("endpoint").or(address);
                own.finish();
            }
            block.finish();
        }
        let target = Target::parse(address.as_deref().unwrap_or(cloud::ADDRESS), Some(|_| 80));
        let target = match target {
            Ok(target) => target,
            Err(why) => return self.section.invalid(cloud.name(), why, "the metadata service's URL"),
        };
        let on_kubernetes = variable("KUBERNETES_SERVICE_HOST").is_some();
        let source = DetectorKind::Cloud(Box::new(CloudMetadata::new(cloud, target, on_kubernetes)));
        Some(Detector { name: cloud.name(), source, enabled: Some(enabled) })
    }

    /// The attributes that are enabled after `resource_attributes: {name: {enabled: ...}}`.
    fn enabled(&self, block: &Section<'_>, all: &[(&'static str, bool)], missing: &[&str]) -> Vec<&'static str> {
        let mut enabled = defaults(all);
        let Some(attributes) = block.section("resource_attributes") else { return enabled };
        let read = |name: &str| {
            let entry = attributes.section(name)?;
            let on = entry.bool("enabled");
            entry.finish();
            on
        };
        for (name, _) in all {
            match read(name) {
                Some(true) if !enabled.contains(name) => enabled.push(name),
                Some(false) => enabled.retain(|known| known != name),
                _ => {}
            }
        }
        for name in missing.iter().filter(|name| read(name) == Some(true)) {
            attributes.not_yet(&[name]);
        }
        attributes.finish();
        enabled
    }
}

fn defaults(all: &[(&'static str, bool)]) -> Vec<&'static str> {
    all.iter().filter(|(_, on)| *on).map(|(name, _)| *name).collect()
}

fn name_source(block: &Section<'_>, name: &str) -> Option<system::NameSource> {
    match name {
        "dns" => Some(system::NameSource::Dns),
        "os" => Some(system::NameSource::Os),
        "cname" | "lookup" => {
            let message = format!("`{name}` is not supported yet: podgate asks no name server for its own name");
            block.error("hostname_sources", code::NOT_YET, message, Some("take dns, which reads /etc/hosts, or os"));
            None
        }
        _ => block.invalid("hostname_sources", format!("there is no source {name:?}"), "dns, os, cname or lookup"),
    }
}

pub struct Plan {
    pub(super) detectors: Vec<Arc<Detector>>,
    /// Whether what a resource has already is replaced.
    pub(super) overrides: bool,
    pub(super) timeout: Duration,
    pub(super) refresh: Option<Duration>,
}

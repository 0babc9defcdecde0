//! `podgate rbac`: the least that a configuration must be allowed to read of the Kubernetes API, as YAML to apply.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use crate::cli::Exit;
use crate::cli::sources::{self, ConfigArgs};
use crate::core::stage::commands::access::{Access, OWN_NAMESPACE};
use crate::pipeline::plan::Plan;
use crate::telemetry::stdout;

#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Name of the roles and bindings
    #[arg(long, default_value = "podgate")]
    pub name: String,
    /// Service account that podgate runs as
    #[arg(long, default_value = "podgate")]
    pub service_account: String,
    /// Namespace of the service account
    #[arg(long, default_value = "podgate")]
    pub namespace: String,
    /// Print what the API server needs to send audit events to the receiver `k8s_audit` at this address: an audit policy and
    /// the kubeconfig of its webhook
    #[arg(long, value_name = "URL")]
    pub audit: Option<String>,
}

pub fn run(args: &Args) -> Exit {
    if let Some(url) = &args.audit {
        return audit(url);
    }
    let checked = match sources::named(&args.config, sources::check_before_deploying) {
        Ok(checked) => checked,
        Err(exit) => return exit,
    };
    checked.report();
    let Some(plan) = &checked.plan else { return Exit::Configuration };
    let yaml = roles(&access(plan), args);
    if yaml.is_empty() {
        stdout::line("# nothing of this configuration reads the Kubernetes API");
    } else {
        stdout::line(yaml.trim_end());
    }
    Exit::Ok
}

fn audit(url: &str) -> Exit {
    match webhook(url) {
        Ok(files) => {
            stdout::line(files.trim_end());
            Exit::Ok
        }
        Err(why) => {
            stdout::error_line(&format!("--audit: {why}; write https://HOST:PORT/audit as the API server reaches it"));
            Exit::Usage
        }
    }
}

/// An audit policy and the kubeconfig of the webhook, as two documents.
fn webhook(url: &str) -> Result<String, String> {
    let is_https = url.starts_with("https://");
    let is_plain = url.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\'));
    let parsed = url.parse::<http::Uri>().ok().filter(|uri| uri.authority().is_some());
    if parsed.is_none() || !is_plain || !(is_https || url.starts_with("http://")) {
        return Err(format!("{url:?} is no address of a webhook"));
    }
    let identity = if is_https { AUDIT_IDENTITY } else { "    user: {}\n" };
    let authority = if is_https { "      certificate-authority: /etc/kubernetes/podgate/ca.crt\n" } else { "" };
    Ok(format!(
        "{AUDIT_POLICY}---\n{AUDIT_FLAGS}apiVersion: v1\nkind: Config\nclusters:\n  - name: podgate\n    cluster:\n      \
         server: \"{url}\"\n{authority}users:\n  - name: kube-apiserver\n{identity}\
         contexts:\n  - name: podgate\n    context: {{cluster: podgate, user: kube-apiserver}}\n\
         current-context: podgate\n"
    ))
}

/// Whom the receiver's `tls::client_ca_file` lets in.
const AUDIT_IDENTITY: &str = "    user:
      client-certificate: /etc/kubernetes/podgate/client.crt
      client-key: /etc/kubernetes/podgate/client.key
";

/// Everything that changes something, and who did it; nothing of what is read all the time.
const AUDIT_POLICY: &str = "\
# /etc/kubernetes/podgate/policy.yaml, for --audit-policy-file
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  # Leases and events change without end, and tell nothing of who did what.
  - level: None
    resources:
      - {group: coordination.k8s.io, resources: [leases]}
      - {group: \"\", resources: [events]}
      - {group: events.k8s.io, resources: [events]}
  - level: None
    nonResourceURLs: [\"/healthz*\", \"/livez*\", \"/readyz*\", \"/version\", \"/openapi*\", \"/metrics\"]
  # Their bodies are secrets: who asked, and nothing of what was said.
  - level: Metadata
    resources:
      - {group: \"\", resources: [secrets, configmaps, serviceaccounts/token]}
      - {group: authentication.k8s.io, resources: [tokenreviews]}
  - level: None
    verbs: [get, list, watch]
    userGroups: [\"system:nodes\", \"system:serviceaccounts:kube-system\"]
  - level: Metadata
    verbs: [get, list, watch]
  # Who may do what: what was asked, and what came of it.
  - level: RequestResponse
    resources:
      - {group: rbac.authorization.k8s.io}
  - level: Request
";

const AUDIT_FLAGS: &str = "\
# /etc/kubernetes/podgate/webhook.yaml, for the flags of kube-apiserver:
#   --audit-policy-file=/etc/kubernetes/podgate/policy.yaml
#   --audit-webhook-config-file=/etc/kubernetes/podgate/webhook.yaml
#   --audit-webhook-mode=batch
# `batch` holds events in memory and drops them when they are too many; with `blocking-strict` a request that cannot be
# audited fails.
";

/// What the components of a plan read and ask, each thing once.
pub fn access(plan: &Plan) -> Vec<Access> {
    let processors = plan.processors.values().flat_map(|processor| processor.access());
    let exporters = plan.exporters.values().flat_map(|exporter| exporter.access());
    let extensions = plan.extensions.iter().flat_map(|(_, extension)| extension.access());
    let all: BTreeSet<Access> = processors.chain(exporters).chain(extensions).collect();
    all.into_iter().collect()
}

/// Roles and bindings, one for the cluster and one for each namespace, as far as they are needed.
pub fn roles(access: &[Access], args: &Args) -> String {
    let mut scopes: BTreeMap<Option<&str>, Vec<&Access>> = BTreeMap::new();
    for one in access {
        if one.namespaces.is_empty() {
            scopes.entry(None).or_default().push(one);
        }
        for namespace in &one.namespaces {
            let namespace = if namespace == OWN_NAMESPACE { &args.namespace } else { namespace };
            scopes.entry(Some(namespace)).or_default().push(one);
        }
    }
    let documents: Vec<String> = scopes.iter().map(|(namespace, access)| role(*namespace, access, args)).collect();
    documents.join("---\n")
}

fn role(namespace: Option<&str>, access: &[&Access], args: &Args) -> String {
    let prefix = if namespace.is_some() { "" } else { "Cluster" };
    let mut yaml = String::new();
    head(&mut yaml, &format!("{prefix}Role"), namespace, args);
    yaml.push_str("rules:\n");
    for one in access {
        let _ = writeln!(yaml, "  # {}", one.reason);
        let _ = writeln!(yaml, "  - apiGroups: [\"{}\"]", one.group);
        let _ = writeln!(yaml, "    resources: [{}]", one.resource);
        let _ = writeln!(yaml, "    verbs: [{}]", one.verbs.join(", "));
    }
    yaml.push_str("---\n");
    head(&mut yaml, &format!("{prefix}RoleBinding"), namespace, args);
    let (name, account, home) = (&args.name, &args.service_account, &args.namespace);
    let _ = write!(
        yaml,
        "roleRef:\n  apiGroup: rbac.authorization.k8s.io\n  kind: {prefix}Role\n  name: {name}\n\
         subjects:\n  - kind: ServiceAccount\n    name: {account}\n    namespace: {home}\n"
    );
    yaml
}

fn head(yaml: &mut String, kind: &str, namespace: Option<&str>, args: &Args) {
    let _ = write!(yaml, "apiVersion: rbac.authorization.k8s.io/v1\nkind: {kind}\nmetadata:\n  name: {}\n", args.name);
    if let Some(namespace) = namespace {
        let _ = writeln!(yaml, "  namespace: {namespace}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(processors: &str) -> String {
        let text = format!(
            "receivers: {{otlp: {{protocols: {{grpc: {{endpoint: 127.0.0.1:0}}}}}}}}\nexporters: {{nop: }}\n\
             processors: {processors}\n\
             service: {{pipelines: {{traces: {{receivers: [otlp], processors: [k8s_attributes], exporters: [nop]}}}}}}\n"
        );
        roles_of(text)
    }

    fn roles_of(text: String) -> String {
        let config = ConfigArgs { config: vec![format!("yaml:{text}")], ..ConfigArgs::default() };
        let name = || "podgate".to_owned();
        let args = Args { config, name: name(), service_account: name(), namespace: name(), audit: None };
        let checked = sources::check(&args.config);
        let plan = checked.plan.unwrap_or_else(|| panic!("{:?}", checked.findings));
        roles(&access(&plan), &args)
    }

    /// `kind resource verbs`, in order.
    fn granted(yaml: &str) -> Vec<String> {
        let wanted = ["kind: ", "resources: ", "verbs: "];
        let lines = yaml.lines().map(str::trim).filter(|line| wanted.iter().any(|start| line.starts_with(start)));
        lines.map(|line| line.split_once(": ").map_or("", |(_, value)| value).to_owned()).collect()
    }

    #[test]
    fn a_configuration_of_pods_alone_needs_pods_alone() {
        let expected = ["ClusterRole", "[pods]", "[get, list, watch]", "ClusterRoleBinding", "ClusterRole"];
        assert_eq!(granted(&printed("{k8s_attributes: {}}")), expected);
        assert_eq!(printed("{k8s_attributes: {passthrough: true}}"), "");
    }

    #[test]
    fn attributes_of_other_objects_need_those_objects_and_say_why() {
        let yaml = printed(
            "{k8s_attributes: {extract: {metadata: [k8s.pod.name, k8s.deployment.uid], \
             labels: [{tag_name: team, key: team, from: namespace}, {tag_name: c, key: c, from: cronjob}]}}}",
        );
        for resource in ["[namespaces]", "[replicasets]", "[jobs]", "[cronjobs]"] {
            assert!(yaml.contains(&format!("resources: {resource}\n    verbs: [get, list]\n")), "{resource}: {yaml}");
        }
        assert!(!yaml.contains("nodes") && !yaml.contains("[deployments]"), "{yaml}");
        assert!(yaml.contains("# labels or annotations from: namespace\n"), "{yaml}");
    }

    #[test]
    fn the_files_of_an_audit_webhook_are_yaml_that_names_its_address() {
        let files = webhook("https://10.96.0.9:9880/audit").expect("an address");
        let documents: Vec<&str> = files.split("---\n").collect();
        assert_eq!(documents.len(), 2, "{files}");
        assert!(documents[0].contains("kind: Policy") && documents[1].contains("client-certificate: "), "{files}");
        assert!(documents[1].contains("server: \"https://10.96.0.9:9880/audit\"\n"), "{files}");
        assert!(!webhook("http://127.0.0.1:9880/audit").expect("an address").contains("certificate"));
        for bad in ["", "10.96.0.9:9880", "ftp://x/", "https://a b/", "https://a/\"x"] {
            webhook(bad).expect_err(bad);
        }
    }

    #[test]
    fn the_files_beside_the_audit_manifests_are_the_printed_ones() {
        let printed = webhook("https://127.0.0.1:9880/audit").expect("an address");
        let files = ["policy.yaml", "webhook.yaml"]
            .map(|name| std::fs::read_to_string(format!("manifests/audit/{name}")).expect("a file"));
        assert_eq!(printed, files.join("---\n"));
    }

    #[test]
    fn a_filter_by_namespace_needs_no_right_beyond_it() {
        let yaml = printed("{k8s_attributes: {filter: {namespace: shop}}}");
        assert_eq!(granted(&yaml)[0], "Role");
        assert!(yaml.contains("  namespace: shop\n") && !yaml.contains("ClusterRole"), "{yaml}");
    }

    #[test]
    fn a_resolver_of_endpoints_needs_their_slices_in_the_namespace_of_their_service_alone() {
        let of = |service: &str| {
            let exporter = format!("load_balancing: {{resolver: {{k8s: {{service: {service}}}}}}}");
            let text = format!(
                "receivers: {{otlp: {{protocols: {{grpc: {{endpoint: 127.0.0.1:0}}}}}}}}\nexporters: {{{exporter}}}\n\
                 service: {{pipelines: {{traces: {{receivers: [otlp], exporters: [load_balancing]}}}}}}\n"
            );
            roles_of(text)
        };
        let expected = ["Role", "[endpointslices]", "[get, list, watch]", "RoleBinding", "Role"];
        let yaml = of("gateway.otel");
        assert_eq!(granted(&yaml)[..5], expected);
        assert!(yaml.contains("  namespace: otel\n") && yaml.contains("[\"discovery.k8s.io\"]"), "{yaml}");
        let own = of("gateway");
        assert!(own.contains("kind: Role\nmetadata:\n  name: podgate\n  namespace: podgate\n"), "{own}");
    }
}

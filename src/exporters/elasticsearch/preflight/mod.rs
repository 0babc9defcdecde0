//! What a cluster lacks, asked before data flows: who answers, index templates, data streams, privileges, field types.
//!
//! Reads only; `apply` is called by `podgate elastic setup` alone. What was found becomes plain sentences, a capability
//! for the mapping, and the requests that would cure it. Each question has its own deadline, and none stops the others.

mod peer;
#[cfg(test)]
mod tests;

use http::Method;
use serde_json::{Value, json};

use crate::core::outside::Outside;
use crate::core::stage::commands::probe::{Finding, Probe, ProbeHealth, ProbeReport, Remedy};
use crate::core::stage::component::Task;
use crate::exporters::elasticsearch::capability::{self, Capability, Product, TESTED, Version};
use crate::exporters::elasticsearch::delivery::bulk::post::PostSettings;
use crate::exporters::elasticsearch::mapping::{DataStreamType, MappingMode, MappingSettings};
use crate::exporters::elasticsearch::preflight::peer::{Peer, PeerAnswer};
use crate::exporters::elasticsearch::templates;
use crate::sending::client::RequestCredentials;

/// How long templates made by `setup` keep data.
const RETENTION: &str = "30d";
const ONLY_OTEL: &str = "make one with a data_stream section; podgate brings templates for mode otel only";
const KINDS: [DataStreamType; 3] = [DataStreamType::Traces, DataStreamType::Metrics, DataStreamType::Logs];

/// The questions to one cluster.
pub struct Preflight {
    peer: Peer,
    settings: MappingSettings,
}

/// Who answers, and what it takes.
#[derive(Clone, Copy, Debug)]
struct Cluster {
    product: Product,
    takes: Capability,
}

impl Preflight {
    /// Opens nothing yet.
    pub fn new(
        post: &PostSettings,
        settings: &MappingSettings,
        outside: &Outside,
        credentials: RequestCredentials,
    ) -> Preflight {
        Preflight { peer: Peer::new(post, outside, credentials), settings: settings.clone() }
    }

    async fn run(&self) -> (ProbeReport, Option<Capability>) {
        let mut report = ProbeReport::default();
        let cluster = self.ask_who(&mut report).await;
        let Some(mut cluster) = cluster else { return (report, None) };
        self.ask_templates(&cluster, &mut report).await;
        self.ask_privileges(&mut report).await;
        self.ask_field_types(&mut cluster, &mut report).await;
        self.peer.close().await;
        (report, Some(cluster.takes))
    }

    /// What the mapping has to know, at start; `None` when nobody answers yet. What is amiss goes to the log.
    pub async fn learn(&self, path: &str) -> Option<Capability> {
        let (report, takes) = self.run().await;
        for finding in report.findings.iter().filter(|finding| finding.health != ProbeHealth::Good) {
            let help = finding.help.as_deref().unwrap_or_default();
            tracing::warn!(component = path, subject = finding.subject, help, "preflight: {}", finding.message);
        }
        takes
    }

    /// `None` when nobody answers or lets us in.
    async fn ask_who(&self, report: &mut ProbeReport) -> Option<Cluster> {
        let reachable = self.ask_nodes(report).await?;
        let number = reachable["version"]["number"].as_str().unwrap_or_default();
        let product = match &reachable["version"] {
            version if version["distribution"] == "opensearch" => Product::OpenSearch,
            version if version["build_flavor"] == "serverless" => Product::Serverless,
            _ => Product::Elasticsearch,
        };
        let Some(version) = capability::parse_version(number) else {
            let message = format!("the version {number:?} cannot be read; assuming Elasticsearch 8.19");
            report.findings.push(Finding::new(ProbeHealth::Doubtful, "version", message));
            return Some(Cluster { product, takes: Capability::default() });
        };
        report.findings.push(of_version(product, version, number));
        Some(Cluster { product, takes: Capability::of(product, version) })
    }

    /// Every node is asked, so that one dead address of three shows; the first answer counts.
    async fn ask_nodes(&self, report: &mut ProbeReport) -> Option<Value> {
        let mut first = None;
        for node in 0..self.peer.nodes() {
            let name = self.peer.name(node);
            let finding = match self.peer.ask_node(node, Method::GET, "/", None).await {
                PeerAnswer::Answer(200, body) => {
                    first.get_or_insert((node, body));
                    Finding::new(ProbeHealth::Good, "connection", format!("{name} answers"))
                }
                PeerAnswer::Answer(401, _) => {
                    Finding::new(ProbeHealth::Bad, "connection", format!("{name} does not know these credentials"))
                        .with_help("check api_key (the encoded form) or user and password")
                }
                // A node without this page is one all the same.
                PeerAnswer::Answer(403..=405, _) => {
                    first.get_or_insert((node, Value::Null));
                    Finding::new(
                        ProbeHealth::Doubtful,
                        "connection",
                        format!("{name} answers but does not say who it is"),
                    )
                    .with_help("grant the cluster privilege `monitor` to let podgate see the version")
                }
                PeerAnswer::Answer(status, _) => {
                    Finding::new(ProbeHealth::Bad, "connection", format!("{name} answers with status {status}"))
                }
                PeerAnswer::Nothing(why) => {
                    Finding::new(ProbeHealth::Bad, "connection", format!("no answer from {name}: {why}"))
                }
            };
            report.findings.push(finding);
        }
        let (node, body) = first?;
        self.peer.prefer(node);
        Some(body)
    }

    /// A data stream is made on first use if a template says so; without one the document is refused or lands in a plain
    /// index with guessed fields.
    async fn ask_templates(&self, cluster: &Cluster, report: &mut ProbeReport) {
        let path = "/_index_template?filter_path=index_templates.name,index_templates.index_template.index_patterns,\
                    index_templates.index_template.priority,index_templates.index_template.data_stream";
        let known = match self.peer.ask(Method::GET, path, None).await {
            PeerAnswer::Answer(200, body) => body,
            other => {
                report.findings.push(Finding::new(
                    ProbeHealth::Doubtful,
                    "templates",
                    format!("index templates cannot be read ({other}); grant the cluster privilege `monitor` or `manage_index_templates`"),
                ));
                return;
            }
        };
        for (kind, stream) in self.streams() {
            let exists = matches!(
                self.peer.ask(Method::GET, &format!("/_data_stream/{stream}"), None).await,
                PeerAnswer::Answer(200, _)
            );
            match best_template(&known, &stream) {
                Some((name, true)) => {
                    let there = if exists { "is there" } else { "will be made" };
                    let message = format!("data stream {stream} {there} (template {name})");
                    report.findings.push(Finding::new(ProbeHealth::Good, "templates", message));
                }
                Some((name, false)) => {
                    let message = format!("template {name} makes {stream} a plain index, not a data stream");
                    let help = "give it a data_stream section, or set a static index";
                    report.findings.push(Finding::new(ProbeHealth::Bad, "templates", message).with_help(help));
                }
                None => self.missing_template(kind, (&stream, cluster), report),
            }
        }
    }

    /// The data streams that need a template: those of signals without a static index.
    fn streams(&self) -> impl Iterator<Item = (DataStreamType, String)> {
        let streamed = KINDS.into_iter().filter(|kind| self.settings.index(*kind).is_none());
        streamed.map(|kind| (kind, stream_of(kind, self.settings.mode)))
    }

    fn missing_template(&self, kind: DataStreamType, (stream, cluster): (&str, &Cluster), report: &mut ProbeReport) {
        let message = format!("no index template for {stream}");
        let finding = Finding::new(ProbeHealth::Bad, "templates", message);
        if self.settings.mode != MappingMode::Otel {
            report.findings.push(finding.with_help(ONLY_OTEL));
            return;
        }
        report.findings.push(finding.with_help("podgate elastic setup --ask shows one, --apply installs it"));
        push_template(kind, (stream, cluster), &mut report.remedies);
    }

    /// Without asking: the requests to a cluster of this version that has no template of its own.
    fn assumed(&self, cluster: &Cluster, number: &str) -> ProbeReport {
        let mut report = ProbeReport::default();
        report.findings.push(of_version(cluster.product, capability::parse_version(number).unwrap_or(TESTED), number));
        if cluster.takes.own_templates {
            let message =
                "this version brings templates of its own for these data streams, which --ask and --apply find";
            report.findings.push(Finding::new(ProbeHealth::Good, "templates", message));
        }
        for (kind, stream) in self.streams() {
            if self.settings.mode == MappingMode::Otel {
                push_template(kind, (&stream, cluster), &mut report.remedies);
            } else {
                let finding = Finding::new(ProbeHealth::Doubtful, "templates", format!("none is shown for {stream}"));
                report.findings.push(finding.with_help(ONLY_OTEL));
            }
        }
        report
    }

    /// A key with `create_doc` alone cannot make a new data stream: each document is refused with 403.
    async fn ask_privileges(&self, report: &mut ProbeReport) {
        let wanted: Vec<Value> = KINDS
            .into_iter()
            .map(|kind| self.index_pattern(kind))
            .map(|names| json!({"names": [names], "privileges": ["auto_configure", "create_doc"]}))
            .collect();
        let body = json!({"index": wanted});
        let answer = self.peer.ask(Method::POST, "/_security/user/_has_privileges", Some(&body)).await;
        let finding = match &answer {
            PeerAnswer::Answer(200, body) if body["has_all_requested"] == true => {
                Finding::new(ProbeHealth::Good, "privileges", "documents and new data streams may be written")
            }
            PeerAnswer::Answer(200, body) => {
                let message = format!("missing: {}", missing_privileges(body).join(", "));
                Finding::new(ProbeHealth::Bad, "privileges", message)
                    .with_help("grant `auto_configure` and `create_doc` on these indices to the API key or user")
            }
            PeerAnswer::Answer(400 | 404 | 405 | 500, _) => {
                Finding::new(ProbeHealth::Good, "privileges", "security is off, or this product has another kind")
            }
            other => Finding::new(ProbeHealth::Doubtful, "privileges", format!("cannot be asked for ({other})")),
        };
        report.findings.push(finding);
    }

    fn index_pattern(&self, kind: DataStreamType) -> String {
        self.settings.index(kind).map_or_else(|| format!("{}-*-*", kind.name()), str::to_owned)
    }

    /// A template with such a field, tried without installing it.
    async fn ask_field_types(&self, cluster: &mut Cluster, report: &mut ProbeReport) {
        let takes = &mut cluster.takes;
        let aggregate = json!({"type": "aggregate_metric_double", "metrics": ["sum"], "default_metric": "sum"});
        let mut missing = Vec::new();
        for (name, known, field) in [
            ("histogram", &mut takes.histograms, json!({"type": "histogram"})),
            ("aggregate_metric_double", &mut takes.aggregates, aggregate),
            ("passthrough", &mut takes.passthrough, json!({"type": "passthrough", "priority": 1})),
        ] {
            let mappings = json!({"properties": {"f": field}});
            let body = json!({"index_patterns": ["podgate-probe-*"], "template": {"mappings": mappings}});
            let answer = self.peer.ask(Method::POST, "/_index_template/_simulate", Some(&body)).await;
            let lacks = matches!(&answer, PeerAnswer::Answer(400, body) if body.to_string().contains(name));
            *known &= !lacks;
            if !*known {
                missing.push(name);
            }
        }
        let finding = match missing.is_empty() {
            true => Finding::new(ProbeHealth::Good, "field types", "all that metrics need are there"),
            false => {
                Finding::new(ProbeHealth::Doubtful, "field types", format!("the cluster lacks {}", missing.join(", ")))
                    .with_help("histograms are written as sum and count where their type is missing")
            }
        };
        report.findings.push(finding);
    }
}

impl Probe for Preflight {
    fn ask(&self) -> Task<'_, ProbeReport> {
        Box::pin(async { self.run().await.0 })
    }

    fn foresee(&self, version: &str) -> Result<ProbeReport, String> {
        let Some((product, of)) = capability::parse_product(version) else {
            return Err(format!("{version:?} is no version: write one such as 8.19, opensearch-3.6 or serverless"));
        };
        let number = version.trim_start_matches(|c: char| !c.is_ascii_digit());
        Ok(self.assumed(&Cluster { product, takes: Capability::of(product, of) }, number))
    }

    fn apply<'a>(&'a self, remedy: &'a Remedy) -> Task<'a, Result<(), String>> {
        Box::pin(async move {
            let body = serde_json::from_str(&remedy.body).map_err(|error| error.to_string())?;
            let method = Method::from_bytes(remedy.method.as_bytes()).map_err(|error| error.to_string())?;
            let said = self.peer.ask(method, &remedy.path, Some(&body)).await;
            match said {
                PeerAnswer::Answer(200..=299, _) => Ok(()),
                other => Err(other.to_string()),
            }
        })
    }
}

/// The template of a data stream, and the lifecycle policy before the first one that needs it.
fn push_template(kind: DataStreamType, (stream, cluster): (&str, &Cluster), remedies: &mut Vec<Remedy>) {
    let takes = &cluster.takes;
    let needs_policy = !takes.stream_lifecycle && cluster.product == Product::Elasticsearch;
    if needs_policy && !remedies.iter().any(|remedy| remedy.path.starts_with("/_ilm")) {
        remedies.push(Remedy {
            reason: format!("data is kept for {RETENTION}"),
            method: "PUT",
            path: format!("/_ilm/policy/{}", templates::POLICY),
            body: templates::policy(RETENTION).to_string(),
        });
    }
    remedies.push(Remedy {
        reason: format!("for a cluster in which {stream} has no template"),
        method: "PUT",
        path: format!("/_index_template/{}", templates::name(kind)),
        body: templates::template(kind, cluster.product, takes, RETENTION).to_string(),
    });
}

fn of_version(product: Product, version: Version, number: &str) -> Finding {
    let (health, message) = match product {
        Product::Elasticsearch if version == TESTED => {
            (ProbeHealth::Good, format!("Elasticsearch {number}, the version podgate is tested against"))
        }
        Product::Elasticsearch if version < (8, 12) => (
            ProbeHealth::Doubtful,
            format!("Elasticsearch {number}: untested, and too old to be told to require data streams"),
        ),
        Product::Elasticsearch => {
            (ProbeHealth::Doubtful, format!("Elasticsearch {number}: untested; requests follow a table of versions"))
        }
        Product::Serverless => (ProbeHealth::Doubtful, "Elastic serverless: untested".to_owned()),
        Product::OpenSearch => (
            ProbeHealth::Doubtful,
            format!("OpenSearch {number}: untested; sent without require_data_stream and dynamic templates"),
        ),
    };
    Finding::new(health, "version", message)
}

/// Where documents without routing attributes go.
fn stream_of(kind: DataStreamType, mode: MappingMode) -> String {
    let suffix = if mode == MappingMode::Otel { ".otel" } else { "" };
    format!("{}-generic{suffix}-default", kind.name())
}

/// Of the templates whose patterns fit the one of highest priority: its name, and whether it makes data streams.
fn best_template<'a>(known: &'a Value, stream: &str) -> Option<(&'a str, bool)> {
    let all = known["index_templates"].as_array().map_or(&[][..], Vec::as_slice);
    let fits = |entry: &&Value| {
        let patterns = &entry["index_template"]["index_patterns"];
        let list = patterns.as_array().map_or(std::slice::from_ref(patterns), Vec::as_slice);
        list.iter().filter_map(Value::as_str).any(|pattern| matches_glob(pattern, stream))
    };
    let best = all.iter().filter(fits).max_by_key(|entry| entry["index_template"]["priority"].as_u64().unwrap_or(0))?;
    Some((best["name"].as_str().unwrap_or("?"), best["index_template"].get("data_stream").is_some()))
}

/// Whether a pattern with `*` fits.
fn matches_glob(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = name.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    if !pattern.contains('*') {
        return rest.is_empty();
    }
    let mut parts: Vec<&str> = parts.collect();
    let last = parts.pop().unwrap_or_default();
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

/// "create_doc on traces-*-*"
fn missing_privileges(body: &Value) -> Vec<String> {
    let none = serde_json::Map::new();
    let mut missing = Vec::new();
    for (index, privileges) in body["index"].as_object().unwrap_or(&none) {
        let lacking = privileges.as_object().unwrap_or(&none).iter().filter(|(_, granted)| **granted == false);
        missing.extend(lacking.map(|(privilege, _)| format!("{privilege} on {index}")));
    }
    missing
}

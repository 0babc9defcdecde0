//! The names of metrics: what the documents tell people to look for stands on the metrics page exactly so, and a name that
//! several components share has one HELP text, which fits all of them.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use podgate::cli::sources::{ConfigArgs, check_with};
use podgate::core::report::stats::{Series, Stats};
use podgate::core::stage::factory::Environment;
use podgate::core::time::UnixNanos;
use podgate::gateway::Gateway;
use podgate::telemetry::prometheus::{Spelling, render};
use podgate::telemetry::running_config;
use support::{Sink, drain, free_port, post_spans, request, span, start};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// A gateway with every component, built and not started: its metrics are registered, its sockets are not opened.
fn with_every_component() -> Gateway {
    let text = fs::read_to_string(root().join("examples/components.yaml")).expect("an example");
    // What the samples put into one signal has names of its own in the others.
    let text = text.replace(
        "processors: [memory_limiter, k8s_attributes, batch]",
        "processors: [k8s_attributes, filter, transform, batch]",
    );
    let text = text
        .replace("processors: [memory_limiter, probabilistic_sampler]", "processors: [filter, probabilistic_sampler]");
    let text = text.replace("processors: [tail_sampling, batch]", "processors: [probabilistic_sampler, tail_sampling]");
    let text = text.replace("    traces:\n      span:", "    metrics: {datapoint: ['value_double == 0.0']}\n    logs: {log_record: ['body == nil']}\n    traces:\n      span:");
    let text = text
        .replace("  otlp_http:\n", "  otlp_http:\n    podgate: {target: apm_server}\n")
        .replace("\n    compression: zstd", "\n    compression: gzip")
        .replace(
            "  tail_sampling:\n",
            "  tail_sampling:\n    podgate: {shadow: {policies: [{name: all, type: always_sample}]}}\n",
        );
    let args = ConfigArgs { config: vec![format!("yaml:{text}")], ..ConfigArgs::default() };
    let checked = check_with(&args, Environment::of(|_| None));
    let findings = podgate::config::show::diagnose::render(&checked.findings, &checked.sources, false);
    let gateway = Gateway::build(&checked.plan.unwrap_or_else(|| panic!("{findings}")));
    running_config::runs(gateway.host(), "0123456789abcdef", UnixNanos::now());
    gateway
}

/// Every name that the page has, those of a histogram's parts too.
fn names(stats: &Stats) -> BTreeSet<String> {
    let page = render(stats, &Spelling::default());
    let families = page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
    let samples = page.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split(['{', ' ']).next());
    families.chain(samples).map(str::to_owned).collect()
}

fn documents() -> Vec<PathBuf> {
    let of = |folder: &Path| {
        fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("readable").path()).collect::<Vec<_>>()
    };
    let all = of(&root()).into_iter().chain(of(&root().join("docs")));
    let mut texts: Vec<PathBuf> = all.filter(|path| path.extension().is_some_and(|end| end == "md")).collect();
    texts.sort();
    assert!(texts.len() > 15, "{texts:?}");
    texts
}

/// Runs of letters of metric names, with what follows each.
fn words(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let part = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let mut rest = text;
    std::iter::from_fn(move || {
        let begin = rest.find(part)?;
        let word = &rest[begin..];
        let end = word.find(|letter| !part(letter)).unwrap_or(word.len());
        rest = &word[end..];
        Some((&word[..end], rest))
    })
}

/// A gateway that has taken a span: what receivers and exporters register when they start, and at the first data.
async fn after_a_span(folder: &tempfile::TempDir) -> Gateway {
    let (sink, http) = (Sink::start().await, free_port());
    let tls = root().join("tests/golden/tls").display().to_string();
    let yaml = format!(
        "receivers: {{otlp: {{protocols: {{http: {{endpoint: '127.0.0.1:{http}'}}, \
         grpc: {{endpoint: '127.0.0.1:0', tls: {{cert_file: {tls}/server.pem, key_file: {tls}/server.key}}}}}}}}}}\n\
         exporters:\n  debug: {{verbosity: basic}}\n  file: {{path: {}}}\n  \
         otlp_grpc: {{endpoint: '{}', tls: {{insecure: true}}, sending_queue: {{enabled: false}}}}\n\
         extensions: {{admin: {{endpoint: '127.0.0.1:{}'}}}}\n\
         service:\n  extensions: [admin]\n  telemetry: {{metrics: {{level: none}}}}\n  pipelines:\n    \
         traces: {{receivers: [otlp], exporters: [debug, file, otlp_grpc]}}\n",
        folder.path().join("traces.json").display(),
        sink.address,
        free_port()
    );
    let gateway = start(&yaml).await;
    assert_eq!(post_spans(http, &request(Vec::new(), vec![span(1, 1, 1)])).await, 200);
    gateway
}

#[tokio::test(flavor = "multi_thread")]
async fn every_metric_that_a_document_names_is_on_the_page_as_it_is_written() {
    let folder = tempfile::tempdir().expect("a folder");
    let running = after_a_span(&folder).await;
    let mut known = names(&with_every_component().host().stats);
    known.append(&mut names(&running.host().stats));
    drain(running).await;
    let mut seen = 0;
    for document in documents() {
        let text = fs::read_to_string(&document).expect("readable");
        for (word, behind) in words(&text) {
            let place = format!("{}: {word}", document.display());
            if word.starts_with("podgate_") || word.starts_with("otelcol_") {
                seen += 1;
                let all_of = behind.starts_with('*') && known.iter().any(|name| name.starts_with(word));
                assert!(all_of || known.contains(word), "{place} is no name of the metrics page");
            }
            // `_docs_retried` for a name that ends so: nobody finds it by copying.
            let shortened = word.starts_with('_') && word[1..].contains('_');
            let ends = |name: &String| name.ends_with(word) || name.ends_with(&format!("{word}_total"));
            assert!(!(shortened && known.iter().any(ends)), "{place}: write the whole name");
        }
    }
    assert!(seen > 50, "{seen} names were found in the documents");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_has_one_help_text_whichever_component_was_built_first() {
    let folder = tempfile::tempdir().expect("a folder");
    let gateway = after_a_span(&folder).await;
    let running = gateway.host().stats.all();
    let sent = running.iter().filter(|series| series.name == "otelcol_exporter_sent_spans").count();
    assert_eq!(sent, 3, "each exporter counts under the same name");
    let built = with_every_component().host().stats.all();
    let mut texts: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for Series { name, help, .. } in running.iter().chain(&built) {
        texts.entry(name).or_default().insert(help);
    }
    let several: Vec<_> = texts.iter().filter(|(_, helps)| helps.len() > 1).collect();
    assert!(several.is_empty(), "{several:?}");
    let shared = texts.iter().filter(|(name, _)| name.starts_with("otelcol_exporter_"));
    for (name, helps) in shared {
        let of_one = ["printed", "written", "file", "document"];
        assert!(!of_one.iter().any(|word| helps.iter().any(|help| help.contains(word))), "{name}: {helps:?}");
    }
    drain(gateway).await;
}

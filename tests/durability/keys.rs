//! The keys of a log on disk, through the check of the command line.

use podgate::cli::sources::{ConfigArgs, check_with};
use podgate::core::stage::factory::Environment;

/// Findings of a configuration with this log and this list of extensions.
fn findings(storage: &str, running: &str) -> Vec<String> {
    let yaml = format!(
        "yaml:
receivers: {{otlp: {{protocols: {{http: {{endpoint: '127.0.0.1:0'}}}}}}}}
exporters: {{otlp_grpc: {{endpoint: 'hop:4317', tls: {{insecure: true}}, sending_queue: {{storage: file_storage}}}}}}
processors: {{memory_limiter: {{limit_mib: 128}}}}
extensions: {{file_storage: {storage}, health_check: {{endpoint: '127.0.0.1:0'}}}}
service:
  extensions: {running}
  pipelines: {{traces: {{receivers: [otlp], processors: [memory_limiter], exporters: [otlp_grpc]}}}}
"
    );
    let args = ConfigArgs { config: vec![yaml], ..ConfigArgs::default() };
    let checked = check_with(&args, Environment::of(|_| None));
    checked.findings.iter().map(|found| format!("{} {}: {}", found.code, found.path, found.message)).collect()
}

#[test]
fn a_log_is_accepted_with_the_collectors_keys_and_those_without_effect_are_said() {
    assert_eq!(
        findings("{directory: /log, create_directory: true}", "[file_storage, health_check]"),
        Vec::<String>::new()
    );
    for more in [
        "directory_permissions: '0700'",
        "podgate: {durability: page_cache, reserve: 1GiB}",
        "podgate: {durability: off}",
    ] {
        let found = findings(&format!("{{directory: /log, {more}}}"), "[file_storage, health_check]");
        assert_eq!(found, Vec::<String>::new(), "{more}");
    }
    let said = findings(
        "{directory: /log, fsync: false, timeout: 1s, compaction: {on_start: true, directory: /x}, podgate: {durability: group}}",
        "[file_storage, health_check]",
    );
    let codes: Vec<&str> = said.iter().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(codes, ["W0402"; 4], "{said:?}");
}

#[test]
fn a_log_that_does_not_run_or_cannot_be_is_refused_with_its_place() {
    for (storage, running, wanted) in [
        ("{directory: /log}", "[health_check]", "E0302 exporters::otlp_grpc::sending_queue::storage"),
        (
            "{directory: /log, podgate: {durability: sometimes}}",
            "[file_storage, health_check]",
            "extensions::file_storage::podgate::durability",
        ),
        (
            "{directory: /log, podgate: {max_bytes: 1MiB}}",
            "[file_storage, health_check]",
            "extensions::file_storage::podgate::max_bytes",
        ),
        (
            "{directory: /log, directory_permissions: '0475'}",
            "[file_storage, health_check]",
            "extensions::file_storage::directory_permissions",
        ),
        ("{directory: ''}", "[file_storage, health_check]", "extensions::file_storage::directory"),
    ] {
        let found = findings(storage, running);
        assert!(found.iter().any(|line| line.contains(wanted)), "{storage} {running}: {found:?}");
    }
}

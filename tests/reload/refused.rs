//! What only a restart can change is named with its place.

use podgate::pipeline::wiring::restart::needed;

use crate::config::plan;

fn text(storage: &str, level: &str, port: u16) -> String {
    format!(
        "receivers: {{otlp: {{protocols: {{http: {{endpoint: '127.0.0.1:0'}}}}}}}}
exporters: {{otlp_grpc: {{endpoint: 'a:1', tls: {{insecure: true}}}}}}
extensions:
  file_storage: {{directory: '{storage}', create_directory: true}}
service:
  extensions: [file_storage]
  telemetry: {{logs: {{level: {level}}}, metrics: {{readers: [{{pull: {{exporter: {{prometheus: {{host: 127.0.0.1, port: {port}}}}}}}}}]}}}}
  pipelines: {{traces: {{receivers: [otlp], exporters: [otlp_grpc]}}}}
"
    )
}

#[test]
fn a_log_on_disk_refuses_the_reload_and_own_telemetry_is_a_warning() {
    let from = plan(&text("/tmp/a", "info", 8888)).expect("sound");
    let found = |storage: &str, level: &str, port: u16| {
        let to = plan(&text(storage, level, port)).expect("sound");
        let found = needed(&from, &to).into_iter();
        found.map(|found| (found.code, found.path, found.place.map(|place| place.line))).collect::<Vec<_>>()
    };
    assert_eq!(found("/tmp/a", "info", 8888), []);
    assert_eq!(found("/tmp/b", "info", 8888), [("E0308", "extensions::file_storage".to_owned(), Some(4))]);
    assert_eq!(found("/tmp/a", "debug", 8888), [("W0407", "service::telemetry::logs".to_owned(), None)]);
    assert_eq!(found("/tmp/a", "info", 8889), [("W0407", "service::telemetry::metrics".to_owned(), Some(7))]);
}

//! Pages behind TLS and authenticators: probes, the admin page and the metrics.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use podgate::config::check::Section;
use podgate::core::data::budget::Budget;
use podgate::core::node::SourceId;
use podgate::core::report::routes::Page;
use podgate::core::stage::component::Component;
use podgate::core::stage::host::Host;
use podgate::extensions::authenticators::bearer;
use podgate::extensions::{admin, health_check};
use podgate::net::server::listen::BoundAddresses;
use podgate::testing::check;
use tokio::time::Instant;

use super::harness::{Reply, Running, http1, http1_over};
use super::tls::{ANY, Client, file, pair};

const KEY: (&str, &str) = ("authorization", "Bearer right");

fn host() -> Arc<Host> {
    Host::new(Budget::new(1 << 30, 1 << 30))
}

fn address(host: &Host, path: &str) -> SocketAddr {
    let bound = host.shared(BoundAddresses::KEY, || Arc::new(BoundAddresses::default()));
    // On every interface, because on loopback pages answer to loopback's names alone.
    SocketAddr::from(([127, 0, 0, 1], bound.get(path).unwrap().port()))
}

async fn over_tls(client: Client, to: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Reply {
    http1_over(client.connect(to).await.unwrap(), "GET", path, headers, b"").await
}

/// The metrics reader as `service::telemetry` reads it.
async fn metrics(host: &Arc<Host>, own: &str) -> (SocketAddr, Arc<dyn Component>) {
    let text = format!(
        "metrics: {{readers: [{{pull: {{exporter: {{prometheus: {{host: 0.0.0.0, port: 0, podgate: {{{own}}}}}}}}}}}]}}"
    );
    let diagnostics = podgate::core::diagnostic::Diagnostics::default();
    let node = podgate::config::read::yaml::parse(&text, SourceId(0), &diagnostics).expect("YAML");
    let telemetry = podgate::config::telemetry::read(Section::new(&node, "service::telemetry", &diagnostics));
    assert!(diagnostics.sorted().is_empty(), "{:?}", diagnostics.sorted());
    let (path, reader) = podgate::telemetry::listeners(&telemetry, host).pop().expect("a reader");
    reader.start().await.unwrap();
    (address(host, &path), reader)
}

#[tokio::test]
async fn probes_the_admin_page_and_metrics_speak_tls_where_they_are_told_to() {
    let host = host();
    let tls = format!("tls: {{{}}}", pair());
    let health = check::extension(&host, &health_check::FACTORY, &format!("{{endpoint: '0.0.0.0:0', {tls}}}"));
    let pages = check::extension(&host, &admin::FACTORY, &format!("{{endpoint: '0.0.0.0:0', {tls}}}"));
    health.start().await.unwrap();
    pages.start().await.unwrap();
    let (metrics, reader) = metrics(&host, &tls).await;
    for (to, path) in [
        (address(&host, "extensions::health_check"), "/livez"),
        (address(&host, "extensions::admin"), "/v1"),
        (metrics, "/metrics"),
    ] {
        assert_eq!(over_tls(ANY, to, path, &[]).await.status, 200, "{path}");
        let plain = http1(to, "GET", path, &[], b"").await;
        let said = String::from_utf8_lossy(&plain.body).into_owned();
        assert!(plain.status == 400 && said.contains("use https://"), "{path}: {} {said}", plain.status);
    }
    let page = String::from_utf8(over_tls(ANY, metrics, "/metrics", &[]).await.body.to_vec()).unwrap();
    for listener in ["extensions::health_check", "extensions::admin", "service::telemetry::metrics::readers::0"] {
        let series = format!("podgate_tls_certificate_expiry_seconds{{listener=\"{listener}\"}} 4");
        assert!(page.contains(&series), "{series} is not in\n{page}");
        assert!(host.status.all().contains_key(&format!("{listener}::tls")), "{listener}");
    }
    let counted = |name: &str| {
        host.stats.all().iter().any(|series| {
            let has = |wanted: &str| series.labels.iter().any(|(_, value)| value == wanted);
            series.name == "podgate_receiver_connections_closed" && has(name) && has("plain_on_tls_port")
        })
    };
    assert!(["health_check", "admin", "metrics"].into_iter().all(counted));
    for component in [health, pages, reader] {
        component.drain(Instant::now() + Duration::from_secs(2)).await;
    }
}

#[tokio::test]
async fn a_page_with_a_list_of_clients_shows_itself_to_them_alone() {
    let host = host();
    let (metrics, reader) = metrics(
        &host,
        &format!(
            "tls: {{{}, client_ca_file: {}, podgate: {{client_names: ['spiffe://cluster.local/ns/shop/*']}}}}",
            pair(),
            file("clients/ca.pem").display()
        ),
    )
    .await;
    let with = |certificate| Client { certificate: Some((certificate, "clients/client.key")), ..ANY };
    assert_eq!(over_tls(with("clients/shop.pem"), metrics, "/metrics", &[]).await.status, 200);
    for client in [ANY, with("clients/bank.pem")] {
        // With TLS 1.3 a client hears of it as it reads.
        let Ok(mut stream) = client.connect(metrics).await else { continue };
        let read = tokio::io::AsyncReadExt::read(&mut stream, &mut [0; 16]).await;
        assert!(read.is_err() || read.is_ok_and(|count| count == 0), "{:?}", client.certificate);
    }
    reader.drain(Instant::now() + Duration::from_secs(2)).await;
}

#[tokio::test]
async fn pages_with_an_authenticator_ask_for_a_credential_and_tell_nothing_without() {
    let host = host();
    let auth = "auth: {authenticator: bearertokenauth}";
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, "0123456789abcdef\n").unwrap();
    let health = check::extension(&host, &health_check::FACTORY, &format!("{{endpoint: '0.0.0.0:0', {auth}}}"));
    let body = format!("{{endpoint: '0.0.0.0:0', token_file: {}, {auth}}}", token.display());
    let pages = check::extension(&host, &admin::FACTORY, &body);
    health.start().await.unwrap();
    pages.start().await.unwrap();
    let (metrics, reader) = metrics(&host, auth).await;
    let admin = address(&host, "extensions::admin");
    let doors = [
        (address(&host, "extensions::health_check"), "/livez"),
        (address(&host, "extensions::health_check"), "/nothing"),
        (admin, "/"),
        (admin, "/v1/events"),
        (metrics, "/metrics"),
    ];
    for (to, path) in doors {
        let before = http1(to, "GET", path, &[KEY], b"").await;
        assert_eq!((before.status, before.header("retry-after")), (503, Some("1")), "{path}: not started yet");
    }
    check::extension(&host, &bearer::FACTORY, "{token: right}").start().await.unwrap();
    for (to, path) in doors {
        for headers in [&[][..], &[("authorization", "Bearer wrong")], &[("authorization", "Basic right")]] {
            let refused = http1(to, "GET", path, headers, b"").await;
            let said = String::from_utf8_lossy(&refused.body).into_owned();
            assert_eq!((refused.status, refused.header("www-authenticate")), (401, Some("Bearer")), "{path}");
            assert!(said.len() < 100 && !said.contains("pages"), "{path}: {said}");
        }
    }
    for (to, path) in [doors[0], doors[2], doors[4]] {
        assert_eq!(http1(to, "GET", path, &[KEY], b"").await.status, 200, "{path}");
    }
    // What changes something has a token of its own.
    host.routes.add_change("/v1/try", Arc::new(|_, _| Box::pin(async { Page::ok(serde_json::json!(1)) })));
    for (header, status) in [("Bearer 0123456789abcdef", 200), ("Bearer right", 401)] {
        assert_eq!(http1(admin, "POST", "/v1/try", &[("authorization", header)], b"").await.status, status, "{header}");
    }
    assert_eq!(http1(admin, "POST", "/v1/components", &[KEY], b"").await.status, 405);
    for component in [health, pages, reader] {
        component.drain(Instant::now() + Duration::from_secs(2)).await;
    }
}

#[tokio::test]
async fn tls_on_a_plain_page_is_counted_by_its_name() {
    let running = Running::start(super::harness::BOTH).await;
    let (to, pages) = running.pages().await;
    assert!(ANY.connect(to).await.is_err());
    for _ in 0..100 {
        if running.counter_with("podgate_receiver_connections_closed", "tls_on_plain_port") == 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(running.counter_with("podgate_receiver_connections_closed", "tls_on_plain_port"), 1);
    pages.drain(Instant::now() + Duration::from_secs(2)).await;
}

//! A podgate process whose wall clock is set while it runs: container.id at the sampler's decision is right or missing,
//! never wrong, and right again within seconds.
//!
//! The clock is moved by a preloaded library that `cc` makes of tests/clock_process/shift.c; the monotonic clock goes on.

#![expect(clippy::unwrap_used, reason = "what a test's helpers unwrap ends that test, as it should")]

mod support;

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use podgate::core::data::budget::Budget;
use podgate::core::stage::host::Host;
use podgate::core::time::{StandIn, UnixNanos};
use podgate::lab::api_double::{PodSpec, Sandbox};
use support::{Sink, attribute, attribute_of, free_port, post_spans, request, span};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

const OK: i32 = 1;

/// A podgate process under a clock of its own.
struct Process {
    child: Child,
    shift: std::fs::File,
    folder: tempfile::TempDir,
    http: u16,
}

/// Makes the library.
fn library(folder: &Path) -> PathBuf {
    let library = folder.join("shift.so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clock_process/shift.c");
    let made =
        Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).args([&library, &source]).arg("-ldl").status();
    assert!(made.unwrap().success(), "cc makes the library");
    library
}

impl Process {
    async fn start(api_server: &str, sink: &Sink) -> Process {
        let (folder, http) = (tempfile::tempdir().unwrap(), free_port());
        let config = folder.path().join("config.yaml");
        let yaml = format!(
            "
receivers: {{otlp: {{protocols: {{http: {{endpoint: '127.0.0.1:{http}'}}}}}}}}
processors:
  k8s_attributes:
    wait_for_metadata: true
    filter: {{node: {}}}
    podgate: {{api_server: '{api_server}'}}
  tail_sampling: {{decision_wait: 1s, policies: [{{name: all, type: always_sample}}]}}
exporters:
  otlp_grpc: {{endpoint: '{}', tls: {{insecure: true}}, sending_queue: {{enabled: false}}}}
service:
  telemetry: {{metrics: {{level: none}}}}
  pipelines:
    traces: {{receivers: [otlp], processors: [k8s_attributes, tail_sampling], exporters: [otlp_grpc]}}
",
            PodSpec::NODE,
            sink.address
        );
        std::fs::write(&config, yaml).unwrap();
        let path = folder.path().join("shift");
        std::fs::write(&path, 0i64.to_ne_bytes()).unwrap();
        let shift = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_podgate"))
            .arg("--config")
            .arg(&config)
            .env("LD_PRELOAD", library(folder.path()))
            .env("SHIFT_FILE", &path)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let process = Process { child, shift, folder, http };
        for _ in 0..2_000 {
            if process.log().contains("everything is ready") {
                return process;
            }
            sleep(Duration::from_millis(10)).await;
        }
        panic!("never ready:\n{}", process.log());
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Sets the wall clock of the process this many seconds off ours.
    fn set(&self, seconds: i64) {
        self.shift.write_all_at(&seconds.to_ne_bytes(), 0).unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A cluster with one pod that has run for an hour, by a clock that is `off` seconds off ours.
async fn cluster(off: i64) -> (Arc<Sandbox>, String, String, watch::Sender<bool>) {
    let hour_ago = UnixNanos::now().saturating_sub(Duration::from_secs(3_600));
    let (sandbox, made) = {
        let _clock = StandIn::of(move || UnixNanos(hour_ago.0.saturating_add_signed(off * 1_000_000_000)));
        let sandbox = Sandbox::new(7);
        let made = sandbox.add_pod(PodSpec::deployed("shop", "cart", &["app"]));
        (sandbox, made)
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (stop, stopped) = watch::channel(false);
    let host = Host::new(Budget::unlimited());
    drop(host.tasks.spawn("sandbox", |pulse| sandbox.clone().serve(listener, stopped, pulse)));
    (sandbox, url, made.uid, stop)
}

/// Sends a trace every quarter of a second, stamped by the clock that is `off` seconds off ours, until one comes out with
/// the right id. Returns how long that took; a wrong id fails the test.
async fn until_right(process: &Process, sink: &Sink, uid: &str, truth: &str, off: i64) -> Duration {
    let (began, seen) = (Instant::now(), sink.spans().len());
    for number in 1..200u64 {
        let trace = u128::from(UnixNanos::now().0) << 16 | u128::from(number);
        let mut one = span(trace, number, OK);
        for time in [&mut one.start_time_unix_nano, &mut one.end_time_unix_nano] {
            *time = time.saturating_add_signed(off * 1_000_000_000);
        }
        assert_eq!(post_spans(process.http, &request(vec![attribute("k8s.pod.uid", uid)], vec![one])).await, 200);
        sleep(Duration::from_millis(250)).await;
        let arrived = sink.spans();
        let ids: Vec<_> = arrived[seen..].iter().map(|(resource, _)| attribute_of(resource, "container.id")).collect();
        assert!(ids.iter().flatten().all(|id| *id == truth), "a wrong id: {ids:?}, not {truth}");
        if ids.iter().flatten().next().is_some() {
            return began.elapsed();
        }
    }
    panic!("no id in {:?}:\n{}", began.elapsed(), process.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_at_the_decision_are_right_again_within_seconds_after_the_clock_was_set_either_way() {
    let sink = Sink::start().await;
    let (sandbox, url, uid, _stop) = cluster(0).await;
    let truth = sandbox.truth()[0].id.clone();
    let process = Process::start(&url, &sink).await;
    until_right(&process, &sink, &uid, &truth, 0).await;
    for off in [60, -120, 3_600] {
        process.set(off);
        let took = until_right(&process, &sink, &uid, &truth, off).await;
        assert!(took < Duration::from_secs(12), "set to {off} s: right after {took:?}");
    }
}

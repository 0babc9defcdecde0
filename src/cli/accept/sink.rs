//! `podgate accept sink`: the next hop of the podgate under test. Counts what arrives, and keeps the count in a ConfigMap, where
//! whoever began the run reads it without the right to read logs.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::sleep;

use crate::cli::accept::cluster::AcceptCluster;
use crate::cli::accept::note::SIGNALS;
use crate::cli::accept::objects::{RESULTS, SINK_PORT, TALLY};
use crate::cli::accept::tally::ArrivalTally;
use crate::cli::{Exit, run};
use crate::core::data::payload::Signal;
use crate::core::lock::Locked;
use crate::kube::client::{Api, Credentials};
use crate::net::pages::page;
use crate::net::pages::page::{PageFn, PageRequest, PageResponse};
use crate::otlp::envelope;
use crate::telemetry::stdout;

const WRITE_EVERY: Duration = Duration::from_secs(1);

#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Namespace of the ConfigMap that takes the count
    #[arg(long)]
    namespace: String,
    /// Address to listen on; the pod's own
    #[arg(long)]
    address: IpAddr,
}

pub fn run(args: &Args) -> Exit {
    match run::to_end(serve(args)) {
        Err(exit) => exit,
        Ok(Ok(())) => Exit::Ok,
        Ok(Err(why)) => {
            stdout::error_line(&why);
            Exit::Failure
        }
    }
}

async fn serve(args: &Args) -> Result<(), String> {
    let mut terminate = signal(SignalKind::terminate()).map_err(|error| format!("cannot hear SIGTERM: {error}"))?;
    let results = Results {
        cluster: AcceptCluster { api: Api::new(Credentials::ServiceAccount) },
        path: format!("/api/v1/namespaces/{}/configmaps/{RESULTS}", args.namespace),
    };
    // A sink that was restarted goes on where its predecessor wrote last.
    let sink = Arc::new(Sink { tally: Mutex::new(results.read().await?) });
    let address = SocketAddr::new(args.address, SINK_PORT);
    let listener = TcpListener::bind(address).await.map_err(|error| format!("cannot listen on {address}: {error}"))?;
    let (stop, stopped) = watch::channel(false);
    let pages = sink.clone().pages();
    let write = async {
        let mut written = String::new();
        loop {
            sleep(WRITE_EVERY).await;
            results.write(&sink, &mut written).await;
        }
    };
    tokio::select! {
        () = page::serve(listener, pages, stopped) => {}
        () = write => {}
        _ = terminate.recv() => {}
    }
    drop(stop);
    results.write(&sink, &mut String::new()).await;
    Ok(())
}

/// The ConfigMap.
struct Results {
    cluster: AcceptCluster,
    path: String,
}

impl Results {
    async fn read(&self) -> Result<ArrivalTally, String> {
        let object =
            self.cluster.get(&self.path).await.map_err(|fault| format!("cannot read {}: {fault}", self.path))?;
        ArrivalTally::read(object["data"][TALLY].as_str().unwrap_or_default())
            .ok_or_else(|| format!("{} holds no tally under {TALLY}", self.path))
    }

    /// Writes what is not `written` yet; what fails is tried again at the next turn.
    async fn write(&self, sink: &Sink, written: &mut String) {
        let text = sink.lock().text();
        if text == *written {
            return;
        }
        match self.cluster.patch(&self.path, &json!({"data": {TALLY: text}})).await {
            Ok(_) => *written = text,
            Err(fault) => stdout::error_line(&format!("cannot write {}: {fault}", self.path)),
        }
    }
}

struct Sink {
    // Short, never across an await.
    tally: Mutex<ArrivalTally>,
}

impl Sink {
    fn pages(self: Arc<Sink>) -> PageFn {
        Arc::new(move |request| Box::pin(std::future::ready(self.answer(request))))
    }

    fn lock(&self) -> MutexGuard<'_, ArrivalTally> {
        self.tally.locked()
    }

    fn answer(&self, request: PageRequest) -> PageResponse {
        if request.path == "/readyz" {
            return PageResponse::text(200, "ready\n");
        }
        let signal = request.path.strip_prefix("/v1/").and_then(Signal::parse);
        let Some(signal) = signal.filter(|signal| SIGNALS.contains(signal)) else {
            return PageResponse::text(404, "traces, metrics and logs end here: /v1/traces, /v1/metrics, /v1/logs\n");
        };
        match envelope::decode(request.body) {
            Ok(envelope) => self.lock().take(signal, &envelope),
            Err(fault) => return PageResponse::text(400, format!("not OTLP: {fault}\n")),
        }
        PageResponse::full(200, "application/x-protobuf", Bytes::new())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::cli::accept::batch::Maker;
    use crate::core::time::UnixNanos;

    fn post(sink: &Sink, path: &str, body: Bytes) -> u16 {
        let (method, path) = ("POST".to_owned(), path.to_owned());
        sink.answer(PageRequest { method, path, query: BTreeMap::new(), headers: Vec::new(), body }).status
    }

    #[test]
    fn requests_are_counted_by_their_path_and_others_are_refused() {
        let sink = Sink { tally: Mutex::default() };
        let mut maker = Maker::new(&[], "00000000000000aa", UnixNanos::from_secs(1));
        maker.work(UnixNanos::from_secs(2), &mut fastrand::Rng::with_seed(7));
        for signal in SIGNALS {
            let request = maker.batch(signal, UnixNanos::from_secs(3)).expect("a request");
            assert_eq!(post(&sink, &format!("/v1/{}", signal.name()), request.body), 200);
        }
        assert_eq!(sink.lock().entries().map(|(_, signal, _, items)| (signal, items)).collect::<Vec<_>>().len(), 3);
        assert_eq!(post(&sink, "/v1/traces", Bytes::from_static(b"\xff")), 400);
        assert_eq!(post(&sink, "/v1/profiles", Bytes::new()), 404);
        assert_eq!(post(&sink, "/readyz", Bytes::new()), 200);
    }
}

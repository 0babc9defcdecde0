//! The next hop of documents: answers `_bulk` as Elasticsearch does, each document created, and counts them.

use std::convert::Infallible;
use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use podgate::telemetry::stdout;

use crate::sink;

const WHO: &str = r#"{"name":"sink","cluster_name":"sink","version":{"number":"9.2.0","build_flavor":"default"},
"tagline":"You Know, for Search"}"#;

/// Serves on a free port, which it prints; answers `count` on standard input with the documents.
pub fn run() {
    let documents = Arc::new(AtomicU64::new(0));
    sink::count_on_demand(documents.clone());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime starts");
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        stdout::line(&listener.local_addr().expect("bound").to_string());
        serve(listener, documents).await;
    });
}

/// Serves every connection of `listener`.
pub async fn serve(listener: TcpListener, documents: Arc<AtomicU64>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let _ = stream.set_nodelay(true);
        let documents = documents.clone();
        let service = service_fn(move |request| answer(request, documents.clone()));
        connections.spawn(async move {
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn answer(request: Request<Incoming>, documents: Arc<AtomicU64>) -> Result<Response<Full<Bytes>>, Infallible> {
    let is_bulk = request.uri().path().ends_with("_bulk");
    let is_packed = request.headers().get("content-encoding").is_some_and(|encoding| encoding == "gzip");
    let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let text = match (is_bulk, is_packed) {
        (false, _) => WHO.to_owned(),
        (true, false) => verdicts(&body, &documents),
        (true, true) => {
            let mut plain = Vec::new();
            let _ = MultiGzDecoder::new(body.as_ref()).read_to_end(&mut plain);
            verdicts(&plain, &documents)
        }
    };
    let answer = Response::builder().header("x-elastic-product", "Elasticsearch");
    let answer = answer.header("content-type", "application/json").body(Full::new(Bytes::from(text)));
    Ok(answer.unwrap_or_default())
}

/// One item for each action.
fn verdicts(lines: &[u8], documents: &AtomicU64) -> String {
    let actions = lines.split(|byte| *byte == b'\n').filter(|line| line.starts_with(b"{\"create\"")).count();
    documents.fetch_add(actions as u64, Ordering::Relaxed);
    let items = vec![r#"{"create":{"_index":"traces","status":201}}"#; actions].join(",");
    format!(r#"{{"took":1,"errors":false,"items":[{items}]}}"#)
}

//! The gateways: who is published under their name, how each behaves, and what it takes.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};

use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use podgate::core::data::payload::Signal;
use podgate::core::outside::{BoxSocket, GivenListener, Network, PendingIo};
use prost::Message;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::net::{Net, Way};
use crate::next_hop::{Answer, Manner, Said, grpc_answer};
use crate::otlp;
use crate::tiers::book::{Book, TakenSpan};

/// A gateway for as long as the simulation lasts: one that comes back is another.
pub type GatewayId = u16;

pub const PORT: u16 = 4317;

/// What happens to the tier.
#[derive(Clone, Copy, Debug)]
pub enum TierEvent {
    /// A new gateway is ready, and published.
    Comes,
    /// It is published no more, and serves on.
    Leaves(GatewayId),
    /// Its process is gone; whether it is published is another matter.
    Ends(GatewayId, Way),
    Behaves(GatewayId, Manner),
}

#[derive(Default)]
struct State {
    published: Vec<GatewayId>,
    manners: BTreeMap<GatewayId, Manner>,
    next: GatewayId,
}

/// All gateways. Dropping it ends them.
pub struct Fleet {
    book: Book,
    shared: Shared,
    servers: JoinSet<()>,
}

/// What agents and gateways share.
#[derive(Clone, Default)]
pub struct Shared {
    pub net: Net,
    state: Arc<Mutex<State>>,
}

/// As agents know it.
pub fn address(of: GatewayId) -> SocketAddr {
    let [high, low] = of.to_be_bytes();
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 1, high, low)), PORT)
}

/// The net knows listeners by ports alone.
fn door(of: GatewayId) -> u16 {
    1_000 + of
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("not poisoned")
    }

    /// What an agent at this address is given in place of the operating system's network.
    pub fn network_of(&self, agent: IpAddr) -> Arc<dyn Network> {
        Arc::new(AgentNetwork { shared: self.clone(), agent })
    }
}

impl Fleet {
    pub fn new(book: &Book, count: u16) -> Fleet {
        let mut fleet = Fleet { book: book.clone(), shared: Shared::default(), servers: JoinSet::new() };
        (0..count).for_each(|_| fleet.begin());
        fleet.publish();
        fleet
    }

    pub fn shared(&self) -> &Shared {
        &self.shared
    }

    pub fn published(&self) -> Vec<GatewayId> {
        self.shared.lock().published.clone()
    }

    fn begin(&mut self) {
        let mut state = self.shared.lock();
        let id = state.next;
        state.next += 1;
        state.published.push(id);
        drop(state);
        let gateway = Gateway { id, shared: self.shared.clone(), book: self.book.clone() };
        let knocks = self.shared.net.door(door(id));
        self.servers.spawn(gateway.run(knocks));
    }

    fn publish(&self) {
        let state = self.shared.lock();
        self.book.published(state.published.iter().map(|id| address(*id).to_string()).collect());
    }

    pub fn happen(&mut self, event: TierEvent) {
        match event {
            TierEvent::Comes => self.begin(),
            TierEvent::Leaves(id) => self.shared.lock().published.retain(|known| *known != id),
            TierEvent::Ends(id, way) => {
                self.book.ends(id);
                self.shared.net.set(door(id), way);
            }
            TierEvent::Behaves(id, manner) => _ = self.shared.lock().manners.insert(id, manner),
        }
        self.publish();
    }

    /// All that are published serve, and those that are gone are published no more.
    pub fn mend(&mut self) {
        let mut state = self.shared.lock();
        state.manners.clear();
        let net = self.shared.net.clone();
        state.published.retain(|id| net.is_open(door(*id)));
        drop(state);
        self.publish();
    }
}

#[derive(Clone)]
struct Gateway {
    id: GatewayId,
    shared: Shared,
    book: Book,
}

impl Gateway {
    async fn run(self, mut knocks: tokio::sync::mpsc::UnboundedReceiver<(BoxSocket, SocketAddr)>) {
        let mut open = JoinSet::new();
        while let Some((socket, _)) = knocks.recv().await {
            while open.try_join_next().is_some() {}
            let gateway = self.clone();
            open.spawn(async move {
                let service = service_fn(move |request| gateway.clone().respond(request));
                let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                // How a connection ends is part of the script.
                let _ = builder.serve_connection(TokioIo::new(socket), service).await;
            });
        }
    }

    async fn respond(self, request: Request<Incoming>) -> Result<Response<Answer>, Infallible> {
        let Ok(body) = request.into_body().collect().await else { return std::future::pending().await };
        let message = body.to_bytes();
        let spans = spans_of(message.get(5..).unwrap_or_default());
        let manner = self.shared.lock().manners.get(&self.id).copied().unwrap_or_default();
        let mut said = Said::default();
        let is_heard = match manner {
            Manner::Slow(after) => {
                self.book.takes(self.id, &spans);
                sleep(after).await;
                true
            }
            Manner::Mute => {
                self.book.takes(self.id, &spans);
                return std::future::pending().await;
            }
            Manner::Refuses { after } => {
                (said.grpc, said.after) = (14, after);
                return Ok(grpc_answer(&said));
            }
            Manner::Partial(count) => {
                let rejected = count.min(spans.len());
                said.body = otlp::response(Signal::Traces, rejected as u64);
                self.book.rejects(&spans[..rejected]);
                self.book.takes(self.id, &spans[rejected..]);
                true
            }
            _ => {
                self.book.takes(self.id, &spans);
                true
            }
        };
        if is_heard && self.shared.net.is_open(door(self.id)) {
            self.book.answers(self.id, &spans);
        }
        Ok(grpc_answer(&said))
    }
}

fn spans_of(message: &[u8]) -> Vec<TakenSpan> {
    let request = ExportTraceServiceRequest::decode(message).expect("agents send what stock code reads");
    let scopes = request.resource_spans.into_iter().flat_map(|group| group.scope_spans);
    let spans = scopes.flat_map(|scope| {
        let attempt = scope.scope.and_then(|scope| scope.version.parse().ok()).unwrap_or(0);
        scope.spans.into_iter().map(move |span| TakenSpan {
            item: span.span_id.try_into().map_or(0, u64::from_be_bytes),
            attempt,
            trace_id: span.trace_id.try_into().unwrap_or_default(),
        })
    });
    spans.collect()
}

/// The network as one agent sees it.
struct AgentNetwork {
    shared: Shared,
    agent: IpAddr,
}

impl Network for AgentNetwork {
    fn listen(&self, _: SocketAddr) -> std::io::Result<Box<dyn GivenListener>> {
        Err(std::io::ErrorKind::Unsupported.into())
    }

    fn connect<'a>(&'a self, host: &'a str, _: u16) -> PendingIo<'a, BoxSocket> {
        Box::pin(async move {
            let unknown = || std::io::Error::from(std::io::ErrorKind::NotFound);
            let address: Ipv4Addr = host.parse().map_err(|_| unknown())?;
            let [.., high, low] = address.octets();
            self.shared.net.connect_from(self.agent, door(u16::from_be_bytes([high, low]))).await
        })
    }

    fn look_up<'a>(&'a self, _: &'a str, _: u16) -> PendingIo<'a, Vec<SocketAddr>> {
        let published = self.shared.lock().published.iter().map(|id| address(*id)).collect();
        Box::pin(std::future::ready(Ok(published)))
    }
}

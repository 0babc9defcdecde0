//! Senders: one process is one run of one container. It makes items, batches them, sends, repeats and gives up as an SDK does.

use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use podgate::core::data::payload::Signal;
use tokio::time::{Instant, sleep, timeout};

use crate::net::Net;
use crate::otlp::{self, Thing};
use crate::truth::{Attempt, Heard, Made, Truth};
use crate::world::World;

pub const GRPC: u16 = 4317;
pub const HTTP: u16 = 4318;

/// How one kind of sender goes about it.
#[derive(Clone, Debug)]
pub struct Habits {
    pub signal: Signal,
    pub grpc: bool,
    /// From one export to the next.
    pub batch: Duration,
    /// Items made in each of these spans of time.
    pub items: usize,
    /// A new connection for each request.
    pub renews: bool,
    /// Longest wait for an answer.
    pub deadline: Duration,
    /// Sends what was refused or unanswered again for so long; zero gives up at once.
    pub repeats: Duration,
    /// Pause between two sendings of one request.
    pub pause: Duration,
    /// Which of its names the process puts on the resource.
    pub names: Vec<&'static str>,
    /// Log records with this text that cannot be told apart.
    pub twin: Option<&'static str>,
}

impl Default for Habits {
    fn default() -> Habits {
        Habits {
            signal: Signal::Traces,
            grpc: true,
            batch: Duration::from_secs(1),
            items: 4,
            renews: false,
            deadline: Duration::from_secs(10),
            repeats: Duration::from_secs(60),
            pause: Duration::from_secs(1),
            names: vec!["k8s.pod.uid", "k8s.container.name", "service.name", "service.instance.id"],
            twin: None,
        }
    }
}

/// Who sends.
#[derive(Clone, Debug, Default)]
pub struct Identity {
    pub address: Option<IpAddr>,
    /// The id of the run; empty outside of pods.
    pub container: String,
    pub attributes: Vec<(String, String)>,
}

/// An open connection of a sender.
enum Link {
    Grpc(hyper::client::conn::http2::SendRequest<Full<Bytes>>),
    Http(hyper::client::conn::http1::SendRequest<Full<Bytes>>),
}

pub struct Sender {
    world: World,
    habits: Habits,
    identity: Identity,
    link: Option<Link>,
}

impl Sender {
    pub fn new(world: World, habits: Habits, identity: Identity) -> Sender {
        Sender { world, habits, identity, link: None }
    }

    /// Makes and sends until it is dropped, as a killed process is.
    pub async fn run(mut self) {
        loop {
            let things = self.make(self.habits.items);
            sleep(self.habits.batch).await;
            self.export(things).await;
        }
    }

    /// Items made now.
    pub fn make(&self, count: usize) -> Vec<Thing> {
        let truth = &self.world.truth;
        let trace = truth.number();
        (0..count)
            .map(|at| {
                let now = self.world.clock.now();
                let made =
                    Made { signal: self.habits.signal, container: self.identity.container.clone(), trace, at: now };
                let twin = self.habits.twin.map(str::to_owned);
                let failed = trace.is_multiple_of(5) && at == 0;
                Thing { item: truth.make(made), trace, made: now, failed, twin }
            })
            .collect()
    }

    /// One request until it is answered for good or the patience is over. True when it was acknowledged.
    pub async fn export(&mut self, things: Vec<Thing>) -> bool {
        let give_up = Instant::now() + self.habits.repeats;
        loop {
            match self.send(&things).await {
                Heard::Acknowledged { .. } => return true,
                Heard::Failed => return false,
                Heard::Refused | Heard::Nothing => {}
            }
            if Instant::now() + self.habits.pause > give_up {
                return false;
            }
            sleep(self.habits.pause).await;
        }
    }

    async fn send(&mut self, things: &[Thing]) -> Heard {
        let truth = self.world.truth.clone();
        let attempt = truth.send(things.iter().map(|thing| thing.item).collect());
        let mut abandoned = Abandoned { truth: &truth, attempt, over: false };
        let body = otlp::request(self.habits.signal, &self.identity.attributes, attempt, things);
        let deadline = self.habits.deadline;
        let heard = match timeout(deadline, self.exchange(body)).await {
            Ok(Some(heard)) => heard,
            Ok(None) | Err(_) => {
                self.link = None;
                Heard::Nothing
            }
        };
        if self.habits.renews {
            self.link = None;
        }
        abandoned.over = true;
        truth.hear(attempt, heard.clone());
        if let (Heard::Acknowledged { .. }, Some(twin)) = (&heard, self.habits.twin) {
            truth.facts().twins.entry(twin.to_owned()).or_default().0 += things.len() as u64;
        }
        heard
    }

    /// `None` when the connection broke.
    async fn exchange(&mut self, body: Vec<u8>) -> Option<Heard> {
        if self.link.is_none() {
            self.link = Some(connect(&self.world.net, self.identity.address, self.habits.grpc).await?);
        }
        let signal = self.habits.signal;
        match self.link.as_mut()? {
            Link::Grpc(sender) => {
                sender.ready().await.ok()?;
                let answer = sender.send_request(grpc_request(signal, &body, self.habits.deadline)).await.ok()?;
                let (head, body) = answer.into_parts();
                let collected = body.collect().await.ok()?;
                let trailers = collected.trailers().cloned().unwrap_or_default();
                Some(heard_grpc(signal, &head.headers, &trailers, &collected.to_bytes()))
            }
            Link::Http(sender) => {
                sender.ready().await.ok()?;
                let answer = sender.send_request(http_request(signal, body)).await.ok()?;
                let status = answer.status().as_u16();
                let body = answer.into_body().collect().await.ok()?.to_bytes();
                Some(match status {
                    200 => Heard::Acknowledged { rejected: otlp::rejected(signal, &body) },
                    429 | 502 | 503 | 504 => Heard::Refused,
                    _ => Heard::Failed,
                })
            }
        }
    }
}

/// A process that is killed while it waits: from then on nobody does.
struct Abandoned<'a> {
    truth: &'a Truth,
    attempt: Attempt,
    over: bool,
}

impl Drop for Abandoned<'_> {
    fn drop(&mut self) {
        if !self.over {
            self.truth.hear(self.attempt, Heard::Nothing);
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a connection ends with its sender's half")]
async fn connect(net: &Net, from: Option<IpAddr>, grpc: bool) -> Option<Link> {
    let from = from.unwrap_or(IpAddr::V4(std::net::Ipv4Addr::new(192, 168, 7, 7)));
    let socket = net.connect_from(from, if grpc { GRPC } else { HTTP }).await.ok()?;
    let io = TokioIo::new(socket);
    if grpc {
        let (sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.ok()?;
        tokio::spawn(connection);
        Some(Link::Grpc(sender))
    } else {
        let (sender, connection) = hyper::client::conn::http1::handshake(io).await.ok()?;
        tokio::spawn(connection);
        Some(Link::Http(sender))
    }
}

fn grpc_request(signal: Signal, body: &[u8], deadline: Duration) -> Request<Full<Bytes>> {
    let (package, service) = match signal {
        Signal::Traces => ("trace", "TraceService"),
        Signal::Logs => ("logs", "LogsService"),
        _ => ("metrics", "MetricsService"),
    };
    let path = format!("http://gateway/opentelemetry.proto.collector.{package}.v1.{service}/Export");
    let mut framed = vec![0];
    framed.extend_from_slice(&(body.len() as u32).to_be_bytes());
    framed.extend_from_slice(body);
    Request::post(path)
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("grpc-timeout", format!("{}m", deadline.as_millis()))
        .body(Full::new(Bytes::from(framed)))
        .expect("a request")
}

fn http_request(signal: Signal, body: Vec<u8>) -> Request<Full<Bytes>> {
    let path = match signal {
        Signal::Traces => "/v1/traces",
        Signal::Logs => "/v1/logs",
        _ => "/v1/metrics",
    };
    Request::post(path)
        .header("host", "gateway")
        .header("content-type", "application/x-protobuf")
        .body(Full::new(Bytes::from(body)))
        .expect("a request")
}

fn heard_grpc(signal: Signal, head: &HeaderMap, trailers: &HeaderMap, body: &[u8]) -> Heard {
    let status = trailers.get("grpc-status").or_else(|| head.get("grpc-status"));
    let code = status.and_then(|status| status.to_str().ok()?.parse::<u32>().ok());
    match code {
        Some(0) => Heard::Acknowledged { rejected: otlp::rejected(signal, body.get(5..).unwrap_or_default()) },
        // The server's word that the deadline passed: as if nothing had been heard.
        Some(4) | None => Heard::Nothing,
        // Codes that OTLP calls retryable.
        Some(1 | 8 | 10 | 11 | 14 | 15) => Heard::Refused,
        Some(_) => Heard::Failed,
    }
}

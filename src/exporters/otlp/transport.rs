//! One OTLP request, once: over gRPC or over HTTP/protobuf, the answer classed by the one status table.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::header::AUTHORIZATION;
use http::{Method, Uri};
use tokio::time::Instant;

use crate::core::data::budget::Budget;
use crate::core::data::payload::{Payload, Signal};
use crate::core::outside::Outside;
use crate::core::stage::component::Task;
use crate::exporters::otlp::answer::{PartialSuccess, clipped, partial_success, status};
use crate::exporters::otlp::answer_json::partial_success_json;
use crate::exporters::otlp::config::{OtlpSettings, Route};
use crate::exporters::otlp::cure::{ExporterFacts, NO_COMPRESSION_THERE, is_about_compression};
use crate::net::client::Client;
use crate::net::client::compress::Compression;
use crate::net::client::failure::CallFailure;
use crate::net::client::grpc::{Code, GrpcMethod, GrpcReply, replace};
use crate::net::client::http::{HttpReply, HttpRequest};
use crate::net::client::settings::ClientSettings;
use crate::net::client::target::Scheme;
use crate::otlp::envelope::{copied_len, encode_chunks, encoded_len};
use crate::sending::client::RequestCredentials;
use crate::sending::deliver::{RequestTransport, SendAnswer};
use crate::sending::outcome::answer::{AnswerClass, AnswerFault, of_grpc, of_http};
use crate::sending::report::condition::Trouble;

/// A request is sent again at once without compression, or to where it is redirected, so often at most in all.
const SENDS_MAX: usize = 4;
/// Bytes gathered into one piece of a request; longer items go out as they are.
const PIECE_BYTES: usize = 64 << 10;
/// The list of pieces, and the short buffers between long ones, take this part of the request at most: an entry and a
/// head for each 4 KiB.
const PIECE_LISTED_PART: usize = 32;

/// The protocol of an exporter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExportProtocol {
    Grpc,
    Http,
}

pub struct OtlpTransport {
    protocol: ExportProtocol,
    settings: OtlpSettings,
    scene: ExporterFacts,
    clients: Vec<Client>,
    /// As configured and without compression, by signal.
    methods: [[GrpcMethod; 4]; 2],
    destination: String,
    credentials: RequestCredentials,
    /// The next hop said that it cannot decompress; it is believed until the next start.
    plain: AtomicBool,
}

/// gRPC methods by signal (opentelemetry-proto, collector/*/v1).
const METHODS: [&str; 4] = [
    "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
    "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
    "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
    "/opentelemetry.proto.collector.profiles.v1development.ProfilesService/Export",
];

impl OtlpTransport {
    pub fn new(protocol: ExportProtocol, settings: OtlpSettings, outside: &Outside) -> OtlpTransport {
        let client = |settings| Client::within(outside.clone(), settings);
        let clients: Vec<Client> = settings.clients.iter().cloned().map(client).collect();
        let addresses: Vec<String> = settings.clients.iter().map(ClientSettings::address).collect();
        let scene = ExporterFacts {
            authorized: settings.auth.is_some() || settings.headers.contains_key(AUTHORIZATION),
            preset: settings.preset,
        };
        let compressions = [settings.compression, Compression::None];
        let methods = compressions
            .map(|compression| METHODS.map(|path| GrpcMethod::new(path, compression, settings.headers.clone())));
        OtlpTransport {
            protocol,
            scene,
            destination: addresses.join(", "),
            clients,
            methods,
            settings,
            credentials: RequestCredentials::default(),
            plain: AtomicBool::new(false),
        }
    }

    /// The same, with an authenticator's headers on every request.
    pub fn authorized_by(self, credentials: RequestCredentials) -> OtlpTransport {
        OtlpTransport { credentials, ..self }
    }

    /// The same, with answers paid for by `budget`.
    pub fn charging(mut self, budget: &Arc<Budget>) -> OtlpTransport {
        self.clients = self.clients.into_iter().map(|client| client.charging(budget.clone())).collect();
        self
    }

    /// Every address, for people.
    pub fn destination(&self) -> &str {
        &self.destination
    }

    /// Where requests of a signal go, and who brings them there.
    fn client(&self, signal: Signal) -> Option<(&Route, &Client)> {
        let route = self.settings.routes[signal.index()].as_ref()?;
        Some((route, self.clients.get(route.client)?))
    }

    fn compression(&self) -> Compression {
        if self.plain.load(Ordering::Relaxed) { Compression::None } else { self.settings.compression }
    }

    /// True the first time a compressed request is refused for its compression: it may be sent again without.
    fn may_go_plain(&self, compression: Compression, refused: bool) -> bool {
        refused && compression != Compression::None
    }

    /// An uncompressed request was taken where a compressed one was refused.
    fn go_plain(&self, answer: &SendAnswer) {
        if matches!(answer, SendAnswer::Taken { .. }) && !self.plain.swap(true, Ordering::Relaxed) {
            let cure = NO_COMPRESSION_THERE;
            tracing::warn!(next_hop = %self.destination, cure, "the next hop refuses compression; podgate sends without it from now on");
        }
    }

    async fn grpc(&self, client: &Client, payload: &Payload, deadline: Instant) -> SendAnswer {
        let compression = self.compression();
        match self.grpc_once(client, payload, deadline, compression).await {
            Ok(reply)
                if self.may_go_plain(
                    compression,
                    reply.code == Code::UNIMPLEMENTED && is_about_compression(&reply.message),
                ) =>
            {
                let again = self.grpc_once(client, payload, deadline, Compression::None).await;
                let answer =
                    again.map_or_else(|failure| self.no_answer(&failure), |reply| self.understand_grpc(&reply));
                self.go_plain(&answer);
                answer
            }
            Ok(reply) => self.understand_grpc(&reply),
            Err(failure) => self.no_answer(&failure),
        }
    }

    async fn grpc_once(
        &self,
        client: &Client,
        payload: &Payload,
        deadline: Instant,
        compression: Compression,
    ) -> Result<GrpcReply, CallFailure> {
        let method = &self.methods[usize::from(compression == Compression::None)][payload.signal.index()];
        let parts = || encode_chunks(&payload.envelope, PIECE_BYTES);
        match self.credentials.headers(&self.settings.headers, Some(&payload.origin), deadline).await? {
            None => client.grpc_unary(method, parts(), deadline).await,
            Some(headers) => client.grpc_unary(&method.with(headers), parts(), deadline).await,
        }
    }

    fn understand_grpc(&self, reply: &GrpcReply) -> SendAnswer {
        if reply.code == Code::OK {
            return taken(&reply.body);
        }
        let details = status(reply.details.as_deref().unwrap_or_default());
        let after = details.retry_after.or(reply.pushback);
        let class = of_grpc(reply.code, after.is_some(), &reply.message, self.settings.preset.profile());
        let trouble = self.scene.grpc_status(reply.code, clipped(reply.message.as_bytes()));
        self.with_another_credential(reply.code == Code::UNAUTHENTICATED, classed(class, after, trouble))
    }

    /// A credential that an authenticator gave may have been replaced at the next hop before it was here: the request is
    /// tried again, though no more often than after other answers that the specification calls final.
    fn with_another_credential(&self, unauthenticated: bool, answer: SendAnswer) -> SendAnswer {
        match answer {
            SendAnswer::Never { trouble, .. } if unauthenticated && self.credentials.refused() => {
                SendAnswer::Later { after: None, off_spec: true, trouble }
            }
            answer => answer,
        }
    }

    async fn http(&self, client: &Client, route: &Route, payload: &Payload, deadline: Instant) -> SendAnswer {
        let (mut compression, mut path, mut plain) = (self.compression(), route.path.clone(), false);
        let mut headers = self.settings.headers.clone();
        match self.credentials.headers(&self.settings.headers, Some(&payload.origin), deadline).await {
            Ok(own) => replace(&mut headers, own.unwrap_or_default()),
            Err(failure) => return self.no_answer(&failure),
        }
        for _ in 0..SENDS_MAX {
            let request = HttpRequest {
                method: Method::POST,
                path: path.clone(),
                content_type: "application/x-protobuf",
                headers: headers.clone(),
                parts: encode_chunks(&payload.envelope, PIECE_BYTES),
                compression,
                deadline,
            };
            let reply = match client.http(request).await {
                Ok(reply) => reply,
                Err(failure) => return self.no_answer(&failure),
            };
            let words = String::from_utf8_lossy(&reply.body[..reply.body.len().min(1024)]);
            let refused = reply.status == 415 || reply.status == 400 && is_about_compression(&words);
            if self.may_go_plain(compression, refused) {
                (compression, plain) = (Compression::None, true);
                continue;
            }
            if let Some(moved) = redirect(&reply, client, &path) {
                path = moved;
                continue;
            }
            let answer = self.understand_http(&reply);
            if plain {
                self.go_plain(&answer);
            }
            return answer;
        }
        let message = format!("the next hop redirects endlessly, most recently to {path}");
        classed(AnswerClass::Never(AnswerFault::Request), None, self.scene.http_status(308, message))
    }

    fn understand_http(&self, reply: &HttpReply) -> SendAnswer {
        let class = of_http(reply.status, self.settings.preset.profile());
        let protobuf = reply.content_type.starts_with("application/x-protobuf");
        if class == AnswerClass::Taken
            && ["application/grpc", "text/html"].iter().any(|other| reply.content_type.starts_with(other))
        {
            // A gRPC server's "no such method" and a proxy's welcome page are 200 too, and took nothing.
            let message = format!("the answer has content type {:?}, so this is not OTLP/HTTP", reply.content_type);
            return classed(AnswerClass::Never(AnswerFault::Request), None, self.scene.not_otlp(reply.status, message));
        }
        if class == AnswerClass::Taken {
            let json = reply.content_type.starts_with("application/json");
            let partial = match (protobuf, json) {
                (true, _) => partial_success(&reply.body),
                (false, true) => partial_success_json(&reply.body),
                (false, false) => PartialSuccess::default(),
            };
            return SendAnswer::Taken { rejected: partial.rejected, message: partial.message };
        }
        let details = status(if protobuf { &reply.body } else { b"" });
        let message = if protobuf { details.message } else { clipped(&reply.body) };
        let after = reply.retry_after.or(details.retry_after);
        let answer = classed(class, after, self.scene.http_status(reply.status, message));
        self.with_another_credential(reply.status == 401, answer)
    }

    fn no_answer(&self, failure: &CallFailure) -> SendAnswer {
        let trouble = self.scene.no_answer(failure);
        match failure {
            // The peer answered: it may have taken the data, and its answers will not get better (OTLP client rule C2).
            CallFailure::AnswerTooLarge { .. } | CallFailure::Malformed(_) => {
                SendAnswer::Never { fault: AnswerFault::Request, trouble }
            }
            _ => SendAnswer::Later { after: None, off_spec: false, trouble },
        }
    }
}

/// The path a 307 or 308 leads to, when it is another one on the same scheme, host and port: credentials go nowhere else.
fn redirect(reply: &HttpReply, client: &Client, path: &str) -> Option<String> {
    if !matches!(reply.status, 307 | 308) {
        return None;
    }
    let location = reply.location.parse::<Uri>().ok()?;
    let target = &client.settings().target;
    let same = match (location.scheme_str(), location.authority()) {
        (None, None) => true,
        (Some(scheme), Some(authority)) => {
            let own = if target.scheme == Scheme::Https { "https" } else { "http" };
            scheme.eq_ignore_ascii_case(own) && authority.as_str().eq_ignore_ascii_case(target.authority().as_str())
        }
        _ => false,
    };
    let moved = location.path_and_query()?.as_str();
    (same && moved.starts_with('/') && moved != path).then(|| moved.to_owned())
}

fn taken(response: &[u8]) -> SendAnswer {
    let partial = partial_success(response);
    SendAnswer::Taken { rejected: partial.rejected, message: partial.message }
}

fn classed(class: AnswerClass, after: Option<std::time::Duration>, trouble: Trouble) -> SendAnswer {
    match class {
        AnswerClass::Taken => SendAnswer::Taken { rejected: 0, message: String::new() },
        AnswerClass::Later => SendAnswer::Later { after, off_spec: false, trouble },
        AnswerClass::LaterOffSpec => SendAnswer::Later { after, off_spec: true, trouble },
        AnswerClass::Never(fault) => SendAnswer::Never { fault, trouble },
    }
}

impl RequestTransport for OtlpTransport {
    fn send<'a>(
        &'a self,
        payload: &'a Payload,
        deadline: Instant,
    ) -> Pin<Box<dyn Future<Output = SendAnswer> + Send + 'a>> {
        Box::pin(async move {
            let Some((route, client)) = self.client(payload.signal) else {
                return no_endpoint(payload.signal);
            };
            match self.protocol {
                ExportProtocol::Grpc => self.grpc(client, payload, deadline).await,
                ExportProtocol::Http => self.http(client, route, payload, deadline).await,
            }
        })
    }

    fn is_ready(&self, signal: Signal) -> bool {
        self.client(signal).is_none_or(|(_, client)| client.is_ready())
    }

    fn ready(&self, signal: Signal, deadline: Instant) -> Task<'_, ()> {
        Box::pin(async move {
            if let Some((_, client)) = self.client(signal) {
                client.ready(deadline).await;
            }
        })
    }

    fn working_bytes(&self, payload: &Payload) -> u64 {
        let (copied, length) = (copied_len(&payload.envelope), encoded_len(&payload.envelope));
        let packed = match self.settings.compression {
            Compression::None => 0,
            // At most, for data that does not compress.
            // A block of snappy is made of all of it at once.
            Compression::SnappyBlock => 2 * length,
            _ => length,
        };
        (copied + packed + length / PIECE_LISTED_PART) as u64
    }

    fn destination(&self) -> &str {
        &self.destination
    }

    fn close(&self) -> Task<'_, ()> {
        Box::pin(async move {
            for client in &self.clients {
                client.close().await;
            }
        })
    }
}

fn no_endpoint(signal: Signal) -> SendAnswer {
    let trouble = Trouble {
        code: "no endpoint".to_owned(),
        message: format!("neither endpoint nor {}_endpoint is configured", signal.name()),
        cure: Some("set endpoint".to_owned()),
    };
    SendAnswer::Never { fault: AnswerFault::Request, trouble }
}

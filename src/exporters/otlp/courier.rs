//! One OTLP request, once: over gRPC or over HTTP/protobuf, the answer classed by the one status table.

use std::future::Future;
use std::pin::Pin;

use http::Method;
use http::header::AUTHORIZATION;
use tokio::time::Instant;

use crate::core::component::Task;
use crate::core::payload::{Payload, Signal};
use crate::exporters::otlp::answer::{clipped, partial_success, status};
use crate::exporters::otlp::config::{OtlpSettings, Route};
use crate::exporters::otlp::cure::Scene;
use crate::exporters::sending::condition::Trouble;
use crate::exporters::sending::deliver::{Answer, Courier};
use crate::exporters::sending::status::{Class, Fault, Profile, of_grpc, of_http};
use crate::net::client::Client;
use crate::net::client::compress::Compression;
use crate::net::client::failure::Failure;
use crate::net::client::grpc::{Code, GrpcCall, GrpcReply};
use crate::net::client::http::{HttpReply, HttpRequest};
use crate::otlp::envelope::{copied_len, encode_chunks, encoded_len};

/// Bytes gathered into one piece of a request; longer items go out as they are.
const PIECE_BYTES: usize = 64 << 10;

/// The protocol of an exporter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Grpc,
    Http,
}

pub struct OtlpCourier {
    protocol: Protocol,
    settings: OtlpSettings,
    scene: Scene,
    clients: Vec<Client>,
    destination: String,
}

/// gRPC methods by signal (opentelemetry-proto, collector/*/v1).
const METHODS: [&str; 4] = [
    "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
    "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
    "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
    "/opentelemetry.proto.collector.profiles.v1development.ProfilesService/Export",
];

impl OtlpCourier {
    pub fn new(protocol: Protocol, settings: OtlpSettings) -> OtlpCourier {
        let clients: Vec<Client> = settings.clients.iter().cloned().map(Client::new).collect();
        let addresses: Vec<&str> = settings.clients.iter().map(|client| client.target.authority().as_str()).collect();
        let scene = Scene {
            authorized: settings.headers.contains_key(AUTHORIZATION),
            apm_server: settings.profile == Profile::ApmServer,
        };
        OtlpCourier { protocol, scene, destination: addresses.join(", "), clients, settings }
    }

    async fn grpc(&self, client: &Client, payload: &Payload, deadline: Instant) -> Answer {
        let call = GrpcCall {
            path: METHODS[payload.signal.index()],
            parts: encode_chunks(&payload.envelope, PIECE_BYTES),
            compression: self.settings.compression,
            headers: self.settings.headers.clone(),
            deadline,
        };
        match client.grpc_unary(call).await {
            Ok(reply) => self.understand_grpc(&reply),
            Err(failure) => self.no_answer(&failure),
        }
    }

    fn understand_grpc(&self, reply: &GrpcReply) -> Answer {
        if reply.code == Code::OK {
            return taken(&reply.body);
        }
        let details = status(reply.details.as_deref().unwrap_or_default());
        let after = details.retry_after.or(reply.pushback);
        let class = of_grpc(reply.code, after.is_some(), self.settings.profile);
        let trouble = self.scene.grpc_status(reply.code, clipped(reply.message.as_bytes()));
        classed(class, after, trouble)
    }

    async fn http(&self, client: &Client, route: &Route, payload: &Payload, deadline: Instant) -> Answer {
        let request = HttpRequest {
            method: Method::POST,
            path: route.path.clone(),
            content_type: "application/x-protobuf",
            headers: self.settings.headers.clone(),
            parts: encode_chunks(&payload.envelope, PIECE_BYTES),
            compression: self.settings.compression,
            deadline,
        };
        match client.http(request).await {
            Ok(reply) => self.understand_http(&reply),
            Err(failure) => self.no_answer(&failure),
        }
    }

    fn understand_http(&self, reply: &HttpReply) -> Answer {
        let class = of_http(reply.status, self.settings.profile);
        let protobuf = reply.content_type.starts_with("application/x-protobuf");
        if class == Class::Taken
            && ["application/grpc", "text/html"].iter().any(|other| reply.content_type.starts_with(other))
        {
            // A gRPC server's "no such method" and a proxy's welcome page are 200 too, and took nothing.
            let message = format!("the answer has content type {:?}, so this is not OTLP/HTTP", reply.content_type);
            return classed(Class::Never(Fault::Request), None, self.scene.not_otlp(reply.status, message));
        }
        if class == Class::Taken {
            return if protobuf { taken(&reply.body) } else { Answer::Taken { rejected: 0, message: String::new() } };
        }
        let details = status(if protobuf { &reply.body } else { b"" });
        let message = if protobuf { details.message } else { clipped(&reply.body) };
        let after = reply.retry_after.or(details.retry_after);
        classed(class, after, self.scene.http_status(reply.status, message))
    }

    fn no_answer(&self, failure: &Failure) -> Answer {
        let trouble = self.scene.no_answer(failure);
        match failure {
            // The peer answered: it may have taken the data, and its answers will not get better (OTLP client rule C2).
            Failure::AnswerTooLarge { .. } | Failure::Malformed(_) => Answer::Never { fault: Fault::Request, trouble },
            _ => Answer::Later { after: None, off_spec: false, trouble },
        }
    }
}

fn taken(response: &[u8]) -> Answer {
    let partial = partial_success(response);
    Answer::Taken { rejected: partial.rejected, message: partial.message }
}

fn classed(class: Class, after: Option<std::time::Duration>, trouble: Trouble) -> Answer {
    match class {
        Class::Taken => Answer::Taken { rejected: 0, message: String::new() },
        Class::Later => Answer::Later { after, off_spec: false, trouble },
        Class::LaterOffSpec => Answer::Later { after, off_spec: true, trouble },
        Class::Never(fault) => Answer::Never { fault, trouble },
    }
}

impl Courier for OtlpCourier {
    fn send<'a>(
        &'a self,
        payload: &'a Payload,
        deadline: Instant,
    ) -> Pin<Box<dyn Future<Output = Answer> + Send + 'a>> {
        Box::pin(async move {
            let route = self.settings.routes[payload.signal.index()].as_ref();
            let Some((route, client)) = route.and_then(|route| Some((route, self.clients.get(route.client)?))) else {
                return no_endpoint(payload.signal);
            };
            match self.protocol {
                Protocol::Grpc => self.grpc(client, payload, deadline).await,
                Protocol::Http => self.http(client, route, payload, deadline).await,
            }
        })
    }

    fn working_bytes(&self, payload: &Payload) -> u64 {
        let copied = copied_len(&payload.envelope);
        let packed = match self.settings.compression {
            Compression::None => 0,
            // At most, for data that does not compress.
            Compression::Gzip | Compression::Zstd => encoded_len(&payload.envelope),
        };
        (copied + packed) as u64
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

fn no_endpoint(signal: Signal) -> Answer {
    let trouble = Trouble {
        code: "no endpoint".to_owned(),
        message: format!("neither endpoint nor {}_endpoint is configured", signal.name()),
        cure: Some("set endpoint".to_owned()),
    };
    Answer::Never { fault: Fault::Request, trouble }
}

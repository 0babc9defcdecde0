//! HTTP over a network that was given in place of the kernel's, for clients that bring their own protocol and credentials.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response, Uri};
use http_body::Body;
use hyper::body::Incoming;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::client::legacy::{Builder, Client};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tower_service::Service;

use crate::core::outside::{BoxSocket, Network};

/// Connects by a request's host and port, in plaintext.
#[derive(Clone)]
pub struct Connector(Arc<dyn Network>);

/// A client whose connections come from `network`; one pool, HTTP/1.1. Its errors are boxed, as layers of tower want them.
pub struct Http<B>(Client<Connector, B>);

// Not derived: bodies need not be clonable.
impl<B> Clone for Http<B> {
    fn clone(&self) -> Http<B> {
        Http(self.0.clone())
    }
}

pub fn http<B>(network: Arc<dyn Network>) -> Http<B>
where
    B: Body + Send,
    B::Data: Send,
{
    Http(Builder::new(TokioExecutor::new()).build(Connector(network)))
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Answering = Pin<Box<dyn Future<Output = Result<Response<Incoming>, BoxError>> + Send>>;

impl<B> Service<Request<B>> for Http<B>
where
    B: Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    type Response = Response<Incoming>;
    type Error = BoxError;
    type Future = Answering;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Answering {
        let answer = self.0.request(request);
        Box::pin(async move { Ok(answer.await?) })
    }
}

type Connecting = Pin<Box<dyn Future<Output = io::Result<TokioIo<Carried>>> + Send>>;

impl Service<Uri> for Connector {
    type Response = TokioIo<Carried>;
    type Error = io::Error;
    type Future = Connecting;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Connecting {
        let network = self.0.clone();
        Box::pin(async move {
            let host = uri.host().unwrap_or_default();
            let socket = network.connect(host, uri.port_u16().unwrap_or(80)).await?;
            Ok(TokioIo::new(Carried(socket)))
        })
    }
}

/// A socket of a given network as servers and clients want it: nothing was agreed on it.
pub struct Carried(pub BoxSocket);

impl Connection for Carried {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl AsyncRead for Carried {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Carried {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

//! The API server of the embedded sandbox, over the network in memory.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use podgate::lab::api_double::Sandbox;
use podgate::net::pages::page::{PageBody, PageFn, PageRequest, parse_query};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::net::Net;

pub const PORT: u16 = 26_443;

/// Answers for ever.
pub async fn run(sandbox: Arc<Sandbox>, net: Net) {
    let mut door = net.door(PORT);
    let mut open = JoinSet::new();
    let pages = sandbox.pages();
    while let Some((socket, _)) = door.recv().await {
        while open.try_join_next().is_some() {}
        let pages = pages.clone();
        open.spawn(async move {
            let service = service_fn(move |request| answer(pages.clone(), request));
            // How a connection ends is part of the script.
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), service).await;
        });
    }
}

async fn answer(pages: PageFn, request: Request<Incoming>) -> Result<Response<Chunks>, Infallible> {
    let (head, body) = request.into_parts();
    let headers = head.headers.iter().filter_map(|(name, value)| {
        let value = value.to_str().ok()?;
        Some((name.as_str().to_owned(), value.to_owned()))
    });
    let request = PageRequest {
        method: head.method.as_str().to_owned(),
        path: head.uri.path().to_owned(),
        query: parse_query(head.uri.query().unwrap_or_default()),
        headers: headers.collect(),
        body: body.collect().await.map(|body| body.to_bytes()).unwrap_or_default(),
    };
    let page = pages(request).await;
    let mut response = Response::builder().status(page.status).header("content-type", page.content_type);
    for (name, value) in page.headers {
        response = response.header(name, value);
    }
    let body = match page.body {
        PageBody::Full(bytes) => Chunks::Whole(Some(bytes)),
        PageBody::Stream(chunks) => Chunks::Stream(chunks),
    };
    Ok(response.body(body).expect("the sandbox's heads are valid"))
}

enum Chunks {
    Whole(Option<Bytes>),
    Stream(mpsc::Receiver<Bytes>),
}

impl Body for Chunks {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut *self {
            Chunks::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Chunks::Stream(chunks) => chunks.poll_recv(cx).map(|chunk| chunk.map(|bytes| Ok(Frame::data(bytes)))),
        }
    }
}

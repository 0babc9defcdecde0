//! The request of a watch that is under way: asked, then read as lines or as a list. What the bytes mean is its owner's.

use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::kube::client::{Api, ApiAnswer, Form};
use crate::kube::decode::{ApiStatus, LineSplitter, ListSplitter, WatchedObject, api_status};
use crate::kube::watch::{Input, Verb};

pub(crate) enum Link {
    Idle,
    Asking(Pin<Box<dyn Future<Output = Result<LinkAnswer, String>> + Send>>),
    Lines(ApiAnswer, LineSplitter),
    List(ApiAnswer, Box<ListSplitter>),
}

pub(crate) enum LinkAnswer {
    Opened(ApiAnswer),
    Refused { status: ApiStatus, retry_after: Option<Duration> },
}

pub(crate) enum Happened {
    Answered(Result<LinkAnswer, String>),
    Chunk(Option<Result<Bytes, String>>),
}

impl Link {
    pub fn ask(api: Arc<Api>, path: String) -> Link {
        Link::Asking(Box::pin(ask(api, path)))
    }

    /// The answer's head is there.
    pub fn opened(answer: ApiAnswer, verb: Verb) -> Link {
        match verb {
            Verb::List => Link::List(answer, Box::default()),
            _ => Link::Lines(answer, LineSplitter::default()),
        }
    }

    /// Safe to drop and call again: what was read is never lost.
    pub async fn happening(&mut self) -> Happened {
        match self {
            Link::Idle => pending().await,
            Link::Asking(answer) => Happened::Answered(answer.await),
            Link::Lines(answer, _) => Happened::Chunk(answer.chunk().await),
            Link::List(answer, _) => Happened::Chunk(answer.chunk().await),
        }
    }

    /// The body has ended; what that is to the watch.
    pub fn ended<O: WatchedObject>(&mut self) -> Input<O> {
        match std::mem::replace(self, Link::Idle) {
            Link::Lines(_, lines) if lines.is_cut_off() => Input::Failed("cut off within an event".to_owned()),
            Link::List(_, list) => match list.finish() {
                Ok(end) => Input::Page(end),
                Err(fault) => Input::Garbage(fault.to_string()),
            },
            _ => Input::Ended,
        }
    }
}

async fn ask(api: Arc<Api>, path: String) -> Result<LinkAnswer, String> {
    let mut answer = api.get(&path, Form::Whole).await?;
    if answer.status == 200 {
        return Ok(LinkAnswer::Opened(answer));
    }
    let status = api_status(&answer.error_body().await, answer.status);
    Ok(LinkAnswer::Refused { status, retry_after: answer.retry_after })
}

//! Pages that components offer to the admin extension. Read-only JSON under versioned paths; admin serves, others fill.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use serde_json::Value;

use crate::core::lock::Locked;
use crate::core::stage::component::Task;

/// Query parameters of a request, decoded; the last of a repeated one wins.
pub type PageQuery = BTreeMap<String, String>;

/// An answer: JSON with an HTTP status.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    pub status: u16,
    pub body: Value,
}

impl Page {
    pub fn ok(body: Value) -> Page {
        Page { status: 200, body }
    }

    pub fn error(status: u16, message: &str) -> Page {
        Page { status, body: serde_json::json!({ "error": message }) }
    }
}

pub type PageAnswer = Arc<dyn Fn(&PageQuery) -> Page + Send + Sync>;
/// For what only the owner of some state can tell: the wait is bounded by whoever answers.
pub type Asking = Arc<dyn Fn(&PageQuery) -> Task<'static, Page> + Send + Sync>;

/// Changes something in what runs; the body comes as it was sent. Whoever serves it has made sure that the asker may.
pub type RunningChange = Arc<dyn Fn(&PageQuery, Bytes) -> Task<'static, Page> + Send + Sync>;

#[derive(Clone)]
struct Offered {
    about: &'static str,
    answer: PageAnswer,
    asking: Option<Asking>,
}

/// The last part of a path that stands for anything.
const BY_ID: &str = "{id}";

#[derive(Default)]
pub struct Routes {
    // Locked when a component is built and when a page is asked for; never across an await.
    pages: Mutex<BTreeMap<String, Offered>>,
    // Locked as `pages`.
    changes: Mutex<BTreeMap<String, RunningChange>>,
}

impl Routes {
    /// `path` begins with `/v1/`, and may end with `/{id}`; `about` is one line for the index page. A second page on a path replaces the first.
    pub fn add(&self, path: &str, about: &'static str, answer: PageAnswer) {
        self.insert(path, Offered { about, answer, asking: None });
    }

    /// A page that asks others before it answers over HTTP; `answer` is what is known without asking.
    pub fn add_asking(&self, path: &str, about: &'static str, answer: PageAnswer, asking: Asking) {
        self.insert(path, Offered { about, answer, asking: Some(asking) });
    }

    /// What a POST to `path` does. A second one on a path replaces the first.
    pub fn add_change(&self, path: &str, change: RunningChange) {
        self.changes.locked().insert(path.to_owned(), change);
    }

    /// Carries a change out; `None` where none is offered.
    pub fn change(&self, path: &str, query: &PageQuery, body: Bytes) -> Option<Task<'static, Page>> {
        let change = self.changes.locked().get(path).cloned()?;
        Some(change(query, body))
    }

    /// Whether a POST to `path` does anything.
    pub fn has_change(&self, path: &str) -> bool {
        self.changes.locked().contains_key(path)
    }

    fn insert(&self, path: &str, offered: Offered) {
        self.pages.locked().insert(path.to_owned(), offered);
    }

    /// The answer as it goes out; `None` where there is no page.
    pub fn ask(&self, path: &str, query: &PageQuery) -> Option<Task<'static, Page>> {
        let (answer, asking) = {
            let pages = self.pages.locked();
            let Some(offered) = pages.get(path) else {
                drop(pages);
                return self.ask_below(path, query);
            };
            (offered.answer.clone(), offered.asking.clone())
        };
        Some(match asking {
            Some(asking) => asking(query),
            None => Box::pin(std::future::ready(answer(query))),
        })
    }

    /// The page whose path ends with `{id}`: what stands there is its parameter `id`.
    fn ask_below(&self, path: &str, query: &PageQuery) -> Option<Task<'static, Page>> {
        let (folder, id) = path.rsplit_once('/').filter(|(_, id)| !id.is_empty() && *id != BY_ID)?;
        let mut query = query.clone();
        query.insert("id".to_owned(), id.to_owned());
        self.ask(&format!("{folder}/{BY_ID}"), &query)
    }

    pub fn find(&self, path: &str) -> Option<PageAnswer> {
        let pages = self.pages.locked();
        pages.get(path).map(|offered| offered.answer.clone())
    }

    /// Paths with what they show.
    pub fn index(&self) -> Vec<(String, &'static str)> {
        let pages = self.pages.locked();
        pages.iter().map(|(path, offered)| (path.clone(), offered.about)).collect()
    }
}

//! Pages that components offer to the admin extension. Read-only JSON under versioned paths; admin serves, others fill.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

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
    /// What changes something: asked for by POST, with a token.
    actions: Mutex<BTreeMap<String, Asking>>,
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

    /// What changes something in the gateway. Whoever serves it sees that not everybody may.
    pub fn add_action(&self, path: &str, action: Asking) {
        self.actions.locked().insert(path.to_owned(), action);
    }

    pub fn action(&self, path: &str) -> Option<Asking> {
        self.actions.locked().get(path).cloned()
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

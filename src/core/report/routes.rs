//! Pages that components offer to the admin extension. Read-only JSON under versioned paths; admin serves, others fill.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use serde_json::Value;

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

struct Offered {
    about: &'static str,
    answer: PageAnswer,
    asking: Option<Asking>,
}

#[derive(Default)]
pub struct Routes {
    // Locked when a component is built and when a page is asked for; never across an await.
    pages: Mutex<BTreeMap<String, Offered>>,
}

impl Routes {
    /// `path` begins with `/v1/`; `about` is one line for the index page. A second page on a path replaces the first.
    pub fn add(&self, path: &str, about: &'static str, answer: PageAnswer) {
        self.insert(path, Offered { about, answer, asking: None });
    }

    /// A page that asks others before it answers over HTTP; `answer` is what is known without asking.
    pub fn add_asking(&self, path: &str, about: &'static str, answer: PageAnswer, asking: Asking) {
        self.insert(path, Offered { about, answer, asking: Some(asking) });
    }

    fn insert(&self, path: &str, offered: Offered) {
        self.pages.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).insert(path.to_owned(), offered);
    }

    /// The answer as it goes out; `None` where there is no page.
    pub fn ask(&self, path: &str, query: &PageQuery) -> Option<Task<'static, Page>> {
        let (answer, asking) = {
            let pages = self.pages.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            let offered = pages.get(path)?;
            (offered.answer.clone(), offered.asking.clone())
        };
        Some(match asking {
            Some(asking) => asking(query),
            None => Box::pin(std::future::ready(answer(query))),
        })
    }

    pub fn find(&self, path: &str) -> Option<PageAnswer> {
        let pages = self.pages.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        pages.get(path).map(|offered| offered.answer.clone())
    }

    /// Paths with what they show.
    pub fn index(&self) -> Vec<(String, &'static str)> {
        let pages = self.pages.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        pages.iter().map(|(path, offered)| (path.clone(), offered.about)).collect()
    }
}

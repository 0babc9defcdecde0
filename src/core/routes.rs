//! Pages that components offer to the admin extension. Read-only JSON under versioned paths; admin serves, others fill.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use serde_json::Value;

/// Query parameters of a request, decoded; the last of a repeated one wins.
pub type Query = BTreeMap<String, String>;

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

pub type Answer = Arc<dyn Fn(&Query) -> Page + Send + Sync>;

#[derive(Default)]
pub struct Routes {
    // Locked when a component is built and when a page is asked for.
    pages: Mutex<BTreeMap<String, (&'static str, Answer)>>,
}

impl Routes {
    /// `path` begins with `/v1/`; `about` is one line for the index page. A second page on a path replaces the first.
    pub fn add(&self, path: &str, about: &'static str, answer: Answer) {
        self.pages.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).insert(path.to_owned(), (about, answer));
    }

    pub fn find(&self, path: &str) -> Option<Answer> {
        let pages = self.pages.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        pages.get(path).map(|(_, answer)| answer.clone())
    }

    /// Paths with what they show.
    pub fn index(&self) -> Vec<(String, &'static str)> {
        let pages = self.pages.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        pages.iter().map(|(path, (about, _))| (path.clone(), *about)).collect()
    }
}

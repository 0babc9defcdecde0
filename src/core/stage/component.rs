//! What a component is: an id (`type/name`), a kind, and a lifecycle that can be ended twice or before it began.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::pin::Pin;

use crate::core::error::StartError;
use crate::core::stage::consumer::Next;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    Receiver,
    Processor,
    Exporter,
    Connector,
    Extension,
}

impl Kind {
    pub const ALL: [Kind; 5] = [Kind::Receiver, Kind::Processor, Kind::Exporter, Kind::Connector, Kind::Extension];

    /// The top-level configuration key.
    pub fn section(self) -> &'static str {
        match self {
            Kind::Receiver => "receivers",
            Kind::Processor => "processors",
            Kind::Exporter => "exporters",
            Kind::Connector => "connectors",
            Kind::Extension => "extensions",
        }
    }

    pub fn name(self) -> &'static str {
        let section = self.section();
        &section[..section.len() - 1]
    }
}

/// `type/name`, the name being optional: `otlp`, `otlp/apps`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ComponentId {
    pub component_type: String,
    pub name: Option<String>,
}

impl ComponentId {
    /// `None` when the text is not an id: empty type, type that does not begin with a letter or has other characters
    /// than letters, digits and `_`, or a name after the slash that is empty or has blanks or symbols (Collector,
    /// component/identifiable.go).
    pub fn parse(text: &str) -> Option<ComponentId> {
        let (component_type, name) = match text.split_once('/') {
            None => (text.trim(), None),
            Some((component_type, name)) => (component_type.trim(), Some(name.trim())),
        };
        let mut letters = component_type.chars();
        let type_ok = letters.next().is_some_and(|first| first.is_ascii_alphabetic())
            && letters.all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
            && component_type.len() <= 63;
        let letter_ok = |c: char| !c.is_whitespace() && !c.is_control() && !"$+<=>^`|~".contains(c);
        let name_ok = |name: &str| !name.is_empty() && name.chars().count() <= 1024 && name.chars().all(letter_ok);
        if !type_ok || name.is_some_and(|name| !name_ok(name)) {
            return None;
        }
        Some(ComponentId { component_type: component_type.to_owned(), name: name.map(str::to_owned) })
    }
}

impl fmt::Display for ComponentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "{}/{name}", self.component_type),
            None => f.write_str(&self.component_type),
        }
    }
}

pub type Task<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The lifecycle of anything built from the configuration. Consumers start before producers and drain after them.
pub trait Component: Send + Sync {
    /// Opens sockets and files, spawns owner tasks. Called once.
    fn start(&self) -> Task<'_, Result<(), StartError>> {
        Box::pin(std::future::ready(Ok(())))
    }

    /// Stops taking in, finishes what is held within the deadline, counts the rest as dropped(shutdown). Safe when
    /// called twice and without start.
    fn drain(&self, _deadline: tokio::time::Instant) -> Task<'_, ()> {
        Box::pin(std::future::ready(()))
    }

    /// A reload has put another instance in the place of this one, which drains next: what it cannot bring to its end may
    /// go there.
    fn succeeded_by(&self, _successor: &Next) {}

    /// Takes another plan of the same component type while it runs (a reload). True: what comes from now on, and what is
    /// held, is met by the new plan. False, which is the default: nothing changed, and another instance is built instead.
    /// `plan` is the component's own type of plan, as its factory's check made it, to be downcast.
    fn reconfigure(&self, _plan: &dyn Any) -> bool {
        false
    }
}

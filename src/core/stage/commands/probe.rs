//! Questions to the outside world that tell, before any data flows, whether a component will do its job: what `doctor`
//! runs. Components contribute them through their plans; whoever runs them knows nothing of the component.

use crate::core::stage::component::Task;

/// How one thing stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ProbeHealth {
    Good,
    /// Could not be found out, or works with less than it could.
    Doubtful,
    /// Data will be refused or lost.
    Bad,
}

/// One thing that was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub health: ProbeHealth,
    /// "privileges"
    pub subject: String,
    /// What was found, in one sentence.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
}

impl Finding {
    pub fn new(health: ProbeHealth, subject: &str, message: impl Into<String>) -> Finding {
        Finding { health, subject: subject.to_owned(), message: message.into(), help: None }
    }

    pub fn with_help(self, help: impl Into<String>) -> Finding {
        Finding { help: Some(help.into()), ..self }
    }
}

/// A change on the other side that would cure a finding: a request that the probe knows how to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remedy {
    /// Why it is wanted.
    pub reason: String,
    pub method: &'static str,
    pub path: String,
    /// JSON.
    pub body: String,
}

/// What a probe came back with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProbeReport {
    pub findings: Vec<Finding>,
    pub remedies: Vec<Remedy>,
}

/// Asks, and on request mends. Every question has its own bounded wait.
pub trait Probe: Send + Sync {
    /// Changes nothing on the other side.
    fn ask(&self) -> Task<'_, ProbeReport>;

    /// What would be sent to another side of this version that has none of what is wanted, without asking anybody. The
    /// error says which versions can be told.
    fn foresee(&self, _version: &str) -> Result<ProbeReport, String> {
        Ok(ProbeReport::default())
    }

    /// Sends one remedy; the error says why it was not taken.
    fn apply<'a>(&'a self, remedy: &'a Remedy) -> Task<'a, Result<(), String>>;
}

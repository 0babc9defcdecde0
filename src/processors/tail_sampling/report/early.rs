//! Why a trace was decided early, by the names that metrics, pages and the journal share.

/// Why a trace was decided before its wait was over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Early {
    Memory,
    NumTraces,
    Giant,
    Shutdown,
}

impl Early {
    pub const ALL: [Early; 4] = [Early::Memory, Early::NumTraces, Early::Giant, Early::Shutdown];

    /// The label of the metric.
    pub fn name(self) -> &'static str {
        match self {
            Early::Memory => "memory",
            Early::NumTraces => "num_traces",
            Early::Giant => "giant_trace",
            Early::Shutdown => "shutdown",
        }
    }
}

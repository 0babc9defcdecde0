//! What a processor would make of recorded data, without a gateway, a clock or anything behind it: what `podgate what-if` runs.
//! Components contribute it through their plans; whoever runs it knows nothing of the component.

use serde_json::Value;

use crate::core::data::payload::Payload;

/// One processor and the time of the recording.
pub trait Rehearsal {
    /// Takes a recorded request, in the order of the recording.
    fn take(&mut self, payload: Payload);

    /// What became of all that was taken, in the form of the processor's page.
    fn finish(self: Box<Self>) -> Value;
}

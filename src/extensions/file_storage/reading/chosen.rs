//! What is unsettled of a record that is read back: the messages that go again, and the positions of their items. Pure.

use std::ops::Range;

use crate::core::data::payload::{Payload, Signal};
use crate::otlp::envelope::count_item;
use crate::otlp::regroup::portion::part;
use crate::wal::writer::reading::Recovered;

/// Leaves in the payload what is unsettled of the record: the ranges of positions that it still has. A message of which
/// only a part is unsettled goes whole.
pub fn unsettled(payload: &mut Payload, found: &Recovered) -> Vec<(u32, u32)> {
    let counts: Vec<u64> = payload.envelope.items().map(|item| count_item(payload.signal, item)).collect();
    payload.items = counts.iter().sum();
    let is_placed = payload.items == u64::from(found.items);
    if !is_placed || found.left == [(0, found.items)] || payload.signal == Signal::Profiles {
        return found.left.clone();
    }
    let (messages, left) = chosen(&counts, &found.left);
    let kept = part(payload, &messages);
    *payload = kept;
    left
}

/// Messages with an unsettled item, and the positions of all of their items.
fn chosen(counts: &[u64], left: &[(u32, u32)]) -> (Vec<Range<usize>>, Vec<(u32, u32)>) {
    let (mut messages, mut positions): (Vec<Range<usize>>, Vec<(u32, u32)>) = Default::default();
    let (mut from, mut next) = (0u32, 0);
    for (at, count) in counts.iter().enumerate() {
        let to = from.saturating_add(u32::try_from(*count).unwrap_or(u32::MAX));
        while left.get(next).is_some_and(|(_, end)| *end <= from) {
            next += 1;
        }
        if left.get(next).is_some_and(|(start, _)| *start < to) {
            match (messages.last_mut(), positions.last_mut()) {
                (Some(last), Some(place)) if last.end == at => (last.end, place.1) = (at + 1, to),
                _ => {
                    messages.push(at..at + 1);
                    positions.push((from, to));
                }
            }
        }
        from = to;
    }
    (messages, positions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_chosen_when_any_of_its_items_is_unsettled() {
        let chosen = |counts: &[u64], left: &[(u32, u32)]| {
            let (messages, positions) = chosen(counts, left);
            (messages.into_iter().map(|range| (range.start, range.end)).collect::<Vec<_>>(), positions)
        };
        assert_eq!(chosen(&[1, 1, 1, 1], &[(1, 3)]), (vec![(1, 3)], vec![(1, 3)]));
        assert_eq!(chosen(&[1, 1, 1, 1], &[(0, 1), (2, 4)]), (vec![(0, 1), (2, 4)], vec![(0, 1), (2, 4)]));
        // A metric of three points, of which one is unsettled, goes whole; one without points goes with nothing.
        assert_eq!(chosen(&[2, 3, 0, 1], &[(4, 5)]), (vec![(1, 2)], vec![(2, 5)]));
        assert_eq!(chosen(&[2, 3], &[]), (vec![], vec![]));
    }
}

//! A payload dealt out among many recipients in one walk: linear in its bytes, its scopes and what it is cut into, however many
//! recipients there are.
//!
//! What a recipient gets is made as the walk comes by, so nothing is walked again for it. Messages that came back of an earlier
//! deal are dealt again together, in the order of the whole.

use std::ops::Range;

use crate::core::data::budget::Ticket;
use crate::core::data::granted::list_bytes;
use crate::core::data::payload::{Envelope, Group, Payload, ScopeGroup};
use crate::core::data::settlement::Share;
use crate::otlp::envelope::count_item;
use crate::otlp::regroup::portion::{Picked, Run, each_run, push_paid};

/// Messages that wait to be dealt, with the share of their items.
pub struct Undealt {
    /// Ascending, of the whole.
    pub ranges: Vec<Range<usize>>,
    pub share: Share,
    /// Pays for `ranges`.
    pub lists: Ticket,
}

impl Undealt {
    /// All messages of a payload, with its share, which it does not have any more.
    pub fn whole(payload: &mut Payload) -> Undealt {
        let ranges = Vec::from([Range { start: 0, end: payload.envelope.messages() }]);
        Undealt { ranges, share: std::mem::take(&mut payload.share), lists: payload.ticket.clone() }
    }
}

/// One message where it stands.
pub struct Dealing<'a> {
    /// Of the whole, from 0.
    pub message: usize,
    pub group_number: usize,
    pub scope_number: usize,
    pub group: &'a Group,
    pub scope: &'a ScopeGroup,
    pub bytes: &'a [u8],
}

/// What one recipient gets.
pub struct Dealt {
    pub recipient: usize,
    /// A copy of these messages, without a share.
    pub payload: Payload,
    /// Where they stand in the whole, and the share of their items.
    pub undealt: Undealt,
}

/// Deals out what waits; `None` as soon as there is nobody for a message. Recipients are numbered from 0, and a list as long as
/// the highest number is made once.
pub fn deal(
    payload: &Payload,
    waiting: Vec<Undealt>,
    mut recipient_of: impl FnMut(&Dealing<'_>) -> Option<usize>,
) -> Option<Vec<Dealt>> {
    let mut hands = Hands::new(payload, waiting);
    let ranges = hands.ascending();
    let mut is_complete = true;
    each_run(&payload.envelope, &ranges, |run| {
        is_complete = is_complete && hands.run(&run, &mut recipient_of).is_some();
    });
    is_complete.then(|| hands.finish())
}

/// Beside its lists: the ticket of a part.
const HAND_BYTES: usize = 128;

struct Hands<'a> {
    whole: &'a Payload,
    waiting: Vec<Undealt>,
    /// For each range of all that wait, in ascending order, of which of those it is.
    sources: Vec<usize>,
    /// For each recipient its number in `hands` and one more; 0: none yet.
    known: Vec<u32>,
    hands: Vec<Hand>,
    /// Pays for what is gone when the deal is over.
    working: Ticket,
    /// Pays for the lists of ranges.
    lists: Ticket,
}

struct Hand {
    recipient: usize,
    picked: Picked,
    ranges: Vec<Range<usize>>,
    share: Share,
    items: u64,
}

impl<'a> Hands<'a> {
    fn new(whole: &'a Payload, waiting: Vec<Undealt>) -> Hands<'a> {
        let budget = whole.ticket.budget();
        let (working, lists) = (budget.overdraw(0), budget.overdraw(0));
        Hands { whole, waiting, sources: Vec::new(), known: Vec::new(), hands: Vec::new(), working, lists }
    }

    /// All ranges in the order of the whole.
    fn ascending(&mut self) -> Vec<Range<usize>> {
        let count = self.waiting.iter().map(|one| one.ranges.len()).sum();
        self.working.grow_anyway((list_bytes::<(Range<usize>, usize)>(count) * 2) as u64);
        let all = self.waiting.iter().enumerate();
        let all = all.flat_map(|(source, one)| one.ranges.iter().map(move |range| (range.clone(), source)));
        let mut all: Vec<(Range<usize>, usize)> = all.filter(|(range, _)| !range.is_empty()).collect();
        all.sort_unstable_by_key(|(range, _)| range.start);
        let (ranges, sources) = all.into_iter().unzip();
        self.sources = sources;
        ranges
    }

    /// Deals the messages of one scope that one range holds.
    fn run(&mut self, run: &Run, recipient_of: &mut impl FnMut(&Dealing<'_>) -> Option<usize>) -> Option<()> {
        let group = self.whole.envelope.groups.get(run.place.0)?;
        let scope = group.scopes.get(run.place.1)?;
        let (mut begin, mut held, mut taken_by) = (run.items.start, 0, None);
        for (at, bytes) in run.items.clone().zip(scope.items.range(run.items.start, run.items.len())) {
            let message = run.message + (at - run.items.start);
            let (group_number, scope_number) = run.place;
            let recipient = recipient_of(&Dealing { message, group_number, scope_number, group, scope, bytes })?;
            if let Some(before) = taken_by.filter(|before| *before != recipient) {
                self.give(before, run, begin..at, held);
                (begin, held) = (at, 0);
            }
            (held, taken_by) = (held + count_item(self.whole.signal, bytes), Some(recipient));
        }
        self.give(taken_by?, run, begin..run.items.end, held);
        Some(())
    }

    fn give(&mut self, recipient: usize, run: &Run, items: Range<usize>, held: u64) {
        let messages = run.message + (items.start - run.items.start)..run.message + (items.end - run.items.start);
        let source = self.sources.get(run.of).copied().unwrap_or(0);
        let share = self.waiting.get_mut(source).map(|one| one.share.split(held)).unwrap_or_default();
        let (whole, lists) = (self.whole, self.lists.clone());
        let Some(hand) = self.hand(recipient) else { return };
        hand.picked.add(&whole.envelope, run.place, items);
        hand.items += held;
        hand.share.join(share);
        match hand.ranges.last_mut() {
            Some(last) if last.end == messages.start => last.end = messages.end,
            _ => push_paid(&mut hand.ranges, messages, &lists),
        }
    }

    fn hand(&mut self, recipient: usize) -> Option<&mut Hand> {
        if self.known.len() <= recipient {
            let more = (recipient + 1).next_power_of_two() - self.known.len();
            self.working.grow_anyway(list_bytes::<u32>(more) as u64);
            self.known.reserve_exact(more); // granted: above
            self.known.resize(recipient + 1, 0); // granted: above
        }
        let known = self.known.get_mut(recipient)?;
        if *known == 0 {
            let ticket = self.whole.ticket.budget().overdraw(0);
            let picked = Picked { envelope: Envelope::default(), last: None, ticket };
            let hand = Hand { recipient, picked, ranges: Vec::new(), share: Share::none(), items: 0 };
            push_paid(&mut self.hands, hand, &self.working);
            *known = u32::try_from(self.hands.len()).unwrap_or(u32::MAX);
        }
        self.hands.get_mut((*known as usize).checked_sub(1)?)
    }

    fn finish(self) -> Vec<Dealt> {
        let (whole, lists) = (self.whole, self.lists);
        let hands = self.hands.len();
        lists.grow_anyway((list_bytes::<Dealt>(hands) + hands * HAND_BYTES) as u64);
        let dealt = self.hands.into_iter().map(|hand| {
            let Picked { envelope, ticket, .. } = hand.picked;
            ticket.absorb(whole.ticket.clone());
            let (signal, origin) = (whole.signal, whole.origin.clone());
            let payload = Payload { signal, envelope, items: hand.items, origin, ticket, share: Share::none() };
            let undealt = Undealt { ranges: hand.ranges, share: hand.share, lists: lists.clone() };
            Dealt { recipient: hand.recipient, payload, undealt }
        });
        dealt.collect()
    }
}

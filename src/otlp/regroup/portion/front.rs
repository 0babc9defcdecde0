//! Groups taken from the front of an envelope, as many messages at a time as somebody wants.
//!
//! A group that fits moves as it is; one that is larger is opened, and its scopes and items are taken in turn. The ticket
//! pays for the lists that this makes, before they are made.

use std::vec::IntoIter;

use crate::core::data::budget::Ticket;
use crate::core::data::granted::list_bytes;
use crate::core::data::payload::{Group, ScopeGroup};
use crate::otlp::regroup::split::{without_items, without_scopes};

pub(super) struct Front {
    groups: IntoIter<Group>,
    /// The group that the last part ended within.
    open: Option<Open>,
    paying: Paying,
}

/// A group without its scopes, and those of them that were not taken yet.
struct Open {
    head: Group,
    scopes: IntoIter<ScopeGroup>,
    /// So many items of the first of them were taken.
    from: usize,
    /// Messages that were not taken.
    left: usize,
}

struct Paying {
    ticket: Ticket,
    paid: u64,
}

impl Paying {
    fn pay(&mut self, bytes: usize) {
        self.ticket.grow_anyway(bytes as u64);
        self.paid += bytes as u64;
    }
}

impl Front {
    pub(super) fn of(groups: Vec<Group>, ticket: Ticket) -> Front {
        Front { groups: groups.into_iter(), open: None, paying: Paying { ticket, paid: 0 } }
    }

    /// By how much the ticket grew.
    pub(super) fn paid(&self) -> u64 {
        self.paying.paid
    }

    /// What was not taken yet, in order.
    pub(super) fn messages(&self) -> impl Iterator<Item = &[u8]> {
        let open = self.open.iter().flat_map(|open| {
            let from = |at: usize| if at == 0 { open.from } else { 0 };
            let scopes = open.scopes.as_slice().iter().enumerate();
            scopes.flat_map(move |(at, scope)| scope.items.range(from(at), usize::MAX))
        });
        let scopes = self.groups.as_slice().iter().flat_map(|group| &group.scopes);
        open.chain(scopes.flat_map(|scope| scope.items.iter()))
    }

    /// The groups of the next `count` messages. Groups and scopes without messages are left out.
    pub(super) fn take(&mut self, mut count: usize) -> Vec<Group> {
        let groups = self.groups_of(count);
        self.paying.pay(list_bytes::<Group>(groups));
        let mut taken = Vec::with_capacity(groups); // granted: above
        while count > 0 {
            if self.open.is_none() {
                let Some(group) = self.groups.next() else { break };
                let messages = messages_in(&group);
                if messages <= count {
                    count -= messages;
                    taken.extend(Some(group).filter(|_| messages > 0)); // granted: counted before
                    continue;
                }
                self.open = Some(Open::of(group));
            }
            if let Some(open) = &mut self.open {
                taken.push(open.take(&mut count, &mut self.paying)); // granted: counted before
            }
            self.open.take_if(|open| open.is_over());
        }
        taken
    }

    /// Everything that is left; what nothing was taken of stays as it is.
    pub(super) fn rest(&mut self) -> Vec<Group> {
        let groups = std::mem::take(&mut self.groups);
        let mut open = self.open.take();
        if self.paying.paid == 0 {
            return groups.collect();
        }
        let count = usize::from(open.is_some()) + groups.len();
        self.paying.pay(list_bytes::<Group>(count));
        let mut rest = Vec::with_capacity(count); // granted: above
        rest.extend(open.as_mut().map(|open| open.take(&mut usize::MAX.clone(), &mut self.paying))); // granted: counted
        rest.extend(groups); // granted: counted
        rest
    }

    /// How many groups these messages are in.
    fn groups_of(&self, count: usize) -> usize {
        let (mut held, mut groups) = (self.open.as_ref().map_or(0, |open| open.left), usize::from(self.open.is_some()));
        for group in self.groups.as_slice() {
            if held >= count {
                break;
            }
            let messages = messages_in(group);
            held += messages;
            groups += usize::from(messages > 0);
        }
        groups
    }
}

impl Open {
    fn of(group: Group) -> Open {
        let head = without_scopes(&group);
        let left = messages_in(&group);
        let mut open = Open { head, scopes: group.scopes.into_iter(), from: 0, left };
        open.skip_empty();
        open
    }

    fn is_over(&self) -> bool {
        self.scopes.as_slice().is_empty()
    }

    fn skip_empty(&mut self) {
        while self.scopes.as_slice().first().is_some_and(|scope| scope.items.is_empty()) {
            self.scopes.next();
        }
    }

    /// The group with its next messages, no more than `count`, which goes down by as many.
    fn take(&mut self, count: &mut usize, paying: &mut Paying) -> Group {
        let mut group = without_scopes(&self.head);
        let scopes = self.scopes_of(*count);
        paying.pay(list_bytes::<ScopeGroup>(scopes));
        group.scopes.reserve_exact(scopes); // granted: above
        while *count > 0 {
            let Some(scope) = self.scopes.as_slice().first() else { break };
            let left = scope.items.len() - self.from;
            if self.from == 0 && left <= *count {
                group.scopes.extend(self.scopes.next()); // granted: counted before
            } else {
                let taken = left.min(*count);
                paying.pay(scope.items.structure_bytes_of(taken));
                let mut part = without_items(scope);
                part.items.reserve_from(&scope.items, taken);
                part.items.extend_from(&scope.items, self.from..self.from + taken);
                group.scopes.push(part); // granted: counted before
                self.from += taken;
                if taken == left {
                    self.scopes.next();
                    self.from = 0;
                }
            }
            let taken = left.min(*count);
            (*count, self.left) = (*count - taken, self.left - taken);
            self.skip_empty();
        }
        group
    }

    /// How many scopes the next messages are in, at most.
    fn scopes_of(&self, count: usize) -> usize {
        let (mut held, mut scopes) = (0, 0);
        for (at, scope) in self.scopes.as_slice().iter().enumerate() {
            if held >= count {
                break;
            }
            held += scope.items.len() - if at == 0 { self.from } else { 0 };
            scopes += 1;
        }
        scopes
    }
}

fn messages_in(group: &Group) -> usize {
    group.scopes.iter().map(|scope| scope.items.len()).sum()
}

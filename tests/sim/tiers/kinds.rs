//! The kinds of trouble that a tier of gateways has.

use std::time::Duration;

use fastrand::Rng;

use crate::kinds::{millis, seconds};
use crate::net::Way;
use crate::next_hop::Manner;
use crate::tiers::MADE_FOR;
use crate::tiers::fleet::{GatewayId, TierEvent};

type Script = Vec<(Duration, TierEvent)>;

pub struct TierKind {
    pub name: &'static str,
    /// How many there are at first.
    pub gateways: fn(&mut Rng) -> u16,
    /// What happens when; given who is there at first. Those that come have the next numbers.
    pub script: fn(&mut Rng, Vec<GatewayId>) -> Script,
}

pub const KINDS: &[TierKind] = &[
    TierKind { name: "none", gateways: any, script: |_, _| Vec::new() },
    TierKind { name: "rolling restart", gateways: few, script: rolling },
    TierKind { name: "scaling", gateways: |_| 5, script: scaling },
    TierKind { name: "slow members", gateways: any, script: slow },
    TierKind { name: "dead members", gateways: any, script: dead },
    TierKind { name: "lying members", gateways: any, script: lying },
    TierKind { name: "all of them", gateways: any, script: mixed },
];

/// A gateway that leaves serves so much longer: agents look every five seconds, and what is on its way gets two more.
const GRACE: Duration = Duration::from_secs(10);

fn any(rng: &mut Rng) -> u16 {
    rng.u16(5..=9)
}

fn few(rng: &mut Rng) -> u16 {
    rng.u16(5..=6)
}

fn moment(rng: &mut Rng) -> Duration {
    MADE_FOR.mul_f64(rng.f64() * 0.8)
}

/// Leaves in good order.
fn leaves(script: &mut Script, at: Duration, id: GatewayId) {
    script.push((at, TierEvent::Leaves(id)));
    script.push((at + GRACE, TierEvent::Ends(id, Way::Refused)));
}

/// One after the other is replaced.
fn rolling(rng: &mut Rng, there: Vec<GatewayId>) -> Script {
    let mut script = Script::new();
    let mut at = seconds(rng, 2..=8);
    for id in there {
        script.push((at, TierEvent::Comes));
        leaves(&mut script, at + millis(rng, 0..=2_000), id);
        at += seconds(rng, 6..=9);
    }
    script
}

/// Four come and four go.
fn scaling(rng: &mut Rng, there: Vec<GatewayId>) -> Script {
    let mut script = Script::new();
    (0..4).for_each(|_| script.push((seconds(rng, 2..=25), TierEvent::Comes)));
    there.into_iter().take(4).for_each(|id| leaves(&mut script, seconds(rng, 28..=50), id));
    script
}

fn slow(rng: &mut Rng, there: Vec<GatewayId>) -> Script {
    let some = rng.usize(1..there.len());
    let behave =
        |(id, rng): (GatewayId, &mut Rng)| (moment(rng), TierEvent::Behaves(id, Manner::Slow(millis(rng, 50..=1_500))));
    there.into_iter().take(some).map(|id| behave((id, rng))).collect()
}

/// Ends without a word, is published for a while, and another one comes.
fn dies(rng: &mut Rng, id: GatewayId, script: &mut Script) {
    let at = moment(rng);
    let way = if rng.bool() { Way::Refused } else { Way::Silent };
    script.push((at, TierEvent::Ends(id, way)));
    script.push((at + seconds(rng, 1..=20), TierEvent::Leaves(id)));
    script.push((at + seconds(rng, 5..=30), TierEvent::Comes));
}

fn dead(rng: &mut Rng, there: Vec<GatewayId>) -> Script {
    let mut script = Script::new();
    let some = rng.usize(1..=2);
    there.into_iter().take(some).for_each(|id| dies(rng, id, &mut script));
    script
}

/// Is published as ready, and refuses, takes and says nothing, or rejects a part.
fn lies(rng: &mut Rng, id: GatewayId, script: &mut Script) {
    let at = moment(rng);
    let manner = match rng.u8(0..3) {
        0 => Manner::Refuses { after: None },
        1 => Manner::Mute,
        _ => Manner::Partial(rng.usize(1..=2)),
    };
    script.push((at, TierEvent::Behaves(id, manner)));
    script.push((at + seconds(rng, 3..=20), TierEvent::Behaves(id, Manner::Answers)));
}

fn lying(rng: &mut Rng, there: Vec<GatewayId>) -> Script {
    let mut script = Script::new();
    let some = rng.usize(1..there.len());
    there.into_iter().take(some).for_each(|id| lies(rng, id, &mut script));
    script
}

fn mixed(rng: &mut Rng, there: Vec<GatewayId>) -> Script {
    let mut script = Script::new();
    for id in there.into_iter().skip(2) {
        match rng.u8(0..5) {
            0 => dies(rng, id, &mut script),
            1 => lies(rng, id, &mut script),
            2 => script.push((moment(rng), TierEvent::Behaves(id, Manner::Slow(millis(rng, 50..=1_500))))),
            3 => {
                leaves(&mut script, moment(rng), id);
                script.push((moment(rng), TierEvent::Comes));
            }
            _ => {}
        }
    }
    script
}

//! `probabilistic`: a share of traces, chosen by a hash of the trace id, the same on every node.
//!
//! YAML: `probabilistic: {sampling_percentage: 10, hash_salt: s1}`. FNV-1a 64 over salt and id, kept when the hash is not
//! above that share of 2^64; agrees with the Collector on every id.

use crate::config::check::Section;
use crate::otlp::consistency::threshold;
use crate::processors::tail_sampling::held::ids::as_sent;
use crate::processors::tail_sampling::policies::circumstances::Chance;
use crate::processors::tail_sampling::policies::{PolicyCheck, PolicyRule};

const DEFAULT_SALT: &str = "default-hash-seed";

#[derive(Clone, Copy, Debug)]
pub struct Probabilistic {
    /// State of the hash after the salt.
    pub salted: u64,
    /// The hash of a trace that is kept is not above this.
    pub threshold: u64,
    /// From 0 to 1.
    pub share: f64,
    /// The same share as a threshold of consistent sampling.
    pub cut: u64,
}

pub fn check(section: &Section<'_>, _cx: &mut PolicyCheck<'_>, _depth: usize) -> Option<PolicyRule> {
    let salt = section.string("hash_salt").filter(|salt| !salt.is_empty());
    let percentage = section.f64("sampling_percentage").unwrap_or(0.0);
    if !percentage.is_finite() || percentage < 0.0 {
        return section.invalid("sampling_percentage", format!("{percentage} is not a share"), "0 to 100");
    }
    Some(PolicyRule::Probabilistic(Probabilistic::new(salt.as_deref().unwrap_or(DEFAULT_SALT), percentage)))
}

impl Probabilistic {
    /// `percentage` of 0 or more; above 100 it keeps everything.
    pub fn new(salt: &str, percentage: f64) -> Probabilistic {
        let share = (percentage / 100.0).min(1.0);
        // Beyond the largest number the cast saturates, which is what 100 % means.
        let threshold = (share * 2f64.powi(64)) as u64;
        Probabilistic {
            salted: fnv1a(0xcbf2_9ce4_8422_2325, salt.as_bytes()),
            threshold,
            share,
            cut: threshold::keeping(share),
        }
    }

    pub fn matches(&self, trace_id: &[u8; 16]) -> bool {
        self.takes(self.hash(trace_id))
    }

    /// As [`Probabilistic::matches`], with chance as it is given.
    pub fn passes(&self, chance: Chance<'_>, trace_id: &[u8; 16]) -> bool {
        match chance {
            Chance::Salted => self.matches(trace_id),
            Chance::Shared(randomness) => randomness >= self.cut,
            Chance::Assumed(hashes) => {
                let assumed = hashes.iter().find(|(salted, _)| *salted == self.salted);
                self.takes(assumed.map_or_else(|| self.hash(trace_id), |(_, hash)| *hash))
            }
        }
    }

    pub fn hash(&self, trace_id: &[u8; 16]) -> u64 {
        fnv1a(self.salted, &as_sent(trace_id))
    }

    pub fn takes(&self, hash: u64) -> bool {
        self.share > 0.0 && hash <= self.threshold
    }
}

fn fnv1a(seed: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(seed, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

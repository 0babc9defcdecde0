//! Which member owns a key: rendezvous hashing, so that a member that comes or goes moves its own share of the keys and no
//! other (Thaler and Ravishankar, "A name-based mapping scheme for rendezvous", 1996).
//!
//! Pure, and the same in every process and version: two gateways that know the same members send a trace to the same one,
//! in whatever order they learnt of them. The bits of a trace id are mixed, so that the member that owns a trace says
//! nothing about where a sampler there keeps it.

/// The members and what each is told apart by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ring {
    /// Ascending, each once.
    members: Vec<String>,
    seeds: Vec<u64>,
}

impl Ring {
    /// `members` are endpoints as `host:port`, in any order.
    pub fn new(members: impl IntoIterator<Item = String>) -> Ring {
        let mut members: Vec<String> = members.into_iter().collect();
        members.sort_unstable();
        members.dedup();
        let seeds = members.iter().map(|member| hash(member.as_bytes())).collect();
        Ring { members, seeds }
    }

    pub fn members(&self) -> &[String] {
        &self.members
    }

    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// The place among [`Ring::members`] of the one that owns the key; `None` without members. Linear in the members.
    pub fn owner(&self, key: u64) -> Option<usize> {
        let weights = self.seeds.iter().enumerate().map(|(at, seed)| (mix(seed ^ key), at));
        weights.max().map(|(_, at)| at)
    }
}

/// 64 bits of a text: FNV-1a, mixed, because its upper bits alone say little of short texts.
pub fn hash(bytes: &[u8]) -> u64 {
    hash_on(FNV_OFFSET, bytes)
}

/// As [`hash`], continued: of several texts in this order.
pub fn hash_on(state: u64, bytes: &[u8]) -> u64 {
    mix(bytes.iter().fold(state, |state, byte| (state ^ u64::from(*byte)).wrapping_mul(FNV_PRIME)))
}

const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;

/// The finalizer of SplitMix64: each bit of the key moves about half of the result's.
fn mix(key: u64) -> u64 {
    let key = (key ^ (key >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let key = (key ^ (key >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    key ^ (key >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(count: usize) -> Ring {
        Ring::new((0..count).map(|at| format!("10.0.0.{at}:4317")))
    }

    /// Trace ids as senders make them: random, and counted up from one.
    fn keys() -> Vec<u64> {
        let mut random = fastrand::Rng::with_seed(7);
        let made = (0..20_000_u128).map(|at| if at % 2 == 0 { random.u128(..) } else { at });
        made.map(|id| hash(&id.to_be_bytes())).collect()
    }

    #[test]
    fn a_member_that_goes_moves_its_own_keys_only_and_one_that_comes_takes_its_share() {
        for count in [2, 3, 5, 9, 40] {
            let (all, keys) = (ring(count), keys());
            let fewer = Ring::new(all.members().iter().skip(1).cloned());
            let gone = &all.members()[0];
            let mut moved = 0;
            for key in &keys {
                let (before, after) = (all.owner(*key).expect("one"), fewer.owner(*key).expect("one"));
                let (before, after) = (&all.members()[before], &fewer.members()[after]);
                moved += u64::from(before != after);
                assert!(before == after || before == gone, "a key of {before} moved to {after}");
            }
            let fair = keys.len() as f64 / count as f64;
            assert!((moved as f64) < fair + 5.0 * fair.sqrt(), "{moved} of {} moved, {fair} is fair", keys.len());
        }
    }

    #[test]
    fn members_have_equal_shares_however_trace_ids_are_made() {
        for count in [2, 7, 40] {
            let ring = ring(count);
            let mut shares = vec![0.0_f64; count];
            for key in keys() {
                shares[ring.owner(key).expect("one")] += 1.0;
            }
            let fair = keys().len() as f64 / count as f64;
            for share in shares {
                assert!((share - fair).abs() < 5.0 * fair.sqrt(), "{share} of {fair}");
            }
        }
    }

    #[test]
    fn the_order_in_which_members_are_learnt_means_nothing_and_without_any_nobody_owns() {
        let back = Ring::new(ring(9).members().iter().rev().cloned().chain(["10.0.0.3:4317".to_owned()]));
        assert_eq!(back, ring(9));
        assert_eq!((Ring::default().owner(7), Ring::default().is_empty()), (None, true));
    }

    #[test]
    fn the_owner_says_nothing_about_the_lowest_bits_of_the_id() {
        let ring = ring(4);
        let mut seen = [[0_u32; 4]; 4];
        for id in 0..40_000_u128 {
            let owner = ring.owner(hash(&id.to_be_bytes())).expect("one");
            seen[owner][usize::try_from(id % 4).expect("small")] += 1;
        }
        let counts = seen.iter().flatten();
        assert!(counts.clone().all(|count| (2_250..2_750).contains(count)), "{seen:?}");
    }

    /// Another version that answers otherwise tears traces while a fleet is updated.
    #[test]
    fn owners_stay_what_they_were_in_the_first_version() {
        let owners: Vec<_> = (0..12_u128).filter_map(|id| ring(5).owner(hash(&id.to_be_bytes()))).collect();
        assert_eq!(owners, OWNERS);
    }

    const OWNERS: [usize; 12] = [4, 2, 1, 1, 4, 2, 2, 2, 0, 3, 2, 0];
}

//! What nobody can tell when the clock was set back: times come twice, and whoever began in between may have made what was
//! stamped with them, or the one before.

use std::time::Duration;

use podgate::core::time::UnixNanos;

use crate::truth::{Facts, Life, Made};

/// Times this much before those that came twice are doubted too: whoever looks at the clock does so when data comes, and
/// waits for three seconds after a step.
const MARGIN: Duration = Duration::from_secs(12);
/// And this much after them.
const STEP: Duration = Duration::from_secs(1);

/// Two runs may have made this item: it is stamped with a time that came twice, and its container restarted since that came
/// first. Or two pods may: it is known by its address alone, another pod had that too, and its process lived in such a time.
pub fn is_undecidable(facts: &Facts, made: &Made) -> bool {
    let Some(own) = facts.lives.iter().find(|life| life.id == made.container) else { return false };
    facts.set_back.iter().any(|(before, after)| {
        let twice = (after.saturating_sub(MARGIN), before.saturating_add(STEP));
        restarted(facts, own, made, twice) || readdressed(facts, own, made, twice)
    })
}

fn restarted(facts: &Facts, own: &Life, made: &Made, (from, to): (UnixNanos, UnixNanos)) -> bool {
    let runs = || facts.lives.iter().filter(|life| life.pod == own.pod && life.container == own.container);
    let since = runs().skip(1).any(|life| from <= life.began);
    from <= made.at && made.at <= to && since
}

fn readdressed(facts: &Facts, own: &Life, made: &Made, (from, to): (UnixNanos, UnixNanos)) -> bool {
    let others = facts.lives.iter().any(|life| life.address == own.address && life.pod != own.pod);
    // One that began before the clock was set back and went on lived in all of them.
    let lived = made.at < own.began || from <= made.at && own.began <= to;
    !own.named && others && lived
}

//! The fault table, with the clock in our hands: a fake server answers, and every request is counted.

use super::*;
use crate::kube::decode::{Decoder, Keep};
use crate::kube::watch::backoff::SPACING;

pub(super) fn seen(uid: &str, version: u64) -> DecodedPod {
    let json = format!(r#"{{"metadata":{{"uid":"{uid}","name":"{uid}","resourceVersion":"{version}"}}}}"#);
    Decoder::new(Keep::default()).pod(json.as_bytes()).unwrap()
}

pub(super) fn status(code: u16) -> ApiStatus {
    ApiStatus { code, ..ApiStatus::default() }
}

pub(super) fn refused(code: u16) -> Input {
    Input::Refused { status: status(code), retry_after: None }
}

pub(super) fn bookmark(version: &str, initial_events_end: bool) -> Input {
    Input::Event(Event::Bookmark { version: version.to_owned(), initial_events_end })
}

/// A watch with its clock; a closure plays the server.
pub(super) struct Lab {
    pub watch: Watch,
    begun: Instant,
    pub now: Instant,
    pub requests: Vec<(Duration, Ask)>,
    effects: Vec<Effect>,
}

impl Lab {
    pub fn new(seed: u64) -> Lab {
        let now = Instant::now();
        let watch = Watch::new(now, fastrand::Rng::with_seed(seed));
        Lab { watch, begun: now, now, requests: Vec::new(), effects: Vec::new() }
    }

    pub fn give(&mut self, input: Input) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.watch.on(input, self.now, &mut effects);
        for effect in &effects {
            if let Effect::Request(ask) = effect {
                self.requests.push((self.now - self.begun, ask.clone()));
            }
        }
        self.effects.extend(effects.iter().map(copy));
        effects
    }

    pub fn pass(&mut self, time: Duration) {
        self.now += time;
    }

    /// Goes to the next deadline; the request made there, if any.
    fn timer(&mut self) -> Option<Ask> {
        self.now = self.now.max(self.watch.deadline());
        self.give(Input::Timer).into_iter().find_map(|effect| match effect {
            Effect::Request(ask) => Some(ask),
            _ => None,
        })
    }

    fn next_request(&mut self) -> Ask {
        (0..10).find_map(|_| self.timer()).expect("a request within ten deadlines")
    }

    /// Lists two pods by streaming; the watch goes on from version 10.
    fn list(&mut self) {
        let ask = self.next_request();
        assert!(matches!(ask, Ask::StreamingList { .. }), "{ask:?}");
        self.give(Input::Opened);
        self.give(Input::Event(Event::Applied(seen("a", 5))));
        self.give(Input::Event(Event::Applied(seen("b", 6))));
        let effects = self.give(bookmark("10", true));
        assert!(matches!(&effects[0], Effect::Listed(pods) if pods.len() == 2), "{effects:?}");
    }

    pub fn listed_and_settled(seed: u64) -> Lab {
        let mut lab = Lab::new(seed);
        lab.list();
        lab.pass(Duration::from_secs(6));
        lab.give(Input::Timer);
        lab
    }

    /// Lets `server` answer each request for `time`; the deadline is what ends silence.
    pub fn run(&mut self, time: Duration, mut server: impl FnMut(&mut Lab, &Ask)) {
        let ends = self.now + time;
        while self.watch.deadline() < ends {
            if let Some(ask) = self.timer() {
                server(self, &ask);
            }
        }
        self.now = ends;
    }

    pub fn spacing(&self) -> Duration {
        self.requests.windows(2).map(|pair| pair[1].0 - pair[0].0).min().unwrap_or(Duration::MAX)
    }
}

fn copy(effect: &Effect) -> Effect {
    match effect {
        Effect::RenewCredentials => Effect::RenewCredentials,
        Effect::Request(ask) => Effect::Request(ask.clone()),
        Effect::Applied(seen) => Effect::Applied(seen.clone()),
        Effect::Deleted { uid, last, version } => {
            Effect::Deleted { uid: uid.clone(), last: last.clone(), version: version.clone() }
        }
        Effect::Listed(seen) => Effect::Listed(seen.clone()),
        Effect::Report(health) => Effect::Report(health.clone()),
    }
}

#[test]
fn a_streaming_list_becomes_a_watch_whose_events_are_handed_on() {
    let mut lab = Lab::new(1);
    lab.list();
    assert_eq!(*lab.watch.health(), WatchHealth::Fresh);
    assert_eq!(lab.give(Input::Event(Event::Applied(seen("c", 11)))), [Effect::Applied(seen("c", 11))]);
    let gone = Event::Deleted { uid: "a".into(), last: None, version: "12".to_owned() };
    assert_eq!(
        lab.give(Input::Event(gone)),
        [Effect::Deleted { uid: "a".into(), last: None, version: "12".to_owned() }]
    );
    lab.pass(Duration::from_secs(60));
    lab.give(bookmark("40", false));
    lab.give(Input::Ended);
    assert!(matches!(lab.next_request(), Ask::Watch { from, .. } if from == "40"), "the version comes from bookmarks");
}

#[test]
fn deletions_within_initial_events_are_not_in_the_list() {
    let mut lab = Lab::new(2);
    lab.next_request();
    lab.give(Input::Opened);
    lab.give(Input::Event(Event::Applied(seen("a", 5))));
    lab.give(Input::Event(Event::Deleted { uid: "a".into(), last: None, version: "6".to_owned() }));
    assert_eq!(lab.give(bookmark("7", true))[0], Effect::Listed(Vec::new()));
}

#[test]
fn the_first_request_comes_within_half_a_second_spread_by_chance() {
    let first = |seed| {
        let mut lab = Lab::new(seed);
        lab.next_request();
        lab.requests[0].0
    };
    let times: Vec<Duration> = (0..100).map(first).collect();
    assert!(times.iter().all(|time| *time <= START_JITTER));
    assert!(times.iter().min().unwrap() < &Duration::from_millis(100));
    assert!(times.iter().max().unwrap() > &Duration::from_millis(400));
}

#[test]
fn a_410_leads_to_a_new_list_however_it_is_said() {
    let ways: [fn(&mut Lab); 3] = [
        |lab| drop(lab.give(Input::Event(Event::Error(status(410))))),
        |lab| {
            lab.give(Input::Ended);
            lab.next_request();
            lab.give(refused(410));
        },
        |lab| {
            let expired = ApiStatus { code: 500, reason: "Expired".to_owned(), ..ApiStatus::default() };
            lab.give(Input::Event(Event::Error(expired)));
        },
    ];
    for way in ways {
        let mut lab = Lab::listed_and_settled(4);
        way(&mut lab);
        let ask = lab.next_request();
        assert!(matches!(&ask, Ask::StreamingList { at_least: Some(version), .. } if version == "10"), "{ask:?}");
    }
}

#[test]
fn silence_is_doubted_after_75_seconds_and_resolved_by_a_list() {
    let mut lab = Lab::listed_and_settled(5);
    let quiet = lab.begun.max(lab.watch.heard().latest().unwrap());
    assert_eq!(lab.watch.deadline(), quiet + LIVENESS);
    assert_eq!(lab.timer(), None);
    assert_eq!(*lab.watch.health(), WatchHealth::Stale(WatchCause::Silent));
    assert!(lab.watch.is_waiting(), "the silent request is dropped");
    assert!(matches!(lab.next_request(), Ask::StreamingList { at_least: Some(_), .. }));
}

#[test]
fn what_may_have_cut_off_others_too_is_told_with_the_first_answer_after_it() {
    let failures: [(fn() -> Input, bool); 6] = [
        (|| Input::Failed("reset".to_owned()), true),
        (|| Input::Event(Event::Error(status(500))), true),
        (|| Input::Garbage("no JSON".to_owned()), true),
        (|| Input::Ended, false),
        (|| Input::Event(Event::Error(status(410))), false),
        (|| Input::Event(Event::Error(status(403))), false),
    ];
    for (failure, outage) in failures {
        let mut lab = Lab::listed_and_settled(7);
        assert_eq!(lab.watch.heard().reached_again, None);
        let what = format!("{:?}", failure());
        lab.give(failure());
        lab.next_request();
        assert_eq!(lab.watch.heard().reached_again, None, "{what}");
        lab.give(Input::Opened);
        assert_eq!(lab.watch.heard().reached_again, outage.then_some((lab.now, After::Failures)), "{what}");
    }
}

#[test]
fn without_a_stream_nothing_is_followed_until_what_was_missed_has_come() {
    let failures: [(fn() -> Input, bool); 3] = [
        (|| Input::Failed("reset".to_owned()), false),
        (|| Input::Event(Event::Error(status(500))), false),
        (|| Input::Ended, true),
    ];
    for (end, is_sound) in failures {
        let mut lab = Lab::listed_and_settled(7);
        let what = format!("{:?}", end());
        let lapsed = |lab: &Lab, after: Duration| lab.watch.heard().lapsed(lab.now + after);
        assert!(!lapsed(&lab, Duration::from_secs(60)), "{what}: a stream is open");
        lab.give(end());
        assert_eq!(lapsed(&lab, Duration::ZERO), !is_sound, "{what}: the next stream takes a moment");
        assert!(lapsed(&lab, HANDOVER), "{what}: no stream");
        lab.next_request();
        lab.give(Input::Opened);
        assert_eq!(lapsed(&lab, BURST / 2), !is_sound, "{what}: what was missed is on its way");
        assert!(!lapsed(&lab, BURST), "{what}: it has come");
    }
}

#[test]
fn a_stream_that_was_opened_anew_is_given_its_own_time_before_it_is_doubted() {
    let mut lab = Lab::listed_and_settled(8);
    lab.pass(Duration::from_secs(40));
    lab.give(Input::Ended);
    assert!(matches!(lab.next_request(), Ask::Watch { .. }));
    lab.give(Input::Opened);
    lab.pass(Duration::from_secs(60));
    lab.give(Input::Timer);
    lab.give(bookmark("11", false));
    assert_eq!(*lab.watch.health(), WatchHealth::Fresh, "a hundred seconds after the last word");
}

#[test]
fn bookmarks_keep_a_quiet_watch_from_being_doubted() {
    let mut lab = Lab::listed_and_settled(6);
    for minute in 0..10 {
        lab.pass(Duration::from_secs(60));
        lab.give(Input::Timer);
        lab.give(bookmark(&(100 + minute).to_string(), false));
    }
    assert_eq!(*lab.watch.health(), WatchHealth::Fresh);
    assert_eq!(lab.requests.len(), 1);
}

#[test]
fn a_version_from_the_future_is_given_up_at_the_second_refusal() {
    let mut lab = Lab::listed_and_settled(7);
    lab.timer();
    let too_large = ApiStatus { code: 504, version_too_large: true, ..ApiStatus::default() };
    for expected in [Some("10".to_owned()), Some("10".to_owned()), None] {
        let Ask::StreamingList { at_least, .. } = lab.next_request() else { panic!() };
        assert_eq!(at_least, expected);
        lab.give(Input::Opened);
        lab.give(Input::Event(Event::Error(too_large.clone())));
    }
}

#[test]
fn after_a_long_outage_the_state_is_listed_not_resumed() {
    let mut lab = Lab::listed_and_settled(8);
    lab.give(Input::Failed("reset".to_owned()));
    lab.pass(Duration::from_secs(300));
    assert!(matches!(lab.next_request(), Ask::StreamingList { .. }));
}

#[test]
fn a_server_without_streaming_lists_is_listed_in_pages_and_then_watched() {
    for code in [400, 404, 405, 406, 415, 422] {
        let mut lab = Lab::new(9);
        lab.next_request();
        lab.give(refused(code));
        assert_eq!(lab.next_request(), Ask::List { at_least: None, page: None, limit: PAGE_ITEMS });
        lab.give(Input::Opened);
        lab.give(Input::Item(seen("a", 1)));
        lab.give(Input::Page(ListEnd { version: "7".to_owned(), rest: "next".to_owned() }));
        assert_eq!(lab.next_request(), Ask::List { at_least: None, page: Some("next".to_owned()), limit: PAGE_ITEMS });
        lab.give(Input::Opened);
        lab.give(Input::Item(seen("b", 2)));
        let effects = lab.give(Input::Page(ListEnd { version: "7".to_owned(), rest: String::new() }));
        assert!(matches!(&effects[0], Effect::Listed(pods) if pods.len() == 2), "{code}: {effects:?}");
        assert!(matches!(lab.next_request(), Ask::Watch { from, .. } if from == "7"));
        assert!(lab.spacing() >= SPACING);
    }
}

#[test]
fn refusals_that_say_nothing_of_streaming_do_not_end_it() {
    for code in [401, 403, 410, 429, 500, 503] {
        let mut lab = Lab::new(10);
        lab.next_request();
        lab.give(refused(code));
        assert!(matches!(lab.next_request(), Ask::StreamingList { .. }), "{code}");
    }
}

#[test]
fn objects_without_a_mark_of_their_end_lead_to_a_plain_list() {
    let mut lab = Lab::new(11);
    for _ in 0..2 {
        assert!(matches!(lab.next_request(), Ask::StreamingList { .. }));
        lab.give(Input::Opened);
        lab.give(Input::Event(Event::Applied(seen("a", 1))));
        lab.pass(INITIAL_WAIT);
        assert_eq!(lab.timer(), None);
    }
    assert!(matches!(lab.next_request(), Ask::List { .. }));
}

#[test]
fn an_expired_page_token_starts_the_list_anew_without_pages() {
    let mut lab = Lab::new(12);
    lab.next_request();
    lab.give(refused(422));
    lab.next_request();
    lab.give(Input::Opened);
    lab.give(Input::Item(seen("a", 1)));
    lab.give(Input::Page(ListEnd { version: "7".to_owned(), rest: "next".to_owned() }));
    lab.next_request();
    lab.give(refused(410));
    assert_eq!(lab.next_request(), Ask::List { at_least: None, page: None, limit: 0 });
    lab.give(Input::Opened);
    let effects = lab.give(Input::Page(ListEnd { version: "9".to_owned(), rest: String::new() }));
    assert_eq!(effects[0], Effect::Listed(Vec::new()), "items of the broken list are forgotten");
}

#[test]
fn a_401_renews_credentials_and_a_403_names_verb_and_cure() {
    let mut lab = Lab::new(13);
    lab.next_request();
    let effects = lab.give(refused(401));
    assert!(effects.contains(&Effect::RenewCredentials));
    assert!(effects.contains(&Effect::Report(WatchHealth::Stale(WatchCause::Unauthorized))));
    lab.next_request();
    let message = "pods is forbidden".to_owned();
    lab.give(Input::Refused { status: ApiStatus { message, ..status(403) }, retry_after: None });
    let WatchHealth::Stale(cause) = lab.watch.health() else { panic!() };
    let told = cause.to_string();
    assert!(told.starts_with("no right to watch pods: grant verbs get, list, watch on pods"), "{told}");
}

#[test]
fn retry_after_is_honoured_up_to_45_seconds() {
    for (asked, held) in [(10, 10), (44, 44), (3_600, 45)] {
        let mut lab = Lab::new(14);
        lab.next_request();
        let at = lab.now;
        lab.give(Input::Refused { status: status(429), retry_after: Some(Duration::from_secs(asked)) });
        lab.next_request();
        assert_eq!(lab.now - at, Duration::from_secs(held));
        assert!(!lab.effects.is_empty());
    }
}

#[test]
fn a_version_the_server_cannot_read_is_given_up() {
    let mut lab = Lab::listed_and_settled(15);
    lab.give(Input::Failed("reset".to_owned()));
    lab.pass(Duration::from_secs(1));
    let asks: Vec<Ask> = (0..8)
        .map(|_| {
            let ask = lab.next_request();
            lab.give(refused(500));
            ask
        })
        .collect();
    assert!(matches!(asks[0], Ask::Watch { .. }), "{asks:?}");
    assert!(matches!(asks[7], Ask::StreamingList { at_least: None, .. }), "{asks:?}");
}

#[test]
fn an_unreadable_event_moves_the_version_on() {
    let mut lab = Lab::listed_and_settled(16);
    let fault = crate::kube::decode::Undecodable("bad".to_owned());
    lab.give(Input::Event(Event::Skipped { version: Some("77".to_owned()), fault }));
    lab.give(Input::Ended);
    assert!(matches!(lab.next_request(), Ask::Watch { from, .. } if from == "77"));
}

#[test]
fn one_reset_of_a_good_stream_is_no_news_and_is_resumed_soon() {
    let mut lab = Lab::listed_and_settled(17);
    lab.pass(Duration::from_secs(30));
    let effects = lab.give(Input::Failed("reset".to_owned()));
    assert!(effects.is_empty(), "{effects:?}");
    let at = lab.now;
    assert!(matches!(lab.next_request(), Ask::Watch { .. }));
    assert!(lab.now - at <= HERD_JITTER + SPACING);
}

#[test]
fn inputs_that_do_not_fit_the_state_change_nothing() {
    let mut lab = Lab::new(18);
    let strangers = || {
        let end = ListEnd { version: "1".to_owned(), rest: String::new() };
        [Input::Opened, Input::Item(seen("a", 1)), Input::Page(end), bookmark("1", true), Input::Ended, refused(410)]
    };
    for input in strangers() {
        assert!(lab.give(input).is_empty());
    }
    assert!(matches!(lab.next_request(), Ask::StreamingList { at_least: None, .. }));
}

/// Any order of any inputs: never two requests within a second, never a panic, and a health report only on change.
#[test]
fn any_sequence_of_inputs_keeps_the_spacing() {
    for seed in 0..300 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut lab = Lab::new(seed);
        for _ in 0..400 {
            let version = random.u32(0..50).to_string();
            let input = match random.u8(0..16) {
                0..=5 => {
                    lab.timer();
                    Input::Opened
                }
                6 => Input::Ended,
                7 => Input::Failed("x".to_owned()),
                8 => refused([400, 401, 403, 410, 429, 500, 504][random.usize(0..7)]),
                9 => bookmark(&version, random.bool()),
                10 => Input::Event(Event::Applied(seen("a", random.u64(0..50)))),
                11 => Input::Event(Event::Error(status([0, 410, 500, 504][random.usize(0..4)]))),
                12 => {
                    Input::Page(ListEnd { version, rest: if random.bool() { String::new() } else { "r".to_owned() } })
                }
                13 => Input::Garbage("x".to_owned()),
                14 => Input::Item(seen("b", 1)),
                _ => Input::Timer,
            };
            lab.give(input);
            lab.pass(Duration::from_millis(random.u64(0..3_000)));
        }
        assert!(lab.spacing() >= SPACING, "seed {seed}: {:?}", lab.requests);
        let reports: Vec<&Effect> = lab.effects.iter().filter(|effect| matches!(effect, Effect::Report(_))).collect();
        assert!(reports.windows(2).all(|pair| pair[0] != pair[1]), "seed {seed}");
    }
}

#[test]
fn a_bookmark_of_the_version_we_have_proves_that_the_server_lives_and_nothing_of_its_store() {
    let mut lab = Lab::listed_and_settled(30);
    let listed = lab.watch.heard().proof(lab.now).expect("a list of a version that we had not is proof");
    lab.pass(Duration::from_secs(60));
    lab.give(bookmark("10", false));
    let heard = lab.watch.heard();
    assert!(heard.bookmark > Some(listed), "it is a sign of life");
    assert_eq!(heard.of_store(), Some(listed), "a server that is cut off from its store sends it, too");
    lab.give(bookmark("11", false));
    assert!(lab.watch.heard().of_store() > Some(listed));
}

#[test]
fn the_first_words_after_a_silence_prove_nothing_until_what_was_held_back_with_them_has_come() {
    let start = Instant::now();
    let at = |millis: u64| start + Duration::from_millis(millis);
    let mut told = Told::default();
    told.add(at(0));
    assert_eq!((told.proof(at(0)), told.proof(at(999)), told.proof(at(1_000))), (None, None, Some(at(0))));
    for word in [20_000, 20_010, 20_400] {
        told.add(at(word));
        assert_eq!(told.proof(at(word)), Some(at(0)), "its successor may be on its way, written long ago");
    }
    assert_eq!(told.proof(at(21_000)), Some(at(20_400)));
    for word in [21_200, 21_900, 22_800] {
        told.add(at(word));
        assert_eq!(told.proof(at(word)), Some(at(word)), "a stream that goes on held nothing back");
    }
}

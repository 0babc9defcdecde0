//! Events of EndpointSlices in, usable endpoints out.

use super::*;
use crate::kube::decode::slice_item;

fn slice(uid: &str, endpoints: &str) -> EndpointSlice {
    let json = format!(r#"{{"metadata":{{"uid":"{uid}","resourceVersion":"7"}},"endpoints":{endpoints}}}"#);
    slice_item(json.as_bytes()).unwrap()
}

fn usable(slices: &ServiceSlices) -> Vec<String> {
    let usable = slices.state().usable.unwrap_or_default();
    usable.into_iter().map(|endpoint| endpoint.address).collect()
}

#[test]
fn what_is_ready_and_does_not_terminate_is_usable_and_what_is_not_said_is_as_kubernetes_has_it() {
    let mut slices = ServiceSlices::default();
    assert_eq!(slices.state(), ServiceState::default());
    let endpoints = r#"[
        {"addresses":["10.0.0.1","10.9.9.9"],"conditions":{"ready":true},"targetRef":{"uid":"a"}},
        {"addresses":["10.0.0.2"],"conditions":{"ready":false,"serving":true,"terminating":true},"targetRef":{"uid":"b"}},
        {"addresses":["10.0.0.3"],"conditions":{"ready":false},"targetRef":{"uid":"c"}},
        {"addresses":["10.0.0.4"],"targetRef":null,"conditions":null},
        {"addresses":["10.0.0.5"],"conditions":{"serving":false},"targetRef":{"uid":"e"}},
        {"addresses":["10.0.0.6"],"conditions":{"ready":true,"terminating":true},"targetRef":{"uid":"f"}},
        {"addresses":[],"conditions":{"ready":true},"targetRef":{"uid":"g"}}]"#;
    slices.apply(Effect::Listed(vec![slice("s", endpoints)]));
    assert_eq!(usable(&slices), ["10.0.0.4", "10.0.0.1"]);
}

#[test]
fn a_pod_of_two_families_is_one_endpoint_and_one_that_any_slice_calls_terminating_is_none() {
    let mut slices = ServiceSlices::default();
    let six =
        r#"[{"addresses":["fd00::1"],"targetRef":{"uid":"a"}},{"addresses":["fd00::2"],"targetRef":{"uid":"b"}}]"#;
    slices.apply(Effect::Listed(vec![slice("six", six)]));
    assert_eq!(usable(&slices), ["fd00::1", "fd00::2"]);
    slices.apply(Effect::Applied(slice("four", r#"[{"addresses":["10.0.0.1"],"targetRef":{"uid":"a"}}]"#)));
    assert_eq!(usable(&slices), ["10.0.0.1", "fd00::2"]);
    let going = r#"[{"addresses":["10.0.0.2"],"targetRef":{"uid":"b"},"conditions":{"terminating":true}}]"#;
    slices.apply(Effect::Applied(slice("more", going)));
    assert_eq!(usable(&slices), ["10.0.0.1"]);
    slices.apply(Effect::Deleted { uid: "four".into(), last: None, version: "9".to_owned() });
    slices.apply(Effect::Deleted { uid: "more".into(), last: None, version: "9".to_owned() });
    assert_eq!(usable(&slices), ["fd00::1", "fd00::2"]);
    slices.apply(Effect::Listed(Vec::new()));
    assert_eq!(slices.state().usable, Some(Vec::new()));
}

#[test]
fn trouble_is_told_with_its_cure_until_the_watch_is_sound_again() {
    let mut slices = ServiceSlices::default();
    let message = "endpointslices is forbidden".to_owned();
    let cause = WatchCause::Forbidden { verb: crate::kube::watch::Verb::Watch, message };
    slices.apply(Effect::Report(WatchHealth::Stale(cause)));
    let trouble = slices.state().trouble.expect("told");
    assert!(trouble.contains("no right to watch endpointslices") && trouble.contains("podgate rbac"), "{trouble}");
    slices.apply(Effect::Report(WatchHealth::Fresh));
    assert_eq!(slices.state(), ServiceState::default());
}

#[test]
fn what_is_no_slice_is_said_to_be_none() {
    for json in ["", "[]", "{}", r#"{"metadata":{"uid":1}}"#, r#"{"metadata":{"uid":"a"},"endpoints":{}}"#] {
        assert!(slice_item(json.as_bytes()).is_err(), "{json}");
    }
    assert_eq!(slice("a", "null").endpoints, []);
}

//! What each action does and leaves alone, as the Collector's own tests have it (contrib attraction_test.go, v0.161),
//! and which lists of actions are refused where.

use std::sync::Arc;

use podgate::change::actions::{Actions, any_value, push_text, read};
use podgate::config::check::Section;
use podgate::core::data::budget::Ticket;
use podgate::core::data::origin::{Identity, Origin, Transport};
use podgate::core::diagnostic::Diagnostics;
use podgate::core::time::UnixNanos;
use podgate::otlp::ids::push_hex;
use podgate::otlp::walk::{AnyValue, Malformed};
use podgate::testing::check::node;

/// The attributes of a YAML map as a resource would have them.
fn message(map: &str) -> Vec<u8> {
    match AnyValue::read(&any_value(&node(map))) {
        Ok(AnyValue::KvList(entries)) => entries.to_vec(),
        other => panic!("{map} is no map: {other:?}"),
    }
}

fn actions(list: &str) -> Result<Actions, Vec<(String, String)>> {
    let diagnostics = Diagnostics::default();
    let body = node(&format!("{{actions: {list}}}"));
    let section = Section::new(&body, "", &diagnostics);
    let read = read(&section, "actions");
    section.finish();
    let faults: Vec<_> = diagnostics.sorted().into_iter().map(|fault| (fault.path, fault.message)).collect();
    read.filter(|_| faults.is_empty()).ok_or(faults)
}

/// Attributes in order of their keys, as JSON; the same map shows the same text.
fn shown(message: &[u8]) -> String {
    let mut text = Vec::new();
    push_text(&mut text, AnyValue::KvList(message));
    String::from_utf8(text).expect("UTF-8")
}

fn act_from(origin: &Origin, list: &str, before: &str) -> (bool, String) {
    let actions = actions(list).unwrap_or_else(|faults| panic!("{list}: {faults:?}"));
    let mut bench = actions.workbench(&Ticket::free());
    let message = message(before);
    let changed = actions.apply(&mut bench, &message, 1, origin).expect("walkable");
    let after = bench.edit.take().expect("memory without limit");
    assert_eq!(changed, after != message, "{list} on {before}: unchanged means the same bytes");
    (changed, shown(&after))
}

/// Asserts what comes of attributes; equal before and after means that nothing was touched.
fn assert_acts(list: &str, before: &str, after: &str) {
    let (changed, is) = act_from(&Origin::internal(UnixNanos(0)), list, before);
    assert_eq!(is, shown(&message(after)), "{list} on {before}");
    assert_eq!(changed, before != after, "{list} on {before}");
}

#[test]
fn values_are_written_when_the_action_says_so() {
    let insert = "[{key: a, action: insert, value: 123}]";
    assert_acts(insert, "{}", "{a: 123}");
    assert_acts(insert, "{a: bob}", "{a: bob}");
    let update = "[{key: a, action: update, value: redacted}]";
    assert_acts(update, "{boo: foo}", "{boo: foo}");
    assert_acts(update, "{a: password, b: 1}", "{b: 1, a: redacted}");
    let upsert = "[{key: a, action: UPSERT, value: earth}]";
    assert_acts(upsert, "{}", "{a: earth}");
    assert_acts(upsert, "{a: 7, b: 1}", "{b: 1, a: earth}");
    assert_acts(upsert, "{a: earth, b: 1}", "{a: earth, b: 1}");
    for (value, text) in [
        ("'1'", r#"{"a":"1"}"#),
        ("1", r#"{"a":1}"#),
        ("1.5", r#"{"a":1.5}"#),
        ("true", r#"{"a":true}"#),
        ("[x, 1, {y: [false]}]", r#"{"a":["x",1,{"y":[false]}]}"#),
        ("{y: 1, b: 2}", r#"{"a":{"b":2,"y":1}}"#),
    ] {
        let list = format!("[{{key: a, action: upsert, value: {value}}}]");
        assert_eq!(act_from(&Origin::internal(UnixNanos(0)), &list, "{}"), (true, text.to_owned()));
    }
}

#[test]
fn values_are_copied_from_other_attributes_with_their_kind() {
    let insert = "[{key: to, action: insert, from_attribute: from}]";
    assert_acts(insert, "{bob: 1}", "{bob: 1}");
    assert_acts(insert, "{from: 8892342}", "{from: 8892342, to: 8892342}");
    assert_acts(insert, "{from: [1, {x: y}]}", "{from: [1, {x: y}], to: [1, {x: y}]}");
    assert_acts(insert, "{from: 1, to: here}", "{from: 1, to: here}");
    let update = "[{key: to, action: update, from_attribute: from}]";
    assert_acts(update, "{from: 1}", "{from: 1}");
    assert_acts(update, "{from: 1, to: here}", "{from: 1, to: 1}");
    assert_acts("[{key: boo, action: upsert, from_attribute: boo}]", "{boo: x}", "{boo: x}");
    let default = "[{key: to, action: insert, from_attribute: from, default_value: east}]";
    assert_acts(default, "{}", "{to: east}");
    assert_acts(default, "{from: west}", "{from: west, to: west}");
    assert_acts("[{key: to, action: update, default_value: 1}]", "{}", "{}");
}

#[test]
fn actions_run_in_the_order_written_and_see_each_other() {
    let list = "[{key: operation, action: insert, value: default}, \
                {key: svc.operation, action: upsert, from_attribute: operation}, {key: operation, action: delete}]";
    assert_acts(list, "{foo: x}", "{foo: x, svc.operation: default}");
    assert_acts(list, "{foo: x, operation: sum}", "{foo: x, svc.operation: sum}");
    assert_acts(list, "{operation: sum, svc.operation: add}", "{svc.operation: sum}");
}

#[test]
fn deletions_go_by_key_by_pattern_or_by_both() {
    let both = "[{key: dup, pattern: '^dup_.', action: delete}]";
    assert_acts(both, "{boo: x}", "{boo: x}");
    assert_acts(both, "{dup: 1, dup_a: 1, dup_b: 2, not_dup_c: 3}", "{not_dup_c: 3}");
    assert_acts("[{pattern: dup.*, action: delete}]", "{a_dup: 1, b: 2}", "{b: 2}");
}

#[test]
fn a_hash_is_the_sha_256_of_the_value() {
    let hash = "[{key: h, pattern: '^h_', action: hash}]";
    let of_foo = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae";
    assert_acts(hash, "{h: foo, h_too: foo, n: foo}", &format!("{{n: foo, h: {of_foo}, h_too: {of_foo}}}"));
    let of_true = "4bf5122f344554c53bde2ebb8cd2b7e3d1600ad631c385a5d7cce23c7785459a";
    assert_acts(hash, "{h: true}", &format!("{{h: {of_true}}}"));
    // 24 and 2.4 in eight little-endian bytes.
    for (value, bytes) in [("24", 24i64.to_le_bytes()), ("2.4", 2.4f64.to_le_bytes())] {
        let mut wanted = Vec::new();
        push_hex(&mut wanted, ring::digest::digest(&ring::digest::SHA256, &bytes).as_ref());
        let wanted = String::from_utf8(wanted).expect("hex");
        assert_acts(hash, &format!("{{h: {value}}}"), &format!("{{h: '{wanted}'}}"));
    }
    assert_acts(hash, "{h: [1]}", "{h: ''}");
    assert_acts(hash, "{h: ''}", "{h: ''}");
}

#[test]
fn named_groups_become_attributes_and_nothing_else_changes() {
    let list = r"[{key: path, pattern: '^\/api\/v1\/(?P<id>[^/]*)\/update(?:\/(?P<version>.*))?$', action: extract}]";
    assert_acts(list, "{boo: x}", "{boo: x}");
    assert_acts(list, "{path: 1234}", "{path: 1234}");
    assert_acts(list, "{path: /api/v1/7/create}", "{path: /api/v1/7/create}");
    let (before, after) = ("{path: /api/v1/7/update/v1, id: 2}", "{path: /api/v1/7/update/v1, id: '7', version: v1}");
    assert_acts(list, before, after);
    assert_acts(list, "{path: /api/v1/7/update}", "{path: /api/v1/7/update, id: '7', version: ''}");
}

#[test]
fn what_cannot_be_converted_stays() {
    let table = [
        ("int", "'123'", "123"),
        ("int", "'-9'", "-9"),
        ("int", "'1.5'", "'1.5'"),
        ("int", "'99999999999999999999'", "'99999999999999999999'"),
        ("int", "12.9", "12"),
        ("int", "true", "1"),
        ("int", "[1]", "[1]"),
        ("double", "3", "3.0"),
        ("double", "'1e3'", "1000.0"),
        ("double", "'1e999'", "'1e999'"),
        ("double", "x", "x"),
        ("double", "false", "0.0"),
        ("string", "3", "'3'"),
        ("string", "3.0", "'3'"),
        ("string", "1e21", "'1e+21'"),
        ("string", "0.0000001", "'1e-7'"),
        ("string", "1e20", "'100000000000000000000'"),
        ("string", "true", "'true'"),
        ("string", "{b: '<', a: [1, 2.5, x]}", r#"'{"a":[1,2.5,"x"],"b":"\u003c"}'"#),
        ("string", "same", "same"),
    ];
    for (to, before, after) in table {
        let list = format!("[{{key: a, action: convert, converted_type: {to}}}]");
        let (changed, _) = act_from(&Origin::internal(UnixNanos(0)), &list, &format!("{{a: {before}}}"));
        assert_eq!(changed, before != after, "{to} {before}");
        let actions = actions(&list).expect("sound");
        let mut bench = actions.workbench(&Ticket::free());
        let message = message(&format!("{{a: {before}}}"));
        actions.apply(&mut bench, &message, 1, &Origin::internal(UnixNanos(0))).expect("walkable");
        assert_eq!(bench.edit.get("a"), AnyValue::read(&any_value(&node(after))).ok(), "{to} {before}");
    }
}

#[test]
fn the_context_is_the_senders_address_and_the_headers_kept() {
    let peer = Some("[::ffff:10.1.2.3]:4711".parse().expect("an address"));
    let mut origin = Origin::new(peer, 1, UnixNanos(0), UnixNanos(0), Transport::Grpc);
    origin.headers =
        [("x-tenant", "a"), ("x-one", "1"), ("x-tenant", "b")].map(|(k, v)| (k.to_owned(), v.to_owned())).to_vec();
    origin.identity = Some(Arc::new(Identity {
        subject: "ann".into(),
        tells_senders: true,
        attributes: vec![("username", "ann".to_owned())],
    }));
    let from = |context: &str| {
        let list = format!("[{{key: a, action: upsert, from_context: {context}}}]");
        act_from(&origin, &list, "{}").1
    };
    assert_eq!(from("client.address"), r#"{"a":"10.1.2.3"}"#);
    assert_eq!(from("metadata.X-Tenant"), r#"{"a":"a;b"}"#);
    assert_eq!(from("x-one"), r#"{"a":"1"}"#);
    assert_eq!(from("metadata.absent"), "{}");
    assert_eq!(from("auth.subject"), r#"{"a":"ann"}"#);
    assert_eq!(from("auth.username"), r#"{"a":"ann"}"#);
    assert_eq!(from("auth.raw"), "{}");
    let nobody = Origin::internal(UnixNanos(0));
    assert_eq!(act_from(&nobody, "[{key: a, action: insert, from_context: client.address}]", "{}").1, "{}");
    let default = "[{key: a, action: insert, from_context: metadata.t, default_value: 1}]";
    assert_eq!(act_from(&nobody, default, "{}").1, r#"{"a":1}"#);
}

#[test]
fn a_faulty_list_is_refused_at_the_fault() {
    let table = [
        ("[]", "actions", "`actions` is required"),
        ("[{key: one, action: delete}, {value: 1, action: upsert}]", "actions::1::key", "`key` is required"),
        ("[{key: a, action: invent}]", "actions::0::action", "\"invent\""),
        ("[{key: a}]", "actions::0::action", "required"),
        ("[{key: a, action: insert}]", "actions::0::value", "required"),
        ("[{key: a, action: insert, value: null}]", "actions::0::value", "required"),
        ("[{key: a, value: 1, from_attribute: b, action: upsert}]", "actions::0::key", "more than one"),
        ("[{key: a, pattern: b, from_attribute: c, action: insert}]", "actions::0::pattern", "does not use"),
        ("[{key: a, action: delete, value: 1}]", "actions::0::value", "does not use"),
        ("[{action: hash}]", "actions::0::key", "required"),
        ("[{key: a, action: extract}]", "actions::0::pattern", "required"),
        ("[{key: a, pattern: '(?P<x>.*)', value: v, action: extract}]", "actions::0::value", "does not use"),
        ("[{key: a, pattern: '(', action: delete}]", "actions::0::pattern", "not a regular expression"),
        ("[{key: a, pattern: '.*', action: extract}]", "actions::0::pattern", "must be named"),
        ("[{key: a, pattern: '(?P<x>.*)(.)', action: extract}]", "actions::0::pattern", "must be named"),
        ("[{key: a, action: convert}]", "actions::0::converted_type", "required"),
        ("[{key: a, action: convert, converted_type: bool}]", "actions::0::converted_type", "bool"),
        ("[{key: a, action: insert, value: 1, valeu: 2}]", "actions::0::valeu", "unknown key"),
    ];
    for (list, path, message) in table {
        let faults = actions(list).expect_err(list);
        assert!(faults.len() == 1 && faults[0].0 == path && faults[0].1.contains(message), "{list}: {faults:?}");
    }
}

#[test]
fn a_message_that_cannot_be_walked_is_an_error_and_the_next_one_is_not() {
    let actions = actions("[{pattern: '.*', action: delete}]").expect("sound");
    let (mut bench, nobody) = (actions.workbench(&Ticket::free()), Origin::internal(UnixNanos(0)));
    assert_eq!(actions.apply(&mut bench, &[0x0a, 0x7f], 1, &nobody), Err(Malformed::Length));
    assert_eq!(actions.apply(&mut bench, &message("{a: 1, b: 2}"), 1, &nobody), Ok(true));
    assert_eq!(bench.edit.take().unwrap().len(), 0);
}

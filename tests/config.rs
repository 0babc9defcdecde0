//! Configuration from the outside: what YAML reads as, what `${...}` brings in, what is joined, and what a person is told.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use podgate::config::check::Section;
use podgate::config::show::diagnose;
use podgate::config::show::print::{Secrets, to_yaml};
use podgate::config::{self, Sources, document};
use podgate::core::diagnostic::{Diagnostic, Diagnostics, Severity, code};
use podgate::core::node::{Node, SourceId, Value};
use podgate::core::stage::component::ComponentId;
use proptest::prelude::*;

/// What came of reading one configuration.
struct Outcome {
    tree: Option<Node>,
    found: Vec<Diagnostic>,
    sources: Sources,
}

impl Outcome {
    fn yaml(&self) -> String {
        self.tree.as_ref().map_or_else(|| "no tree".to_owned(), |tree| to_yaml(tree, Secrets::Shown))
    }

    fn codes(&self) -> Vec<&'static str> {
        self.found.iter().map(|diagnostic| diagnostic.code).collect()
    }

    fn rendered(&self) -> String {
        diagnose::render(&self.found, &self.sources, false)
    }
}

fn load(configs: &[String], sets: &[&str], env: &[(&str, &str)]) -> Outcome {
    let env: BTreeMap<&str, &str> = env.iter().copied().collect();
    let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
    let diagnostics = Diagnostics::default();
    let lookup = |name: &str| env.get(name).map(|value| (*value).to_owned());
    let (sources, tree) = config::load(configs, &sets, &lookup, &diagnostics);
    Outcome { tree, found: sources.hidden.clean(diagnostics.sorted()), sources }
}

fn load_text(text: &str, env: &[(&str, &str)]) -> Outcome {
    load(&[format!("yaml:{text}")], &[], env)
}

/// Reads the top level too, as `validate` does before the registry comes in.
fn read_document(outcome: &mut Outcome) -> document::ConfigDocument {
    let diagnostics = Diagnostics::default();
    let tree = outcome.tree.clone().expect("the text has a tree");
    let document = document::read(&tree, &diagnostics);
    outcome.found.extend(diagnostics.sorted());
    outcome.found.sort_by_key(|diagnostic| (diagnostic.place, diagnostic.severity));
    document
}

#[test]
fn expressions_expand_by_the_collectors_rules() {
    let env = [
        ("PORT", "4319"),
        ("HOST", "localhost"),
        ("A_localhost", "nested"),
        ("LIST", "[debug, nop]"),
        ("MAP", "{a: 1, b: [x]}"),
        ("EMPTY", ""),
        ("QUOTED", "\"q\""),
        ("OCTAL", "0777"),
        ("BROKEN", "a: b: c"),
        ("TWICE", "${env:HOST}:${env:PORT}"),
        ("DOLLARS", "a$$b"),
        ("YES", "true"),
    ];
    for (written, expanded) in [
        ("${env:PORT}", "4319"),
        ("\"${env:PORT}\"", "4319"),
        ("${HOST}", "localhost"),
        ("x${env:PORT}y", "x4319y"),
        ("${env:A_${env:HOST}}", "nested"),
        ("${env:LIST}", "[debug, nop]"),
        ("${env:MAP}", "{a: 1, b: [x]}"),
        ("m ${env:MAP}", "\"m {a: 1, b: [x]}\""),
        ("${env:EMPTY}", ""),
        ("${env:EMPTY:-7}", ""),
        ("${env:UNSET:-7}", "7"),
        ("${env:UNSET:-a:-b}", "\"a:-b\""),
        ("${env:UNSET}", ""),
        ("a${env:UNSET}b", "ab"),
        ("${env:QUOTED}", "'\"q\"'"),
        ("${env:OCTAL}", "0777"),
        ("m${env:OCTAL}", "m0777"),
        ("${env:BROKEN}", "'a: b: c'"),
        ("${env:TWICE}", "localhost:4319"),
        ("${env:DOLLARS}", "a$b"),
        ("${yaml:[1, 2]}", "[1, 2]"),
        ("$HOST", "$HOST"),
        ("$$HOST", "$HOST"),
        ("$${HOST}", "\"${HOST}\""),
        ("$$${HOST}", "$localhost"),
        ("$$$${HOST}", "\"$${HOST}\""),
        ("${env:HOST", "\"${env:HOST\""),
        ("env:HOST}", "\"env:HOST}\""),
        ("a } ${HOST}", "a } localhost"),
        ("$${A} ${HOST}", "\"${A} ${HOST}\""),
        ("[\"${env:PORT}\", $$]", "[4319, $]"),
        ("${env:YES}", "true"),
    ] {
        let outcome = load_text(&format!("k: {written}"), &env);
        // The expectation is read without expansion: `$` is doubled first.
        let expected = load_text(&format!("k: {}", expanded.replace('$', "$$")), &[]);
        assert_eq!(outcome.yaml(), expected.yaml(), "{written}");
    }
}

#[test]
fn a_value_that_is_one_expression_keeps_its_text_for_keys_that_want_a_string() {
    let env = [("N", "0010"), ("EMPTY", ""), ("ODD", "[secret]")];
    let outcome = load_text("a: ${env:N}\nb: ${env:EMPTY}\nc: ${env:ODD}\nd: [secret]", &env);
    let tree = outcome.tree.expect("a tree");
    let number = tree.get("a").expect("a");
    assert_eq!((&number.value, number.written.as_deref()), (&Value::Int(8), Some("0010")));
    let empty = tree.get("b").expect("b");
    assert_eq!((&empty.value, empty.written.as_deref()), (&Value::Null, Some("")));
    let diagnostics = Diagnostics::default();
    let section = Section::new(&tree, "", &diagnostics);
    assert_eq!(section.string("c").as_deref(), Some("[secret]"));
    assert_eq!(section.strings("c"), Some(vec!["secret".to_owned()]));
    assert_eq!(section.string("d"), None);
}

#[test]
fn keys_are_not_expanded() {
    let outcome = load_text("\"${env:HOST}\": 1", &[("HOST", "x")]);
    assert_eq!(outcome.yaml(), "\"${env:HOST}\": 1\n");
}

#[test]
fn what_an_expression_brings_in_stands_where_the_expression_stands() {
    let outcome = load_text("a: 1\nb:\n  c: ${env:MAP}", &[("MAP", "{x:\n\n [1]}")]);
    let tree = outcome.tree.expect("a tree");
    let brought = tree.get("b").and_then(|b| b.get("c")).and_then(|c| c.get("x")).expect("b::c::x");
    assert_eq!((brought.place.line, brought.place.column), (3, 6));
    assert_eq!(brought.items()[0].place.line, 3);
}

#[test]
fn wrong_expressions_are_located_errors() {
    for (written, column, code) in [
        ("${vault:x}", 4, code::EXPANSION),
        ("a ${env:1BAD} b", 6, code::EXPANSION),
        ("${X:-default}", 4, code::EXPANSION),
        ("${file:/nonexistent/x}", 4, code::EXPANSION),
        ("${env:A$B}", 4, code::EXPANSION),
        ("${env:LOOP}", 4, code::LIMIT),
        ("${env:BOMB}", 4, code::LIMIT),
        ("${env:TREE}", 4, code::LIMIT),
    ] {
        let env = [
            ("LOOP", "${env:LOOP}"),
            ("BOMB", "${env:BOMB}${env:BOMB}x"),
            ("TREE", "[\"${env:TREE}\", \"${env:TREE}\"]"),
        ];
        let outcome = load_text(&format!("k: {written}"), &env);
        let error = outcome.found.iter().find(|found| found.severity == Severity::Error).expect(written);
        let place = error.place.expect("a place");
        assert_eq!((error.code, place.line, place.column), (code, 1, column), "{written}\n{}", outcome.rendered());
        assert!(error.path.starts_with('k'), "{written}");
        assert!(error.help.is_some(), "{written}");
    }
}

#[test]
fn unset_variables_and_bare_names_are_warned_of_once_each() {
    let outcome = load_text("a: ${env:U}\nb: ${env:U}\nc: ${V}\nd: ${W:-x}", &[("V", "1")]);
    let warnings: Vec<&str> = outcome
        .found
        .iter()
        .filter(|found| found.severity == Severity::Warning)
        .map(|found| found.message.as_str())
        .collect();
    assert_eq!(
        warnings,
        [
            "environment variable U is not set and reads as empty (2 places, this is the first)",
            "`${V}` is read as `${env:V}`"
        ]
    );
}

#[test]
fn files_are_read_once_their_text_is_taken_as_written() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("part.yaml");
    fs::write(&path, "\u{feff}{a: [1, two]}\n").expect("written");
    let outcome = load_text(&format!("k: ${{file:{}}}", path.display()), &[]);
    assert_eq!(outcome.yaml(), "k:\n  a:\n    - 1\n    - two\n");
    let outcome = load(&[format!("file:{}", path.display()), path.display().to_string()], &["a=[3]"], &[]);
    assert_eq!(outcome.yaml(), "a:\n  - 3\n");
}

#[test]
fn sources_that_cannot_be_read_are_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let binary = folder.path().join("binary");
    fs::write(&binary, [b'a', b'\n', 0xff, 0x00]).expect("written");
    let wide = folder.path().join("wide");
    fs::write(&wide, [0xff, 0xfe, b'a', 0]).expect("written");
    for (config, said) in [
        ("/nonexistent/config.yaml", "cannot read /nonexistent/config.yaml"),
        ("file:", "cannot read"),
        (folder.path().to_str().expect("text"), "cannot read"),
        (binary.to_str().expect("text"), "a wrong byte in line 2"),
        (wide.to_str().expect("text"), "UTF-16"),
        ("env:NOPE", "NOPE is not set"),
        ("env:1", "is not a name"),
        ("https://example.com/c.yaml", "`https:` sources are not supported"),
        ("vault:x", "`vault:` is not a source"),
        ("yaml:[1]", "this is a list"),
    ] {
        let outcome = load(&[config.to_owned()], &[], &[]);
        assert!(outcome.tree.is_none(), "{config}");
        assert!(outcome.rendered().contains(said), "{config}: {}", outcome.rendered());
        assert!(outcome.found.iter().all(|found| found.place.is_some() && found.help.is_some()), "{config}");
    }
    assert_eq!(load(&[], &[], &[]).codes(), [code::SOURCE_UNREADABLE]);
}

#[test]
fn later_sources_replace_lists_join_maps_and_set_comes_last() {
    let base = "yaml:{a: {b: [1, 2], c: 1}, d: {e: 1}}".to_owned();
    let over = "yaml:{a: {b: [3]}, d: }".to_owned();
    for (sets, expected) in [
        (vec![], "{a: {b: [3], c: 1}, d: }"),
        (vec!["a.c=2", "d::x=[y]"], "{a: {b: [3], c: 2}, d: {x: [y]}}"),
        (vec!["a= {n: 1}", "z.y.x= text # no"], "{a: {b: [3], c: 1, n: 1}, d: , z: {y: {x: text}}}"),
        (vec!["a.b=", "d=${env:N}"], "{a: {b: , c: 1}, d: 5}"),
    ] {
        let outcome = load(&[base.clone(), over.clone()], &sets, &[("N", "5")]);
        assert_eq!(outcome.yaml(), load_text(expected, &[]).yaml(), "{sets:?}");
    }
    let faulty = load(std::slice::from_ref(&base), &["exporters.debug", "a=[", "a=b: c: d"], &[]);
    assert_eq!(faulty.codes(), [code::SOURCE_UNREADABLE, code::SYNTAX, code::SYNTAX]);
}

#[test]
fn yaml_reads_as_yaml_v3_reads_it() {
    for (text, expected) in [
        ("a: &x {b: 1}\nc: {<<: *x, d: 2}", "{a: {b: 1}, c: {d: 2, b: 1}}"),
        ("a: &x {b: 1}\nc: {<<: *x, b: 2}", "{a: {b: 1}, c: {b: 2}}"),
        ("a: &x {b: 1}\ne: &y {b: 3, f: 4}\nc: {<<: [*x, *y]}", "{a: {b: 1}, e: {b: 3, f: 4}, c: {b: 1, f: 4}}"),
        ("a: {\"<<\": 1}", "{a: {\"<<\": 1}}"),
        ("a: &x [1]\nb: *x", "{a: [1], b: [1]}"),
        ("0777: a\ntrue: b", "{\"0777\": a, \"true\": b}"),
        ("a: !!str 5\nb: !!int \"7\"", "{a: \"5\", b: 7}"),
        ("a: 1\r\nb:\r\n  - c\r\n", "{a: 1, b: [c]}"),
        ("\u{feff}a: 1", "{a: 1}"),
        ("a: |\n  x\n  y\nb: >-\n  x\n  y\n", "{a: \"x\\ny\\n\", b: x y}"),
        ("a::b: 1\na: {c: 2}\na::d::e: 3", "{a: {c: 2, b: 1, d: {e: 3}}}"),
        ("", "{}"),
        ("# only a comment\n", "{}"),
        ("a: 1\n---\nb: [", "{a: 1}"),
    ] {
        assert_eq!(load_text(text, &[]).yaml(), load_text(expected, &[]).yaml(), "{text}");
    }
}

#[test]
fn hostile_yaml_ends_in_a_located_error() {
    let bomb = (1..30).fold("a0: &a0 [x, x]\n".to_owned(), |text, level| {
        let below = level - 1;
        text + &format!("a{level}: &a{level} [*a{below}, *a{below}, *a{below}]\n")
    });
    let chain = (1..100).fold("a0: &a0 [x]\n".to_owned(), |text, level| {
        let below = level - 1;
        text + &format!("a{level}: &a{level} [*a{below}]\n")
    });
    let long = "x".repeat(100_000);
    let copies = format!("a: &a {long}\nb: [{}]", "*a, ".repeat(200));
    let merges = format!("a: &a {{b: 1}}\nc: {{<<: [{}1]}}", "*a, ".repeat(1_000));
    for (name, text, code) in [
        ("deep flow", "a: ".to_owned() + &"[".repeat(100_000), code::LIMIT),
        ("deep maps", "{a: ".repeat(100_000), code::LIMIT),
        ("deep block", (0..1_000).map(|depth| " ".repeat(depth) + "a:\n").collect(), code::LIMIT),
        ("deep keys", "? ".repeat(10_000), code::SYNTAX),
        ("dashes", "- ".repeat(10_000), code::LIMIT),
        ("alias bomb", bomb, code::LIMIT),
        ("alias chain", chain, code::LIMIT),
        ("long copies", copies, code::LIMIT),
        ("many values", "a: [".to_owned() + &"1,".repeat(300_000) + "]", code::LIMIT),
        ("alias in itself", "a: &a [*a]".to_owned(), code::SYNTAX),
        ("alias to nothing", "a: *a".to_owned(), code::SYNTAX),
        ("merge of a scalar", "a: {<<: 1}".to_owned(), code::SYNTAX),
        ("merge of a scalar in a list", merges, code::SYNTAX),
        ("tab", "a:\n\tb: 1".to_owned(), code::SYNTAX),
        ("map as key", "{a: b}: c".to_owned(), code::SYNTAX),
        ("wrong tag", "a: !!int x".to_owned(), code::SYNTAX),
        ("control character", "a: \"\u{1}\u{7}\u{1b}[31m".to_owned(), code::SYNTAX),
        ("twice", "a: 1\nb: 2\na: 3".to_owned(), code::DUPLICATE_KEY),
    ] {
        let outcome = load_text(&text, &[]);
        let error = outcome.found.iter().find(|found| found.severity == Severity::Error);
        let error = error.unwrap_or_else(|| panic!("{name} was accepted: {}", outcome.yaml()));
        assert_eq!(error.code, code, "{name}: {}", error.message);
        assert!(error.place.is_some_and(|place| place.line > 0), "{name}");
        assert!(!outcome.rendered().contains('\u{1b}'), "{name}");
    }
}

#[test]
fn a_path_of_many_keys_does_not_nest() {
    let outcome = load_text(&format!("{}: 1", vec!["a"; 300].join("::")), &[]);
    assert_eq!(outcome.tree.expect("a tree").entries().len(), 1);
    let outcome = load(&["yaml:{}".to_owned()], &[&format!("{}=1", vec!["a"; 5_000].join("."))], &[]);
    assert_eq!(outcome.tree.expect("a tree").entries().len(), 1);
}

/// Every `findings/NAME.yaml` (with `NAME.over.yaml` on top, where there is one) prints what `NAME.txt` says. Run with
/// PODGATE_WRITE_GOLDEN=1 to write the texts anew, then read the difference.
#[test]
fn findings_read_well() {
    let folder = Path::new("tests/golden/config/findings");
    let files = fs::read_dir(folder).expect("the folder").map(|entry| entry.expect("an entry").path());
    let mut cases: Vec<PathBuf> = files
        .filter(|path| path.extension().is_some_and(|ending| ending == "yaml"))
        .filter(|path| !path.to_string_lossy().ends_with(".over.yaml"))
        .collect();
    cases.sort();
    assert!(cases.len() >= 12, "{cases:?}");
    for case in cases {
        let over = case.with_extension("over.yaml");
        let configs = [&case, &over].into_iter().filter(|path| path.exists());
        let configs: Vec<String> = configs.map(|path| path.to_string_lossy().replace('\\', "/")).collect();
        let mut outcome = load(&configs, &[], &[]);
        if outcome.tree.is_some() {
            read_document(&mut outcome);
        }
        let (rendered, expected) = (outcome.rendered(), case.with_extension("txt"));
        if std::env::var_os("PODGATE_WRITE_GOLDEN").is_some() {
            fs::write(&expected, &rendered).expect("written");
        }
        let expected = fs::read_to_string(&expected).expect("the expected text");
        assert_eq!(rendered, expected, "{}", case.display());
        assert!(outcome.found.iter().all(|found| found.place.is_some()), "{}", case.display());
    }
}

#[test]
fn colors_are_only_used_when_asked_for() {
    let outcome = load_text("a: ${vault:x}", &[]);
    assert!(!outcome.rendered().contains('\u{1b}'));
    assert!(diagnose::render(&outcome.found, &outcome.sources, true).contains('\u{1b}'));
    assert_eq!(diagnose::render(&[], &outcome.sources, false), "");
}

#[test]
fn what_is_printed_hides_secrets_and_reads_back_the_same() {
    let text = "
exporters:
  otlp_http:
    endpoint: https://user:pass@host:8200/intake
    headers: {Authorization: Bearer abc, x-tenant: '007', empty: ''}
    auth: {api_key: {id: a, key: b}, token_file: /run/token}
    more: [{name: Authorization, value: abc}, {name: tenant, value: t}]
    odd: ['', '- a', '#x', 'a #b', 'a: b', ' pad ', null, ~, 'null', 0777, 1e3, .inf, 1.0, \"a\\nb\", '*x', '[', 'yes', \u{e9}]
    nested: [[1, [2]], {}, [], {a: {b: }}]
";
    let tree = load_text(text, &[]).tree.expect("a tree");
    let redacted = to_yaml(&tree, Secrets::Redacted);
    for secret in ["abc", "pass", "id: a", "key: b"] {
        assert!(!redacted.contains(secret), "{secret} in\n{redacted}");
    }
    for plain in ["tenant", "/run/token", "host:8200/intake", "value: t"] {
        assert!(redacted.contains(plain), "{plain} in\n{redacted}");
    }
    let shown = to_yaml(&tree, Secrets::Shown);
    let again = load_text(&shown, &[]).tree.expect("printed YAML parses");
    assert!(same(&tree, &again), "{shown}");
}

/// Equal but for places.
fn same(a: &Node, b: &Node) -> bool {
    match (&a.value, &b.value) {
        (Value::List(a), Value::List(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Map(a), Value::Map(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.key == b.key && same(&a.value, &b.value))
        }
        (Value::Float(x), Value::Float(y)) => x.to_bits() == y.to_bits() && a.written == b.written,
        (Value::Null, Value::Null) => true,
        (x, y) => x == y && a.written == b.written,
    }
}

/// Text that is often nearly a configuration.
fn yamlish() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        "[ -~\\n\\t]{0,12}",
        Just("${env:A}".to_owned()),
        Just("${file:Cargo.toml}".to_owned()),
        Just("$${".to_owned()),
        Just("}".to_owned()),
        Just("\n  ".to_owned()),
        Just("\n- ".to_owned()),
        Just(": ".to_owned()),
        Just("&a ".to_owned()),
        Just("*a ".to_owned()),
        Just("<<: *a\n".to_owned()),
        Just("service:\n  pipelines:\n    traces:\n".to_owned()),
        Just("service: {telemetry: {metrics: {readers: [".to_owned()),
        Just("\n---\n".to_owned()),
        Just("\r\n\u{feff}".to_owned()),
        "\\PC{0,4}",
    ];
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_makes_reading_panic_or_run_on(text in yamlish(), set in "[ -~]{0,20}", a in yamlish()) {
        let mut outcome = load(&[format!("yaml:{text}")], &[&set], &[("A", &a)]);
        if outcome.tree.is_some() {
            read_document(&mut outcome);
        } else {
            prop_assert!(outcome.found.iter().any(|found| found.severity == Severity::Error));
        }
        prop_assert_eq!(outcome.rendered().is_empty(), outcome.found.is_empty());
        for found in &outcome.found {
            let place = found.place.expect("every finding has a place");
            prop_assert!(place.line > 0 && place.column > 0 && place.length > 0);
        }
    }

    #[test]
    fn what_was_read_prints_as_yaml_that_reads_the_same(text in yamlish()) {
        if let Some(tree) = load_text(&text, &[]).tree {
            let shown = to_yaml(&tree, Secrets::Shown);
            let again = config::read::yaml::parse(&shown, SourceId(0), &Diagnostics::default());
            let again = again.expect("printed YAML parses");
            prop_assert!(same(&tree, &again), "{shown}");
        }
    }

    #[test]
    fn ids_read_back_as_they_print(text in "[a-zA-Z0-9_/. -]{0,12}") {
        if let Some(id) = ComponentId::parse(&text) {
            prop_assert_eq!(ComponentId::parse(&id.to_string()), Some(id));
        }
    }

    #[test]
    fn duration_and_size_take_any_text(text in "\\PC{0,16}") {
        let _ = (config::value::duration::parse(&text), config::value::size::parse(&text), config::read::scalar::resolve(&text));
    }
}

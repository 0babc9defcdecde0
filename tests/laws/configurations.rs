//! Configurations with one fault, or one declaration, many times: what reads them, checks them and tells of them.

use std::hint::black_box;

use podgate::cli::sources::{Checked, ConfigArgs, check_with};
use podgate::config::show::diagnose;
use podgate::core::diagnostic::FINDINGS_MAX;
use podgate::core::stage::factory::Environment;

use crate::generate::Generator;
use crate::measure::check;

const HEAD: &str = "receivers: {otlp: {protocols: {grpc: {endpoint: 127.0.0.1:0}}}}\nexporters:\n";
const TAIL: &str = "\nservice: {pipelines: {traces: {receivers: [otlp], exporters: [debug]}}}\n";

/// Under `exporters`: head, what is repeated (`#` is its number), tail.
const EXPORTERS: &[(&str, &str, &str, &str)] = &[
    ("unknown keys on a line", "  debug: {verbosity: basic", ", k#: 1", "}"),
    ("unknown keys", "  debug:\n", "    k#: 1\n", ""),
    ("a key many times", "  debug: {verbosity: basic", ", verbosity: basic", "}"),
    ("declared exporters", "  debug:\n", "  debug/#:\n", ""),
    ("unknown exporters", "  debug:\n", "  stranger/#:\n", ""),
    ("unset variables on a line", "  debug: {verbosity: basic, x: [a", ", \"a ${env:V#}\"", "]}"),
    ("bare variables", "  debug: {verbosity: basic, x: [a", ", \"${V#}\"", "]}"),
    ("faulty expressions", "  debug: {verbosity: basic, x: [a", ", \"${no:V#}\"", "]}"),
    ("one variable", "  debug: {verbosity: basic, x: [a", ", \"${env:SET}\"", "]}"),
    ("URLs with passwords", "  debug: {verbosity: basic, x: \"", "http://u:p#@h/,", "\"}"),
    ("schemes", "  debug: {verbosity: basic, x: \"", "a://", "\"}"),
    ("one long key", "  debug: {verbosity: basic, x", "y", ": 1}"),
    ("one long value", "  debug: {verbosity: ", "y", "}"),
    ("headers", "  debug:\n  otlp_http: {endpoint: 'http://h:1', headers: {a: b", ", h#: v", "}}"),
    ("escapes", "  debug: {verbosity: \"", "\\\\\\\"", "\"}"),
];

/// Instead of the pipelines.
const SERVICES: &[(&str, &str, &str, &str)] = &[
    (
        "names that are not declared",
        "service: {pipelines: {traces: {receivers: [otlp], exporters: [debug",
        ", a#",
        "]}}}",
    ),
    (
        "a processor many times",
        "service: {pipelines: {traces: {receivers: [otlp], processors: [batch",
        ", batch",
        "], exporters: [debug]}}}",
    ),
];

fn repeated(part: &str, bytes: usize) -> String {
    let mut out = String::new();
    let mut number = 0;
    while out.len() < bytes {
        out.push_str(&part.replace('#', &number.to_string()));
        number += 1;
    }
    out
}

fn generators() -> Vec<Generator> {
    let exporters = EXPORTERS.iter().map(|&(name, head, part, tail)| {
        Generator::of(name, move |size| format!("{HEAD}{head}{}{tail}{TAIL}", repeated(part, size)).into_bytes())
    });
    let services = SERVICES.iter().map(|&(name, head, part, tail)| {
        Generator::of(name, move |size| format!("{HEAD}  debug:\n{head}{}{tail}\n", repeated(part, size)).into_bytes())
    });
    exporters.chain(services).collect()
}

fn checked(body: &[u8]) -> Checked {
    let config = vec![format!("yaml:{}", String::from_utf8_lossy(body))];
    let args = ConfigArgs { config, ..ConfigArgs::default() };
    check_with(&args, Environment::of(|name| (name == "SET").then(|| "a value of some length".to_owned())))
}

/// What is told has a bound of its own, so that the bytes made count for nothing: all is work for a byte of the configuration.
#[test]
fn a_configuration_is_checked_in_linear_work() {
    check("configuration", &generators(), &|_, body| {
        black_box(checked(body));
        0
    });
}

#[test]
fn what_was_found_in_a_configuration_is_told_in_linear_work() {
    check("findings", &generators(), &|_, body| {
        let Checked { findings, sources, .. } = checked(body);
        assert!(findings.len() <= FINDINGS_MAX + 1, "{} findings", findings.len());
        black_box((diagnose::render(&findings, &sources, false), diagnose::as_json(&findings, &sources)));
        0
    });
}

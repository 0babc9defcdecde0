//! Every block of shell in README.md and docs/quickstart.md is run, as it is written: fences marked `sh` here, `sh network` by
//! tests/real/documents.py, and `sh cluster` by nobody, which the document has to say.
//!
//! Two things are changed: the program is the one under test, and its ports are free ones.

#[path = "support/process.rs"]
#[expect(dead_code, reason = "the tests of signals use the rest of it")]
mod process;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use process::{Running, ask, free_port, one_span, text};

const DOCUMENTS: [&str; 2] = ["README.md", "docs/quickstart.md"];
const PROGRAM: [&str; 2] = ["cargo run --release -- ", "target/release/podgate "];

struct Block {
    document: &'static str,
    line: usize,
    /// Behind `sh` in the fence.
    tag: String,
    commands: Vec<String>,
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(document: &str) -> String {
    fs::read_to_string(root().join(document)).expect("a document")
}

fn blocks() -> Vec<Block> {
    let mut all = Vec::new();
    for document in DOCUMENTS {
        let text = read(document);
        let mut open: Option<Block> = None;
        for (at, line) in text.lines().enumerate() {
            match (&mut open, line.strip_prefix("```")) {
                (Some(_), Some("")) => all.extend(open.take().filter(|block| block.tag != "-")),
                (Some(block), None) => take(block, line),
                (None, Some(info)) => {
                    let tag = info.strip_prefix("sh").map_or("-", str::trim).to_owned();
                    open = Some(Block { document, line: at + 1, tag, commands: Vec::new() });
                }
                _ => {}
            }
        }
    }
    all
}

/// A line of a block; one that ends with a backslash goes on.
fn take(block: &mut Block, line: &str) {
    let line = line.split("  # ").next().unwrap_or(line).trim_end();
    match block.commands.last_mut().filter(|last| last.ends_with('\\')) {
        Some(last) => {
            last.pop();
            last.push_str(line.trim_start());
        }
        None if !line.is_empty() && !line.starts_with('#') => block.commands.push(line.to_owned()),
        None => {}
    }
}

/// A gateway of examples/local.yaml on free ports.
struct Gateway {
    _running: Running,
    http: u16,
    admin: u16,
}

/// The flags that give `examples/local.yaml` other ports than its own.
fn elsewhere(http: u16, admin: u16) -> [String; 10] {
    let set = |text: String| ["--set".to_owned(), text];
    let pairs = [
        set("receivers.otlp.protocols.grpc.endpoint=127.0.0.1:0".to_owned()),
        set(format!("receivers.otlp.protocols.http.endpoint=127.0.0.1:{http}")),
        set(format!("extensions.admin.endpoint=127.0.0.1:{admin}")),
        set("service.extensions=[admin]".to_owned()),
        set("service.telemetry.metrics.level=none".to_owned()),
    ];
    let mut flags = pairs.into_iter().flatten();
    std::array::from_fn(|_| flags.next().unwrap_or_default())
}

impl Gateway {
    /// `command` is what the document has behind the program's name.
    fn start(command: &str) -> Gateway {
        let (http, admin) = (free_port(), free_port());
        let mut program = Command::new(env!("CARGO_BIN_EXE_podgate"));
        program.args(command.split(' ')).args(elsewhere(http, admin)).current_dir(root());
        let child = program.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the binary runs");
        let mut running = Running::of(child);
        running.wait_for("everything is ready");
        let answer = ask(http, "POST", "/v1/traces", &one_span("GET /"));
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        Gateway { _running: running, http, admin }
    }
}

/// Runs a command to its end, in the project's folder; its output.
fn run(command: &str) -> String {
    let output = Command::new("sh").args(["-euc", command]).current_dir(root()).output().expect("a shell");
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{command}: {:?}\n{out}\n{err}", output.status.code());
    out
}

/// The demo until it has told its first figures, then Ctrl-C twice.
fn run_demo(command: &str) {
    let mut program = Command::new(env!("CARGO_BIN_EXE_podgate"));
    program.args(command.split(' ')).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = Running::of(program.spawn().expect("the binary runs"));
    let mut lines = BufReader::new(running.0.stdout.take().expect("piped")).lines().map_while(Result::ok);
    let mut until = |word: &str| assert!(lines.any(|line| line.contains(word)), "no {word:?}");
    until("container.id  podgate: ");
    running.signal("INT");
    until("decided within");
    running.signal("INT");
    until("balance: ");
}

/// The program's own flags, at the ports of the gateway that runs for the document.
fn arguments(command: &str, gateway: &Gateway) -> String {
    let (http, admin) = (gateway.http, gateway.admin);
    let asks = ["status", "balance", "top", "pods", "sampling", "explain", "doctor"];
    let mut command = command.to_owned();
    if asks.iter().any(|word| command.starts_with(word)) {
        command.push_str(&format!(" --admin 127.0.0.1:{admin}"));
    }
    if command.starts_with("doctor") {
        let flags: Vec<String> = elsewhere(http, admin).iter().map(|flag| format!("'{flag}'")).collect();
        command.push_str(&format!(" {}", flags.join(" ")));
    }
    format!("{} {command}", env!("CARGO_BIN_EXE_podgate"))
}

fn behind_program(command: &str) -> Option<&str> {
    PROGRAM.iter().find_map(|program| command.strip_prefix(program))
}

#[test]
fn every_block_that_needs_neither_network_nor_cluster_runs_as_written() {
    let mut gateway = None;
    let mut ran = 0;
    for block in blocks().iter().filter(|block| block.tag.is_empty()) {
        for command in &block.commands {
            let place = format!("{}:{}: {command}", block.document, block.line);
            match behind_program(command) {
                Some("demo") => run_demo("demo"),
                Some(arguments) if arguments.starts_with("--config") => gateway = Some(Gateway::start(arguments)),
                Some(behind) => {
                    let gateway = gateway.as_ref().unwrap_or_else(|| panic!("{place}: no gateway was started above"));
                    let out = run(&arguments(behind, gateway));
                    assert!(behind.contains('>') || !out.trim().is_empty(), "{place}: it says something");
                }
                // This very run is one of it.
                None if command.starts_with("make ") => drop(run(&format!("make -n {}", &command[5..]))),
                None => drop(run(command)),
            }
            ran += 1;
        }
    }
    assert!(ran >= 12, "{ran} commands are not what the documents have");
    let kustomization =
        fs::read_to_string(root().join("target/quickstart/kustomization.yaml")).expect("made by the quickstart");
    assert!(
        kustomization.contains("kind: Kustomization") && kustomization.contains("http://$(NODE_IP):4317"),
        "{kustomization}"
    );
}

#[test]
fn what_is_not_run_here_says_so() {
    for block in blocks() {
        let place = format!("{}:{}", block.document, block.line);
        assert!(["", "network", "cluster"].contains(&block.tag.as_str()), "{place}: {:?} is run by nobody", block.tag);
        assert!(!block.commands.is_empty(), "{place} is empty");
        if block.tag == "cluster" {
            let said = ["not run", "no cluster", "not tried"].iter().any(|word| read(block.document).contains(word));
            assert!(said, "{place}: its document does not say that it was not run");
        }
    }
}

#[test]
fn a_block_without_a_fence_tag_is_no_shell_in_disguise() {
    for document in DOCUMENTS {
        let text = read(document);
        let (mut open, mut untagged) = (false, false);
        for (at, line) in text.lines().enumerate() {
            if let Some(info) = line.strip_prefix("```") {
                (open, untagged) = (!open, !open && info.is_empty());
            }
            let words = ["cargo run", "target/release/podgate ", "kubectl ", "pip install", "npm install"];
            assert!(
                !(untagged && words.iter().any(|word| line.starts_with(word))),
                "{document}:{}: mark it sh",
                at + 1
            );
        }
    }
}

#[test]
fn the_documents_name_files_that_exist() {
    for document in DOCUMENTS {
        let text = read(document);
        let folder = Path::new(document).parent().expect("a folder");
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let path = target.split('#').next().unwrap_or(target);
            if path.starts_with("http") || path.is_empty() {
                continue;
            }
            assert!(root().join(folder).join(path).exists(), "{document} points at {path}");
        }
    }
}

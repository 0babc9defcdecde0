//! The receiver `journald` through whole gateways, by a stand-in for journalctl: a script for which a folder of entries is the
//! journal, each a file with a number as its name. It follows, ends in the middle of an entry when it is told to, and is killed.

mod support;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use podgate::cli::sources::{ConfigArgs, check_with};
use podgate::core::stage::factory::Environment;
use podgate::gateway::Gateway;
use support::{drain, eventually, free_port, start};

/// `--directory` names the folder; what stands in its file `stop` is how many bytes of the next entry are written before the end.
const STAND_IN: &str = r#"#!/bin/sh
[ "$1" = --version ] && { echo "systemd 252 (stand-in)"; exit 0; }
at=; tail=yes
for argument in "$@"; do
    case "$argument" in
    --directory=*) cd "${argument#--directory=}" || exit 1 ;;
    --after-cursor=n=*) at=${argument#--after-cursor=n=} ;;
    --no-tail) tail= ;;
    esac
done
echo "$@" >> arguments
echo $$ > pid
if [ -z "$at" ]; then
    at=0
    if [ -n "$tail" ]; then while [ -f entries/$((at + 1)) ]; do at=$((at + 1)); done; fi
fi
while :; do
    next=$((at + 1))
    if [ -f stop ] && [ -f entries/$next ]; then
        head -c "$(cat stop)" entries/$next
        rm stop
        echo "the journal was rotated away" >&2
        exit 1
    elif [ -f entries/$next ]; then
        cat entries/$next
        at=$next
    else
        sleep 0.02
    fi
done
"#;

struct Journal {
    folder: tempfile::TempDir,
    entries: u64,
}

impl Journal {
    fn new() -> Journal {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir(folder.path().join("entries")).expect("made");
        let program = folder.path().join("journalctl");
        fs::write(&program, STAND_IN).expect("written");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("a program");
        Journal { folder, entries: 0 }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Entries with messages of two lines, so that a field of bytes is cut somewhere.
    fn write(&mut self, entries: u64) {
        for _ in 0..entries {
            self.entries += 1;
            let (number, new) = (self.entries, self.path("entry"));
            let message = format!("line\nof {number}");
            let text =
                format!("__CURSOR=n={number}\n__REALTIME_TIMESTAMP=17961192050{number:05}\nPRIORITY=6\nMESSAGE\n");
            let length = (message.len() as u64).to_le_bytes();
            fs::write(&new, [text.as_bytes(), &length, message.as_bytes(), b"\n\n"].concat()).expect("written");
            fs::rename(&new, self.path(&format!("entries/{number}"))).expect("there at once");
        }
    }

    fn stop_after(&self, bytes: u64) {
        let new = self.path("stopping");
        fs::write(&new, bytes.to_string()).expect("written");
        fs::rename(&new, self.path("stop")).expect("there at once");
    }

    fn kill(&self) {
        let pid = fs::read_to_string(self.path("pid")).expect("a journalctl");
        let killed = Command::new("kill").args(["-9", pid.trim()]).status().expect("a command");
        assert!(killed.success());
    }

    fn starts(&self) -> usize {
        fs::read_to_string(self.path("arguments")).unwrap_or_default().lines().count()
    }

    /// A gateway that reads it, for the next hop at this port.
    fn gateway(&self, keys: &str, hop: u16, storage: bool) -> String {
        let folder = self.folder.path().display();
        let (stored, listed) = if storage {
            (format!("  file_storage: {{directory: '{folder}/storage', create_directory: true}}\n"), ", file_storage")
        } else {
            (String::new(), "")
        };
        format!(
            "receivers:\n  journald: {{journalctl_path: '{folder}/journalctl', directory: '{folder}', {keys} \
             retry_on_failure: {{initial_interval: 50ms, max_interval: 100ms}}}}\n\
             exporters:\n  otlp_grpc: {{endpoint: '127.0.0.1:{hop}', tls: {{insecure: true}}, timeout: 1s, \
             sending_queue: {{enabled: false}}, retry_on_failure: {{enabled: false}}}}\n\
             extensions:\n  admin: {{endpoint: '127.0.0.1:{}'}}\n{stored}\
             service:\n  extensions: [admin{listed}]\n  telemetry: {{metrics: {{level: none}}}}\n  pipelines:\n    \
             logs: {{receivers: [journald], exporters: [otlp_grpc]}}\n",
            free_port()
        )
    }
}

/// A next hop: OTLP in, a line of JSON for each request out.
async fn hop(port: u16, into: &Path) -> Gateway {
    let yaml = format!(
        "receivers: {{otlp: {{protocols: {{grpc: {{endpoint: '127.0.0.1:{port}'}}}}}}}}\n\
         exporters: {{file: {{path: '{}', append: true}}}}\nextensions: {{admin: {{endpoint: '127.0.0.1:{}'}}}}\n\
         service:\n  extensions: [admin]\n  telemetry: {{metrics: {{level: none}}}}\n  pipelines:\n    \
         logs: {{receivers: [otlp], exporters: [file]}}\n",
        into.display(),
        free_port()
    );
    start(&yaml).await
}

/// The numbers in the messages that came, in their order.
fn numbers(file: &Path) -> Vec<u64> {
    let text = fs::read_to_string(file).unwrap_or_default();
    let mut found = Vec::new();
    for line in text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok()) {
        let records = line["resourceLogs"][0]["scopeLogs"][0]["logRecords"].as_array().cloned().unwrap_or_default();
        for record in records {
            let fields = record["body"]["kvlistValue"]["values"].as_array().cloned().unwrap_or_default();
            let message = fields.iter().find(|pair| pair["key"] == "MESSAGE").expect("a message");
            let text = message["value"]["stringValue"].as_str().expect("a text");
            found.push(text.strip_prefix("line\nof ").expect("our message").parse().expect("a number"));
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_come_once_and_in_order_through_ends_kills_restarts_and_refusals() {
    let mut journal = Journal::new();
    let (port, into) = (free_port(), journal.path("out.json"));
    let yaml = journal.gateway("start_at: beginning, storage: file_storage,", port, true);
    journal.write(40);
    // Nobody is there: the entries stay in the journal, through a stop, too.
    let first = start(&yaml).await;
    tokio::time::sleep(std::time::Duration::from_millis(400)).await;
    let sheet = &drain(first).await["logs"];
    assert_eq!((sheet.delivered, sheet.received), (0, sheet.refused));
    let next = hop(port, &into).await;
    for round in 0..3 {
        let running = start(&yaml).await;
        journal.write(20);
        // It ends in the middle of a name, of a length or of a value, with entries before it that are not handed on yet.
        journal.stop_after(13 + 35 * round);
        journal.write(20);
        let all = usize::try_from(journal.entries).expect("few");
        eventually("the entries have come", || numbers(&into).len() >= all).await;
        let before = journal.starts();
        journal.kill();
        journal.write(5);
        eventually("journalctl is started again", || journal.starts() > before).await;
        eventually("the entries have come", || numbers(&into).len() >= all + 5).await;
        drain(running).await;
    }
    let expected: Vec<u64> = (1..=journal.entries).collect();
    assert_eq!(numbers(&into), expected, "once, and in order");
    drain(next).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_begins_at_the_end_misses_nothing_that_comes_after_it() {
    let mut journal = Journal::new();
    let (port, into) = (free_port(), journal.path("out.json"));
    let next = hop(port, &into).await;
    journal.write(10);
    let running = start(&journal.gateway("", port, false)).await;
    eventually("journalctl follows", || journal.path("pid").exists()).await;
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    journal.write(3);
    eventually("the entries have come", || numbers(&into).len() >= 3).await;
    assert_eq!(numbers(&into), [11, 12, 13]);
    drain(running).await;
    drain(next).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_process_ends_with_the_gateway() {
    let journal = Journal::new();
    let running = start(&journal.gateway("", free_port(), false)).await;
    eventually("journalctl follows", || journal.path("pid").exists()).await;
    let pid = fs::read_to_string(journal.path("pid")).expect("a journalctl");
    let process = PathBuf::from(format!("/proc/{}", pid.trim()));
    assert!(process.exists());
    drain(running).await;
    assert!(!process.exists(), "it was ended and waited for");
}

#[tokio::test]
async fn a_journalctl_that_is_not_there_is_a_refusal_that_says_what_to_install() {
    let yaml = "receivers: {journald: {journalctl_path: /nowhere/journalctl}}\nexporters: {nop: {}}\n\
        service: {pipelines: {logs: {receivers: [journald], exporters: [nop]}}}\n";
    let args = ConfigArgs { config: vec![format!("yaml:{yaml}")], ..ConfigArgs::default() };
    let plan = check_with(&args, Environment::of(|_| None)).plan.expect("a sound configuration");
    let refused = Gateway::start(&plan).await.err().expect("it does not start").to_string();
    assert!(refused.contains("receivers::journald") && refused.contains("/nowhere/journalctl"), "{refused}");
}

/// `root_path` starts podgate once more, which becomes the program. Only root may enter another root folder.
#[test]
fn a_program_below_another_root_is_started_with_its_arguments() {
    let podgate = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_podgate")).args(arguments).output().expect("the binary runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().to_str().expect("UTF-8");
    let (code, _, said) = podgate(&["in-root", root, "/usr/bin/journalctl", "--version"]);
    assert_eq!(code, Some(127), "{said}");
    assert!(said.contains("/usr/bin/journalctl cannot be started below"), "{said}");
    if fs::metadata("/proc/self").expect("a process").uid() == 0 {
        let (code, written, said) = podgate(&["in-root", "/", "/bin/echo", "--output=export", "x y"]);
        assert_eq!((code, written.as_str()), (Some(0), "--output=export x y\n"), "{said}");
    }
}

//! The binary as a process: started from a file of YAML, spoken to by signals and by HTTP, read by its log.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use tokio::time::Instant;

#[allow(clippy::duplicate_mod)] // a crate with both kits has this file twice
#[path = "ports.rs"]
mod ports;
#[allow(unused_imports)] // each test crate uses its part of this module
pub use ports::{free_port, free_ports};

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The longest wait for a line or for an end: a test that waits in vain fails with what came, and does not hang.
const WAIT_MAX: Duration = Duration::from_secs(120);

/// Ends the process whatever the test does. Its log is read all the time, so that it never waits for its reader.
pub struct Running(pub Child, Receiver<Vec<u8>>);

impl Running {
    pub fn start(config: &str) -> Running {
        Running::start_with(config, &[], Stdio::null())
    }

    pub fn start_with(config: &str, environment: &[(&str, &str)], stdout: Stdio) -> Running {
        // `PODGATE_BIN`: another build, for the long forms.
        let built = env!("CARGO_BIN_EXE_podgate");
        let mut command = Command::new(std::env::var("PODGATE_BIN").unwrap_or_else(|_| built.to_owned()));
        command.args(["--config", config]).envs(environment.iter().copied());
        Running::of(command.stdout(stdout).stderr(Stdio::piped()).spawn().expect("the binary runs"))
    }

    /// A process that was started with its log piped.
    pub fn of(mut child: Child) -> Running {
        let mut log = BufReader::new(child.stderr.take().expect("piped"));
        let (lines, read) = channel();
        std::thread::spawn(move || {
            let mut line = Vec::new();
            while log.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
                if lines.send(std::mem::take(&mut line)).is_err() {
                    return;
                }
            }
        });
        Running(child, read)
    }

    /// Reads the log until a line holds `word`, two minutes at most; panics with what came instead.
    pub fn wait_for(&mut self, word: &str) -> String {
        let (until, mut seen) = (Instant::now() + WAIT_MAX, String::new());
        while !seen.contains(word) {
            match self.1.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(line) => seen.push_str(&text(&line)),
                Err(RecvTimeoutError::Disconnected) => panic!("ended without {word:?}:\n{seen}"),
                Err(RecvTimeoutError::Timeout) => panic!("no {word:?} within {WAIT_MAX:?}:\n{seen}"),
            }
        }
        seen
    }

    pub fn signal(&self, name: &str) {
        let killed = Command::new("kill").args([&format!("-{name}"), &self.0.id().to_string()]).status();
        assert!(killed.is_ok_and(|status| status.success()));
    }

    /// The exit code, `None` after death by a signal, and the rest of the log; fails the test after `within`.
    pub fn end_within(mut self, within: Duration) -> (Option<i32>, String) {
        let until = Instant::now() + within;
        while self.0.try_wait().expect("a child").is_none() {
            assert!(Instant::now() < until, "still running after {within:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
        let log = self.1.iter().map(|line| text(&line)).collect();
        (self.0.wait().expect("ends").code(), log)
    }

    /// The same, within two minutes.
    pub fn end(self) -> (Option<i32>, String) {
        self.end_within(WAIT_MAX)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The whole answer of one request over HTTP/1.1, its head included.
pub fn ask(port: u16, method: &str, path: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("somebody listens");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a socket");
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes())).expect("sent");
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    text(&answer)
}

/// A request of one span of this name, as OTLP/JSON.
pub fn one_span(name: &str) -> String {
    format!(
        "{{\"resourceSpans\":[{{\"scopeSpans\":[{{\"spans\":[{{\"traceId\":\"0102030405060708090a0b0c0d0e0f10\",\
         \"spanId\":\"0102030405060708\",\"name\":\"{name}\"}}]}}]}}]}}"
    )
}

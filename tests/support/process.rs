//! The binary as a process: started from a file of YAML, spoken to by signals and by HTTP, read by its log.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tokio::time::Instant;

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Ends the process whatever the test does.
pub struct Running(pub Child);

impl Running {
    pub fn start(config: &str) -> Running {
        Running::start_with(config, &[], Stdio::null())
    }

    pub fn start_with(config: &str, environment: &[(&str, &str)], stdout: Stdio) -> Running {
        let mut command = Command::new(env!("CARGO_BIN_EXE_podgate"));
        command.args(["--config", config]).envs(environment.iter().copied());
        Running(command.stdout(stdout).stderr(Stdio::piped()).spawn().expect("the binary runs"))
    }

    /// Reads the log until a line holds `word`; panics with what came instead.
    pub fn wait_for(&mut self, word: &str) -> String {
        let log = self.0.stderr.as_mut().expect("piped");
        let mut seen = Vec::new();
        let mut byte = [0u8];
        while !text(&seen).contains(word) || byte != *b"\n" {
            assert_eq!(log.read(&mut byte).unwrap_or(0), 1, "ended without {word:?}:\n{}", text(&seen));
            seen.push(byte[0]);
        }
        text(&seen)
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
        self.end()
    }

    pub fn end(mut self) -> (Option<i32>, String) {
        let mut log = String::new();
        let _ = self.0.stderr.take().expect("piped").read_to_string(&mut log);
        (self.0.wait().expect("ends").code(), log)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A port that nobody listens on right now.
pub fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").and_then(|bound| bound.local_addr()).expect("a port").port()
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

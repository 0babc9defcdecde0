//! Child processes on a chosen core, and what the kernel says of them.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// A child pinned to one core; killed when dropped.
pub struct Pinned {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: BufReader<ChildStdout>,
}

impl Pinned {
    /// Starts `program` with `words` under taskset. Its standard error stays ours.
    pub fn start(core: u8, program: &Path, words: &[&str]) -> Result<Pinned, String> {
        let mut child = Command::new("taskset")
            .arg("-c")
            .arg(core.to_string())
            .arg(program)
            .args(words)
            .env("RUST_LOG", "error")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("taskset {}: {error}", program.display()))?;
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().ok_or("a child without standard output")?;
        Ok(Pinned { child, stdin, lines: BufReader::new(stdout) })
    }

    /// The next line the child prints.
    pub fn line(&mut self) -> Result<String, String> {
        let mut line = String::new();
        match self.lines.read_line(&mut line) {
            Ok(0) => Err("a child ended without an answer".to_owned()),
            Ok(_) => Ok(line.trim().to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Writes one line to the child and reads its answer.
    pub fn ask(&mut self, question: &str) -> Result<String, String> {
        let stdin = self.stdin.as_mut().ok_or("a child without standard input")?;
        writeln!(stdin, "{question}").and_then(|()| stdin.flush()).map_err(|error| error.to_string())?;
        self.line()
    }

    /// Runs to its end and returns the last line.
    pub fn finish(mut self) -> Result<String, String> {
        drop(self.stdin.take());
        let mut last = String::new();
        while let Ok(line) = self.line() {
            last = line;
        }
        self.child.wait().map_err(|error| error.to_string())?;
        Ok(last)
    }

    /// CPU time of all its threads in nanoseconds. The ticks of /proc/PID/stat are too coarse for ten seconds.
    pub fn cpu_nanos(&self) -> u64 {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).into_iter().flatten().flatten();
        let stats = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("schedstat")).ok());
        stats.filter_map(|stat| stat.split_whitespace().next().and_then(|first| first.parse::<u64>().ok())).sum()
    }

    /// A field of /proc/PID/status in KiB: `VmRSS`, `VmHWM`.
    pub fn memory_kib(&self, field: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = status.lines().find(|line| line.starts_with(field)).unwrap_or_default();
        line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).unwrap_or(0)
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

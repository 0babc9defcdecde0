//! journalctl as a child process: how it is started, what it says, and what to do where there is none.

use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::process::{Child, ChildStderr, ChildStdout, Command};
use tokio::time::timeout;

use crate::core::time::UnixNanos;
use crate::receivers::journald::config::JournalConfig;
use crate::receivers::journald::position::JournalPosition;

/// How long a question to journalctl may take.
const ANSWER_TIME: Duration = Duration::from_secs(5);
/// Of an answer, and of a line that journalctl says; what is longer comes in parts.
const ANSWER_BYTES: u64 = 64 << 10;
const LINE_BYTES: usize = 2 << 10;
/// The exit code of a shell, and of `podgate in-root`, for a program that cannot be started.
const CANNOT_START: i32 = 127;
/// What to do where journalctl is not there.
pub const INSTALL: &str = "journalctl comes with systemd (the package `systemd`); podgate's image has none: mount the node's \
    root folder and name it by `root_path`, as docs/logs.md shows";

/// journalctl that follows.
pub struct Journalctl {
    child: Child,
    pub output: ChildStdout,
    pub said: SaidLines,
}

impl Journalctl {
    pub fn start(config: &JournalConfig, at: Option<&JournalPosition>) -> io::Result<Journalctl> {
        let mut child = command(config, &following(config, at)).spawn()?;
        let (output, said) = (child.stdout.take(), child.stderr.take());
        let (Some(output), Some(said)) = (output, said) else { return Err(io::Error::other("it has no output")) };
        Ok(Journalctl { child, output, said: SaidLines { pipe: Some(said), line: Vec::new(), last: None } })
    }

    /// Waits for its end, which is near: its output has ended.
    pub async fn end(&mut self) -> io::Result<ExitStatus> {
        match timeout(ANSWER_TIME, self.child.wait()).await {
            Ok(status) => status,
            Err(_) => {
                self.kill().await;
                self.child.wait().await
            }
        }
    }

    pub async fn kill(&mut self) {
        // One that has ended is not there to be killed.
        let _ = self.child.kill().await;
    }
}

/// Lines of a child's error output. Each is bounded, and so is what is kept.
pub struct SaidLines {
    pipe: Option<ChildStderr>,
    line: Vec<u8>,
    /// The last one.
    pub last: Option<String>,
}

impl SaidLines {
    /// The next line; never resolves once there is none any more. May be dropped and called again.
    pub async fn next(&mut self) -> &str {
        while !self.take_line() {
            if !self.read_on().await {
                std::future::pending::<()>().await;
            }
        }
        self.last.as_deref().unwrap_or_default()
    }

    /// Reads what was said until its end, which is near: the child has ended.
    pub async fn rest(&mut self) {
        let reading = async { while self.take_line() || self.read_on().await {} };
        // Who holds the pipe beside the child is not waited for.
        let _ = timeout(ANSWER_TIME, reading).await;
    }

    /// Takes a line that has come into `last`; false when none is whole.
    fn take_line(&mut self) -> bool {
        let end = self.line.iter().position(|byte| *byte == b'\n').map(|end| end + 1);
        let is_whole = self.line.len() >= LINE_BYTES || (self.pipe.is_none() && !self.line.is_empty());
        let Some(end) = end.or(is_whole.then_some(self.line.len())) else { return false };
        let line: Vec<u8> = self.line.drain(..end).collect();
        self.last = Some(shown(&line));
        true
    }

    /// Waits for more; false once there is none.
    async fn read_on(&mut self) -> bool {
        let Some(pipe) = &mut self.pipe else { return false };
        let mut part = [0; 512];
        match pipe.read(&mut part).await {
            // granted: a line of bounded length
            Ok(read @ 1..) => self.line.extend_from_slice(part.get(..read).unwrap_or_default()),
            Ok(_) | Err(_) => self.pipe = None,
        }
        true
    }
}

fn shown(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    text.trim().chars().filter(|letter| !letter.is_control()).take(500).collect()
}

/// The arguments by which journalctl writes entries as they come.
fn following(config: &JournalConfig, at: Option<&JournalPosition>) -> Vec<String> {
    let mut arguments = vec!["--output=export".to_owned(), "--follow".to_owned()];
    // Measured with systemd 252: with `--lines=0` none of the entries behind a cursor come.
    match at {
        None if config.starts_at_end => arguments.push("--lines=0".to_owned()),
        _ => arguments.push("--no-tail".to_owned()),
    }
    // granted: the arguments of a command
    arguments.extend(config.wanted.iter().filter(|one| one.starts_with("--")).cloned());
    match at {
        Some(JournalPosition::After(cursor)) => arguments.push(format!("--after-cursor={cursor}")),
        Some(JournalPosition::Since(since)) => arguments.push(format!("--since={}", seconds(*since))),
        None => {}
    }
    // granted: as above
    arguments.extend(config.wanted.iter().filter(|one| !one.starts_with("--")).cloned());
    arguments
}

/// A moment as systemd reads it (systemd.time(7)), to the microsecond.
fn seconds(moment: UnixNanos) -> String {
    let micros = moment.0 / 1_000;
    format!("@{}.{:06}", micros / 1_000_000, micros % 1_000_000)
}

/// The program with these arguments. Another root is entered by podgate itself, started once more, which becomes the program.
fn command(config: &JournalConfig, arguments: &[String]) -> Command {
    let mut command = match (&config.root, std::env::current_exe()) {
        (Some(root), Ok(podgate)) => {
            let mut command = Command::new(podgate);
            command.args(["in-root", root, &config.program]);
            command
        }
        _ => Command::new(&config.program),
    };
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

/// Why a question was not answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoAnswer {
    #[error("{program} cannot be started: {why}")]
    NotThere { program: String, why: String },
    #[error("journalctl says: {0}")]
    Refused(String),
    #[error("journalctl does not answer within 5 s")]
    Late,
}

/// The version that journalctl tells of itself, "systemd 252 (252.38-1)".
pub async fn version(config: &JournalConfig) -> Result<String, NoAnswer> {
    let text = answer(config, &["--version".to_owned()]).await?;
    Ok(String::from_utf8_lossy(&text).lines().next().unwrap_or_default().chars().take(100).collect())
}

/// The last entry that is wanted, in the export format; empty where there is none.
pub async fn last_entry(config: &JournalConfig) -> Result<Vec<u8>, NoAnswer> {
    let head = ["--output=export", "--lines=1", "--quiet"].map(str::to_owned);
    answer(config, &[head.as_slice(), &config.wanted].concat()).await // granted: the arguments of a command
}

/// What the program writes with these arguments, of which no more than a bounded part is read.
async fn answer(config: &JournalConfig, arguments: &[String]) -> Result<Vec<u8>, NoAnswer> {
    let not_there = |why: String| NoAnswer::NotThere { program: config.program.clone(), why };
    let mut child = command(config, arguments).spawn().map_err(|why| not_there(why.to_string()))?;
    let (Some(output), Some(said)) = (child.stdout.take(), child.stderr.take()) else { return Err(NoAnswer::Late) };
    let asked = async {
        let (mut text, mut complaint) = (Vec::new(), Vec::new());
        let (mut output, mut said) = (output.take(ANSWER_BYTES), said.take(ANSWER_BYTES));
        let both = tokio::join!(output.read_to_end(&mut text), said.read_to_end(&mut complaint)); // granted: of bounded length
        // Its end is what counts; what can no more be read is short.
        drop((both, output, said));
        (child.wait().await, text, complaint)
    };
    let (status, text, complaint) = timeout(ANSWER_TIME, asked).await.map_err(|_| NoAnswer::Late)?;
    let complaint = String::from_utf8_lossy(&complaint);
    match status {
        // One whose answer was not read to its end may be ended by that.
        Ok(status) if status.success() || text.len() as u64 == ANSWER_BYTES => Ok(text),
        Ok(status) if status.code() == Some(CANNOT_START) => Err(not_there(shown(complaint.as_bytes()))),
        Ok(status) => Err(NoAnswer::Refused(match complaint.trim() {
            "" => status.to_string(),
            said => shown(said.lines().next_back().unwrap_or_default().as_bytes()),
        })),
        Err(why) => Err(NoAnswer::Refused(why.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::receivers::journald::config;
    use crate::testing::check::sound;

    #[test]
    fn journalctl_begins_where_reading_ended() {
        let arguments = |yaml: &str, at: Option<JournalPosition>| {
            following(&sound("receivers::journald", yaml, config::check), at.as_ref()).join(" ")
        };
        let head = "--output=export --follow";
        assert_eq!(arguments("{}", None), format!("{head} --lines=0 --priority=info"));
        assert_eq!(arguments("start_at: beginning", None), format!("{head} --no-tail --priority=info"));
        let since = JournalPosition::Since(UnixNanos(1_796_119_205_000_001_999));
        assert_eq!(
            arguments("{}", Some(since)),
            format!("{head} --no-tail --priority=info --since=@1796119205.000001")
        );
        let after = JournalPosition::After("s=1;i=2".to_owned());
        assert_eq!(
            arguments("matches: [{_UID: '0'}]", Some(after)),
            format!("{head} --no-tail --priority=info --after-cursor=s=1;i=2 _UID=0")
        );
    }

    #[tokio::test]
    async fn a_journalctl_that_is_not_there_or_refuses_is_told_apart() {
        let config = |program: &str| {
            let yaml = format!("journalctl_path: {program}");
            sound("receivers::journald", &yaml, config::check)
        };
        let absent = version(&config("/nowhere/journalctl")).await.expect_err("not there");
        assert!(matches!(absent, NoAnswer::NotThere { .. }), "{absent}");
        // A program of every machine that knows no such option.
        let refused = version(&config("/bin/false")).await.expect_err("refused");
        assert!(matches!(refused, NoAnswer::Refused(_)), "{refused}");
    }

    #[tokio::test]
    async fn what_an_ended_journalctl_said_last_is_known_at_once() {
        // A program of every machine that knows no such options.
        let config = sound("receivers::journald", "journalctl_path: /bin/cat", config::check);
        let (mut child, begun) = (Journalctl::start(&config, None).expect("started"), tokio::time::Instant::now());
        child.said.rest().await;
        let status = child.end().await.expect("an end");
        assert!(!status.success());
        assert!(child.said.last.as_deref().is_some_and(|said| !said.is_empty()), "{:?}", child.said.last);
        assert!(begun.elapsed() < ANSWER_TIME, "it waited for what cannot come");
    }
}

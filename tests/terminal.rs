//! The program at a terminal: a pseudo-terminal, its bytes read by a terminal emulator, keys pressed. The demo at two sizes,
//! and the colours of the log.

use std::io::{Read, Write};
use std::num::NonZeroU16;
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};
use vt100::{Color, Parser};

/// However slow the machine is.
const PATIENCE: Duration = Duration::from_secs(120);

struct Terminal {
    parser: Parser,
    bytes: Vec<u8>,
    incoming: Receiver<Vec<u8>>,
    /// Closing it would hang up.
    _master: Box<dyn MasterPty + Send>,
    keyboard: Box<dyn Write + Send>,
    child: Box<dyn Child + Send + Sync>,
}

/// A side of the window.
fn cells(count: u16) -> NonZeroU16 {
    NonZeroU16::new(count).expect("a window")
}

impl Terminal {
    fn running(columns: u16, rows: u16, environment: &[(&str, &str)], arguments: &[&str]) -> Terminal {
        let pair = native_pty_system()
            .openpty(PtySize { rows, cols: columns, pixel_width: 0, pixel_height: 0 })
            .expect("a pty");
        let mut command = CommandBuilder::new(env!("CARGO_BIN_EXE_podgate"));
        command.args(arguments);
        command.env("TERM", "xterm-256color");
        command.env_remove("NO_COLOR");
        environment.iter().for_each(|(name, value)| command.env(name, value));
        let child = pair.slave.spawn_command(command).expect("the binary runs");
        let mut reader = pair.master.try_clone_reader().expect("a reader");
        let (sender, incoming) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(read @ 1..) = reader.read(&mut buffer) {
                if sender.send(buffer[..read].to_vec()).is_err() {
                    return;
                }
            }
        });
        let keyboard = pair.master.take_writer().expect("a writer");
        Terminal {
            parser: Parser::new(cells(rows), cells(columns), 0),
            bytes: Vec::new(),
            incoming,
            _master: pair.master,
            keyboard,
            child,
        }
    }

    fn text(&self) -> String {
        self.parser.screen().contents()
    }

    /// Reads until what is on the screen is as wanted; panics with the screen when the program ends before.
    fn wait_for(&mut self, what: &str, wanted: impl Fn(&vt100::Screen) -> bool) {
        while !wanted(self.parser.screen()) {
            assert!(self.take(PATIENCE), "no {what}:\n{}", self.text());
        }
    }

    fn press(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).expect("a keyboard");
    }

    /// Reads until the program has ended and nothing more comes; its exit code.
    fn end(&mut self) -> u32 {
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                break status;
            }
            self.take(Duration::from_millis(50));
        };
        while self.take(Duration::from_secs(1)) {}
        status.exit_code()
    }

    /// False when nothing came so long.
    fn take(&mut self, within: Duration) -> bool {
        let Ok(bytes) = self.incoming.recv_timeout(within) else { return false };
        self.parser.process(&bytes);
        self.bytes.extend(bytes);
        true
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
    }
}

/// Runs the demo until a container has restarted, looks at the screen, and ends it by two keys.
fn watched(columns: u16, rows: u16, environment: &[(&str, &str)], look: impl Fn(&vt100::Screen)) -> (String, Vec<u8>) {
    let mut terminal = Terminal::running(columns, rows, environment, &["demo"]);
    terminal.wait_for("screen", vt100::Screen::alternate_screen);
    terminal.wait_for("restart", |screen| screen.contents().contains("checkout restarted"));
    terminal.wait_for("mark of podgate", |screen| {
        screen.contents().lines().any(|line| line.starts_with("   podgate") && line.contains('0'))
    });
    look(terminal.parser.screen());
    terminal.press("q");
    terminal.wait_for("last decisions", |screen| screen.contents().contains("the last traces are being decided"));
    terminal.press("\u{1b}");
    let exit = terminal.end();
    let text = terminal.text();
    assert_eq!(exit, 0, "{text}");
    assert!(!terminal.parser.screen().alternate_screen(), "the terminal is given back");
    (text, std::mem::take(&mut terminal.bytes))
}

#[test]
fn at_80_by_24_without_colours_everything_has_its_row() {
    let (after, bytes) = watched(80, 24, &[("NO_COLOR", "1")], |screen| {
        let text = screen.contents();
        for word in [
            "podgate demo",
            "frontend ",
            "checkout-proxy ",
            "payments ",
            "spans by their container.id",
            "traces kept",
            "q ends",
        ] {
            assert!(text.contains(word), "{word} is not on:\n{text}");
        }
        let lanes = text.lines().filter(|line| {
            line.starts_with(" frontend") || line.starts_with(" checkout") || line.starts_with(" payments")
        });
        assert!(lanes.count() >= 9, "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 80) && text.lines().count() <= 24);
    });
    assert!(after.contains("balance: traces: received"), "the sums are told once the screen is gone:\n{after}");
    let colours = ["\u{1b}[31m", "\u{1b}[32m", "\u{1b}[38;", "\u{1b}[36m"];
    let bytes = String::from_utf8_lossy(&bytes);
    assert!(colours.iter().all(|colour| !bytes.contains(colour)), "NO_COLOR is heard");
}

#[test]
fn at_200_by_60_every_lane_shows_what_its_spans_were_given_in_colours() {
    watched(200, 60, &[], |screen| {
        let text = screen.contents();
        let of = |whose: &str| text.lines().filter(|line| line.starts_with(whose)).count();
        assert_eq!((of("   podgate"), of("   the hint")), (10, 10), "nine lanes and the latest restart:\n{text}");
        let (rows, columns) = screen.size();
        let (rows, columns) = (rows.get(), columns.get());
        let cells = (0..rows).flat_map(|row| (0..columns).filter_map(move |column| screen.cell(row, column)));
        assert!(cells.filter(|cell| cell.fgcolor() != Color::Default).count() > 100, "bars and marks have colours");
    });
}

#[test]
fn a_smaller_window_gets_lines() {
    let mut terminal = Terminal::running(79, 24, &[], &["demo", "--duration", "1s"]);
    terminal.wait_for("word about the window", |screen| screen.contents().contains("smaller than 80 x 24"));
    terminal.wait_for("line", |screen| screen.contents().contains("decided within"));
    terminal.press("\u{3}");
    terminal.wait_for("account", |screen| screen.contents().contains("balance:"));
}

#[test]
fn levels_of_the_log_have_colours_at_a_terminal_unless_they_are_not_wanted() {
    let config = "yaml:{receivers: {otlp: {protocols: {http: {endpoint: '127.0.0.1:0'}}}}, exporters: {debug: {verbosity: basic}}, \
                  extensions: {admin: {endpoint: '127.0.0.1:0'}}, service: {extensions: [admin], telemetry: {metrics: {level: none}}, \
                  pipelines: {traces: {receivers: [otlp], exporters: [debug]}}}}";
    for (environment, colored) in [(&[][..], true), (&[("NO_COLOR", "1")][..], false), (&[("NO_COLOR", "")][..], true)]
    {
        let mut terminal = Terminal::running(200, 24, environment, &["--config", config]);
        terminal.wait_for("start", |screen| screen.contents().contains("everything is ready"));
        terminal.press("\u{3}");
        terminal.wait_for("account", |screen| screen.contents().contains("balance:"));
        let bytes = String::from_utf8_lossy(&terminal.bytes).into_owned();
        assert_eq!(bytes.contains("\u{1b}[32minfo \u{1b}[0m"), colored, "{environment:?}: {bytes:?}");
        assert!(terminal.text().contains(" info  everything is ready"), "{}", terminal.text());
    }
}

#[test]
fn through_a_restart_with_a_late_status_the_demo_gives_no_container_id_wrong() {
    let arguments = ["demo", "--plain", "--format", "json", "--traces", "50", "--duration", "10s"];
    let demo = Command::new(env!("CARGO_BIN_EXE_podgate")).args(arguments).output().expect("the binary runs");
    let printed = String::from_utf8_lossy(&demo.stdout);
    // Its exit code says so: 0 where some were right and none was wrong.
    assert!(demo.status.success(), "{printed}");
    assert!(printed.contains("container_id_after"), "a container restarted meanwhile: {printed}");
}

//! The screen as cells: a pure function of the scene and the window. Wider windows show more time, higher ones every
//! lane with what its spans were given.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};

use crate::core::time::UnixNanos;
use crate::core::visible;
use crate::lab::demo::end::DemoScore;
use crate::lab::demo::marks::{Given, SlotMark, SpanMarks};
use crate::lab::demo::screen::scene::{Amiss, DemoScene, Lane, LatestRestart, SMALLEST};

/// Columns of a lane's name and of its two counts.
const NAME: u16 = 21;
const COUNTS: u16 = 17;
/// Slots of marks in one column: three quarters of a second.
const SLOTS_PER_COLUMN: u64 = 3;
const COLUMN_NANOS: u64 = SLOTS_PER_COLUMN * SpanMarks::SLOT;

const BAR: &str = "\u{2501}";
const DEATH: &str = "\u{2573}";
const NO_ID: &str = "\u{b7}";

/// How it may look.
#[derive(Clone, Copy, Debug)]
pub struct DrawStyle {
    /// False with NO_COLOR: weight and reversal say everything that colours say.
    pub colored: bool,
}

impl DrawStyle {
    fn fore(self, color: Color) -> Style {
        if self.colored { Style::new().fg(color) } else { Style::new() }
    }

    fn bold(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    fn dim(self) -> Style {
        if self.colored { Style::new().fg(Color::DarkGray) } else { Style::new() }
    }

    fn wrong(self) -> Style {
        self.fore(Color::Red).add_modifier(Modifier::REVERSED)
    }

    /// Neighbouring runs differ.
    fn run(self, number: i64) -> Style {
        let colors = [Color::Cyan, Color::Yellow, Color::Magenta, Color::Blue];
        self.fore(colors[usize::try_from(number).unwrap_or(0) % colors.len()])
    }
}

/// Draws the scene; a window that is too small is told so, and none panics.
pub fn draw(scene: &DemoScene, look: DrawStyle, area: Rect, buffer: &mut Buffer) {
    let mut paper = Paper { buffer, area, row: 0, look };
    if area.width < SMALLEST.0 || area.height < SMALLEST.1 {
        let (width, height) = SMALLEST;
        paper.line(&[(&format!("at least {width} x {height}, please"), look.bold())]);
        return;
    }
    head(scene, &mut paper);
    // Three rows for each lane where there is room for them beside the rest.
    let rest = 15;
    let detailed = usize::from(area.height) >= rest + 3 * scene.lanes.len();
    for lane in &scene.lanes {
        of_lane(scene, lane, detailed, &mut paper);
    }
    paper.skip();
    of_restart(scene, &mut paper);
    paper.skip();
    scores(scene, &mut paper);
    foot(scene, &mut paper);
}

struct Paper<'a> {
    buffer: &'a mut Buffer,
    area: Rect,
    row: u16,
    look: DrawStyle,
}

impl Paper<'_> {
    fn columns(&self) -> u16 {
        self.area.width.saturating_sub(NAME + COUNTS)
    }

    /// Writes texts one behind the other and goes to the next row.
    fn line(&mut self, parts: &[(&str, Style)]) {
        let mut column = 1;
        for (text, style) in parts {
            let text = visible::escape(text);
            self.put(column, &text, *style);
            column += u16::try_from(text.chars().count()).unwrap_or(u16::MAX - column);
        }
        self.row += 1;
    }

    fn put(&mut self, column: u16, text: &str, style: Style) {
        if self.row < self.area.height && column < self.area.width {
            let width = usize::from(self.area.width - column);
            self.buffer.set_stringn(self.area.x + column, self.area.y + self.row, text, width, style);
        }
    }

    fn skip(&mut self) {
        self.row += 1;
    }
}

fn head(scene: &DemoScene, paper: &mut Paper<'_>) {
    let look = paper.look;
    let figures = format!(
        "   {} s   {:.0} spans/s   CPU {:.0} % of a core   {:.1} MiB (all of this demo)",
        scene.since_start.as_secs(),
        scene.spans_per_second,
        scene.cpu_share * 100.0,
        scene.rss_bytes as f64 / f64::from(1 << 20),
    );
    paper.line(&[("podgate demo", look.bold()), (&figures, Style::new())]);
    let seconds = u64::from(paper.columns()) * COLUMN_NANOS / 1_000_000_000;
    paper.put(1, "container", look.dim());
    paper.put(NAME, &format!("{seconds} s ago"), look.dim());
    paper.put(paper.area.width - COUNTS - 4, "now", look.dim());
    paper.put(paper.area.width - COUNTS + 1, "wrong ids by:", look.dim());
    paper.skip();
    paper.put(paper.area.width - COUNTS + 1, "podgate    hint", look.dim());
    paper.skip();
}

/// When a column of the lanes begins.
fn begin(scene: &DemoScene, paper: &Paper<'_>, column: u16) -> UnixNanos {
    let back = u64::from(paper.columns() - column) * COLUMN_NANOS;
    // Columns end with slots, so that marks do not jump from one to the next.
    let edge = (scene.now.0 / COLUMN_NANOS + 1) * COLUMN_NANOS;
    UnixNanos(edge.saturating_sub(back))
}

fn of_lane(scene: &DemoScene, lane: &Lane, detailed: bool, paper: &mut Paper<'_>) {
    let look = paper.look;
    let tail: String = lane.pod.chars().rev().take(5).collect::<Vec<_>>().into_iter().rev().collect();
    paper.put(1, &format!("{} {tail}", lane.service), Style::new());
    bars(scene, lane, paper);
    let count = |score: &DemoScore| format!("{:>7}", score.wrong);
    let style = |score: &DemoScore| {
        if score.wrong > 0 { look.fore(Color::Red).add_modifier(Modifier::BOLD) } else { look.fore(Color::Green) }
    };
    let right = paper.area.width - COUNTS + 1;
    paper.put(right, &count(&lane.podgate), style(&lane.podgate));
    paper.put(right + 8, &count(&lane.hint), style(&lane.hint));
    paper.skip();
    if detailed {
        given(scene, lane, "podgate", |mark| mark.podgate, paper);
        given(scene, lane, "the hint", |mark| mark.hint, paper);
    }
}

/// The runs of a lane: a number where one begins, a cross where it ends.
fn bars(scene: &DemoScene, lane: &Lane, paper: &mut Paper<'_>) {
    for column in 0..paper.columns() {
        let (from, to) = (begin(scene, paper, column), begin(scene, paper, column + 1));
        let alive = lane.runs.iter().rev().find(|run| run.started < to && run.ended.is_none_or(|ended| ended >= from));
        let Some(run) = alive.filter(|_| from <= scene.now) else { continue };
        let style = paper.look.run(run.number);
        let first = column == 0 || run.started >= from;
        let text = match (first, run.ended.is_some_and(|ended| ended < to)) {
            (_, true) => DEATH.to_owned(),
            (true, false) => last_digit(run.number),
            (false, false) => BAR.to_owned(),
        };
        paper.put(NAME + column, &text, style);
    }
}

fn last_digit(number: i64) -> String {
    (number.unsigned_abs() % 10).to_string()
}

/// The runs that a lane's spans were given, under the time at which they were made.
fn given(scene: &DemoScene, lane: &Lane, whose: &str, pick: impl Fn(&SlotMark) -> Given, paper: &mut Paper<'_>) {
    let look = paper.look;
    paper.put(3, whose, look.dim());
    for column in 0..paper.columns() {
        let first = SpanMarks::slot(begin(scene, paper, column));
        let marks = lane.marks.0.range(first..first + SLOTS_PER_COLUMN).map(|(_, mark)| pick(mark));
        let (text, style) = match marks.max().unwrap_or_default() {
            Given::Nothing => continue,
            Given::Missing => (NO_ID.to_owned(), look.dim()),
            Given::Right(run) => (last_digit(run), look.fore(Color::Green)),
            Given::Wrong(run) => (last_digit(run), look.wrong()),
        };
        paper.put(NAME + column, &text, style);
    }
    paper.skip();
}

fn of_restart(scene: &DemoScene, paper: &mut Paper<'_>) {
    let look = paper.look;
    let shown = scene.restart.as_ref().and_then(|restart| Some((restart, scene.lanes.get(restart.lane)?)));
    let Some((LatestRestart { truth, at, .. }, lane)) = shown else {
        paper.line(&[("a container will restart; its application will go on saying restart_count=0", Style::new())]);
        paper.row += 4;
        return;
    };
    let ago = scene.now.since(*at).as_secs();
    let (first, rest) = (
        format!("{} restarted {ago} s ago:", lane.service),
        format!(" it still says restart_count=0, the truth is run {truth}"),
    );
    paper.line(&[(&first, look.bold()), (&rest, Style::new())]);
    paper.put(3, "runs", look.dim());
    bars(scene, lane, paper);
    paper.skip();
    given(scene, lane, "podgate", |mark| mark.podgate, paper);
    given(scene, lane, "the hint", |mark| mark.hint, paper);
    let Some(pair) = &scene.pair else { return paper.skip() };
    let short = |id: &str| id.chars().take(4).collect::<String>();
    let why = match pair.why {
        Amiss::DeadFor(by) => format!(", dead for {:.1} s", by.as_secs_f64()),
        Amiss::BornLater(by) => format!(", born {:.1} s later", by.as_secs_f64()),
    };
    paper.line(&[
        (&format!("a span of {}: podgate ", pair.service), Style::new()),
        (&short(&pair.podgate), look.fore(Color::Green).add_modifier(Modifier::BOLD)),
        (" | by the hint ", Style::new()),
        (&short(&pair.hint), look.wrong()),
        (&why, Style::new()),
    ]);
}

fn scores(scene: &DemoScene, paper: &mut Paper<'_>) {
    let look = paper.look;
    paper.line(&[("spans by their container.id        right      wrong    missing", look.dim())]);
    for (name, score) in [("podgate", &scene.podgate), ("the hint, else the newest run", &scene.hint)] {
        let wrong = if score.wrong > 0 { look.wrong() } else { look.fore(Color::Green) };
        paper.line(&[
            (&format!("{name:<29}"), look.bold()),
            (&format!("{:>11}", score.right), Style::new()),
            (&format!("{:>11}", score.wrong), wrong),
            (&format!("{:>11}", score.missing), Style::new()),
        ]);
    }
}

fn foot(scene: &DemoScene, paper: &mut Paper<'_>) {
    let policies = scene.by_policy.iter().map(|(name, kept)| format!("{name} {kept}")).collect::<Vec<_>>().join(", ");
    paper.line(&[(&format!("traces kept {} ({policies}), dropped {}", scene.kept, scene.dropped), Style::new())]);
    let said = match (&scene.guests, scene.ending) {
        (_, true) => "the last traces are being decided".to_owned(),
        (Some(guests), false) => format!("yours: {guests}"),
        (None, false) => format!("yours too: OTEL_EXPORTER_OTLP_ENDPOINT={}", scene.endpoint),
    };
    paper.line(&[(&said, paper.look.dim()), ("   q ends", Style::new())]);
}

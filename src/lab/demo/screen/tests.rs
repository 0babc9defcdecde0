//! The screen as text, in windows of many sizes, and the picture for documents.

use std::time::Duration;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier};

use super::draw::{DrawStyle, draw};
use super::scene::{Amiss, DemoScene, Lane, LatestRestart, Pair, RunBar};
use super::svg::svg;
use crate::core::time::UnixNanos;
use crate::lab::demo::end::DemoScore;
use crate::lab::demo::marks::{Given, SlotMark, SpanMarks};

const NOW: u64 = 1_000;

/// Nine lanes; the first container died ten seconds ago and its application says restart_count=0 for ever.
fn scene() -> DemoScene {
    let at = UnixNanos::from_secs;
    let lane = |number: u64| {
        let first = RunBar { number: 0, started: at(NOW - 20), ended: (number == 0).then(|| at(NOW - 10)) };
        let second = RunBar { number: 1, started: at(NOW - 9), ended: None };
        let mut marks = SpanMarks::default();
        for second in NOW - 18..NOW - 5 {
            let truth = i64::from(number == 0 && second >= NOW - 9);
            let hint = match (truth, second < NOW - 7) {
                (0, _) => Given::Right(0),
                (_, true) => Given::Wrong(0),
                (_, false) => Given::Missing,
            };
            marks.0.insert(SpanMarks::slot(at(second)), SlotMark { podgate: Given::Right(truth), hint });
        }
        Lane {
            service: format!("service-{number}"),
            pod: format!("pod-{number}-abcde"),
            runs: if number == 0 { vec![first, second] } else { vec![first] },
            marks,
            podgate: DemoScore { right: 13, wrong: 0, missing: 0 },
            hint: DemoScore { right: 9, wrong: 2 * u64::from(number == 0), missing: 2 },
        }
    };
    DemoScene {
        since_start: Duration::from_secs(20),
        now: at(NOW),
        lanes: (0..9).map(lane).collect(),
        restart: Some(LatestRestart { lane: 0, truth: 1, at: at(NOW - 9) }),
        pair: Some(Pair {
            service: "service-0".to_owned(),
            podgate: "9b27ffff".to_owned(),
            hint: "4f1cffff".to_owned(),
            why: Amiss::DeadFor(Duration::from_millis(3_100)),
        }),
        podgate: DemoScore { right: 117, wrong: 0, missing: 3 },
        hint: DemoScore { right: 81, wrong: 2, missing: 20 },
        spans_per_second: 900.0,
        by_policy: vec![("failed".to_owned(), 4)],
        kept: 7,
        dropped: 70,
        endpoint: "http://127.0.0.1:4318".to_owned(),
        ..DemoScene::default()
    }
}

fn drawn(scene: &DemoScene, width: u16, height: u16, colored: bool) -> Buffer {
    let area = Rect::new(0, 0, width, height);
    let mut buffer = Buffer::empty(area);
    draw(scene, DrawStyle { colored }, area, &mut buffer);
    buffer
}

fn rows(buffer: &Buffer) -> Vec<String> {
    let area = buffer.area;
    let row = |row| (0..area.width).filter_map(|column| buffer.cell((column, row))).map(|cell| cell.symbol()).collect();
    (0..area.height).map(row).collect()
}

#[test]
fn at_80_by_24_every_row_has_its_place() {
    let rows = rows(&drawn(&scene(), 80, 24, false));
    assert!(rows[0].contains("podgate demo   20 s   900 spans/s"), "{rows:#?}");
    assert!(rows[3].starts_with(" service-0 abcde") && rows[11].starts_with(" service-8 abcde"), "{rows:#?}");
    assert!(
        rows[13].contains("service-0 restarted 9 s ago: it still says restart_count=0, the truth is run 1"),
        "{rows:#?}"
    );
    assert!(rows[17].contains("a span of service-0: podgate 9b27 | by the hint 4f1c, dead for 3.1 s"), "{rows:#?}");
    assert!(rows[22].contains("traces kept 7 (failed 4), dropped 70"), "{rows:#?}");
    assert!(rows[23].contains("OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318") && rows[23].contains("q ends"));
}

/// The row's marks without its label.
fn marks(row: &str) -> String {
    row.chars().skip(21).collect::<String>().trim().to_owned()
}

#[test]
fn spans_fall_on_the_run_that_made_them_and_by_the_hint_on_another() {
    let rows = rows(&drawn(&scene(), 80, 24, false));
    let (bars, podgate, hint) = (marks(&rows[14]), marks(&rows[15]), marks(&rows[16]));
    assert!(
        bars.starts_with('0') && bars.contains("\u{2573}1\u{2501}") || bars.contains("\u{2573} 1\u{2501}"),
        "{bars}"
    );
    let runs = |marks: &str| marks.chars().filter(|mark| !mark.is_whitespace()).collect::<String>();
    assert!(runs(&podgate).trim_start_matches('0').chars().all(|mark| mark == '1'), "{podgate}");
    assert!(runs(&hint).ends_with("\u{b7}\u{b7}") && !hint.contains('1'), "{hint}");
}

#[test]
fn a_wrong_run_stands_out_with_colours_and_without() {
    for colored in [true, false] {
        let buffer = drawn(&scene(), 80, 24, colored);
        let wrong = (0..80)
            .filter_map(|column| buffer.cell((column, 16)))
            .find(|cell| cell.modifier.contains(Modifier::REVERSED));
        let wrong = wrong.expect("a wrong mark in the row of the hint");
        assert_eq!((wrong.symbol(), wrong.fg == Color::Red), ("0", colored));
        let any = buffer.content().iter().any(|cell| !matches!(cell.fg, Color::Reset));
        assert_eq!(any, colored, "NO_COLOR means no colour at all");
    }
}

#[test]
fn a_high_window_shows_what_every_lanes_spans_were_given() {
    let rows = rows(&drawn(&scene(), 200, 60, false));
    assert_eq!(
        rows.iter().filter(|row| row.starts_with("   the hint")).count(),
        10,
        "nine lanes and the latest restart"
    );
    assert!(rows[1].contains("121 s ago"), "a wide one shows more time: {}", rows[1]);
}

#[test]
fn no_window_is_too_small_to_be_drawn_and_none_is_left() {
    for (width, height) in [(1, 1), (79, 24), (80, 23), (10, 200), (300, 2)] {
        let rows = rows(&drawn(&scene(), width, height, true));
        assert!(rows[0].starts_with(&" at least 80 x 24, please"[..usize::from(width).min(25)]), "{rows:?}");
    }
    let empty = drawn(&DemoScene::default(), 80, 24, true);
    assert!(rows(&empty)[4].contains("a container will restart"), "{:#?}", rows(&empty));
    for (width, height) in [(80, 24), (81, 25), (132, 43), (500, 100)] {
        drawn(&scene(), width, height, true);
    }
}

#[test]
fn a_guests_name_cannot_move_the_cursor() {
    let scene = DemoScene { guests: Some("\u{1b}[2Jevil\n".to_owned()), ..scene() };
    let text = rows(&drawn(&scene, 80, 24, true)).join("");
    assert!(!text.chars().any(crate::core::visible::is_dangerous) && text.contains("evil"), "{text}");
}

#[test]
fn the_picture_is_xml_with_the_screens_words() {
    let scene = DemoScene { guests: Some("a<b>&c".to_owned()), ..scene() };
    let picture = svg(&drawn(&scene, 100, 42, true));
    assert!(picture.starts_with("<svg ") && picture.ends_with("</svg>\n"), "{picture}");
    assert!(picture.contains("a&lt;b&gt;&amp;c") && picture.contains("podgate demo"), "{picture}");
    assert_eq!(picture.matches("<text ").count(), picture.matches("</text>").count());
}

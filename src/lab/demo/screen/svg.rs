//! The cells of a screen as a picture for documents: SVG, without scripts, fonts or anything fetched.

use std::fmt::Write as _;

use ratatui::buffer::{Buffer, Cell};
use ratatui::style::{Color, Modifier};

/// Of one cell, in pixels.
const WIDTH: f32 = 8.4;
const HEIGHT: f32 = 18.0;
const GROUND: &str = "#161b22";
const INK: &str = "#c9d1d9";

/// The picture of these cells.
pub fn svg(buffer: &Buffer) -> String {
    let area = buffer.area;
    let (width, height) = (f32::from(area.width) * WIDTH + 16.0, f32::from(area.height) * HEIGHT + 16.0);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" width=\"{width:.0}\" height=\"{height:.0}\" \
         font-family=\"ui-monospace, Menlo, Consolas, monospace\" font-size=\"14\">\n\
         <rect width=\"100%\" height=\"100%\" rx=\"8\" fill=\"{GROUND}\"/>\n"
    );
    for row in 0..area.height {
        for (begin, cells) in stretches(buffer, row) {
            stretch(&mut out, begin, row, &cells);
        }
    }
    out.push_str("</svg>\n");
    out
}

/// Cells of one row that look alike and are not blank, with the column of the first.
fn stretches(buffer: &Buffer, row: u16) -> Vec<(u16, Vec<&Cell>)> {
    let mut all: Vec<(u16, Vec<&Cell>)> = Vec::new();
    for column in 0..buffer.area.width {
        let Some(cell) = buffer.cell((buffer.area.x + column, buffer.area.y + row)) else { continue };
        match all.last_mut() {
            Some((_, cells)) if cells.last().is_some_and(|last| look(last) == look(cell)) => cells.push(cell),
            _ => all.push((column, vec![cell])),
        }
    }
    let is_blank = |cells: &[&Cell]| cells.iter().all(|cell| cell.symbol() == " " && !is_reversed(cell));
    all.retain(|(_, cells)| !is_blank(cells));
    all
}

fn look(cell: &Cell) -> (Color, Modifier) {
    (cell.fg, cell.modifier)
}

fn is_reversed(cell: &Cell) -> bool {
    cell.modifier.contains(Modifier::REVERSED)
}

fn stretch(out: &mut String, column: u16, row: u16, cells: &[&Cell]) {
    let Some(first) = cells.first() else { return };
    let text: String = cells.iter().map(|cell| cell.symbol()).collect();
    let (x, y) = (8.0 + f32::from(column) * WIDTH, 8.0 + f32::from(row) * HEIGHT);
    let width = cells.len() as f32 * WIDTH;
    let mut ink = color(first.fg);
    if is_reversed(first) {
        let _ =
            writeln!(out, "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{HEIGHT}\" fill=\"{ink}\"/>");
        ink = GROUND;
    }
    let weight = if first.modifier.contains(Modifier::BOLD) { " font-weight=\"bold\"" } else { "" };
    let _ = writeln!(
        out,
        "<text x=\"{x:.1}\" y=\"{:.1}\" fill=\"{ink}\"{weight} textLength=\"{width:.1}\" lengthAdjust=\"spacingAndGlyphs\" \
         xml:space=\"preserve\">{}</text>",
        y + 13.5,
        escaped(&text)
    );
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn color(color: Color) -> &'static str {
    match color {
        Color::Red => "#ff7b72",
        Color::Green => "#7ee787",
        Color::Yellow => "#e3b341",
        Color::Blue => "#79c0ff",
        Color::Magenta => "#d2a8ff",
        Color::Cyan => "#56d4dd",
        Color::DarkGray => "#8b949e",
        _ => INK,
    }
}

//! The demo as a picture: the terminal around `draw`. Where there is no terminal, or a small one, lines are printed instead.

pub mod compose;
pub mod draw;
pub mod scene;
pub mod svg;
#[cfg(test)]
mod tests;

use std::io::{self, IsTerminal};
use std::time::Duration;

use ratatui::DefaultTerminal;
use ratatui::buffer::Buffer;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::layout::Rect;
use tokio::sync::watch;

use crate::lab::demo::screen::draw::DrawStyle;
use crate::lab::demo::screen::scene::{DemoScene, SMALLEST};

/// Between two looks at the keyboard.
const KEYS_EVERY: Duration = Duration::from_millis(200);
/// The picture for documents, in cells.
const PICTURE: Rect = Rect { x: 0, y: 0, width: 100, height: 42 };

/// An alternate screen in raw mode, until it is closed or dropped.
pub struct Screen {
    terminal: DefaultTerminal,
    look: DrawStyle,
    /// How often a key asked for the end.
    quit: watch::Receiver<u32>,
}

/// Why there are lines.
pub enum Instead {
    /// Nobody looks.
    NoTerminal,
    TooSmall,
}

impl Screen {
    pub fn open() -> Result<Screen, Instead> {
        if !(io::stdout().is_terminal() && io::stdin().is_terminal()) {
            return Err(Instead::NoTerminal);
        }
        let (columns, rows) = ratatui::crossterm::terminal::size().map_err(|_| Instead::NoTerminal)?;
        if columns < SMALLEST.0 || rows < SMALLEST.1 {
            return Err(Instead::TooSmall);
        }
        // Its hook gives the terminal back before a panic is told.
        let terminal = ratatui::try_init().map_err(|_| Instead::NoTerminal)?;
        let (sender, quit) = watch::channel(0);
        std::thread::spawn(move || listen(&sender));
        let colored = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Ok(Screen { terminal, look: DrawStyle { colored }, quit })
    }

    pub fn draw(&mut self, scene: &DemoScene) {
        let look = self.look;
        // A terminal that is gone ends the demo by its signal.
        let _ = self.terminal.draw(|frame| {
            let area = frame.area();
            draw::draw(scene, look, area, frame.buffer_mut());
        });
    }

    /// Until a key asks for the end, once more than before.
    pub async fn asked_to_end(quit: &mut watch::Receiver<u32>) {
        if quit.changed().await.is_err() {
            // The keyboard is gone; signals still end the demo.
            std::future::pending::<()>().await;
        }
    }

    pub fn keys(&self) -> watch::Receiver<u32> {
        self.quit.clone()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

/// Reads the keyboard until nobody wants to know any more. In raw mode Ctrl-C is a key.
fn listen(asked: &watch::Sender<u32>) {
    while !asked.is_closed() {
        match event::poll(KEYS_EVERY) {
            Ok(false) => {}
            Ok(true) => match event::read() {
                Ok(Event::Key(key)) if key.kind == KeyEventKind::Press => {
                    let control = key.modifiers.contains(KeyModifiers::CONTROL);
                    let ends = matches!(
                        (key.code, control),
                        (KeyCode::Char('q') | KeyCode::Esc, _) | (KeyCode::Char('c'), true)
                    );
                    if ends {
                        asked.send_modify(|times| *times += 1);
                    }
                }
                Ok(_) => {}
                Err(_) => return,
            },
            Err(_) => return,
        }
    }
}

/// The scene as a picture for documents.
pub fn picture(scene: &DemoScene) -> String {
    let mut buffer = Buffer::empty(PICTURE);
    draw::draw(scene, DrawStyle { colored: true }, PICTURE, &mut buffer);
    svg::svg(&buffer)
}

//! podgate's own log: `service.telemetry.logs` as tracing understands it, on standard error.

use std::fmt::Write as _;
use std::io::IsTerminal;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::telemetry::{LogEncoding, LogLevel, Logs};
use crate::core::time::UnixNanos;
use crate::core::visible;

/// Installs the process's logger; later calls do nothing (several gateways in one test process).
pub fn install(logs: &Logs) {
    let level = match logs.level {
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Error => LevelFilter::ERROR,
    };
    let format = Lines { json: logs.encoding == LogEncoding::Json, initial: logs.initial_fields.clone() };
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(colored()).event_format(format);
    // Other crates' debug lines are theirs, not a user's; what the API client meets, the watch tells in its own words, and what
    // Kafka's client does, its components do, unless somebody looks for a fault.
    let clients = if level == LevelFilter::DEBUG { LevelFilter::WARN } else { LevelFilter::OFF };
    let targets = tracing_subscriber::filter::Targets::new()
        .with_target("podgate", level)
        .with_target("kube", LevelFilter::OFF)
        .with_target("krafka", clients)
        .with_default(level.min(LevelFilter::WARN));
    let _ = tracing_subscriber::registry().with(targets).with(layer).try_init();
}

/// Colours on standard error: for a person at a terminal whose `NO_COLOR` is not set, or empty.
pub fn colored() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// A level as it stands in a line; in colour it is as wide.
fn level_word(level: Level, colored: bool) -> String {
    let word = format!("{:<5}", level.as_str().to_lowercase());
    let color = match level {
        _ if !colored => return word,
        Level::ERROR => "1;31",
        Level::WARN => "33",
        Level::INFO => "32",
        _ => "2",
    };
    format!("\u{1b}[{color}m{word}\u{1b}[0m")
}

/// One line per event: time, level, message, then fields; or one JSON object per line.
struct Lines {
    json: bool,
    initial: Vec<(String, String)>,
}

#[derive(Default)]
struct Collected {
    message: String,
    fields: Vec<(String, serde_json::Value)>,
}

impl Visit for Collected {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "message" {
            let _ = write!(self.message, "{value:?}");
        } else {
            let text = format!("{value:?}");
            // An optional value reads as itself, and an absent one not at all.
            if text != "None" {
                let inner = text.strip_prefix("Some(").and_then(|rest| rest.strip_suffix(')')).unwrap_or(&text);
                self.fields.push((field.name().to_owned(), inner.to_owned().into()));
            }
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.message.push_str(value);
        } else {
            self.fields.push((field.name().to_owned(), value.into()));
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.fields.push((field.name().to_owned(), value.into()));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.fields.push((field.name().to_owned(), value.into()));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.fields.push((field.name().to_owned(), value.into()));
    }
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> std::fmt::Result {
        let mut collected = Collected::default();
        event.record(&mut collected);
        let time = UnixNanos::now().timestamp();
        let level = *event.metadata().level();
        if self.json {
            return self.write_json(&mut writer, time, level, collected);
        }
        let word = level_word(level, writer.has_ansi_escapes());
        write!(writer, "{time:.3} {word} {}", visible::escape(&collected.message))?;
        let initial = self.initial.iter().map(|(key, value)| (key.clone(), value.clone().into()));
        for (key, value) in collected.fields.into_iter().chain(initial) {
            match value {
                serde_json::Value::String(text) => write!(writer, " {key}={}", field_text(&text))?,
                other => write!(writer, " {key}={other}")?,
            }
        }
        writeln!(writer)
    }
}

impl Lines {
    fn write_json(
        &self,
        writer: &mut Writer<'_>,
        time: jiff::Timestamp,
        level: Level,
        collected: Collected,
    ) -> std::fmt::Result {
        let mut object = serde_json::Map::new();
        object.insert("level".to_owned(), level.as_str().to_lowercase().into());
        object.insert("ts".to_owned(), format!("{time:.3}").into());
        object.insert("msg".to_owned(), collected.message.into());
        for (key, value) in &self.initial {
            object.insert(key.clone(), value.clone().into());
        }
        object.extend(collected.fields);
        writeln!(writer, "{}", visible::escape_json(&serde_json::Value::Object(object).to_string()))
    }
}

/// A field's text: bare, or as a JSON string where blanks or signs would make it unclear where it ends.
fn field_text(text: &str) -> String {
    let unclear =
        |letter: char| letter.is_whitespace() || letter == '"' || letter == '=' || visible::is_dangerous(letter);
    if text.is_empty() || text.chars().any(unclear) {
        return visible::escape_json(&serde_json::Value::String(text.to_owned()).to_string()).into_owned();
    }
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_is_as_wide_in_colour_as_without() {
        for level in [Level::ERROR, Level::WARN, Level::INFO, Level::DEBUG] {
            let (plain, colored) = (level_word(level, false), level_word(level, true));
            let bare: String =
                colored.split('\u{1b}').map(|part| part.split_once('m').map_or(part, |(_, text)| text)).collect();
            assert!(plain.len() == 5 && bare == plain && colored != plain, "{colored:?}");
        }
    }

    #[test]
    fn control_characters_never_reach_the_log() {
        for (text, shown) in [
            ("one", "one"),
            ("two words", "\"two words\""),
            ("", "\"\""),
            ("a\nb\u{1b}[31m", "\"a\\nb\\u001b[31m\""),
            ("\u{9b}2J", "\"\\u009b2J\""),
            ("\u{202e}txt", "\"\\u202etxt\""),
        ] {
            assert_eq!(field_text(text), shown);
        }
    }
}

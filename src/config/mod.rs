//! The Collector's YAML, read into a tree in which every value knows its place.
//!
//! `load` takes the command line's sources to one merged and expanded tree, `document::read` takes the tree to declared
//! components and pipelines, `show::diagnose::render` shows what was found wrong. Component types are not known here.

pub mod auth;
pub mod check;
pub mod client;
pub mod document;
pub mod metadata;
pub mod read;
pub mod server;
pub mod show;
pub mod telemetry;
pub mod tls;
pub mod value;

use crate::config::show::hidden::Hidden;
use crate::core::diagnostic::Diagnostics;
use crate::core::node::Node;

pub use crate::config::read::source::{PlacedText, Sources};

/// Reads all sources, joins them in order and expands `${...}`. Every fault is pushed.
///
/// `configs`: values of `--config` in order (a path, `file:`, `env:` or `yaml:`; a manifest's path may end with `#KEY`); `sets`: values of `--set`, applied
/// after all of them; `env` looks up an environment variable. `None` when there is no usable tree. What is found is shown only after
/// [`Sources::hidden`] cleaned it.
pub fn load(
    configs: &[String],
    sets: &[String],
    env: &dyn Fn(&str) -> Option<String>,
    diagnostics: &Diagnostics,
) -> (Sources, Option<Node>) {
    load_named((read::source::FLAG, configs), (sets, &[]), env, diagnostics)
}

/// As [`load`], where `configs` were named by something else than `--config`: a source that cannot be read is placed in `named_by`.
/// Behind the `--set` values come texts with places of their own.
pub fn load_named(
    (named_by, configs): (&str, &[String]),
    (sets, placed): (&[String], &[PlacedText]),
    env: &dyn Fn(&str) -> Option<String>,
    diagnostics: &Diagnostics,
) -> (Sources, Option<Node>) {
    let mut sources = Sources::default();
    let merged = read::source::read_all((named_by, configs), (sets, placed), env, &mut sources, diagnostics);
    let Some(merged) = merged else { return (sources, None) };
    let (tree, brought) = read::expand::expand(merged, &sources, env, diagnostics);
    sources.hidden = Hidden::of(brought, tree.as_ref());
    (sources, tree)
}

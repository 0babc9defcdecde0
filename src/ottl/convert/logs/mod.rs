//! Log lines of formats that others laid down: CEF, LEEF, the Common Log Format and the Extended Log Format (contrib
//! processor/transformprocessor, internal/logparsingfuncs).

mod clf;
mod elf;
mod security;

use crate::ottl::convert::made::text_value;
use crate::ottl::value::OttlValue;

pub use clf::parse_clf;
pub use elf::parse_elf;
pub use security::{parse_cef, parse_leef};

type Pairs<'a> = Vec<(String, OttlValue<'a>)>;

fn put(pairs: &mut Pairs<'_>, key: &str, text: &str) {
    pairs.push((key.to_owned(), text_value(text)));
}

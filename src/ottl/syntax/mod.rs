//! The grammar of OTTL: words and signs, then trees. Knows neither paths nor functions.

pub mod fault;
pub mod lexer;
pub mod literal;
pub mod parse;

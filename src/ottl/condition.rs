//! A condition: parsed, checked, and asked of items.

use crate::ottl::check::check;
use crate::ottl::checked::CheckedNode;
use crate::ottl::context::{Context, Syntax};
use crate::ottl::eval::truth;
use crate::ottl::item::Item;
use crate::ottl::syntax::fault::TextFault;
use crate::ottl::syntax::lexer::asks_world;
use crate::ottl::syntax::{lexer, parse};
use crate::ottl::value::failure::EvalFailure;

/// A checked condition.
#[derive(Debug)]
pub struct Condition {
    root: CheckedNode,
    asks_world: bool,
}

impl Condition {
    /// For whoever has the messages alone and not what stands beside them.
    pub fn parse(text: &str, context: Context) -> Result<Condition, TextFault> {
        let tokens = lexer::tokens(text)?;
        let url = |token: &&lexer::Token| matches!(&token.kind, lexer::TokenKind::Word(word) if word == "schema_url");
        if let Some(token) = tokens.iter().find(url) {
            let message = "podgate does not have the path `schema_url` here".to_owned();
            return Err(TextFault { at: token.at, message, not_built: true });
        }
        Condition::parse_as(text, Syntax { context, prefixed: false, cache: false })
    }

    pub fn parse_as(text: &str, syntax: Syntax) -> Result<Condition, TextFault> {
        let tokens = lexer::tokens(text)?;
        let tree = parse::condition(&tokens)?;
        Ok(Condition { root: check(&tree, syntax)?, asks_world: asks_world(&tokens) })
    }

    pub fn matches(&self, item: &Item<'_>) -> Result<bool, EvalFailure> {
        if self.asks_world {
            return truth(&self.root, &Item { world: item.world.or_real(true), ..*item });
        }
        truth(&self.root, item)
    }
}

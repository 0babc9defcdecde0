//! The grammar of conditions and statements: `or` binds weakest, then `and`, `not`, comparisons, sums, products; a
//! statement is a call and, after `where`, a condition.
//!
//! Makes a tree of names and literals with places; whether a name exists is not its business. Nesting is limited.

use crate::ottl::syntax::fault::TextFault;
use crate::ottl::syntax::lexer::{Token, TokenKind};
use crate::ottl::syntax::literal::Literal;

/// Nesting of parentheses, calls and lists.
const DEPTH_MAX: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compare {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sum {
    Add,
    Subtract,
    Multiply,
    Divide,
}

/// `["key"]`, `[0]` or an expression in brackets behind a name.
#[derive(Clone, Debug, PartialEq)]
pub enum PathKey {
    Name(String),
    Index(i64),
    Made(Box<LocatedTree>),
}

/// One part of a path: `attributes["k"]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Segment {
    pub name: String,
    pub keys: Vec<PathKey>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum SyntaxTree {
    Literal(Literal),
    List(Vec<LocatedTree>),
    /// `{"k": 1}`
    Map(Vec<(String, LocatedTree)>),
    /// `name=value` among arguments.
    Named(String, Box<LocatedTree>),
    /// An upper-case name.
    Enum(String),
    Path(Vec<Segment>),
    Call {
        name: String,
        arguments: Vec<LocatedTree>,
        keys: Vec<PathKey>,
    },
    Compare(Compare, Box<LocatedTree>, Box<LocatedTree>),
    Sum(Sum, Box<LocatedTree>, Box<LocatedTree>),
    /// A minus before what is no number.
    Negated(Box<LocatedTree>),
    And(Vec<LocatedTree>),
    Or(Vec<LocatedTree>),
    Not(Box<LocatedTree>),
}

/// A tree with its place: characters before it.
#[derive(Clone, Debug, PartialEq)]
pub struct LocatedTree {
    pub tree: SyntaxTree,
    pub at: usize,
}

/// The expressions that this one is made of.
pub fn parts(spot: &LocatedTree) -> Vec<&LocatedTree> {
    match &spot.tree {
        SyntaxTree::List(parts) | SyntaxTree::And(parts) | SyntaxTree::Or(parts) => parts.iter().collect(),
        SyntaxTree::Map(pairs) => pairs.iter().map(|(_, part)| part).collect(),
        SyntaxTree::Call { arguments, keys, .. } => arguments.iter().chain(made(keys)).collect(),
        SyntaxTree::Path(segments) => segments.iter().flat_map(|segment| made(&segment.keys)).collect(),
        SyntaxTree::Compare(_, left, right) | SyntaxTree::Sum(_, left, right) => vec![left, right],
        SyntaxTree::Not(part) | SyntaxTree::Negated(part) | SyntaxTree::Named(_, part) => vec![part],
        _ => Vec::new(),
    }
}

fn made(keys: &[PathKey]) -> impl Iterator<Item = &LocatedTree> {
    keys.iter().filter_map(|key| if let PathKey::Made(made) = key { Some(&**made) } else { None })
}

/// Parses a whole condition.
pub fn condition(tokens: &[Token]) -> Result<LocatedTree, TextFault> {
    let mut parser = Parser { tokens, next: 0, depth: 0 };
    let tree = parser.or()?;
    match parser.peek() {
        TokenKind::End => Ok(tree),
        _ => parser.fault("the condition should end here"),
    }
}

/// Parses a value alone.
pub fn value(tokens: &[Token]) -> Result<LocatedTree, TextFault> {
    let mut parser = Parser { tokens, next: 0, depth: 0 };
    let tree = parser.sum()?;
    match parser.peek() {
        TokenKind::End => Ok(tree),
        _ => parser.fault("the value should end here"),
    }
}

/// Parses a whole statement: the call, and the condition behind `where`.
pub fn statement(tokens: &[Token]) -> Result<(LocatedTree, Option<LocatedTree>), TextFault> {
    let mut parser = Parser { tokens, next: 0, depth: 0 };
    let at = parser.at();
    let call = match parser.advance() {
        TokenKind::Word(word) => parser.word(word, at, 0)?,
        _ => {
            return Err(TextFault {
                at,
                message: "a statement begins with the name of a function".to_owned(),
                not_built: false,
            });
        }
    };
    if !matches!(call.tree, SyntaxTree::Call { .. }) {
        return Err(TextFault { at, message: "a statement is the call of a function".to_owned(), not_built: false });
    }
    let condition = if parser.takes_word("where") { Some(parser.or()?) } else { None };
    match parser.peek() {
        TokenKind::End => Ok((call, condition)),
        _ if condition.is_none() => parser.fault("`where` or the end of the statement is expected"),
        _ => parser.fault("the statement should end here"),
    }
}

struct Parser<'a> {
    tokens: &'a [Token],
    next: usize,
    depth: usize,
}

impl Parser<'_> {
    fn peek(&self) -> &TokenKind {
        &self.tokens[self.next.min(self.tokens.len() - 1)].kind
    }

    fn at(&self) -> usize {
        self.tokens[self.next.min(self.tokens.len() - 1)].at
    }

    fn fault<T>(&self, message: &str) -> Result<T, TextFault> {
        Err(TextFault { at: self.at(), message: message.to_owned(), not_built: false })
    }

    fn advance(&mut self) -> TokenKind {
        let kind = self.peek().clone();
        self.next += 1;
        kind
    }

    fn takes_sign(&mut self, sign: &str) -> bool {
        let here = matches!(self.peek(), TokenKind::Sign(found) if *found == sign);
        self.next += usize::from(here);
        here
    }

    fn takes_word(&mut self, word: &str) -> bool {
        let here = matches!(self.peek(), TokenKind::Word(found) if found == word);
        self.next += usize::from(here);
        here
    }

    fn expect(&mut self, sign: &str) -> Result<(), TextFault> {
        if self.takes_sign(sign) { Ok(()) } else { self.fault(&format!("`{sign}` is missing")) }
    }

    fn deeper<T>(&mut self, inside: impl FnOnce(&mut Self) -> Result<T, TextFault>) -> Result<T, TextFault> {
        if self.depth == DEPTH_MAX {
            return self.fault("the condition nests too deep");
        }
        self.depth += 1;
        let outcome = inside(self);
        self.depth -= 1;
        outcome
    }

    fn or(&mut self) -> Result<LocatedTree, TextFault> {
        let at = self.at();
        let mut parts = vec![self.and()?];
        while self.takes_word("or") {
            parts.push(self.and()?);
        }
        Ok(one_or(parts, SyntaxTree::Or, at))
    }

    fn and(&mut self) -> Result<LocatedTree, TextFault> {
        let at = self.at();
        let mut parts = vec![self.not()?];
        while self.takes_word("and") {
            parts.push(self.not()?);
        }
        Ok(one_or(parts, SyntaxTree::And, at))
    }

    fn not(&mut self) -> Result<LocatedTree, TextFault> {
        let at = self.at();
        if self.takes_word("not") {
            let inner = self.deeper(Self::not)?;
            return Ok(LocatedTree { tree: SyntaxTree::Not(Box::new(inner)), at });
        }
        self.comparison()
    }

    fn comparison(&mut self) -> Result<LocatedTree, TextFault> {
        let at = self.at();
        let left = self.sum()?;
        let compare = match self.peek() {
            TokenKind::Sign("==") => Compare::Equal,
            TokenKind::Sign("!=") => Compare::NotEqual,
            TokenKind::Sign("<") => Compare::Less,
            TokenKind::Sign("<=") => Compare::LessOrEqual,
            TokenKind::Sign(">") => Compare::Greater,
            TokenKind::Sign(">=") => Compare::GreaterOrEqual,
            _ => return Ok(left),
        };
        self.next += 1;
        let right = self.sum()?;
        Ok(LocatedTree { tree: SyntaxTree::Compare(compare, Box::new(left), Box::new(right)), at })
    }

    fn sum(&mut self) -> Result<LocatedTree, TextFault> {
        let mut left = self.product()?;
        // Each step nests the tree once more.
        for _ in 0..DEPTH_MAX {
            let sum = match self.peek() {
                TokenKind::Sign("+") => Sum::Add,
                TokenKind::Sign("-") => Sum::Subtract,
                _ => return Ok(left),
            };
            let at = self.at();
            self.next += 1;
            let right = self.product()?;
            left = LocatedTree { tree: SyntaxTree::Sum(sum, Box::new(left), Box::new(right)), at };
        }
        self.fault("the sum is too long")
    }

    fn product(&mut self) -> Result<LocatedTree, TextFault> {
        let mut left = self.operand()?;
        // Each step nests the tree once more.
        for _ in 0..DEPTH_MAX {
            let sum = match self.peek() {
                TokenKind::Sign("*") => Sum::Multiply,
                TokenKind::Sign("/") => Sum::Divide,
                _ => return Ok(left),
            };
            let at = self.at();
            self.next += 1;
            let right = self.operand()?;
            left = LocatedTree { tree: SyntaxTree::Sum(sum, Box::new(left), Box::new(right)), at };
        }
        self.fault("the product is too long")
    }

    fn operand(&mut self) -> Result<LocatedTree, TextFault> {
        let at = self.at();
        let tree = match self.peek().clone() {
            TokenKind::Word(word) => return self.deeper(|parser| parser.word(word, at, 1)),
            TokenKind::Sign("(") if self.is_lambda() => {
                let message = "podgate does not have functions of functions (`(x) => ...`)".to_owned();
                return Err(TextFault { at, message, not_built: true });
            }
            TokenKind::Sign("(") => {
                self.next += 1;
                let inner = self.deeper(Self::or)?;
                self.expect(")")?;
                return Ok(inner);
            }
            TokenKind::Sign("[") => {
                self.next += 1;
                SyntaxTree::List(self.deeper(|parser| parser.arguments("]"))?)
            }
            TokenKind::Sign("{") => {
                self.next += 1;
                SyntaxTree::Map(self.deeper(Self::pairs)?)
            }
            TokenKind::Sign(sign @ ("-" | "+")) => {
                self.next += 1;
                self.deeper(|parser| parser.signed(sign))?
            }
            TokenKind::Text(text) => {
                self.next += 1;
                SyntaxTree::Literal(Literal::Text(text))
            }
            TokenKind::Int(number) => {
                self.next += 1;
                SyntaxTree::Literal(Literal::Int(number))
            }
            TokenKind::Float(number) => {
                self.next += 1;
                SyntaxTree::Literal(Literal::Float(number))
            }
            TokenKind::Bytes(bytes) => {
                self.next += 1;
                SyntaxTree::Literal(Literal::Bytes(bytes))
            }
            TokenKind::Sign(_) | TokenKind::End => return self.fault("a value is missing"),
        };
        Ok(LocatedTree { tree, at })
    }

    fn signed(&mut self, sign: &str) -> Result<SyntaxTree, TextFault> {
        let number = match (self.peek(), sign) {
            (TokenKind::Int(number), "-") => Some(SyntaxTree::Literal(Literal::Int(-number))),
            (TokenKind::Float(number), "-") => Some(SyntaxTree::Literal(Literal::Float(-number))),
            _ => None,
        };
        if let Some(number) = number {
            self.next += 1;
            return Ok(number);
        }
        let operand = self.operand()?;
        if sign == "-" { Ok(SyntaxTree::Negated(Box::new(operand))) } else { Ok(operand.tree) }
    }

    /// `(a, b) =>` follows.
    fn is_lambda(&self) -> bool {
        let behind = self.tokens.iter().skip(self.next + 1);
        let mut behind = behind
            .map(|token| &token.kind)
            .skip_while(|kind| matches!(kind, TokenKind::Word(_) | TokenKind::Sign(",")));
        behind.next() == Some(&TokenKind::Sign(")")) && behind.next() == Some(&TokenKind::Sign("=>"))
    }

    /// Values up to `end`, separated by commas.
    fn arguments(&mut self, end: &str) -> Result<Vec<LocatedTree>, TextFault> {
        let mut arguments = Vec::new();
        if self.takes_sign(end) {
            return Ok(arguments);
        }
        loop {
            arguments.push(self.argument(end)?);
            if self.takes_sign(end) {
                return Ok(arguments);
            }
            self.expect(",")?;
        }
    }

    fn argument(&mut self, end: &str) -> Result<LocatedTree, TextFault> {
        let at = self.at();
        let named = self.tokens.get(self.next + 1).is_some_and(|token| token.kind == TokenKind::Sign("="));
        let name = match self.peek() {
            TokenKind::Word(word) if named && end == ")" => word.clone(),
            _ => return self.or(),
        };
        self.next += 2;
        Ok(LocatedTree { tree: SyntaxTree::Named(name, Box::new(self.or()?)), at })
    }

    /// Keys and values up to `}`. Commas between them are at will, as upstream's grammar has it.
    fn pairs(&mut self) -> Result<Vec<(String, LocatedTree)>, TextFault> {
        let mut pairs = Vec::new();
        while !self.takes_sign("}") {
            let TokenKind::Text(key) = self.peek().clone() else { return self.fault("a key is a string") };
            self.next += 1;
            self.expect(":")?;
            pairs.push((key, self.or()?));
            self.takes_sign(",");
        }
        Ok(pairs)
    }

    /// `ahead` is 1 when the word itself is still to be passed.
    fn word(&mut self, word: String, at: usize, ahead: usize) -> Result<LocatedTree, TextFault> {
        self.next += ahead;
        let literal = match word.as_str() {
            "nil" => Some(SyntaxTree::Literal(Literal::Nil)),
            "true" => Some(SyntaxTree::Literal(Literal::Bool(true))),
            "false" => Some(SyntaxTree::Literal(Literal::Bool(false))),
            "and" | "or" | "not" => {
                return Err(TextFault { at, message: format!("a value is missing before `{word}`"), not_built: false });
            }
            _ => None,
        };
        if let Some(tree) = literal {
            return Ok(LocatedTree { tree, at });
        }
        if self.takes_sign("(") {
            let arguments = self.arguments(")")?;
            let keys = self.keys()?;
            return Ok(LocatedTree { tree: SyntaxTree::Call { name: word, arguments, keys }, at });
        }
        let upper = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
        if word.len() > 1 && word.chars().all(upper) {
            return Ok(LocatedTree { tree: SyntaxTree::Enum(word), at });
        }
        let mut segments = vec![Segment { name: word, keys: self.keys()? }];
        while self.takes_sign(".") {
            let TokenKind::Word(name) = self.advance() else {
                self.next -= 1;
                return self.fault("a name is missing after the dot");
            };
            segments.push(Segment { name, keys: self.keys()? });
        }
        Ok(LocatedTree { tree: SyntaxTree::Path(segments), at })
    }

    fn keys(&mut self) -> Result<Vec<PathKey>, TextFault> {
        let mut keys = Vec::new();
        while self.takes_sign("[") {
            let ends = self.tokens.get(self.next + 1).is_some_and(|token| token.kind == TokenKind::Sign("]"));
            let key = match self.peek().clone() {
                TokenKind::Text(name) if ends => {
                    self.next += 1;
                    PathKey::Name(name)
                }
                TokenKind::Int(index) if ends => {
                    self.next += 1;
                    PathKey::Index(index)
                }
                TokenKind::Sign("]") => return self.fault("a key is missing"),
                _ => PathKey::Made(Box::new(self.deeper(Self::sum)?)),
            };
            self.expect("]")?;
            if keys.len() == DEPTH_MAX {
                return self.fault("the keys nest too deep");
            }
            keys.push(key);
        }
        Ok(keys)
    }
}

fn one_or(mut parts: Vec<LocatedTree>, many: fn(Vec<LocatedTree>) -> SyntaxTree, at: usize) -> LocatedTree {
    if parts.len() == 1 { parts.remove(0) } else { LocatedTree { tree: many(parts), at } }
}

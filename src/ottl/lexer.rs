//! Words and signs of OTTL, each with its place. Knows no grammar.

use crate::ottl::Fault;

/// Longer conditions are refused.
const TEXT_MAX: usize = 64 << 10;

#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// A name or keyword.
    Word(String),
    Text(String),
    Bytes(Vec<u8>),
    Int(i64),
    Float(f64),
    /// One of `( ) [ ] { } . , : + - * / = == != < <= > >=`.
    Sign(&'static str),
    End,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Token {
    pub kind: Kind,
    /// Characters before it.
    pub at: usize,
}

/// Longer signs first.
const SIGNS: &[&str] =
    &["==", "!=", "<=", ">=", "<", ">", "(", ")", "[", "]", "{", "}", ".", ",", ":", "+", "-", "*", "/", "="];

/// All tokens, the last one [`Kind::End`].
pub fn tokens(text: &str) -> Result<Vec<Token>, Fault> {
    let chars: Vec<char> = text.chars().collect();
    if chars.len() > TEXT_MAX {
        return Err(Fault { at: 0, message: "the condition is too long".to_owned() });
    }
    let mut lexer = Lexer { chars: &chars, at: 0 };
    let mut tokens = Vec::new();
    loop {
        let token = lexer.next()?;
        let done = token.kind == Kind::End;
        tokens.push(token);
        if done {
            return Ok(tokens);
        }
    }
}

struct Lexer<'a> {
    chars: &'a [char],
    at: usize,
}

impl Lexer<'_> {
    fn fault<T>(&self, message: &str) -> Result<T, Fault> {
        Err(Fault { at: self.at, message: message.to_owned() })
    }

    fn peek(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.at + ahead).copied()
    }

    fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> String {
        let start = self.at;
        while self.peek(0).is_some_and(&wanted) {
            self.at += 1;
        }
        self.chars[start..self.at].iter().collect()
    }

    fn next(&mut self) -> Result<Token, Fault> {
        self.take_while(char::is_whitespace);
        let at = self.at;
        let kind = match self.peek(0) {
            None => Kind::End,
            Some('"') => self.text()?,
            Some(c) if c.is_ascii_digit() || (c == '.' && self.peek(1).is_some_and(|c| c.is_ascii_digit())) => {
                self.number()?
            }
            Some(c) if c.is_ascii_alphabetic() || c == '_' => {
                Kind::Word(self.take_while(|c| c.is_ascii_alphanumeric() || c == '_'))
            }
            Some(_) => self.sign()?,
        };
        Ok(Token { kind, at })
    }

    fn sign(&mut self) -> Result<Kind, Fault> {
        let here = |sign: &&&str| sign.chars().enumerate().all(|(ahead, c)| self.peek(ahead) == Some(c));
        match SIGNS.iter().find(here) {
            Some(sign) => {
                self.at += sign.len();
                Ok(Kind::Sign(sign))
            }
            None => self.fault("this character means nothing here"),
        }
    }

    fn text(&mut self) -> Result<Kind, Fault> {
        let start = self.at;
        self.at += 1;
        let mut text = String::new();
        loop {
            match (self.peek(0), self.peek(1)) {
                (Some('"'), _) => {
                    self.at += 1;
                    return Ok(Kind::Text(text));
                }
                (Some('\\'), Some(escaped)) => {
                    self.at += 2;
                    match escaped {
                        'n' => text.push('\n'),
                        't' => text.push('\t'),
                        'r' => text.push('\r'),
                        '"' | '\\' | '/' => text.push(escaped),
                        // Kept as written, so that regular expressions read naturally.
                        other => text.extend(['\\', other]),
                    }
                }
                (Some(c), _) => {
                    self.at += 1;
                    text.push(c);
                }
                (None, _) => return Err(Fault { at: start, message: "this string does not end".to_owned() }),
            }
        }
    }

    fn number(&mut self) -> Result<Kind, Fault> {
        let start = self.at;
        if self.peek(0) == Some('0') && self.peek(1) == Some('x') {
            self.at += 2;
            let digits = self.take_while(|c| c.is_ascii_hexdigit());
            let pairs = digits.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap_or_default());
            let bytes: Option<Vec<u8>> =
                pairs.map(|pair| u8::from_str_radix(pair, 16).ok().filter(|_| pair.len() == 2)).collect();
            return bytes.map(Kind::Bytes).ok_or(Fault { at: start, message: "bytes need pairs of digits".to_owned() });
        }
        let mut text = self.take_while(|c| c.is_ascii_digit());
        let mut whole = true;
        if self.peek(0) == Some('.') {
            whole = false;
            self.at += 1;
            text = format!("{text}.{}", self.take_while(|c| c.is_ascii_digit()));
        }
        if matches!(self.peek(0), Some('e' | 'E')) {
            whole = false;
            self.at += 1;
            text.push('e');
            if let Some(sign @ ('+' | '-')) = self.peek(0) {
                self.at += 1;
                text.push(sign);
            }
            text.push_str(&self.take_while(|c| c.is_ascii_digit()));
        }
        let kind = match whole {
            true => text.parse().ok().map(Kind::Int),
            false => text.parse().ok().map(Kind::Float),
        };
        kind.ok_or(Fault { at: start, message: "this is not a number".to_owned() })
    }
}

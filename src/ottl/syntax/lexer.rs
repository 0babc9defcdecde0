//! Words and signs of OTTL, each with its place. Knows no grammar.

use crate::ottl::syntax::fault::TextFault;

/// Longer conditions are refused.
const TEXT_MAX: usize = 64 << 10;

#[derive(Clone, Debug, PartialEq)]
pub enum TokenKind {
    /// A name or keyword.
    Word(String),
    Text(String),
    Bytes(Vec<u8>),
    Int(i64),
    Float(f64),
    /// One of `( ) [ ] { } . , : + - * / = == != < <= > >= =>`.
    Sign(&'static str),
    End,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Token {
    pub kind: TokenKind,
    /// Characters before it.
    pub at: usize,
}

/// Longer signs first.
const SIGNS: &[&str] =
    &["==", "!=", "<=", ">=", "=>", "<", ">", "(", ")", "[", "]", "{", "}", ".", ",", ":", "+", "-", "*", "/", "="];

/// All tokens, the last one [`TokenKind::End`].
pub fn tokens(text: &str) -> Result<Vec<Token>, TextFault> {
    let chars: Vec<char> = text.chars().collect();
    if chars.len() > TEXT_MAX {
        return Err(TextFault { at: 0, message: "the condition is too long".to_owned(), not_built: false });
    }
    let mut lexer = Lexer { chars: &chars, at: 0 };
    let mut tokens = Vec::new();
    loop {
        let token = lexer.next()?;
        let done = token.kind == TokenKind::End;
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
    fn fault<T>(&self, message: &str) -> Result<T, TextFault> {
        Err(TextFault { at: self.at, message: message.to_owned(), not_built: false })
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

    fn next(&mut self) -> Result<Token, TextFault> {
        self.take_while(char::is_whitespace);
        let at = self.at;
        let kind = match self.peek(0) {
            None => TokenKind::End,
            Some('"') => self.text()?,
            Some(c) if c.is_ascii_digit() || (c == '.' && self.peek(1).is_some_and(|c| c.is_ascii_digit())) => {
                self.number()?
            }
            Some(c) if c.is_ascii_alphabetic() || c == '_' => {
                TokenKind::Word(self.take_while(|c| c.is_ascii_alphanumeric() || c == '_'))
            }
            Some(_) => self.sign()?,
        };
        Ok(Token { kind, at })
    }

    fn sign(&mut self) -> Result<TokenKind, TextFault> {
        let here = |sign: &&&str| sign.chars().enumerate().all(|(ahead, c)| self.peek(ahead) == Some(c));
        match SIGNS.iter().find(here) {
            Some(sign) => {
                self.at += sign.len();
                Ok(TokenKind::Sign(sign))
            }
            None => self.fault(match self.peek(0) {
                Some('&') => "this character means nothing here; two conditions are joined by `and`",
                Some('|') => "this character means nothing here; of two conditions one is enough with `or`",
                Some('!') => "this character means nothing here; a condition is turned by `not`",
                Some('\'') => "a string stands in double quotes",
                _ => "this character means nothing here",
            }),
        }
    }

    /// A string with the escapes of Go's; any other is a fault there too. It may go on over lines.
    fn text(&mut self) -> Result<TokenKind, TextFault> {
        let start = self.at;
        self.at += 1;
        let mut text = Vec::new();
        loop {
            match (self.peek(0), self.peek(1)) {
                (Some('"'), _) => {
                    self.at += 1;
                    return Ok(TokenKind::Text(String::from_utf8_lossy(&text).into_owned()));
                }
                (Some('\\'), Some(escaped)) => self.escape(escaped, &mut text)?,
                (Some(c), _) => {
                    self.at += 1;
                    text.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                }
                (None, _) => {
                    return Err(TextFault {
                        at: start,
                        message: "this string does not end".to_owned(),
                        not_built: false,
                    });
                }
            }
        }
    }

    fn escape(&mut self, escaped: char, text: &mut Vec<u8>) -> Result<(), TextFault> {
        let plain = match escaped {
            'a' => Some(7),
            'b' => Some(8),
            'f' => Some(12),
            'n' => Some(b'\n'),
            'r' => Some(b'\r'),
            't' => Some(b'\t'),
            'v' => Some(11),
            '"' => Some(b'"'),
            '\\' => Some(b'\\'),
            _ => None,
        };
        if let Some(byte) = plain {
            text.push(byte);
            self.at += 2;
            return Ok(());
        }
        let (from, length, base) = match escaped {
            'x' => (2, 2, 16),
            'u' => (2, 4, 16),
            'U' => (2, 8, 16),
            '0'..='7' => (1, 3, 8),
            other => return self.fault(&format!("`\\{other}` is not an escape of a string; a backslash is `\\\\`")),
        };
        let digits: String = (from..from + length).filter_map(|ahead| self.peek(ahead)).collect();
        let value = u32::from_str_radix(&digits, base).ok().filter(|_| digits.len() == length);
        match (escaped, value, value.and_then(char::from_u32)) {
            ('u' | 'U', _, Some(c)) => text.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            ('x' | '0'..='7', Some(byte @ 0..=255), _) => text.push(byte as u8),
            _ => return self.fault("this escape of a string stands for no character"),
        }
        self.at += from + length;
        Ok(())
    }

    fn number(&mut self) -> Result<TokenKind, TextFault> {
        let start = self.at;
        if self.peek(0) == Some('0') && self.peek(1) == Some('x') {
            self.at += 2;
            let digits = self.take_while(|c| c.is_ascii_hexdigit());
            let pairs = digits.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap_or_default());
            let bytes: Option<Vec<u8>> =
                pairs.map(|pair| u8::from_str_radix(pair, 16).ok().filter(|_| pair.len() == 2)).collect();
            return bytes.map(TokenKind::Bytes).ok_or(TextFault {
                at: start,
                message: "bytes need pairs of digits".to_owned(),
                not_built: false,
            });
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
            // As Go reads numbers in programs.
            true if text.len() > 1 && text.starts_with('0') => i64::from_str_radix(&text, 8).ok().map(TokenKind::Int),
            true => text.parse().ok().map(TokenKind::Int),
            false => text.parse().ok().map(TokenKind::Float),
        };
        kind.ok_or(TextFault { at: start, message: "this is not a number".to_owned(), not_built: false })
    }
}

/// True when a function asks what the time is, or for chance.
pub fn asks_world(tokens: &[Token]) -> bool {
    // The last one spreads counts by chance.
    let names = ["Now", "Time", "UUID", "UUIDv7", "convert_exponential_histogram_to_histogram"];
    let asks = |kind: &TokenKind| matches!(kind, TokenKind::Word(word) if names.contains(&word.as_str()));
    tokens.iter().any(|token| asks(&token.kind))
}

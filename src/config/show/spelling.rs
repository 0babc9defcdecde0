//! A text read apart from how it is spelled: Debug, JSON and other printers escape the same letters in different ways.
//!
//! What is sought in a text is compared with the text as it stands, with its escapes taken back once, and twice. Letters that
//! printers escape or change (quotes, backslashes, control characters, case) do not count.

/// An escape within an escape is taken back, too: a statement within a JSON document within a finding.
const LEVELS: usize = 3;

/// Letters with the bytes of the text that spell them.
#[derive(Clone, Debug)]
struct Spelled {
    letter: char,
    begin: usize,
    end: usize,
}

/// The letters of a text that count, joined, and where each of their bytes stands in the text.
#[derive(Debug)]
pub struct LetterReading {
    pub letters: String,
    begins: Vec<usize>,
    ends: Vec<usize>,
}

impl LetterReading {
    /// The bytes of the text that spell this range of the letters; it must not be empty.
    pub fn bytes(&self, letters: std::ops::Range<usize>) -> std::ops::Range<usize> {
        self.begins[letters.start]..self.ends[letters.end - 1]
    }
}

/// The letters of `text` that count.
pub fn letters(text: &str) -> String {
    text.chars().filter_map(counted).collect()
}

/// All readings of a text, the one without escapes first. Linear in the text.
pub fn readings(text: &str) -> Vec<LetterReading> {
    let ends = |at: usize, letter: char| at + letter.len_utf8();
    let mut spelled: Vec<Spelled> =
        text.char_indices().map(|(begin, letter)| Spelled { letter, begin, end: ends(begin, letter) }).collect();
    let mut readings = vec![counting(&spelled)];
    while readings.len() < LEVELS && spelled.iter().any(|one| one.letter == '\\') {
        spelled = unescaped(&spelled);
        readings.push(counting(&spelled));
    }
    readings
}

/// `None` for what some printer escapes: quotes, backslashes and everything that is not seen, but a blank.
fn counted(letter: char) -> Option<char> {
    let counts = letter == ' ' || letter.is_alphanumeric() || letter.is_ascii_punctuation();
    (counts && !matches!(letter, '"' | '\'' | '`' | '\\')).then(|| letter.to_ascii_lowercase())
}

fn counting(spelled: &[Spelled]) -> LetterReading {
    let mut reading = LetterReading { letters: String::new(), begins: Vec::new(), ends: Vec::new() };
    for one in spelled {
        let Some(letter) = counted(one.letter) else { continue };
        reading.letters.push(letter);
        reading.begins.extend(std::iter::repeat_n(one.begin, letter.len_utf8()));
        reading.ends.extend(std::iter::repeat_n(one.end, letter.len_utf8()));
    }
    reading
}

/// One level of escapes taken back. What is no escape stays.
fn unescaped(spelled: &[Spelled]) -> Vec<Spelled> {
    let mut out = Vec::with_capacity(spelled.len());
    let mut at = 0;
    while at < spelled.len() {
        let (letter, length) = match spelled[at].letter {
            '\\' => escape(&spelled[at + 1..]).map_or(('\\', 1), |(letter, length)| (letter, length + 1)),
            letter => (letter, 1),
        };
        out.push(Spelled { letter, begin: spelled[at].begin, end: spelled[at + length - 1].end });
        at += length;
    }
    out
}

/// What a backslash before these letters makes of them, and how many of them it takes.
fn escape(rest: &[Spelled]) -> Option<(char, usize)> {
    match rest.first()?.letter {
        'n' => Some(('\n', 1)),
        'r' => Some(('\r', 1)),
        't' => Some(('\t', 1)),
        'b' | 'f' | '0' => Some(('\0', 1)),
        'x' => Some((number(rest.get(1..3)?)?, 3)),
        'u' if rest.get(1)?.letter == '{' => {
            // At most six digits are a letter.
            let close = rest.iter().take(9).position(|one| one.letter == '}')?;
            Some((number(&rest[2..close])?, close + 1))
        }
        'u' => Some((number(rest.get(1..5)?)?, 5)),
        letter if letter.is_ascii_punctuation() => Some((letter, 1)),
        _ => None,
    }
}

/// Half of a pair (JSON) reads as a letter that does not count.
fn number(digits: &[Spelled]) -> Option<char> {
    let digits: String = digits.iter().map(|one| one.letter).collect();
    Some(char::from_u32(u32::from_str_radix(&digits, 16).ok()?).unwrap_or('\0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_found_however_it_is_escaped() {
        let mut rng = fastrand::Rng::with_seed(11);
        let hostile = [
            '"', '\\', '\n', '\t', '\r', '\u{85}', '\u{200b}', '\'', 'n', 'u', '{', 'x', '0', '\u{e9}', 'A', '/', '\0',
        ];
        for _ in 0..20_000 {
            let value: String = (0..rng.usize(1..24)).map(|_| hostile[rng.usize(0..hostile.len())]).collect();
            let sought = letters(&value);
            for spelled in [
                value.clone(),
                format!("{value:?}"),
                format!("{:?}", format!("{value:?}")),
                value.escape_default().to_string(),
                serde_json::json!(value).to_string(),
                format!("{:?}", serde_json::json!(value).to_string()),
            ] {
                let text = format!("before {spelled} behind");
                assert!(readings(&text).iter().any(|one| one.letters.contains(&sought)), "{value:?} in {text}");
            }
        }
    }

    #[test]
    fn letters_know_the_bytes_that_spell_them() {
        let text = r#"a "S3\u{e9}cret\n" b"#;
        let reading = &readings(text)[1];
        let at = reading.letters.find("s3\u{e9}cret").unwrap_or_default();
        assert_eq!(&text[reading.bytes(at..at + "s3\u{e9}cret".len())], r"S3\u{e9}cret");
        assert_eq!(readings("plain").len(), 1);
    }
}

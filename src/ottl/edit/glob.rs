//! Glob patterns of `replace_match`: `*` any text, `?` one character, `[abc]` and `[!abc]` one of some, `{a,b}` either.
//!
//! Turned into a regular expression, so that matching stays linear (contrib uses a matcher without separators: `*` also
//! crosses slashes).

use regex::Regex;

/// Longer patterns are refused.
const TEXT_MAX: usize = 4 << 10;

/// The whole-text pattern of a glob; `None` when brackets do not fit.
pub fn compile(glob: &str) -> Option<Regex> {
    if glob.len() > TEXT_MAX {
        return None;
    }
    let mut pattern = String::from("(?s)^");
    let mut chars = glob.chars();
    let mut braces = 0;
    while let Some(c) = chars.next() {
        match c {
            '*' => pattern.push_str(".*"),
            '?' => pattern.push('.'),
            '\\' => pattern.push_str(&regex::escape(&chars.next()?.to_string())),
            '[' => {
                let inside: String = chars.by_ref().take_while(|c| *c != ']').collect();
                let (not, inside) = inside.strip_prefix('!').map_or(("", &inside[..]), |rest| ("^", rest));
                if inside.is_empty() || inside.contains(['[', '\\', '^', '&', '~']) {
                    return None;
                }
                pattern.push_str(&format!("[{not}{inside}]"));
            }
            '{' => {
                braces += 1;
                pattern.push_str("(?:");
            }
            '}' if braces > 0 => {
                braces -= 1;
                pattern.push(')');
            }
            ',' if braces > 0 => pattern.push('|'),
            other => pattern.push_str(&regex::escape(&other.to_string())),
        }
    }
    pattern.push('$');
    Regex::new(&pattern).ok().filter(|_| braces == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_match_whole_texts_and_stars_cross_slashes() {
        let cases = [
            ("*/*", "/health", true),
            ("*/*", "get", false),
            ("/user/*/list/*", "/user/1/2/list/3", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("[ab]x", "bx", true),
            ("[!ab]x", "bx", false),
            ("{get,put}/*", "put/1", true),
            ("a.c", "abc", false),
            ("1+1", "1+1", true),
        ];
        for (glob, text, expected) in cases {
            assert_eq!(compile(glob).unwrap().is_match(text), expected, "{glob} {text}");
        }
        for broken in ["{a", "[", "[]", "a\\"] {
            assert!(compile(broken).is_none(), "{broken}");
        }
    }
}

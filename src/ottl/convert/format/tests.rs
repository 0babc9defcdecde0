//! `Format` beside Go's answers.

use super::*;

/// What Go 1.26 gives for the values 7, "ab", 2.5, -4 and nil.
#[test]
fn values_by_their_numbers_and_widths_from_values_are_as_in_go() {
    let values =
        [OttlValue::Int(7), OttlValue::Text("ab".into()), OttlValue::Float(2.5), OttlValue::Int(-4), OttlValue::Nil];
    for (pattern, wanted) in [
        ("%[1]d", "7"),
        ("%[2]s %[1]d", "ab 7"),
        ("%[2]s %d", "ab %!d(float64=2.5)"),
        ("%[2]s %s", "ab %!s(float64=2.5)"),
        ("%[2]s %[2]q", "ab \"ab\""),
        ("%[1]d %[1]x %[1]o", "7 7 7"),
        ("%[9]d", "%!d(BADINDEX)"),
        ("%[0]d", "%!d(BADINDEX)"),
        ("%[x]d", "%!d(BADINDEX)"),
        ("%[]d", "%!d(BADINDEX)"),
        ("%[1d", "%!d(BADINDEX)"),
        ("%[", "%!(NOVERB)"),
        ("%[1]", "%!(NOVERB)"),
        ("%*d", "%!d(string=     ab)%!(EXTRA float64=2.5, int64=-4, <nil>)"),
        ("%*s", "     ab%!(EXTRA float64=2.5, int64=-4, <nil>)"),
        ("%[1]*[2]s|", "     ab|"),
        ("%[4]*[2]s|", "ab  |"),
        ("%[4]*[1]d|", "7   |"),
        ("%0[4]*[1]d|", "7   |"),
        ("%[1]*d", "%!d(string=     ab)"),
        ("%.*f", "%!f(string=ab)%!(EXTRA float64=2.5, int64=-4, <nil>)"),
        ("%[1]*.[1]*[3]f|", "2.5000000|"),
        ("%[1]*.2f|", "%!f(string=     ab)|"),
        ("%[1]6d", "%!d(BADINDEX)"),
        ("%[3].1f", "%!f(BADINDEX)"),
        ("%.[1]*[3]f|", "2.5000000|"),
        ("%.[4]*[3]f|", "%!(BADPREC)2.500000|"),
        ("%[2]*d|", "%!(BADWIDTH)%!d(float64=2.5)|"),
        ("%.[2]*[3]f|", "%!(BADPREC)2.500000|"),
        ("%[3]d %[1]d", "%!d(float64=2.5) 7"),
        ("%[5]v", "<nil>"),
        ("%[1]%", "%"),
        ("%[9]%", "%"),
        ("%[1]d%d", "7%!d(string=ab)"),
        ("100%% %[1]d", "100% 7"),
        ("%[5]*d", "%!(BADWIDTH)%!d(MISSING)"),
        ("%-*s|", "ab     |%!(EXTRA float64=2.5, int64=-4, <nil>)"),
        ("%-[1]*[2]s|", "ab     |"),
        ("%\u{e9}", "%!\u{e9}(int64=7)%!(EXTRA string=ab, float64=2.5, int64=-4, <nil>)"),
        ("%[2]\u{e9}", "%!\u{e9}(string=ab)"),
        ("%[1]*", "%!(NOVERB)"),
        ("%.*", "%!(NOVERB)%!(EXTRA string=ab, float64=2.5, int64=-4, <nil>)"),
        ("%.[1]", "%!(NOVERB)"),
        ("%*[2]d", "%!d(string=     ab)"),
        ("%[2]s%[2]s%[2]s", "ababab"),
        ("%q %q %[2]x", "'\\a' \"ab\" 6162"),
        ("%+v %#v %[3]v %+[4]d", "7 \"ab\" 2.5 -4"),
        ("%+d|% x|%[2]X", "+7|61 62|6162"),
        ("%5.1[2]f|%+[1]s|%[5]d", "%!f(string=    a)|%!s(int64=+7)|%!d(<nil>)"),
        ("%#[1]o %#[1]b %#[1]X %.3[1]d %06[4]d %-6[1]d|", "07 0b111 0X7 007 -00004 7     |"),
        ("%[1]U %[1]T %[2]T %[5]T", "U+0007 int64 string <nil>"),
        ("%.", "%!.(int64=7)%!(EXTRA string=ab, float64=2.5, int64=-4, <nil>)"),
        ("%[]", "%!](BADINDEX)"),
        ("%d %s", "7 ab%!(EXTRA float64=2.5, int64=-4, <nil>)"),
        ("%d", "7%!(EXTRA string=ab, float64=2.5, int64=-4, <nil>)"),
    ] {
        let made = format(pattern, &values).unwrap();
        assert_eq!(made.to_text().unwrap().as_deref(), Some(wanted), "{pattern}");
    }
}

#[test]
fn a_width_beyond_the_bound_is_refused_wherever_it_comes_from() {
    let (wide, narrow) = (OttlValue::Int(1_001), OttlValue::Int(1_000));
    for pattern in ["%*d", "%.*d", "%[1]*[1]d", "%1001d", "%.1001d", "%99999999999999999999999d"] {
        assert!(format(pattern, &[wide.clone(), OttlValue::Int(1)]).is_err(), "{pattern}");
    }
    assert!(format("%*d", &[OttlValue::Int(i64::MIN), OttlValue::Int(1)]).is_err());
    assert!(format("%*d", &[narrow, OttlValue::Int(1)]).is_ok());
}

#[test]
fn no_pattern_makes_it_panic() {
    let mut random = fastrand::Rng::with_seed(11);
    let letters: Vec<char> = "%[]*.0123-+ #dsvxq\u{e9}".chars().collect();
    let values = [OttlValue::Int(3), OttlValue::Text("ab".into()), OttlValue::Int(-2)];
    for _ in 0..50_000 {
        let pattern: String = (0..random.usize(0..12)).map(|_| letters[random.usize(0..letters.len())]).collect();
        let _ = format(&pattern, &values[..random.usize(0..=3)]);
    }
}

//! The list of pages for a browser: plain HTML without scripts or styles, every text escaped. Pure.

/// Title, links and what each page shows; `title` and `about` may hold anything.
pub fn html(title: &str, pages: &[(String, &str)]) -> String {
    let row = |(path, about): &(String, &str)| {
        let path = escaped(path);
        format!("<tr><td><a href=\"{path}\">{path}</a></td><td>{}</td></tr>\n", escaped(about))
    };
    let title = escaped(title);
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title></head>\n\
         <body><h1>{title}</h1>\n<table>\n{}</table>\n<p>Every page is JSON; podgate status, balance, pods, sampling, top and \
         explain show them as text.</p></body></html>\n",
        pages.iter().map(row).collect::<String>()
    )
}

/// Whether an `Accept` header asks for a page to look at.
pub fn is_wanted(accept: Option<&str>) -> bool {
    accept.is_some_and(|kinds| {
        kinds.split(',').any(|kind| kind.split(';').next().is_some_and(|kind| kind.trim() == "text/html"))
    })
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_becomes_markup() {
        let evil = "\"><script>alert('x')</script>&";
        let page = html(evil, &[(evil.to_owned(), "<b>bold</b>")]);
        assert!(!page.contains("<script") && !page.contains("<b>") && !page.contains("alert('"), "{page}");
        assert_eq!(page.matches("&lt;script&gt;alert(&#39;x&#39;)").count(), 4, "{page}");
    }

    #[test]
    fn only_who_asks_for_html_is_given_it() {
        let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
        for (accept, wanted) in [
            (Some(browser), true),
            (Some("application/json, text/html;q=0.5"), true),
            (Some("*/*"), false),
            (None, false),
        ] {
            assert_eq!(is_wanted(accept), wanted, "{accept:?}");
        }
    }
}

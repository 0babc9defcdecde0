//! Who may change something: whoever knows the text of the token's file and is no web page.

use std::path::Path;

use ring::digest::{SHA256, digest};
use tokio::io::AsyncReadExt;

use crate::core::report::routes::Page;
use crate::net::pages::page::PageRequest;

/// A shorter token could be guessed; a longer file is none.
const TOKEN_BYTES: std::ops::RangeInclusive<usize> = 16..=4_096;

/// The error is the answer: 405, 403 or 401.
pub async fn allows(request: &PageRequest, token_file: Option<&Path>) -> Result<(), Page> {
    if request.method != "POST" {
        return Err(Page::error(405, "this changes something: use POST"));
    }
    if request.header("origin").is_some() {
        // A browser says where its page comes from; podgate's own commands do not.
        return Err(Page::error(403, "web pages may change nothing here"));
    }
    let Some(path) = token_file else {
        let why = "nothing can be changed through this page: name a file with a token as `token_file` of the extension `admin`, \
                   or send SIGHUP to reload";
        return Err(Page::error(403, why));
    };
    let token = read(path).await.map_err(|why| Page::error(403, &format!("the gateway's `token_file`: {why}")))?;
    let given = request.header("authorization").and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
    // Digests are compared, so that how long it takes tells nothing of the token.
    let digests = [&token, given].map(|text| digest(&SHA256, text.trim().as_bytes()));
    if digests[0].as_ref() == digests[1].as_ref() {
        return Ok(());
    }
    Err(Page::error(401, "the token is missing or is not the one of `token_file`"))
}

async fn read(path: &Path) -> Result<String, String> {
    let file = tokio::fs::File::open(path).await.map_err(|error| error.to_string())?;
    let mut text = String::new();
    let most = *TOKEN_BYTES.end() as u64 + 1;
    file.take(most).read_to_string(&mut text).await.map_err(|error| error.to_string())?;
    match text.trim() {
        token if TOKEN_BYTES.contains(&token.len()) => Ok(token.to_owned()),
        token => Err(format!("a token has 16 to 4096 characters, and this one {}", token.len())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: &str, headers: &[(&str, &str)]) -> PageRequest {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let (path, query, body) = ("/v1/reload".to_owned(), std::collections::BTreeMap::new(), bytes::Bytes::new());
        PageRequest { method: method.to_owned(), path, query, headers, body }
    }

    #[tokio::test]
    async fn only_a_post_with_the_token_and_without_an_origin_changes_something() {
        let folder = tempfile::tempdir().unwrap();
        let (file, short) = (folder.path().join("token"), folder.path().join("short"));
        std::fs::write(&file, "0123456789abcdef\n").unwrap();
        std::fs::write(&short, "guessable").unwrap();
        let good = ("authorization", "Bearer 0123456789abcdef");
        let table: [(PageRequest, Option<&Path>, u16); 8] = [
            (request("POST", &[good]), Some(&file), 200),
            (request("GET", &[good]), Some(&file), 405),
            (request("POST", &[good, ("origin", "http://localhost:13134")]), Some(&file), 403),
            (request("POST", &[good]), None, 403),
            (request("POST", &[("authorization", "Bearer guessable")]), Some(&short), 403),
            (request("POST", &[good]), Some(&folder.path().join("none")), 403),
            (request("POST", &[("authorization", "Bearer 0123456789abcdeX")]), Some(&file), 401),
            (request("POST", &[]), Some(&file), 401),
        ];
        for (at, (request, token_file, status)) in table.into_iter().enumerate() {
            let answer = allows(&request, token_file).await;
            assert_eq!(answer.map_or_else(|page| page.status, |()| 200), status, "row {at}");
        }
    }
}

//! `metadata_keys`: the request headers whose values keep the data of senders apart.

use crate::config::check::Section;

/// Names of request headers that keep requests apart, in lower case.
pub fn metadata_keys(keys: &Section<'_>) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for name in keys.strings("metadata_keys").unwrap_or_default() {
        let name = name.to_ascii_lowercase();
        if names.contains(&name) {
            let message = format!("{name:?} stands there twice (case does not count)");
            keys.invalid::<()>("metadata_keys", message, "each header once");
        } else if http::HeaderName::try_from(&name).is_err() {
            keys.invalid::<()>("metadata_keys", format!("{name:?} is not a header name"), "names of request headers");
        } else {
            names.push(name); // granted: the configuration's own text
        }
    }
    names
}

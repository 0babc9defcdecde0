//! `auth: {authenticator: ID}`: a reference to the extension that checks requests, or adds credentials to them (the
//! Collector's configauth).

use crate::config::check::Section;
use crate::core::node::Node;
use crate::core::stage::auth::AuthSide;
use crate::core::stage::component::ComponentId;
use crate::core::stage::factory::Checks;

/// The id of the authenticator. Whether an extension of that id runs is seen when all components are known.
pub fn authenticator(section: &Section<'_>, checks: &Checks, side: AuthSide) -> Option<String> {
    section.node("auth").filter(|node: &&Node| !node.is_null())?;
    let keys = section.section("auth")?;
    if side == AuthSide::Server {
        keys.not_yet(&["request_params"]);
    }
    let written = keys.string("authenticator").filter(|text| !text.is_empty());
    let id = match written.as_deref().map(ComponentId::parse) {
        None => keys.missing("authenticator", "the id of an extension that authenticates, such as bearertokenauth"),
        Some(None) => {
            let message = format!("{:?} is no id", written.unwrap_or_default());
            keys.invalid("authenticator", message, "the id of an extension, such as bearertokenauth")
        }
        Some(id) => id,
    };
    if let Some(id) = &id {
        let (path, place) = (keys.child_path("authenticator"), keys.place_of("authenticator"));
        checks.authenticators.borrow_mut().push((id.clone(), side, path, place));
    }
    keys.finish();
    id.map(|id| id.to_string())
}

//! `auth: {authenticator: ID}`: a reference to the extension that checks requests, or adds credentials to them (the
//! Collector's configauth).

use crate::config::check::Section;
use crate::core::node::{Node, Place};
use crate::core::stage::auth::AuthSide;
use crate::core::stage::component::ComponentId;
use crate::core::stage::factory::Checks;

/// A reference as it is written.
#[derive(Clone, Debug, PartialEq)]
pub struct AuthReference {
    pub id: ComponentId,
    pub side: AuthSide,
    /// `receivers::otlp::protocols::grpc::auth::authenticator`
    pub path: String,
    pub place: Place,
}

/// The id of the authenticator. Whether an extension of that id runs is seen when all components are known.
pub fn authenticator(section: &Section<'_>, checks: &Checks, side: AuthSide) -> Option<String> {
    let reference = reference(section, side)?;
    let id = reference.id.to_string();
    reference.enter(checks);
    Some(id)
}

impl AuthReference {
    /// Has it looked at when all components are known.
    pub fn enter(self, checks: &Checks) {
        checks.authenticators.borrow_mut().push((self.id, self.side, self.path, self.place));
    }
}

/// Reads `auth`; `None` where there is none, or after an error.
pub fn reference(section: &Section<'_>, side: AuthSide) -> Option<AuthReference> {
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
    let (path, place) = (keys.child_path("authenticator"), keys.place_of("authenticator"));
    keys.finish();
    id.map(|id| AuthReference { id, side, path, place })
}

//! `basicauth`: user and password (RFC 7617), checked against an htpasswd by receivers, or sent by exporters.
//!
//! ```yaml
//! basicauth/server:
//!   htpasswd: {file: /etc/podgate/htpasswd}
//! basicauth/client:
//!   client_auth: {username: podgate, password: "${env:PASSWORD}"}
//! ```

use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use http::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use tokio::time::Instant;

use crate::config::check::Section;
use crate::config::value::secret::Secret;
use crate::core::data::origin::Origin;
use crate::core::data::payload::Signal;
use crate::core::error::StartError;
use crate::core::node::Node;
use crate::core::report::status::State;
use crate::core::stage::auth::{AuthSide, ClientAuth};
use crate::core::stage::component::{Component, Task};
use crate::core::stage::factory::{About, BuildContext, CheckContext, ExtensionFactory, ExtensionPlan};
use crate::extensions::authenticators::credential_file::{FileWatches, read};
use crate::extensions::authenticators::htpasswd::Users;
use crate::extensions::authenticators::passwords::Passwords;
use crate::extensions::authenticators::report::CheckCounts;
use crate::otlp::json::base64;

pub const FACTORY: ExtensionFactory = ExtensionFactory {
    about: About {
        name: "basicauth",
        aliases: &[],
        signals: &Signal::ALL,
        summary: "checks users and passwords of an htpasswd, or sends a user and a password",
        example: "htpasswd: {file: /etc/podgate/htpasswd}\n",
    },
    check,
};

/// A text of the configuration, or of a file that may change.
#[derive(Clone, Debug)]
enum CredentialText {
    Given(Secret),
    File(PathBuf, &'static str),
}

#[derive(Clone, Debug)]
enum Settings {
    Server { file: Option<PathBuf>, inline: Secret },
    Client { username: CredentialText, password: CredentialText },
}

struct Plan(Settings);

fn check(cx: &CheckContext<'_>, body: &Node) -> Option<Box<dyn ExtensionPlan>> {
    let keys = Section::new(body, &cx.path, &cx.checks.diagnostics);
    let read = |key: &str, read: fn(&Section<'_>) -> Option<Settings>| {
        keys.section(key).map(|keys| {
            let settings = read(&keys);
            keys.finish();
            settings
        })
    };
    let (htpasswd, client_auth) = (read("htpasswd", server), read("client_auth", client));
    let settings = match (htpasswd, client_auth) {
        (Some(_), Some(_)) => {
            keys.invalid("client_auth", "`client_auth` beside `htpasswd`", "one of the two; declare a second extension")
        }
        (None, None) => keys.missing("htpasswd", "`htpasswd` for receivers, or `client_auth` for exporters"),
        (server, client) => server.or(client).flatten(),
    };
    keys.finish();
    settings.map(|settings| Box::new(Plan(settings)) as _)
}

fn server(keys: &Section<'_>) -> Option<Settings> {
    let file = keys.string("file").filter(|path| !path.is_empty()).map(PathBuf::from);
    let inline = keys.string("inline").filter(|text| !text.is_empty());
    if file.is_none() && inline.is_none() {
        return keys.missing("file", "`file` or `inline`, with a line user:hash for each user");
    }
    if let Some(Err(why)) = inline.as_deref().map(Users::parse) {
        return keys.invalid("inline", why, "lines as `htpasswd -nB USER` writes them");
    }
    Some(Settings::Server { file, inline: Secret::new(inline.unwrap_or_default()) })
}

fn client(keys: &Section<'_>) -> Option<Settings> {
    let text = |inline: &'static str, file: &'static str| {
        let given = keys.string(inline).filter(|text| !text.is_empty());
        let path = keys.string(file).filter(|path| !path.is_empty());
        match (given, path) {
            // As in the Collector, the file goes first.
            (_, Some(path)) => Some(CredentialText::File(PathBuf::from(path), file)),
            (Some(text), None) => Some(CredentialText::Given(Secret::new(text))),
            (None, None) => None,
        }
    };
    let (username, password) = (text("username", "username_file"), text("password", "password_file"));
    if matches!(&username, Some(CredentialText::Given(name)) if name.expose().contains(':')) {
        return keys.invalid("username", "a user's name cannot hold a colon", "a name without colons (RFC 7617)");
    }
    let Some(username) = username else { return keys.missing("username", "`username` or `username_file`") };
    let Some(password) = password else { return keys.missing("password", "`password` or `password_file`") };
    Some(Settings::Client { username, password })
}

impl ExtensionPlan for Plan {
    fn build(&self, cx: BuildContext) -> Arc<dyn Component> {
        let checked = Arc::new(CheckCounts::new(&cx.host.stats, &cx.id.to_string()));
        let files = FileWatches::new(&cx);
        Arc::new(BasicExtension { settings: self.0.clone(), cx, checked, files })
    }

    fn authenticates(&self) -> &[AuthSide] {
        match self.0 {
            Settings::Server { .. } => &[AuthSide::Server],
            Settings::Client { .. } => &[AuthSide::Client],
        }
    }
}

/// What exporters send.
struct BasicClient {
    username: ArcSwap<String>,
    password: ArcSwap<Secret>,
}

impl BasicClient {
    fn header(&self) -> Result<HeaderValue, String> {
        let (username, password) = (self.username.load(), self.password.load());
        let mut text = b"Basic ".to_vec();
        base64::encode(&mut text, format!("{username}:{}", password.expose()).as_bytes());
        let mut value = HeaderValue::from_bytes(&text).map_err(|error| error.to_string())?;
        value.set_sensitive(true);
        Ok(value)
    }
}

impl ClientAuth for BasicClient {
    fn headers<'a>(
        &'a self,
        _: &'a HeaderMap,
        _: Option<&'a Origin>,
        _: Instant,
    ) -> Task<'a, Result<HeaderMap, String>> {
        let headers = self.header().map(|value| HeaderMap::from_iter([(AUTHORIZATION, value)]));
        Box::pin(std::future::ready(headers))
    }
}

/// A user's name as a file holds it.
fn name_of(text: &str) -> Result<String, String> {
    match text.trim() {
        "" => Err("username_file: it is empty".to_owned()),
        name if name.contains(':') => Err("username_file: a user's name cannot hold a colon".to_owned()),
        name => Ok(name.to_owned()),
    }
}

fn password_of(text: &str) -> Result<Secret, String> {
    match text.trim() {
        "" => Err("password_file: it is empty".to_owned()),
        password => Ok(Secret::new(password)),
    }
}

struct BasicExtension {
    settings: Settings,
    cx: BuildContext,
    checked: Arc<CheckCounts>,
    files: FileWatches,
}

impl BasicExtension {
    async fn serve(&self, file: Option<&PathBuf>, inline: &Secret) -> Result<(), String> {
        // As in the Collector: what stands in the configuration goes over what stands in the file.
        let inline = inline.clone();
        let all = move |text: &str| Users::parse(&format!("{text}\n{}", inline.expose()));
        let (host, id) = (&self.cx.host, self.cx.id.to_string());
        let text = match file {
            Some(file) => Some((file, read(file, "htpasswd::file").await?)),
            None => None,
        };
        let first = all(text.as_ref().map_or("", |(_, text)| text));
        let first = first.map_err(|why| format!("htpasswd: {why}"))?;
        let passwords = Arc::new(Passwords::new(first, self.checked.clone())?);
        host.authenticators.serve(&id, passwords.clone());
        if let Some((file, text)) = text {
            let renew = move |text: &str| {
                passwords.renew(all(text).map_err(|why| format!("htpasswd::file: {why}"))?);
                Ok(())
            };
            self.files.watch(file.clone(), "htpasswd::file", text, renew);
        }
        Ok(())
    }

    async fn first(&self, text: &CredentialText) -> Result<String, String> {
        match text {
            CredentialText::Given(text) => Ok(text.expose().to_owned()),
            CredentialText::File(file, key) => read(file, key).await,
        }
    }

    async fn send(&self, username: &CredentialText, password: &CredentialText) -> Result<(), String> {
        let (name, word) = (self.first(username).await?, self.first(password).await?);
        let client = Arc::new(BasicClient {
            username: ArcSwap::from_pointee(name_of(&name)?),
            // What the configuration gives is sent as it stands; a file ends with a line break.
            password: ArcSwap::from_pointee(match password {
                CredentialText::Given(password) => password.clone(),
                CredentialText::File(..) => password_of(&word)?,
            }),
        });
        self.cx.host.authenticators.send(&self.cx.id.to_string(), client.clone());
        if let CredentialText::File(file, key) = username {
            let client = client.clone();
            let renew = move |text: &str| {
                client.username.store(Arc::new(name_of(text)?));
                Ok(())
            };
            self.files.watch(file.clone(), key, name, renew);
        }
        if let CredentialText::File(file, key) = password {
            let renew = move |text: &str| {
                client.password.store(Arc::new(password_of(text)?));
                Ok(())
            };
            self.files.watch(file.clone(), key, word, renew);
        }
        Ok(())
    }
}

impl Component for BasicExtension {
    fn start(&self) -> Task<'_, Result<(), StartError>> {
        Box::pin(async move {
            let started = match &self.settings {
                Settings::Server { file, inline } => self.serve(file.as_ref(), inline).await,
                Settings::Client { username, password } => self.send(username, password).await,
            };
            started.map_err(|message| StartError {
                component: self.cx.path.clone(),
                message,
                help: Some("files are read when podgate starts; mount the secret that holds them".to_owned()),
            })?;
            self.cx.host.status.set(&self.cx.path, State::Ok, "");
            Ok(())
        })
    }

    fn drain(&self, _: Instant) -> Task<'_, ()> {
        Box::pin(self.files.end())
    }
}

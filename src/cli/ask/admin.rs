//! The client of the admin page: one request over HTTP/1.0, which ends with the connection. Blocking, bounded in time and size.

use std::fmt;
use std::io::{self, Read};
use std::net::{TcpStream, ToSocketAddrs};
use std::path::Path;
use std::time::Duration;

use clap::Args;
use serde_json::Value;

use crate::cli::ask::locked::{self, LockArgs};
use crate::net::client::settings::TlsSettings;
use crate::telemetry::stdout::Format;

/// A page is at most as long as a thousand pods.
const ANSWER_BYTES_MAX: u64 = 16 << 20;
const TIMEOUT: Duration = Duration::from_secs(5);
/// A reload may wait for what earlier ones left to end.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(60);

#[derive(Clone, Debug, Args)]
pub struct AdminArgs {
    /// Where the gateway's admin extension listens; in a pod: kubectl exec PODGATE-POD -- /podgate status
    /// https:// in front where it has `tls`
    #[arg(long, env = "PODGATE_ADMIN", value_name = "HOST:PORT", default_value = "127.0.0.1:13134")]
    pub admin: String,
    #[command(flatten)]
    pub lock: LockArgs,
    /// Text for people, or the page as it is
    #[arg(long, value_enum, default_value = "text")]
    pub format: Format,
}

/// Why there is no page.
#[derive(Debug)]
pub enum AdminFault {
    /// Nobody answers as an admin page does.
    Silent { admin: String, why: String },
    /// The two do not agree on TLS.
    Tls { admin: String, why: String },
    /// It wants a credential, or another one.
    Locked { admin: String, credential: bool },
    /// It was not asked: what it was to be asked by cannot be used.
    Unusable(String),
    /// It answers that there is no such thing; the sentence is its own.
    Refused { status: u16, why: String },
}

impl fmt::Display for AdminFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AdminFault::Silent { admin, why } => write!(
                f,
                "no answer from the admin page at {admin}: {why}\n  -> is podgate running here? In a cluster it listens \
                 inside its pod alone: kubectl exec, or kubectl port-forward and --admin"
            ),
            AdminFault::Tls { admin, why } => write!(
                f,
                "no TLS with the admin page at {admin}: {why}\n  -> is --admin-ca its authority and --admin-server-name \
                 a name of its certificate, and does it ask for one (--admin-cert, --admin-key)?"
            ),
            AdminFault::Locked { admin, credential: false } => write!(
                f,
                "the admin page at {admin} asks for a credential (401), because it has `auth`\n  -> give \
                 --admin-credential-file a file with a token, USER:PASSWORD, or a whole value such as `ApiKey KEY`"
            ),
            AdminFault::Locked { admin, credential: true } => write!(
                f,
                "the admin page at {admin} refuses the credential (401 or 403)\n  -> look whether the file of \
                 --admin-credential-file holds what its authenticator takes"
            ),
            AdminFault::Unusable(why) | AdminFault::Refused { why, .. } => f.write_str(why),
        }
    }
}

/// Where the page is, and by what it is asked.
struct Door<'a> {
    /// `host:port`
    address: &'a str,
    tls: Option<TlsSettings>,
    /// A whole line of a request's head.
    credential: String,
}

impl AdminArgs {
    fn door(&self) -> Result<Door<'_>, AdminFault> {
        let (https, address) = match self.admin.split_once("://") {
            None => (false, self.admin.as_str()),
            Some((scheme, address)) if ["http", "https"].contains(&scheme) => {
                (scheme == "https", address.trim_end_matches('/'))
            }
            Some((scheme, _)) => {
                return Err(AdminFault::Unusable(format!(
                    "--admin {scheme}://: expected HOST:PORT or https://HOST:PORT"
                )));
            }
        };
        let credential =
            self.lock.credential().map_err(|why| AdminFault::Unusable(format!("--admin-credential-file {why}")))?;
        let credential = credential.map(|value| format!("Authorization: {value}\r\n")).unwrap_or_default();
        Ok(Door { address, tls: self.lock.tls(https), credential })
    }
}

/// The page at `path` (with its query).
pub fn get(args: &AdminArgs, path: &str) -> Result<Value, AdminFault> {
    let door = args.door()?;
    let (address, credential) = (door.address, &door.credential);
    let request = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\nConnection: close\r\n{credential}\r\n");
    answer_to(&door, path, ask(&door, request.as_bytes(), TIMEOUT))
}

/// The line of a token file.
pub fn token(path: &Path) -> Result<String, String> {
    let read = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    match read.trim() {
        token if !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic()) => Ok(token.to_owned()),
        _ => Err(format!("{}: a token file is one line of letters without blanks", path.display())),
    }
}

/// What a change came to; `token` is the line of the admin extension's token file, and all that a change asks for.
pub fn post(args: &AdminArgs, path: &str, token: &str, body: &str) -> Result<Value, AdminFault> {
    let door = args.door()?;
    let (address, length) = (door.address, body.len());
    let request = format!(
        "POST {path} HTTP/1.0\r\nHost: {address}\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    );
    answer_to(&door, path, ask(&door, request.as_bytes(), CHANGE_TIMEOUT))
}

fn answer_to(door: &Door<'_>, path: &str, answer: io::Result<Vec<u8>>) -> Result<Value, AdminFault> {
    let admin = door.address;
    let silent = |why: String| AdminFault::Silent { admin: admin.to_owned(), why };
    let answer = answer.map_err(|error| match error.kind() {
        io::ErrorKind::InvalidData => AdminFault::Tls { admin: admin.to_owned(), why: error.to_string() },
        _ => silent(error.to_string()),
    })?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(|| silent("the answer is no HTTP".to_owned()))?;
    let status = head.lines().next().and_then(|line| line.split(' ').nth(1)?.parse().ok()).unwrap_or(0u16);
    let page: Result<Value, _> = serde_json::from_str(body.trim());
    match (status, page) {
        (200, Ok(page)) => Ok(page),
        (200, Err(error)) => Err(silent(format!("the answer is not JSON: {error}"))),
        // A change has a token of its own, and its refusal says so.
        (401 | 403, page)
            if (status == 401 || !door.credential.is_empty())
                && page.as_ref().map_or(true, |page| page["error"].as_str().is_none()) =>
        {
            Err(AdminFault::Locked { admin: admin.to_owned(), credential: !door.credential.is_empty() })
        }
        (400, Err(_)) if body.contains("use https://") => {
            Err(silent("it speaks TLS; write --admin https://HOST:PORT, with --admin-ca for its authority".to_owned()))
        }
        (status, page) => {
            let page = page.unwrap_or_default();
            let why = match (page["error"].as_str(), page["pages"].is_object()) {
                (Some(why), _) => why.to_owned(),
                (None, true) => {
                    let page = path.split('?').next().unwrap_or(path);
                    format!("there is no page {page}: no component of the configuration that runs there has one")
                }
                (None, false) => format!("{admin} answers {status}: {}", body.trim()),
            };
            Err(AdminFault::Refused { status, why })
        }
    }
}

fn ask(door: &Door<'_>, request: &[u8], patience: Duration) -> io::Result<Vec<u8>> {
    let stream = connect(door.address)?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    let mut stream = locked::over(door.tls.as_ref(), host_of(door.address), stream)?;
    stream.write_all(request)?;
    stream.flush()?;
    let mut answer = Vec::new();
    match stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer) {
        // A peer that ends TLS with the connection: whether the answer is whole shows as it is read.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof && !answer.is_empty() => Ok(answer),
        Err(error) => Err(error),
        Ok(_) => Ok(answer),
    }
}

/// The name of `host:port`, without the brackets of an address of IPv6.
fn host_of(address: &str) -> &str {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

fn connect(admin: &str) -> io::Result<TcpStream> {
    let mut last = io::Error::other("the name has no address");
    for address in admin.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, TIMEOUT) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// A value as a query carries it: what a person types cannot change the question.
pub fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:/".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_token_file_is_one_line_and_what_it_holds_is_not_told() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let read = |text: &str| {
            std::fs::write(file.path(), text).unwrap();
            token(file.path())
        };
        assert_eq!(read(" 0123456789abcdef\n").as_deref(), Ok("0123456789abcdef"));
        for text in ["", "\n", "kanari-1\nkanari-2\n", "kanari 1"] {
            let told = read(text).unwrap_err();
            assert!(told.contains("one line") && !told.contains("kanari"), "{told}");
        }
    }

    fn at(admin: &str) -> AdminArgs {
        AdminArgs { admin: admin.to_owned(), lock: LockArgs::default(), format: Format::Text }
    }

    /// Answers one request so.
    fn answering(answer: &'static str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = Vec::new();
            while !asked.ends_with(b"\r\n\r\n") && (&stream).take(1).read_to_end(&mut asked).is_ok_and(|read| read > 0)
            {
            }
            let _ = stream.write_all(answer.as_bytes());
        });
        address
    }

    #[test]
    fn a_page_is_read_and_a_refusal_keeps_its_own_words() {
        let page = get(&at(&answering("HTTP/1.0 200 OK\r\na: b\r\n\r\n{\"x\": 1}")), "/v1/status");
        assert_eq!(page.map(|page| page["x"].clone()).unwrap(), 1);
        for (answer, said) in [
            ("HTTP/1.0 404 Not Found\r\n\r\n{\"pages\": {}}", "there is no page /v1/sampling"),
            ("HTTP/1.0 400 Bad Request\r\n\r\n{\"error\": \"no pod named x\"}", "no pod named x"),
            ("HTTP/1.0 500 Oops\r\n\r\nhm", "answers 500: hm"),
            ("HTTP/1.0 401 Unauthorized\r\n\r\n", "--admin-credential-file"),
            ("HTTP/1.0 403 Forbidden\r\n\r\n{\"error\": \"no token\"}", "no token"),
            ("HTTP/1.0 400 Bad Request\r\n\r\nthis port speaks TLS: use https://", "--admin https://HOST:PORT"),
            ("220 mail.example ESMTP", "the answer is no HTTP"),
            ("HTTP/1.0 200 OK\r\n\r\n<html>", "the answer is not JSON"),
        ] {
            let fault = get(&at(&answering(answer)), "/v1/sampling?x=y").unwrap_err().to_string();
            assert!(fault.contains(said), "{answer}: {fault}");
        }
    }

    #[test]
    fn where_nobody_listens_the_cure_is_told() {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let fault = get(&at(&free), "/v1/status").unwrap_err().to_string();
        assert!(fault.contains(&free) && fault.contains("kubectl exec"), "{fault}");
    }
}

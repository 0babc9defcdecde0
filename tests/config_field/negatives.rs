//! Every key that has to do with who is let in, what is encrypted and which way is taken refuses a wrong value with its
//! place. The keys are those that the checks themselves know, so that a new one without a row here fails.
//!
//! What a wrong secret or certificate does to a request is shown beside each authenticator: `tests/edge/auth.rs`, `asking.rs`,
//! `tls.rs`, `pages.rs`, `tests/export/auth.rs`, `oauth.rs`, `tls.rs`, `proxy.rs`.

use podgate::cli::sources::Checked;
use podgate::registry;
use podgate::testing::check::sound;

use crate::{REFUSE, check, traces};

/// A block of keys.
struct Block {
    /// Where it stands, with `@` for its body.
    yaml: &'static str,
    path: &'static str,
    /// Keys that it does not go without.
    base: &'static [(&'static str, &'static str)],
    /// Key, wrong value, code of the finding. Those below `path` alone are compared with the keys that are known there.
    rows: &'static [(&'static str, &'static str, &'static str)],
    /// Whether all keys of the block are of this kind.
    whole: bool,
}

const SERVER_TLS: &[(&str, &str, &str)] = &[
    ("cert_file", "[a]", "E0202"),
    ("cert_pem", "[a]", "E0202"),
    ("key_file", "[a]", "E0202"),
    ("key_pem", "[a]", "E0202"),
    ("client_ca_file", "[a]", "E0202"),
    ("client_ca_file_reload", "true", "W0402"),
    ("min_version", "'1.0'", "E0205"),
    ("max_version", "'9'", "E0203"),
    ("cipher_suites", "[X]", "E0203"),
    ("cipher_suites", "[TLS_RSA_WITH_AES_128_CBC_SHA]", "E0205"),
    ("curve_preferences", "[X]", "E0203"),
    ("reload_interval", "5", "E0203"),
    ("podgate", "x", "E0202"),
    ("tpm", "{enabled: true}", "E0205"),
    ("include_insecure_cipher_suites", "true", "E0205"),
];

const CLIENT_TLS: &[(&str, &str, &str)] = &[
    ("insecure", "maybe", "E0202"),
    ("insecure_skip_verify", "true", "W0406"),
    ("ca_file", "[a]", "E0202"),
    ("ca_pem", "[a]", "E0202"),
    ("include_system_ca_certs_pool", "maybe", "E0202"),
    ("cert_file", "a.pem", "E0203"),
    ("cert_pem", "[a]", "E0202"),
    ("key_file", "a.key", "E0203"),
    ("key_pem", "[a]", "E0202"),
    ("server_name_override", "[a]", "E0202"),
    ("min_version", "'1.1'", "E0205"),
    ("max_version", "'1.2.3'", "E0203"),
    ("cipher_suites", "[X]", "E0203"),
    ("curve_preferences", "[P521]", "E0205"),
    ("reload_interval", "5s", "W0402"),
    ("tpm", "{enabled: true}", "E0205"),
];

const TLS_BASE: &[(&str, &str)] = &[("cert_file", "a"), ("key_file", "b")];

const fn tls_of(yaml: &'static str, path: &'static str, is_server: bool) -> Block {
    let (base, rows) = if is_server { (TLS_BASE, SERVER_TLS) } else { (&[] as &[_], CLIENT_TLS) };
    Block { yaml, path, base, rows, whole: true }
}

const BLOCKS: &[Block] = &[
    tls_of("receivers::otlp/x::protocols::grpc::tls: {@}", "receivers::otlp/x::protocols::grpc::tls", true),
    tls_of("receivers::otlp/x::protocols::http::tls: {@}", "receivers::otlp/x::protocols::http::tls", true),
    tls_of("extensions::admin::tls: {@}", "extensions::admin::tls", true),
    tls_of("extensions::health_check::tls: {@}", "extensions::health_check::tls", true),
    tls_of("exporters::otlp_grpc/x: {endpoint: 'h:1', tls: {@}}", "exporters::otlp_grpc/x::tls", false),
    tls_of("exporters::otlp_http/x: {endpoint: 'https://h:1', tls: {@}}", "exporters::otlp_http/x::tls", false),
    tls_of("exporters::elasticsearch/x: {endpoint: 'https://h:1', tls: {@}}", "exporters::elasticsearch/x::tls", false),
    tls_of("extensions::oauth2client::tls: {@}", "extensions::oauth2client::tls", false),
    tls_of("extensions::apikeyauth::tls: {@}", "extensions::apikeyauth::tls", false),
    tls_of("receivers::k8s_audit/x::tls: {@}", "receivers::k8s_audit/x::tls", true),
    Block {
        yaml: "receivers::k8s_audit/x: {@}",
        path: "receivers::k8s_audit/x",
        base: &[],
        rows: &[
            ("endpoint", "nonsense", "E0203"),
            ("path", "audit", "E0203"),
            ("tls", "x", "E0202"),
            ("auth", "{authenticator: nobody}", "E0302"),
            ("body", "xml", "E0203"),
            ("duplicates_window", "9000000000", "E0203"),
        ],
        whole: false,
    },
    Block {
        yaml: "receivers::otlp/x::protocols::grpc::tls::podgate: {@}",
        path: "receivers::otlp/x::protocols::grpc::tls::podgate",
        base: &[],
        rows: &[
            ("client_names", "[]", "E0203"),
            ("client_names", "['*.podgate']", "E0203"),
            ("client_names", "[agent.podgate]", "E0203"),
        ],
        whole: true,
    },
    Block {
        yaml: "receivers::otlp/x::protocols::grpc::auth: {@}",
        path: "receivers::otlp/x::protocols::grpc::auth",
        base: &[],
        rows: &[
            ("authenticator", "nobody", "E0302"),
            ("authenticator", "'a b'", "E0203"),
            ("request_params", "[a]", "E0205"),
        ],
        whole: true,
    },
    Block {
        yaml: "extensions::admin: {@}",
        path: "extensions::admin",
        base: &[],
        rows: &[
            ("endpoint", "nonsense", "E0203"),
            ("token_file", "[a]", "E0202"),
            ("tls", "x", "E0202"),
            ("auth", "{authenticator: nobody}", "E0302"),
        ],
        whole: true,
    },
    Block {
        yaml: "exporters::otlp_grpc/x: {@}",
        path: "exporters::otlp_grpc/x",
        base: &[("endpoint", "'h:1'")],
        rows: &[
            ("tls", "x", "E0202"),
            ("headers", "{'a b': c}", "E0203"),
            ("headers", "{content-type: c}", "E0203"),
            ("auth", "{authenticator: nobody}", "E0302"),
            ("endpoint", "h", "E0203"),
        ],
        whole: false,
    },
    Block {
        yaml: "exporters::otlp_http/x: {@}",
        path: "exporters::otlp_http/x",
        base: &[("endpoint", "'http://h:1'")],
        rows: &[
            ("tls", "x", "E0202"),
            ("headers", "{a: \"b\\nc\"}", "E0203"),
            ("auth", "{authenticator: nobody}", "E0302"),
            ("proxy_url", "'socks5://p:1'", "E0203"),
            ("proxy_url", "'p:1'", "E0203"),
            ("endpoint", "'h:1'", "E0203"),
        ],
        whole: false,
    },
    Block {
        yaml: "exporters::elasticsearch/x: {@}",
        path: "exporters::elasticsearch/x",
        base: &[("endpoint", "'https://h:1'")],
        rows: &[
            ("tls", "x", "E0202"),
            ("headers", "{'a b': c}", "E0203"),
            ("auth", "{authenticator: nobody}", "E0302"),
            ("proxy_url", "'socks5://p:1'", "E0203"),
            ("api_key", "[a]", "E0202"),
            ("user", "[a]", "E0202"),
            ("password", "[a]", "E0202"),
        ],
        whole: false,
    },
    Block {
        yaml: "exporters::kafka/x: {@}",
        path: "exporters::kafka/x",
        base: &[],
        rows: &[
            ("brokers", "['h/1']", "E0203"),
            ("auth", "x", "E0202"),
            ("tls", "x", "E0202"),
            ("tls", "{min_version: '1.3'}", "E0205"),
        ],
        whole: false,
    },
    Block {
        yaml: "exporters::kafka/x::auth: {@}",
        path: "exporters::kafka/x::auth",
        base: &[],
        rows: &[
            ("plain_text", "{username: ann}", "E0204"),
            ("sasl", "x", "E0202"),
            ("tls", "x", "E0202"),
            ("kerberos", "{realm: x}", "E0205"),
        ],
        whole: true,
    },
    Block {
        yaml: "exporters::kafka/x::auth::sasl: {@}",
        path: "exporters::kafka/x::auth::sasl",
        base: &[("mechanism", "SCRAM-SHA-512"), ("username", "ann"), ("password", "b")],
        rows: &[
            ("mechanism", "NTLM", "E0203"),
            ("mechanism", "OAUTHBEARER", "E0205"),
            ("username", "''", "E0204"),
            ("password", "''", "E0204"),
            ("version", "1", "W0402"),
            ("aws_msk", "{region: x}", "E0205"),
            ("oauthbearer_token_source", "x", "E0205"),
        ],
        whole: true,
    },
    Block {
        yaml: "extensions::bearertokenauth: {@}",
        path: "extensions::bearertokenauth",
        base: &[("token", "a")],
        rows: &[
            ("token", "'a b'", "E0203"),
            ("tokens", "[b]", "E0207"),
            ("filename", "[f]", "E0202"),
            ("scheme", "'Two words'", "E0203"),
            ("header", "'a b'", "E0203"),
        ],
        whole: true,
    },
    Block {
        yaml: "extensions::basicauth: {@}",
        path: "extensions::basicauth",
        base: &[],
        rows: &[("htpasswd", "x", "E0202"), ("client_auth", "x", "E0202")],
        whole: true,
    },
    Block {
        yaml: "extensions::basicauth::htpasswd: {@}",
        path: "extensions::basicauth::htpasswd",
        base: &[],
        rows: &[("file", "[f]", "E0202"), ("inline", "'no colon'", "E0203")],
        whole: true,
    },
    Block {
        yaml: "extensions::basicauth::client_auth: {@}",
        path: "extensions::basicauth::client_auth",
        base: &[("username", "ann"), ("password", "b")],
        rows: &[
            ("username", "'a:b'", "E0203"),
            ("password", "[x]", "E0202"),
            ("username_file", "[x]", "E0202"),
            ("password_file", "[x]", "E0202"),
        ],
        whole: true,
    },
    Block {
        yaml: "extensions::headers_setter: {@}",
        path: "extensions::headers_setter",
        base: &[],
        rows: &[("headers", "[x]", "E0202"), ("additional_auth", "x", "E0205")],
        whole: true,
    },
    Block {
        yaml: "extensions::headers_setter::headers: [{@}]",
        path: "extensions::headers_setter::headers::0",
        base: &[("key", "x")],
        rows: &[
            ("action", "delete", "E0205"),
            ("action", "replace", "E0203"),
            ("key", "'a b'", "E0203"),
            ("value", "\"a\\nb\"", "E0203"),
            ("default_value", "\"a\\nb\"", "E0203"),
            ("from_context", "[a]", "E0202"),
            ("from_attribute", "[a]", "E0202"),
            ("value_file", "f", "E0205"),
            ("default_value_file", "f", "E0205"),
        ],
        whole: true,
    },
    Block {
        yaml: "extensions::oauth2client: {@}",
        path: "extensions::oauth2client",
        base: &[("client_id", "a"), ("client_secret", "b"), ("token_url", "'https://x/t'")],
        rows: &[
            ("client_id", "[a]", "E0202"),
            ("client_secret", "[a]", "E0202"),
            ("client_id_file", "[a]", "E0202"),
            ("client_secret_file", "[a]", "E0202"),
            ("grant_type", "password", "E0203"),
            ("endpoint_params", "x", "E0202"),
            ("token_url", "x/t", "E0203"),
            ("token_url", "'http://x/t'", "W0406"),
            ("tls", "x", "E0202"),
            ("timeout", "5", "E0203"),
            ("expiry_buffer", "soon", "E0203"),
            ("scopes", "{a: b}", "E0202"),
            ("iss", "me", "E0205"),
            ("client_certificate_key_file", "f", "E0205"),
        ],
        whole: true,
    },
    Block {
        yaml: "extensions::apikeyauth: {@}",
        path: "extensions::apikeyauth",
        base: &[("endpoint", "'https://e:1'")],
        rows: &[
            ("endpoint", "'e:1'", "E0203"),
            ("application_privileges", "[{}]", "E0204"),
            ("cache", "x", "E0202"),
            ("timeout", "5", "E0203"),
            ("tls", "x", "E0202"),
            ("headers", "{'a b': c}", "E0203"),
            ("proxy_url", "'socks5://p:1'", "E0203"),
            ("auth", "{authenticator: x}", "E0205"),
            ("retry", "{enabled: true}", "W0402"),
        ],
        whole: true,
    },
    Block {
        yaml: "extensions::apikeyauth::application_privileges: [{@}]",
        path: "extensions::apikeyauth::application_privileges::0",
        base: &[],
        rows: &[
            ("application", "[a]", "E0202"),
            ("privileges", "{a: b}", "E0202"),
            ("resources", "{a: b}", "E0202"),
            ("dynamic_resources", "[{}]", "E0204"),
        ],
        whole: true,
    },
    Block {
        yaml: "extensions::apikeyauth::application_privileges: [{dynamic_resources: [{@}]}]",
        path: "extensions::apikeyauth::application_privileges::0::dynamic_resources::0",
        base: &[("metadata", "x")],
        rows: &[("metadata", "[a]", "E0202"), ("format", "'%d'", "E0203")],
        whole: true,
    },
    Block {
        yaml: "extensions::apikeyauth::cache: {@}",
        path: "extensions::apikeyauth::cache",
        base: &[],
        rows: &[
            ("capacity", "0", "E0203"),
            ("ttl", "0s", "E0203"),
            ("key_headers", "['a b']", "E0203"),
            ("key_metadata", "['a b']", "E0203"),
            ("pbkdf2_iterations", "10", "W0402"),
        ],
        whole: true,
    },
    Block {
        yaml: "extensions::k8s_token_review: {@}",
        path: "extensions::k8s_token_review",
        base: &[],
        rows: &[
            ("audiences", "[]", "E0203"),
            ("namespaces", "{a: b}", "E0202"),
            ("service_accounts", "[web]", "E0203"),
            ("pods_only", "maybe", "E0202"),
            ("auth_type", "magic", "E0203"),
            ("context", "dev", "W0403"),
            ("api_server", "[a]", "E0202"),
            ("timeout", "5", "E0203"),
            ("cache", "x", "E0202"),
        ],
        whole: true,
    },
    Block {
        yaml: "extensions::k8s_token_review::cache: {@}",
        path: "extensions::k8s_token_review::cache",
        base: &[],
        rows: &[("capacity", "0", "E0203"), ("ttl", "0s", "E0203")],
        whole: true,
    },
];

impl Block {
    fn checked(&self, key: &str, value: &str) -> Checked {
        let base = self.base.iter().filter(|(other, _)| *other != key).map(|(key, value)| format!("{key}: {value}, "));
        let body = format!("{}{key}: {value}", base.collect::<String>());
        check(&traces(&self.yaml.replace('@', &body), "", "nop"), REFUSE, &[])
    }

    /// What the block's own check says it knows.
    fn known(&self) -> Vec<String> {
        let checked = self.checked("zzzzzzzzzzzz", "1");
        let path = format!("{}::zzzzzzzzzzzz", self.path);
        let unknown = checked.findings.iter().find(|found| found.code == "E0201" && found.path == path);
        let unknown = unknown.unwrap_or_else(|| panic!("{path}: {:?}", checked.findings));
        let told = unknown.expected.iter().chain(&unknown.help).find_map(|text| text.strip_prefix("known keys: "));
        told.unwrap_or_else(|| panic!("{unknown:?}")).split(", ").map(str::to_owned).collect()
    }
}

#[test]
fn each_authenticator_has_a_block_here() {
    for factory in registry::EXTENSIONS {
        let name = factory.about.name;
        let path = format!("extensions::{name}");
        let plan = sound(&path, factory.about.example, factory.check);
        let has_block = BLOCKS.iter().any(|block| block.path == path && block.whole);
        assert!(plan.authenticates().is_empty() || has_block, "{path} lets in or signs, and its keys have no block");
    }
}

#[test]
fn each_key_of_tls_authenticators_and_proxies_refuses_a_wrong_value_with_its_place() {
    let mut faults = Vec::new();
    for block in BLOCKS {
        let known = block.known();
        let has_row = |key: &String| block.rows.iter().any(|(row, ..)| row == key);
        let lacking: Vec<&String> = known.iter().filter(|key| block.whole && !has_row(key)).collect();
        if !lacking.is_empty() {
            faults.push(format!("{}: no row for {lacking:?}", block.path));
        }
        for (key, value, code) in block.rows {
            let checked = block.checked(key, value);
            let path = format!("{}::{key}", block.path);
            let is_it = checked.findings.iter().any(|found| {
                let below =
                    found.path.strip_prefix(&path).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"));
                found.code == *code && below && found.place.is_some_and(|place| place.line > 0)
            });
            if !is_it || (code.starts_with('E') && checked.plan.is_some()) {
                let told: Vec<String> =
                    checked.findings.iter().map(|found| format!("{} {}", found.code, found.path)).collect();
                faults.push(format!("{path}: {value} is not {code} but {told:?}"));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

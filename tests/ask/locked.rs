//! An admin page behind TLS, client certificates and an authenticator, asked by podgate's own commands.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::process::{Running, free_port, text};

fn tls(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/tls").join(name).display().to_string()
}

struct Locked {
    /// Held for its end.
    _running: Running,
    folder: tempfile::TempDir,
    admin: u16,
}

impl Locked {
    fn start(lock: &str) -> Locked {
        let (http, admin) = (free_port(), free_port());
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("change"), "a-token-that-nobody-guesses\n").expect("written");
        for (name, line) in [("right", "kanari-right"), ("wrong", "kanari-wrong"), ("user", "ann:kanari-password")] {
            fs::write(folder.path().join(name), format!("{line}\n")).expect("written");
        }
        let yaml = format!(
            "receivers: {{otlp: {{protocols: {{http: {{endpoint: '127.0.0.1:{http}'}}}}}}}}\nexporters: {{debug: }}\n\
             extensions:\n  bearertokenauth: {{token: kanari-right}}\n  basicauth: {{htpasswd: {{inline: 'ann:kanari-password'}}}}\n  \
             admin: {{endpoint: '127.0.0.1:{admin}', token_file: '{}', {lock}}}\n\
             service:\n  extensions: [admin, bearertokenauth, basicauth]\n  telemetry: {{metrics: {{level: none}}}}\n  \
             pipelines: {{traces: {{receivers: [otlp], exporters: [debug]}}}}\n",
            folder.path().join("change").display()
        );
        let path = folder.path().join("config.yaml");
        fs::write(&path, yaml).expect("written");
        let mut running = Running::start_with(&path.to_string_lossy(), &[], Stdio::null());
        running.wait_for("everything is ready");
        Locked { _running: running, folder, admin }
    }

    fn at(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// What a command says and how it ends; never with a secret.
    fn ask(&self, scheme: &str, arguments: &[&str], environment: &[(&str, &str)]) -> (Option<i32>, String) {
        let admin = format!("{scheme}127.0.0.1:{}", self.admin);
        let mut command = Command::new(env!("CARGO_BIN_EXE_podgate"));
        command.args(arguments).args(["--admin", &admin]).envs(environment.iter().copied());
        let output = command.output().expect("the binary runs");
        let said = text(&output.stdout) + &text(&output.stderr);
        assert!(!said.contains("kanari"), "{arguments:?}: {said}");
        (output.status.code(), said)
    }
}

#[test]
fn commands_go_through_tls_with_a_certificate_of_their_own_and_are_told_what_lacks() {
    let lock = format!(
        "tls: {{cert_file: '{}', key_file: '{}', client_ca_file: '{}'}}",
        tls("server.pem"),
        tls("server.key"),
        tls("clients/ca.pem")
    );
    let gateway = Locked::start(&lock);
    let (ca, certificate, key) = (tls("ca.pem"), tls("clients/shop.pem"), tls("clients/client.key"));
    let trusting = ["--admin-ca", ca.as_str(), "--admin-server-name", "localhost"];
    let shown = ["--admin-cert", certificate.as_str(), "--admin-key", key.as_str()];
    let whole = [&trusting[..], &shown[..]].concat();
    for command in [&["status"][..], &["balance"], &["top", "-n", "1", "--interval", "100ms"]] {
        let (code, said) = gateway.ask("https://", &[command, &whole].concat(), &[]);
        assert_eq!(code, Some(0), "{command:?}: {said}");
    }
    let change = gateway.at("change");
    let (code, said) = gateway.ask("https://", &[&["reload", "--token-file", &change][..], &whole].concat(), &[]);
    assert!(code == Some(0) && said.contains("the one that runs already"), "{said}");
    // What a pod's spec sets once is no flag.
    let environment = [
        ("PODGATE_ADMIN_CA", ca.as_str()),
        ("PODGATE_ADMIN_SERVER_NAME", "localhost"),
        ("PODGATE_ADMIN_CERT", &certificate),
        ("PODGATE_ADMIN_KEY", &key),
    ];
    assert_eq!(gateway.ask("", &["status"], &environment).0, Some(0));
    let config = gateway.at("config.yaml");
    let (_, said) = gateway.ask("https://", &[&["doctor", "--config", &config][..], &whole].concat(), &[]);
    assert!(said.contains("nothing was received"), "{said}");
    let other = tls("second-ca.pem");
    for (scheme, arguments, words) in [
        ("", vec![], "--admin https://"),
        (
            "https://",
            [&["--admin-ca", other.as_str(), "--admin-server-name", "localhost"][..], &shown].concat(),
            "--admin-ca",
        ),
        (
            "https://",
            [&["--admin-ca", ca.as_str(), "--admin-server-name", "elsewhere"][..], &shown].concat(),
            "--admin-server-name",
        ),
        ("https://", trusting.to_vec(), "--admin-cert"),
        ("https://", [&trusting[..], &["--admin-cert", certificate.as_str()]].concat(), "--admin-key"),
        ("https://", vec!["--admin-ca", "/no/such/file"], "/no/such/file"),
        ("ftp://", vec![], "https://HOST:PORT"),
    ] {
        let (code, said) = gateway.ask(scheme, &[&["status"][..], &arguments].concat(), &[]);
        assert!(code != Some(0) && said.contains(words), "{arguments:?}: {code:?} {said}");
    }
}

#[test]
fn commands_show_a_credential_and_doctor_says_when_they_have_none() {
    for (authenticator, credential) in [("bearertokenauth", "right"), ("basicauth", "user")] {
        let gateway = Locked::start(&format!("auth: {{authenticator: {authenticator}}}"));
        let (right, wrong) = (gateway.at(credential), gateway.at("wrong"));
        let (code, said) = gateway.ask("", &["status", "--admin-credential-file", &right], &[]);
        assert_eq!(code, Some(0), "{said}");
        assert_eq!(gateway.ask("", &["status"], &[("PODGATE_ADMIN_CREDENTIAL_FILE", &right)]).0, Some(0));
        for (arguments, words) in [
            (vec!["status"], "asks for a credential"),
            (vec!["status", "--admin-credential-file", &wrong], "refuses the credential"),
            (vec!["status", "--admin-credential-file", "/no/such/file"], "/no/such/file"),
        ] {
            let (code, said) = gateway.ask("", &arguments, &[]);
            assert!(code == Some(1) && said.contains(words), "{arguments:?}: {code:?} {said}");
        }
        // A change asks for its own token alone.
        let change = gateway.at("change");
        assert_eq!(gateway.ask("", &["reload", "--token-file", &change], &[]).0, Some(0));
        let config = gateway.at("config.yaml");
        let (code, said) = gateway.ask("", &["doctor", "--config", &config], &[]);
        assert!(code == Some(1) && said.contains("asks for a credential"), "{said}");
    }
}

#[test]
fn a_plain_page_that_is_asked_in_tls_is_named() {
    let gateway = Locked::start("");
    let (code, said) = gateway.ask("https://", &["status"], &[]);
    assert!(code == Some(1) && said.contains("no TLS with the admin page"), "{said}");
    assert_eq!(gateway.ask("http://", &["status"], &[]).0, Some(0));
}

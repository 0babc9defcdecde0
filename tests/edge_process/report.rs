//! Where the long forms write what they measured: sections of docs/hardening.md below `## Measured`.

/// Replaces or appends the section `### title`; only in the long forms.
pub fn write(title: &str, body: &str) {
    let text = format!("### {title}\n\n{}\n", body.trim_end());
    if !super::gateway::is_long() {
        return;
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/hardening.md");
    let document = std::fs::read_to_string(path).unwrap();
    let (before, measured) = document.split_once("## Measured\n").expect("the document has its measured part");
    let (measured, after) = measured.split_at(measured.find("\n## ").unwrap_or(measured.len()));
    let mut sections: Vec<String> =
        measured.split("### ").skip(1).map(|section| format!("### {}\n", section.trim_end())).collect();
    sections.retain(|section| !section.starts_with(&format!("### {title}\n")));
    sections.push(text);
    sections.sort();
    std::fs::write(path, format!("{before}## Measured\n\n{}{after}", sections.join("\n"))).unwrap();
}

/// Today and how busy the machine was, for the figures' sake.
pub fn circumstances() -> String {
    let run = |program: &str, words: &[&str]| {
        let output = std::process::Command::new(program).args(words).output().unwrap();
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').take(3).collect::<Vec<_>>().join(" ");
    format!(
        "{}, {} cores, load average {load}",
        run("date", &["-u", "+%Y-%m-%d %H:%M UTC"]),
        run("getconf", &["_NPROCESSORS_ONLN"])
    )
}

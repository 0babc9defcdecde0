//! The entry libFuzzer calls. One binary for all targets, chosen by PODGATE_FUZZ, because linking takes longer than
//! most runs.
#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;

#[path = "../targets/mod.rs"]
mod targets;

static TARGET: OnceLock<targets::Target> = OnceLock::new();

fuzz_target!(|data: &[u8]| {
    let target = TARGET.get_or_init(|| {
        let name = std::env::var("PODGATE_FUZZ").expect("PODGATE_FUZZ names the target");
        let found = targets::ALL.iter().find(|(known, _)| *known == name);
        found.unwrap_or_else(|| panic!("there is no target {name:?}")).1
    });
    target(data);
});

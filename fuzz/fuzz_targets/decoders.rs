//! Every target of `src/targets.rs`; `DUMPVAULT_FUZZ_TARGET` names the one to run.

#![no_main]

#[path = "../src/targets.rs"]
mod targets;

use std::sync::OnceLock;

fn chosen() -> fn(&[u8]) {
    static CHOSEN: OnceLock<fn(&[u8])> = OnceLock::new();
    *CHOSEN.get_or_init(|| {
        let name = std::env::var("DUMPVAULT_FUZZ_TARGET").unwrap_or_default();
        let found = targets::TARGETS.iter().find(|(target, _)| *target == name);
        let names: Vec<&str> = targets::TARGETS.iter().map(|(target, _)| *target).collect();
        found.unwrap_or_else(|| panic!("DUMPVAULT_FUZZ_TARGET must be one of {names:?}")).1
    })
}

libfuzzer_sys::fuzz_target!(|input: &[u8]| chosen()(input));

#![no_main]

use lsm_index_fuzz::{Target, run};

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    run(Target::Terms, input);
});

//! The machine and its naive model agree, and every law holds, whatever happens.

#![no_main]

use http_terminator_native_fuzz::drain::model::Script;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|script: Script| script.play());

//! The machine keeps its invariants, whatever it is told.

#![no_main]

use http_terminator_native_fuzz::drain::model::Gibberish;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|gibberish: Gibberish| gibberish.play());

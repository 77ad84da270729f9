//! The machine and its model, built for a fuzzer.

// The addon is a cdylib alone, so there is no library to depend on; and this part of it needs nothing of the rest.
#[path = "../../src/drain/mod.rs"]
pub mod drain;

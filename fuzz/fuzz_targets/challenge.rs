//! `WWW-Authenticate`: any text is answered or ignored.

#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| image::fuzzing::challenge(text));

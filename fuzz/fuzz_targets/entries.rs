//! Well-formed tars of hostile entries: bytes choose kinds, a few names and a few targets, so that links, whiteouts
//! and replaced directories meet each other more often than chance would have it.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let tar = fuzz::archive::of(data);
    fuzz::unpack(&tar);
});

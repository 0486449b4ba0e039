//! Two or three layers of hostile entries over each other: links of one, entries of another below them.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let tars: Vec<_> = data
        .split(|b| *b == b'|')
        .take(3)
        .map(fuzz::archive::of)
        .collect();
    let tars: Vec<_> = tars.iter().map(Vec::as_slice).collect();
    fuzz::stack(&tars);
});

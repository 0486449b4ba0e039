//! References: what is read and printed is read as the same again.

#![no_main]

use image::{HUB, Reference};

libfuzzer_sys::fuzz_target!(|text: &str| {
    let Ok(reference) = Reference::parse(text, HUB) else {
        return;
    };
    let again = Reference::parse(&reference.to_string(), HUB).expect("what is printed can be read");
    assert_eq!(again, reference);
    let canonical = reference.canonical();
    let elsewhere =
        Reference::parse(&canonical, "other.example:5000").expect("the canonical form can be read");
    assert_eq!(elsewhere.canonical(), canonical);
    assert_eq!(
        (elsewhere.host(), elsewhere.repository(), elsewhere.digest()),
        (reference.host(), reference.repository(), reference.digest())
    );
});

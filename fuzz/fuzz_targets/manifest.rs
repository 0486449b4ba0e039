//! Manifests, indexes and configurations: any bytes are an error or a description that keeps its own rules.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| image::fuzzing::documents(data));

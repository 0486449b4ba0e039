//! The tar reader alone, as fast as it goes: any bytes are entries whose pieces fit, or an error.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rootfs::fuzzing::read_tar(data));

//! A whole layer of any bytes: packing, tar, files. Nothing outside its directory changes.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::unpack(data));

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| motelm_tests::fuzz::incoming(data));

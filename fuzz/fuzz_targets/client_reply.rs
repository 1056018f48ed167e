#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    oxikeeper_fuzz_targets::client_reply::run(bytes);
});

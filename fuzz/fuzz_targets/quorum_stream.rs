#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    oxikeeper_fuzz_targets::quorum_stream::run(bytes);
});

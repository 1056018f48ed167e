//! What the disk itself takes for a durable write: nothing that promises durability can be faster.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Instant;

const FILE_BYTES: usize = 8 << 20;
const WRITE_BYTES: usize = 512;
const WRITES: usize = 1000;

/// Median of writes of 512 bytes, one behind the other over zeros, each followed by fdatasync, in
/// microseconds.
pub fn durable_write_us(dir: &Path) -> io::Result<f64> {
    let path = dir.join("disk-probe");
    let file = File::create(&path)?;
    file.write_all_at(&vec![0; FILE_BYTES], 0)?;
    file.sync_all()?;
    let mut times = Vec::with_capacity(WRITES);
    for index in 0..WRITES {
        let began = Instant::now();
        file.write_all_at(&[1; WRITE_BYTES], (index * WRITE_BYTES) as u64)?;
        file.sync_data()?;
        times.push(began.elapsed());
    }
    std::fs::remove_file(&path)?;
    times.sort_unstable();
    Ok(times[WRITES / 2].as_secs_f64() * 1e6)
}

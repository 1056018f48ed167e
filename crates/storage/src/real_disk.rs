//! The disk of this machine.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;

use crate::disk::{Disk, DiskFile};

/// The disk of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

/// An open file of this machine.
#[derive(Debug)]
pub struct RealFile {
    file: File,
    direct: Option<Direct>,
}

/// The way past the page cache: one write is on the disk when it returns, and costs no copy in the
/// kernel and no second call.
#[derive(Debug)]
struct Direct {
    file: File,
    /// Memory at a multiple of [`ALIGNMENT`], somewhere in it.
    memory: Vec<u8>,
    /// A write has succeeded: the file system can do it.
    is_proven: bool,
}

/// What position, length and memory of a direct write have to be multiples of. Disks ask for 512 or
/// 4,096.
const ALIGNMENT: usize = 4096;
/// Bytes of one direct write.
const DIRECT_BYTES_MAX: usize = 256 << 10;

impl From<File> for RealFile {
    fn from(file: File) -> RealFile {
        RealFile { file, direct: None }
    }
}

impl Direct {
    fn open(path: &Path) -> io::Result<Direct> {
        let flags = (OFlags::DIRECT | OFlags::DSYNC).bits() as i32;
        let file = OpenOptions::new().write(true).custom_flags(flags).open(path)?;
        Ok(Direct { file, memory: Vec::new(), is_proven: false })
    }

    fn write(&mut self, mut position: u64, bytes: &[u8]) -> io::Result<()> {
        for piece in bytes.chunks(DIRECT_BYTES_MAX) {
            let aligned = if piece.as_ptr().align_offset(ALIGNMENT) == 0 {
                piece
            } else {
                aligned_copy(&mut self.memory, piece)
            };
            self.file.write_all_at(aligned, position)?;
            position += piece.len() as u64;
            self.is_proven = true;
        }
        Ok(())
    }
}

/// Copies bytes to where a direct write may take them from.
fn aligned_copy<'m>(memory: &'m mut Vec<u8>, bytes: &[u8]) -> &'m [u8] {
    if memory.len() < bytes.len() + ALIGNMENT {
        *memory = vec![0; bytes.len() + ALIGNMENT];
    }
    let from = memory.as_ptr().align_offset(ALIGNMENT);
    let aligned = &mut memory[from..from + bytes.len()];
    aligned.copy_from_slice(bytes);
    aligned
}

impl Disk for RealDisk {
    type File = RealFile;

    fn open(&self, path: &Path) -> io::Result<RealFile> {
        File::open(path).map(RealFile::from)
    }

    fn create(&self, path: &Path) -> io::Result<RealFile> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true);
        options.open(path).map(RealFile::from)
    }

    fn create_log(&self, path: &Path) -> io::Result<RealFile> {
        let RealFile { file, .. } = self.create(path)?;
        // Not every file system can do it, and none has to.
        let direct = Direct::open(path).ok();
        Ok(RealFile { file, direct })
    }

    fn open_to_write(&self, path: &Path) -> io::Result<RealFile> {
        OpenOptions::new().read(true).write(true).open(path).map(RealFile::from)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(dir)? {
            // A name that is not UTF-8 is none of ours.
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn create_dirs(&self, dir: &Path) -> io::Result<()> {
        fs::create_dir_all(dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn is_dir(&self, dir: &Path) -> bool {
        dir.is_dir()
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        let stats = rustix::fs::statvfs(dir)?;
        Ok(stats.f_bavail.saturating_mul(stats.f_frsize))
    }
}

impl DiskFile for RealFile {
    fn read_at(&self, position: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.read_at(buffer, position)
    }

    fn write_at(&self, position: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, position)
    }

    fn write_durable(&mut self, position: u64, bytes: &[u8]) -> io::Result<()> {
        let is_aligned =
            position.is_multiple_of(ALIGNMENT as u64) && bytes.len().is_multiple_of(ALIGNMENT);
        if let Some(direct) = self.direct.as_mut().filter(|_| is_aligned) {
            match direct.write(position, bytes) {
                // Some file systems take the flag and refuse the first write.
                Err(error) if error.kind() == io::ErrorKind::InvalidInput && !direct.is_proven => {
                    self.direct = None;
                }
                other => return other,
            }
        }
        self.write_at(position, bytes)?;
        self.sync()
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn len(&self) -> io::Result<u64> {
        self.file.metadata().map(|metadata| metadata.len())
    }
}

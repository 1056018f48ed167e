//! Writing a snapshot: to a temporary file, sealed, synced, read back, and only then named.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use oxikeeper_proto::txn::DIGEST_VERSION;
use oxikeeper_proto::{Encode, Zxid};
use simd_adler32::Adler32;

use crate::dirs::Dirs;
use crate::disk::{Disk, DiskFile};
use crate::error::{At, StorageError};
use crate::file_name;
use crate::install::{InstallMutation, install};
use crate::recovery::RecoverOptions;
use crate::snapshot_reader::{self, Discard};
use crate::snapshot_stream::Compressor;

/// `zookeeper.snapshot.compression.method`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// Plain bytes.
    #[default]
    None,
    /// One gzip member.
    Gzip,
    /// Snappy blocks.
    Snappy,
}

impl Compression {
    /// What stands behind the zxid in the file's name.
    pub const fn suffix(self) -> &'static str {
        match self {
            Compression::None => "",
            Compression::Gzip => ".gz",
            Compression::Snappy => ".snappy",
        }
    }

    /// From the setting's value; anything else than `gz` and `snappy` is none.
    pub fn from_setting(value: &str) -> Compression {
        match value.to_ascii_lowercase().as_str() {
            "gz" => Compression::Gzip,
            "snappy" => Compression::Snappy,
            _ => Compression::None,
        }
    }
}

/// A finished snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotFile {
    /// Where it is.
    pub path: PathBuf,
    /// Bytes on disk.
    pub bytes: u64,
}

/// Written bytes are made durable in steps of this size, so that the end brings no flood that the
/// log's syncs have to wait for.
const SYNC_STEP_BYTES: u64 = 1 << 20;
const BUFFER_BYTES: usize = 256 * 1024;

/// Writes to a file of a [`Disk`], buffered.
struct Sink<F> {
    file: F,
    buffer: Vec<u8>,
    position: u64,
    synced: u64,
}

impl<F: DiskFile> Sink<F> {
    fn write_out(&mut self) -> io::Result<()> {
        self.file.write_at(self.position, &self.buffer)?;
        self.position += self.buffer.len() as u64;
        self.buffer.clear();
        if self.position - self.synced >= SYNC_STEP_BYTES {
            self.file.sync()?;
            self.synced = self.position;
        }
        Ok(())
    }
}

impl<F: DiskFile> Write for Sink<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= BUFFER_BYTES {
            self.write_out()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.write_out()
    }
}

/// See the module's head.
pub struct SnapshotWriter<'d, D: Disk> {
    disk: &'d D,
    dirs: Dirs,
    temporary: PathBuf,
    path: PathBuf,
    zxid: Zxid,
    stream: Compressor<Sink<D::File>>,
    adler: Adler32,
    mutation: Option<SnapshotMutation>,
}

/// Defects that tests inject, to prove that they would be caught.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotMutation {
    /// Name the file before its bytes are durable.
    RenameBeforeSync,
    /// Do not sync the directory.
    SkipDirectorySync,
}

impl<'d, D: Disk> SnapshotWriter<'d, D> {
    /// Begins the snapshot of this zxid.
    ///
    /// # Errors
    /// What the disk says.
    pub fn begin(
        disk: &'d D,
        dirs: &Dirs,
        zxid: Zxid,
        compression: Compression,
    ) -> Result<SnapshotWriter<'d, D>, StorageError> {
        let (dir, dirs) = (dirs.data(), dirs.clone());
        let name = file_name::snapshot(zxid, compression);
        let temporary = dir.join(format!("{}{name}", file_name::TEMPORARY));
        let file = disk.create(&temporary).at("create", &temporary)?;
        let sink = Sink { file, buffer: Vec::new(), position: 0, synced: 0 };
        let stream = Compressor::new(sink, compression).at("write", &temporary)?;
        let path = dir.join(name);
        let adler = Adler32::new();
        Ok(SnapshotWriter { disk, dirs, temporary, path, zxid, stream, adler, mutation: None })
    }

    /// Injects a defect. For tests alone.
    #[doc(hidden)]
    pub fn mutate(&mut self, mutation: SnapshotMutation) {
        self.mutation = Some(mutation);
    }

    /// Writes the next bytes of header, sessions, ACLs and nodes.
    ///
    /// # Errors
    /// What the disk says. The snapshot is then to be given up.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), StorageError> {
        self.adler.write(bytes);
        self.stream.write_all(bytes).at("write", &self.temporary)
    }

    /// Seals the file, makes it durable, reads it back and gives it its name. `digest` is that of
    /// the tree at the snapshot's zxid; `None` if digests are switched off.
    ///
    /// # Errors
    /// What the disk says, or that the file does not read back. The temporary file stays behind and
    /// is removed at the next start.
    pub fn finish(mut self, digest: Option<u64>) -> Result<SnapshotFile, StorageError> {
        self.seal_all(digest)?;
        let SnapshotWriter { disk, dirs, temporary, path, stream, mutation, .. } = self;
        let bytes = complete(disk, &temporary, stream, mutation)?;
        disk.rename(&temporary, &path).at("rename", &temporary)?;
        if mutation != Some(SnapshotMutation::SkipDirectorySync) {
            disk.sync_dir(dirs.data()).at("sync", dirs.data())?;
        }
        Ok(SnapshotFile { path, bytes })
    }

    /// As [`finish`](Self::finish), for a state that came from another server: it takes the place of
    /// the own history. Whatever the logs have beyond its zxid is cut off before the snapshot has its
    /// name, and everything older goes. Interrupted at any moment, it leaves a prefix of the old
    /// history, or the new state.
    ///
    /// Who calls has dropped the [`TxnLog`](crate::TxnLog) and its prepared file, and no other
    /// snapshot is being written. The log goes on behind the snapshot's zxid.
    ///
    /// # Errors
    /// As of `finish`; once the file was complete, the process has to stop and recover.
    pub fn install(
        self,
        digest: Option<u64>,
        options: &RecoverOptions,
    ) -> Result<SnapshotFile, StorageError> {
        self.install_mutated(digest, options, None)
    }

    /// [`install`](Self::install) with a defect.
    #[doc(hidden)]
    pub fn install_mutated(
        mut self,
        digest: Option<u64>,
        options: &RecoverOptions,
        injected: Option<InstallMutation>,
    ) -> Result<SnapshotFile, StorageError> {
        self.seal_all(digest)?;
        let SnapshotWriter { disk, dirs, temporary, path, stream, zxid, mutation, .. } = self;
        let bytes = complete(disk, &temporary, stream, mutation)?;
        let name = || {
            disk.rename(&temporary, &path).at("rename", &temporary)?;
            Ok(path)
        };
        let path = install(disk, &dirs, options, zxid, name, injected)?;
        Ok(SnapshotFile { path, bytes })
    }

    /// The seals, with the digest and the zxid between them.
    fn seal_all(&mut self, digest: Option<u64>) -> Result<(), StorageError> {
        self.seal()?;
        let mut section = Vec::new();
        // Zxid 0 says "no digest": the section itself always stands, readers expect it.
        digest.map_or(Zxid::ZERO, |_| self.zxid).encode(&mut section);
        DIGEST_VERSION.encode(&mut section);
        (digest.unwrap_or(0) as i64).encode(&mut section);
        self.write(&section)?;
        self.seal()?;
        self.write(&self.zxid.to_wire().to_be_bytes())?;
        self.seal()
    }

    /// Gives the snapshot up and removes what was written.
    pub fn abandon(self) {
        // If it cannot be removed now, the next start does it.
        let _ = self.disk.remove(&self.temporary);
    }

    /// Where it is being written.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn seal(&mut self) -> Result<(), StorageError> {
        let mut seal = u64::from(self.adler.finish()).to_be_bytes().to_vec();
        seal.extend_from_slice(&[0, 0, 0, 1, b'/']);
        self.write(&seal)
    }
}

/// Makes a sealed file durable and reads it back. Returns its length.
fn complete<D: Disk>(
    disk: &D,
    temporary: &Path,
    stream: Compressor<Sink<D::File>>,
    mutation: Option<SnapshotMutation>,
) -> Result<u64, StorageError> {
    let mut sink = stream.finish().at("write", temporary)?;
    sink.write_out().at("write", temporary)?;
    if mutation != Some(SnapshotMutation::RenameBeforeSync) {
        sink.file.sync().at("sync", temporary)?;
    }
    snapshot_reader::read(disk, temporary, &mut Discard)
        .map_err(|fault| StorageError::Unreadable(fault.to_string()))?;
    Ok(sink.position)
}

//! Streams of snapshot bytes: plain, gzip, and snappy in the framing of xerial's library.
//!
//! The framing: eight magic bytes, two version numbers, then blocks of at most 32 KiB of content,
//! each a length and a raw snappy block. Source: storage-format reference, 3.5.

use std::io::{self, Read, Write};

use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;

use crate::disk::DiskFile;
use crate::snapshot_writer::Compression;

const XERIAL_MAGIC: [u8; 8] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
const XERIAL_VERSIONS: [u8; 8] = [0, 0, 0, 1, 0, 0, 0, 1];
const XERIAL_BLOCK_BYTES: usize = 32 * 1024;

/// Reads a file from front to back.
pub(crate) struct FileStream<F> {
    file: F,
    position: u64,
}

impl<F: DiskFile> FileStream<F> {
    pub fn new(file: F) -> FileStream<F> {
        FileStream { file, position: 0 }
    }
}

impl<F: DiskFile> Read for FileStream<F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(self.position, buffer)?;
        self.position += count as u64;
        Ok(count)
    }
}

/// The content of a snapshot file.
pub(crate) fn open<F: DiskFile>(file: F, compression: Compression) -> io::Result<Box<dyn Read>> {
    let file = io::BufReader::with_capacity(256 * 1024, FileStream::new(file));
    Ok(match compression {
        Compression::None => Box::new(file),
        Compression::Gzip => {
            Box::new(io::BufReader::with_capacity(64 * 1024, MultiGzDecoder::new(file)))
        }
        Compression::Snappy => Box::new(XerialReader::new(file)?),
    })
}

struct XerialReader<R> {
    inner: R,
    block: Vec<u8>,
    at: usize,
}

impl<R: Read> XerialReader<R> {
    fn new(mut inner: R) -> io::Result<XerialReader<R>> {
        let mut head = [0; 16];
        inner.read_exact(&mut head)?;
        if head[..8] != XERIAL_MAGIC {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "no snappy stream"));
        }
        Ok(XerialReader { inner, block: Vec::new(), at: 0 })
    }

    /// Reads the next block; false at the end.
    fn refill(&mut self) -> io::Result<bool> {
        let mut length = [0; 4];
        match self.inner.read(&mut length[..1])? {
            0 => return Ok(false),
            _ => self.inner.read_exact(&mut length[1..])?,
        }
        let length = u32::from_be_bytes(length) as usize;
        let invalid = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
        if length > snap::raw::max_compress_len(1 << 20) {
            return Err(invalid("a snappy block of impossible length"));
        }
        let mut compressed = vec![0; length];
        self.inner.read_exact(&mut compressed)?;
        let size = snap::raw::decompress_len(&compressed).map_err(io::Error::other)?;
        if size > 1 << 24 {
            return Err(invalid("a snappy block of impossible content length"));
        }
        self.block =
            snap::raw::Decoder::new().decompress_vec(&compressed).map_err(io::Error::other)?;
        self.at = 0;
        Ok(true)
    }
}

impl<R: Read> Read for XerialReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at == self.block.len() {
            if !self.refill()? {
                return Ok(0);
            }
        }
        let count = buffer.len().min(self.block.len() - self.at);
        buffer[..count].copy_from_slice(&self.block[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}

/// Compresses what is written to it.
pub(crate) enum Compressor<W: Write> {
    None(W),
    Gzip(GzEncoder<W>),
    Snappy { inner: W, block: Vec<u8> },
}

impl<W: Write> Compressor<W> {
    pub fn new(mut inner: W, compression: Compression) -> io::Result<Compressor<W>> {
        Ok(match compression {
            Compression::None => Compressor::None(inner),
            Compression::Gzip => {
                Compressor::Gzip(GzEncoder::new(inner, flate2::Compression::fast()))
            }
            Compression::Snappy => {
                inner.write_all(&XERIAL_MAGIC)?;
                inner.write_all(&XERIAL_VERSIONS)?;
                Compressor::Snappy { inner, block: Vec::with_capacity(XERIAL_BLOCK_BYTES) }
            }
        })
    }

    pub fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        match self {
            Compressor::None(inner) => inner.write_all(bytes),
            Compressor::Gzip(inner) => inner.write_all(bytes),
            Compressor::Snappy { inner, block } => {
                while !bytes.is_empty() {
                    let room = XERIAL_BLOCK_BYTES - block.len();
                    let (now, later) = bytes.split_at(room.min(bytes.len()));
                    block.extend_from_slice(now);
                    bytes = later;
                    if block.len() == XERIAL_BLOCK_BYTES {
                        write_block(inner, block)?;
                    }
                }
                Ok(())
            }
        }
    }

    /// Writes what is left and gives the inner writer back.
    pub fn finish(self) -> io::Result<W> {
        match self {
            Compressor::None(inner) => Ok(inner),
            Compressor::Gzip(inner) => inner.finish(),
            Compressor::Snappy { mut inner, mut block } => {
                write_block(&mut inner, &mut block)?;
                Ok(inner)
            }
        }
    }
}

fn write_block<W: Write>(inner: &mut W, block: &mut Vec<u8>) -> io::Result<()> {
    if block.is_empty() {
        return Ok(());
    }
    let compressed = snap::raw::Encoder::new().compress_vec(block).map_err(io::Error::other)?;
    let length = u32::try_from(compressed.len()).map_err(io::Error::other)?;
    inner.write_all(&length.to_be_bytes())?;
    inner.write_all(&compressed)?;
    block.clear();
    Ok(())
}

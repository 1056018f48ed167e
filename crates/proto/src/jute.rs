//! The jute encoding: big-endian numbers, length-prefixed strings, buffers and vectors, records as
//! their fields in order without tags.
//!
//! Decoding borrows from the input. Lengths are compared with what is left of the input before
//! anything is allocated, so a hostile length costs nothing.
//! Source: `reference` section 1 of the client protocol; Apache's `BinaryInputArchive`.

use std::borrow::Cow;

use thiserror::Error;

use crate::id::{ServerId, SessionId, Zxid};

/// Why bytes are not the record they should be.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// The input ended inside a field.
    #[error("record ends {missing} bytes early")]
    Truncated {
        /// How many more bytes the field needed.
        missing: usize,
    },
    /// A negative length other than -1 (null).
    #[error("negative length {length}")]
    NegativeLength {
        /// The length found.
        length: i32,
    },
    /// Null where a value is needed.
    #[error("null where a value is required")]
    Null,
    /// A tag, flag or type with a value that is not defined.
    #[error("undefined {what} {value}")]
    Undefined {
        /// Which field.
        what: &'static str,
        /// The value found.
        value: i64,
    },
    /// A length above what a field may have.
    #[error("{what} of {length} bytes, at most {max} are taken")]
    TooLong {
        /// Which field.
        what: &'static str,
        /// The length found.
        length: i64,
        /// The limit.
        max: usize,
    },
}

/// Reads jute values from a byte slice, front to back.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Starts at the first byte of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { rest: bytes }
    }

    /// Bytes not read yet.
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// The bytes not read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Takes the next `count` bytes as they are.
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        match self.rest.split_at_checked(count) {
            Some((head, tail)) => {
                self.rest = tail;
                Ok(head)
            }
            None => Err(DecodeError::Truncated { missing: count - self.rest.len() }),
        }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        match self.rest.split_first_chunk::<N>() {
            Some((head, tail)) => {
                self.rest = tail;
                Ok(*head)
            }
            None => Err(DecodeError::Truncated { missing: N - self.rest.len() }),
        }
    }

    /// Reads one value of type `T`.
    pub fn get<T: Decode<'a>>(&mut self) -> Result<T, DecodeError> {
        T::decode(self)
    }

    /// A length-prefixed run of bytes; `None` is null (-1).
    pub fn buffer(&mut self) -> Result<Option<&'a [u8]>, DecodeError> {
        match self.get::<i32>()? {
            -1 => Ok(None),
            length if length < 0 => Err(DecodeError::NegativeLength { length }),
            length => self.take(length as usize).map(Some),
        }
    }

    /// Element count of a vector; `None` is null (-1). Other negative counts read as 0, as Apache's
    /// reader does.
    pub fn count(&mut self) -> Result<Option<usize>, DecodeError> {
        match self.get::<i32>()? {
            -1 => Ok(None),
            count => Ok(Some(usize::try_from(count).unwrap_or(0))),
        }
    }
}

/// A value that can be read from jute bytes.
pub trait Decode<'a>: Sized {
    /// Reads the value and moves `reader` behind it.
    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError>;
}

/// A value that can be written as jute bytes.
pub trait Encode {
    /// Appends the value to `out`.
    fn encode(&self, out: &mut Vec<u8>);
}

macro_rules! big_endian {
    ($($number:ty),*) => {$(
        impl<'a> Decode<'a> for $number {
            fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
                reader.array().map(<$number>::from_be_bytes)
            }
        }
        impl Encode for $number {
            fn encode(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_be_bytes());
            }
        }
    )*};
}
big_endian!(i32, i64);

impl<'a> Decode<'a> for bool {
    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let [byte] = reader.array()?;
        Ok(byte != 0)
    }
}

impl Encode for bool {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }
}

impl<'a> Decode<'a> for Zxid {
    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        reader.get().map(Zxid::from_wire)
    }
}

impl Encode for Zxid {
    fn encode(&self, out: &mut Vec<u8>) {
        self.to_wire().encode(out);
    }
}

impl<'a> Decode<'a> for SessionId {
    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        reader.get().map(SessionId)
    }
}

impl Encode for SessionId {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
    }
}

impl<'a> Decode<'a> for ServerId {
    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        reader.get().map(ServerId)
    }
}

impl Encode for ServerId {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
    }
}

/// Nullable bytes.
impl<'a> Decode<'a> for Option<&'a [u8]> {
    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        reader.buffer()
    }
}

impl Encode for Option<&[u8]> {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            None => (-1i32).encode(out),
            Some(bytes) => encode_bytes(bytes, out),
        }
    }
}

impl Encode for &[u8] {
    fn encode(&self, out: &mut Vec<u8>) {
        encode_bytes(self, out);
    }
}

/// Nullable string. Malformed UTF-8 becomes U+FFFD, as in Apache's reader; it never fails.
impl<'a> Decode<'a> for Option<Cow<'a, str>> {
    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        // The first look is for speed alone: nearly all strings are well-formed.
        let text = |bytes: &'a [u8]| match str::from_utf8(bytes) {
            Ok(text) => Cow::Borrowed(text),
            Err(_) => String::from_utf8_lossy(bytes),
        };
        Ok(reader.buffer()?.map(text))
    }
}

impl Encode for Option<Cow<'_, str>> {
    fn encode(&self, out: &mut Vec<u8>) {
        self.as_deref().map(str::as_bytes).encode(out);
    }
}

/// A string that must not be null.
impl<'a> Decode<'a> for Cow<'a, str> {
    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        reader.get::<Option<Cow<'a, str>>>()?.ok_or(DecodeError::Null)
    }
}

impl Encode for Cow<'_, str> {
    fn encode(&self, out: &mut Vec<u8>) {
        encode_bytes(self.as_bytes(), out);
    }
}

impl Encode for str {
    fn encode(&self, out: &mut Vec<u8>) {
        encode_bytes(self.as_bytes(), out);
    }
}

impl<'a> Decode<'a> for String {
    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        reader.get::<Cow<'a, str>>().map(Cow::into_owned)
    }
}

impl Encode for String {
    fn encode(&self, out: &mut Vec<u8>) {
        encode_bytes(self.as_bytes(), out);
    }
}

/// Nullable vector.
impl<'a, T: Decode<'a>> Decode<'a> for Option<Vec<T>> {
    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let Some(count) = reader.count()? else { return Ok(None) };
        // Every element of every record takes at least four bytes, so what is left bounds the count.
        let mut items = Vec::with_capacity(count.min(reader.remaining() / 4));
        for _ in 0..count {
            items.push(reader.get()?);
        }
        Ok(Some(items))
    }
}

impl<T: Encode> Encode for Option<Vec<T>> {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            None => (-1i32).encode(out),
            Some(items) => items.encode(out),
        }
    }
}

/// A vector that must not be null.
impl<'a, T: Decode<'a>> Decode<'a> for Vec<T> {
    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        reader.get::<Option<Vec<T>>>()?.ok_or(DecodeError::Null)
    }
}

impl<T: Encode> Encode for Vec<T> {
    fn encode(&self, out: &mut Vec<u8>) {
        self.as_slice().encode(out);
    }
}

impl<T: Encode> Encode for [T] {
    fn encode(&self, out: &mut Vec<u8>) {
        encode_length(self.len(), out);
        for item in self {
            item.encode(out);
        }
    }
}

fn encode_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    encode_length(bytes.len(), out);
    out.extend_from_slice(bytes);
}

fn encode_length(length: usize, out: &mut Vec<u8>) {
    i32::try_from(length)
        .expect("values are bounded by the frame limit, far below 2^31")
        .encode(out);
}

/// Declares a record once: the struct, and its encoding and decoding in field order.
///
/// Fields may be anything that is [`Encode`] and [`Decode`]. A record that borrows has exactly the
/// lifetime `'a`.
#[macro_export]
macro_rules! record {
    ($(#[$meta:meta])* pub struct $name:ident<'a> { $($(#[$fmeta:meta])* pub $field:ident: $type:ty),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name<'a> { $($(#[$fmeta])* pub $field: $type),* }
        impl<'a> $crate::jute::Decode<'a> for $name<'a> {
            fn decode(reader: &mut $crate::jute::Reader<'a>) -> Result<Self, $crate::jute::DecodeError> {
                Ok($name { $($field: reader.get()?),* })
            }
        }
        impl $crate::jute::Encode for $name<'_> {
            fn encode(&self, out: &mut Vec<u8>) {
                $($crate::jute::Encode::encode(&self.$field, out);)*
            }
        }
    };
    ($(#[$meta:meta])* pub struct $name:ident { $($(#[$fmeta:meta])* pub $field:ident: $type:ty),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name { $($(#[$fmeta])* pub $field: $type),* }
        impl<'a> $crate::jute::Decode<'a> for $name {
            fn decode(reader: &mut $crate::jute::Reader<'a>) -> Result<Self, $crate::jute::DecodeError> {
                Ok($name { $($field: reader.get()?),* })
            }
        }
        impl $crate::jute::Encode for $name {
            fn encode(&self, out: &mut Vec<u8>) {
                $($crate::jute::Encode::encode(&self.$field, out);)*
            }
        }
    };
}

/// Encodes a value into a fresh vector.
pub fn to_bytes<T: Encode + ?Sized>(value: &T) -> Vec<u8> {
    let mut out = Vec::new();
    value.encode(&mut out);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn null_and_empty_are_distinct() {
        let mut r = Reader::new(&[0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
        assert_eq!(r.buffer(), Ok(None));
        assert_eq!(r.buffer(), Ok(Some(&[][..])));
        assert_eq!(r.remaining(), 0);
    }

    #[test]
    fn a_huge_length_is_refused_without_allocation() {
        let bytes = [0x7f, 0xff, 0xff, 0xff, 1, 2];
        assert_eq!(
            Reader::new(&bytes).buffer(),
            Err(DecodeError::Truncated { missing: 0x7fff_ffff - 2 })
        );
        let vector: Result<Vec<i64>, _> = Reader::new(&bytes).get();
        assert!(matches!(vector, Err(DecodeError::Truncated { .. })));
    }

    #[test]
    fn negative_counts_read_as_empty_but_minus_one_is_null() {
        assert_eq!(Reader::new(&(-2i32).to_be_bytes()).get(), Ok(Some(Vec::<i32>::new())));
        assert_eq!(Reader::new(&(-1i32).to_be_bytes()).get(), Ok(None::<Vec<i32>>));
        assert_eq!(
            Reader::new(&(-2i32).to_be_bytes()).buffer(),
            Err(DecodeError::NegativeLength { length: -2 })
        );
    }

    #[test]
    fn any_non_zero_byte_is_true() {
        assert_eq!(Reader::new(&[7]).get(), Ok(true));
    }

    #[test]
    fn malformed_utf8_is_replaced() {
        let bytes = [0, 0, 0, 2, b'a', 0xff];
        assert_eq!(Reader::new(&bytes).get::<String>(), Ok("a\u{fffd}".to_owned()));
    }
}

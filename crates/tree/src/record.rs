//! A node's record: everything about it that changes rarely, packed into a few bytes.
//!
//! Records are immutable: a change writes a new one. What changes with the node's children (their
//! list, `cversion`, `pzxid`) stands apart, so that a create does not rewrite its parent.

/// A record read in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record<'r> {
    /// Last component of the path, in UTF-8. As bytes, because it is read far more often to be
    /// passed over than to be shown.
    pub name: &'r [u8],
    /// Data; null is kept.
    pub data: Option<&'r [u8]>,
    /// Number in the ACL table.
    pub acl: u32,
    /// `ephemeralOwner`.
    pub owner: i64,
    pub czxid: u64,
    pub mzxid: u64,
    pub ctime: i64,
    pub mtime: i64,
    pub version: i32,
    pub aversion: i32,
}

const HAS_DATA: u8 = 1;
const HAS_OWNER: u8 = 2;
/// Data, version or ACL version were set: the four fields follow.
const MODIFIED: u8 = 4;

impl<'r> Record<'r> {
    /// Appends the packed form.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let modified = self.mzxid != self.czxid
            || self.mtime != self.ctime
            || self.version != 0
            || self.aversion != 0;
        let mut flags = 0;
        flags |= if self.data.is_some() { HAS_DATA } else { 0 };
        flags |= if self.owner != 0 { HAS_OWNER } else { 0 };
        flags |= if modified { MODIFIED } else { 0 };
        out.push(flags);
        put_varint(self.name.len() as u64, out);
        out.extend_from_slice(self.name);
        put_varint(u64::from(self.acl), out);
        put_varint(self.czxid, out);
        put_varint(zigzag(self.ctime), out);
        if modified {
            put_varint(zigzag(self.mzxid.wrapping_sub(self.czxid) as i64), out);
            put_varint(zigzag(self.mtime.wrapping_sub(self.ctime)), out);
            put_varint(zigzag(i64::from(self.version)), out);
            put_varint(zigzag(i64::from(self.aversion)), out);
        }
        if self.owner != 0 {
            out.extend_from_slice(&self.owner.to_le_bytes());
        }
        if let Some(data) = self.data {
            put_varint(data.len() as u64, out);
            out.extend_from_slice(data);
        }
    }

    /// Reads a record from the front of its block.
    pub fn decode(block: &'r [u8]) -> Record<'r> {
        let mut rest = block;
        let flags = take(&mut rest, 1)[0];
        let name_len = get_varint(&mut rest) as usize;
        let name = take(&mut rest, name_len);
        let acl = get_varint(&mut rest) as u32;
        let czxid = get_varint(&mut rest);
        let ctime = unzigzag(get_varint(&mut rest));
        let (mut mzxid, mut mtime, mut version, mut aversion) = (czxid, ctime, 0, 0);
        if flags & MODIFIED != 0 {
            mzxid = czxid.wrapping_add(unzigzag(get_varint(&mut rest)) as u64);
            mtime = ctime.wrapping_add(unzigzag(get_varint(&mut rest)));
            version = unzigzag(get_varint(&mut rest)) as i32;
            aversion = unzigzag(get_varint(&mut rest)) as i32;
        }
        let owner = if flags & HAS_OWNER != 0 {
            let bytes = take(&mut rest, 8).try_into().expect("eight bytes were taken");
            i64::from_le_bytes(bytes)
        } else {
            0
        };
        let data = if flags & HAS_DATA != 0 {
            let data_len = get_varint(&mut rest) as usize;
            Some(take(&mut rest, data_len))
        } else {
            None
        };
        Record { name, data, acl, owner, czxid, mzxid, ctime, mtime, version, aversion }
    }

    /// The name as text.
    pub fn name_text(&self) -> &'r str {
        str::from_utf8(self.name).expect("names are stored as UTF-8")
    }

    /// The name alone, which stands in front: for comparisons on the way up a path.
    pub fn name_bytes(block: &'r [u8]) -> &'r [u8] {
        let mut rest = &block[1..];
        let name_len = get_varint(&mut rest) as usize;
        take(&mut rest, name_len)
    }
}

fn take<'b>(rest: &mut &'b [u8], count: usize) -> &'b [u8] {
    let (head, tail) = rest.split_at(count);
    *rest = tail;
    head
}

fn put_varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[inline]
fn get_varint(rest: &mut &[u8]) -> u64 {
    match rest.split_first() {
        Some((&byte, behind)) if byte < 0x80 => {
            *rest = behind;
            u64::from(byte)
        }
        _ => get_long_varint(rest),
    }
}

fn get_long_varint(rest: &mut &[u8]) -> u64 {
    // Eight bytes at once, if there are: the first with a clear top bit is the last of the number.
    if let Some(bytes) = rest.first_chunk::<8>() {
        let word = u64::from_le_bytes(*bytes);
        let ends = !word & 0x8080_8080_8080_8080;
        if ends != 0 {
            let len = ends.trailing_zeros() as usize / 8 + 1;
            *rest = &rest[len..];
            return join_septets(word & (ends ^ (ends - 1)));
        }
    }
    let mut value = 0;
    let mut shift = 0;
    for (at, &byte) in rest.iter().enumerate() {
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            *rest = &rest[at + 1..];
            return value;
        }
        shift += 7;
    }
    panic!("a record ends inside a number");
}

/// The lower seven bits of each byte, one behind the other.
fn join_septets(word: u64) -> u64 {
    let pairs = word & 0x007f_007f_007f_007f | (word & 0x7f00_7f00_7f00_7f00) >> 1;
    let fours = pairs & 0x0000_3fff_0000_3fff | (pairs & 0x3fff_0000_3fff_0000) >> 2;
    fours & 0x0fff_ffff | (fours & 0x0fff_ffff_0000_0000) >> 4
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_survive_packing() {
        let plain = Record {
            name: b"node",
            data: Some(b"data"),
            acl: 0,
            owner: 0,
            czxid: 7,
            mzxid: 7,
            ctime: 1_700_000_000_000,
            mtime: 1_700_000_000_000,
            version: 0,
            aversion: 0,
        };
        let records = [
            plain,
            Record { data: None, ..plain },
            Record { data: Some(b""), name: b"", ..plain },
            Record { owner: i64::MIN, acl: u32::MAX, czxid: u64::MAX, mzxid: 0, ..plain },
            Record { mtime: i64::MIN, ctime: i64::MAX, version: i32::MIN, ..plain },
            Record { aversion: -1, name: "h\u{e9}".as_bytes(), ..plain },
        ];
        for record in records {
            let mut bytes = Vec::new();
            record.encode(&mut bytes);
            bytes.extend_from_slice(&[0xff; 3]);
            assert_eq!(Record::decode(&bytes), record);
            assert_eq!(Record::name_bytes(&bytes), record.name);
        }
    }

    /// With and without bytes behind them, from which nothing may leak into the number.
    #[test]
    fn numbers_of_every_length() {
        let numbers = (0..64).flat_map(|bits| [1u64 << bits, (1 << bits) - 1, u64::MAX >> bits]);
        for number in numbers {
            let mut bytes = Vec::new();
            put_varint(number, &mut bytes);
            let len = bytes.len();
            for behind in [0x00, 0x7f, 0x80, 0xff] {
                for count in [0, 1, 9] {
                    bytes.truncate(len);
                    bytes.resize(len + count, behind);
                    let mut rest = &bytes[..];
                    assert_eq!(get_varint(&mut rest), number, "{bytes:x?}");
                    assert_eq!(rest.len(), count);
                }
            }
        }
    }

    #[test]
    fn an_unmodified_leaf_has_a_short_header() {
        let record = Record {
            name: b"",
            data: Some(&[]),
            acl: 0,
            owner: 0,
            czxid: 1 << 20,
            mzxid: 1 << 20,
            ctime: 1_700_000_000_000,
            mtime: 1_700_000_000_000,
            version: 0,
            aversion: 0,
        };
        let mut bytes = Vec::new();
        record.encode(&mut bytes);
        assert!(bytes.len() <= 16, "{} bytes", bytes.len());
    }
}

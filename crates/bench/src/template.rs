//! Requests encoded once and copied often.
//!
//! A request of a load differs from the one before in its xid and in the numbers of its path. So it is
//! encoded with a marker of nine characters for each number, and the numbers are written into copies.

use oxikeeper_proto::reply::end_frame;
use oxikeeper_proto::request::RequestHeader;
use oxikeeper_proto::{Encode, OpCode};

/// Stands for a number in a path.
pub const MARKER: &str = "#########";
/// Numbers are below this.
pub const NUMBER_MAX: u32 = 999_999_999;

/// A request frame with holes.
pub struct Template {
    frame: Vec<u8>,
    holes: Vec<usize>,
}

impl Template {
    /// Encodes a request whose paths hold [`MARKER`]s; nothing else in it may.
    pub fn new(op: OpCode, body: &impl Encode) -> Template {
        let mut frame = vec![0; 4];
        RequestHeader { xid: 0, op: op.to_wire() }.encode(&mut frame);
        body.encode(&mut frame);
        end_frame(&mut frame, 0);
        let mut holes = Vec::new();
        let mut at = 0;
        while at + MARKER.len() <= frame.len() {
            if &frame[at..at + MARKER.len()] == MARKER.as_bytes() {
                holes.push(at);
                at += MARKER.len();
            } else {
                at += 1;
            }
        }
        Template { frame, holes }
    }

    /// Appends a copy with this xid; `number` says what goes into which hole.
    pub fn put(&self, out: &mut Vec<u8>, xid: i32, number: impl Fn(usize) -> u32) {
        let start = out.len();
        out.extend_from_slice(&self.frame);
        let copy = &mut out[start..];
        copy[4..8].copy_from_slice(&xid.to_be_bytes());
        for (hole, &at) in self.holes.iter().enumerate() {
            write_number(&mut copy[at..at + MARKER.len()], number(hole));
        }
    }
}

fn write_number(digits: &mut [u8], mut number: u32) {
    debug_assert!(number <= NUMBER_MAX);
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

#[cfg(test)]
mod tests {
    use oxikeeper_proto::Reader;
    use oxikeeper_proto::request::WatchableRequest;

    use super::*;

    #[test]
    fn numbers_go_into_their_holes() {
        let body = WatchableRequest { path: Some("/p#########/n#########".into()), watch: true };
        let template = Template::new(OpCode::GetData, &body);
        let mut out = vec![7];
        template.put(&mut out, 42, |hole| [12, 12_034][hole]);
        let frame = &out[1..];
        assert_eq!(u32::from_be_bytes(*frame.first_chunk().unwrap()) as usize, frame.len() - 4);
        let mut reader = Reader::new(&frame[4..]);
        assert_eq!(reader.get(), Ok(RequestHeader { xid: 42, op: 4 }));
        let path = Some("/p000000012/n000012034".into());
        assert_eq!(reader.get(), Ok(WatchableRequest { path, watch: true }));
        assert_eq!(reader.remaining(), 0);
    }
}

//! multi and multiRead: a list of operations, each behind a small header.

use crate::jute::{Decode, DecodeError, Encode, Reader};
use crate::op::OpCode;
use crate::record;
use crate::request::{
    CreateMode, CreateRequest, CreateTtlRequest, PathVersionRequest, SetDataRequest,
    WatchableRequest,
};

record! {
    /// Before every operation and result; `done` marks the end of the list.
    #[derive(Copy)]
    pub struct MultiHeader {
        /// Operation code, -1 for an error entry or the end.
        pub op: i32,
        /// True in the last header only.
        pub done: bool,
        /// -1 in requests; in results the error code of the entry.
        pub err: i32,
    }
}

impl MultiHeader {
    /// The end of a list.
    pub const END: MultiHeader = MultiHeader { op: -1, done: true, err: -1 };

    /// Before an operation of a request.
    pub const fn request(op: OpCode) -> MultiHeader {
        MultiHeader { op: op.to_wire(), done: false, err: -1 }
    }

    /// Before a successful result.
    pub const fn result(op: OpCode) -> MultiHeader {
        MultiHeader { op: op.to_wire(), done: false, err: 0 }
    }

    /// Before the error code of an entry that failed or was not executed.
    pub const fn error(err: i32) -> MultiHeader {
        MultiHeader { op: -1, done: false, err }
    }
}

/// One operation of a multi or multiRead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MultiOp<'a> {
    /// create, create2 or createContainer, told apart by the code.
    Create(OpCode, CreateRequest<'a>),
    /// createTTL.
    CreateTtl(CreateTtlRequest<'a>),
    /// delete.
    Delete(PathVersionRequest<'a>),
    /// setData.
    SetData(SetDataRequest<'a>),
    /// check.
    Check(PathVersionRequest<'a>),
    /// getChildren, in a multiRead.
    GetChildren(WatchableRequest<'a>),
    /// getData, in a multiRead.
    GetData(WatchableRequest<'a>),
}

impl MultiOp<'_> {
    /// Its operation code.
    pub const fn code(&self) -> OpCode {
        match self {
            MultiOp::Create(code, _) => *code,
            MultiOp::CreateTtl(_) => OpCode::CreateTtl,
            MultiOp::Delete(_) => OpCode::Delete,
            MultiOp::SetData(_) => OpCode::SetData,
            MultiOp::Check(_) => OpCode::Check,
            MultiOp::GetChildren(_) => OpCode::GetChildren,
            MultiOp::GetData(_) => OpCode::GetData,
        }
    }

    /// The node it is about; null is possible on the wire.
    pub fn path(&self) -> Option<&str> {
        let path = match self {
            MultiOp::Create(_, request) => &request.path,
            MultiOp::CreateTtl(request) => &request.path,
            MultiOp::Delete(request) | MultiOp::Check(request) => &request.path,
            MultiOp::SetData(request) => &request.path,
            MultiOp::GetChildren(request) | MultiOp::GetData(request) => &request.path,
        };
        path.as_deref()
    }

    /// True for the operations of a multiRead.
    pub const fn is_read(&self) -> bool {
        matches!(self, MultiOp::GetChildren(_) | MultiOp::GetData(_))
    }
}

/// Body of a multi or multiRead request. All operations are of one kind, reads or writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MultiRequest<'a> {
    /// In order.
    pub ops: Vec<MultiOp<'a>>,
}

impl<'a> Decode<'a> for MultiRequest<'a> {
    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let mut ops: Vec<MultiOp<'a>> = Vec::new();
        loop {
            let header: MultiHeader = reader.get()?;
            if header.done {
                return Ok(MultiRequest { ops });
            }
            let op = decode_op(header.op, reader)?;
            if ops.first().is_some_and(|first| first.is_read() != op.is_read()) {
                return Err(DecodeError::Undefined {
                    what: "operation in a list of the other kind",
                    value: i64::from(header.op),
                });
            }
            ops.push(op);
        }
    }
}

fn decode_op<'a>(code: i32, reader: &mut Reader<'a>) -> Result<MultiOp<'a>, DecodeError> {
    let undefined =
        || DecodeError::Undefined { what: "operation in a multi", value: i64::from(code) };
    Ok(match OpCode::from_wire(code).ok_or_else(undefined)? {
        op @ (OpCode::Create | OpCode::Create2 | OpCode::CreateContainer) => {
            let create: CreateRequest<'a> = reader.get()?;
            require_flags(create.flags)?;
            create.acl.as_ref().ok_or(DecodeError::Null)?;
            MultiOp::Create(op, create)
        }
        OpCode::CreateTtl => {
            let create: CreateTtlRequest<'a> = reader.get()?;
            require_flags(create.flags)?;
            MultiOp::CreateTtl(create)
        }
        OpCode::Delete => MultiOp::Delete(reader.get()?),
        OpCode::SetData => MultiOp::SetData(reader.get()?),
        OpCode::Check => MultiOp::Check(reader.get()?),
        OpCode::GetChildren => MultiOp::GetChildren(reader.get()?),
        OpCode::GetData => MultiOp::GetData(reader.get()?),
        _ => return Err(undefined()),
    })
}

/// Inside a multi, Apache refuses bad flags while decoding; so it does a null ACL vector, but not
/// that of a createTTL.
fn require_flags(flags: i32) -> Result<(), DecodeError> {
    match CreateMode::from_wire(flags) {
        Some(_) => Ok(()),
        None => Err(DecodeError::Undefined { what: "create flags", value: i64::from(flags) }),
    }
}

impl Encode for MultiRequest<'_> {
    fn encode(&self, out: &mut Vec<u8>) {
        for op in &self.ops {
            MultiHeader::request(op.code()).encode(out);
            match op {
                MultiOp::Create(_, body) => body.encode(out),
                MultiOp::CreateTtl(body) => body.encode(out),
                MultiOp::Delete(body) | MultiOp::Check(body) => body.encode(out),
                MultiOp::SetData(body) => body.encode(out),
                MultiOp::GetChildren(body) | MultiOp::GetData(body) => body.encode(out),
            }
        }
        MultiHeader::END.encode(out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jute::to_bytes;

    fn check(path: &str) -> MultiOp<'_> {
        MultiOp::Check(PathVersionRequest { path: Some(path.into()), version: 3 })
    }

    #[test]
    fn survives_the_wire() {
        let request = MultiRequest { ops: vec![check("/a"), check("/b")] };
        let bytes = to_bytes(&request);
        assert_eq!(Reader::new(&bytes).get(), Ok(request));
        let empty = MultiRequest { ops: vec![] };
        assert_eq!(to_bytes(&empty), [0xff, 0xff, 0xff, 0xff, 1, 0xff, 0xff, 0xff, 0xff]);
    }

    #[test]
    fn reads_and_writes_do_not_mix() {
        let read = MultiOp::GetData(WatchableRequest { path: Some("/a".into()), watch: false });
        let bytes = to_bytes(&MultiRequest { ops: vec![check("/a"), read] });
        assert!(Reader::new(&bytes).get::<MultiRequest<'_>>().is_err());
    }
}

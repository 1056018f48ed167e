//! What servers answer.

use std::borrow::Cow;

use crate::acl::Acl;
use crate::id::{SessionId, Zxid};
use crate::jute::{Decode, DecodeError, Encode, Reader};
use crate::limits::PASSWORD_BYTES;
use crate::record;
use crate::stat::Stat;

/// Answer to the handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectResponse {
    /// Always 0.
    pub protocol_version: i32,
    /// The session timeout granted, milliseconds; 0 if the session to resume is not valid.
    pub timeout_ms: i32,
    /// The session; 0 if not valid.
    pub session: SessionId,
    /// Always 16 bytes: the C client reads a fixed-size structure.
    pub password: [u8; PASSWORD_BYTES],
    /// Whether the server is read-only; present only if the request carried the byte.
    pub read_only: Option<bool>,
}

impl ConnectResponse {
    /// "Your session is gone."
    pub fn expired(read_only: Option<bool>) -> ConnectResponse {
        ConnectResponse {
            protocol_version: 0,
            timeout_ms: 0,
            session: SessionId::NONE,
            password: [0; PASSWORD_BYTES],
            read_only,
        }
    }
}

impl Encode for ConnectResponse {
    fn encode(&self, out: &mut Vec<u8>) {
        self.protocol_version.encode(out);
        self.timeout_ms.encode(out);
        self.session.encode(out);
        self.password.as_slice().encode_buffer(out);
        if let Some(read_only) = self.read_only {
            read_only.encode(out);
        }
    }
}

impl<'a> Decode<'a> for ConnectResponse {
    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(ConnectResponse {
            protocol_version: reader.get()?,
            timeout_ms: reader.get()?,
            session: reader.get()?,
            password: {
                let bytes = reader.buffer()?.ok_or(DecodeError::Null)?;
                bytes.try_into().map_err(|_| DecodeError::Undefined {
                    what: "password length",
                    value: bytes.len() as i64,
                })?
            },
            read_only: if reader.remaining() > 0 { Some(reader.get()?) } else { None },
        })
    }
}

trait EncodeBuffer {
    fn encode_buffer(&self, out: &mut Vec<u8>);
}

impl EncodeBuffer for [u8] {
    fn encode_buffer(&self, out: &mut Vec<u8>) {
        Some(self).encode(out);
    }
}

record! {
    /// Before every reply and notification. A non-zero error means that no body follows.
    #[derive(Copy)]
    pub struct ReplyHeader {
        /// The request's number, or one of the special ones.
        pub xid: i32,
        /// The last transaction applied where the reply was made.
        pub zxid: Zxid,
        /// An error code, 0 for success.
        pub err: i32,
    }
}

record! {
    /// create, sync: the path.
    pub struct PathReply<'a> {
        /// As the server has it, suffix included.
        pub path: Option<Cow<'a, str>>,
    }
}

record! {
    /// create2, createContainer, createTTL.
    pub struct Create2Reply<'a> {
        /// As the server has it, suffix included.
        pub path: Cow<'a, str>,
        /// Right after the create.
        pub stat: Stat,
    }
}

record! {
    /// exists, setData, setACL.
    #[derive(Copy)]
    pub struct StatReply {
        /// The node's statistics.
        pub stat: Stat,
    }
}

record! {
    /// getData, reconfig.
    pub struct GetDataReply<'a> {
        /// The data; null stays null.
        pub data: Option<&'a [u8]>,
        /// The node's statistics.
        pub stat: Stat,
    }
}

record! {
    /// getACL.
    pub struct GetAclReply {
        /// The list.
        pub acl: Vec<Acl>,
        /// The node's statistics.
        pub stat: Stat,
    }
}

record! {
    /// getChildren: names, in no particular order.
    pub struct GetChildrenReply<'a> {
        /// Names without paths.
        pub children: Vec<Cow<'a, str>>,
    }
}

record! {
    /// getChildren2.
    pub struct GetChildren2Reply<'a> {
        /// Names without paths.
        pub children: Vec<Cow<'a, str>>,
        /// The parent's statistics.
        pub stat: Stat,
    }
}

record! {
    /// getEphemerals: whole paths.
    pub struct GetEphemeralsReply<'a> {
        /// The session's ephemeral nodes under the prefix.
        pub ephemerals: Vec<Cow<'a, str>>,
    }
}

record! {
    /// getAllChildrenNumber.
    #[derive(Copy)]
    pub struct GetAllChildrenNumberReply {
        /// Descendants at any depth.
        pub total_number: i32,
    }
}

record! {
    /// One identity of a connection, for whoAmI.
    pub struct ClientInfo {
        /// The scheme.
        pub auth_scheme: String,
        /// The user in it.
        pub user: String,
    }
}

record! {
    /// whoAmI.
    pub struct WhoAmIReply {
        /// Every identity of the connection.
        pub client_info: Vec<ClientInfo>,
    }
}

record! {
    /// addWatch, and the body of an error inside a multi.
    #[derive(Copy)]
    pub struct ErrorReply {
        /// An error code.
        pub err: i32,
    }
}

record! {
    /// sasl.
    pub struct SaslReply<'a> {
        /// The mechanism's token.
        pub token: Option<&'a [u8]>,
    }
}

/// Appends a whole frame: length, header, and what `body` writes.
pub fn frame(out: &mut Vec<u8>, header: ReplyHeader, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    header.encode(out);
    body(out);
    end_frame(out, start);
}

/// Writes the length of the frame that began at `start` with four spare bytes.
pub fn end_frame(out: &mut [u8], start: usize) {
    let length = u32::try_from(out.len() - start - 4).expect("a frame is far below 4 GiB");
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
}

//! The trees at the end.

use oxikeeper_proto::request::{PathRequest, WatchableRequest};
use oxikeeper_proto::{Encode, OpCode};

use super::Run;

impl Run {
    /// Walks both trees with an administrator's rights and compares node by node.
    pub(super) fn compare_trees(&mut self) {
        let pair = self.connect(None);
        let at = self.pairs.len();
        self.pairs.push(pair);
        let root = oxikeeper_proto::request::AuthPacket {
            kind: 0,
            scheme: Some("digest".into()),
            auth: Some(b"super:admin"),
        };
        self.walk_step(at, OpCode::Auth, &root, "auth as super");
        let mut open = vec!["/".to_owned()];
        let mut nodes = 0;
        while let Some(path) = open.pop() {
            nodes += 1;
            let watch = WatchableRequest { path: Some(path.as_str().into()), watch: false };
            let plain = PathRequest { path: Some(path.as_str().into()) };
            self.walk_step(at, OpCode::GetData, &watch, &path);
            self.walk_step(at, OpCode::GetAcl, &plain, &path);
            if let Some(children) = self.walk_step(at, OpCode::GetChildren2, &watch, &path) {
                let parent = if path == "/" { "" } else { path.as_str() };
                open.extend(children.into_iter().map(|child| format!("{parent}/{child}")));
            }
        }
        assert!(nodes >= 4, "the walk saw the system nodes at least");
    }

    fn walk_step(
        &mut self,
        at: usize,
        op: OpCode,
        body: &impl Encode,
        path: &str,
    ) -> Option<Vec<String>> {
        let mut seen: [Vec<String>; 2] = Default::default();
        let mut children = None;
        for (side, seen) in seen.iter_mut().enumerate() {
            let client = self.pairs[at].clients[side].as_mut()?;
            let reply = client.call(op, body).expect("the walk is answered");
            if side == 0 && op == OpCode::GetChildren2 && reply.header.err == 0 {
                children = oxikeeper_proto::Reader::new(&reply.body).get::<Vec<String>>().ok();
            }
            seen.push(self.normalise(op.to_wire(), &reply, side));
        }
        self.compare(&seen, &format!("final tree: {op:?} {path}"));
        children
    }
}

//! Reads, and the handling of watches.

use std::borrow::Cow;

use oxikeeper_proto::multi::{MultiOp, MultiRequest};
use oxikeeper_proto::request::{
    AddWatchRequest, PathRequest, SetWatches2Request, SetWatchesRequest, WatchableRequest,
    WatchesRequest,
};
use oxikeeper_proto::{Encode, OpCode, Zxid};

use super::{Generator, Sent};

impl Generator {
    pub(super) fn read(&mut self) -> Sent {
        let path = self.path();
        let op = *self.random.pick(&[
            OpCode::Exists,
            OpCode::Exists,
            OpCode::GetData,
            OpCode::GetData,
            OpCode::GetChildren,
            OpCode::GetChildren2,
            OpCode::GetAcl,
            OpCode::GetAllChildrenNumber,
            OpCode::GetEphemerals,
        ]);
        if matches!(op, OpCode::GetAcl | OpCode::GetAllChildrenNumber | OpCode::GetEphemerals) {
            let text = format!("{op:?} {path:?}");
            return self.sent(op.to_wire(), text, |out| PathRequest { path }.encode(out));
        }
        let watch = self.random.one_in(3);
        let text = format!("{op:?} {path:?} watch {watch}");
        self.sent(op.to_wire(), text, |out| WatchableRequest { path, watch }.encode(out))
    }

    pub(super) fn multi_read(&mut self) -> Sent {
        let count = self.random.below(4);
        let ops: Vec<MultiOp<'static>> = (0..count)
            .map(|_| {
                let request = WatchableRequest { path: self.path(), watch: self.random.one_in(3) };
                if self.random.one_in(2) {
                    MultiOp::GetData(request)
                } else {
                    MultiOp::GetChildren(request)
                }
            })
            .collect();
        let text = format!("MultiRead {ops:?}");
        self.sent(OpCode::MultiRead.to_wire(), text, |out| MultiRequest { ops }.encode(out))
    }

    pub(super) fn watches(&mut self) -> Sent {
        let path = self.path();
        if self.random.one_in(2) {
            let mode = *self.random.pick(&[0, 1, 0, 1, 2, -1]);
            let text = format!("AddWatch {path:?} {mode}");
            return self.sent(OpCode::AddWatch.to_wire(), text, |out| {
                AddWatchRequest { path, mode }.encode(out);
            });
        }
        let op = *self.random.pick(&[OpCode::CheckWatches, OpCode::RemoveWatches]);
        let watcher_type = *self.random.pick(&[1, 2, 3, 4, 5, 0, 6]);
        let text = format!("{op:?} {path:?} {watcher_type}");
        self.sent(op.to_wire(), text, |out| WatchesRequest { path, watcher_type }.encode(out))
    }

    pub(super) fn paths(&mut self) -> Option<Vec<Cow<'static, str>>> {
        if self.random.one_in(30) {
            return None;
        }
        let count = self.random.below(4);
        Some((0..count).filter_map(|_| self.echoed_path()).collect())
    }

    pub(super) fn set_watches(&mut self) -> Sent {
        let back = self.random.below(20) as i64;
        let relative_zxid = Zxid::from_wire((self.last_zxid - back).max(0));
        let (data, exist, child) = (self.paths(), self.paths(), self.paths());
        if self.random.one_in(2) {
            let request = SetWatchesRequest {
                relative_zxid,
                data_watches: data,
                exist_watches: exist,
                child_watches: child,
            };
            let text = format!("{request:?}");
            return self.sent(OpCode::SetWatches.to_wire(), text, |out| request.encode(out));
        }
        let request = SetWatches2Request {
            relative_zxid,
            data_watches: data,
            exist_watches: exist,
            child_watches: child,
            persistent_watches: self.paths(),
            persistent_recursive_watches: self.paths(),
        };
        let text = format!("{request:?}");
        self.sent(OpCode::SetWatches2.to_wire(), text, |out| request.encode(out))
    }

    pub(super) fn sync(&mut self) -> Sent {
        let path = self.echoed_path();
        let text = format!("Sync {path:?}");
        self.sent(OpCode::Sync.to_wire(), text, |out| PathRequest { path }.encode(out))
    }
}

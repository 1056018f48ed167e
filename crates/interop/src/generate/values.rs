//! Paths, data, versions and ACLs: sound ones, failing ones, absurd ones.

use std::borrow::Cow;

use oxikeeper_proto::AclEntry;
use oxikeeper_proto::acl::perms;

use super::{Generator, NAMES, TOPS};
use crate::exceptions::Exception;

impl Generator {
    pub(super) fn path(&mut self) -> Option<Cow<'static, str>> {
        let odd = [
            "/",
            "",
            "/nosuch",
            "/x/",
            "x",
            "//",
            "/x//a",
            "/x/.",
            "/x/..",
            "/zookeeper",
            "/zookeeper/config",
            "/zookeeper/quota",
            "/x/\u{e9}",
            "/x/\u{1f600}",
            "/x/\u{1}",
            "/x\0y",
            "/y/...",
            "/y/ ",
            "/x/\u{fffd}",
        ];
        match self.random.below(100) {
            0 => None,
            1..=7 => Some((*self.random.pick(&odd)).into()),
            8..=30 => Some((*self.random.pick(TOPS)).into()),
            _ => {
                let mut path = (*self.random.pick(TOPS)).to_owned();
                for _ in 0..1 + self.random.below(3) {
                    path.push('/');
                    let name = *self.random.pick(NAMES);
                    path.push_str(name);
                    if self.random.one_in(2) {
                        break;
                    }
                }
                if self.random.one_in(12) {
                    let number = self.random.below(6);
                    path.push_str(&format!("{number:010}"));
                }
                Some(path.into())
            }
        }
    }

    /// A path that the server writes back: Apache writes what is beyond the basic plane as pairs of
    /// surrogates, which is a listed difference.
    pub(super) fn echoed_path(&mut self) -> Option<Cow<'static, str>> {
        loop {
            let path = self.path();
            if path.as_ref().is_none_or(|path| path.chars().all(|c| u32::from(c) < 0x1_0000)) {
                return path;
            }
            self.used.note(Exception::SurrogatesNotEchoed);
        }
    }

    pub(super) fn data(&mut self) -> Option<Vec<u8>> {
        match self.random.below(12) {
            0 => None,
            1 => Some(Vec::new()),
            2 => Some(vec![b'z'; 1 + self.random.below(3000)]),
            _ => Some(format!("d{}", self.random.below(1000)).into_bytes()),
        }
    }

    pub(super) fn version(&mut self) -> i32 {
        *self.random.pick(&[-1, -1, -1, -1, 0, 0, 1, 2, 3, -2, i32::MIN, i32::MAX])
    }

    pub(super) fn acl(&mut self) -> Option<Vec<AclEntry<'static>>> {
        let entry = |perms, scheme: &'static str, id: &'static str| AclEntry {
            perms,
            scheme: Some(scheme.into()),
            id: Some(id.into()),
        };
        let open = entry(perms::ALL, "world", "anyone");
        Some(match self.random.below(40) {
            0 => return None,
            1 => vec![],
            2 => vec![entry(perms::READ, "world", "anyone")],
            3 => vec![entry(perms::ALL, "auth", "")],
            4 => vec![
                entry(perms::ALL, "digest", "u:Jq7wMyA/w2Vd5WIDAKdu4OIIFEQ="),
                entry(perms::READ, "world", "anyone"),
            ],
            5 => vec![entry(perms::ALL, "ip", "127.0.0.1")],
            6 => vec![entry(perms::ALL, "ip", "10.0.0.0/8"), open.clone()],
            7 => vec![entry(
                perms::ALL,
                "ip",
                self.random.pick::<&str>(&[
                    "1.2.3",
                    "1.2.3.4/33",
                    "::1",
                    "::1/129",
                    "",
                    "a.b.c.d",
                    "1.2.3.4/",
                    "fe80::/10",
                ]),
            )],
            8 => vec![entry(perms::ALL, "nosuch", "x")],
            9 => vec![entry(
                perms::ALL,
                "digest",
                self.random.pick::<&str>(&["a", "a:", "a:b:c", ":b", "a:b", "", ":", "a::"]),
            )],
            10 => vec![open.clone(), open.clone()],
            11 => vec![entry(0, "world", "anyone"), entry(perms::ADMIN, "world", "anyone")],
            12 => vec![AclEntry { perms: 31, scheme: None, id: Some("anyone".into()) }],
            13 => vec![AclEntry { perms: 31, scheme: Some("world".into()), id: None }],
            14 => vec![entry(perms::ALL, "world", "you")],
            15 => vec![entry(perms::ALL, "super", "")],
            16 => vec![entry(perms::READ | perms::WRITE, "world", "anyone")],
            17 => vec![entry(-1, "world", "anyone")],
            18 => vec![entry(perms::CREATE | perms::DELETE | perms::ADMIN, "world", "anyone")],
            _ => vec![open],
        })
    }
}

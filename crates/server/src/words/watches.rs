//! `wchs`, `wchc`, `wchp`: who watches what.

use std::collections::{BTreeMap, BTreeSet};

use oxikeeper_proto::SessionId;

/// Sessions and the paths each of them watches.
type Watched = [(SessionId, Vec<String>)];

/// `wchs`.
pub fn summary(watched: &Watched) -> String {
    let paths: BTreeSet<&String> = watched.iter().flat_map(|(_, paths)| paths).collect();
    let total: usize = watched.iter().map(|(_, paths)| paths.len()).sum();
    format!("{} connections watching {} paths\nTotal watches:{total}\n", watched.len(), paths.len())
}

/// `wchc`.
pub fn by_session(watched: &Watched) -> String {
    let mut text = String::new();
    for (session, paths) in watched {
        text.push_str(&format!("{session}\n"));
        paths.iter().for_each(|path| text.push_str(&format!("\t{path}\n")));
    }
    text.push('\n');
    text
}

/// `wchp`.
pub fn by_path(watched: &Watched) -> String {
    let mut by_path: BTreeMap<&String, Vec<SessionId>> = BTreeMap::new();
    for (session, paths) in watched {
        paths.iter().for_each(|path| by_path.entry(path).or_default().push(*session));
    }
    let mut text = String::new();
    for (path, sessions) in by_path {
        text.push_str(&format!("{path}\n"));
        sessions.iter().for_each(|session| text.push_str(&format!("\t{session}\n")));
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_apache_prints_them() {
        let session = SessionId(0x0100_000c_e68f_0000);
        let watched = [(session, vec!["/app".to_owned(), "/app/b".to_owned()])];
        assert_eq!(summary(&watched), "1 connections watching 2 paths\nTotal watches:2\n");
        let name = session.to_string();
        assert_eq!(by_session(&watched), format!("{name}\n\t/app\n\t/app/b\n\n"));
        assert_eq!(by_path(&watched), format!("/app\n\t{name}\n/app/b\n\t{name}\n\n"));
        assert_eq!(by_path(&[]), "\n");
    }
}

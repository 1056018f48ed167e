//! Access control lists as people write them: `scheme:id:perms[,...]`.

use oxikeeper_proto::acl::perms;
use oxikeeper_proto::{Acl, Id};

/// Letters of permissions, in the order in which they are shown.
const LETTERS: [(char, i32); 5] = [
    ('c', perms::CREATE),
    ('d', perms::DELETE),
    ('r', perms::READ),
    ('w', perms::WRITE),
    ('a', perms::ADMIN),
];

/// Reads a list. The first and the last colon of an entry split it, for ids have colons of their own.
/// The error names the entry, as Apache's shell does.
pub fn parse(text: &str) -> Result<Vec<Acl>, String> {
    text.split(',').map(entry).collect()
}

fn entry(text: &str) -> Result<Acl, String> {
    let malformed = || format!("{text} does not have the form scheme:id:perm");
    let (scheme, rest) = text.split_once(':').ok_or_else(malformed)?;
    let (id, letters) = rest.rsplit_once(':').ok_or_else(malformed)?;
    Ok(Acl { perms: parse_perms(letters)?, id: Id::new(scheme, id) })
}

/// Permissions from their letters.
pub fn parse_perms(letters: &str) -> Result<i32, String> {
    let bit = |letter| {
        let found = LETTERS.iter().find(|(known, _)| *known == letter);
        found.map(|(_, bit)| *bit).ok_or_else(|| format!("Unknown perm type: {letter}"))
    };
    letters.chars().try_fold(0, |bits, letter| Ok(bits | bit(letter)?))
}

/// Permissions as letters.
pub fn show_perms(bits: i32) -> String {
    LETTERS.iter().filter(|(_, bit)| bits & bit != 0).map(|(letter, _)| *letter).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_entries() {
        let acl = parse("world:anyone:r,digest:bob:ikIa+/=:cdrwa").expect("a list");
        assert_eq!(acl[0], Acl { perms: perms::READ, id: Id::anyone() });
        assert_eq!(acl[1], Acl { perms: perms::ALL, id: Id::new("digest", "bob:ikIa+/=") });
        assert_eq!(show_perms(acl[1].perms), "cdrwa");
        assert_eq!(parse("auth::a").expect("an empty id")[0].id, Id::new("auth", ""));
    }

    #[test]
    fn what_is_no_list() {
        for text in ["", "nonsense", "world:anyone", "world:anyone:r,"] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert_eq!(parse("world:anyone:rx").expect_err("x is none"), "Unknown perm type: x");
    }
}

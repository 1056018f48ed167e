use super::*;

fn remote() -> IpAddr {
    "10.0.0.7".parse().expect("an address")
}

fn acl(perms: i32, scheme: &str, id: &str) -> Acl {
    Acl { perms, id: Id::new(scheme, id) }
}

fn entry<'a>(perms: i32, scheme: Option<&'a str>, id: Option<&'a str>) -> AclEntry<'a> {
    AclEntry { perms, scheme: scheme.map(Cow::Borrowed), id: id.map(Cow::Borrowed) }
}

fn ids() -> Vec<Id> {
    let mut ids = vec![ip::identity(remote())];
    assert!(AuthPolicy::default().authenticate(DIGEST, Some(b"u:p"), remote(), &mut ids));
    ids
}

const U: &str = "u:Jq7wMyA/w2Vd5WIDAKdu4OIIFEQ=";

#[test]
fn an_acl_permits_whom_it_names() {
    let policy = AuthPolicy::default();
    let cases = [
        (vec![], perms::ALL, true),
        (vec![Acl::open()], perms::ADMIN, true),
        (vec![acl(perms::READ, WORLD, ANYONE)], perms::READ, true),
        (vec![acl(perms::READ, WORLD, ANYONE)], perms::WRITE, false),
        (vec![acl(perms::READ, WORLD, ANYONE)], perms::READ | perms::ADMIN, true),
        (vec![acl(0, WORLD, ANYONE)], perms::READ, false),
        (vec![acl(perms::ALL, WORLD, "somebody")], perms::READ, false),
        (vec![acl(perms::ALL, DIGEST, U)], perms::READ, true),
        (vec![acl(perms::ALL, DIGEST, "u:other")], perms::READ, false),
        (vec![acl(perms::ALL, IP, "10.0.0.0/8")], perms::READ, true),
        (vec![acl(perms::ALL, IP, "11.0.0.0/8")], perms::READ, false),
        (vec![acl(perms::ALL, "sasl", "u")], perms::READ, false),
        (vec![acl(perms::READ, IP, "11.0.0.1"), acl(perms::READ, DIGEST, U)], perms::READ, true),
        (vec![acl(perms::READ, DIGEST, U), acl(perms::WRITE, IP, "11.0.0.1")], perms::WRITE, false),
    ];
    for (list, wanted, expected) in cases {
        assert_eq!(policy.permits(&list, wanted, &ids()), expected, "{list:?} {wanted}");
    }
}

#[test]
fn an_identity_matches_in_its_own_scheme_only() {
    let policy = AuthPolicy::default();
    let list = [acl(perms::ALL, DIGEST, "10.0.0.7")];
    assert!(!policy.permits(&list, perms::READ, &ids()));
}

#[test]
fn nothing_stops_the_super_user() {
    let super_digest = DigestAlgorithm::Sha1.identity("super:admin");
    let policy = AuthPolicy { super_digest: Some(super_digest.clone()), ..AuthPolicy::default() };
    let nobody = [acl(0, WORLD, ANYONE)];
    let mut ids = vec![];
    assert!(policy.authenticate(DIGEST, Some(b"super:wrong"), remote(), &mut ids));
    assert!(!policy.permits(&nobody, perms::READ, &ids), "only with the right password");
    assert!(policy.authenticate(DIGEST, Some(b"super:admin"), remote(), &mut ids));
    assert!(ids.contains(&Id::new(SUPER, "")));
    assert!(ids.contains(&Id::new(DIGEST, super_digest)));
    assert!(policy.permits(&nobody, perms::READ, &ids));
    let open = AuthPolicy { skip_acl: true, ..AuthPolicy::default() };
    assert!(open.permits(&nobody, perms::READ, &[]));
}

#[test]
fn auth_packets() {
    let policy = AuthPolicy::default();
    let cases: [(&str, Option<&[u8]>, bool); 9] = [
        (DIGEST, Some(b"u:p"), true),
        (DIGEST, Some(b"no colon"), true),
        (DIGEST, Some(b""), true),
        (DIGEST, None, false),
        (IP, None, true),
        (WORLD, Some(b"anyone"), false),
        (SUPER, Some(b""), false),
        ("sasl", Some(b""), false),
        ("", Some(b""), false),
    ];
    for (scheme, auth, expected) in cases {
        let mut ids = vec![];
        assert_eq!(policy.authenticate(scheme, auth, remote(), &mut ids), expected, "{scheme}");
        assert_eq!(ids.is_empty(), !expected);
        let before = ids.clone();
        assert_eq!(policy.authenticate(scheme, auth, remote(), &mut ids), expected);
        assert_eq!(ids, before, "identities are a set");
    }
    let without = AuthPolicy { digest_enabled: false, ..AuthPolicy::default() };
    assert!(!without.authenticate(DIGEST, Some(b"u:p"), remote(), &mut vec![]));
}

#[test]
fn requested_lists_are_checked() {
    let policy = AuthPolicy::default();
    let invalid: [Vec<AclEntry<'_>>; 9] = [
        vec![],
        vec![entry(31, None, Some("x"))],
        vec![entry(31, Some("nope"), None)],
        vec![entry(31, Some(WORLD), Some("somebody"))],
        vec![entry(31, Some(SUPER), Some(""))],
        vec![entry(31, Some("sasl"), Some("u"))],
        vec![entry(31, Some(DIGEST), Some("u"))],
        vec![entry(31, Some(IP), Some("host"))],
        vec![entry(31, Some(WORLD), Some(ANYONE)), entry(31, Some("nope"), Some("x"))],
    ];
    for list in invalid {
        assert_eq!(policy.fix_up(Some(&list), &ids()), Err(ErrorCode::InvalidAcl), "{list:?}");
    }
    assert_eq!(policy.fix_up(None, &ids()), Err(ErrorCode::InvalidAcl));
    for scheme in [WORLD, DIGEST, IP] {
        let list = [entry(31, Some(scheme), None)];
        let error = Err(ErrorCode::MarshallingError);
        assert_eq!(policy.fix_up(Some(&list), &ids()), error, "a null identity of {scheme}");
    }
    let list = [
        entry(1, Some(IP), Some("1.2.3.4")),
        entry(31, Some(WORLD), Some(ANYONE)),
        entry(1, Some(IP), Some("1.2.3.4")),
        entry(2, Some(IP), Some("1.2.3.4")),
        entry(64, Some(DIGEST), Some("a:b")),
    ];
    let stored =
        vec![acl(1, IP, "1.2.3.4"), Acl::open(), acl(2, IP, "1.2.3.4"), acl(64, DIGEST, "a:b")];
    assert_eq!(policy.fix_up(Some(&list), &ids()), Ok(stored));
}

#[test]
fn auth_stands_for_all_that_was_proven() {
    let policy = AuthPolicy::default();
    let list = [entry(31, Some(AUTH), None)];
    assert_eq!(policy.fix_up(Some(&list), &ids()), Ok(vec![acl(31, DIGEST, U)]));
    let observed = [ip::identity(remote())];
    assert_eq!(policy.fix_up(Some(&list), &observed), Err(ErrorCode::InvalidAcl));
    let with_super = [ip::identity(remote()), Id::new(SUPER, "")];
    assert_eq!(policy.fix_up(Some(&list), &with_super), Err(ErrorCode::InvalidAcl));
}

#[test]
fn users_and_redaction() {
    let policy = AuthPolicy::default();
    assert_eq!(policy.user_name(&Id::new(DIGEST, U)), "u");
    assert_eq!(policy.user_name(&Id::new(IP, "1.2.3.4")), "1.2.3.4");
    assert_eq!(policy.user_name(&Id::new(SUPER, "")), "");
    let list = [acl(1, DIGEST, "bob:HASH"), acl(2, IP, "1.2.3.4")];
    assert_eq!(redacted(&list), [acl(1, DIGEST, "bob:x"), acl(2, IP, "1.2.3.4")]);
}

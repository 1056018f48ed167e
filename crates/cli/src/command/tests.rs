use super::*;

fn understood(line: &str) -> Parsed {
    parse(&crate::words::split(line)).unwrap_or_else(|fault| panic!("{line}: {}", fault.text()))
}

fn refused(line: &str) -> String {
    match parse(&crate::words::split(line)) {
        Ok(parsed) => panic!("{line}: {parsed:?}"),
        Err(fault) => fault.text(),
    }
}

#[test]
fn every_command_has_a_meaning() {
    for syntax in syntax::COMMANDS {
        let line = match syntax.name {
            "reconfig" => "reconfig -add x".to_owned(),
            "setquota" => "setquota -n 5 /a".to_owned(),
            "version" => "version".to_owned(),
            "delete" => "delete /a 3".to_owned(),
            "redo" => "redo 1".to_owned(),
            "setAcl" => "setAcl /a world:anyone:r".to_owned(),
            name => format!("{name} /a /b"),
        };
        understood(&line);
    }
}

#[test]
fn kinds_of_nodes() {
    let options = |line: &str| match understood(line).command {
        Command::Create { options, .. } => options,
        other => panic!("{other:?}"),
    };
    assert_eq!(options("create /a"), CreateOptions::persistent());
    assert_eq!(options("create -e -s /a"), CreateOptions::ephemeral_sequential());
    assert_eq!(options("create -c /a"), CreateOptions::container());
    let ttl = Duration::from_millis(5);
    assert_eq!(options("create -t 5 /a"), CreateOptions::ttl(ttl));
    assert_eq!(options("create -s -t 5 /a/"), CreateOptions::sequential_ttl(ttl));
    let acl = options("create /a d world:anyone:r");
    assert_eq!(acl, CreateOptions::persistent().acl(acl::parse("world:anyone:r").expect("a list")));
    let data = |line: &str| match understood(line).command {
        Command::Create { data, .. } => data,
        other => panic!("{other:?}"),
    };
    assert_eq!(data("create /a"), None);
    assert_eq!(data("create /a ''"), Some(Vec::new()));
}

/// Each as Apache's shell said it.
#[test]
fn words_about_wrong_words() {
    let cases = [
        ("create", "create [-s] [-e] [-c] [-t ttl] path [data] [acl]"),
        ("create -t abc /t", "-t argument must be a long value"),
        ("create -t 0 /t", "ttl must be positive and cannot be larger than: 1099511627775"),
        ("create -t 1000 -e /t", "TTLs cannot be used with Ephemeral znodes"),
        ("create /t/", "Path must not end with / character"),
        ("create -x /t", "Unrecognized option: -x"),
        (
            "create /t d world:anyone",
            "world:anyone does not have the form scheme:id:perm\nAcl is not valid : null",
        ),
        ("setquota -b abc /t", "NumberFormatException happens when parsing the option value"),
        ("setquota -n 0 /t", "the num quota must be greater than zero"),
        ("setquota -n", "Missing argument for option: n"),
        ("version extra", "version "),
        ("redo x", "Command index out of range"),
        ("deleteall -b x /t", "-b argument must be an int value"),
        ("removewatches", "removewatches path [-c|-d|-a] [-l]"),
        (
            "reconfig -file a -members x",
            "Can't use -file and -members together (conflicting non-incremental modes)",
        ),
        ("dance", "Command not found: Command not found dance"),
    ];
    for (line, text) in cases {
        assert_eq!(refused(line), text, "{line}");
    }
    assert!(refused("addWatch -m WRONG /t").starts_with("addWatch [-m mode] path"));
    assert!(refused("set -v abc /t x").contains("-v argument must be an int"));
    assert!(refused("set -b /t !!!").starts_with("data is not base64"));
    assert!(refused("addauth digest").starts_with("addauth scheme auth"));
}

#[test]
fn old_forms() {
    let parsed = understood("ls /t watch");
    assert!(matches!(parsed.command, Command::Ls { watch: true, .. }));
    let note = parsed.note.expect("it is deprecated");
    assert_eq!(note, "'ls path [watch]' has been deprecated. Please use 'ls [-w] path' instead.");
    let parsed = understood("delete /t 7");
    let Command::Delete { version, .. } = parsed.command else { panic!("{parsed:?}") };
    assert_eq!(version, ExpectedVersion::Exactly(7));
    assert!(parsed.note.is_some());
}

#[test]
fn base64_as_java_reads_it() {
    for (text, data) in [("aGVsbG8=", &b"hello"[..]), ("abc", b"i\xb7"), ("", b"")] {
        let Command::Set { data: set, .. } = understood(&format!("set -b /t '{text}'")).command
        else {
            panic!("no set");
        };
        assert_eq!(set, data, "{text}");
    }
}

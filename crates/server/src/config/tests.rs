use super::*;

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(text.as_bytes(), &Flags::default())
}

fn refusal(text: &str) -> String {
    parse(text).expect_err(text).to_string()
}

#[test]
fn apaches_sample_file() {
    let config = parse(
        "tickTime=2000\ninitLimit=10\nsyncLimit=5\ndataDir=/tmp/zookeeper\nclientPort=2181\n\
         #maxClientCnxns=60\n#autopurge.snapRetainCount=3\n",
    )
    .expect("the sample is valid");
    assert_eq!(config.node.tick_ms, 2000);
    assert_eq!(config.node.session_timeout_ms_min, 4000);
    assert_eq!(config.node.session_timeout_ms_max, 40_000);
    assert_eq!(config.connections_per_ip_max, 60);
    assert_eq!(config.client_address.map(|a| a.port()), Some(2181));
    assert_eq!(config.data_log_dir, config.data_dir);
    assert!(config.purge.interval.is_zero());
    assert_eq!(config.node.four_letter_words, ["srvr"]);
    assert_eq!(config.notes, []);
}

#[test]
fn settings_of_all_kinds() {
    let mut flags = Flags::default();
    flags.take_variable("-Dzookeeper.snapCount=7 -Djute.maxbuffer=0x400 -Dzookeeper.forceSync=no");
    let text = "dataDir=/d\ndataLogDir=/l\nclientPort=2183\nsnapCount=0x10\nextendedTypesEnabled=TRUE\n\
                4lw.commands.whitelist=ruok, stat ,\nautopurge.purgeInterval=2\n\
                autopurge.snapRetainCount=1\nsnapshot.compression.method=GZ\nminSessionTimeout=-1\n\
                clientPortAddress=127.0.0.1\nsnapSizeLimitInKb=-1\n\
                DigestAuthenticationProvider.superDigest=super:x\n";
    let config = Config::parse(text.as_bytes(), &flags).expect("valid");
    assert_eq!(config.node.snap_count, 16, "the file wins over the flag");
    assert_eq!(config.node.frame_bytes_max, 1024);
    assert!(!config.log.force_sync);
    assert!(config.node.extended_types);
    assert_eq!(config.node.four_letter_words, ["srvr", "ruok", "stat"]);
    assert_eq!(config.purge.interval, Duration::from_secs(7200));
    assert_eq!(config.purge.retain, 3, "fewer than three are raised");
    assert_eq!(config.compression, Compression::Gzip);
    assert_eq!(config.node.session_timeout_ms_min, 6000);
    assert_eq!(config.node.snap_log_bytes, None);
    assert_eq!(config.node.auth.super_digest.as_deref(), Some("super:x"));
    assert_eq!(config.client_address, Some("127.0.0.1:2183".parse().unwrap()));
}

#[test]
fn what_apache_refuses_is_refused() {
    let base = "dataDir=/d\nclientPort=2181\n";
    for (text, message) in [
        ("clientPort=2181\n", "dataDir is not set"),
        ("dataDir=/d\nclientPort=21x1\n", "line 2: clientPort=21x1"),
        ("dataDir=/d\nclientPort=99999\n", "not a port"),
        ("dataDir=/d\nclientPortAddress=::1\n", "clientPort is not"),
        ("dataDir=/d\nclientPort=0\nclientPortAddress=::1\n", "clientPort is not"),
    ] {
        assert!(refusal(text).contains(message), "{text}: {}", refusal(text));
    }
    for (line, message) in [
        ("tickTime=0", "tickTime=0 has to be above 0"),
        ("tickTime=two", "line 3: tickTime=two is not a decimal number"),
        ("minSessionTimeout=9000\nmaxSessionTimeout=8000", "must not be larger"),
        ("electionAlg=1", "electionAlg=1"),
        ("peerType=leader", "peerType=leader"),
        ("reconfigEnabled=yes", "is not true or false"),
        ("standaloneEnabled=1", "is not true or false"),
        ("metricsProvider.className=com.example.Mine", "is not known"),
        ("secureClientPortAddress=::1", "secureClientPort is not"),
        ("bad=\\u12", "line 3: \\u needs four hex digits"),
        ("server.1=a:1:2\nserver.2=b:1:2", "2 server lines"),
        ("server.1=a:1:2:observer", "nobody to follow"),
        ("server.1=a:1:2;2182", "the server line says"),
        ("server.1=a:1:2;127.0.0.1:2182", "the server line says"),
        ("server.one=a:1:2", "line 3: server.one=a:1:2 is not named"),
        ("server.1=a:1", "line 3: server.1=a:1 is not of the form"),
        ("standaloneEnabled=false", "standaloneEnabled=false"),
        ("dynamicConfigFile=/conf/zoo.cfg.dynamic", "dynamicConfigFile=/conf"),
        ("multiAddress.enabled=on", "is not true or false"),
        ("DigestAuthenticationProvider.digestAlg=ROT13", "not a known algorithm"),
    ] {
        let text = format!("{base}{line}\n");
        assert!(refusal(&text).contains(message), "{line}: {}", refusal(&text));
    }
}

#[test]
fn demanded_protection_that_is_missing_ends_the_start() {
    for line in [
        "sslQuorum=true",
        "quorum.auth.serverRequireSasl=true",
        "sessionRequireClientSASLAuth=true",
        "enforce.auth.enabled=true",
        "enforce.auth.schemes=digest",
        "audit.enable=true",
    ] {
        let text = format!("dataDir=/d\nclientPort=2181\n{line}\n");
        let key = line.split('=').next().unwrap();
        assert!(refusal(&text).starts_with(key), "{line}: {}", refusal(&text));
    }
}

#[test]
fn offered_protection_that_is_missing_is_an_error_line() {
    let config = parse(
        "dataDir=/d\nclientPort=2181\nsecureClientPort=2281\n\
         authProvider.1=org.apache.zookeeper.server.auth.SASLAuthenticationProvider\n\
         ssl.keyStore.location=/k\n",
    )
    .expect("the rest serves");
    let errors = config.notes.iter().filter(|note| matches!(note, Note::Error(_))).count();
    assert_eq!(errors, 2);
}

#[test]
fn one_server_line_runs_standalone_on_its_client_port() {
    let line = "dataDir=/d\nserver.1=localhost:2888:3888;127.0.0.1:2182\n";
    let expected = Some("127.0.0.1:2182".parse().unwrap());
    assert_eq!(parse(line).unwrap().client_address, expected);
    let same_port = format!("{line}clientPort=2182\n");
    assert_eq!(parse(&same_port).unwrap().client_address, expected, "the line is more exact");
    let without = "dataDir=/d\nclientPort=2182\nserver.1=localhost:2888:3888\n";
    assert_eq!(parse(without).unwrap().client_address.map(|a| a.port()), Some(2182));
}

#[test]
fn without_a_port_nobody_listens() {
    for text in ["dataDir=/d\n", "dataDir=/d\nclientPort=0\n"] {
        assert_eq!(parse(text).expect("valid").client_address, None, "{text}");
    }
}

#[test]
fn a_myid_that_is_no_number_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let text = format!("dataDir={}\nclientPort=2181\n", dir.path().display());
    std::fs::write(dir.path().join("myid"), "replace this text\n").expect("written");
    assert!(refusal(&text).contains("serverid replace this text is not a number"));
    std::fs::write(dir.path().join("myid"), "3\n").expect("written");
    assert!(parse(&text).is_ok());
}

#[test]
fn habits_that_deserve_a_line() {
    let config = parse("dataDir=d\nclientPort=2181\nautopurge.snapRetainCount=2\n").unwrap();
    let notes = format!("{:?}", config.notes);
    assert!(notes.contains("dataDir=d is relative"), "{notes}");
    assert!(notes.contains("autopurge.snapRetainCount=2"), "{notes}");
}

#[test]
fn providers_that_are_built_in_are_no_error() {
    let config = parse(
        "dataDir=/d\nclientPort=2181\n\
         authProvider.1=org.apache.zookeeper.server.auth.DigestAuthenticationProvider\n\
         authProvider.x=org.apache.zookeeper.server.auth.X509AuthenticationProvider\n\
         client.portUnification=true\n",
    )
    .expect("valid");
    let errors: Vec<&Note> =
        config.notes.iter().filter(|note| matches!(note, Note::Error(_))).collect();
    let texts = format!("{errors:?}");
    assert_eq!(errors.len(), 2, "{texts}");
    assert!(texts.contains("authProvider.x") && texts.contains("portUnification"), "{texts}");
}

#[test]
fn the_positional_form() {
    let words: Vec<String> = ["2181", "/d", "500", "7"].map(str::to_owned).into();
    let config = Config::positional(&words, &Flags::default()).unwrap();
    assert_eq!((config.node.tick_ms, config.connections_per_ip_max), (500, 7));
}

/// Pieces of configurations, sound and bent, thrown together: a verdict comes each time, and what
/// is accepted is within its ranges. No piece holds a name for clients to connect to: it would be
/// resolved.
#[test]
fn no_file_makes_it_panic() {
    const PIECES: &[&[u8]] = &[
        b"dataDir=/d\n",
        b"clientPort=2181\n",
        b"clientPort",
        b"tickTime",
        b"minSessionTimeout",
        b"maxSessionTimeout",
        b"autopurge.purgeInterval",
        b"autopurge.snapRetainCount",
        b"maxClientCnxns",
        b"clientPortListenBacklog",
        b"snapCount",
        b"preAllocSize",
        b"txnLogSizeLimitInKb",
        b"snapSizeLimitInKb",
        b"jute.maxbuffer",
        b"jute.maxbuffer.extrasize",
        b"fsync.warningthresholdms",
        b"znode.container.checkIntervalMs",
        b"4lw.commands.whitelist",
        b"server.1=127.0.0.1:1:2",
        b"[::1]:3:4",
        b"-1",
        b"0x7fffffffffffffff",
        b"9223372036854775807",
        b"-9223372036854775808",
        b"2147483647",
        b"4294967296",
        b"017",
        b"true",
        b"=",
        b":",
        b" ",
        b"\n",
        b"\r\n",
        b"\\",
        b"\\u00e9",
        b"\\u12",
        b"\xff\xfe\0",
        b"#",
        b"!",
    ];
    const VALUES: usize = 20; // from here on, pieces may stand right of a separator
    let mut random = 0x0dd0_5eed_u64;
    let mut next = move |below: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random % below as u64) as usize
    };
    let mut accepted = 0;
    let end = std::time::Instant::now() + Duration::from_secs(3);
    while std::time::Instant::now() < end {
        let mut text = b"dataDir=/d\n".to_vec();
        for _ in 0..next(12) {
            text.extend_from_slice(PIECES[next(PIECES.len())]);
            if next(2) == 0 {
                text.push(b'=');
                text.extend_from_slice(PIECES[VALUES + next(PIECES.len() - VALUES)]);
                text.push(b'\n');
            }
        }
        if next(4) == 0 {
            let at = next(text.len());
            text[at] = Some(next(256) as u8).filter(|byte| *byte != b';').unwrap_or(b'/');
        }
        let words = String::from_utf8_lossy(&text).replace('\n', " ");
        let mut flags = Flags::default();
        flags.take_variable(&words);
        if let Ok(config) = Config::parse(&text, &flags) {
            accepted += 1;
            assert!(config.node.tick_ms > 0);
            assert!(config.node.session_timeout_ms_min <= config.node.session_timeout_ms_max);
            assert!(config.purge.retain >= 3);
            assert!(config.node.frame_bytes_max >= 1);
            assert!((1..=REACTORS_MAX).contains(&config.reactors));
        }
    }
    assert!(accepted > 100, "only {accepted} files were sound: this test looks at nothing");
}

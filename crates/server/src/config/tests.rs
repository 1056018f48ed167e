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
    let text = "dataDir=/d\ndataLogDir=/l\nclientPort=0\nsnapCount=0x10\nextendedTypesEnabled=TRUE\n\
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
    assert_eq!(config.client_address, Some("127.0.0.1:0".parse().unwrap()));
}

#[test]
fn what_apache_refuses_is_refused() {
    let base = "dataDir=/d\nclientPort=2181\n";
    for (text, message) in [
        ("clientPort=2181\n", "dataDir is not set"),
        ("dataDir=/d\nclientPort=21x1\n", "line 2: clientPort=21x1"),
        ("dataDir=/d\nclientPort=99999\n", "not a port"),
        ("dataDir=/d\nclientPortAddress=::1\n", "clientPort is not"),
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
    let config = parse("dataDir=/d\nserver.1=localhost:2888:3888;127.0.0.1:2182\n").unwrap();
    assert_eq!(config.client_address, Some("127.0.0.1:2182".parse().unwrap()));
}

#[test]
fn the_positional_form() {
    let words: Vec<String> = ["2181", "/d", "500", "7"].map(str::to_owned).into();
    let config = Config::positional(&words, &Flags::default()).unwrap();
    assert_eq!((config.node.tick_ms, config.connections_per_ip_max), (500, 7));
}

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
fn each_key_for_limits_arrives() {
    let config = parse(
        "dataDir=/d\nclientPort=2181\nmaxClientCnxns=0\nmaxCnxns=7\nglobalOutstandingLimit=500\n\
         request_throttle_max_requests=80\nlargeRequestThreshold=1000\nlargeRequestMaxBytes=5000\n\
         nio.sessionlessCnxnTimeout=300\nconnection_throttle_tokens=10\n\
         connection_throttle_fill_time=50\nconnection_throttle_fill_count=2\n\
         connection_throttle_freeze_time=100\nconnection_throttle_drop_increase=0.5\n\
         connection_throttle_weight_enabled=true\nrequest_throttler.shutdownTimeout=1500\n\
         nio.numSelectorThreads=1\noxikeeper.awakeThreads=1\nclientTcpKeepAlive=true\n",
    )
    .expect("valid");
    assert_eq!((config.connections_per_ip_max, config.connections_max), (0, 7));
    assert_eq!(config.end_patience, Duration::from_millis(1500));
    assert_eq!((config.reactors, config.awake), (1, 1));
    assert!(config.client_keep_alive);
    let limits = config.node.limits;
    assert_eq!(limits.outstanding_max, 80, "the lower one holds");
    assert_eq!(limits.large_request_threshold, Some(1000));
    assert_eq!(limits.large_request_bytes_max, 5000);
    assert_eq!(limits.handshake_ms_max, 300);
    let throttle = limits.connection_throttle.expect("there are tokens");
    assert_eq!((throttle.tokens_max, throttle.fill_time_ms, throttle.fill_count), (10, 50, 2));
    assert_eq!((throttle.freeze_time_ms, throttle.drop_increase), (Some(100), 0.5));
    assert_eq!((throttle.new_session_weight, throttle.renewed_session_weight), (3, 2));
    assert_eq!(config.notes, [], "all of them work");
}

#[test]
fn defaults_are_apaches() {
    let config = parse("dataDir=/d\nclientPort=2181\n").expect("valid");
    assert_eq!((config.connections_per_ip_max, config.connections_max), (60, 0));
    assert_eq!(config.node.limits, oxikeeper_node::config::Limits::default());
    assert_eq!(config.end_patience, Duration::from_secs(10));
    let admin = config.admin;
    assert_eq!((admin.enabled, admin.host.as_str(), admin.port), (true, "0.0.0.0", 8080));
    assert_eq!((admin.command_url.as_str(), admin.idle_timeout.as_secs()), ("/commands", 30));
    assert!(admin.snapshot_enabled && admin.restore_enabled);
    assert_eq!(config.metrics, MetricsProvider::Default);
}

#[test]
fn admin_and_metrics() {
    let config = parse(
        "dataDir=/d\nclientPort=2181\nadmin.enableServer=FALSE\nadmin.serverPort=0x1f90\n\
         admin.serverAddress=127.0.0.1\nadmin.commandURL=/ops/\nadmin.snapshot.enabled=false\n\
         metricsProvider.className=org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider\n\
         metricsProvider.httpPort=9141\nmetricsProvider.httpHost=127.0.0.1\n\
         metricsProvider.exportJvmInfo=false\nmetricsProvider.numWorkerThreads=2\n",
    )
    .expect("valid");
    let admin = &config.admin;
    assert_eq!((admin.enabled, admin.host.as_str(), admin.port), (true, "127.0.0.1", 8080));
    assert_eq!((admin.command_url.as_str(), admin.snapshot_enabled), ("/ops", false));
    let host = "127.0.0.1".to_owned();
    let provider = MetricsProvider::Prometheus { host, port: 9141, export_process: false };
    assert_eq!(config.metrics, provider);
    assert_eq!(
        config.notes,
        [Note::Warning(
            "line 12: metricsProvider.numWorkerThreads has no effect here: metrics are read when \
             they are asked for, without workers"
                .into()
        )]
    );
    let off = "dataDir=/d\nadmin.enableServer=false\nadmin.serverPort=70000\nadmin.commandURL=/\n";
    assert!(!parse(off).expect("what is off may say anything").admin.enabled);
}

/// Each with the whole message: where, what, and what to do.
#[test]
fn what_apache_refuses_is_refused() {
    const CORRECT: &str = "; correct it, or remove the line to have the default";
    let base = "dataDir=/d\nclientPort=2181\n";
    for (line, message) in [
        ("tickTime=0", "line 3: tickTime=0 is not above 0 milliseconds"),
        ("tickTime=-5", "line 3: tickTime=-5 is not above 0 milliseconds"),
        ("tickTime=two", "line 3: tickTime=two is not a decimal number of 32 bits"),
        ("tickTime=0x10", "line 3: tickTime=0x10 is not a decimal number of 32 bits"),
        ("clientPort=21x1", "line 3: clientPort=21x1 is not a decimal number of 32 bits"),
        ("clientPort=99999", "line 3: clientPort=99999 is not a port"),
        ("clientPort=-1", "line 3: clientPort=-1 is not a port"),
        ("secureClientPort=x", "line 3: secureClientPort=x is not a decimal number of 32 bits"),
        ("maxClientCnxns=all", "line 3: maxClientCnxns=all is not a decimal number of 32 bits"),
        ("minSessionTimeout=1s", "line 3: minSessionTimeout=1s is not a decimal number of 32 bits"),
        (
            "clientPortListenBacklog=x",
            "line 3: clientPortListenBacklog=x is not a decimal number of 32 bits",
        ),
        ("initLimit=ten", "line 3: initLimit=ten is not a decimal number of 32 bits"),
        (
            "autopurge.purgeInterval=1h",
            "line 3: autopurge.purgeInterval=1h is not a decimal number of 32 bits",
        ),
        (
            "electionAlg=1",
            "line 3: electionAlg=1 is not an algorithm that is left: 3 is the only one",
        ),
        ("peerType=leader", "line 3: peerType=leader is not observer or participant"),
        ("reconfigEnabled=yes", "line 3: reconfigEnabled=yes is not true or false"),
        ("standaloneEnabled=1", "line 3: standaloneEnabled=1 is not true or false"),
        ("syncEnabled=on", "line 3: syncEnabled=on is not true or false"),
        ("quorumListenOnAllIPs=", "line 3: quorumListenOnAllIPs= is not true or false"),
        ("localSessionsEnabled=y", "line 3: localSessionsEnabled=y is not true or false"),
        ("sslQuorum=yes", "line 3: sslQuorum=yes is not true or false"),
        ("portUnification=yes", "line 3: portUnification=yes is not true or false"),
        ("multiAddress.enabled=on", "line 3: multiAddress.enabled=on is not true or false"),
        (
            "metricsProvider.className=com.example.Mine",
            "line 3: metricsProvider.className=com.example.Mine is not a provider this server has: \
             org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider or \
             org.apache.zookeeper.metrics.impl.DefaultMetricsProvider",
        ),
        ("admin.serverPort=70000", "line 3: zookeeper.admin.serverPort=70000 is not a port"),
        ("admin.commandURL=/", "line 3: zookeeper.admin.commandURL=/ is not a path below /"),
        (
            "DigestAuthenticationProvider.digestAlg=ROT13",
            "line 3: zookeeper.DigestAuthenticationProvider.digestAlg=ROT13 is not a known \
             algorithm, such as SHA1, SHA-256 or SHA-512",
        ),
    ] {
        assert_eq!(refusal(&format!("{base}{line}\n")), format!("{message}{CORRECT}"), "{line}");
    }
    for (text, message) in [
        ("clientPort=2181\n", "dataDir is not set; add a line dataDir=/path/of/a/directory"),
        (
            "clientPort=2181\ndataDir=\n",
            "line 2: dataDir is not set; add a line dataDir=/path/of/a/directory",
        ),
        (
            "dataDir=/d\nclientPortAddress=::1\n",
            "line 2: clientPortAddress is set but clientPort is not; add a line clientPort, or \
             remove clientPortAddress",
        ),
        (
            "dataDir=/d\nclientPort=0\nclientPortAddress=::1\n",
            "line 3: clientPortAddress is set but clientPort is not; add a line clientPort, or \
             remove clientPortAddress",
        ),
        (
            "dataDir=/d\nclientPort=1\nsecureClientPortAddress=::1\n",
            "line 3: secureClientPortAddress is set but secureClientPort is not; add a line \
             secureClientPort, or remove secureClientPortAddress",
        ),
        (
            "dataDir=/d\nminSessionTimeout=9000\nmaxSessionTimeout=8000\n",
            "line 2: minSessionTimeout (9000 ms) must not be larger than maxSessionTimeout (8000 \
             ms); correct one of them; without a line they are 2 and 20 times tickTime",
        ),
        (
            "dataDir=/d\nbad=\\u12\n",
            "line 2: \\u needs four hex digits; write \\\\ for a backslash that is meant as one",
        ),
        (
            "dataDir=/d\nquorum.auth.learnerRequireSasl=true\n",
            "line 2: quorum.auth.learnerRequireSasl=true, but quorum.auth.enableSasl is not; set \
             quorum.auth.enableSasl=true, or remove the line",
        ),
        (
            "dataDir=/d\nquorum.auth.enableSasl=true\nquorum.auth.serverRequireSasl=true\n",
            "line 3: quorum.auth.serverRequireSasl=true, but quorum.auth.learnerRequireSasl is \
             not; set both: servers would refuse one another",
        ),
    ] {
        assert_eq!(refusal(text), message, "{text}");
    }
}

/// Apache starts on each of these alone; none of them is about a server that serves alone.
#[test]
fn what_apache_passes_over_is_passed_over() {
    for line in [
        "observerMasterPort=77777",
        "syncLimit=-1",
        "initLimit=-1",
        "snapCount=many",
        "minSessionTimeout=-5",
        "autopurge.snapRetainCount=1",
        "unknown.key=x",
        "cnxTimeout=x",
    ] {
        assert!(parse(&format!("dataDir=/d\nclientPort=2181\n{line}\n")).is_ok(), "{line}");
    }
}

#[test]
fn a_file_that_cannot_be_read() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("zoo.cfg");
    let refusal = Config::load(&path, &Flags::default()).expect_err("none").to_string();
    assert!(refusal.starts_with(&format!("cannot read {}: No such file", path.display())));
    assert!(refusal.ends_with("name a file that the server's user may read"), "{refusal}");
    assert!(Config::load(dir.path(), &Flags::default()).is_err());
}

/// DESIGN 12: a test for each key that demands.
#[test]
fn demanded_protection_that_is_missing_ends_the_start() {
    let sasl = "quorum.auth.enableSasl=true\nquorum.auth.learnerRequireSasl=true";
    for (lines, key, number) in [
        ("sslQuorum=true", "sslQuorum", 3),
        ("sslQuorum=TRUE", "sslQuorum", 3),
        (sasl, "quorum.auth.learnerRequireSasl", 4),
        (
            &format!("{sasl}\nquorum.auth.serverRequireSasl=true"),
            "quorum.auth.learnerRequireSasl",
            4,
        ),
        ("sessionRequireClientSASLAuth=true", "sessionRequireClientSASLAuth", 3),
        ("enforce.auth.enabled=True", "enforce.auth.enabled", 3),
        ("enforce.auth.schemes=digest", "enforce.auth.schemes", 3),
        ("audit.enable=true", "audit.enable", 3),
        ("admin.forceHttps=true", "admin.forceHttps", 3),
        ("admin.needClientAuth=true", "admin.needClientAuth", 3),
    ] {
        let text = format!("dataDir=/d\nclientPort=2181\n{lines}\n");
        let rest = "demands protection that this version does not have; starting without it would \
                    be a hole. Remove the setting if you do not need it";
        assert_eq!(refusal(&text), format!("line {number}: {key} {rest}"), "{lines}");
        // The same as a flag, where there is one.
        let mut flags = Flags::default();
        flags.take_variable(&format!("-Dzookeeper.{lines}"));
        let config = Config::parse(b"dataDir=/d\nclientPort=2181\n", &flags);
        let is_file_key = lines.contains("sslQuorum") || lines.contains("quorum.auth");
        assert_eq!(config.is_err(), !is_file_key, "{lines}");
    }
    for off in [
        "sslQuorum=false",
        "quorum.auth.learnerRequireSasl=false",
        "sessionRequireClientSASLAuth=false",
        "enforce.auth.enabled=false",
        "audit.enable=no",
        "admin.forceHttps=false",
    ] {
        let text = format!("dataDir=/d\nclientPort=2181\n{off}\n");
        assert!(parse(&text).is_ok(), "{off}");
    }
}

#[test]
fn sasl_is_refused_where_it_is_offered() {
    let refuses = |text: &str| {
        let mut flags = Flags::default();
        flags.take_variable(if text == "login" {
            "-Djava.security.auth.login.config=/j"
        } else {
            ""
        });
        let text = format!("dataDir=/d\nclientPort=2181\n{}\n", text.replace("login", ""));
        Config::parse(text.as_bytes(), &flags).expect("sound").node.auth.refuses_sasl
    };
    let provider = "authProvider.1=org.apache.zookeeper.server.auth.SASLAuthenticationProvider";
    assert!(!refuses(""));
    assert!(!refuses("authProvider.1=org.apache.zookeeper.server.auth.IPAuthenticationProvider"));
    assert!(refuses(provider));
    assert!(refuses("login"));
    assert!(!refuses(&format!("{provider}\nallowSaslFailedClients=true")));
}

#[test]
fn offered_protection_that_is_missing_is_an_error_line() {
    let config = parse(
        "dataDir=/d\nclientPort=2181\nsecureClientPort=2281\n\
         authProvider.1=org.apache.zookeeper.server.auth.SASLAuthenticationProvider\n\
         ssl.keyStore.location=/k\nssl.keyStore.password=secret\nclient.portUnification=true\n\
         quorum.auth.enableSasl=true\nsuperUser=root\nadmin.portUnification=true\n",
    )
    .expect("the rest serves");
    let errors: Vec<&str> = config
        .notes
        .iter()
        .filter_map(|note| match note {
            Note::Error(text) => Some(text.as_str()),
            Note::Warning(_) => None,
        })
        .collect();
    assert_eq!(
        errors,
        [
            "line 8: quorum.auth.enableSasl: servers do not authenticate one another with it",
            "line 3: secureClientPort: nobody listens there until TLS is part of a version",
            "line 10: zookeeper.admin.portUnification: plain HTTP is served, no TLS",
            "line 4: zookeeper.authProvider.1: nobody can authenticate with it, unless it is \
             `digest` or `ip`, which are always there; with one of SASL, who tries SASL is refused \
             with -115",
            "line 7: zookeeper.client.portUnification: `clientPort` is plain",
            "line 9: zookeeper.superUser: of SASL: nobody can authenticate with it",
            "TLS is not part of this version, no port speaks it: zookeeper.ssl.keyStore.location, \
             zookeeper.ssl.keyStore.password",
        ]
    );
}

#[test]
fn keys_without_effect_are_said_once() {
    let mut flags = Flags::default();
    flags.take_variable("-Xmx1g -Dcom.sun.management.jmxremote -Dzookeeper.log.dir=/l");
    let text = "dataDir=/d\nclientPort=2181\nnio.numWorkerThreads=8\nnio.numWorkerThreads=9\n\
                some.key=1\nother=2\nmaxResponseCacheSize=400\nmaxGetChildrenResponseCacheSize=0\n\
                connectionMaxTokens=5\njute.maxbuffer=2000000\nsnapCount=many\n";
    let config = Config::parse(text.as_bytes(), &flags).expect("valid");
    assert_eq!(config.node.limits.connection_throttle.map(|throttle| throttle.tokens_max), Some(5));
    let texts: Vec<&str> = config
        .notes
        .iter()
        .map(|note| match note {
            Note::Warning(text) => text.as_str(),
            Note::Error(text) => panic!("{text}"),
        })
        .collect();
    assert_eq!(
        texts,
        [
            "line 10: jute.maxbuffer takes effect here; Apache reads it as a -D flag alone",
            "line 9: zookeeper.connectionMaxTokens is taken as \
             zookeeper.connection_throttle_tokens, the name that Apache reads",
            "-D flag: zookeeper.log.dir has no effect here: the log goes to standard error; \
             OXIKEEPER_LOG sets its level",
            "line 8: zookeeper.maxGetChildrenResponseCacheSize has no effect here: replies are \
             encoded straight from the tree; there is nothing to cache",
            "line 4: zookeeper.nio.numWorkerThreads has no effect here: reactors do all the work \
             of connections: `nio.numSelectorThreads`",
            "no version of ZooKeeper reads these settings: zookeeper.other, zookeeper.some.key",
            "flags for a JVM have no effect: -Xmx1g -Dcom.sun.management.jmxremote",
            "line 11: zookeeper.snapCount=many is not a number; the default 100000 holds",
        ]
    );
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

/// A data directory with a `myid`, and the lines of a file for it.
fn with_my_id(id: &str, lines: &str) -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join("myid"), id).expect("written");
    let text = format!("dataDir={}\nclientPort=2181\n{lines}\n", dir.path().display());
    (dir, text)
}

#[test]
fn a_myid_that_is_no_number_is_refused() {
    let (dir, text) = with_my_id("replace this text\n", "");
    let path = dir.path().join("myid");
    let expected = format!(
        "{} line 1: myid: serverid replace this text is not a number; write the N of this \
         server's line server.N",
        path.display()
    );
    assert_eq!(refusal(&text), expected);
    std::fs::write(path, "3\n").expect("written");
    assert_eq!(parse(&text).expect("a number").ensemble.my_id, Some(3));
}

#[test]
fn ensembles_are_checked_as_apache_does() {
    const LIMITS: &str = "initLimit=10\nsyncLimit=5";
    const TWO: &str = "server.1=a:1:2\nserver.2=b:1:2";
    for (lines, message) in [
        (
            "standaloneEnabled=false".to_owned(),
            "line 3: standaloneEnabled=false without a participant; name the servers of the \
             ensemble in lines server.N, or remove standaloneEnabled",
        ),
        (
            "server.1=a:1:2:observer".to_owned(),
            "line 3: server.1 is an observer, but there is no ensemble to observe; name at least \
             two participants, or set standaloneEnabled=false",
        ),
        (
            "server.1=a:1:2\nserver.2=b:1:2:observer".to_owned(),
            "line 4: server.2 is an observer, but there is no ensemble to observe; name at least \
             two participants, or set standaloneEnabled=false",
        ),
        (
            TWO.to_owned(),
            "initLimit is not set; an ensemble needs it: a number of ticks, 10 and 5 are usual",
        ),
        (
            format!("{TWO}\ninitLimit=10\nsyncLimit=0"),
            "line 6: syncLimit is not set; an ensemble needs it: a number of ticks, 10 and 5 are \
             usual",
        ),
        (
            format!("{TWO}\ninitLimit=-1"),
            "line 5: initLimit=-1 is not above 0; an ensemble needs it: a number of ticks, 10 and \
             5 are usual",
        ),
        (
            format!("server.2=a:1:2\nserver.3=b:1:2\n{LIMITS}"),
            "line 1: my id 1 is not in the list of servers; correct the file myid in dataDir, or \
             add the line server.N of this server",
        ),
        (
            format!("{TWO}\n{LIMITS}\ngroup.1=1:3"),
            "line 7: group.1=1:3 is not of servers there are: 3 has no line; correct it, or remove \
             the line to have the default",
        ),
        (
            format!("{TWO}\n{LIMITS}\ngroup=1"),
            "line 7: group=1 is not of the form group.G=N or group.G=N:N...; correct it, or remove \
             the line to have the default",
        ),
        (
            format!("{TWO}\n{LIMITS}\ngroup.1=1"),
            "line 4: server.2 is in 0 groups; each participant belongs into one group.G",
        ),
        (
            format!("{TWO}\n{LIMITS}\ngroup.1=1:2\ngroup.2=2"),
            "line 4: server.2 is in 2 groups; each participant belongs into one group.G",
        ),
        (
            format!("{TWO}\n{LIMITS}\nweight.1=heavy"),
            "line 7: weight.1=heavy is not of the form weight.N=W with W of 0 or more; correct it, \
             or remove the line to have the default",
        ),
        (
            "server.1=a:1:2|b:1:2".to_owned(),
            "line 3: server.1=a:1:2|b:1:2 is not one address; several take \
             multiAddress.enabled=true",
        ),
        (
            "server.one=a:1:2".to_owned(),
            "line 3: server.one=a:1:2 is not named server.N with a number N; N is what the server \
             has in its file myid",
        ),
        (
            "server.1=a:1".to_owned(),
            "line 3: server.1=a:1 is not of the form server_config or \
             server_config;client_config; server_config is host:port:port or host:port:port:role, \
             client_config is port or host:port",
        ),
        (
            "server.1=a:1:1".to_owned(),
            "line 3: server.1=a:1:1 is not possible: quorum port and election port must differ; \
             2888 and 3888 are usual",
        ),
        (
            "server.1=a:1:2;2182".to_owned(),
            "line 3: clientPort and clientPortAddress say [::]:2181, but the server line says \
             [::]:2182; name the address clients connect to in one place",
        ),
    ] {
        let (_dir, text) = with_my_id("1", &lines);
        assert_eq!(refusal(&text), message, "{lines}");
    }
    for lines in
        [format!("{TWO}\n{LIMITS}"), format!("server.1=a:1:2\nstandaloneEnabled=false\n{LIMITS}")]
    {
        let (_dir, text) = with_my_id("1", &lines);
        let config = Config::parse(text.as_bytes(), &Flags::default()).expect(&lines);
        assert!(config.ensemble.is_distributed() && config.node.ensemble, "{lines}");
        assert_eq!(config.node.server_id, 1, "{lines}");
    }
    let text = format!("dataDir=/no/such\n{TWO}\n{LIMITS}\n");
    assert_eq!(
        refusal(&text),
        "line 1: myid file is missing; write this server's number, the N of its line server.N, \
         into the file myid in dataDir"
    );
}

#[test]
fn settings_of_an_ensemble_are_kept() {
    let (_dir, text) = with_my_id(
        "2",
        "server.1=a:1:2\nserver.2=b:3:4|[::1]:5:6;127.0.0.1:2181\nserver.3=c:1:2:observer\n\
         group.1=1:2\nweight.2=3\ninitLimit=10\nsyncLimit=5\nmultiAddress.enabled=true\n\
         cnxTimeout=700\nelectionPortBindRetry=0\nleaderServes=no\ncommitLogCount=7\n\
         snapshotSizeFactor=-1\ntcpKeepAlive=true\nsyncEnabled=false\nquorumListenOnAllIPs=true\n\
         observer.syncEnabled=true\npeerType=observer\n",
    );
    let settings = keys::sort(text.as_bytes(), &Flags::default()).expect("sorted");
    let config = build::config(&settings).expect("a sound ensemble");
    let ensemble = config.ensemble;
    assert!(ensemble.is_distributed());
    assert_eq!((ensemble.my_id, ensemble.voters(), ensemble.servers.len()), (Some(2), 2, 3));
    assert_eq!(ensemble.servers[&2].addresses.len(), 2);
    assert_eq!(config.client_address, Some("127.0.0.1:2181".parse().unwrap()));
    let QuorumConfig::Hierarchical { groups, weights } = &ensemble.quorum else {
        panic!("{:?}", ensemble.quorum)
    };
    assert_eq!((&groups[&1][..], weights[&2]), (&[1, 2][..], 3));
    assert_eq!((ensemble.init_limit, ensemble.sync_limit), (10, 5));
    assert_eq!(ensemble.connect_to_learner_master_limit, 10, "initLimit unless set");
    assert_eq!(ensemble.election_connect_timeout, Duration::from_millis(700));
    assert_eq!((ensemble.election_port_bind_retry, ensemble.commit_log_count), (0, 500));
    assert_eq!((ensemble.leader_serves, ensemble.snapshot_size_factor), (false, None));
    assert!(ensemble.keep_alive && ensemble.listens_on_all_addresses);
    assert!(ensemble.observer_sync_enabled, "the property wins over the file's key");
    let notes = format!("{:?}", settings.notes.borrow());
    assert!(notes.contains("peerType=observer differs from the own server line"), "{notes}");
    assert!(notes.contains("no failure of a server is tolerated"), "{notes}");
}

#[test]
fn a_dynamic_file_holds_the_servers() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("zoo.cfg.dynamic.10000000a");
    let shown = path.display();
    let text = format!("dataDir=/d\ndynamicConfigFile={shown}\n");
    assert!(refusal(&text).starts_with(&format!("cannot read {shown}")));
    std::fs::write(&path, "server.1=localhost:1:2:participant;127.0.0.1:2182").expect("written");
    let config = parse(&text).expect("one voter serves alone");
    assert_eq!(config.client_address, Some("127.0.0.1:2182".parse().unwrap()));
    assert_eq!(config.ensemble.dynamic_file, Some((path.clone(), 0x1_0000_000a)));
    assert_eq!(
        refusal(&format!("{text}server.1=a:1:2\n")),
        format!(
            "line 3: server.1 stands beside dynamicConfigFile={shown}; the members stand in one of \
             the two files: remove the line, or dynamicConfigFile"
        )
    );
    for key in ["version=100000000", "tickTime=5"] {
        std::fs::write(&path, format!("server.1=localhost:1:2\n{key}\n")).expect("written");
        let name = key.split('=').next().expect("a name");
        assert_eq!(
            refusal(&text),
            format!(
                "{shown} line 2: {name} does not belong into a dynamic file; it holds lines of \
                 server, group and weight alone; its version is the end of its name. Move the line \
                 to zoo.cfg"
            )
        );
    }
    std::fs::write(&path, "server.1=nonsense\n").expect("written");
    assert!(refusal(&text).starts_with(&format!("{shown} line 1: server.1=nonsense is not")));
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
         client.portUnification=false\nforceSync=yes\nskipACL=no\nfips-mode=false\n\
         serverCnxnFactory=org.apache.zookeeper.server.NettyServerCnxnFactory\n",
    )
    .expect("valid");
    assert_eq!(config.notes, []);
}

#[test]
fn the_positional_form() {
    let words: Vec<String> = ["2181", "/d", "500", "7"].map(str::to_owned).into();
    let config = Config::positional(&words, &Flags::default()).unwrap();
    assert_eq!((config.node.tick_ms, config.connections_per_ip_max), (500, 7));
}

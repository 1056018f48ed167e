//! The scripts in `bin/`, with real servers: names, arguments, texts and exit codes of Apache's.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use tempfile::TempDir;

use crate::support::client::Client;
use crate::support::port::free_port;
use crate::support::process::{Ended, OXIKEEPER, run, run_command, word};
use crate::support::{PATIENCE, wait_for};

fn bin(script: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../bin").join(script)
}

/// A configuration directory, a data directory, and a port. What the scripts start is stopped when
/// it goes.
struct Place {
    dir: TempDir,
    port: u16,
}

impl Place {
    fn new() -> Place {
        let place = Place { dir: TempDir::new().expect("a directory"), port: free_port() };
        fs::create_dir(place.path("conf")).expect("a new directory");
        place.write_config("zoo.cfg", &format!("clientPort={}\n", place.port));
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }

    /// Writes a file into the configuration's directory.
    fn write_config(&self, name: &str, lines: &str) {
        let data = self.path("data");
        let text = format!(
            "# as people write it\n  dataDir = {}  \ntickTime=200\nadmin.enableServer=false\n{lines}",
            data.display()
        );
        fs::write(self.path("conf").join(name), text).expect("written");
    }

    fn command(&self, script: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(bin(script));
        command.args(arguments).current_dir(self.dir.path());
        for name in ["ZOOCFG", "ZOOPIDFILE", "OXIKEEPER_ENV_READ", "JMXPORT", "ZOO_NOEXEC"] {
            command.env_remove(name);
        }
        command.env("OXIKEEPER", OXIKEEPER);
        command.env("ZOOCFGDIR", self.path("conf")).env("ZOO_LOG_DIR", self.path("logs"));
        command
    }

    fn run(&self, script: &str, arguments: &[&str]) -> Ended {
        run_command(&mut self.command(script, arguments), 2 * PATIENCE)
    }

    fn server(&self, arguments: &[&str]) -> Ended {
        self.run("zkServer.sh", arguments)
    }

    fn pid(&self) -> Pid {
        let text = fs::read_to_string(self.path("data/zookeeper_server.pid")).expect("a pid file");
        assert!(!text.ends_with('\n'), "{text:?}");
        Pid::from_raw(text.parse().expect("a number")).expect("above 0")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Nothing that a test has started outlives it, however it ends.
        let mut stop = self.command("zkServer.sh", &["stop"]);
        let _ = stop.stdout(Stdio::null()).stderr(Stdio::null()).status();
    }
}

/// Whether a process has ended, reaped or not: it is nobody's child here.
fn has_ended(pid: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"));
    test_kill_process(pid).is_err() || stat.is_ok_and(|stat| stat.contains(") Z "))
}

#[track_caller]
fn expect(ended: &Ended, code: i32, stdout: &str) {
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(code), stdout), "{}", ended.stderr);
}

#[test]
fn a_server_is_started_asked_restarted_and_stopped() {
    let place = Place::new();
    let found = format!(
        "Client port found: {}. Client address: localhost. Client SSL: false.\n",
        place.port
    );
    let gone = format!("{found}Error contacting service. It is probably not running.\n");
    let up = format!("{found}Mode: standalone\n");
    expect(&place.server(&["status"]), 1, &gone);
    let started = place.server(&["start"]);
    expect(&started, 0, "Starting zookeeper ... STARTED\n");
    let config = place.path("conf/zoo.cfg");
    assert_eq!(started.stderr, format!("Using config: {}\n", config.display()));
    wait_for("the server to serve", || word(place.address(), "srvr"));
    expect(&place.server(&["status"]), 0, &up);
    let first = place.pid();
    let again = format!("Starting zookeeper ... already running as process {first}.\n");
    expect(&place.server(&["start"]), 1, &again);
    let restarted = "Stopping zookeeper ... STOPPED\nStarting zookeeper ... STARTED\n";
    expect(&place.server(&["restart"]), 0, restarted);
    assert!(has_ended(first));
    assert_ne!(place.pid(), first);
    wait_for("the server to serve", || word(place.address(), "srvr"));
    let logs: Vec<_> = fs::read_dir(place.path("logs")).expect("there").flatten().collect();
    let name = logs[0].file_name().into_string().expect("text");
    assert!(name.starts_with("zookeeper-") && name.ends_with(".out"), "{name}");
    assert!(name.contains("-server-"), "{name}");
    let second = place.pid();
    expect(&place.server(&["stop"]), 0, "Stopping zookeeper ... STOPPED\n");
    assert!(has_ended(second));
    let pid_file = place.path("data/zookeeper_server.pid");
    let none = format!(
        "Stopping zookeeper ... no zookeeper to stop (could not find file {})\n",
        pid_file.display()
    );
    expect(&place.server(&["stop"]), 0, &none);
    expect(&place.server(&["status"]), 1, &gone);
}

#[test]
fn a_start_that_fails_says_so() {
    let place = Place::new();
    place.write_config("zoo.cfg", "clientPort=abc\n");
    let failed = place.server(&["start"]);
    expect(&failed, 1, "Starting zookeeper ... FAILED TO START\n");
    assert!(failed.stderr.contains("line 5: clientPort=abc"), "{}", failed.stderr);
    assert!(!place.path("data/zookeeper_server.pid").exists());
    expect(&place.server(&["start", "missing.cfg"]), 1, "Starting zookeeper ... FAILED TO START\n");
    let foreground = place.server(&["start-foreground"]);
    assert_eq!(foreground.code, Some(2));
    assert!(foreground.stdout.contains("Invalid config, exiting abnormally"));
}

#[test]
fn in_the_foreground_the_server_is_this_process() {
    let place = Place::new();
    let log = fs::File::create(place.path("stdout")).expect("a new file");
    let mut command = place.command("zkServer.sh", &["start-foreground"]);
    command.stdin(Stdio::null()).stdout(log).stderr(Stdio::null());
    let mut child = command.spawn().expect("it runs");
    wait_for("the server to serve", || word(place.address(), "srvr"));
    let exe = fs::read_link(format!("/proc/{}/exe", child.id())).expect("it runs");
    assert_eq!(exe, fs::canonicalize(OXIKEEPER).expect("there"));
    kill_process(Pid::from_child(&child), Signal::TERM).expect("it runs");
    assert_eq!(child.wait().expect("it ends").code(), Some(143));
    let log = fs::read_to_string(place.path("stdout")).expect("text");
    assert!(log.contains("binding to port"), "{log}");
}

#[test]
fn configurations_are_found_where_apaches_are() {
    let place = Place::new();
    let other = format!("serve {}/other.cfg\n", place.path("conf").display());
    let printed = |ended: Ended| {
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        ended.stdout
    };
    assert!(printed(place.server(&["print-cmd", "other.cfg"])).ends_with(&other));
    let path = place.path("conf/other.cfg").display().to_string();
    assert!(printed(place.server(&["print-cmd", &path])).ends_with(&other));
    let mut command = place.command("zkServer.sh", &["print-cmd"]);
    let ended = run_command(command.env("ZOOCFG", "other.cfg"), PATIENCE);
    assert!(printed(ended).ends_with(&other));
    let conf = place.path("conf").display().to_string();
    let mut command = place.command("zkServer.sh", &["--config", &conf, "print-cmd"]);
    let ended = run_command(command.env_remove("ZOOCFGDIR"), PATIENCE);
    assert!(printed(ended).ends_with("/conf/zoo.cfg\n"));
    // Through a link, as /usr/bin has them.
    let link = place.path("zkServer");
    std::os::unix::fs::symlink(bin("zkServer.sh"), &link).expect("a new link");
    let mut command = Command::new(&link);
    command.arg("print-cmd").env("ZOOCFGDIR", &conf).env("OXIKEEPER", OXIKEEPER);
    assert!(printed(run_command(&mut command, PATIENCE)).ends_with("/conf/zoo.cfg\n"));
    // Flags of a JVM are part of what is run.
    fs::write(place.path("conf/java.env"), "SERVER_JVMFLAGS=\"-Da=b -Xmx1g\"\n").expect("written");
    let command = printed(place.server(&["print-cmd"]));
    assert!(command.contains(r"SERVER_JVMFLAGS=-Da=b\ -Xmx1g"), "{command}");
}

/// The client port of a container's configuration stands in its server line.
#[test]
fn status_finds_the_port_in_a_server_line() {
    let place = Place::new();
    let line = format!("server.1=localhost:2888:3888;127.0.0.1:{}\n", place.port);
    place.write_config("zoo.cfg", &line);
    expect(&place.server(&["start"]), 0, "Starting zookeeper ... STARTED\n");
    wait_for("the server to serve", || word(place.address(), "srvr"));
    let found = format!(
        "Client port found: {}. Client address: 127.0.0.1. Client SSL: false.\nMode: standalone\n",
        place.port
    );
    expect(&place.server(&["status"]), 0, &found);
    let dynamic = place.path("conf/zoo.cfg.dynamic.1");
    fs::write(&dynamic, line).expect("written");
    place.write_config("zoo.cfg", &format!("dynamicConfigFile={}\n", dynamic.display()));
    expect(&place.server(&["status"]), 0, &found);
    place.write_config("zoo.cfg", "");
    let nowhere = place.server(&["status"]);
    expect(&nowhere, 1, "");
    assert!(nowhere.stderr.contains("Client port not found"), "{}", nowhere.stderr);
}

/// What the two files set reaches the server: by the script, which has a shell read them, and by
/// the server alone as far as no shell is needed.
#[test]
fn flags_of_the_two_files_reach_the_server() {
    let demand = "-Dzookeeper.sessionRequireClientSASLAuth=true";
    let place = Place::new();
    let config = place.path("conf/zoo.cfg").display().to_string();
    let java_env = place.path("conf/java.env");
    fs::write(place.path("conf/zookeeper-env.sh"), format!("EXTRA={demand}\n")).expect("written");
    fs::write(&java_env, "SERVER_JVMFLAGS=\"$SERVER_JVMFLAGS $EXTRA\"\n").expect("written");
    let by_script = place.server(&["start"]);
    expect(&by_script, 1, "Starting zookeeper ... FAILED TO START\n");
    assert!(by_script.stderr.contains("sessionRequireClientSASLAuth"), "{}", by_script.stderr);
    let alone = run(&["serve", &config], place.dir.path());
    assert_eq!(alone.code, Some(2));
    assert!(alone.stderr.contains("-D flag: sessionRequireClientSASLAuth demands"));
    // With a condition in it only a shell knows.
    let text = format!("if true; then\n  export JVMFLAGS={demand}\nfi\n");
    fs::write(&java_env, text).expect("written");
    let by_script = place.server(&["start"]);
    assert!(by_script.stderr.contains("sessionRequireClientSASLAuth"), "{}", by_script.stderr);
    let alone = run(&["serve", &config], place.dir.path());
    assert_eq!(alone.code, Some(2));
    let words = format!("{} line 1: it takes a shell", java_env.display());
    assert!(alone.stderr.contains(&words), "{}", alone.stderr);
}

#[test]
fn directories_are_not_made_where_that_is_switched_off() {
    let place = Place::new();
    let mut command = place.command("zkServer.sh", &["start-foreground"]);
    let ended = run_command(command.env("ZOO_DATADIR_AUTOCREATE_DISABLE", "1"), PATIENCE);
    assert_eq!(ended.code, Some(3), "{}", ended.stdout);
    assert!(ended.stdout.contains("does not exist"), "{}", ended.stdout);
}

#[test]
fn version_and_usage() {
    let place = Place::new();
    let version = place.server(&["version"]);
    assert_eq!(version.code, Some(0));
    assert!(version.stdout.contains("Apache ZooKeeper, version 3.9.5"), "{}", version.stdout);
    assert!(version.stdout.ends_with(" UTC\n"), "{}", version.stdout);
    for arguments in [&[][..], &["dance"]] {
        let usage = place.server(arguments);
        expect(&usage, 0, "");
        assert!(usage.stderr.starts_with("Usage: "), "{}", usage.stderr);
        assert!(
            usage.stderr.contains("{start|start-foreground|stop|version|restart|status|print-cmd}")
        );
    }
}

/// The shell by its script: words on the stream, and exit codes, that scripts of Apache's rely on.
#[test]
fn the_shell_tells_by_its_exit_code_what_was_done() {
    let place = Place::new();
    expect(&place.server(&["start"]), 0, "Starting zookeeper ... STARTED\n");
    wait_for("the server to serve", || word(place.address(), "srvr"));
    let server = format!("127.0.0.1:{}", place.port);
    let cli = |words: &[&str]| {
        let mut arguments = vec!["-server", server.as_str()];
        arguments.extend(words);
        place.run("zkCli.sh", &arguments)
    };
    let created = cli(&["create", "/app", "two words"]);
    assert_eq!((created.code, created.stderr.as_str()), (Some(0), "Created /app\n"));
    let got = cli(&["get", "/app"]);
    let connected =
        "\nWATCHER::\n\nWatchedEvent state:SyncConnected type:None path:null zxid: -1\n";
    expect(&got, 0, &format!("Connecting to {server}\n{connected}two words\n"));
    let missing = cli(&["get", "/none"]);
    let words = "Node does not exist: /none\n";
    assert_eq!((missing.code, missing.stderr.as_str()), (Some(1), words));
    assert_eq!(cli(&["dance"]).code, Some(127));
    assert_eq!(cli(&["create"]).code, Some(1));
    // Nobody is there: said in time, and in words.
    let nobody = format!("127.0.0.1:{}", free_port());
    let lost = place.run("zkCli.sh", &["-server", &nobody, "-timeout", "3000", "ls", "/"]);
    assert_eq!(lost.code, Some(1), "{lost:?}");
    assert!(lost.stderr.contains("KeeperErrorCode = ConnectionLoss"), "{lost:?}");
    assert!(lost.stderr.contains("refused"), "{lost:?}");
    let waiting = ["-server", &nobody, "-timeout", "1500", "-waitforconnection", "ls", "/"];
    let late = place.run("zkCli.sh", &waiting);
    assert_eq!(late.code, Some(1), "{late:?}");
    assert!(late.stderr.contains("no session within 1500 ms"), "{late:?}");
}

#[test]
fn cleanup_keeps_three_snapshots_and_what_follows_them() {
    let place = Place::new();
    let snapshots = || {
        let entries = fs::read_dir(place.path("data/version-2")).expect("there").flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        let mut names: Vec<String> = names.filter(|name| name.starts_with("snapshot.")).collect();
        names.sort();
        names
    };
    // A server that comes back after a crash with something to replay writes a snapshot.
    for round in 0..5 {
        expect(&place.server(&["start"]), 0, "Starting zookeeper ... STARTED\n");
        wait_for("the server to serve", || word(place.address(), "srvr"));
        wait_for("its snapshot", || (snapshots().len() > round).then_some(()));
        let mut client = Client::connect(place.address(), 10_000);
        client.create(&format!("/n{round}"), b"", 0).expect("created");
        let pid = place.pid();
        kill_process(pid, Signal::KILL).expect("it runs");
        wait_for("its end", || has_ended(pid).then_some(()));
    }
    assert_eq!(snapshots().len(), 5, "{:?}", snapshots());
    for arguments in [&["-n", "2"][..], &[], &["-n", "many"]] {
        let refused = place.run("zkCleanup.sh", arguments);
        assert_eq!(refused.code, Some(1), "{refused:?}");
        assert!(refused.stderr.contains("sage"), "{}", refused.stderr);
    }
    assert_eq!(snapshots().len(), 5);
    let before = snapshots();
    let done = place.run("zkCleanup.sh", &["-n", "3"]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert_eq!(snapshots(), before[2..]);
    let removed: Vec<&str> = done.stdout.lines().collect();
    assert!(removed.len() >= 2, "{removed:?}");
    assert!(removed.iter().all(|line| line.starts_with("Removing file: 20")), "{removed:?}");
    assert!(removed[0].ends_with(&before[0]), "{removed:?}");
    // All is still there.
    expect(&place.server(&["start"]), 0, "Starting zookeeper ... STARTED\n");
    wait_for("the server to serve", || word(place.address(), "srvr"));
    let mut client = Client::connect(place.address(), 10_000);
    assert!((0..5).all(|round| client.exists(&format!("/n{round}"), false)));
}

/// Where there is a shellcheck, the scripts pass it.
#[test]
fn the_scripts_are_sound_shell() {
    for script in ["zkServer.sh", "zkEnv.sh", "zkCli.sh", "zkCleanup.sh"] {
        let ended = run_command(Command::new("bash").arg("-n").arg(bin(script)), PATIENCE);
        assert_eq!(ended.code, Some(0), "{script}: {}", ended.stderr);
    }
    let mut check = Command::new("sh");
    check.args(["-c", "command -v shellcheck >/dev/null || exit 0; exec shellcheck -x bin/*.sh"]);
    check.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."));
    // A group of its own: nobody's interrupt but ours.
    let ended = run_command(check.process_group(0), PATIENCE);
    assert_eq!(ended.code, Some(0), "{}", ended.stdout);
}

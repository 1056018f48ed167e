#!/usr/bin/env bash
# Starts, stops and asks a server, with the arguments and exit codes of ZooKeeper's zkServer.sh.
#
#   zkServer.sh [--config DIR] {start|start-foreground|stop|version|restart|status|print-cmd} [CFG]
#
# CFG is a file in the configuration's directory, or a path. Environment: ZOOCFGDIR, ZOOCFG,
# ZOO_LOG_DIR, ZOOPIDFILE, SERVER_JVMFLAGS, JVMFLAGS, ZOO_DATADIR_AUTOCREATE_DISABLE, OXIKEEPER.

# A link may lead here.
source_path="${BASH_SOURCE[0]}"
while [[ -h "$source_path" ]]; do
    target="$(readlink "$source_path")"
    [[ "$target" == /* ]] || target="$(dirname "$source_path")/$target"
    source_path="$target"
done
ZOOBINDIR="$(cd "$(dirname "$source_path")" && pwd)"

if [[ "${1:-}" == --config ]]; then
    ZOOCFGDIR="${2:?"--config needs a directory"}"
    shift 2
fi
# shellcheck source=bin/zkEnv.sh
. "$ZOOBINDIR/zkEnv.sh"

if [[ -n "${2:-}" ]]; then
    if [[ "$2" == */* ]]; then ZOOCFG="$2"; else ZOOCFG="$ZOOCFGDIR/$2"; fi
fi

usage() {
    echo "Usage: $0 [--config <conf-dir>] {start|start-foreground|stop|version|restart|status|print-cmd} [<cfg>]" >&2
}

pid_file() {
    if [[ -n "${ZOOPIDFILE:-}" ]]; then
        echo "$ZOOPIDFILE"
    else
        echo "$(setting dataDir "$ZOOCFG")/zookeeper_server.pid"
    fi
}

# is_running PID: one that has ended and is not reaped yet, as in containers, does not.
is_running() {
    [[ "$1" =~ ^[0-9]+$ ]] && kill -0 "$1" 2>/dev/null &&
        ! grep -q ') Z ' "/proc/$1/stat" 2>/dev/null
}

pause() { sleep 0.1; }

start() {
    local pidfile out pid tenth
    printf 'Starting zookeeper ... '
    if [[ ! -r "$ZOOCFG" ]]; then
        echo 'FAILED TO START'
        echo "$ZOOCFG cannot be read: name a configuration, or set ZOOCFGDIR" >&2
        exit 1
    fi
    pidfile="$(pid_file)"
    if [[ -f "$pidfile" ]] && is_running "$(cat "$pidfile")"; then
        echo "already running as process $(cat "$pidfile")."
        exit 1
    fi
    out="$ZOO_LOG_DIR/zookeeper-${USER:-$(id -un)}-server-${HOSTNAME:-$(uname -n)}.out"
    if ! mkdir -p "$ZOO_LOG_DIR" || ! : >"$out"; then
        echo 'FAILED TO START'
        echo "$out cannot be written: set ZOO_LOG_DIR to a directory that can" >&2
        exit 1
    fi
    nohup "$OXIKEEPER" serve "$ZOOCFG" >"$out" 2>&1 </dev/null &
    pid=$!
    # Started is what serves, or what is still at it after a second: many znodes take their time.
    for ((tenth = 0; tenth < 10; tenth++)); do
        is_running "$pid" || break
        ! grep -q ' serving ' "$out" || break
        pause
    done
    if ! is_running "$pid"; then
        echo 'FAILED TO START'
        tail -n 5 "$out" >&2
        exit 1
    fi
    mkdir -p "$(dirname "$pidfile")"
    if ! printf '%s' "$pid" >"$pidfile"; then
        echo 'FAILED TO WRITE PID'
        exit 1
    fi
    echo 'STARTED'
}

stop() {
    local pidfile pid tenth
    printf 'Stopping zookeeper ... '
    pidfile="$(pid_file)"
    if [[ ! -f "$pidfile" ]]; then
        echo "no zookeeper to stop (could not find file $pidfile)"
        return
    fi
    pid="$(cat "$pidfile")"
    if is_running "$pid"; then
        kill "$pid"
        # A clean end makes durable what was taken: request_throttler.shutdownTimeout, 10 s.
        for ((tenth = 0; tenth < 150; tenth++)); do
            is_running "$pid" || break
            pause
        done
    fi
    rm -f "$pidfile"
    echo 'STOPPED'
}

# client_part FILE: what stands behind the semicolon of the own server line, or of the only one.
client_part() {
    local id line
    id="$(head -n 1 "$(setting dataDir "$ZOOCFG")/myid" 2>/dev/null | tr -d '[:space:]')"
    [[ "$id" =~ ^[0-9]+$ ]] || id='[0-9]*'
    line="$(sed -n "s/^[[:space:]]*server\.${id}[[:space:]]*=//p" "$1" 2>/dev/null | tail -n 1)"
    [[ "$line" != *\;* ]] || echo "${line##*;}" | tr -d '[:space:]'
}

status() {
    local port address is_tls=false part dynamic answer mode
    port="$(setting clientPort "$ZOOCFG")"
    address="$(setting clientPortAddress "$ZOOCFG")"
    if [[ -z "$port" || "$port" == 0 ]]; then
        part="$(client_part "$ZOOCFG")"
        dynamic="$(setting dynamicConfigFile "$ZOOCFG")"
        [[ -n "$part" || -z "$dynamic" ]] || part="$(client_part "$dynamic")"
        port="${part##*:}"
        [[ "$part" != *:* ]] || address="${part%:*}"
    fi
    if [[ -z "$port" ]]; then
        port="$(setting secureClientPort "$ZOOCFG")"
        address="$(setting secureClientPortAddress "$ZOOCFG")"
        is_tls=true
    fi
    if [[ -z "$port" ]]; then
        echo "Client port not found in $ZOOCFG: it needs clientPort, or one behind ; in a server line." >&2
        exit 1
    fi
    address="${address#[}"
    address="${address%]}"
    case "$address" in
        '' | 0.0.0.0 | ::) address=localhost ;;
    esac
    echo "Client port found: $port. Client address: $address. Client SSL: $is_tls."
    answer="$(ask "$address" "$port" srvr)"
    mode="$(grep '^Mode: ' <<<"$answer")"
    if [[ -z "$mode" ]]; then
        echo 'Error contacting service. It is probably not running.'
        exit 1
    fi
    echo "$mode"
}

# ask HOST PORT WORD: the answer to a four-letter word, if it comes within ten seconds.
ask() {
    # shellcheck disable=SC2016 # The inner shell expands them.
    timeout 10 bash -c 'exec 3<>"/dev/tcp/$1/$2" && printf %s "$3" >&3 && cat <&3' - "$@" 2>/dev/null
}

# Only what a configuration is needed for says which.
case "${1:-}" in
    start | start-foreground | stop | restart | status | print-cmd)
        echo "Using config: $ZOOCFG" >&2
        ;;
esac

case "${1:-}" in
    start) start ;;
    start-foreground)
        if [[ -n "${ZOO_NOEXEC:-}" ]]; then
            "$OXIKEEPER" serve "$ZOOCFG" 2>&1
        else
            exec "$OXIKEEPER" serve "$ZOOCFG" 2>&1
        fi
        ;;
    stop) stop ;;
    restart)
        stop
        start
        ;;
    status) status ;;
    version) "$OXIKEEPER" --version | tail -n 1 ;;
    print-cmd)
        printf 'OXIKEEPER_ENV_READ=1 SERVER_JVMFLAGS=%q JVMFLAGS=%q %q serve %q\n' \
            "$SERVER_JVMFLAGS" "$JVMFLAGS" "$OXIKEEPER" "$ZOOCFG"
        ;;
    *) usage ;;
esac

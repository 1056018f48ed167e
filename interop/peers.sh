#!/usr/bin/env bash
# Fetches the foreign programs that the tests run against, by the ordinary package managers:
#
#   apt  a JDK, Python with venv, Node and npm where they are missing; Debian's ZooKeeper 3.8.0
#        (jars and zkCli.sh), its C client cli_mt; valgrind, strace. Needs root (or sudo without a
#        password). The packages chosen start no service.
#   pip  Apache ZooKeeper 3.9.5 and Curator 5.9, which PySpark 4.3.0 carries in its source package:
#        about 456 MB are downloaded once, 20 MB are kept, each jar checked against jars.sha256.
#        kazoo 2.11.0 and its test tools, in a virtual environment.
#   npm  node-zookeeper-client.
#
# All but apt's packages go to ${XDG_CACHE_HOME:-$HOME/.cache}/oxikeeper (OXIKEEPER_CACHE overrides).
# ZK395_LIB names another folder with the 3.9.5 jars. Run again at will: what is there stays.
#
#   interop/peers.sh                  everything
#   interop/peers.sh apt|jars|kazoo|node...   only those
set -euo pipefail
# shellcheck source=interop/lib.sh
. "$(dirname "$0")/lib.sh"

PYSPARK=4.3.0
NODE_CLIENT=1.1.3

# Two runs at once must not unpack over each other.
mkdir -p "$OXIKEEPER_CACHE"
exec 9>"$OXIKEEPER_CACHE/lock"
flock 9

apt_install() {
    echo "peers: apt-get install $* (needs root)"
    local run=()
    if [ "$(id -u)" -ne 0 ]; then
        sudo -n true 2>/dev/null || die "apt needs root: run as root 'apt-get install $*'"
        run=(sudo -n)
    fi
    export DEBIAN_FRONTEND=noninteractive
    "${run[@]}" apt-get update -qq
    "${run[@]}" apt-get install -y -qq --no-install-recommends "$@" >"$OXIKEEPER_CACHE/apt.log" 2>&1 ||
        { tail -20 "$OXIKEEPER_CACHE/apt.log" >&2; die "apt-get install $* failed"; }
}

peer_apt() {
    local wanted=()
    command -v javac >/dev/null || wanted+=(default-jdk-headless)
    python3 -c 'import venv, ensurepip' 2>/dev/null || wanted+=(python3 python3-venv)
    command -v node >/dev/null || wanted+=(nodejs)
    command -v npm >/dev/null || wanted+=(npm)
    [ -f "$ZK380_JAR" ] && [ -x "$ZKCLI_380" ] || wanted+=(zookeeper)
    [ -f /usr/share/java/slf4j-simple.jar ] || wanted+=(libslf4j-java)
    [ -x "$CLI_MT" ] || wanted+=(zookeeper-bin)
    command -v valgrind >/dev/null || wanted+=(valgrind)
    command -v strace >/dev/null || wanted+=(strace)
    [ ${#wanted[@]} -eq 0 ] || apt_install "${wanted[@]}"
    need_380
    [ -x "$CLI_MT" ] || die "apt installed no $CLI_MT"
}

# The environment comes first: its pip also fetches PySpark's source package.
venv() {
    [ -x "$KAZOO_VENV/bin/pip" ] && return
    echo "peers: python virtual environment in $KAZOO_VENV"
    rm -rf "$KAZOO_VENV"
    python3 -m venv "$KAZOO_VENV" || die 'python3 -m venv failed (Debian: package python3-venv)'
}

jars_are_right() {
    [ -d "$ZK395_LIB" ] && (cd "$ZK395_LIB" && sha256sum --check --quiet --strict "$INTEROP/jars.sha256") >/dev/null 2>&1
}

# A folder that the user named must hold the very ZooKeeper and Curator; the rest is theirs to choose.
check_named_lib() {
    local bad
    bad=$(cd "$1" && grep -E ' (zookeeper|curator)-' "$INTEROP/jars.sha256" | sha256sum --check --quiet --strict 2>&1) ||
        die "ZK395_LIB=$1 does not hold the expected jars: $bad"
}

peer_jars() {
    local own=$OXIKEEPER_CACHE/zk-3.9.5/lib
    if [ "$ZK395_LIB" != "$own" ]; then
        [ -d "$ZK395_LIB" ] || die "ZK395_LIB=$ZK395_LIB is no folder"
        check_named_lib "$ZK395_LIB"
        return
    fi
    jars_are_right && return
    venv
    local work sdist jars=()
    work=$(mktemp -d "$OXIKEEPER_CACHE/pyspark.XXXXXX")
    # shellcheck disable=SC2064
    trap "rm -rf '$work'" EXIT
    echo "peers: pip download of the source package of pyspark $PYSPARK (456 MB) for Apache ZooKeeper 3.9.5 and Curator 5.9"
    TMPDIR=$work "$KAZOO_VENV/bin/pip" download --quiet --disable-pip-version-check --no-cache-dir \
        --no-deps --no-binary pyspark --dest "$work" "pyspark==$PYSPARK" ||
        die "pip could not download pyspark $PYSPARK"
    sdist=$work/pyspark-$PYSPARK.tar.gz
    while read -r _ jar; do
        jars+=("pyspark-$PYSPARK/deps/jars/$jar")
    done <"$INTEROP/jars.sha256"
    mkdir -p "$own"
    tar xzf "$sdist" -C "$own" --strip-components=3 --no-same-owner "${jars[@]}" ||
        die "pyspark $PYSPARK does not hold every jar of jars.sha256"
    rm -rf "$work"
    (cd "$own" && sha256sum --check --quiet --strict "$INTEROP/jars.sha256") >&2 ||
        die "a jar in $own is not the expected one"
}

peer_kazoo() {
    local wanted=$INTEROP/kazoo/requirements.txt
    cmp -s "$wanted" "$KAZOO_VENV/installed.txt" && return
    venv
    echo 'peers: pip install kazoo 2.11.0 and its test tools'
    "$KAZOO_VENV/bin/pip" install --quiet --disable-pip-version-check -r "$wanted" ||
        die 'pip could not install kazoo'
    cp "$wanted" "$KAZOO_VENV/installed.txt"
}

peer_node() {
    local installed=$NODE_PEERS/node_modules/node-zookeeper-client/package.json
    grep -qs "\"version\": \"$NODE_CLIENT\"" "$installed" && return
    echo "peers: npm install node-zookeeper-client $NODE_CLIENT"
    mkdir -p "$NODE_PEERS"
    (cd "$NODE_PEERS" && npm install --silent --no-audit --no-fund --prefix . "node-zookeeper-client@$NODE_CLIENT") ||
        die 'npm could not install node-zookeeper-client'
}

[ $# -gt 0 ] || set -- apt jars kazoo node
for peer in "$@"; do
    case $peer in
        apt | jars | kazoo | node) "peer_$peer" ;;
        *) die "unknown peer $peer (apt, jars, kazoo, node)" ;;
    esac
done
echo "peers: ok ($*)"

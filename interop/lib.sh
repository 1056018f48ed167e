# Where the foreign programs are, for the scripts of this folder. Sourced, never run.
#
# Everything that is fetched lives in a cache outside the repository:
#   $OXIKEEPER_CACHE/zk-3.9.5/lib   Apache ZooKeeper 3.9.5, Curator 5.9 and what they need
#   $OXIKEEPER_CACHE/kazoo          a Python virtual environment with kazoo and its test tools
#   $OXIKEEPER_CACHE/node           node-zookeeper-client
#   $OXIKEEPER_CACHE/classes        what javac made of our own Java exercisers
# shellcheck shell=bash
INTEROP=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
REPO=$(dirname "$INTEROP")
OXIKEEPER_CACHE=${OXIKEEPER_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/oxikeeper}
ZK395_LIB=${ZK395_LIB:-$OXIKEEPER_CACHE/zk-3.9.5/lib}
ZK380_JAR=/usr/share/java/zookeeper-3.8.0.jar
ZKCLI_380=/usr/share/zookeeper/bin/zkCli.sh
CLI_MT=/usr/lib/zookeeper/bin/cli_mt
KAZOO_VENV=$OXIKEEPER_CACHE/kazoo
NODE_PEERS=$OXIKEEPER_CACHE/node

die() {
    echo "$(basename "$0"): $*" >&2
    exit 1
}

# java_home: the JDK to run Apache on. JAVA_HOME if set, else whatever `java` on PATH leads to. The
# kazoo harness puts a stand-in called `java` first on PATH, so OXIKEEPER_REAL_JAVA wins over PATH.
real_java() {
    if [ -n "${OXIKEEPER_REAL_JAVA:-}" ]; then
        echo "$OXIKEEPER_REAL_JAVA"
    elif [ -n "${JAVA_HOME:-}" ] && [ -x "$JAVA_HOME/bin/java" ]; then
        echo "$JAVA_HOME/bin/java"
    else
        command -v java || die 'no java on PATH: run interop/peers.sh'
    fi
}

# need_395: fails, never skips, when Apache 3.9.5 is not there.
need_395() {
    [ -f "$ZK395_LIB/zookeeper-3.9.5.jar" ] ||
        die "no zookeeper-3.9.5.jar in $ZK395_LIB: run interop/peers.sh, or set ZK395_LIB"
}

# need_380: fails when Debian's ZooKeeper is not there.
need_380() {
    [ -f "$ZK380_JAR" ] || die "no $ZK380_JAR: run interop/peers.sh (Debian's package zookeeper)"
}

# oxikeeper_bin: the server under test.
oxikeeper_bin() {
    local bin=${OXIKEEPER_BIN:-${CARGO_TARGET_DIR:-$REPO/target}/debug/oxikeeper}
    [ -x "$bin" ] || die "no server at $bin: build it (cargo build) or set OXIKEEPER_BIN"
    echo "$bin"
}

# The logging settings stand before the jars, so that ours are found first.
classpath_395() { echo "$INTEROP/conf:$ZK395_LIB/*"; }
classpath_380() { echo "$INTEROP/conf:$ZK380_JAR"; }

# What the AdminServer needs: the Jetty release line of 3.9.5, from Debian's libjetty9-java.
classpath_jetty() {
    local jar path=()
    for jar in jetty9-{server,servlet,security,http,io,util,util-ajax} servlet-api; do
        [ -f "/usr/share/java/$jar.jar" ] || die "no /usr/share/java/$jar.jar: run interop/peers.sh (Debian's package zookeeper)"
        path+=("/usr/share/java/$jar.jar")
    done
    (IFS=: && echo "${path[*]}")
}

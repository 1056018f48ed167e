# shellcheck shell=bash
# For the other scripts here: where things are. To be sourced with ZOOBINDIR set.
#
# Reads zookeeper-env.sh and java.env from the configuration's directory, in that order, and finds
# the program: $OXIKEEPER, beside these scripts, in a source tree's target/release, or in PATH.

ZOOBINDIR="${ZOOBINDIR:-/usr/bin}"
ZOOKEEPER_PREFIX="$(cd "$ZOOBINDIR/.." && pwd)"

if [[ -z "${ZOOCFGDIR:-}" ]]; then
    if [[ -e "$ZOOKEEPER_PREFIX/conf" ]]; then
        ZOOCFGDIR="$ZOOKEEPER_PREFIX/conf"
    else
        ZOOCFGDIR="$ZOOKEEPER_PREFIX/etc/zookeeper"
    fi
fi

# shellcheck source=/dev/null
[[ ! -f "$ZOOCFGDIR/zookeeper-env.sh" ]] || . "$ZOOCFGDIR/zookeeper-env.sh"

# A file name in ZOOCFGDIR, or a path.
ZOOCFG="${ZOOCFG:-zoo.cfg}"
[[ "$ZOOCFG" == */* ]] || ZOOCFG="$ZOOCFGDIR/$ZOOCFG"

# shellcheck source=/dev/null
[[ ! -f "$ZOOCFGDIR/java.env" ]] || . "$ZOOCFGDIR/java.env"

ZOO_LOG_DIR="${ZOO_LOG_DIR:-$ZOOKEEPER_PREFIX/logs}"

if [[ -z "${OXIKEEPER:-}" ]]; then
    OXIKEEPER=oxikeeper
    for candidate in "$ZOOBINDIR/oxikeeper" "$ZOOKEEPER_PREFIX/target/release/oxikeeper"; do
        if [[ -x "$candidate" ]]; then
            OXIKEEPER="$candidate"
            break
        fi
    done
fi

# The program takes flags from these, and is told that the two files are read.
export SERVER_JVMFLAGS="${SERVER_JVMFLAGS:-}" JVMFLAGS="${JVMFLAGS:-}" OXIKEEPER_ENV_READ=1
[[ -z "${ZOO_DATADIR_AUTOCREATE_DISABLE:-}" ]] || export ZOO_DATADIR_AUTOCREATE_DISABLE

# setting KEY FILE: the last value of a key that stands at the beginning of a line.
setting() {
    sed -n "s/^[[:space:]]*${1//./\\.}[[:space:]]*[=:][[:space:]]*//p" "$2" 2>/dev/null |
        tail -n 1 | sed 's/[[:space:]]*$//'
}

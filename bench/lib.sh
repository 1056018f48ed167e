# For the scripts of this folder: builds, and a directory that goes away with everything in it.
# Sourced, never run. Leaves the programs in $release and the directory in $work.
# shellcheck shell=bash
export CARGO_TERM_COLOR=${CARGO_TERM_COLOR:-never}
target=${CARGO_TARGET_DIR:-$PWD/target}
release=$target/release
cargo build --release --quiet --offline -p oxikeeper -p oxikeeper-bench
work=$(mktemp -d "$target/measure.XXXXXX")

# Whatever still runs is ended by its id, and only if it is what we started.
clean_up() {
    if [ -f "$work/pids" ]; then
        while read -r pid; do
            if grep -qsF "$work" "/proc/$pid/cmdline"; then kill -9 "$pid" 2>/dev/null || true; fi
        done <"$work/pids"
    fi
    rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 130' INT TERM
# Ten thousand sessions are ten thousand sockets.
ulimit -n "$(ulimit -Hn)"

#!/usr/bin/env bash
# Removes snapshots and transaction logs that no recovery needs, of the server that zoo.cfg
# describes, with the arguments and exit codes of ZooKeeper's zkCleanup.sh.
#
#   zkCleanup.sh -n COUNT      COUNT snapshots are kept, at least 3, and every log behind them
#
# It may run beside the server. Environment: ZOOCFGDIR, ZOOCFG, OXIKEEPER.
ZOOBINDIR="$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")" && pwd)"
# shellcheck source=bin/zkEnv.sh
. "$ZOOBINDIR/zkEnv.sh"

if [[ $# -ne 2 || "$1" != -n || ! "$2" =~ ^[0-9]{1,9}$ || "$2" -lt 3 ]]; then
    echo "Usage: $0 -n <count of snapshots to keep, at least 3>" >&2
    exit 1
fi

data_dir="$(setting dataDir "$ZOOCFG")"
log_dir="$(setting dataLogDir "$ZOOCFG")"
if [[ -z "$data_dir" ]]; then
    echo "no dataDir in $ZOOCFG: set ZOOCFGDIR or ZOOCFG" >&2
    exit 1
fi
"$OXIKEEPER" purge "${log_dir:-$data_dir}" "$data_dir" "$@" || exit 1

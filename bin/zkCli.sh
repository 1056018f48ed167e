#!/usr/bin/env bash
# ZooKeeper's command-line client, with the arguments, words and exit codes of Apache's zkCli.sh.
#
#   zkCli.sh [-server HOST:PORT[,HOST:PORT...][/CHROOT]] [-timeout MS] [-r] [-waitforconnection] [COMMAND...]
#
# It is `oxikeeper shell --banner`; docs/SHELL.md has the commands. Environment: OXIKEEPER.
ZOOBINDIR="$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")" && pwd)"
# shellcheck source=bin/zkEnv.sh
. "$ZOOBINDIR/zkEnv.sh"

exec "$OXIKEEPER" shell --banner "$@"

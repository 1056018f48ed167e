#!/usr/bin/env bash
# Stands where scripts expect ZooKeeper's command-line client. This version has none of its own yet:
# it says so, and what to use instead, and fails, so that no script takes it for done.
cat >&2 <<'END'
zkCli.sh: this version of Oxikeeper comes without a shell.
  Any client of ZooKeeper works with this server, unchanged:
    zkCli.sh -server HOST:2181       of an installation of Apache ZooKeeper
    python3 -c 'from kazoo.client import KazooClient'    and other libraries
  To ask the server how it is, no client is needed:
    zkServer.sh status
    echo srvr | nc HOST 2181
END
exit 1

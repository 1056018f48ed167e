"""Clients of kazoo's on an ensemble that things happen to. The program that makes them happen judges.

  chaos.py HOST:PORT,... REPORT

Each client writes with an id of its own behind every attempt, holds an ephemeral node and watches a counter
that all of them count up. When a line comes on standard input they end in order, and tell in REPORT, a line
each:

  session ID TIMEOUT_MS            a session that a client had
  write CLIENT NUMBER PATH VERSION an acknowledged write, in the order of each client
  lost SESSION SILENCE_MS          a session that the ensemble said was gone, and how long before a write was
                                   sent on it that it acknowledged later
  wrong TEXT                       what a client sees by itself that must not be
"""
import random
import sys
import threading
import time

from kazoo.client import KazooClient, KazooState
from kazoo.exceptions import BadVersionError, KazooException, NodeExistsError
from kazoo.handlers.threading import KazooTimeoutError

CLIENTS = 3
TIMEOUT_S = 4.0
# How long it may take until everybody sees the end, once nothing happens any more.
PATIENCE_S = 60
COUNTER = "/kazoo/counter"
# A request that may have happened is not repeated, nor is one that did not.
FAILURES = (KazooException, KazooTimeoutError)


class Report:
    """Lines of all clients."""

    def __init__(self):
        self.lines, self.lock = [], threading.Lock()

    def add(self, *words):
        with self.lock:
            self.lines.append(" ".join(str(word) for word in words))


class Client:
    """One of them."""

    def __init__(self, number, hosts, report):
        self.name, self.report = f"k{number}", report
        self.random = random.Random(number)
        self.zk = KazooClient(hosts=hosts, timeout=TIMEOUT_S, connection_retry={"max_tries": -1, "max_delay": 0.5})
        # Of the present session: its id, and when a write was sent that was acknowledged.
        self.session, self.heard = None, 0.0
        self.attempts, self.held, self.seen = 0, None, -1
        self.stops = threading.Event()
        self.zk.add_listener(self.changed)
        self.thread = threading.Thread(target=self.run)

    def changed(self, state):
        if state == KazooState.CONNECTED and self.zk.client_id[0] != self.session:
            self.heard = time.monotonic()
            self.session = self.zk.client_id[0]
            self.report.add("session", self.session, int(TIMEOUT_S * 1000))
        elif state == KazooState.LOST and self.session is not None and not self.stops.is_set():
            silence = (time.monotonic() - self.heard) * 1000
            self.report.add("lost", self.session, int(silence))
            self.session = None

    def write(self, what):
        """One attempt: `what` sends the data that name it, and gives path and version."""
        self.attempts += 1
        session, sent = self.session, time.monotonic()
        path, version = what(f"{self.name}:{self.attempts}".encode())
        self.report.add("write", self.name, self.attempts, path, version)
        if session == self.session:
            self.heard = max(self.heard, sent)

    def append(self, data):
        return self.zk.create(f"/kazoo/{self.name}/n-", data, sequence=True), 0

    def hold(self, data):
        session = self.session
        path = self.zk.create(f"/kazoo/held/{self.name}-{self.attempts}", data, ephemeral=True)
        # Otherwise it is not known whose it is.
        self.held = (session, path) if session == self.session else None
        return path, 0

    def count(self, data):
        _, stat = self.zk.get(COUNTER)
        return COUNTER, self.zk.set(COUNTER, data, version=stat.version).version

    def look(self, _data, stat):
        if stat is not None:
            # A new session may begin with a server that is behind.
            self.seen = max(self.seen, stat.version)

    def insist(self, what):
        """Until it is done: nothing that happens twice does harm."""
        until = time.monotonic() + PATIENCE_S
        while True:
            try:
                return what()
            except FAILURES:
                if self.stops.is_set() and time.monotonic() > until:
                    raise
                time.sleep(0.05)

    def make(self, path):
        try:
            self.zk.create(path, b"")
        except NodeExistsError:
            pass

    def run(self):
        for path in ("/kazoo", "/kazoo/held", COUNTER, f"/kazoo/{self.name}"):
            self.insist(lambda path=path: self.make(path))
        self.insist(lambda: self.zk.DataWatch(COUNTER, self.look))
        while not self.stops.is_set():
            try:
                if self.held is None or self.held[0] != self.session:
                    self.write(self.hold)
                else:
                    self.write(self.random.choice([self.append, self.append, self.count]))
            except BadVersionError:
                pass  # another was faster
            except FAILURES:
                time.sleep(0.02)
            time.sleep(self.random.choice([0.001, 0.005, 0.02]))

    def check(self):
        """Nothing happens any more."""
        if self.held is not None and self.held[0] == self.session:
            session, path = self.held
            self.insist(lambda: self.zk.sync(path))
            stat = self.insist(lambda: self.zk.exists(path))
            if session == self.session and (stat is None or stat.ephemeralOwner != session):
                self.report.add("wrong", self.name, "has its session, and its ephemeral is", stat)


def main():
    hosts, file = sys.argv[1:]
    report = Report()
    clients = [Client(number, hosts, report) for number in range(CLIENTS)]
    for client in clients:
        client.zk.start_async()
        client.thread.start()
    sys.stdin.readline()
    for client in clients:
        client.stops.set()
    for client in clients:
        client.thread.join(PATIENCE_S)
        if client.thread.is_alive():
            report.add("wrong", client.name, "gets no answer any more")
    last = clients[0].insist(lambda: clients[0].zk.set(COUNTER, b"")).version
    until = time.monotonic() + PATIENCE_S
    for client in clients:
        while client.seen < last and time.monotonic() < until:
            time.sleep(0.02)
        if client.seen < last:
            report.add("wrong", client.name, "has a watch that saw", client.seen, "and not", last)
        client.check()
    for client in clients:
        client.zk.stop()
        client.zk.close()
    with open(file, "w") as out:
        out.write("\n".join(report.lines + ["end", ""]))


main()

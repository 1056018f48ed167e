"""The shell at a terminal: prompt, completion of commands and paths, history, Ctrl-C, events while a
line is typed, Ctrl-D.

    python3 interactive.py host:port program [argument ...]

Every step waits for what it has to show."""

import os
import pty
import re
import select
import sys
import tempfile
import time

PATIENCE_S = 60


class Terminal:
    def __init__(self, command, environment):
        self.pid, self.file = pty.fork()
        if self.pid == 0:
            os.execvpe(command[0], command, environment)
        self.seen = ""

    def send(self, keys):
        os.write(self.file, keys.encode())

    def expect(self, pattern):
        """Waits for a pattern behind all that was expected before."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            # Without what moves the cursor and sets colours.
            plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.seen)
            found = re.search(pattern, plain)
            if found:
                self.seen = plain[found.end():]
                return found
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.file], [], [], left)[0]:
                sys.exit(f"no {pattern!r} within {PATIENCE_S} s in {plain!r}")
            try:
                piece = os.read(self.file, 65536)
            except OSError:
                piece = b""
            if not piece:
                sys.exit(f"the shell ended before {pattern!r}: {plain!r}")
            self.seen += piece.decode(errors="replace")

    def end(self):
        try:
            while os.read(self.file, 65536):
                pass
        except OSError:
            pass
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def main():
    server = sys.argv[1]
    history = os.path.join(tempfile.mkdtemp(), "history")
    environment = dict(os.environ, OXIKEEPER_HISTORY=history, TERM="xterm")

    def prompt(number, state="CONNECTED"):
        return re.escape(f"[zk: {server}({state}) {number}] ")

    shell = Terminal(sys.argv[2:], environment)
    shell.expect("Welcome to ZooKeeper!")
    shell.expect("WatchedEvent state:SyncConnected type:None path:null zxid: -1")
    # Return alone is no command; the prompt shows the state of now.
    shell.send("\r")
    shell.expect(prompt(0))
    shell.send("create /typed one\r")
    shell.expect("Created /typed")
    shell.expect(prompt(1))
    shell.send("create /typed/child two\r")
    shell.expect("Created /typed/child")
    shell.expect(prompt(2))
    # A command by its beginning, then a path.
    shell.send("getAllC\t")
    shell.expect("getAllChildrenNumber ")
    shell.send("/typ\t\r")
    shell.expect(r"(?m)^1\r?$")
    shell.expect(prompt(3))
    # The last line once more.
    shell.send("\x1b[A\r")
    shell.expect(r"(?m)^1\r?$")
    shell.expect(prompt(4))
    # Ctrl-C gives a line up, and a command.
    shell.send("get /nonsense\x03")
    shell.expect(prompt(4))
    shell.send("watch /typed\r")
    other = Terminal(sys.argv[2:], environment)
    other.expect("SyncConnected")
    other.send("set /typed 1\r")
    other.expect(prompt(1))
    shell.expect("NodeDataChanged /typed 0x[0-9a-f]+")
    shell.send("\x03")
    shell.expect("interrupted")
    shell.expect(prompt(5))
    # An event while a line is typed leaves the line as it is.
    shell.send("get -w /typed\r")
    shell.expect(prompt(6))
    shell.send("get /ty")
    shell.expect("get /ty")
    other.send("set /typed 2\r")
    shell.expect("type:NodeDataChanged path:/typed")
    shell.send("ped\r")
    shell.expect(r"(?m)^2\r?$")
    shell.expect(prompt(7))
    other.send("quit\r")
    assert other.end() == 0
    shell.send("addauth digest bob:secret\r")
    shell.expect(prompt(8))
    shell.send("get /none\r")
    shell.expect("Node does not exist: /none")
    shell.expect(prompt(9))
    shell.send("deleteall /typed\r")
    shell.expect(prompt(10))
    shell.send("close\r")
    shell.expect(prompt(11, "CLOSED"))
    shell.send("ls /\r")
    shell.expect("Not connected")
    shell.expect(prompt(12, "CLOSED"))
    # Ctrl-D ends it with the outcome of the last command.
    shell.send("\x04")
    code = shell.end()
    assert code == 1, code
    with open(history) as lines:
        kept = lines.read()
    assert "get /none" in kept and "secret" not in kept, kept
    print("interactive: ok")


main()

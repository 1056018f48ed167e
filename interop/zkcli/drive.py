"""Drives Java's command-line client through script.txt and compares its answers line by line.

    python3 drive.py VERSION host:port client command ...

The client reads commands from a pipe. After each one a marker command is sent, whose answer (a
complaint about a znode that does not exist) ends the answer before it. Watch events are printed by
another thread of the client at any time, so they are taken out of the answers and waited for."""

import os
import pathlib
import queue
import re
import subprocess
import sys
import threading

PATIENCE_S = 60
EVENT = re.compile(r"WatchedEvent state:(\w+) type:(\w+) path:(.*?)(?: zxid: -?\d+)?")


class Step:
    def __init__(self, number, command):
        self.number = number
        self.command = command
        self.answer = []  # of (kind, text): "<" literal, "~" pattern
        self.events = []
        self.unchecked = False


def read_script(path, version, names):
    steps = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if line.startswith("@"):
            tag, line = line.split(" ", 1)
            if tag != "@" + version:
                continue
        if not line or line.startswith("#"):
            continue
        kind, text = line[0], line[2:]
        for name, value in names.items():
            text = text.replace(name, value)
        if kind == ">":
            steps.append(Step(number, text))
        elif kind == "!":
            steps[-1].events.append(text)
        elif kind == "?":
            steps[-1].unchecked = True
        elif kind in "<~":
            steps[-1].answer.append((kind, text))
        else:
            sys.exit(f"script.txt:{number}: unknown kind of line: {line}")
    return steps


class Client:
    """The client process; its two outputs are one stream of lines."""

    def __init__(self, command):
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self.lines = queue.Queue()
        self.events = []
        threading.Thread(target=self._read, daemon=True).start()
        self.marks = 0

    def _read(self):
        for line in self.process.stdout:
            self.lines.put(line.rstrip("\n"))
        self.lines.put(None)

    def _next(self):
        """The next line that is not an event, or None when it was one. Raises at the end."""
        line = self.lines.get(timeout=PATIENCE_S)
        if line is None:
            raise EOFError(f"the client ended with code {self.process.wait()}")
        found = EVENT.fullmatch(line)
        if found:
            self.events.append(f"{found[2]} {found[3]}")
            return None
        # What surrounds an event is not part of an answer either.
        return None if line in ("", "WATCHER::") else line

    def ask(self, command):
        self.marks += 1
        mark = f"/mark-{self.marks}"
        self.process.stdin.write(f"{command}\nstat {mark}\n")
        self.process.stdin.flush()
        answer = []
        # A client that is not connected answers the marker with "Not connected".
        while True:
            line = self._next()
            if line is None:
                continue
            if line == f"Node does not exist: {mark}":
                return answer
            if line == "Not connected" and (command == "close" or answer):
                return answer
            answer.append(line)

    def await_event(self, event):
        while event not in self.events:
            line = self._next()
            if line is not None:
                raise AssertionError(f"wanted event {event}, got line {line!r}")
        self.events.remove(event)


def compare(step, answer):
    """How many lines were compared; raises when one differs."""
    wanted = step.answer
    matches = len(wanted) == len(answer) and all(
        line == text if kind == "<" else re.fullmatch(text, line) for (kind, text), line in zip(wanted, answer)
    )
    if not matches:
        expected = "\n    ".join(f"{kind} {text}" for kind, text in wanted) or "(nothing)"
        got = "\n    ".join(answer) or "(nothing)"
        raise AssertionError(f"expected\n    {expected}\n  got\n    {got}")
    return max(len(wanted), 1)


def main():
    version, server = sys.argv[1:3]
    root = f"/zkcli-{version}-{os.getpid()}"
    script = pathlib.Path(__file__).with_name("script.txt")
    steps = read_script(script, version, {"$R": root, "$SERVER": server})
    client = Client(sys.argv[3:])
    client.ask("printwatches on")
    client.events.clear()
    held = failed = 0
    for step in steps:
        try:
            answer = client.ask(step.command)
            if not step.unchecked:
                held += compare(step, answer)
            for event in step.events:
                client.await_event(event)
                held += 1
        except queue.Empty:
            print(f"script.txt:{step.number}: {step.command}\n  no answer within {PATIENCE_S} s")
            client.process.kill()
            failed += 1
            break
        except (AssertionError, EOFError) as fault:
            failed += 1
            print(f"script.txt:{step.number}: {step.command}\n  {fault}")
            if isinstance(fault, EOFError):
                break
    else:
        # The client ends with the outcome of its last command.
        client.process.stdin.write("stat /\nquit\n")
        client.process.stdin.close()
        code = client.process.wait(timeout=PATIENCE_S)
        if code != 0:
            failed += 1
            print(f"quit ended with code {code}")
        held += 1
    # An event that nobody waited for is one too many; that of closing the session is not.
    for event in client.events:
        if event.startswith("None ") or event.split(" ")[0].endswith("WatchRemoved"):
            continue
        failed += 1
        print(f"event that no step expected: {event}")
    print(f"zkcli-{version}: {held} assertions, {'FAILED' if failed else 'ok'}")
    sys.exit(1 if failed else 0)


main()

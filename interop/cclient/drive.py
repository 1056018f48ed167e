"""Drives the C client, cli_mt, through script.txt and compares its answers line by line.

    python3 drive.py host:port [path of cli_mt]

After each command a marker command is sent, the deletion of a znode that does not exist; its answer
ends the answer before it. Then: one command as an argument, and the session of a client that was killed."""

import itertools
import os
import pathlib
import queue
import re
import signal
import subprocess
import sys
import threading
import time

PATIENCE_S = 60
STAT = [
    ("~", r"\tctime = .*"),
    ("~", r"\tczxid=[0-9a-f]+"),
    ("~", r"\tmtime=.*"),
    ("~", r"\tmzxid=[0-9a-f]+"),
    ("~", r"\tversion={}\taversion=0"),
    ("~", r"\tephemeralOwner = [0-9a-f]+"),
]


class Step:
    def __init__(self, number, command):
        self.number = number
        self.command = command
        self.answer = []  # of (kind, text): "<" literal, "~" pattern, "*" literal in any order


def read_script(path, root):
    steps = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if not line or line.startswith("#"):
            continue
        kind, text = line[0], line[2:].replace("$R", root)
        if kind == ">":
            steps.append(Step(number, text))
        elif kind == "S":
            steps[-1].answer += [(k, t.format(text)) for k, t in STAT]
        elif kind in "<~*":
            steps[-1].answer.append((kind, text))
        else:
            sys.exit(f"script.txt:{number}: unknown kind of line: {line}")
    return steps


class Client:
    """The client process; standard output and error are one stream of lines, unbuffered."""

    def __init__(self, program, server, *arguments):
        self.process = subprocess.Popen(
            ["stdbuf", "-o0", program, "-h", server, *arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        self.lines = queue.Queue()
        self.marks = 0
        threading.Thread(target=self._read, daemon=True).start()
        self.greeting = self.ask("")

    def _read(self):
        for line in self.process.stdout:
            self.lines.put(line.rstrip("\n"))
        self.lines.put(None)

    def ask(self, command):
        self.marks += 1
        mark = f"/mark-{self.marks}"
        self.process.stdin.write((f"{command}\n" if command else "") + f"delete {mark}\n")
        self.process.stdin.flush()
        answer = []
        while True:
            line = self.lines.get(timeout=PATIENCE_S)
            if line is None:
                raise EOFError(f"the client ended with code {self.process.wait()}")
            if line == f"{mark}: rc = -101":
                return answer
            if not re.fullmatch(r"time = \d+ msec", line):
                answer.append(line)

    def quit(self):
        self.process.stdin.write("quit\n")
        self.process.stdin.close()
        return self.process.wait(timeout=PATIENCE_S)


def compare(wanted, answer):
    """How many lines were compared; raises when one differs."""
    rest = list(answer)
    matches = len(wanted) == len(answer)
    for unordered, group in itertools.groupby(wanted, key=lambda line: line[0] == "*"):
        group = list(group)
        part, rest = rest[: len(group)], rest[len(group):]
        if unordered:
            matches = matches and sorted(text for _, text in group) == sorted(part)
        else:
            matches = matches and all(
                line == text if kind == "<" else re.fullmatch(text, line) for (kind, text), line in zip(group, part)
            )
    if not matches:
        expected = "\n    ".join(f"{kind} {text}" for kind, text in wanted) or "(nothing)"
        got = "\n    ".join(answer) or "(nothing)"
        raise AssertionError(f"expected\n    {expected}\n  got\n    {got}")
    return max(len(wanted), 1)


def through_script(program, server):
    root = f"/cclient-{os.getpid()}"
    client = Client(program, server)
    held = compare(
        [("<", "Watcher SESSION_EVENT state = CONNECTED_STATE"), ("~", "Got a new session id: 0x[0-9a-f]+")], client.greeting
    )
    faults = []
    for step in read_script(pathlib.Path(__file__).with_name("script.txt"), root):
        try:
            held += compare(step.answer, client.ask(step.command))
        except AssertionError as fault:
            faults.append(f"script.txt:{step.number}: {step.command}\n  {fault}")
        except (EOFError, queue.Empty) as fault:
            faults.append(f"script.txt:{step.number}: {step.command}\n  {fault or 'no answer'}")
            client.process.kill()
            return held, faults
    code = client.quit()
    if code != 0:
        faults.append(f"quit ended with code {code}")
    return held + 1, faults


def single_command(program, server):
    done = subprocess.run(
        [program, "-h", server, "-c", "get /zookeeper"], capture_output=True, text=True, timeout=PATIENCE_S
    )
    output = done.stdout + done.stderr
    if done.returncode != 0 or "/zookeeper: rc = 0" not in output:
        return 0, [f"cli_mt -c 'get /zookeeper': code {done.returncode}\n{output}"]
    return 2, []


class Killed:
    """A client whose process dies without a farewell: its ephemeral stays for the session's timeout."""

    def __init__(self, program, server):
        self.path = f"/cclient-killed-{os.getpid()}"
        client = Client(program, server)
        client.ask(f"create +e {self.path}")
        client.process.send_signal(signal.SIGKILL)
        client.process.wait()
        self.observer = Client(program, server)
        self.there_at_first = not self.observer.ask(f"exists {self.path}")

    def judge(self, _program, _server):
        if not self.there_at_first:
            return 0, ["the ephemeral vanished with its client's process, before the session's timeout"]
        gone = [f"Error -101 for {self.path}"]
        deadline = time.monotonic() + PATIENCE_S
        while self.observer.ask(f"exists {self.path}") != gone:
            if time.monotonic() > deadline:
                return 1, ["the ephemeral outlived its session"]
            time.sleep(0.1)
        self.observer.quit()
        return 2, []


def main():
    server = sys.argv[1]
    program = sys.argv[2] if len(sys.argv) > 2 else "/usr/lib/zookeeper/bin/cli_mt"
    killed = Killed(program, server)  # first: its session takes some seconds to expire
    held, faults = 0, []
    for part in (through_script, single_command, killed.judge):
        count, found = part(program, server)
        held += count
        faults += found
    for fault in faults:
        print(fault)
    print(f"cclient: {held} assertions, {'FAILED' if faults else 'ok'}")
    sys.exit(1 if faults else 0)


main()

"""Judges a run of kazoo's suite: every case that passes on Apache 3.9.5 must pass, but for the
named exceptions. Reads pytest's JUnit report; `--record` writes the list of passed cases instead."""

import pathlib
import sys
import xml.etree.ElementTree

HERE = pathlib.Path(__file__).parent
PASSED = HERE / "apache-3.9.5.passed.txt"
EXCEPTIONS = HERE / "exceptions.txt"


def case_name(class_name, test):
    """As the lists have it: "test_lock.KazooLockTests::test_lock"."""
    return class_name.removeprefix("kazoo.tests.") + "::" + test


def exceptions():
    """The excepted cases. A line is a case, " - " and its reason; without a reason it excepts nothing."""
    return {name for name, _, reason in (line.partition(" - ") for line in lines(EXCEPTIONS)) if reason}


def outcomes(report):
    """Case name -> passed, failed or skipped. An error in set-up or tear-down is a failure."""
    found = {}
    for case in xml.etree.ElementTree.parse(report).iter("testcase"):
        name = case_name(case.get("classname"), case.get("name"))
        if case.find("failure") is not None or case.find("error") is not None:
            found[name] = "failed"
        elif case.find("skipped") is not None:
            found.setdefault(name, "skipped")
        else:
            found.setdefault(name, "passed")
    return found


def lines(path):
    if not path.exists():
        return []
    text = path.read_text().splitlines()
    return [line for line in text if line and not line.startswith("#")]


def main(arguments):
    report = arguments[-1]
    found = outcomes(report)
    count = {state: sum(1 for s in found.values() if s == state) for state in ("passed", "failed", "skipped")}
    print(f"kazoo: {len(found)} cases: {count['passed']} passed, {count['failed']} failed, {count['skipped']} skipped")
    for state in ("failed", "skipped"):
        for name in sorted(name for name, s in found.items() if s == state):
            print(f"kazoo: {state}: {name}")

    if "--record" in arguments:
        passed = sorted(name for name, state in found.items() if state == "passed")
        PASSED.write_text("\n".join(passed) + "\n")
        print(f"kazoo: wrote {len(passed)} names to {PASSED.name}")
        return 0

    expected = set(lines(PASSED))
    if not expected:
        print(f"kazoo: {PASSED.name} is empty: nothing to judge by", file=sys.stderr)
        return 1
    excepted = exceptions()
    if "--part" in arguments:
        expected &= set(found)
    unknown = excepted - set(lines(PASSED))
    regressions = sorted(name for name in expected - excepted if found.get(name) != "passed")
    for name in sorted(unknown):
        print(f"kazoo: exception for a case that does not pass on Apache either: {name}")
    print(f"kazoo: {len(excepted)} cases are excepted (exceptions.txt)")
    for name in sorted(excepted):
        if found.get(name) == "passed":
            print(f"kazoo: passes though excepted: {name}")
    for name in regressions:
        print(f"kazoo: REGRESSION: {name} ({found.get(name, 'did not run')})")
    verdict = "FAILED" if regressions or unknown or not expected else "ok"
    print(f"kazoo: {len(expected - excepted) - len(regressions)} assertions, {verdict}")
    return 0 if verdict == "ok" else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

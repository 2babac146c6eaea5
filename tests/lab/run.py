#!/usr/bin/env python3
"""Runs the lab's tests: functions test_* in test_*.py, each in a process of its own.

    tests/lab/run.py [--list] [--jobs N] [--folder DIR] [pattern ...]

A pattern selects tests whose `file::name` contains it. Two more than there are processors run at once (`--jobs`): a lab waits
for servers most of its time. A function's attribute `timeout` (seconds, 600) limits it; `alone = True` keeps others out of
its way. One that has not cleaned up two minutes after its limit is killed: its labs end with it.
A test that raises labkit.Skip is skipped with its reason; with CI=true in the environment that is a failure. Text that a
test returns is what it measured: it is printed below its name.
What failed is said again at the end, a line each (`failed: NAME: ERROR`).
Exit: 0 all passed, 1 some failed, 2 usage.
"""

import argparse
import contextlib
import ctypes
import importlib.util
import io
import json
import os
import selectors
import signal
import sys
import textwrap
import time
import traceback
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from labkit.needs import Skip  # noqa: E402

TIMEOUT = 600
CLEANING = float(os.environ.get("LAB_CLEANING", "120"))  # s for a test's own end, after its time is up


def load_tests(folder):
    """(name, function) of every test, in the order in which they are written."""
    found = []
    sys.path.insert(0, str(folder.resolve()))  # a folder's tests share modules
    for path in sorted(folder.glob("test_*.py")):
        spec = importlib.util.spec_from_file_location(path.stem, path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        found += [(f"{path.stem}::{name}", function) for name, function in vars(module).items()
                  if name.startswith("test_") and callable(function)]
    return found


def on_alarm(_number, _frame):
    raise TimeoutError("the test took too long")


def run_test(function):
    """Returns ("ok" | "SKIPPED" | "FAILED", what to print)."""
    output = io.StringIO()
    signal.signal(signal.SIGALRM, on_alarm)
    signal.alarm(getattr(function, "timeout", TIMEOUT))
    try:
        with contextlib.redirect_stdout(output):
            measured = function()
        return "ok", measured or ""
    except Skip as reason:
        return "SKIPPED", str(reason)
    except Exception:
        return "FAILED", output.getvalue() + traceback.format_exc()
    finally:
        signal.alarm(0)


def end_with_the_runner():
    """Asks the kernel to end this process when the runner ends (prctl(2), PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)


class Running:
    """A test under way in a process of its own: its labs end with it, whatever becomes of it."""

    def __init__(self, name, function):
        self.name = name
        self.begin = time.monotonic()
        self.limit = self.begin + getattr(function, "timeout", TIMEOUT) + CLEANING
        self._text = b""
        self.results, theirs = os.pipe()
        self.process = os.fork()
        if self.process == 0:
            os.close(self.results)
            try:
                end_with_the_runner()
                with os.fdopen(theirs, "w", encoding="utf-8") as out:
                    json.dump(run_test(function), out)
                sys.stdout.flush()
            finally:
                os._exit(0)  # the runner's own clean-up is not the test's
        os.close(theirs)

    def ended(self):
        """Takes what there is of the outcome; true at its end."""
        piece = os.read(self.results, 65536)
        self._text += piece
        return not piece

    def kill(self):
        """Ends one that hangs; what it started and left may still hold the other end of the pipe."""
        os.kill(self.process, signal.SIGKILL)
        os.close(self.results)
        os.waitpid(self.process, 0)
        return "FAILED", f"killed: it had not ended {CLEANING:.0f} s after its time was up\n"

    def outcome(self):
        os.close(self.results)
        _, status = os.waitpid(self.process, 0)
        try:
            return json.loads(self._text)
        except ValueError:
            return "FAILED", f"its process ended with {os.waitstatus_to_exitcode(status)} before it had an outcome\n"


def run_all(tests, jobs):
    """Runs tests, `jobs` at a time, then those marked `alone`; yields (name, seconds, outcome, text) as they end."""
    together = [test for test in tests if not getattr(test[1], "alone", False)]
    alone = [test for test in tests if getattr(test[1], "alone", False)]
    with selectors.DefaultSelector() as waits:
        for group, limit in ((together, jobs), (alone, 1)):
            waiting = list(reversed(group))
            while waiting or waits.get_map():
                while waiting and len(waits.get_map()) < limit:
                    started = Running(*waiting.pop())
                    waits.register(started.results, selectors.EVENT_READ, started)
                first = min(key.data.limit for key in waits.get_map().values())
                for key, _ in waits.select(max(0.0, first - time.monotonic())):
                    if key.data.ended():
                        waits.unregister(key.fd)
                        yield key.data.name, time.monotonic() - key.data.begin, *key.data.outcome()
                for key in list(waits.get_map().values()):
                    if time.monotonic() > key.data.limit:
                        waits.unregister(key.fd)
                        yield key.data.name, time.monotonic() - key.data.begin, *key.data.kill()


def last_line(text):
    """What a traceback ends with: the error itself, as far as a line may be long."""
    return text.rstrip().rpartition("\n")[2][:300]


def main():
    parser = argparse.ArgumentParser(description="runs the lab's tests")
    parser.add_argument("--list", action="store_true", help="print the names and run nothing")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)) + 2,
                        help="how many at once (two more than processors that are ours)")
    parser.add_argument("--folder", type=Path, default=HERE)
    parser.add_argument("pattern", nargs="*")
    options = parser.parse_args()

    chosen = [(name, function) for name, function in load_tests(options.folder)
              if not options.pattern or any(pattern in name for pattern in options.pattern)]
    if options.list:
        print("\n".join(name for name, _ in chosen))
        return 0
    if not chosen:
        parser.error("no test matches")

    counts = {"ok": 0, "FAILED": 0, "SKIPPED": 0}
    failures = []
    for name, seconds, outcome, text in run_all(chosen, max(1, options.jobs)):
        counts[outcome] += 1
        reason = f": {text}" if outcome == "SKIPPED" else ""
        print(f"{outcome:8}{name} ({seconds:.1f} s){reason}", flush=True)
        if outcome == "FAILED":
            print(text, flush=True)
            failures.append(f"failed: {name}: {last_line(text)}")
        elif outcome == "ok" and text:
            print(textwrap.indent(text.rstrip(), " " * 8), flush=True)
    print("\n".join(failures), end="\n" if failures else "")
    print(f"{counts['ok']} passed, {counts['FAILED']} failed, {counts['SKIPPED']} skipped", flush=True)
    must_not_skip = os.environ.get("CI") == "true"
    return 1 if counts["FAILED"] or (must_not_skip and counts["SKIPPED"]) else 0


if __name__ == "__main__":
    sys.exit(main())

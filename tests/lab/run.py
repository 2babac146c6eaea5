#!/usr/bin/env python3
"""Runs the lab's tests: functions test_* in test_*.py, one after another.

    tests/lab/run.py [--list] [--folder DIR] [pattern ...]

A pattern selects tests whose `file::name` contains it. A function's attribute `timeout` (seconds, 300) limits it.
A test that raises labkit.Skip is skipped with its reason; with CI=true in the environment that is a failure. Text that a
test returns is what it measured: it is printed below its name.
Exit: 0 all passed, 1 some failed, 2 usage.
"""

import argparse
import contextlib
import importlib.util
import io
import os
import signal
import sys
import textwrap
import time
import traceback
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from labkit.needs import Skip  # noqa: E402

TIMEOUT = 300


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


def main():
    parser = argparse.ArgumentParser(description="runs the lab's tests")
    parser.add_argument("--list", action="store_true", help="print the names and run nothing")
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
    for name, function in chosen:
        begin = time.monotonic()
        outcome, text = run_test(function)
        counts[outcome] += 1
        reason = f": {text}" if outcome == "SKIPPED" else ""
        print(f"{outcome:8}{name} ({time.monotonic() - begin:.1f} s){reason}", flush=True)
        if outcome == "FAILED":
            print(text, flush=True)
        elif outcome == "ok" and text:
            print(textwrap.indent(text.rstrip(), " " * 8), flush=True)
    print(f"{counts['ok']} passed, {counts['FAILED']} failed, {counts['SKIPPED']} skipped", flush=True)
    must_not_skip = os.environ.get("CI") == "true"
    return 1 if counts["FAILED"] or (must_not_skip and counts["SKIPPED"]) else 0


if __name__ == "__main__":
    sys.exit(main())

"""Running the program under test as a person would: a process with arguments, environment and signals."""

import os
import signal
import subprocess
import time
from dataclasses import dataclass

from .needs import Skip
from .paths import deployrun


@dataclass
class Result:
    code: int       # negative: the number of the signal that ended it
    out: str
    err: str
    seconds: float

    def __str__(self):
        return f"exit {self.code} after {self.seconds:.1f} s\n--- stdout\n{self.out}--- stderr\n{self.err}"


class Program:
    """A started deployrun. `user`: a number, whose process it is; `binary`: where that user can read it."""

    def __init__(self, args, *, cwd, env, user=None, binary=None):
        binary = binary or deployrun()
        if not binary.exists():
            raise Skip(f"no binary at {binary}; build it or set DEPLOYRUN")
        self._begin = time.monotonic()
        self.process = subprocess.Popen([str(binary), *map(str, args)], cwd=cwd, env=env, text=True,
                                        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                        **({} if user is None else {"user": user, "group": user, "extra_groups": []}))

    def signal(self, number=signal.SIGINT):
        self.process.send_signal(number)

    def wait(self, timeout=120):
        try:
            out, err = self.process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            out, err = self.process.communicate()
            raise TimeoutError(f"deployrun did not end within {timeout} s\n{out}\n{err}") from None
        return Result(self.process.returncode, out, err, time.monotonic() - self._begin)


def environment(extra):
    """A small environment: what a test does not name does not reach the program."""
    base = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR", "ASAN_OPTIONS", "UBSAN_OPTIONS")
            if name in os.environ}
    return {**base, **{name: str(value) for name, value in extra.items()}}

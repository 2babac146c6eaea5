"""A program in a pseudo terminal of the test: its keys, what it draws, its window's size."""

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time


class Screen:
    """A program in a pseudo terminal of this process."""

    def __init__(self, argv, cwd, env, columns=80, rows=24):
        self.master, slave = pty.openpty()
        self.resize(columns, rows)
        self.before = termios.tcgetattr(self.master)  # before anybody can change it
        self.process = subprocess.Popen(argv, cwd=cwd, env=env, stdin=slave, stdout=slave, stderr=slave,
                                        start_new_session=True,
                                        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
        os.close(slave)
        self.text = ""

    def resize(self, columns, rows):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, text):
        os.write(self.master, text.encode())

    def wait(self, pattern, seconds=60):
        """Reads until the pattern is there; returns the match and forgets what came before."""
        end = time.monotonic() + seconds
        while True:
            found = re.search(pattern, self.text, re.S)
            if found:
                self.text = self.text[found.end():]
                return found
            if time.monotonic() > end:
                raise TimeoutError(f"no {pattern!r} in {self.text!r}")
            if not self._take(1) and not re.search(pattern, self.text, re.S):
                raise AssertionError(f"ended without {pattern!r}: {self.text!r}")

    def _take(self, seconds):
        """Waits for output, then takes what there is for a moment: much of it is not searched piece by piece. False at
        the end."""
        until = time.monotonic() + 0.1
        while select.select([self.master], [], [], seconds)[0]:
            try:
                self.text += os.read(self.master, 65536).decode(errors="replace")
            except OSError:
                return False
            if time.monotonic() > until:
                break
            seconds = 0
        return True

    def end(self):
        code = self.process.wait(60)
        os.close(self.master)
        return code

"""A real terminal for a test: tmux, which draws what a program writes as a person's terminal would.

    with Terminal(folder, ["deployrun", ...], cwd=..., env=...) as terminal:
        terminal.wait_for(r"waiting", 30)
        terminal.resize(60, 20)
        terminal.type("C-c")
"""

import re
import shlex
import subprocess

from labkit import wait_until
from labkit.needs import Skip, find
from labkit.paths import deployrun
from labkit.program import environment


class Terminal:
    """Runs deployrun with `args` on a terminal of `columns` × `rows`; below its output stands `exit N` once it ended.
    The tmux server is this process's child and ends with it."""

    def __init__(self, folder, args, *, cwd, env, columns=100, rows=30):
        if find("tmux") is None:
            raise Skip("packages are missing: tmux")
        self._socket = folder / "tmux.sock"
        # Ctrl-C goes to the shell as well, which has to stay.
        command = f'trap : INT; {shlex.join([str(deployrun()), *map(str, args)])}; echo "exit $?"; exec cat >/dev/null'
        settings = {**environment(env), "LANG": "C.UTF-8", "PS1": "$ "}
        self._server = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "tmux", "-D", "-f", "/dev/null", "-S", str(self._socket)],
            cwd=cwd, env=settings, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            wait_until(self._socket.exists, 60, "tmux")
            self._tmux("new-session", "-d", "-c", cwd, "-x", columns, "-y", rows, "sh", "-c", command)
        except BaseException:
            self.__exit__()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._server.kill()
        self._server.wait()

    def _tmux(self, *args):
        done = subprocess.run(["tmux", "-f", "/dev/null", "-S", str(self._socket), *map(str, args)],
                              capture_output=True, text=True, timeout=60)
        if done.returncode != 0:
            raise RuntimeError(f"tmux {args}: {done.stderr}")
        return done.stdout

    def screen(self):
        """The lines that stand on the screen, without empty ones at the end."""
        return self._tmux("capture-pane", "-p").rstrip("\n").split("\n")

    def everything(self):
        """The screen and what has scrolled off its top, as one text; long lines are whole."""
        return self._tmux("capture-pane", "-p", "-J", "-S", "-").rstrip() + "\n"

    def resize(self, columns, rows):
        self._tmux("resize-window", "-x", columns, "-y", rows)

    def type(self, *keys):
        self._tmux("send-keys", *keys)

    def wait_for(self, pattern, seconds=120):
        """Waits until the screen matches; returns its lines."""
        def matches():
            lines = self.screen()
            return lines if re.search(pattern, "\n".join(lines)) else None
        try:
            return wait_until(matches, seconds, f"`{pattern}` on the screen", every=0.05)
        except TimeoutError as error:
            raise TimeoutError(f"{error}\n{self.everything()}") from None

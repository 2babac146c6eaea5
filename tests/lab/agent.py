"""A real ssh-agent that holds a key, for as long as it is open."""

import os
import signal
import subprocess


class Agent:
    """`socket`: what belongs into SSH_AUTH_SOCK."""

    def __init__(self, folder, *keys):
        self.socket = folder / "agent"
        self._process = subprocess.Popen(["ssh-agent", "-D", "-a", str(self.socket)], stdout=subprocess.PIPE, text=True)
        self._process.stdout.readline()  # it prints where it listens once it does
        for key in keys:
            subprocess.run(["ssh-add", "-q", str(key)], check=True, stdin=subprocess.DEVNULL, capture_output=True,
                           env={**os.environ, "SSH_AUTH_SOCK": str(self.socket)})

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.send_signal(signal.SIGTERM)
        self._process.wait()
        self._process.stdout.close()

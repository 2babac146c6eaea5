"""One lab machine seen from outside: starts process 1, runs programs inside, ends it."""

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

from .paths import ROOT
from .wait import wait_until

ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root",
               "LANG": "C.UTF-8"}
HOSTINIT = ROOT / "tests" / "lab" / "labkit" / "hostinit.py"


class Machine:
    """A set of namespaces with its own root file system. It lives as long as the pipe that this object holds, so it
    ends with this process, however that ends."""

    def __init__(self, folder, name, *, lock_fd, cgroup, files=(), homes=(), overlays=(), devices=(),
                 remove_folder=False):
        self.name = name
        self.within = []  # what leads from the machine's process 1 to where its programs run
        self._services = {}  # name: process id, as the machine counts
        self._orders = threading.Lock()
        root = folder / f"root-{name}"
        root.mkdir()
        config = folder / f"{name}.json"
        config.write_text(json.dumps({"root": str(root), "name": name, "cgroup": cgroup, "files": list(files),
                                      "homes": list(homes), "overlays": list(overlays), "devices": list(devices),
                                      "folder": folder.name if remove_folder else None}))
        self._log = open(folder / f"{name}.log", "wb")
        # The lock stays taken until the last machine of the lab is gone: its descriptor is inherited.
        self._process = subprocess.Popen(
            ["unshare", "--net", "--mount", "--pid", "--uts", "--ipc", "--fork", "--propagation", "private",
             sys.executable, "-I", str(HOSTINIT), str(config)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, pass_fds=(lock_fd,), env=ENVIRONMENT)
        if self._process.stdout.readline() != b"ready\n":
            self.close()
            raise RuntimeError(f"machine {name} did not start: {Path(self._log.name).read_text()}")
        unshare = self._process.pid
        self.pid = int(Path(f"/proc/{unshare}/task/{unshare}/children").read_text().split()[0])
        self.root = Path(f"/proc/{self.pid}/root")

    def enter(self, argv):
        """The command that runs `argv` inside."""
        return ["nsenter", "--target", str(self.pid), "--mount", "--net", "--pid", "--uts", "--ipc", "--root",
                "--wd", "--", *self.within] + [str(a) for a in argv]

    def run(self, argv, *, check=True, stdin=None, timeout=60):
        """Runs a program inside as root; returns the CompletedProcess with text output."""
        result = subprocess.run(self.enter(argv), input=stdin, capture_output=True, text=True, timeout=timeout,
                                env=ENVIRONMENT)
        if check and result.returncode != 0:
            raise RuntimeError(f"{self.name}: {' '.join(map(str, argv))}: exit {result.returncode}: {result.stderr}")
        return result

    def _order(self, **order):
        """One order to process 1 and its answer, an integer; negative ones are errors."""
        with self._orders:
            self._process.stdin.write(json.dumps(order).encode() + b"\n")
            self._process.stdin.flush()
            answer = int(self._process.stdout.readline())
        if answer < 0:
            raise OSError(-answer, f"{self.name}: {order}: {os.strerror(-answer)}")
        return answer

    def start(self, service, argv):
        """Starts a daemon inside; its output goes to /var/log/<service>.log of the machine."""
        self._services[service] = self._order(start=service, argv=[str(a) for a in argv])

    def process(self, service):
        """A daemon's process ID, as the machine counts."""
        return self._services[service]

    def alive(self, service):
        return (self.root / f"proc/{self._services[service]}").exists()

    def stop(self, service, number=signal.SIGTERM):
        """Signals a daemon's main process and waits for its end."""
        self._order(pid=self._services[service], signal=int(number))
        wait_until(lambda: not self.alive(service), 60, f"{self.name}: end of {service}")

    def log(self, service):
        return (self.root / f"var/log/{service}.log").read_text(errors="replace")

    def freeze(self):
        """Stops every process of the machine where it stands, as if it had lost its CPU."""
        self._order(signal=int(signal.SIGSTOP))

    def thaw(self):
        self._order(signal=int(signal.SIGCONT))

    def close(self):
        """Ends the machine and waits until nothing of it is left."""
        self._process.stdin.close()
        self._process.wait(timeout=60)
        self._process.stdout.close()
        self._log.close()

"""What the lab needs from the machine; a test is skipped, with the reason, where it is missing."""

import os
import shutil


class Skip(Exception):
    """Raised by a test that cannot run here; its text is the reason."""


PROGRAMS = {"dockerd": "docker.io", "docker-registry": "docker-registry", "sshd": "openssh-server", "ip": "iproute2",
            "ssh-keygen": "openssh-client", "unshare": "util-linux", "nsenter": "util-linux", "iptables": "iptables"}


def find(program):
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin:/usr/bin:/bin"
    return shutil.which(program, path=path)


def check():
    """Raises Skip unless labs can run on this machine."""
    if os.geteuid() != 0:
        raise Skip("the lab needs root")
    missing = sorted({package for program, package in PROGRAMS.items() if find(program) is None})
    if missing:
        raise Skip("packages are missing: " + " ".join(missing))

"""What the lab needs from the machine; a test is skipped, with the reason, where it is missing."""

import functools
import os
import shutil
import subprocess


class Skip(Exception):
    """Raised by a test that cannot run here; its text is the reason."""


PROGRAMS = {"dockerd": "docker.io", "docker-registry": "docker-registry", "sshd": "openssh-server", "ip": "iproute2",
            "ssh-keygen": "openssh-client", "unshare": "util-linux", "nsenter": "util-linux", "iptables": "iptables"}


def find(program):
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin:/usr/bin:/bin"
    return shutil.which(program, path=path)


@functools.cache
def _namespaces():
    """What the kernel says to new namespaces; empty when it grants them."""
    result = subprocess.run(["unshare", "--net", "--mount", "--pid", "--uts", "--ipc", "--fork", "true"],
                            capture_output=True, text=True, check=False)
    return result.stderr.strip() if result.returncode != 0 else ""


def check():
    """Raises Skip unless labs can run on this machine."""
    if os.geteuid() != 0:
        raise Skip("the lab needs root")
    missing = sorted({package for program, package in PROGRAMS.items() if find(program) is None})
    if missing:
        raise Skip("packages are missing: " + " ".join(missing))
    if _namespaces():
        raise Skip(f"no namespaces here: {_namespaces()}")

"""Podman as a plain user of a lab host: its service on the socket where a session of that user would have it.

What systemd and the packages set up on a server stands here: ranges of users and groups, a runtime folder, devices, a
control group of its own under the one hierarchy that today's servers have.
"""

import json
import os

from .files import DEPLOY
from .needs import Skip, find

PROGRAMS = {"podman": "podman", "slirp4netns": "slirp4netns", "newuidmap": "uidmap", "netavark": "netavark",
            "aardvark-dns": "aardvark-dns", "crun": "crun"}
RUNTIME = f"/run/user/{DEPLOY}"
SOCKET = f"{RUNTIME}/podman/podman.sock"
GROUPS = "/sys/fs/cgroup"
ENVIRONMENT = ["PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "HOME=/home/deploy", f"XDG_RUNTIME_DIR={RUNTIME}"]


def check():
    """Raises Skip where it is not installed."""
    folders = ["/usr/lib/podman", "/usr/libexec/podman"]
    missing = sorted({package for program, package in PROGRAMS.items()
                      if find(program) is None and not any(os.path.exists(f"{f}/{program}") for f in folders)})
    if missing:
        raise Skip("packages are missing: " + " ".join(missing))


def _write(machine, path, text):
    place = machine.root / path
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text)


def prepare(machine, registry, cgroup):
    """Everything but the service."""
    for name in ("subuid", "subgid"):
        _write(machine, f"etc/{name}", "deploy:100000:65536\n")
    _write(machine, "etc/containers/policy.json", json.dumps({"default": [{"type": "insecureAcceptAnything"}]}))
    _write(machine, "etc/containers/registries.conf", f'[[registry]]\nlocation = "{registry}"\ninsecure = true\n')
    _write(machine, "etc/containers/containers.conf", '[engine]\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\n')
    group = f"{GROUPS}/{cgroup}"
    machine.run(["sh", "-ec", f"""
        mount --make-rshared /
        for program in /usr/sbin/dockerd /usr/bin/docker; do  # this server has no Docker
          [ ! -e $program ] || mount --bind /dev/null $program
        done
        install -d -m 700 -o {DEPLOY} -g {DEPLOY} {RUNTIME} {RUNTIME}/podman
        [ -e /dev/fuse ] || mknod /dev/fuse c 10 229
        [ -e /dev/net/tun ] || {{ mkdir -p /dev/net; mknod /dev/net/tun c 10 200; }}
        chmod 666 /dev/fuse /dev/net/tun
        echo 80 >/proc/sys/net/ipv4/ip_unprivileged_port_start
        umount --recursive {GROUPS}
        mount -t cgroup2 cgroup2 {GROUPS}
        mkdir -p {group}/user
        chown -R {DEPLOY}:{DEPLOY} {group}"""])


def command(cgroup, argv):
    """What runs `argv` as that user, in that user's control group."""
    return ["sh", "-c", f'echo $$ >{GROUPS}/{cgroup}/user/cgroup.procs; exec "$@"', "sh", "setpriv", f"--reuid={DEPLOY}",
            f"--regid={DEPLOY}", "--init-groups", "--inh-caps=-all", "env", "-i", "-C", "/home/deploy", *ENVIRONMENT,
            *argv]


def service(cgroup):
    return command(cgroup, ["podman", "system", "service", "--time=0", f"unix://{SOCKET}"])

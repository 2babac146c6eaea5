"""systemd as process 1 of a lab host's sessions: units, timers and `systemctl` are the real ones.

It runs in a process namespace inside the host's, with a view of its own of /proc, /sys and the control groups (one cgroup2
hierarchy, also where this machine has others beside it), as it does in a container of the operating system: what belongs to
the machine (kernel settings, devices, audit) is out of its reach. Files are the host's. The SSH server is a unit; whatever else
the packages of this machine would start with a server is masked, the journal apart.
"""

import os
import uuid
from pathlib import Path

from .needs import Skip
from .wait import START, wait_until

PROGRAM = "/usr/lib/systemd/systemd"
VENDOR, UNITS = "/usr/lib/systemd/system", "/etc/systemd/system"
KEPT = ("systemd-journald.service", "systemd-journald.socket", "systemd-journald-dev-log.socket")
UP = ("running", "degraded")

# Process 1 of the new process namespace. It alone joins its control group ($1), which is then the top of what it sees: beside a
# stranger it could make no others there. /run is made a mount point, or it would be hidden by a new one.
JOIN = 'mkdir -p "$1"; echo 0 >"$1/cgroup.procs"; exec unshare --cgroup -- sh -ec "$2"'
BEGIN = f"""
mount -t proc proc /proc
mount --bind /proc/sys /proc/sys
mount -o remount,bind,ro /proc/sys
umount --recursive /sys/fs/cgroup
mount -o remount,bind,ro /sys
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount --bind /run /run
exec env -i PATH="$PATH" container=lab {PROGRAM} --system
"""


def check():
    """Raises Skip where it is not installed, or cannot have its control groups."""
    if not os.path.exists(PROGRAM):
        raise Skip("packages are missing: systemd")
    _hierarchy()


def _hierarchy():
    """Where this machine has the cgroup2 hierarchy."""
    for folder in ("/sys/fs/cgroup", "/sys/fs/cgroup/unified"):
        if os.path.exists(f"{folder}/cgroup.procs") and os.path.exists(f"{folder}/cgroup.controllers"):
            return folder
    raise Skip("no cgroup2 hierarchy is mounted at /sys/fs/cgroup or /sys/fs/cgroup/unified")


def _unwanted():
    """The units that come with a server's start by the packages of this machine, and generators of such units."""
    for link in Path(VENDOR).glob("*.wants/*"):
        if link.name not in KEPT:
            yield f"{UNITS}/{link.name}"
    for program in Path(VENDOR).parent.glob("system-generators/*"):
        yield f"/etc/systemd/system-generators/{program.name}"


def prepare(machine):
    """The host's files of systemd."""
    # Without a name of its own the host would be in its first start, which enables every unit that there is.
    files = {"/etc/machine-id": uuid.uuid4().hex + "\n", "/etc/systemd/journald.conf": "[Journal]\nAudit=no\n"}
    links = {path: "/dev/null" for path in _unwanted()}
    links[f"{UNITS}/default.target"] = f"{VENDOR}/multi-user.target"
    for name in ("multi-user.target.wants/ssh.service", "sshd.service"):
        links[f"{UNITS}/{name}"] = f"{VENDOR}/ssh.service"
    for path in (*files, *links):
        (machine.root / path[1:]).parent.mkdir(parents=True, exist_ok=True)
    for path, text in files.items():
        (machine.root / path[1:]).write_text(text)
    for path, target in links.items():
        (machine.root / path[1:]).symlink_to(target)


def stop(machine):
    """Ends it as a shutdown does: units in their order, then what is left."""
    machine.run(["systemctl", "poweroff"], check=False)  # may be ended by it
    machine.within = []
    wait_until(lambda: not machine.alive("systemd"), 60, f"{machine.name}: systemd's end")


def start(machine, cgroup):
    """Starts it, and returns when it has started all that it is to start. What `machine` runs from then on runs beside it."""
    group = f"{_hierarchy()}/{cgroup}/systemd"
    machine.start("systemd", ["unshare", "--pid", "--mount", "--fork", "--kill-child", "--", "sh", "-ec", JOIN, "sh", group, BEGIN])
    outer = machine.process("systemd")
    children = machine.root / f"proc/{outer}/task/{outer}/children"

    def state():
        return machine.run(["systemctl", "is-system-running"], check=False).stdout.strip()

    try:
        first = wait_until(lambda: children.read_text().split(), START, f"{machine.name}: systemd's process")[0]
        wait_until(lambda: (machine.root / f"proc/{first}/comm").read_text() == "systemd\n", START, f"{machine.name}: systemd")
        machine.within = ["nsenter", "--target", first, "--mount", "--pid", "--cgroup", "--"]
        wait_until(lambda: state() in UP, START, f"{machine.name}: systemd's start", every=0.1)
    except TimeoutError as error:
        said = machine.run(["sh", "-c", "systemctl list-jobs --no-pager; journalctl --no-pager -n 100"], check=False)
        raise TimeoutError(f"{error}\n{machine.log('systemd')}{said.stdout}{said.stderr}") from None

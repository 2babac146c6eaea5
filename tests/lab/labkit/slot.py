"""The number of a lab: it names its network (10.99.<number>.0/24), devices, cgroups and folder.

A number is taken by a lock that the kernel frees when the lab's last process ends. Whoever takes a number first clears
what a killed predecessor may have left under it.
"""

import fcntl
import os
import shutil
import subprocess
from pathlib import Path

from .paths import LOCKS, temporary

NUMBERS = range(1, 201)


def _try_lock(number):
    LOCKS.mkdir(exist_ok=True)
    fd = os.open(LOCKS / f"{number}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return fd
    except BlockingIOError:
        os.close(fd)
        return None


def device(number):
    return f"drlab{number}"


def leftovers(number):
    """What exists on this machine under a number: paths and devices, as text."""
    found = [str(p) for p in cgroups(number)]
    if Path(f"/sys/class/net/{device(number)}").exists():
        found.append(f"device {device(number)}")
    if temporary(number).exists():
        found.append(str(temporary(number)))
    return found


def cgroups(number):
    """Its control groups, at the top and one below; another lab's may vanish while this looks."""
    base, found = Path("/sys/fs/cgroup"), []
    for folder in (base, *(base / name for name in sorted(os.listdir(base)))):
        try:
            names = os.listdir(folder)
        except (FileNotFoundError, NotADirectoryError):
            continue
        found += [folder / name for name in sorted(names) if name.startswith(f"drlab{number}-")]
    return found


def sweep(number):
    if Path(f"/sys/class/net/{device(number)}").exists():
        subprocess.run(["ip", "link", "del", device(number)], check=False, stderr=subprocess.DEVNULL)
    for top in cgroups(number):
        for folder, _, _ in os.walk(top, topdown=False):
            try:
                os.rmdir(folder)
            except OSError:
                pass  # a process is still in it: the next start tries again
    shutil.rmtree(temporary(number), ignore_errors=True)


def take():
    """Takes a free number; returns (number, descriptor of its lock)."""
    start = os.getpid() % len(NUMBERS)
    for offset in range(len(NUMBERS)):
        number = NUMBERS[(start + offset) % len(NUMBERS)]
        fd = _try_lock(number)
        if fd is not None:
            sweep(number)
            return number, fd
    raise RuntimeError("all lab numbers are taken")


def sweep_dead():
    """Clears what labs that were killed left behind."""
    for lock in LOCKS.glob("*.lock") if LOCKS.exists() else ():
        number = int(lock.stem)
        fd = _try_lock(number)
        if fd is not None:
            sweep(number)
            os.close(fd)

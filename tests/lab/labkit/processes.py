"""The processes of this machine or of a host. One that ends while it is looked at is not there, whatever read found it gone."""

import os
from pathlib import Path

PROC = Path("/proc")


def read(pid, name, proc=PROC):
    """A file of a process, as bytes; None when there is no such process (ESRCH: it ended while the file was open)."""
    try:
        return (proc / str(pid) / name).read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return None


def numbers(proc=PROC):
    """Every process's number. One call reads the folder, and none looks into it: globbing would, and fails where one ends."""
    return [int(name) for name in os.listdir(proc) if name.isdecimal()]


def command_lines(proc=PROC):
    """Arguments by process number, each ended by a null byte; a kernel thread has none."""
    lines = ((pid, read(pid, "cmdline", proc)) for pid in numbers(proc))
    return {pid: line for pid, line in lines if line}


def state(pid, proc=PROC):
    """The letter of its state and its parent's number; None when it is gone."""
    stat = read(pid, "stat", proc)
    if not stat:
        return None
    letter, parent = stat.rsplit(b")", 1)[1].split()[:2]
    return letter.decode(), int(parent)


def runs(pid):
    """Whether a program runs under this number; one that waits to be reaped does not."""
    found = state(pid)
    return found is not None and found[0] not in "ZX"

"""Where things are: the source tree, the cache that survives runs, the program under test."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
CACHE = Path(os.environ.get("XDG_CACHE_HOME", os.path.expanduser("~/.cache"))) / "deployrun"
LAB_CACHE = CACHE / "lab"
DEPS = Path(os.environ.get("DEPLOYRUN_DEPS") or Path.home() / ".cache/deployrun/deps")  # as in .ci/setup
LOCKS = Path("/run/deployrun-lab")


def deployrun():
    """The binary under test: $DEPLOYRUN, else the release build."""
    return Path(os.environ.get("DEPLOYRUN", ROOT / "build" / "release" / "deployrun"))


def temporary(number):
    """The folder of one lab: keys, configurations, mount points; nothing large."""
    return Path(f"/tmp/deployrun-lab-{number}")

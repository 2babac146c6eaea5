"""Real servers on one machine, for tests. Begin with lab.py."""

from .lab import Lab
from .needs import Skip
from .wait import wait_until

__all__ = ["Lab", "Skip", "wait_until"]

"""snapshot: a copy of a large database by the agent, beside sqlite3's .backup and cp; the agent's memory meanwhile."""

import json
import os
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

from benchkit import PRODUCT, report, run, take_turns
from labkit import Skip
from labkit.needs import find
from labkit.paths import deployrun

AGENT = deployrun().parent / "agent" / "deployrun-agent"
WRITER = """
import os, sqlite3, sys, time
db = sqlite3.connect(sys.argv[1], timeout=60, isolation_level=None)
while True:
    db.execute("INSERT INTO t(b) VALUES (?)", (os.urandom(1000),))
    time.sleep(0.005)
"""


class Agent:
    def __init__(self):
        self.process = subprocess.Popen([AGENT, "serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._last = 0

    def ask(self, method, **params):
        self._last += 1
        line = json.dumps({"id": self._last, "method": method, "params": {**params, "patience_ms": 10_000}})
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()
        said = json.loads(self.process.stdout.readline())
        if "error" in said:
            raise RuntimeError(said["error"])
        return said["result"]

    def peak_mib(self):
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
        return 0

    def close(self):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()


def _fill(path, megabytes):
    db = sqlite3.connect(path)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("CREATE TABLE t (n INTEGER PRIMARY KEY, b BLOB)")
    for _ in range(megabytes):
        db.execute("INSERT INTO t(b) VALUES (?)", (os.urandom((1 << 20) - 200),))
    db.commit()
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()


def measure(folder, megabytes, pairs):
    if not find("sqlite3"):
        raise Skip("sqlite3 is not installed")
    database, to = folder / "app.sqlite3", folder / "copy.sqlite3"
    _fill(database, megabytes)
    agents = []

    def snapshot(check):
        def fn():
            to.unlink(missing_ok=True)
            agents.append(Agent())
            agents[-1].ask("snapshot", **{"from": str(database), "to": str(to), "check": check})
        return fn

    def others(argv):
        def fn():
            to.unlink(missing_ok=True)
            run(argv)
            run(["sync", to])
        return fn

    contestants = {PRODUCT: snapshot(False), "with its checks": snapshot(True),
                   "sqlite3 .backup": others(["sqlite3", database, f".backup {to}"]),
                   "cp": others(["cp", "--reflink=never", database, to])}
    print(f"\n== snapshot of {database.stat().st_size >> 20} MiB, synced")
    report(take_turns(contestants, pairs))
    peaks = [agent.peak_mib() for agent in agents]
    for agent in agents:
        agent.close()

    writer = subprocess.Popen([sys.executable, "-c", WRITER, database])
    time.sleep(0.5)
    print("\n== the same beside a writer of some 200 rows a second (.backup starts anew with each, and need not end)")
    del contestants["cp"], contestants["sqlite3 .backup"]
    contestants["sqlite3 VACUUM INTO"] = others(["sqlite3", database, f"VACUUM INTO '{to}'"])
    agents.clear()
    report(take_turns(contestants, pairs))
    peaks += [agent.peak_mib() for agent in agents]
    for agent in agents:
        agent.close()
    writer.kill()
    writer.wait()

    small = folder / "small.sqlite3"
    _fill(small, 8)
    agent = Agent()
    agent.ask("snapshot", **{"from": str(small), "to": str(folder / "small-copy.sqlite3"), "check": True})
    print(f"\nmemory of the agent: {agent.peak_mib():.1f} MiB for 8 MiB, {max(peaks):.1f} MiB at most for {megabytes} MiB")
    agent.close()
    to.unlink(missing_ok=True)

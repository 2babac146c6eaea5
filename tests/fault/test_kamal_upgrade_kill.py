"""`kamal.lua upgrade` of a server of Kamal 1, killed around its journal's rows: --abort brings Traefik back with all that it
served, --resume finishes with kamal-proxy in its place; the app answers after either."""

import signal
import sqlite3
from contextlib import closing

from faultkit import FULL, Lab  # first: it makes the lab's modules known
from kamalkit import Kamal1, Project, containers, latest, running, serves
from labkit import binaries

POINTS = None if FULL else 4  # of them, spread over the upgrade


def _left_by_kamal_1(host):
    host.reset()
    server = Kamal1(host)
    server.leave("v1", ("web", "workers"))
    server.accessory()
    serves(host, "v1")
    return _state(host)


def _state(host):
    return {"containers": {name: one["State"] for name, one in containers(host).items()}, "latest": latest(host),
            "locked": host.exists("/root/.kamal/lock-shop")}


def _count(project, what):
    with closing(sqlite3.connect(project.folder / ".deployrun/journal.db")) as database:
        return database.execute(f"SELECT count(*) FROM journal WHERE {what}").fetchone()[0]


def _assert_upgraded(host, story):
    assert (running(host), running(host, "workers"), latest(host)) == (["shop-web-v1"], ["shop-workers-v1"], ["v1"]), story
    there = containers(host)
    assert there["kamal-proxy"]["State"] == there["shop-cache"]["State"] == "running" and "traefik" not in there, story
    assert not host.exists("/root/.kamal/lock-shop"), story


def test_an_upgrade_from_kamal_1_is_killed():
    binaries.traefik()
    with Lab(hosts=1) as lab:
        project, [host] = Project(lab), lab.hosts
        _left_by_kamal_1(host)
        project.good("upgrade", "-y")
        _assert_upgraded(host, "undisturbed")
        rows = _count(project, "run = (SELECT run FROM journal WHERE type = 'run' ORDER BY number DESC LIMIT 1)")
        faults = [f"{side}:{row}" for row in range(1, rows + 1) for side in ("before", "after")]
        if POINTS:
            faults = faults[len(faults) // (2 * POINTS)::len(faults) // POINTS]
        seen, before = {}, None
        for number, fault in enumerate(faults):
            before = before or _left_by_kamal_1(host)
            runs, mode = _count(project, "type = 'run'"), ("abort", "resume")[number // 2 % 2]
            killed = project.run("upgrade", "-y", env={"DEPLOYRUN_FAULT": fault})
            assert killed.code == -signal.SIGKILL, (fault, killed)
            settled = project.run(f"--{mode}")
            story = (fault, mode, killed, settled)
            began, done = _count(project, "type = 'run'") > runs, settled.code == 2
            late = "too late to undo" in settled.out + settled.err
            assert done or settled.code == 0, story
            serves(host, "v1")
            if not began or (mode == "abort" and not done and not late):
                assert _state(host) == before, story
            else:
                _assert_upgraded(host, story)
                before = None
            word = "not begun" if not began else "done before" if done else "finished" if late else mode
            seen[word] = seen.get(word, 0) + 1
    return f"{len(faults)} of {2 * rows} points: {seen}"


test_an_upgrade_from_kamal_1_is_killed.timeout = 7200 if FULL else 600

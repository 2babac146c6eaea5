"""A rollback to a release whose container and image somebody has removed, killed around its journal's rows: --abort leaves all as
it was, --resume brings the earlier release back; no request fails, also between the kill and what repairs it."""

import signal
import sqlite3
from contextlib import closing

from faultkit import FULL, LIGHT, Lab  # first: it makes the lab's modules known
from composekit import Project as ComposeProject
from prodkit import Project, assert_same, assert_serving, summary_line
from test_rollback import prune_all

POINTS = None if FULL else 4  # of them, spread over the rollback


def _rows(project):
    with closing(sqlite3.connect(project.folder / ".deployrun/journal.db")) as database:
        return database.execute("SELECT count(*) FROM journal WHERE run = (SELECT run FROM journal WHERE type = 'run' "
                                "ORDER BY number DESC LIMIT 1)").fetchone()[0]


def _runs(project):
    with closing(sqlite3.connect(project.folder / ".deployrun/journal.db")) as database:
        return database.execute("SELECT count(*) FROM journal WHERE type = 'run'").fetchone()[0]


def _kill_around_rows(make):
    with Lab(hosts=1) as lab:
        project, host = make(lab), lab.hosts[0]
        project.deploy("v1")
        project.deploy("v2")
        prune_all(host)
        project.good("rollback")
        rows = _rows(project)
        faults = [f"{side}:{row}" for row in range(1, rows + 1) for side in ("before", "after")]
        if POINTS:
            faults = faults[len(faults) // (2 * POINTS)::len(faults) // POINTS]
        seen = {}
        with lab.load(**LIGHT) as load:
            for number, fault in enumerate(faults):
                for mode in ("abort", "resume") if FULL else (("abort", "resume")[number % 2],):
                    project.good("rollback", "v2")
                    prune_all(host)
                    before, runs = host.snapshot(), _runs(project)
                    killed = project.run("rollback", env={"DEPLOYRUN_FAULT": fault})
                    assert killed.code == -signal.SIGKILL, (fault, killed)
                    settled = lab.deployrun([project.RECIPE, f"--{mode}"], cwd=project.folder, timeout=180)
                    story = (fault, mode, killed, settled)
                    began, done = _runs(project) > runs, settled.code == 2
                    assert done or settled.code == 0, story
                    if not began or (mode == "abort" and not done):
                        assert_same(before, host.snapshot(), story)
                        assert_serving([host], "v2", story)
                    else:
                        assert_serving([host], "v1", story)
                    word = "not begun" if not began else "done before" if done else mode
                    seen[word] = seen.get(word, 0) + 1
            summary = load.stop()
        assert summary["failed"] == 0, summary
    return f"{len(faults)} of {2 * rows} points: {seen}; {summary_line(summary)}"


def test_a_rollback_to_what_is_gone_is_killed():
    return _kill_around_rows(Project)


def test_a_rollback_of_a_compose_project_to_what_is_gone_is_killed():
    return _kill_around_rows(ComposeProject)


for _test in (test_a_rollback_to_what_is_gone_is_killed, test_a_rollback_of_a_compose_project_to_what_is_gone_is_killed):
    _test.timeout = 7200 if FULL else 600

"""A full restore, killed around its journal's rows: --abort leaves the rows of before, --resume brings the backup's; the
search is filled from what is there, and requests are answered or told to wait (503), never lost."""

import signal
import sqlite3
from contextlib import closing

from faultkit import FULL, Lab  # first: it makes the lab's modules known
from restorekit import failures_of, site_with_backup
from test_compose_restore import compose_site

POINTS = None if FULL else 4  # of them, spread over the restore


def _count(site, what):
    with closing(sqlite3.connect(site.folder / ".deployrun/journal.db")) as database:
        return database.execute(f"SELECT count(*) FROM journal WHERE {what}").fetchone()[0]


def _is_killed(make):
    with Lab(hosts=1) as lab:
        site, _ = make(lab)
        now = site.content()
        site.restore()
        restored = site.content()
        rows = _count(site, "run = (SELECT run FROM journal WHERE type = 'run' ORDER BY number DESC LIMIT 1)")
        faults = [f"{side}:{row}" for row in range(1, rows + 1) for side in ("before", "after")]
        if POINTS:
            faults = faults[len(faults) // (2 * POINTS)::len(faults) // POINTS]
        seen, failed = {}, []
        for number, fault in enumerate(faults):
            site.restore("restore")
            assert site.content() == now and site.indexed() == now["rows"], fault
            runs, mode = _count(site, "type = 'run'"), ("abort", "resume")[number % 2]
            with lab.load(rate=20, path="/version") as load:
                killed = site.run("restore", env={"DEPLOYRUN_FAULT": fault})
                assert killed.code == -signal.SIGKILL, (fault, killed)
                settled = site.settle(mode)
                load.stop()
            failed += failures_of(load)
            began, done = _count(site, "type = 'run'") > runs, settled.code == 2
            late = "too late to undo" in settled.out + settled.err
            story = (fault, mode, killed, settled)
            assert done or settled.code == 0, story
            undone = not began or (mode == "abort" and not done and not late)
            assert site.content() == (now if undone else restored), story
            assert site.indexed() == (now if undone else restored)["rows"], story
            site.serves("r2")
            if undone:
                site.restore()
            word = "not begun" if not began else "done before" if done else "finished" if late else mode
            seen[word] = seen.get(word, 0) + 1
        assert set(failed) <= {503}, failed[:5]
    return f"{len(faults)} of {2 * rows} points: {seen}; {len(failed)} requests were answered 503"


def test_a_restore_is_killed():
    return _is_killed(site_with_backup)


def test_a_restore_of_a_compose_project_is_killed():
    return _is_killed(compose_site)


for _test in (test_a_restore_is_killed, test_a_restore_of_a_compose_project_is_killed):
    _test.timeout = 7200 if FULL else 600

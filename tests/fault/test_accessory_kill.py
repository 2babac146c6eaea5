"""A reboot of an accessory, killed around its journal's rows: --abort leaves the old container, --resume the new one; one of
them runs, nothing else of it stays, and its data does."""

import signal
import sqlite3
from contextlib import closing

from faultkit import FULL, Lab  # first: it makes the lab's modules known
from noteskit import Notes
from test_accessories import Search

POINTS = None if FULL else 5  # of them, spread over the reboot


def _count(site, what):
    with closing(sqlite3.connect(site.folder / ".deployrun/journal.db")) as database:
        return database.execute(f"SELECT count(*) FROM journal WHERE {what}").fetchone()[0]


def test_a_reboot_of_an_accessory_is_killed():
    with Lab(hosts=1) as lab:
        site = Notes(lab)
        search = Search(lab, site)
        site.push("r1")
        site.deploy("r1")
        index = site.host.engine.get("/volumes/search-data")["Mountpoint"] + "/index.bin"
        site.host.machine.run(["sh", "-c", f"echo words >{index}"])
        search.run("reboot", "--anyway")
        rows = _count(site, "run = (SELECT run FROM journal WHERE type = 'run' ORDER BY number DESC LIMIT 1)")
        faults = [f"{side}:{row}" for row in range(1, rows + 1) for side in ("before", "after")]
        if POINTS:
            faults = faults[len(faults) // (2 * POINTS)::len(faults) // POINTS]
        seen = {}
        for number, fault in enumerate(faults):
            runs, mode, old = _count(site, "type = 'run'"), ("abort", "resume")[number % 2], search.state()[0]
            killed = lab.deployrun(["recipes/accessories.lua", "reboot", "--anyway"], cwd=site.folder, timeout=120,
                                   env={"DEPLOYRUN_FAULT": fault})
            assert killed.code == -signal.SIGKILL, (fault, killed)
            settled = lab.deployrun(["recipes/accessories.lua", f"--{mode}"], cwd=site.folder, timeout=120)
            began, done = _count(site, "type = 'run'") > runs, settled.code == 2
            late = "too late to undo" in settled.out + settled.err
            story = (fault, mode, killed, settled)
            assert done or settled.code == 0, story
            undone = not began or (mode == "abort" and not done and not late)
            new, running, _ = search.state()
            assert running and (new == old) == undone, story
            assert [name for name in site.containers() if name.startswith("notes-search")] == ["notes-search"], story
            assert site.host.machine.run(["cat", index]).stdout == "words\n", story
            word = "not begun" if not began else "done before" if done else "finished" if late else mode
            seen[word] = seen.get(word, 0) + 1
    return f"{len(faults)} of {2 * rows} points: {seen}"


test_a_reboot_of_an_accessory_is_killed.timeout = 3600 if FULL else 600

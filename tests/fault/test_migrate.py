"""Migrations that go wrong in each way and at each sub-step, under writers that keep a side log: the database is what
it was, the old version serves, no row that was acknowledged is lost, and no request fails."""

import json
import os
import signal
import sqlite3
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.request import urlopen

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "lab"))

from labkit import Lab, binaries, wait_until  # noqa: E402
from labkit.load import Load  # noqa: E402
from noteskit import FULL, SERVICE, WRITERS, Notes, acknowledged, failures, refused_by_a_pause  # noqa: E402
from prodkit import differences, summary_line  # noqa: E402

STEADY = {**WRITERS, "rate": 200 if FULL else 50}
OURS = ("look for pending", "check the database", "hold traffic", "snapshot", "migrate the database")


class Site(Notes):
    """Version r1 serves, writers write; `expect_old` after everything that must leave it so."""

    def __init__(self, lab, **options):
        super().__init__(lab, **options)
        self.push("r1")
        self.deploy("r1")
        self.before, self.serves, self.story = self.host.snapshot(), "r1", []

    @contextmanager
    def writers(self):
        with Load([self.host.url], self.lab.scratch() / "writes.jsonl", **STEADY) as load:
            yield load
            self.summary = load.stop()
        refused = refused_by_a_pause(self.host, load)
        assert self.summary["failed"] == refused, (self.summary, refused, failures(load)[:3], self.story)
        lost = acknowledged(load) - set(self.look()["ids"])
        assert not lost, (f"{len(lost)} acknowledged rows are lost", sorted(lost)[:5], self.story)

    def deploy_bad(self, tag, *, code, version="r2", says=(), env=None):
        result = self.run("deploy", "--version", tag, env=env)
        self.story.append(f"--- deploy {tag}: {result}")
        assert result.code == code, result
        for word in says:
            assert word in result.out + result.err, (word, result)
        return result

    def expect_old(self, what):
        """As it was before the first deploy that went wrong."""
        found = differences(self.before, self.host.snapshot())
        assert not found, (what, found, self.story)
        database = self.look()
        assert database["integrity"] == ["ok"], (what, database["integrity"])
        assert database["schema"] == int(self.serves[1:]), (what, database["schema"])
        assert "half_done" not in database["columns"], (what, database["columns"])
        shipped = tuple(f"app.sqlite3.before-r{number}-" for number in range(1, int(self.serves[1:]) + 1))
        left = [name for name in self.files() if not name.startswith((*shipped, "app.sqlite3.migrate.lock"))]
        assert not left, (what, left, self.story)
        assert self.proxy_state() == "running", what

    def shipped(self, tag, version):
        """A deploy came to its end after all."""
        database = self.look()
        assert database["integrity"] == ["ok"] and database["schema"] == int(version[1:]), (tag, database["schema"])
        assert self.containers()[f"{SERVICE}-web-{tag}"] == "running", (self.containers(), self.story)
        assert self.proxy_state() == "running" and not [name for name in self.containers() if ".migrate-" in name]
        self.before, self.serves = self.host.snapshot(), version

    def steps(self):
        """(row, step, state) of the newest run's tasks, in order, as the journal has them."""
        with closing(sqlite3.connect(self.folder / ".deployrun/journal.db")) as database:
            run, = database.execute("SELECT run FROM journal WHERE type = 'run' ORDER BY number DESC LIMIT 1").fetchone()
            rows = [(kind, json.loads(body)) for kind, body in
                    database.execute("SELECT type, body FROM journal WHERE run = ? ORDER BY number", (run,))]
        names = {body["ordinal"]: body["name"] for kind, body in rows if kind == "step"}
        return [(number, names[body["step"]], body["state"]) if kind == "task" else (number, "", kind)
                for number, (kind, body) in enumerate(rows, 1)]


def test_migrations_that_go_wrong():
    """It fails, it hangs, the version does not start, the disk is full: all is as before, in one go."""
    with Lab(hosts=1) as lab:
        # A disk of its own, small enough to fill.
        host = lab.hosts[0]
        host.engine.call("POST", "/volumes/create", {"Name": "notes-data", "Driver": "local", "DriverOpts": {
            "type": "tmpfs", "device": "tmpfs", "o": "size=40m"}})
        site = Site(lab)
        site.push("r2", "fails", MIGRATE_FAULT="fail")
        site.push("r2", "hangs", MIGRATE_FAULT="hang")
        site.push("r2", "fills", MIGRATE_FAULT="fill")
        site.push("r2", "ends", SERVE_FAULT="1")
        with site.writers():
            site.deploy_bad("fails", code=1, says=["migrate.failed", "exit code 1", "half done"])
            site.expect_old("a migration that fails")
            site.options(timeout='"8s"')
            site.deploy_bad("hangs", code=1, says=["migrate.timeout", "half done"])
            site.expect_old("a migration that hangs")
            site.options()
            site.deploy_bad("fills", code=1, says=["migrate.failed", "disk is full"])
            site.expect_old("a migration that fills the disk")
            site.deploy_bad("ends", code=1, says=["app.exited"])
            site.expect_old("a version that does not start on the new schema")
            # Too little room is found before anything is touched.
            disk = os.statvfs(f"{host.machine.root}{site.data}")
            room = disk.f_bavail * disk.f_frsize - 1_000_000
            host.machine.run(["fallocate", "--length", str(room), str(site.data / "ballast")])
            site.deploy_bad("fails", code=1, says=["migrate.space"])
            host.machine.run(["rm", str(site.data / "ballast")])
            site.expect_old("too little room")
        return summary_line(site.summary)


test_migrations_that_go_wrong.timeout = 600


def test_writes_after_the_snapshot_are_kept():
    """A snapshot from before the hold, or no hold at all: the database stays, with every row, and it is said."""
    with Lab(hosts=1) as lab:
        for option in ({"snapshot": '"before"'}, {"traffic": '"online"'}):
            lab.hosts[0].reset()
            site = Site(lab)
            # Beside writers, a transaction that reads first would lose to them before anything is half done.
            site.push("r2", "halves", MIGRATE_FAULT="half", MIGRATE_BEGIN="IMMEDIATE")
            site.options(**option)
            with site.writers():
                site.deploy_bad("halves", code=5, says=["migrate.kept", "to after its snapshot", ".before-halves"])
                database = site.look()
                assert database["integrity"] == ["ok"] and "half_done" in database["columns"], database["columns"]
                assert [name for name in site.files() if ".before-halves" in name], site.files()
                assert site.containers()["notes-web-r1"] == "running" and site.proxy_state() == "running"


def test_a_writer_that_cannot_be_held():
    with Lab(hosts=1) as lab:
        site = Site(lab)
        site.push("r2")
        path = site.data / "app.sqlite3"
        script = (f"import sqlite3,time; d = sqlite3.connect('{path}'); d.execute('select 1 from note').fetchone(); "
                  "print('open', flush=True); time.sleep(600)")
        lab.hosts[0].machine.start("shell", ["python3", "-c", script])
        wait_until(lambda: "open" in lab.hosts[0].machine.log("shell"), 60, "the writer")
        with site.writers():
            site.deploy_bad("r2", code=1, says=["migrate.writer", "python3 -c"])
            site.expect_old("somebody else writes")
            lab.hosts[0].machine.stop("shell")
            site.deploy("r2")
            site.shipped("r2", "r2")


# --- kill -9

def kill_points(site):
    """Around each journal row of our sub-steps, and of what comes after while requests are held."""
    rows = site.steps()
    first = next(row for row, step, _ in rows if step.startswith(OURS[0]))
    last = max(row for row, step, _ in rows if step.startswith(("release", "switch")))
    points = [(f"{side}:{row}", mode) for row in range(first, last + 1) for side in ("before", "after")
              for mode in ("abort", "resume")]
    if FULL:
        return points
    chosen = {step: row for row, step, state in rows if state == "done"}  # the row that tells of a sub-step's end
    return [(f"{side}:{row}", mode) for (step, row), side, mode in
            zip([item for item in chosen.items() if first <= item[1] <= last], ["before", "after"] * 9,
                ["abort", "abort", "resume", "resume"] * 9)]


def test_kill_at_each_sub_step():
    with Lab(hosts=1) as lab:
        site = Site(lab)
        site.push("r2")
        number, found = 2, []
        with site.writers():
            site.deploy("r2")
            site.shipped("r2", "r2")
            for fault, mode in kill_points(site):
                tag = f"r{number + 1}"
                site.push(tag)
                site.story.append(f"--- {fault} {mode}")
                result = site.run("deploy", "--version", tag, env={"DEPLOYRUN_FAULT": fault})
                assert result.code == -signal.SIGKILL, (fault, result)
                result = site.settle(mode)
                site.story.append(str(result))
                assert result.code == 0, (fault, mode, site.story[-2:])
                wait_until(lambda: not agents(site), 60, "the end of the agents")
                late = "too late to undo" in result.out + result.err
                if mode == "resume" or late:
                    number += 1
                    site.shipped(tag, tag)
                else:
                    site.expect_old((fault, mode))
                found.append("finished" if mode == "resume" or late else "undone")
        return (f"{len(found)} kills: {found.count('undone')} undone, {found.count('finished')} finished; "
                f"{summary_line(site.summary)}")


def test_a_hold_that_is_called_off_turns_nobody_away():
    """A request of some seconds is under way when traffic is held: until it ends, the proxy sends nothing to where it is.
    The deploy is interrupted meanwhile, or killed, then aborted or resumed."""
    with Lab(hosts=1) as lab:
        site = Site(lab)
        site.push("r2")
        for mode in ("undo", "abort", "resume"):
            with site.writers(), ThreadPoolExecutor() as pool:
                slow = pool.submit(lambda: urlopen(f"{site.host.url}/slow?ms=20000", timeout=120).status)
                program = site.start("deploy", "--version", "r2")
                wait_until(lambda: site.proxy_state() == "paused", 60, "the pause")
                program.signal(signal.SIGINT if mode == "undo" else signal.SIGKILL)
                result = program.wait(60) if mode == "undo" else (program.wait(), site.settle(mode))[1]
                assert result.code == (130 if mode == "undo" else 0), (mode, result)
                site.story.append(f"--- {mode}: {result}")
                assert mode == "resume" or not slow.done(), (mode, site.story[-1])
                assert slow.result(60) == 200
                if mode == "resume":
                    site.shipped("r2", "r2")
                else:
                    site.expect_old(mode)
        return summary_line(site.summary)


def agents(site):
    return site.host.engine.get('/containers/json?all=1&filters={"label":["deployrun.agent"]}')


test_kill_at_each_sub_step.timeout = 7200 if FULL else 600


def _kill_inside(site, tag, mode):
    """kill -9 while the migration is half done."""
    program = site.start("deploy", "--version", tag)

    def under_way():
        assert program.process.poll() is None, program.wait()
        # Nobody looks into the database before that: who has it open is refused.
        return any(step == OURS[-1] for _, step, _ in site.steps()) and site.look()["schema"] == 2
    wait_until(under_way, 60, "a migration that is under way")
    program.signal(signal.SIGKILL)
    program.wait()
    result = site.settle(mode)
    site.story.append(f"--- killed inside {tag}, {mode}: {result}")
    assert result.code == 0, result
    wait_until(lambda: not agents(site), 60, "the end of the agents")


def test_kill_inside_a_migration():
    """In the one-off container, in the old container, on the server: what runs is ended or waited for, never twice."""
    with Lab(hosts=1) as lab:
        for where in ("image", "container", "host"):
            lab.hosts[0].reset()
            site = Site(lab)
            site.push("r2", "hangs", MIGRATE_FAULT="hang")
            site.push("r2", "slow", MIGRATE_FAULT="slow", SLOW_MS="6000")
            place(site, where, "hang")
            with site.writers():
                _kill_inside(site, "hangs", "abort")
                site.expect_old(where)
                place(site, where, "slow")
                _kill_inside(site, "slow", "resume")
                site.shipped("slow", "r2")


def place(site, where, fault):
    """The migration at another place: the same program, with the environment of its version."""
    if where == "image":
        return
    words = {"VERSION": "r2", "MIGRATE_FAULT": fault, "SLOW_MS": "6000"}
    options = {"where": f'"{where}"'}
    if where == "host":
        program = site.host.machine.root / "usr/local/bin/notes"
        program.write_bytes(binaries.notes_app().read_bytes())
        program.chmod(0o755)
        words["DATABASE"] = f"{site.data}/app.sqlite3"
        options["command"] = '{ "/usr/local/bin/notes", "migrate" }'
    options["env"] = "{ " + ", ".join(f'{name} = "{value}"' for name, value in words.items()) + " }"
    site.options(**options)


test_kill_inside_a_migration.timeout = 600

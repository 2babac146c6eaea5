"""The runner that vanishes: kill -9 of deployrun around journal rows of a deploy, then its project, its state and its home
are removed. Another copy of the project, of another user with another home, finds on the primary host what the run was, and
ends it: --resume as after an undisturbed deploy, --abort exactly as before. The points are those of test_kill.py, with the
same checks; a light load asks all hosts all the time.
"""

import os
import shutil
import signal
import sqlite3
import tempfile
import threading
from contextlib import closing
from pathlib import Path

from faultkit import FINAL, FULL, LIGHT, MORE, Lab, Site, Watch, mark, step_of
from labkit import wait_until
from labkit.paths import deployrun
from labkit.program import Program, environment
from prodkit import KAMAL, Project, summary_line

NOBODY = 65534


class Elsewhere:
    """Another machine, as far as a run can see: a user, a home, a copy of the project and of what logs in, nothing else."""

    def __init__(self, lab):
        self.lab = lab
        self.home = Path(tempfile.mkdtemp(prefix="deployrun-elsewhere-"))
        self.binary = self.home / "deployrun"
        shutil.copy2(deployrun(), self.binary)
        self._number = 0
        self.fresh()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.home)

    def fresh(self):
        """A project that was never used."""
        self._number += 1
        self.project = Project(self.lab, kind=KAMAL, more=MORE, key=self.home / "id", known_hosts=self.home / "known_hosts")
        for source, name in ((self.lab.keys.client["ed25519"], "id"), (self.lab.known_hosts, "known_hosts")):
            shutil.copyfile(source, self.home / name)
            (self.home / name).chmod(0o600)
        self.folder = self.home / f"project{self._number}"
        shutil.copytree(self.project.folder, self.folder)
        for path in (self.home, *self.home.rglob("*")):
            os.chown(path, NOBODY, NOBODY)

    def run(self, *args, timeout=180):
        program = Program(args, cwd=self.folder, env=environment({"HOME": self.home}), user=NOBODY, binary=self.binary)
        return program.wait(timeout)

    def deploy(self, version):
        return self.run("recipes/prod.lua", "deploy", "--version", version)


class Primary:
    """What the primary host has written down, read without the program."""

    def __init__(self, host):
        self.machine = host.machine
        self.folder = host.machine.root / "root/.deployrun/locks/shop"

    def _rows(self, sql, *values):
        with tempfile.TemporaryDirectory() as folder:  # SQLite cannot follow /proc/PID/root; nobody writes meanwhile
            for name in ("state.db", "state.db-journal"):
                if (self.folder / name).exists():
                    shutil.copyfile(self.folder / name, Path(folder, name))
            if not Path(folder, "state.db").exists():
                return []
            with closing(sqlite3.connect(Path(folder, "state.db"))) as database:
                return database.execute(sql, values).fetchall()

    def wait_for_the_last_word(self):
        """What the killed process had sent may be on its way: its agent ends with the connection."""
        wait_until(lambda: self.machine.run(["pgrep", "-f", "[.]deployrun/agent-"], check=False).returncode == 1, 60,
                   "the end of the agent")

    def last_run(self):
        """(id, state) of the newest run."""
        rows = self._rows("SELECT run FROM journal WHERE type = 'run' ORDER BY place DESC LIMIT 1")
        if not rows:
            return None, None
        last = self._rows("SELECT json_extract(body, '$.state') FROM journal WHERE run = ? AND type IN ('run', 'takeover', "
                          "'finish') ORDER BY number DESC LIMIT 1", rows[0][0])
        return rows[0][0], last[0][0] or "running"

    def cannot_be_undone(self):
        run, _ = self.last_run()
        return self._rows(
            "SELECT count(*) FROM journal AS task JOIN journal AS step ON step.run = task.run AND step.type = 'step' AND "
            "json_extract(step.body, '$.ordinal') = json_extract(task.body, '$.step') WHERE task.run = ? AND "
            "task.type = 'task' AND json_extract(step.body, '$.name') = ?", run, FINAL)[0][0] > 0


def _vanish(site):
    """Nothing of the machine that deployed is left; the next deploys come from a new copy of the project."""
    shutil.rmtree(site.project.folder)
    for name in (".deployrun", ".ssh", ".cache"):
        shutil.rmtree(site.lab.folder / name, ignore_errors=True)
    site.project = Project(site.lab, kind=KAMAL, more=MORE)


def _settle(site, elsewhere, last, before, mode, story):
    """Ends from elsewhere what was killed; what the run was: None (nothing of it is known), running, final, done."""
    primary = Primary(site.hosts[0])
    primary.wait_for_the_last_word()
    run, state = primary.last_run()
    found = None if run == last else state
    _vanish(site)
    elsewhere.fresh()
    if found == "running":
        if primary.cannot_be_undone():
            found = "final"
        plain = elsewhere.deploy(site.next)
        assert plain.code == 5 and "--resume" in plain.out + plain.err and run in plain.out + plain.err, (story, plain)
        assert primary.last_run() == (run, "running"), story
    result = elsewhere.run("recipes/prod.lua", f"--{mode}")
    story = f"{story}\n{mode}, {found} on the primary host: {result}"
    if found in (None, "done"):
        assert result.code == 2, story
    else:
        aborted = mode == "abort" and found == "running"
        assert result.code == 0, story
        assert primary.last_run() == (run, "aborted" if aborted else "done"), story
        told = elsewhere.run("recipes/prod.lua", "history", run)
        assert told.code == 0 and f"taken over to {mode} by nobody" in told.out, told
    if found in ("done", "final") or (found == "running" and mode == "resume"):
        site.assert_after(story)
    else:
        site.assert_before(before, story)
    return found


def _points(rows):
    if FULL:
        return [f"{side}:{row}" for row in range(1, rows + 1) for side in ("before", "after")]
    return [f"after:{row}" for row in (2, rows // 2, rows * 2 // 3, rows)]


def test_kill_and_lose_the_machine():
    with Lab(hosts=2) as lab, Elsewhere(lab) as elsewhere:
        site = Site(lab)
        rows = site.learn()
        marks, found, seen = [], [], set()
        with lab.load(**LIGHT) as load:
            for number, fault in enumerate(_points(rows)):
                for mode in ("abort", "resume") if FULL else (("abort", "resume")[number % 2],):
                    mark(marks, f"{fault} {mode}")
                    before, (last, _) = site.states(), Primary(site.hosts[0]).last_run()
                    result = site.start(fault=fault).wait()
                    assert result.code == -signal.SIGKILL, result
                    what = _settle(site, elsewhere, last, before, mode, f"{fault} {mode}\n{result}")
                    seen.add(what)
                    found.append(f"{fault} {mode}: {what}")
            summary = load.stop()
        assert summary["failed"] == 0, "\n".join(site.failures(load, marks))
        assert {"running", "final"} <= seen, found
        return f"{len(found)} points of {rows} rows: " + ", ".join(found) + "\n" + summary_line(summary)


test_kill_and_lose_the_machine.timeout = 7200 if FULL else 900


# Seconds after a step began: kills that fall between the rows, while servers change.
MOMENTS = [("start", 0.05, "abort"), ("switch", 0.05, "abort"), ("switch", 0.15, "resume"), ("retire", 0.1, "abort")]
if FULL:
    MOMENTS += [(step, number / 50, mode) for step in ("proxy", "pull", "start", "switch", "retire", "oldest")
                for number in range(10) for mode in ("abort", "resume")]


def test_lose_the_machine_at_any_moment():
    with Lab(hosts=2) as lab, Elsewhere(lab) as elsewhere:
        site = Site(lab)
        site.learn()
        marks, found = [], []
        with lab.load(**LIGHT) as load:
            for step, after, mode in MOMENTS:
                mark(marks, f"{step} + {after} {mode}")
                before, (last, _) = site.states(), Primary(site.hosts[0]).last_run()
                watch = Watch(site.start("--json"))
                watch.wait_for(f"the step {step}", step_of(step), 60)
                threading.Event().wait(after)
                watch.program.signal(signal.SIGKILL)
                code, text = watch.end(60)
                if code == 0:  # it was faster
                    site.assert_after((step, after))
                    found.append("went on")
                    continue
                found.append(_settle(site, elsewhere, last, before, mode, f"{step} + {after}\n{text}"))
            summary = load.stop()
        assert summary["failed"] == 0, "\n".join(site.failures(load, marks))
        assert "running" in found, found
        return ", ".join(map(str, found)) + "\n" + summary_line(summary)


test_lose_the_machine_at_any_moment.timeout = 3600 if FULL else 900


def test_the_primary_hosts_word_counts():
    """The machine that lost its deploy comes back after another one has seen to it: it believes that the run waits, and
    learns better before it does anything."""
    with Lab(hosts=2) as lab, Elsewhere(lab) as elsewhere:
        site = Site(lab)
        rows = site.learn()
        before = site.states()
        assert site.start(fault=f"after:{rows * 2 // 3}").wait().code == -signal.SIGKILL
        run, state = Primary(site.hosts[0]).last_run()
        assert state == "running"
        assert elsewhere.run("recipes/prod.lua", "--abort").code == 0
        site.assert_before(before, "aborted elsewhere")
        assert site.last_run() == (run, "running")  # as it believes

        result = site.settle("abort")
        assert result.code == 2 and "nothing to abort" in result.out + result.err, result
        site.assert_before(before, result)
        site.project.deploy(site.next)
        site.assert_after("the next deploy")

        # Killed after the last row was written here, before the primary host had it: the next deploy from here tells it.
        before = site.states()
        assert site.start(fault=f"after:{rows}").wait().code == -signal.SIGKILL
        run, state = Primary(site.hosts[0]).last_run()
        assert state == "running" and site.last_run() == (run, "done")
        site.assert_after("done")
        result = site.ship()
        assert Primary(site.hosts[0]).last_run()[1] == "done", result

        # Whoever rolls back elsewhere needs nothing of this.
        result = elsewhere.run("recipes/prod.lua", "rollback")
        assert result.code == 0, result
        listed = elsewhere.run("recipes/prod.lua", "history")
        assert "rollback" in listed.out.splitlines()[0] and run in listed.out, listed


test_the_primary_hosts_word_counts.timeout = 900


def test_a_command_that_is_gone():
    """Whoever goes on with another recipe, which has no such command, is refused and lets go of the lock at once."""
    with Lab(hosts=2) as lab, Elsewhere(lab) as elsewhere:
        site = Site(lab)
        rows = site.learn()
        before = site.states()
        assert site.start(fault=f"after:{rows * 2 // 3}").wait().code == -signal.SIGKILL
        recipe = elsewhere.folder / "recipes/prod.lua"
        text = recipe.read_text()
        recipe.write_text(text.replace('deploy.command "deploy"', 'deploy.command "ship"'))
        result = elsewhere.run("recipes/prod.lua", "--abort", "--force", timeout=60)
        assert result.code == 2 and "unknown command `deploy`" in result.out + result.err, result
        recipe.write_text(text)
        result = elsewhere.run("recipes/prod.lua", "--abort")
        assert result.code == 0, result
        site.assert_before(before, result)


test_a_command_that_is_gone.timeout = 900

"""recipes/compose_blue_green.lua killed around its journal's rows, then --resume or --abort from a fresh process; and what
an interrupted `docker compose up` leaves behind.

Blue-green: no request fails, also between the kill and what repairs it. In a window: 503 and nothing else.
"""

import signal
import sqlite3
from contextlib import closing

from faultkit import FULL, Lab  # first: it makes the lab's modules known
from labkit import processes, wait_until
from prodkit import assert_same, assert_serving
from test_compose import versions, whole

POINTS = None if FULL else 4  # of them, spread over the deploy


class Killed:
    """A deploy of the next version that is killed at a point and settled."""

    def __init__(self, project):
        self.project = project
        self.host = project.host
        self._versions = versions()
        self.serving = "v1"

    def _query(self, text, *values):
        with closing(sqlite3.connect(self.project.folder / ".deployrun/journal.db")) as database:
            return database.execute(text, values).fetchone()

    def last_run(self):
        """(id, state, rows) of the newest run."""
        run = self._query("SELECT run FROM journal WHERE type = 'run' ORDER BY number DESC LIMIT 1")[0]
        state = self._query("SELECT json_extract(body, '$.state') FROM journal WHERE run = ? AND type IN "
                            "('run', 'takeover', 'finish') ORDER BY number DESC LIMIT 1", run)[0]
        return run, state or "running", self._query("SELECT count(*) FROM journal WHERE run = ?", run)[0]

    def learn(self):
        self.serving = next(self._versions)
        self.project.deploy(self.serving)
        return self.last_run()[2]

    def at(self, fault, mode):
        """Returns what became of it."""
        version, before, (last, _, _) = next(self._versions), self.host.snapshot(), self.last_run()
        killed = self.project.start("deploy", "--version", version, env={"DEPLOYRUN_FAULT": fault}).wait(180)
        story = f"{fault} {mode} {version}\n{killed}"
        assert killed.code == -signal.SIGKILL, story
        run, state, _ = self.last_run()
        settled = self.project.lab.deployrun(["recipes/compose_blue_green.lua", f"--{mode}"], cwd=self.project.folder,
                                             timeout=180)
        story += f"\n{settled}"
        if run == last or state == "done":
            assert settled.code == 2, story  # nothing to settle
        else:
            assert settled.code == 0, story
            state = self.last_run()[1]
        if state == "done" and run != last:
            self.serving = version
        else:
            assert_same(before, self.host.snapshot(), story)
        assert_serving([self.host], self.serving, story)
        return "not begun" if run == last else state


def _kill_around_rows(mode):
    with Lab(hosts=1) as lab:
        killed = Killed(whole(lab, mode=mode))
        killed.project.deploy("v1")
        if mode == "window":
            killed.project.give_page("<p>back soon</p>\n")
        rows = killed.learn()
        faults = [f"{side}:{row}" for row in range(1, rows + 1) for side in ("before", "after")]
        if POINTS:
            faults = faults[len(faults) // (2 * POINTS)::len(faults) // POINTS]
        seen = {}
        with lab.load(rate=30) as load:
            for number, fault in enumerate(faults):
                for way in ("abort", "resume") if FULL else (("abort", "resume")[number % 2],):
                    ended = killed.at(fault, way)
                    seen[ended] = seen.get(ended, 0) + 1
            load.stop()
        failed = [one for one in load.records() if one["error"]]
        assert {one["status"] for one in failed} <= ({503} if mode == "window" else set()), failed[:3]
    return f"{len(faults)} of {2 * rows} points: {seen}; {len(failed)} requests answered 503"


def test_compose_is_killed_around_rows():
    return _kill_around_rows("blue-green")


def test_compose_is_killed_around_rows_in_a_window():
    return _kill_around_rows("window")


for _test in (test_compose_is_killed_around_rows, test_compose_is_killed_around_rows_in_a_window):
    _test.timeout = 7200 if FULL else 600


def test_what_an_interrupted_up_left_is_repaired():
    """Compose gives a container another name while it recreates it. Cut off there, one of two with the same work is left
    under that name: the next deploy gives the one that runs its name back, and removes the other."""
    with Lab(hosts=1) as lab:
        project = whole(lab)
        host = project.host
        project.deploy("v1")
        name = next(name for name in project.states() if "db" in name)
        found = host.engine.get(f"/containers/{name}/json")
        # As it is left: the old one runs on under another name, the new one is made and was never started.
        renamed = f"{found['Id'][:12]}_{name}"
        host.engine.call("POST", f"/containers/{found['Id']}/rename?name={renamed}")
        host.engine.call("POST", f"/containers/create?name={name}", {
            "Image": found["Config"]["Image"], "Labels": found["Config"]["Labels"]})
        project.replace(project.compose, "app:v9", "app:v8")  # something has to change for what stays to be looked at
        result = project.deploy("v2")
        left = [one for one in project.states() if "db" in one]
        assert left == [name] and project.states()[name] == "running", (project.states(), result)
        assert "repaired" in result.out, result
        again = host.engine.get(f"/containers/{name}/json")
        assert again["Config"]["Image"] != found["Config"]["Image"], "it is the version before"
    return result.out.split("repaired")[1].splitlines()[0]


def _compose_runs(host):
    """Whether a `docker compose` runs on a server."""
    lines = processes.command_lines(host.machine.root / "proc").values()
    return any(b"--project-directory" in line.split(b"\0") for line in lines)


def _called_off(number):
    with Lab(hosts=1) as lab:
        project = whole(lab)
        host = project.host
        project.replace(project.compose, "restart: always", "restart: always, stop_grace_period: 10s")
        project.deploy("v1")
        [name] = [name for name in project.states() if "db" in name]
        before, found = host.snapshot(), host.engine.get(f"/containers/{name}/json")
        host.machine.run(["kill", "-STOP", str(found["State"]["Pid"])])  # it does not hear that it is to end
        project.replace(project.compose, "app:v9", "app:v8")
        program = project.start("deploy", "--version", "v2")
        # Until it has the name, Compose calls one of the two <ID>_name.
        wait_until(lambda: len([one for one in host.snapshot()["containers"] if one.endswith(name)]) == 2, 120,
                   "a second database")
        program.signal(number)
        ended = program.wait(240)
        if number == signal.SIGKILL:
            assert _compose_runs(host), "it had ended already"
            ended = lab.deployrun(["recipes/compose_blue_green.lua", "--abort"], cwd=project.folder, timeout=240)
        assert ended.code == (0 if number == signal.SIGKILL else 130), ended
        wait_until(lambda: not _compose_runs(host), 60, "the end of Compose")
        # Also once the engine has ended what it was told to end.
        wait_until(lambda: host.engine.get(f"/containers/{name}/json")["State"]["Pid"] != found["State"]["Pid"], 60,
                   "another process of the database")
        image = host.engine.get(f"/containers/{name}/json")["Config"]["Image"]
        assert image == found["Config"]["Image"], (image, ended)
        after = host.snapshot()
        after["containers"][name]["labels"].pop("com.docker.compose.replace", None)  # Compose's own note of a recreation
        assert_same(before, after, ended)
        assert_serving([host], "v1", ended)
    return f"settled in {ended.seconds:.1f} s"


def test_an_up_that_nobody_waits_for_is_taken_back_too():
    """Killed while Compose recreates a database that is slow to end: the server's Compose goes on with it. --abort leaves
    the database as it was, also once that has come to its end."""
    return _called_off(signal.SIGKILL)


def test_an_up_that_is_interrupted_is_taken_back():
    """Interrupted, Compose is ended; the engine goes on with the stop of the database."""
    return _called_off(signal.SIGINT)


for _test in (test_an_up_that_nobody_waits_for_is_taken_back_too, test_an_up_that_is_interrupted_is_taken_back):
    _test.timeout = 600

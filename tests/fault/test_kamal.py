"""`kamal.lua deploy` that is interrupted: by INT and TERM as each step begins, by KILL around each row of its journal.

Interrupted, it is undone at once. Killed, it is settled in one of three ways: --abort, --resume, or by somebody who has
neither the journal nor the machine that it was killed on, who lets go of the lock and deploys again. After that the next
deploy goes through. A load asks both servers all the time: no request may fail.
"""

import re
import shutil
import signal
import sqlite3
from contextlib import closing

from faultkit import FULL, Lab, Watch, mark
from kamalkit import Project, latest, push, running
from labkit import wait_until
from prodkit import differences, summary_line

RATE = 300 if FULL else 100
HOW = ("abort", "resume", "elsewhere")
CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}


class Site:
    """Two servers and a chain of versions r1, r2, … `newest` is what serves."""

    def __init__(self, lab, count):
        self.lab, self.project, self.newest, self.marks = lab, Project(lab), 0, []
        push(lab, *(f"r{number}" for number in range(1, count + 1)))
        self.good("setup")
        for _ in range(2):
            self.good("deploy")

    @property
    def next(self):
        return f"r{self.newest + 1}"

    def words(self, command="deploy"):
        return [command, "-P", "--version", self.next]

    def good(self, command="deploy"):
        result = self.project.good(*self.words(command))
        self.newest += 1
        self.assert_serving(result)
        return result

    def state(self):
        """Containers, traffic, tags and the lock, without the images that were pulled."""
        found = {}
        for host in self.lab.hosts:
            one = host.snapshot()
            found[host.name] = {"containers": one["containers"], "proxy": one["proxy"], "latest": latest(host),
                                "locked": host.exists("/root/.kamal/lock-shop")}
        return found

    def assert_serving(self, context):
        version = f"r{self.newest}"
        for host in self.lab.hosts:
            assert (running(host), latest(host)) == ([f"shop-web-{version}"], [version]), (running(host), context)
            assert not host.exists("/root/.kamal/lock-shop"), context
        assert running(self.lab.hosts[0], "workers") == [f"shop-workers-{version}"], context

    def assert_before(self, before, context):
        found = differences(before, self.state())
        assert not found, "not as before:\n" + "\n".join([*found, str(context)])

    # --- the journal, read without the program

    def last_run(self):
        """(id, state, rows) of the newest run."""
        with closing(sqlite3.connect(self.project.folder / ".deployrun/journal.db")) as database:
            run, = database.execute("SELECT run FROM journal WHERE type = 'run' ORDER BY number DESC LIMIT 1").fetchone()
            state, = database.execute("SELECT json_extract(body, '$.state') FROM journal WHERE run = ? AND type IN "
                                      "('run', 'takeover', 'finish') ORDER BY number DESC LIMIT 1", (run,)).fetchone()
            rows, = database.execute("SELECT count(*) FROM journal WHERE run = ?", (run,)).fetchone()
        return run, state or "running", rows

    # --- one deploy, disturbed

    def interrupt(self, number, step):
        """A signal as `step` begins. What cannot be undone any more is finished."""
        before = self.state()
        mark(self.marks, f"{number.name} at {step}")
        watch = Watch(self.project.start(*self.words(), "--json"))
        watch.wait_for(step, lambda event: event["type"] == "step.started" and event["step"] == step, 60)
        watch.program.signal(number)
        code, errors = watch.end(60)
        context = (step, number, code, errors, [event for _, event in watch.events][-8:])
        state = self.last_run()[1]
        if state == "done":  # its last step lets go of what nothing could bring back
            self.newest += 1
            self.assert_serving(context)
        else:
            assert (code, state) == (CODES[number], "cancelled"), context
            self.assert_before(before, context)
        self.good()

    def kill(self, fault, how):
        before, last = self.state(), self.last_run()[0]
        mark(self.marks, f"KILL {fault} {how}")
        result = self.project.start(*self.words(), env={"DEPLOYRUN_FAULT": fault}).wait()
        assert result.code == -signal.SIGKILL, (fault, result)
        run, state, _ = self.last_run()
        context = (fault, how, result)
        if run == last:  # not yet in its journal
            self.assert_before(before, context)
        elif state == "running" and how != "elsewhere":
            refused = self.project.run(*self.words())
            assert refused.code == 5 and "--abort" in refused.out + refused.err, (context, refused)
            settled = self.project.run(f"--{how}")
            assert settled.code == 0, (context, settled)
            if self.last_run()[1] == "aborted":
                self.assert_before(before, (context, settled))
            else:
                self.newest += 1
                self.assert_serving((context, settled))
        elif state == "running":
            shutil.rmtree(self.project.folder / ".deployrun")
            held = self.project.run(*self.words())
            if held.code == 3:
                self.project.good("lock", "release")
            else:  # killed before it took the lock, or after it let go
                assert held.code == 0, (context, held)
                self.newest += 1
        else:
            self.newest += 1
        self.good()

    def failures(self, load):
        found = []
        for record in load.records():
            if record["error"]:
                place = [text for at, text in self.marks if at * 1000 <= record["start_ms"] + record["duration_ms"]]
                found.append(f"{place[-1] if place else 'at first'}: {record}")
        return found


def _steps(site):
    """The names of a deploy's steps, in order."""
    watch = Watch(site.project.start(*site.words(), "--json"))
    code, errors = watch.end(60)
    assert code == 0, errors
    site.newest += 1
    return [event["step"] for _, event in watch.events if event["type"] == "step.started"]


def test_a_kamal_deploy_that_is_interrupted_loses_nothing():
    with Lab(hosts=2) as lab:
        site = Site(lab, 80 if FULL else 20)
        steps = _steps(site)
        assert "boot web" in steps and "boot the other roles" in steps, steps
        chosen = steps if FULL else ["boot web", "boot the other roles", "tag the image as the latest"]
        with lab.load(rate=RATE) as load:
            for index, step in enumerate(chosen):
                for number in CODES if FULL else [list(CODES)[index % 2]]:
                    site.interrupt(number, step)
            summary = load.stop()
        assert summary["failed"] == 0, "\n".join(site.failures(load))
        return f"{len(chosen)} of {len(steps)} steps; {summary_line(summary)}"


def test_a_kamal_deploy_that_is_killed_loses_nothing():
    with Lab(hosts=2) as lab:
        site = Site(lab, 300 if FULL else 20)
        rows = site.last_run()[2]
        places = [f"{side}:{row}" for row in range(1, rows + 1) for side in ("before", "after")]
        # Each place, the ways to go on in turn; the boots and the tags are in the last third of the rows.
        points = [(place, HOW[index % len(HOW)]) for index, place in enumerate(places)]
        chosen = points if FULL else [(f"after:{row}", how) for row, how in zip(
            range(rows // 2, rows, rows // 8), ("abort", "elsewhere", "resume", "elsewhere"))]
        with lab.load(rate=RATE) as load:
            for fault, how in chosen:
                site.kill(fault, how)
            summary = load.stop()
        assert summary["failed"] == 0, "\n".join(site.failures(load))
        return f"{len(chosen)} of {len(points)} points, {rows} rows; {summary_line(summary)}"


def _is_told_to_end(host, pid):
    """Whether TERM waits for a process that is stopped."""
    status = (host.machine.root / f"proc/{pid}/status").read_text()
    return int(re.search(r"^ShdPnd:\s*(\w+)", status, re.M)[1], 16) >> (signal.SIGTERM - 1) & 1


def test_a_stop_that_nobody_waits_for_is_taken_back_too():
    """Killed while the old container is being stopped, which takes its time: the engine goes on with that. After --abort the
    old one serves, also once the stop has come to its end."""
    with Lab(hosts=1) as lab:
        site, host = Site(lab, 4), lab.hosts[0]
        name, before = f"shop-web-r{site.newest}", site.state()
        pid = host.engine.get(f"/containers/{name}/json")["State"]["Pid"]
        host.machine.run(["kill", "-STOP", str(pid)])
        program = site.project.start(*site.words())
        wait_until(lambda: _is_told_to_end(host, pid), 60, "the stop of the old container")
        program.signal(signal.SIGKILL)
        program.wait(60)
        settled = site.project.run("--abort")
        assert settled.code == 0, settled
        wait_until(lambda: host.engine.get(f"/containers/{name}/json")["State"]["Pid"] != pid, 60, "the end of the stop")
        site.assert_before(before, settled)
        site.assert_serving(settled)
        site.good()
    return f"--abort took {settled.seconds:.1f} s"


for _test in (test_a_kamal_deploy_that_is_interrupted_loses_nothing, test_a_kamal_deploy_that_is_killed_loses_nothing):
    _test.timeout = 14400 if FULL else 600
    _test.alone = FULL  # 300 requests a second are much of a machine

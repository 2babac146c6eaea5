"""Signals at any moment of a deploy, as a person and as CI sends them: it is undone, nobody notices, the exit code says so.

The moments are random; their seed is printed, and DEPLOYRUN_SEED repeats it.
"""

import os
import random
import signal
import subprocess
import time

from faultkit import FULL, LIGHT, Lab, Site, mark
from labkit import wait_until
from prodkit import seconds_line, summary_line

MOMENTS = 50 if FULL else 8
AT_ONCE = 10  # seconds; the machine is shared with everything else that a test starts
CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}


def _random():
    seed = int(os.environ.get("DEPLOYRUN_SEED", random.SystemRandom().randrange(1 << 32)))
    print(f"DEPLOYRUN_SEED={seed}")
    return random.Random(seed), seed


def _ended_within(program, seconds):
    """Whether a program ends in time."""
    try:
        program.process.wait(timeout=seconds)
        return True
    except subprocess.TimeoutExpired:
        return False


class Interruptions:
    """Deploys of the next version that are interrupted; each has to leave everything as it was."""

    def __init__(self, site, chance):
        self.site = site
        self.chance = chance
        self.marks = []
        self.times = []

    def start(self, fraction, what):
        """Starts a deploy and returns once `fraction` of its usual time has passed."""
        self.before = self.site.states()
        self.last = self.site.last_run()
        mark(self.marks, f"{what} at {fraction:.3f}")
        program = self.site.start()
        _ended_within(program, fraction * self.site.seconds)
        return program

    def begun(self):
        """Whether the journal has a run of the deploy that was just interrupted."""
        return self.site.last_run()[0] != self.last[0]

    def interrupt(self, number):
        """One signal at a random moment; returns False when the deploy had ended before it."""
        fraction = self.chance.random()
        program = self.start(fraction, signal.Signals(number).name)
        if program.process.poll() is not None:
            result = program.wait()
            assert result.code == 0, result
            self.site.assert_after(result)
            return False
        program.signal(number)
        sent = time.monotonic()
        result = program.wait()
        if result.code == -number and not result.out:  # it met a program that was not yet at its first line
            self.site.assert_before(self.before, (fraction, result))
            return False
        if result.code == 0:  # the signal met a program that had done all and was saying so
            self.site.assert_after(result)
            assert self.site.last_run()[1] == "done", result
            return False
        self.times.append(time.monotonic() - sent)
        assert result.code == CODES[number], (fraction, result)
        assert not self.begun() or self.site.last_run()[1] == "cancelled", (fraction, self.site.last_run(), result)
        self.site.assert_before(self.before, (fraction, result))
        return True

    def times_of(self, number, count):
        done = 0
        while done < count:
            done += self.interrupt(number)

    def abort(self, context):
        """--abort brings everything back, whatever the interruption left."""
        state = self.site.last_run()[1]
        if state in ("running", "needs_person"):
            final = self.site.cannot_be_undone()
            result = self.site.settle("abort")
            assert result.code == 0, (context, result)
            state = self.site.last_run()[1]
            assert state == ("done" if final else "aborted"), (context, result)
            context = (context, result)
        if self.begun() and state == "done":  # too late to undo: it came as far as that
            return self.site.assert_after(context)
        return self.site.assert_before(self.before, context)


def test_interrupted_deploys_are_undone():
    chance, seed = _random()
    with Lab(hosts=3) as lab:
        site = Site(lab)
        site.learn()
        work = Interruptions(site, chance)
        with lab.load(**LIGHT) as load:
            work.times_of(signal.SIGINT, MOMENTS)
            work.times_of(signal.SIGTERM, MOMENTS // 4)
            work.times_of(signal.SIGHUP, MOMENTS // 4)
            summary = load.stop()
        assert summary["failed"] == 0, "\n".join(site.failures(load, work.marks))
    return f"seed {seed}\n{seconds_line('from signal to end', work.times)}\n{summary_line(summary)}"


def test_two_signals_end_it_at_once_and_abort_cleans_up():
    chance, seed = _random()
    waited = []
    with Lab(hosts=3) as lab:
        site = Site(lab)
        site.learn()
        work = Interruptions(site, chance)
        with lab.load(**LIGHT) as load:
            for _ in range(MOMENTS):
                fraction = 0.9 * chance.random()
                program = work.start(fraction, "two SIGINT")
                program.signal(signal.SIGINT)
                if not _ended_within(program, 0.05):
                    program.signal(signal.SIGINT)
                    sent = time.monotonic()
                    assert _ended_within(program, AT_ONCE), "the second signal did not end it"
                    waited.append(time.monotonic() - sent)
                result = program.wait()
                if result.code == 0:
                    site.assert_after(result)
                    continue
                if result.code == -signal.SIGINT and not result.out:  # not yet at its first line
                    continue
                assert result.code == 130, (fraction, result)
                work.abort((fraction, result))
            summary = load.stop()
        assert waited, "no deploy was still being undone after 50 ms"
        assert summary["failed"] == 0, "\n".join(site.failures(load, work.marks))
    return f"seed {seed}\n{seconds_line('from the second signal to the end', waited)}\n{summary_line(summary)}"


def _as_ci(program):
    """What a CI service does to a job that is cancelled: INT, 7.5 s, TERM, 2.5 s, KILL. Returns the last signal sent."""
    for number, patience in ((signal.SIGINT, 7.5), (signal.SIGTERM, 2.5), (signal.SIGKILL, 10)):
        program.signal(number)
        if _ended_within(program, patience):
            return number
    raise AssertionError("it survived SIGKILL")


def test_as_ci_cancels_jobs():
    """Time enough to undo; and then a server that hangs, so that the undo does not come to an end."""
    chance, seed = _random()
    with Lab(hosts=3) as lab:
        site = Site(lab)
        site.learn()
        work = Interruptions(site, chance)
        with lab.load(**LIGHT) as load:
            program = work.start(0.5, "as CI")
            assert _as_ci(program) == signal.SIGINT
            result = program.wait()
            assert result.code == 130, result
            site.assert_before(work.before, result)
            summary = load.stop()
        assert summary["failed"] == 0, "\n".join(site.failures(load, work.marks))
        program = work.start(0, "as CI, a host hangs")
        frozen, new = site.hosts[1], f"shop-web-{site.next}"
        wait_until(lambda: new in frozen.snapshot()["containers"], 60, "the new version there")
        frozen.freeze()
        last = _as_ci(program)
        frozen.thaw()
        result = program.wait()
        assert last == signal.SIGTERM and result.code == 143, (last, result)
        assert site.last_run()[1] == "running", result
        work.abort(result)
    return f"seed {seed}\n{summary_line(summary)}"


test_as_ci_cancels_jobs.alone = True  # CI gives an undo a few seconds

for _test in (test_interrupted_deploys_are_undone, test_two_signals_end_it_at_once_and_abort_cleans_up):
    _test.timeout = 3600 if FULL else 600


STUBBORN = """\
local deploy = require "deploy"
local app = deploy.app { service = "shop", image = "%(image)s", network = "kamal", lock = false,
  roles = { worker = { hosts = { "%(address)s" }, proxy = false, stop_timeout = "5s",
    cmd = { "sh", "-c", "trap '' TERM USR1; while :; do read -t 1 line </dev/zero; done" },
    env = { clear = { ROUND = deploy.round } } } },
  ssh = { user = "root", keys = { "%(key)s" }, known_hosts = "%(known_hosts)s", config = false } }
deploy.command "deploy" {
  default = true,
  run = function(run)
    local seen = run:step("look", { on = app.hosts, reads = true, run = function(host) return app:look(host) end })
    run:step("pull", { on = app.hosts, run = function(host) return app:pull(host, "lts", seen[host]) end })
    local started = run:step("start", { on = app.hosts,
      run = function(host) return app:start(host, "lts", seen[host]) end,
      undo = function(host) app:unstart(host, "lts", seen[host]) end })
    run:step("retire", { on = app.hosts,
      run = function(host) return app:retire(host, seen[host], started[host]) end,
      undo = function(host) app:unretire(host, seen[host], started[host]) end })
  end,
}
"""


def test_an_interrupted_stop_ends_nothing_that_was_given_back():
    """The engine goes on with a stop that was called off; a program that does not mind its signal lives until then."""
    with Lab(hosts=1) as lab:
        host = lab.hosts[0]
        host.engine.network("kamal")
        folder = lab.scratch()
        text = STUBBORN % {"image": host.image("haproxy"), "address": host.address, "key": lab.keys.client["ed25519"],
                           "known_hosts": lab.known_hosts}
        recipe = folder / "recipe.lua"

        def write(number):
            recipe.write_text(text.replace("deploy.round", str(number)))

        def state():
            return {c["Name"]: c["State"]["Status"] for c in host.engine.containers()}

        write(1)
        assert lab.deployrun(["recipe.lua"], cwd=folder).code == 0
        before = state()
        assert list(before.values()) == ["running"], before
        for mode in ("undo", "abort"):
            write(2)
            program = lab.start_deployrun(["recipe.lua", "--json"], cwd=folder)
            for line in program.process.stdout:
                if '"step.started"' in line and '"retire"' in line:
                    break
            time.sleep(0.7)
            program.signal(signal.SIGINT if mode == "undo" else signal.SIGKILL)
            program.process.wait(timeout=60)
            if mode == "abort":
                settled = lab.deployrun(["recipe.lua", "--abort"], cwd=folder)
                assert settled.code == 0, settled
            time.sleep(7)  # longer than the stop that was called off
            assert state() == before, (mode, state(), before)

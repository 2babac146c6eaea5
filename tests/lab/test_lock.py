"""The deploy lock through real agents on real servers: who has it, how it is given back, what a holder that dies or
freezes can still do."""

import json
import os
import signal
import statistics
import sys
import time

from labkit import Lab, wait_until
from labkit.paths import ROOT
from prodkit import container

sys.path.insert(0, str(ROOT / "tests/fault"))

from faultkit import Site  # noqa: E402

FULL = os.environ.get("DEPLOYRUN_FULL") == "1"

RECIPE = """\
local deploy = require "deploy"
local hosts = {{ {hosts} }}
deploy.lock("site", hosts, {{ lease = "{lease}" }})
{commands}"""

CHANGES = """
-- Changes every server until somebody removes /tmp/go-on.
deploy.command "change" { params = { name = { default = "old" }, times = { type = "integer", default = 1 } },
  run = function(run)
    run:step("look", { on = hosts, reads = true,
      run = function(host) return host:exec({ "true" }, { reads = true }).code end })
    run:step("change", { on = hosts,
      run = function(host)
        for _ = 1, run.times do host:exec { "sh", "-c", "echo $0 >>/tmp/changes", run.name } end
      end,
      undo = function(host) host:exec { "sh", "-c", "echo undo $0 >>/tmp/changes", run.name } end,
    })
  end }
"""


def recipe(lab, commands=CHANGES, lease="30s", user="root"):
    """A project's folder with recipes/site.lua: a lock on the first host that is for all of them."""
    folder = lab.scratch()
    (folder / "recipes").mkdir()
    key = lab.keys.client["ed25519"]
    tables = ", ".join(f'deploy.host {{ name = "{host.name}", address = "{host.address}", user = "{user}", '
                       f'keys = {{ "{key}" }}, known_hosts = "{lab.known_hosts}", config = false }}' for host in lab.hosts)
    (folder / "recipes/site.lua").write_text(RECIPE.format(hosts=tables, lease=lease, commands=commands))
    return folder


def run(lab, folder, *words, **options):
    return lab.deployrun(["recipes/site.lua", *words], cwd=folder, **options)


def start(lab, folder, *words):
    return lab.start_deployrun(["recipes/site.lua", *words], cwd=folder)


def changes(host):
    path = host.machine.root / "tmp/changes"
    return path.read_text().splitlines() if path.exists() else []


def events(result):
    return [json.loads(line) for line in result.out.splitlines()]


def test_who_has_it():
    """status, acquire, release and break of every recipe; a deploy that finds it taken; one that waits."""
    with Lab(hosts=2, engine=False) as lab:
        folder, other = recipe(lab), recipe(lab)
        first, second = lab.hosts
        assert "site on h1: free" in run(lab, folder, "lock").out
        taken = run(lab, folder, "lock", "acquire", "--message", "the servers are moved")
        assert taken.code == 0 and "held from now on" in taken.out, taken
        shown = run(lab, other, "lock", "status").out
        assert "the servers are moved" in shown and "taken by hand" in shown, shown

        refused = run(lab, other, "change")
        assert refused.code == 3 and "the servers are moved" in refused.err + refused.out, refused
        assert "--lock-wait" in refused.err + refused.out, refused
        assert not changes(first) and not changes(second)
        again = run(lab, other, "lock", "acquire")
        assert again.code == 3, again

        waits = start(lab, other, "change", "--name", "waited", "--lock-wait", "60s", "--json")
        wait_until(lambda: "waiting: " in run(lab, folder, "lock", "status").out, 60, "somebody who waits")
        assert not changes(first)
        freed = run(lab, folder, "lock", "release")
        assert freed.code == 0 and "free" in freed.out, freed
        result = waits.wait(60)
        assert result.code == 0 and changes(first) == changes(second) == ["waited"], result
        said = [event["message"] for event in events(result) if event["type"] == "log"]
        assert any("waiting for the deploy lock of site" in line and "servers are moved" in line for line in said), said
        assert any("looked at again" in line for line in said), said  # what was seen before it was held may be wrong
        assert "free" in run(lab, folder, "lock").out

        # One that waits no longer than it was told.
        taken = run(lab, folder, "lock", "acquire")
        late = run(lab, other, "change", "--lock-wait", "1s")
        assert late.code == 3 and changes(first) == ["waited"], late
        assert run(lab, folder, "lock", "break").code == 2
        assert run(lab, folder, "lock", "break", "--id", "nobody").code == 1
        number = taken.out.rpartition("(id ")[2].split(")")[0]
        broken = run(lab, folder, "lock", "break", "--id", number)
        assert broken.code == 0 and "taken away from" in broken.out, broken
        assert run(lab, other, "change", "--name", "after").code == 0
        assert run(lab, folder, "lock", "release").code == 1  # nobody took it by hand


def test_a_recipe_without_servers_has_its_lock_in_the_project():
    with Lab(hosts=0, engine=False) as lab:
        folder = lab.scratch()
        (folder / "recipes").mkdir()
        (folder / "recipes/site.lua").write_text("""local deploy = require "deploy"
deploy.command "go" {
  run = function(run) run:step("touch", { run = function(host) host:exec { "touch", "made" } end }) end,
}
""")
        assert run(lab, folder, "lock", "acquire").code == 0
        assert run(lab, folder, "go").code == 3 and not (folder / "made").exists()
        assert run(lab, folder, "lock", "release").code == 0
        assert run(lab, folder, "go").code == 0 and (folder / "made").exists()
        assert oct((folder / ".deployrun/locks").stat().st_mode & 0o777) == "0o700"


def acquired(program):
    """Reads a program's events up to the one that says that it has the lock."""
    for line in program.process.stdout:
        if json.loads(line)["type"] == "lock.acquired":
            return json.loads(line)
    raise AssertionError("it ended without the lock")


def clear_changes(lab):
    for host in lab.hosts:
        (host.machine.root / "tmp/changes").unlink(missing_ok=True)


def test_a_holder_that_is_killed():
    """kill -9: the kernel frees its lock; how soon the next one has it, who is told what waits and undoes it."""
    with Lab(hosts=2, engine=False) as lab:
        seconds = []
        for _ in range(20 if FULL else 3):
            folder, other = recipe(lab), recipe(lab)
            holder = start(lab, folder, "change", "--times", "100000", "--json")
            acquired(holder)
            wait_until(lambda: all(map(changes, lab.hosts)), 60, "changes everywhere")
            waits = start(lab, other, "change", "--name", "next", "--lock-wait", "60s", "--json")
            wait_until(lambda: "waiting: " in run(lab, folder, "lock").out, 60, "somebody who waits")
            holder.signal(signal.SIGKILL)
            began = time.monotonic()
            token = acquired(waits)["token"]
            seconds.append(time.monotonic() - began)
            holder.wait()
            told = waits.wait(60)
            said = told.out + told.err  # the rest of its events may have been read with the one that was waited for
            assert told.code == 5 and token > 1 and "journal.unfinished" in said and "--abort" in said, told
            assert "free" in run(lab, folder, "lock").out
            assert not any("next" in changes(host) for host in lab.hosts), told
            undone = run(lab, other, "--abort")
            assert undone.code == 0 and all(changes(host)[-1] == "undo old" for host in lab.hosts), undone
            assert run(lab, other, "change", "--name", "next").code == 0
            late = run(lab, folder, "--abort")  # it learns that somebody has seen to it
            assert late.code == 2 and all(changes(host)[-1] == "next" for host in lab.hosts), late
            clear_changes(lab)
        return f"the next one had it {statistics.median(seconds):.2f} s after the kill (longest {max(seconds):.2f} s)"


def test_who_goes_on_waits_until_the_server_has_noticed():
    """The run's process is gone and the server does not know it yet: --abort waits for its own run's lock."""
    with Lab(hosts=1, engine=False) as lab:
        folder, machine = recipe(lab), lab.hosts[0].machine
        holder = start(lab, folder, "change", "--times", "100000", "--json")
        acquired(holder)
        wait_until(lambda: changes(lab.hosts[0]), 60, "changes")
        machine.run(["pkill", "-STOP", "-f", "sshd: root@notty"])
        holder.signal(signal.SIGKILL)
        holder.wait()
        other = run(lab, folder, "change", "--name", "next")
        assert other.code == 5 and "journal.unfinished" in other.out + other.err, other
        abort = start(lab, folder, "--abort", "--json")
        for line in abort.process.stdout:
            if "waiting for the deploy lock" in line:
                break
        machine.run(["pkill", "-CONT", "-f", "sshd: root@notty"])
        acquired(abort)
        assert abort.wait(60).code == 0 and changes(lab.hosts[0])[-1] == "undo old", changes(lab.hosts[0])


def test_frozen_holders_change_nothing():
    """SIGSTOP until the lease is over; another one aborts the run and deploys; SIGCONT: on no server a change by the
    frozen one comes after one of the other, whatever it was about to do. As root, and as a plain user."""
    trials = 50 if FULL else 2
    with Lab(hosts=3, engine=False) as lab:
        taken_over = []
        for user in ("root", "deploy"):
            clear_changes(lab)
            for trial in range(trials):
                folder, other = (recipe(lab, lease="3s", user=user) for _ in range(2))
                frozen = start(lab, folder, "change", "--name", f"old{trial}", "--times", "100000", "--json")
                acquired(frozen)
                wait_until(lambda: all(f"old{trial}" in changes(host) for host in lab.hosts), 60, "changes everywhere")
                frozen.signal(signal.SIGSTOP)
                began = time.monotonic()
                aborted = run(lab, other, "--abort", "--lock-wait", "60s")
                taken_over.append(time.monotonic() - began)
                assert aborted.code == 0, aborted
                result = run(lab, other, "change", "--name", f"new{trial}")
                assert result.code == 0, result
                frozen.signal(signal.SIGCONT)
                result = frozen.wait(60)
                assert result.code == 5 and "lock." in result.out + result.err, result
                for host in lab.hosts:
                    after = changes(host)[changes(host).index(f"undo old{trial}") + 1:]
                    assert after == [f"new{trial}"], (host.name, after, result)
        return (f"{len(taken_over)} trials on 3 servers, no change by an old token; undone by another one after "
                f"{max(taken_over):.1f} s at most")


test_frozen_holders_change_nothing.timeout = 3600 if FULL else 600


CONTENDERS = """
local lock = require "deploy.lock"
deploy.command "contend" { reads = true, params = { times = { type = "integer" } },
  run = function(run)
    local place = lock.declared()[1]
    for _ = 1, run.times do
      local mine = lock.new(place, lock.claim({}, "contender"))
      mine:acquire(60000)
      hosts[1]:exec { "mkdir", "/tmp/inside" }  -- fails where somebody else is
      hosts[1]:exec { "sh", "-c", "echo $0 >>/tmp/changes; rmdir /tmp/inside", tostring(mine.token) }
      mine:release()
      hosts[1]:close()  -- as a run at its end: the next one ends what was admitted before it
    end
  end }
"""


def _contend(lab, count, times):
    (lab.hosts[0].machine.root / "tmp/changes").unlink(missing_ok=True)
    folders = [recipe(lab, CONTENDERS) for _ in range(count)]
    programs = [start(lab, folder, "contend", "--times", str(times)) for folder in folders]
    results = [program.wait(1800) for program in programs]
    assert all(result.code == 0 for result in results), results
    tokens = [int(line) for line in changes(lab.hosts[0])]
    assert len(tokens) == count * times and tokens == sorted(set(tokens)), tokens
    return f"{count} contenders, {times} times each: never two"


def test_contenders():
    """Several at once through agents of their own: never two inside, and a token more for each."""
    with Lab(hosts=1, engine=False) as lab:
        return "\n".join(_contend(lab, *size) for size in (((2, 1000), (10, 100)) if FULL else ((4, 8),)))


test_contenders.timeout = 3600 if FULL else 600


def test_a_deploy_takes_the_lock_of_its_app():
    """recipes/prod.lua: locked by its service's name, for every server; resumed and aborted under it too."""
    with Lab(hosts=2) as lab:
        site = Site(lab, count=6, steady=False)
        result, told = site.project.events("deploy", "--version", "r1")
        assert result.code == 0, result
        [taken] = [event for event in told if event["type"] == "lock.acquired"]
        assert taken["lock"] == "shop" and taken["host"] == "h1", taken
        names = [event["type"] for event in told]
        first_change = next(index for index, event in enumerate(told) if event["type"] == "step.started"
                            and event["step"] == "see to the proxy")
        assert names.index("lock.acquired") < first_change
        site.newest = 1
        site.ship()
        assert site.start(fault="after:12").wait().code == -signal.SIGKILL
        before = site.states()
        lock = lambda *words: lab.deployrun(["recipes/prod.lua", "lock", *words], cwd=site.project.folder)  # noqa: E731
        assert lock("acquire").code == 0
        for mode in ("resume", "abort"):
            refused = site.settle(mode)
            assert refused.code == 3 and site.states() == before, refused
        assert lock("release").code == 0
        result = site.settle("abort")
        assert result.code == 0 and site.last_run()[1] == "aborted", result
        assert container("r2") in str(site.states())

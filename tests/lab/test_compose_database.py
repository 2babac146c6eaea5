"""recipes/compose_blue_green.lua in a window, with a SQLite database that its settings name: the snapshot is taken while nobody
writes, and comes back with the old version when the migration or the new version fails, or when the run is killed."""

import json
import signal
from pathlib import Path

from composekit import Project
from labkit import Lab, binaries, wait_until
from labkit.images import Entry, Image
from labkit.load import Load
from noteskit import LOOK, OLD_NOTES, WRITERS, acknowledged
from prodkit import assert_same, assert_serving

WEB = '    volumes: ["data:/data"]\n    stop_grace_period: 3s\n'
MIGRATE = ("migrate: { service: web, command: [/app, migrate], pending: [/app, pending], database: /data/app.sqlite3, "
           "timeout: 60s }\n")


class Site(Project):
    """Notes as a Compose project, its versions r1, r2, r3 …, each with one migration more."""

    def __init__(self, lab, **options):
        super().__init__(lab, mode="window", web=WEB, others="volumes: { data: }\n", more=MIGRATE, **options)
        self.replace(self.compose, lab.image("app"), lab.image("notes"))
        self.layers = {}

    def push(self, version, tag=None, **env):
        words = [f"VERSION={version}", f"OLD_NOTES={OLD_NOTES}", *(f"{name}={value}" for name, value in env.items())]
        entries = (Entry("app", source=binaries.notes_app()), Entry("data"), Entry("tmp", mode=0o1777))
        self.lab.registry.push(Image("notes", tag or version, entries, {"Cmd": ["/app", "serve"], "Env": words}), self.layers)

    @property
    def data(self):
        return Path(self.host.engine.get("/volumes/shop_data")["Mountpoint"])

    def look(self):
        return json.loads(self.host.machine.run(["python3", "-c", LOOK % (self.data / "app.sqlite3")]).stdout)

    def files(self):
        return [name for name in self.host.machine.run(["ls", str(self.data)]).stdout.split()
                if ".before-" in name or name.endswith((".reserve", "half"))]

    def expect_old(self, before, version, result):
        """As before, and the rows that were acknowledged meanwhile."""
        assert_same(before, self.host.snapshot(), result)
        assert_serving([self.host], version, result)
        found = self.look()
        assert found["integrity"] == ["ok"] and "half_done" not in found["columns"], (found["columns"], result)
        assert found["schema"] == int(version[1:]), (found["schema"], result)


def _settle_after_kill(site, step, command=("deploy", "--version", "r3")):
    """kill -9 once a step is done, then --abort."""
    site.replace(site.settings, "path: /up,", "path: /up, settle: 10s,")  # no new version is done with meanwhile
    events = site.start(*command, "--json")
    for line in events.process.stdout:
        event = json.loads(line)
        if event["type"] == "step.finished" and event["step"] == step:
            break
    events.signal(signal.SIGKILL)
    events.wait()
    site.replace(site.settings, "path: /up, settle: 10s,", "path: /up,")
    settled = site.lab.deployrun(["recipes/compose_blue_green.lua", "--abort"], cwd=site.folder, timeout=180)
    assert settled.code == 0, settled
    return settled


def test_a_window_with_a_database():
    with Lab(hosts=1) as lab:
        site = Site(lab)
        for version in ("r1", "r2", "r3"):
            site.push(version)
        site.push("r3", "fails", MIGRATE_FAULT="fail")
        site.push("r3", "ends", SERVE_FAULT="1")
        site.deploy("r1")
        said = []
        with Load([site.host.url], lab.scratch() / "writes.jsonl", **{**WRITERS, "rate": 50}) as load:
            result, events = site.events("deploy", "--version", "r2")
            assert result.code == 0, result
            steps = [event["step"] for event in events if event["type"] == "step.started"]
            wanted = ["look for pending migrations", "check the database", "open the window", "take a snapshot of the database",
                      "migrate the database", "start the new version", "wait until it is ready", "switch traffic",
                      "close the window", "let go of old snapshots"]
            assert [step for step in steps if step in wanted] == wanted, steps
            said += [event["note"] for event in events if event["type"] == "task.finished" and event["step"] == "close the window"]
            assert site.look()["schema"] == 2 and len(site.files()) == 1, (site.look()["schema"], site.files())

            before, files = site.host.snapshot(), site.files()
            for version, words in (("fails", "migrate.failed"), ("ends", "app.exited")):
                bad = site.run("deploy", "--version", version)
                assert bad.code == 1 and words in bad.out + bad.err, bad
                site.expect_old(before, "r2", bad)
                assert site.files() == files, (site.files(), bad)
            for step in ("migrate the database", "start the new version"):
                site.expect_old(before, "r2", _settle_after_kill(site, step))
            again = site.deploy("r2")
            assert "open the window" not in again.out or "it serves already" in again.out, again
            site.deploy("r3")
            back = site.good("rollback")
            assert "was migrated by r3" in back.out and ".before-r3" in back.out, back
            assert_serving(lab.hosts, "r2", back)
            assert site.look()["schema"] == 3
            load.stop()
        failed = [record for record in load.records() if record["error"]]
        assert {record["status"] for record in failed} == {503}, [one for one in failed if one["status"] != 503][:3]
        lost = acknowledged(load) - set(site.look()["ids"])
        assert not lost, f"{len(lost)} acknowledged rows are lost: {sorted(lost)[:5]}"
        return "\n".join([f"{len(acknowledged(load))} acknowledged rows, none lost, {len(failed)} answered 503", *said])


def test_a_rollback_with_the_database():
    """In a window: what the database held comes back when the run is killed, and stays beside it when it is not."""
    with Lab(hosts=1) as lab:
        site = Site(lab)
        for version in ("r1", "r2"):
            site.push(version)
            site.deploy(version)
        with Load([site.host.url], lab.scratch() / "writes.jsonl", **{**WRITERS, "rate": 50}) as load:
            wait_until(lambda: site.look()["ids"][-1] > OLD_NOTES + 20, 60, "rows that will be lost")
            load.stop()
        before, state, rows = site.look(), site.host.snapshot(), len(site.look()["ids"])
        refused = site.run("rollback", "--with-database")
        said = refused.out + refused.err
        assert refused.code == 2 and f"note: {rows} rows, {rows - len(acknowledged(load))} then" in said, refused
        assert "--word r1" in said and site.host.snapshot() == state, refused
        word = ("rollback", "--with-database", "--word", "r1")
        for step in ("keep what the database holds now", "bring the database back"):
            site.expect_old(state, "r2", _settle_after_kill(site, step, word))
            assert site.look() == before
        done = site.good(*word)
        assert_serving(lab.hosts, "r1", done)
        after = site.look()
        assert after["schema"] == 1 and len(after["ids"]) == OLD_NOTES, after["schema"]
        assert site.files() == ["app.sqlite3.before-rollback"], site.files()
        site.deploy("r2")
        assert site.look()["schema"] == 2
        return f"{len(acknowledged(load))} rows lost as said; {done.out[done.out.index('r1 serves again'):].splitlines()[0]}"


test_a_window_with_a_database.timeout = 900
test_a_rollback_with_the_database.timeout = 900

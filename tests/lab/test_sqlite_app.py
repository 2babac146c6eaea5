"""recipes/sqlite_app.lua under writers: many deploys, each with a migration, and no row lost; and why it is made so."""

import re
import signal
from datetime import datetime
from urllib.request import urlopen

from labkit import Lab, wait_until
from labkit.load import Load
from noteskit import FULL, OLD_NOTES, WRITERS, Notes, acknowledged, failures, refused_by_a_pause, row_of
from prodkit import seconds_line, summary_line

DEPLOYS = 100 if FULL else 4


def write(lab, host):
    """Writers that keep a side log of what was acknowledged."""
    return Load([host.url], lab.scratch() / "writes.jsonl", **WRITERS)


def test_deploys_with_migrations_under_writers():
    """At 200 writes a second: no busy error, no failed request, no row lost, a whole database each time."""
    with Lab(hosts=1) as lab:
        site = Notes(lab)
        site.push("r1")
        site.deploy("r1")
        seconds, held = [], []
        with write(lab, site.host) as load:
            for number in range(2, DEPLOYS + 2):
                site.push(f"r{number}")
                result, events = site.events("deploy", "--version", f"r{number}")
                assert result.code == 0, result
                found = site.look()
                assert found["integrity"] == ["ok"] and found["schema"] == number, (number, found["integrity"])
                seconds.append(result.seconds)
                held.append(hold_of(events))
            summary = load.stop()
        refused = refused_by_a_pause(site.host, load)
        assert summary["failed"] == refused, (summary, refused, failures(load)[:3])
        lost = acknowledged(load) - set(site.look()["ids"])
        assert not lost, f"{len(lost)} acknowledged rows are lost: {sorted(lost)[:5]}"
        assert site.complaints() == [] and site.proxy_state() == "running"
        newest = site.containers()
        assert [name for name, state in newest.items() if state != "running"] and \
            newest[f"notes-web-r{DEPLOYS + 1}"] == "running", newest
        snapshots = [name for name in site.files() if not name.endswith(".lock")]
        assert len(snapshots) == min(2, DEPLOYS) and all(".before-r" in name for name in snapshots), site.files()
        return "\n".join([f"{DEPLOYS} deploys, {len(acknowledged(load))} acknowledged rows, integrity ok each time",
                          seconds_line("deploy", seconds), seconds_line("requests held", held), summary_line(summary)])


test_deploys_with_migrations_under_writers.timeout = 7200 if FULL else 600


def test_maintenance_while_it_migrates():
    """`traffic = "maintenance"`: 503 while it migrates and nothing else; no row lost; where it fails, the old version serves."""
    with Lab(hosts=1) as lab:
        site = Notes(lab)
        site.push("r1")
        site.deploy("r1")
        site.push("r2")
        site.push("r2", "fails", MIGRATE_FAULT="fail")
        site.options(traffic='"maintenance"')
        said = []
        for tag, code, version in (("fails", 1, "r1"), ("r2", 0, "r2")):
            with write(lab, site.host) as load:
                result = site.run("deploy", "--version", tag)
                assert result.code == code, result
                assert urlopen(f"{site.host.url}/version", timeout=10).read().decode().strip() == version
                summary = load.stop()
            turned_away = [record["status"] for record in failures(load)]
            assert turned_away and set(turned_away) == {503}, (turned_away[:5], summary)
            found = site.look()
            assert found["integrity"] == ["ok"] and found["schema"] == int(version[1:]), found["schema"]
            lost = acknowledged(load) - set(found["ids"])
            assert not lost, f"{len(lost)} acknowledged rows are lost: {sorted(lost)[:5]}"
            assert site.proxy_state() == "running" and site.containers()[f"notes-web-{version}"] == "running"
            said.append(f"{tag}: {len(turned_away)} of {summary['requests']} requests answered 503")
        return "\n".join(said)


def hold_of(events):
    """Seconds from the hold to the release."""
    at = {}
    for event in events:
        if event["type"] == "step.started" and event["step"] in ("hold traffic", "release traffic"):
            at[event["step"]] = event["time"]

    times = [datetime.fromisoformat(at[step].replace("Z", "+00:00")) for step in ("hold traffic", "release traffic")]
    return (times[1] - times[0]).total_seconds()


def test_the_same_app_migrating_in_its_entrypoint_fails():
    """The old version writes while the new one migrates: `database is locked`, in one of a few deploys."""
    with Lab(hosts=1) as lab:
        site = Notes(lab, recipe="prod")
        site.push("r1", MIGRATE_ON_START="1")
        site.deploy("r1")
        seen = []
        with write(lab, site.host) as load:
            for number in range(2, 22):
                site.push(f"r{number}", MIGRATE_ON_START="1")
                result = site.run("deploy", "--version", f"r{number}")
                said = [line for line in (result.out + result.err).splitlines() if "locked" in line]
                if result.code != 0 and said:
                    seen.append(said[0].strip())
                    break
                seen += site.complaints()
                if seen:
                    break
            summary = load.stop()
        assert seen, (summary, "it went well twenty times")
        return f"deploy of r{number}: {seen[0]}; {summary['failed']} of {summary['requests']} requests failed"


def test_a_rollback_with_the_database():
    """The snapshot from before the newer migrations comes back: only when the word was said, with no failed request; what was
    there is kept, and a rollback that is killed in the middle gives it back."""
    with Lab(hosts=1) as lab:
        site = Notes(lab)
        for number in (1, 2, 3):
            site.push(f"r{number}")
            site.deploy(f"r{number}")
        with write(lab, site.host) as load:
            wait_until(lambda: site.look()["ids"][-1] > OLD_NOTES + 20, 60, "rows that will be lost")
            load.stop()
        lost, before = acknowledged(load), site.look()
        assert lost and lost <= set(before["ids"]) and before["schema"] == 3

        refused = site.run("rollback", "--with-database")
        said = refused.out + refused.err
        assert refused.code == 2 and f"note: {len(before['ids'])} rows, {len(before['ids']) - len(lost)} then" in said, refused
        assert "--word r2" in said and "lost" in said, refused
        assert site.look() == before and site.containers()["notes-web-r3"] == "running"
        left = [name for name in site.files() if not name.endswith(".lock")]

        with lab.load(rate=50, path="/up") as load:
            done = site.run("rollback", "--with-database", "--word", "r2")
            summary = load.stop()
        assert done.code == 0 and summary["failed"] == 0, (done, summary)
        after = site.look()
        assert after["schema"] == 2 and after["integrity"] == ["ok"] and not lost & set(after["ids"]), done
        assert site.containers()["notes-web-r2"] == "running" and site.proxy_state() == "running"
        files = [name for name in site.files() if not name.endswith(".lock")]
        assert "app.sqlite3.before-rollback" in files and not [name for name in files if ".before-r3" in name], (left, files)
        assert not [name for name in files if name.endswith(("-wal", "-shm", ".reserve"))], files
        kept = site.data / "app.sqlite3.before-rollback"
        count = site.host.machine.run(["python3", "-c", "import sqlite3; print(sqlite3.connect('file:%s?immutable=1', "
                                       "uri=True).execute('SELECT count(*) FROM note').fetchone()[0])" % kept]).stdout
        assert int(count) == len(before["ids"]), count
        again = site.run("rollback", "r2", "--with-database")
        assert again.code == 0, again  # it is there: nothing to bring back

        # The next version migrates again, and a rollback that is killed once the database is back is taken back.
        site.deploy("r3")
        before = site.look()
        assert before["schema"] == 3
        good = site.run("rollback", "--with-database", "--word", "r2")
        assert good.code == 0, good
        row = row_of(site, "bring the database back")
        site.deploy("r3")
        before = site.look()
        killed = site.run("rollback", "--with-database", "--word", "r2", env={"DEPLOYRUN_FAULT": f"after:{row}"})
        assert killed.code == -signal.SIGKILL, killed
        undone = site.settle("abort")
        assert undone.code == 0, undone
        assert site.look() == before and site.containers()["notes-web-r3"] == "running", undone
        assert site.proxy_state() == "running"
        told = re.search(r"r2 serves again: (.*)", done.out)[1]
        return f"{len(lost)} rows lost as said; {told}; {summary_line(summary)}"

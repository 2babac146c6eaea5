"""recipes/sqlite_app.lua under writers: many deploys, each with a migration, and no row lost; and why it is made so."""

from datetime import datetime

from labkit import Lab
from labkit.load import Load
from noteskit import FULL, WRITERS, Notes, acknowledged, failures
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
        assert summary["failed"] == 0, (summary, failures(load)[:3])
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


test_deploys_with_migrations_under_writers.timeout = 7200 if FULL else 300


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
            for number in range(2, 7):
                site.push(f"r{number}", MIGRATE_ON_START="1")
                result = site.run("deploy", "--version", f"r{number}")
                said = [line for line in (result.out + result.err).splitlines() if "locked" in line]
                if result.code != 0 and said:
                    seen.append(said[0].strip())
                    break
                seen += site.complaints()
            summary = load.stop()
        assert seen, (summary, "it went well five times")
        return f"deploy of r{number}: {seen[0]}; {summary['failed']} of {summary['requests']} requests failed"

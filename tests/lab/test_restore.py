"""`recipes/sqlite_app.lua restore`: stop, restore, boot, fill the accessories, check, release; rows counted and summed
before and after, and nothing changed where it fails. The notes app itself stands in for the search."""

import signal

from labkit import Lab
from noteskit import row_of
from prodkit import CADDY, FULL, HAPROXY, KAMAL, NGINX, PROXY_IMAGES, TRAEFIK
from restorekit import failures_of, site_with_backup

PROXIES = ((CADDY, False), (NGINX, False), (HAPROXY, False), (HAPROXY, True), (KAMAL, True), (TRAEFIK, False))


def test_a_full_restore_under_load():
    """The newest backup comes back, migrated to what serves, with the search filled from it; meanwhile 503 alone. Then
    what it replaced comes back, then a snapshot, then the backup where the database is lost."""
    with Lab(hosts=1) as lab:
        site, then = site_with_backup(lab)
        now = site.content()
        assert now["rows"] > then["rows"] and now["schema"] == 2 and then["schema"] == 1
        listed = site.restore("--list")
        assert "backups, newest first" in listed and "folder /home/deploy/backups" in listed, listed
        assert "r2-" in listed and "from before the migration" in listed, listed

        plan = site.restore("--plan")
        for words in ("docker stop --time 5 notes-web-r2", ".before-restore", "/app migrate", "docker start notes-web-r2",
                      "/app reindex", "kamal-proxy resume notes-web"):
            assert words in plan, (words, plan)
        assert site.content() == now

        # /version: kamal-proxy answers the health path itself while it stops requests.
        with lab.load(rate=50, path="/version") as load:
            said = site.restore()
            site.serves("r2")
            summary = load.stop()
        failed = failures_of(load)
        assert failed and set(failed) == {503}, (failed[:5], summary)
        after = site.content()
        assert {**after, "schema": 1} == then and after["schema"] == 2, (after, then)
        assert site.indexed() == then["rows"]
        assert f"note: {now['rows']} rows, {then['rows']} then" in said, said
        kept = site.content("app.sqlite3.before-restore")
        assert kept == now, (kept, now)

        site.restore("restore")
        assert site.content() == now and site.indexed() == now["rows"]
        site.serves("r2")
        site.restore("r2")
        snapshot = site.content()
        assert snapshot["schema"] == 2 and then["rows"] < snapshot["rows"] == site.indexed() < now["rows"], snapshot

        site.host.machine.run(["sh", "-c", f"rm {site.data}/app.sqlite3*"])
        site.restore()
        assert {**site.content(), "schema": 1} == then and site.indexed() == then["rows"]
        site.serves("r2")
        assert "no snapshot r9 is there" in site.restore("r9", code=1)
        return f"{len(failed)} of {summary['requests']} requests answered 503 at 50/s"


def test_a_restore_behind_each_proxy():
    """What comes back has another address: each proxy finds it. Held instead of refused, no request fails."""
    with Lab(hosts=1) as lab:
        said = []
        for kind, held in PROXIES if FULL else PROXIES[-3:]:
            lab.hosts[0].reset()
            lab.hosts[0].machine.run(["sh", "-c", "rm -rf /home/deploy/backups"])
            site, then = site_with_backup(lab, kind=kind, proxy=PROXY_IMAGES[kind], held=held)
            with lab.load(rate=30, path="/version", timeout="60s") as load:  # held as long as the restore takes
                site.restore()
                site.serves("r2")
                summary = load.stop()
            failed = failures_of(load)
            assert set(failed) == (set() if held else {503}), (kind, held, failed[:5], summary)
            assert {**site.content(), "schema": 1} == then and site.indexed() == then["rows"]
            said.append(f"{kind}{' held' if held else ''}: {len(failed)} of {summary['requests']} answered 503")
        return "\n".join(said)


def test_a_damaged_database_is_restored():
    """Its files are set aside as they are; where the restore fails they are back, byte by byte."""
    with Lab(hosts=1) as lab:
        site, then = site_with_backup(lab)
        database = site.data / "app.sqlite3"
        for harm in ("dd if=/dev/urandom of={} bs=4096 seek=1 count=40 conv=notrunc", "echo no database any more >{}"):
            site.host.engine.call("POST", "/containers/notes-web-r2/stop?t=5")
            site.host.machine.run(["sh", "-c", f"rm -f {database}-*; {harm.format(database)} 2>/dev/null"])
            digest = site.host.machine.run(["sha256sum", str(database)]).stdout
            site.reindex("fail")
            said = site.restore(code=1)
            assert "search was not filled again" in said, said
            assert site.host.machine.run(["sha256sum", str(database)]).stdout == digest
            assert not [name for name in site.files() if "damaged" in name], site.files()
            assert site.containers()["notes-web-r2"] == "exited", "it did not run before"
            site.reindex()
            said = site.restore()
            assert "damaged, set aside" in said, said
            assert {**site.content(), "schema": 1} == then and site.indexed() == then["rows"]
            site.serves("r2")
            left = [name for name in site.files() if "damaged" in name]
            [aside] = [name for name in left if not name.endswith(("-wal", "-shm", "lock"))]
            kept = site.host.machine.run(["sha256sum", str(site.data / aside)]).stdout
            assert kept.split()[0] == digest.split()[0]
            site.host.machine.run(["rm", *(str(site.data / name) for name in left)])


def test_a_restore_that_fails_is_undone():
    """A reindex that fails, a check that fails, a kill: the same rows as before, the search filled from them, traffic."""
    with Lab(hosts=1) as lab:
        site, then = site_with_backup(lab)
        now = site.content()

        site.reindex("fail")
        said = site.restore(code=1)
        assert "search was not filled again: /app reindex fail: exit code 1" in said, said
        assert "it was told to fail" in said and "the app serves, with what is left in it" in said, said
        assert site.content() == now
        site.serves("r2")

        site.reindex()
        plain = site.recipe.read_text()
        checked = plain.replace("{ backup = backup })", """{ backup = backup,
          checks = deploy.checks("our own", app, {
            { check = "accessories", required = true },
            { name = "enough notes", run = function() return false, "too few" end, required = true } }) })""")
        assert checked != plain
        site.recipe.write_text(checked)
        said = site.restore(code=1)
        assert "1 of 2 checks failed: enough notes (too few)" in said and "the app reaches its accessories" in said, said
        assert site.content() == now and site.indexed() == now["rows"]
        site.serves("r2")

        site.recipe.write_text(plain)
        site.restore()
        row = row_of(site, "restore the database")
        site.restore("restore")
        assert site.content() == now
        killed = site.run("restore", env={"DEPLOYRUN_FAULT": f"after:{row}"})
        assert killed.code == -signal.SIGKILL, killed
        assert site.content()["rows"] == then["rows"]
        undone = site.settle("abort")
        assert undone.code == 0, undone
        assert site.content() == now
        site.serves("r2")
        killed = site.run("restore", env={"DEPLOYRUN_FAULT": f"after:{row}"})
        assert killed.code == -signal.SIGKILL, killed
        resumed = site.settle("resume")
        assert resumed.code == 0, resumed
        assert {**site.content(), "schema": 1} == then and site.indexed() == then["rows"]
        site.serves("r2")

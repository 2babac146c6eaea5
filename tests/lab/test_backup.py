"""deployrun-backup and recipes/backup.lua: copies of a database in use, stores, cut uploads, schedules, restores."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

from labkit import Lab, wait_until
from labkit.authority import Authority
from labkit.paths import ROOT, deployrun
from labkit.s3 import ACCESS, S3, SECRET, Way
from prodkit import FULL

PROGRAM = deployrun().parent / "agent" / "deployrun-backup"
WRITER = """
import os, sqlite3, sys, time
path, number, log = sys.argv[1], int(sys.argv[2]), os.open(sys.argv[3], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
db = sqlite3.connect(path, timeout=60, isolation_level=None)
db.execute("PRAGMA foreign_keys = ON")
n = 0
while True:
    n += 1
    db.execute("BEGIN IMMEDIATE")
    db.execute("INSERT INTO parent VALUES (?, ?, ?)", (number, n, os.urandom(200)))
    db.execute("INSERT INTO child VALUES (?, ?)", (number, n))
    db.execute("COMMIT")
    os.write(log, b"%d\\n" % n)
    time.sleep(0.01)
"""


def make_database(path, rows=0, size=0):
    db = sqlite3.connect(path)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("CREATE TABLE parent (w, n, data, PRIMARY KEY (w, n))")
    db.execute("CREATE TABLE child (w, n, FOREIGN KEY (w, n) REFERENCES parent)")
    db.executemany("INSERT INTO parent VALUES (0, ?, ?)", [(n, os.urandom(size)) for n in range(rows)])
    db.commit()
    db.close()


def make_plan(above, database, s3=None, endpoint=None, **more):
    home = above / "plan"
    home.mkdir(mode=0o700, exist_ok=True)
    plan = {"name": "shop", "path": str(database), "patience": "30s", **more}
    if s3:
        plan["s3"] = {"endpoint": endpoint or s3.endpoint, "bucket": "backups", "prefix": "db/", **plan.pop("bucket", {})}
        (home / "account").write_text(f"{ACCESS}\n{SECRET}\n")
    (home / "plan.json").write_text(json.dumps(plan))
    return home


def ask(home, *words, check=True):
    done = subprocess.run([PROGRAM, words[0], home, *words[1:]], capture_output=True, text=True, stdin=subprocess.DEVNULL,
                          timeout=120, check=False)
    said = json.loads(done.stdout)
    if check:
        assert done.returncode == 0, (words, done)
        return said["result"]
    assert done.returncode == 1, (words, done)
    return said["error"]


def open_kept(file, to):
    with open(to, "wb") as out:
        subprocess.run(["zstd", "-dcq", str(file)], stdout=out, check=True)
    return sqlite3.connect(to)


def acknowledged(log):
    text = log.read_bytes() if log.exists() else b""
    whole = text[:text.rfind(b"\n") + 1].split()
    return int(whole[-1]) if whole else 0


def _back_up_under_writers(folder, count):
    database = folder / "app.sqlite3"
    make_database(database)
    home = make_plan(folder, database, folder=str(folder / "kept"), keep="1d", at_least=1)
    logs = [folder / f"log{number}" for number in range(4)]
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, database, str(number), logs[number]])
               for number in range(4)]
    try:
        wait_until(lambda: all(acknowledged(log) > 5 for log in logs), 90, "the writers")
        rows = []
        for _ in range(count):
            before = [acknowledged(log) for log in logs]
            made = ask(home, "now")
            kept = folder / "kept" / made["file"]
            db = open_kept(kept, folder / "seen.sqlite3")
            assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            assert db.execute("PRAGMA foreign_key_check").fetchall() == []
            for number in range(4):
                here = db.execute("SELECT count(*), max(n) FROM child WHERE w = ?", (number,)).fetchone()
                assert here[0] == here[1] >= before[number], (number, here, before)
            rows.append(db.execute("SELECT count(*) FROM child").fetchone()[0])
            db.close()
            kept.unlink()
        assert all(writer.poll() is None for writer in writers), "a writer failed"
        assert rows == sorted(rows) and rows[-1] > rows[0], rows
    finally:
        for writer in writers:
            writer.kill()
            writer.wait()
    assert not (folder / "app.sqlite3-journal").exists() and list((home / "scratch").iterdir()) == []


def test_every_backup_under_writers_is_whole():
    """Four writers, up to 100 transactions a second each; each backup passes both checks and has every row that was
    acknowledged before it began. Each database of its own serves for some of them: they grow all the time."""
    rounds, count = (20, 50) if FULL else (1, 20)
    with Lab(hosts=0, engine=False) as lab:
        for _ in range(rounds):
            _back_up_under_writers(lab.scratch(), count)
    return f"{rounds * count} backups, each of them whole"


test_every_backup_under_writers_is_whole.timeout = 7200 if FULL else 600


def test_s3_takes_whole_backups_alone():
    """Small and in parts; wrong keys; killed in the middle; a connection that breaks; retention; a drill."""
    with Lab(hosts=0, engine=False) as lab:
        folder = lab.scratch()
        with S3(folder / "s3") as s3:
            database = folder / "app.sqlite3"
            make_database(database, rows=12, size=1 << 20)
            for parts in ({}, {"part_bytes": 5 << 20}):
                home = make_plan(folder, database, s3, bucket=parts)
                before = s3.objects()
                made = ask(home, "now")
                assert s3.objects() == sorted([*before, "db/" + made["file"]])
                assert ask(home, "drill")["id"] == made["id"]
                before = s3.objects()

                with Way(s3.place, stop_after=7 << 20) as way:
                    make_plan(folder, database, s3, endpoint=way.endpoint, bucket=parts)
                    cut = subprocess.Popen([PROGRAM, "now", home], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                    assert way.reached.wait(60)
                    cut.kill()
                    cut.wait()
                assert s3.objects() == before
                assert bool(s3.uploads()) == bool(parts)
                home = make_plan(folder, database, s3, bucket=parts)
                assert [one["id"] for one in ask(home, "list")["backups"]][0] == made["id"]
                ask(home, "now")
                assert len(s3.objects()) == len(before) + 1 and s3.uploads() == []

                with Way(s3.place, stop_after=7 << 20) as way:
                    make_plan(folder, database, s3, endpoint=way.endpoint, bucket=parts)
                    told = subprocess.Popen([PROGRAM, "now", home], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
                    assert way.reached.wait(60)
                    told.send_signal(signal.SIGTERM)
                    assert json.loads(told.stdout.read())["error"]["kind"] == "cancelled" and told.wait() == 1
                    told.stdout.close()
                assert len(s3.objects()) == len(before) + 1 and s3.uploads() == []

                with Way(s3.place, stop_after=7 << 20, breaks=True) as way:
                    make_plan(folder, database, s3, endpoint=way.endpoint, bucket=parts)
                    ask(home, "now")
                    assert way.reached.is_set()
                assert len(s3.objects()) == len(before) + 2 and s3.uploads() == []
                assert ask(home := make_plan(folder, database, s3, bucket=parts), "drill")["problems"] == []

            # Two backups of long ago, a stranger's object, one of another plan.
            store = folder / "s3" / "objects" / "backups" / "db"
            name = f"20200101T000000.000Z-{'a' * 64}.sqlite3.zst"
            for other in (f"shop-{name}", f"shop2-{name}", "readme.txt"):
                (store / other).write_text("x")
            home = make_plan(folder, database, s3, at_least=1)
            assert ask(home, "now")["stores"][0]["removed"] == 1
            assert f"db/shop-{name}" not in s3.objects()
            assert {f"db/shop2-{name}", "db/readme.txt"} < set(s3.objects())

            (home / "account").write_text(f"{ACCESS}\nwrong-secret\n")
            before = s3.objects()
            error = ask(home, "now", check=False)
            assert error["kind"] == "backup.denied" and "SignatureDoesNotMatch" in error["message"], error
            assert "wrong-secret" not in json.dumps(error) and s3.objects() == before
            # A store that fails keeps no other from having it.
            home = make_plan(folder, database, s3, bucket={"bucket": "none"}, folder=str(folder / "kept"))
            error = ask(home, "now", check=False)
            assert error["kind"] == "backup.missing" and "the others have" in error["message"], error
            assert len(list((folder / "kept").iterdir())) == 1
            listed = ask(home, "list")
            assert len(listed["backups"]) == 1 and len(listed["failed"]) == 1 and listed["last"]["ok"] is False


def test_s3_over_tls():
    """With a certificate of an authority that the plan names; refused without it, and with another name in it."""
    with Lab(hosts=0, engine=False) as lab:
        folder = lab.scratch()
        database = folder / "app.sqlite3"
        make_database(database, rows=3, size=1000)
        ca = Authority.new(folder, "ca")
        with S3(folder / "s3", certificate=ca.issue("good", alt="IP:127.0.0.1")) as s3:
            assert s3.endpoint.startswith("https://")
            home = make_plan(folder, database, s3, bucket={"ca": str(folder / "ca.pem")})
            made = ask(home, "now")
            assert s3.objects() == ["db/" + made["file"]]
            assert ask(home, "drill")["id"] == made["id"]
            error = ask(make_plan(folder, database, s3), "now", check=False)
            assert "certificate" in error["message"] and "`ca`" in error["hint"], error
            assert len(s3.objects()) == 1
        with S3(folder / "other", certificate=ca.issue("other", alt="DNS:elsewhere.example")) as s3:
            error = ask(make_plan(folder, database, s3, bucket={"ca": str(folder / "ca.pem")}), "now", check=False)
            assert "127.0.0.1" in error["message"] and not s3.objects(), error
        return error["message"]


def project(lab, host, database, **words):
    """recipes/backup.lua as a team has it, for the lab's server."""
    text = (ROOT / "recipes/backup.lua").read_text()
    key = lab.keys.client["ed25519"]
    changes = {
        'deploy.host "deploy@10.0.0.5"': f'deploy.host {{ address = "{host.address}", name = "{host.name}", '
                                         f'user = "root", keys = {{ "{key}" }}, known_hosts = "{lab.known_hosts}", '
                                         'config = false }',
        '{ volume = "shop-data", path = "production.sqlite3" }': database,
        'folder = "/home/deploy/backups"': 'folder = "/var/backups/shop"' + words.get("more", ""),
    }
    for old, new in changes.items():
        assert old in text, old
        text = text.replace(old, new)
    folder = lab.scratch()
    (folder / "backup.lua").write_text(text)
    return folder


def test_the_recipe_on_a_server_with_a_volume():
    with Lab(hosts=1) as lab:
        host = lab.hosts[0]
        spool = "/var/spool/cron/crontabs"
        host.machine.run(["sh", "-c", f"mkdir -p {spool} && chmod 1777 {spool}"])
        host.run_app("v1", "shop", volumes=["shop-data:/data"])
        volume = Path(host.engine.get("/volumes/shop-data")["Mountpoint"])
        inside = host.machine.root / str(volume).lstrip("/")
        script = ("import sqlite3,sys; db = sqlite3.connect(sys.argv[1]); db.execute(sys.argv[2]); db.commit(); "
                  "print(db.execute('select count(*) from t').fetchone()[0])")

        def sql(text):
            return host.machine.run(["python3", "-c", script, f"{volume}/production.sqlite3", text]).stdout.strip()

        sql("CREATE TABLE t (n)")
        host.machine.run(["chown", "-R", "1234:1234", str(volume)])
        assert sql("INSERT INTO t VALUES (1)") == "1"
        folder = project(lab, host, '{ volume = "shop-data", path = "production.sqlite3" }', more=', here = "here"')

        def deployrun_backup(*words, code=0):
            result = lab.deployrun(["backup.lua", *words], cwd=folder)
            assert result.code == code, result
            return result.out + result.err

        plan = deployrun_backup("install", "--plan")
        assert "crontab" in plan and "program" in plan, plan
        assert not (host.machine.root / "root/.deployrun/backup").exists()
        assert "scheduled by cron" in deployrun_backup("install")
        again = deployrun_backup("install")
        lines = host.machine.run(["crontab", "-l"]).stdout.splitlines()
        assert len(lines) == 1 and lines[0].startswith("15 3 * * * '/root/.deployrun"), (lines, again)

        # As cron does it: deployrun is not asked.
        def containers():
            return sorted(one["Id"] for one in host.engine.get("/containers/json?all=1"))

        before = containers()
        command = lines[0].split(None, 5)[5]
        host.machine.run(["env", "-i", "HOME=/root", "PATH=/usr/bin:/bin", "/bin/sh", "-c", command], timeout=60)
        assert containers() == before, "a container stayed"
        [first] = [path.name for path in (host.machine.root / "var/backups/shop").iterdir()]
        first_id = first.split("-")[1]
        assert sql("INSERT INTO t VALUES (2)") == "2"
        deployrun_backup("now")
        listed = deployrun_backup("list")
        assert first_id in listed and "folder /var/backups/shop" in listed, listed
        [here] = (folder / "here").iterdir()
        assert "is whole" in deployrun_backup("drill")
        assert (inside / "production.sqlite3").stat().st_uid == 1234

        # Back to the first; the app was stopped and runs again.
        started = host.engine.get("/containers/shop/json")["State"]["StartedAt"]
        deployrun_backup("restore", first_id)
        assert sql("SELECT 1") == "1"
        state = host.engine.get("/containers/shop/json")["State"]
        assert state["Running"] and state["StartedAt"] != started
        # One that fails when the app starts: everything is as it was.
        text = (folder / "backup.lua").read_text()
        assert "run = function() backup:start(stopped) end," in text
        (folder / "broken.lua").write_text(text.replace("run = function() backup:start(stopped) end,",
                                                        'run = function() deploy.fail("no") end,'))
        result = lab.deployrun(["broken.lua", "restore"], cwd=folder)
        assert result.code == 1, result
        assert sql("SELECT 1") == "1" and host.engine.get("/containers/shop/json")["State"]["Running"]
        # From a file of this machine, where the server has nothing left.
        host.machine.run(["sh", "-c", f"rm -rf /var/backups/shop /root/.deployrun {volume}/production.sqlite3*"])
        deployrun_backup("restore", f"here/{here.name}")
        assert sql("SELECT 1") == "2" and (inside / "production.sqlite3").stat().st_uid == 1234
        deployrun_backup("uninstall")
        assert host.machine.run(["crontab", "-l"], check=False).stdout == ""
        assert not (host.machine.root / "root/.deployrun/backup/shop").exists()


def test_a_plain_user_and_its_own_database():
    """No root, no engine: a path, S3 behind the server, and nothing secret where others look."""
    with Lab(hosts=1, engine=False) as lab:
        host = lab.hosts[0]
        with S3(lab.scratch() / "s3", f"10.99.{lab.number}.254") as s3:
            made = lab.scratch() / "app.sqlite3"
            make_database(made, rows=3, size=1000)
            # Not made in its place: SQLite follows the link that a path into another namespace begins with.
            shutil.copyfile(made, host.machine.root / "home/deploy/app.sqlite3")
            host.machine.run(["chown", "-R", "deploy:", "/home/deploy"])
            folder = project(lab, host, '"/home/deploy/app.sqlite3"', more=f"""
  , s3 = {{ endpoint = "{s3.endpoint}", bucket = "backups", prefix = "shop/",
    access_key = deploy.secrets.from_env "S3_ACCESS_KEY", secret_key = deploy.secrets.from_env "S3_SECRET_KEY" }}""")
            text = (folder / "backup.lua").read_text().replace('user = "root"', 'user = "deploy"')
            (folder / "backup.lua").write_text(text.replace("/var/backups/shop", "/home/deploy/backups"))
            env = {"S3_ACCESS_KEY": ACCESS, "S3_SECRET_KEY": SECRET}
            result = lab.deployrun(["backup.lua", "now", "--plan"], cwd=folder, env=env)
            assert result.code == 0 and SECRET not in result.out + result.err, result
            result = lab.deployrun(["backup.lua", "now", "-vv"], cwd=folder, env=env)
            assert result.code == 0 and SECRET not in result.out + result.err, result
            assert len(s3.objects()) == 1
            home = host.machine.root / "home/deploy/.deployrun/backup/shop"
            assert home.stat().st_mode & 0o777 == 0o700 and (home / "account").stat().st_mode & 0o777 == 0o600
            assert (home / "program").read_bytes() == PROGRAM.read_bytes()
            assert SECRET not in (home / "plan.json").read_text()
            # The server is lost with its folder; the storage has it.
            host.machine.run(["sh", "-c", "rm -rf /home/deploy/backups /home/deploy/app.sqlite3*"])
            text = (folder / "backup.lua").read_text()
            stops = 'stop = function() end, start = function() end,\n  keep = "30d"'
            (folder / "backup.lua").write_text(text.replace('keep = "30d"', stops))
            result = lab.deployrun(["backup.lua", "restore"], cwd=folder, env=env)
            assert result.code == 0, result
            shutil.copyfile(host.machine.root / "home/deploy/app.sqlite3", made)
            db = sqlite3.connect(made)
            assert db.execute("SELECT count(*) FROM parent").fetchone() == (3,)
            db.close()


def test_a_timer_of_systemd():
    """Root on a server with systemd: the timer fires by itself, a changed schedule counts at once, nothing is left of it."""
    with Lab(hosts=1, engine=False, systemd=True) as lab:
        host = lab.hosts[0]
        made = lab.scratch() / "app.sqlite3"
        make_database(made, rows=3, size=1000)
        shutil.copyfile(made, host.machine.root / "srv-app.sqlite3")
        folder = project(lab, host, '"/srv-app.sqlite3"')
        units = [f"deployrun-backup-shop.{ending}" for ending in ("service", "timer")]

        def deployrun_backup(word):
            result = lab.deployrun(["backup.lua", word], cwd=folder)
            assert result.code == 0, result
            return result.out + result.err

        def systemctl(*words, check=True):
            return host.machine.run(["systemctl", "--no-pager", *words], check=check).stdout

        def kept():
            there = host.machine.root / "var/backups/shop"
            return [path for path in there.iterdir() if path.suffix == ".zst"] if there.exists() else []

        text = (folder / "backup.lua").read_text()
        assert "daily 03:15" in text
        away = f"{(time.localtime().tm_hour + 12) % 24:02}:15"  # not now
        (folder / "backup.lua").write_text(text.replace("daily 03:15", f"daily {away}"))
        assert "scheduled by systemd" in deployrun_backup("install")
        timers = systemctl("list-timers")
        assert f" {away}:00 " in timers and units[1] in timers, timers
        assert systemctl("is-enabled", units[1]) == "enabled\n"
        found = host.machine.run(["systemd-analyze", "verify", *[f"/etc/systemd/system/{unit}" for unit in units]])
        assert found.stdout + found.stderr == "", found
        assert kept() == []

        (folder / "backup.lua").write_text(text.replace("daily 03:15", "every 1m"))
        deployrun_backup("install")
        begin = time.monotonic()
        # Its minute, and the minute within which systemd may choose its moment (AccuracySec).
        wait_until(kept, 130, "a backup by the timer", every=0.2)
        waited = time.monotonic() - begin
        wait_until(lambda: systemctl("show", "-P", "ActiveState", units[0]) == "inactive\n", 60, "its end")
        assert systemctl("show", "-P", "Result", units[0]) == "success\n"
        assert "program" in host.machine.run(["journalctl", "--no-pager", "-u", units[0]]).stdout
        db = open_kept(kept()[0], lab.scratch() / "seen.sqlite3")
        assert db.execute("SELECT count(*) FROM parent").fetchone() == (3,)
        db.close()
        assert kept()[0].name.split("-")[1] in deployrun_backup("list")

        # One that fails is a failed unit, also for who looks with systemd's own tools.
        (host.machine.root / "srv-app.sqlite3").unlink()
        assert host.machine.run(["systemctl", "start", units[0]], check=False).returncode != 0
        assert units[0] in systemctl("--failed")

        deployrun_backup("uninstall")
        for words in (("list-timers", "--all"), ("--failed",), ("list-unit-files",), ("list-units", "--all")):
            assert "deployrun" not in systemctl(*words), systemctl(*words)
        left = host.machine.run(["find", "/etc/systemd", "/var/lib/systemd", "-name", "*deployrun*"], check=False).stdout
        assert left == "" and kept(), left
        return f"fired after {waited:.0f} s"

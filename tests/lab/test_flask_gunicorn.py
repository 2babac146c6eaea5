"""recipes/flask_gunicorn.lua: eight gunicorn workers start at once and one initialises; what happens without that; the
four health endpoints in one call."""

import os
import shutil
import time

from boardkit import board_image
from labkit import Lab, wait_until
from labkit.paths import ROOT
from noteskit import INVENTORY, row_of
from test_proxies import ask

FULL = os.environ.get("DEPLOYRUN_FULL") == "1"
STARTS = 200 if FULL else 4
WORKERS = 8


def cold_start(host, tag, volume):
    """One start; returns (what it said, whether all workers have the app)."""
    container = host.engine.run("board", host.image(f"board:{tag}"), volumes=[f"{volume}:/data"], pull=False)

    def settled():
        said = host.engine.logs(container)
        up = host.engine.get(f"/containers/{container}/json")["State"]["Running"]
        return not up or said.count("worker has the app") >= WORKERS or "Worker failed to boot" in said
    # Python compiles all that it imports, eight times: on a busy machine a long minute.
    wait_until(settled, 300, "the workers", every=0.1)
    said = host.engine.logs(container)
    good = host.engine.get(f"/containers/{container}/json")["State"]["Running"] and "Error" not in said
    host.engine.remove(container)
    return said, good and said.count("worker has the app") == WORKERS


def test_eight_workers_start_and_one_initialises():
    """Cold starts, with and without a database."""
    with Lab(hosts=1) as lab:
        host = lab.hosts[0]
        layers = {}
        lab.registry.push(board_image("v1"), layers)
        lab.registry.push(board_image("unguarded", INIT_ON_IMPORT="1", LOOK_SECONDS="3"), layers)
        for tag in ("v1", "unguarded"):
            host.engine.pull(host.image(f"board:{tag}"))
        began = time.monotonic()
        for number in range(STARTS):
            said, good = cold_start(host, "v1", f"data-{number // 2}")
            assert good, (number, said)
            assert said.count("tables made") == (1 if number % 2 == 0 else 0), (number, said)
        seconds = (time.monotonic() - began) / STARTS
        for number in range(STARTS + 20):
            said, good = cold_start(host, "unguarded", f"unguarded-{number}")
            if not good:
                break
        assert not good, "unguarded, it never failed"
        reason = next(line for line in said.splitlines() if "Error: " in line)
        return (f"{STARTS} cold starts of {WORKERS} workers, 0 failures, {seconds:.1f} s each; "
                f"unguarded, start {number + 1}: {reason}")


test_eight_workers_start_and_one_initialises.timeout = 7200 if FULL else 600


class Board:
    """The shipped recipe with settings for one host."""

    def __init__(self, lab):
        self.lab, self.host, self.folder = lab, lab.hosts[0], lab.scratch()
        lab.registry.push(board_image("v1"))
        (self.folder / "recipes").mkdir()
        shutil.copyfile(ROOT / "recipes/flask_gunicorn.lua", self.folder / "recipes/flask_gunicorn.lua")
        settings = INVENTORY.format(service="board", image=lab.image("board"), address=self.host.address,
                                    name=self.host.name, key=lab.keys.client["ed25519"], known_hosts=lab.known_hosts,
                                    volume="board-data", kind="kamal_proxy", proxy=lab.image("kamal-proxy:v0.9.2"))
        settings = settings.replace("path: /up", "path: /health/ready").replace("deadline: 8s", "deadline: 240s")
        settings = settings.replace("proxy:\n", "proxy:\n  app_port: 8000\n")
        (self.folder / "recipes/flask_gunicorn.yml").write_text(settings)

    def run(self, *words, code=0, env=None):
        result = self.lab.deployrun(["recipes/flask_gunicorn.lua", *words], cwd=self.folder, timeout=300, env=env)
        assert result.code == code, result
        return result.out + result.err

    def database(self, lines):
        """Runs Python with the app's database; what it prints."""
        data = self.host.engine.get("/volumes/board-data")["Mountpoint"]
        opened = f"import sqlite3, hashlib\ndatabase = sqlite3.connect('{data}/app.sqlite3', timeout=10)\n"
        return self.host.machine.run(["python3", "-c", opened + lines]).stdout

    def content(self):
        """Rows of each table and their sum."""
        return self.database("for name in ('user', 'post', 'comment'):\n"
                             "    rows = database.execute(f'SELECT * FROM {name} ORDER BY id').fetchall()\n"
                             "    print(name, len(rows), hashlib.sha256(repr(rows).encode()).hexdigest())\n"
                             "print(database.execute('PRAGMA integrity_check').fetchone()[0])\n")

    def write(self, words):
        self.database(f"with database:\n    database.executemany('INSERT INTO post (body) VALUES (?)', [('{words}',)] * 500)\n")

    def serves(self):
        assert self.host.snapshot()["containers"]["board-web-v1"]["state"] == "running"
        assert ask(self.host, path="/health")[0] == 200


def test_a_full_restore():
    """Rows and their sums; a backup that the app cannot live with, and a kill: what was there, and traffic."""
    with Lab(hosts=1) as lab:
        board = Board(lab)
        board.run("deploy", "--version", "v1")
        board.write("before")
        then = board.content()
        board.run("backup")
        board.write("after")
        now = board.content()
        assert then != now and "post 501 " in then and "post 1001 " in now, (then, now)
        listed = board.run("restore", "--list")
        assert "backups, newest first" in listed, listed
        plan = board.run("restore", "--plan")
        assert "docker stop --time 5 board-web-v1" in plan and "migrate" not in plan, plan

        said = board.run("restore")
        assert "post: 1001 rows, 501 then" in said, said
        assert board.content() == then
        board.serves()
        board.run("restore", "restore")
        row = row_of(board, "restore the database")
        assert board.content() == now
        board.serves()

        # The entrypoint finds no table of what was done once that it knows, and ends.
        board.database("with database:\n    database.execute('ALTER TABLE deployrun_once RENAME TO kept')\n"
                       "    database.execute('CREATE TABLE deployrun_once (other)')\n")
        board.run("backup")
        board.database("with database:\n    database.execute('DROP TABLE deployrun_once')\n"
                       "    database.execute('ALTER TABLE kept RENAME TO deployrun_once')\n")
        assert board.content() == now
        said = board.run("restore", code=1)
        assert "app.exited" in said or "ended with" in said or "exit code" in said, said
        assert board.content() == now
        board.serves()

        killed = board.run("restore", "restore-back", code=-9, env={"DEPLOYRUN_FAULT": f"after:{row}"})
        assert board.content() == then, killed
        result = lab.deployrun(["recipes/flask_gunicorn.lua", "--abort"], cwd=board.folder, timeout=300)
        assert result.code == 0, result
        assert board.content() == now
        board.serves()
        return next(line for line in said.splitlines() if "exit" in line).strip()


def test_ships_and_tells_health():
    with Lab(hosts=1) as lab:
        board = Board(lab)
        host, run = board.host, board.run

        def inside(*argv):
            assert host.engine.exec("board-web-v1", list(argv))[0] == 0, argv

        run("deploy", "--version", "v1")
        assert ask(host, path="/healthz")[0] == 200
        assert run("health").count("ok, ") == 4
        assert "unchanged" in run("heal")
        inside("/bin/sh", "-c", ": >/tmp/degraded")
        said = run("health")
        assert said.count("ok, ") == 3 and "degraded" in said, said
        assert "unchanged" in run("heal")
        inside("/bin/sh", "-c", ": >/tmp/stuck")
        assert "restart" in run("health")
        before = host.engine.get("/containers/board-web-v1/json")["State"]["StartedAt"]
        assert "restarted" in run("heal")
        assert host.engine.get("/containers/board-web-v1/json")["State"]["StartedAt"] != before


test_a_full_restore.timeout = 900
test_ships_and_tells_health.timeout = 600

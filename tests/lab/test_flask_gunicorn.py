"""recipes/flask_gunicorn.lua: eight gunicorn workers start at once and one initialises; what happens without that; the
four health endpoints in one call."""

import os
import shutil
import time

from boardkit import board_image
from labkit import Lab, wait_until
from labkit.paths import ROOT
from noteskit import INVENTORY
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
    wait_until(settled, 120, "the workers", every=0.1)
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
        lab.registry.push(board_image("unguarded", INIT_ON_IMPORT="1"), layers)
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


test_eight_workers_start_and_one_initialises.timeout = 7200 if FULL else 400


def test_ships_and_tells_health():
    with Lab(hosts=1) as lab:
        host = lab.hosts[0]
        lab.registry.push(board_image("v1"))
        folder = lab.scratch()
        (folder / "recipes").mkdir()
        shutil.copyfile(ROOT / "recipes/flask_gunicorn.lua", folder / "recipes/flask_gunicorn.lua")
        settings = INVENTORY.format(service="board", image=lab.image("board"), address=host.address, name=host.name,
                                    key=lab.keys.client["ed25519"], known_hosts=lab.known_hosts, volume="board-data",
                                    kind="kamal_proxy", proxy=lab.image("kamal-proxy:v0.9.2"))
        settings = settings.replace("path: /up", "path: /health/ready").replace("deadline: 8s", "deadline: 90s")
        settings = settings.replace("proxy:\n", "proxy:\n  app_port: 8000\n")
        (folder / "recipes/flask_gunicorn.yml").write_text(settings)

        def run(*words):
            result = lab.deployrun(["recipes/flask_gunicorn.lua", *words], cwd=folder, timeout=180)
            assert result.code == 0, result
            return result.out

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


test_ships_and_tells_health.timeout = 400

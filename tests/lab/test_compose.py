"""recipes/compose_blue_green.lua on real servers with a real `docker compose`: blue-green under load, the window, what
stays, what stops first, what goes wrong, and what is left of it."""

import dataclasses
import http.client
import signal
import threading
from concurrent.futures import ThreadPoolExecutor

from composekit import Project
from labkit import Lab
from labkit.images import app_images
from prodkit import (CADDY, FULL, HAPROXY, KAMAL, NGINX, STEADY, TRAEFIK, assert_same, assert_serving, connections, seconds_line,
                     summary_line)
from test_prod import versions

ROUNDS = 10 if FULL else 2  # each: two deploys and one rollback


def _ship_and_go_back(kind):
    times = {"deploy": [], "rollback": []}
    with Lab(hosts=1) as lab:
        project = Project(lab, kind=kind)
        project.deploy("v1")
        assert_serving(lab.hosts, "v1")
        names = versions()
        with lab.load(**STEADY) as load:
            for _ in range(ROUNDS):
                first, second = next(names), next(names)
                for version in (first, second):
                    result = project.deploy(version)
                    assert_serving(lab.hosts, version, result)
                    times["deploy"].append(result.seconds)
                result = project.good("rollback")
                assert_serving(lab.hosts, first, result)
                times["rollback"].append(result.seconds)
            summary = load.stop()
        assert summary["failed"] == 0, summary
    return "\n".join([summary_line(summary), *(seconds_line(name, found) for name, found in times.items())])


def test_compose_loses_no_request_behind_caddy():
    return _ship_and_go_back(CADDY)


if FULL:
    def test_compose_loses_no_request_behind_the_others():
        return "\n".join(f"{kind}\n{_ship_and_go_back(kind)}" for kind in (KAMAL, NGINX, HAPROXY, TRAEFIK))

    test_compose_loses_no_request_behind_the_others.timeout = 3600
    test_compose_loses_no_request_behind_the_others.alone = True
test_compose_loses_no_request_behind_caddy.timeout = 1200 if FULL else 600
test_compose_loses_no_request_behind_caddy.alone = True


# --- the window

WINDOWS = 20 if FULL else 2
# Three quarters of the requests are fresh connections: none is kept across the window by luck.
KNOCKING = {"rate": 50}
BOOT = "    environment: { BOOT_DELAY_MS: 2000 }\n"


def _window_of(events):
    """How long the window was open, in seconds, as the run itself says."""
    said = [event.get("note") or "" for event in events
            if event["type"] == "task.finished" and event["step"] == "close the window"]
    assert len(said) == 1 and said[0].startswith("the window was open for "), said
    number, unit = said[0].rsplit(" ", 2)[1:]
    return float(number) * {"ms": 0.001, "s": 1}[unit]


class Knocker(threading.Thread):
    """Asks all the time, one request after the other, and counts statuses with their Retry-After."""

    def __init__(self, address):
        super().__init__(daemon=True)
        self._address = address
        self._ending = threading.Event()
        self.answers = {}
        self.bodies = set()  # of what was not 200

    def run(self):
        while not self._ending.wait(0.02):
            connection = http.client.HTTPConnection(self._address, 80, timeout=10)
            connection.request("GET", "/")
            response = connection.getresponse()
            key = (response.status, response.headers["Retry-After"])
            if response.status != 200:
                self.bodies.add(response.read().decode())
            connection.close()
            self.answers[key] = self.answers.get(key, 0) + 1

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self._ending.set()
        self.join()


def _window_behind(kind, rounds, retry_after):
    """An app that boots in two seconds: 503 (with Retry-After where the proxy can) within the window, nothing else anywhere."""
    windows = []
    with Lab(hosts=1) as lab:
        project = Project(lab, kind=kind, mode="window", web=BOOT)
        project.deploy("v1")
        with lab.load(**KNOCKING) as load, Knocker(lab.hosts[0].address) as knocker:
            for number in range(rounds):
                version = f"v{2 + number % 8}"
                result, events = project.events("deploy", "--version", version)
                assert result.code == 0, result
                assert_serving(lab.hosts, version, result)
                windows.append(_window_of(events))
            result, events = project.events("rollback")
            assert result.code == 0, result
            windows.append(_window_of(events))
            load.stop()
        failed = [one for one in load.records() if one["error"]]
        assert failed and {one["status"] for one in failed} == {503}, failed[:3]
        down = (503, retry_after)
        assert knocker.answers.get(down, 0) > 0 and set(knocker.answers) <= {(200, None), down}, knocker.answers
        # The promise of S4, for a machine with nothing else to do: CI's may have much.
        assert not FULL or sorted(windows)[len(windows) // 2] < 10, windows
    return f"{kind}: {len(failed)} requests answered 503; " + seconds_line("window", windows)


def _window_with_a_page(kind, retry_after):
    """A release whose settings have a page, one that fails within its window, and the way back: the page, or the app."""
    sic = "really" if kind == KAMAL else "{{sic}}"  # which would be a template
    page = f"<!doctype html>\n<p>back soon, {sic} it costs $1</p>\n"
    with Lab(hosts=1) as lab:
        project = Project(lab, kind=kind, mode="window", deadline="8s")
        project.deploy("v1")  # without a page
        project.give_page(page)
        before = project.host.snapshot()
        plan = project.good("deploy", "--version", "v2", "--plan").out
        assert project.host.snapshot() == before and (kind != KAMAL or "--error-pages=" in plan), plan
        with Knocker(lab.hosts[0].address) as knocker:
            project.deploy("v2")
            before = project.host.snapshot()
            failed = project.run("deploy", "--version", "unhealthy")
            assert failed.code == 1, failed
            assert_same(before, project.host.snapshot(), failed)
            assert_serving(lab.hosts, "v2", failed)
            project.good("rollback")
            assert_serving(lab.hosts, "v1")
        down = (503, retry_after)
        assert knocker.answers.get(down, 0) > 0 and set(knocker.answers) <= {(200, None), down}, knocker.answers
        assert knocker.bodies == {page}, knocker.bodies
    return f"{kind}: {knocker.answers}"


def test_the_window_has_a_page_of_the_apps_own():
    with ThreadPoolExecutor(max_workers=2) as pool:
        return "\n".join(pool.map(_window_with_a_page, (KAMAL, CADDY, NGINX, HAPROXY), (None, "5", "5", "5")))


def test_the_window_is_short_and_everything_outside_of_it_is_served():
    return _window_behind(CADDY, WINDOWS, "5")


def test_the_window_behind_kamal_proxy():
    """It sends no Retry-After: its pages are templates of a body (internal/server/error_page_middleware.go)."""
    return _window_behind(KAMAL, WINDOWS if FULL else 1, None)


def test_the_window_behind_traefik():
    return _window_behind(TRAEFIK, WINDOWS if FULL else 1, "5")


for _test in (test_the_window_is_short_and_everything_outside_of_it_is_served, test_the_window_behind_kamal_proxy,
              test_the_window_behind_traefik):
    _test.timeout = 1200 if FULL else 600

if FULL:
    def test_the_window_behind_nginx():
        return _window_behind(NGINX, WINDOWS, "5")

    def test_the_window_behind_haproxy():
        return _window_behind(HAPROXY, WINDOWS, "5")

    test_the_window_behind_nginx.timeout = test_the_window_behind_haproxy.timeout = 1200


# --- what each service is

OTHERS = """\
  worker: {{ image: "{app}:${{VERSION}}", restart: unless-stopped, depends_on: [web] }}
  init:
    image: {app}:${{VERSION}}
    environment: {{ CRASH_AFTER_MS: 100, EXIT_CODE: 0 }}
  writer: {{ image: "{app}:${{VERSION}}", volumes: ["data:/data"], stop_grace_period: 3s }}
  db: {{ image: "{app}:{db}", volumes: ["db:/db"], restart: always }}
volumes: {{ data: , db: }}
"""
NEEDS = "    depends_on: { init: { condition: service_completed_successfully }, db: { condition: service_started } }\n"
MIGRATE = "migrate: {{ service: worker, command: [migrate], env: {{ CRASH_AFTER_MS: 100, EXIT_CODE: {code} }} }}\n"


def whole(lab, *, code=0, db="v9", **options):
    """A project with a service of each kind."""
    return Project(lab, web=NEEDS, others=OTHERS.format(app=lab.image("app"), db=db), more=MIGRATE.format(code=code), **options)


def _at(host, name, field):
    return host.engine.get(f"/containers/{name}/json")["State"][field]


def _each_by_its_rule(plugin):
    with Lab(hosts=1) as lab:
        project, host = whole(lab, plugin=plugin), lab.hosts[0]
        project.deploy("v1")
        db = [name for name in project.states() if "db" in name]
        assert len(db) == 1, project.states()
        born = _at(host, db[0], "StartedAt")
        first_init = _at(host, "shop-init-v1", "FinishedAt")
        with lab.load(rate=50) as load:
            plan = project.good("deploy", "--version", "v2", "--plan")
            assert "docker stop --time 3 shop-writer-v1" in plan.out, plan
            result = project.deploy("v2")
            assert project.states() == {
                db[0]: "running", "shop-web-v1": "exited", "shop-web-v2": "running", "shop-worker-v1": "exited",
                "shop-worker-v2": "running", "shop-init-v1": "exited", "shop-init-v2": "exited", "shop-writer-v1": "exited",
                "shop-writer-v2": "running"}, result
            assert _at(host, "shop-writer-v1", "FinishedAt") <= _at(host, "shop-writer-v2", "StartedAt")
            again = project.deploy("v2")
            project.good("rollback")
            summary = load.stop()
        assert summary["failed"] == 0, summary
        states = project.states()
        assert {name for name, state in states.items() if state == "running"} == {
            db[0], "shop-web-v1", "shop-worker-v1", "shop-writer-v1"}, states
        assert _at(host, "shop-writer-v2", "FinishedAt") <= _at(host, "shop-writer-v1", "StartedAt")
        assert _at(host, db[0], "StartedAt") == born, "what has not changed was touched"
        assert _at(host, "shop-init-v1", "FinishedAt") == first_init, "a rollback ran what runs once"
        assert "v1 (running)" in project.good("status").out
        project.compose.write_text("".join(line for line in project.compose.read_text().splitlines(True)
                                           if not line.startswith("  writer:")))
        left = project.deploy("v3")
        assert "shop-writer-v3" not in project.states(), left
        assert project.states()["shop-writer-v1"] == "exited", "what the file does not have any more runs on"
    return f"deploy {result.seconds:.1f} s, again {again.seconds:.1f} s; {summary_line(summary)}"


def test_each_service_moves_by_its_rule():
    return _each_by_its_rule(plugin=True)


def test_each_service_moves_by_its_rule_with_compose_1():
    return _each_by_its_rule(plugin=False)


# --- what goes wrong

def _bad_versions(mode):
    with Lab(hosts=1) as lab:
        project = whole(lab, mode=mode, deadline="8s")
        project.deploy("v1")
        seen = []
        with lab.load(rate=50) as load:
            for kind, words in (("unhealthy", "500"), ("crash-boot", "ended"), ("nowhere", "nowhere")):
                seen.append(project.bad(kind, words))
            project.replace(project.settings, "EXIT_CODE: 0", "EXIT_CODE: 3")
            seen.append(project.bad("v2", "exit code 3"))
            project.replace(project.settings, "EXIT_CODE: 3", "EXIT_CODE: 0")
            project.replace(project.compose, "CRASH_AFTER_MS: 100, EXIT_CODE: 0", "CRASH_AFTER_MS: 100, EXIT_CODE: 4")
            seen.append(project.bad("v3", "exit code 4"))
            load.stop()
        failed = [one for one in load.records() if one["error"]]
        assert {one["status"] for one in failed} <= ({503} if mode == "window" else set()), failed[:3]
        assert_serving(lab.hosts, "v1")
    return "\n".join([f"{len(failed)} requests answered 503", *seen])


def test_a_bad_version_changes_nothing_of_a_compose_project():
    return _bad_versions("blue-green")


def test_a_bad_version_in_a_window_brings_the_old_one_back():
    return _bad_versions("window")


# --- what is refused, what is pinned

def test_a_file_that_means_harm_is_refused_before_anything_is_contacted():
    with Lab(hosts=1) as lab:
        project, host = Project(lab), lab.hosts[0]
        good = project.compose.read_text()
        before, seen = connections(host), []
        (project.folder / "recipes/passwd").symlink_to("/etc/passwd")
        web = "  web:\n"
        cases = {
            "remote include": ("include: [\"oci://evil.invalid/x\"]\n" + good, "not followed"),
            "git include": ("include: [\"https://evil.invalid/x.git\"]\n" + good, "not followed"),
            "remote extends": (good.replace(web, web + "    extends: { file: \"git@evil.invalid:x.git\", service: x }\n"), "not followed"),
            "traversal": (good.replace(web, web + "    env_file: ../../../../etc/passwd\n"), "leads out"),
            "absolute path": (good + "configs: { c: { file: /etc/shadow } }\n", "outside of the project"),
            "symbolic link": (good.replace(web, web + "    env_file: passwd\n"), "no plain file"),
            "bomb": ("x-a: &a [" + "x, " * 99 + "x]\n" + "".join(
                f"x-{new}: &{new} [" + f"*{old}, " * 99 + f"*{old}]\n" for old, new in ("ab", "bc", "cd"))
                + good, "values"),
            "cycle": ("x-a: &a [*a]\n" + good, "alias"),
            "key twice": (good + "services: { web: { image: \"evil:1\" } }\n", "stands here and in line"),
            "build": (good.replace(web, web + "    build: https://evil.invalid/x.git\n"), "nothing is built"),
            "latest": (good.replace("${VERSION}", "latest"), "tomorrow"),
        }
        for name, (text, words) in cases.items():
            project.compose.write_text(text)
            result = project.run("deploy", "--version", "v1")
            assert result.code == 2, (name, result)
            assert words in result.out + result.err and "recipes/compose" in result.out + result.err, (name, result)
            seen.append(f"{name}: {result.seconds * 1000:.0f} ms")
        project.compose.write_text(good)
        result = project.run("deploy", "--version", "main-latest")
        assert result.code == 2 and "SHA" in result.out + result.err, result
        assert connections(host) == before, "a server was contacted"
        assert not host.exists("/root/.deployrun")
        project.deploy("v1")
        assert connections(host) > before
    return ", ".join(seen)


def test_every_server_gets_the_digest_that_the_first_one_was_told():
    """The tag moves after it was pinned: both servers run what it meant then."""
    with Lab(hosts=2) as lab:
        project = Project(lab)
        images = {image.tag: image for image in app_images()}
        lab.registry.push(dataclasses.replace(images["v1"], tag="moving"))
        first = lab.registry.digest("app", "moving")
        watch = project.start("deploy", "--version", "moving", "--json", env={"DEPLOYRUN_FAULT": "before:16"}).wait(120)
        assert watch.code == -signal.SIGKILL and '"pin the images"' in watch.out, watch
        assert not lab.hosts[1].exists("/root/.deployrun/compose"), "it came too far"
        lab.registry.push(dataclasses.replace(images["v2"], tag="moving"))
        assert lab.registry.digest("app", "moving") != first
        result = lab.deployrun(["recipes/compose_blue_green.lua", "--resume"], cwd=project.folder)
        assert result.code == 0, result
        for host in lab.hosts:
            image = host.engine.get("/containers/shop-web-moving/json")["Config"]["Image"]
            assert image.endswith("app@" + first), image
    return first

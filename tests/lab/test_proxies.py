"""The calls that all proxies share, each behind its real program: names and paths, a maintenance, held requests, a restart
of the proxy, another shape of a route."""

import http.client
import threading
from concurrent.futures import ThreadPoolExecutor

from labkit import Lab, wait_until
from prodkit import CADDY, HAPROXY, KAMAL, NGINX, TRAEFIK, Project, assert_serving

CONTAINERS = {KAMAL: "kamal-proxy", CADDY: "caddy", NGINX: "nginx", HAPROXY: "haproxy", TRAEFIK: "traefik"}
HOLDS = (KAMAL, HAPROXY)

RECIPE = """\
local deploy = require "deploy"
local app = deploy.app "recipes/prod.yml"
%s
local calls = {
  maintenance = function(host) app.proxy:maintenance(host, "shop-web", "back at 9, \\"sure\\"") end,
  page = function(host)
    local role = app:roles(host)[1]
    app.proxy:maintenance(host, "shop-web", nil, app:former_target(app:look(host), role))
  end,
  pause = function(host) app.proxy:pause(host, "shop-web", { wait = "120s" }) end,
  shed = function(host) app.proxy:pause(host, "shop-web", { wait = "300ms" }) end,
  resume = function(host) app.proxy:resume(host, "shop-web") end,
}
for name, call in pairs(calls) do
  deploy.command(name) { run = function(run) run:step(name, { on = app.hosts, run = call }) end }
end
deploy.command "state" {
  reads = true,
  run = function(run)
    app:show(function(host) return app.proxy:status(host)["shop-web"].state .. "\\n" end)
  end,
}
"""


def ask(host, name="shop.example", path="/version", method="GET"):
    """One request; returns (status, headers, body)."""
    connection = http.client.HTTPConnection(host.address, 80, timeout=120)
    try:
        connection.request(method, path, headers={"Host": name})
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read().decode()
    finally:
        connection.close()


class Calls:
    """A project with a recipe of the proxy's calls beside the shipped one."""

    def __init__(self, project):
        self.project = project
        (project.folder / "recipes/calls.lua").write_text(RECIPE % "")

    def run(self, name):
        return self.project.lab.deployrun(["recipes/calls.lua", name], cwd=self.project.folder)

    def good(self, name):
        result = self.run(name)
        assert result.code == 0, result
        return result.out


def open_connections(host, container):
    """How many clients are connected to a container's port 80."""
    pid = host.engine.get(f"/containers/{container}/json")["State"]["Pid"]
    lines = host.machine.run(["cat", f"/proc/{pid}/net/tcp", f"/proc/{pid}/net/tcp6"]).stdout.splitlines()
    cells = [line.split() for line in lines]
    return sum(1 for row in cells if row[1].endswith(":0050") and row[3] == "01")


def _served(host, version, name="shop.example", path="/version"):
    def check():
        try:
            return ask(host, name, path)[::2] == (200, version + "\n")
        except OSError:
            return False  # it starts
    wait_until(check, 60, f"{version} answers for {name}")


def _served_by_all(host, version):
    """Every process of the proxy has to learn a new address by itself."""
    def check():
        try:
            return all(ask(host, path="/version")[::2] == (200, version + "\n") for _ in range(40))
        except OSError:
            return False
    wait_until(check, 60, f"{version} answers forty times in a row")


def _maintenance(kind, host, calls):
    calls.good("maintenance")
    assert calls.good("state").split()[-1] in ("maintenance", "stopped")
    for method in ("GET", "POST"):
        status, headers, body = ask(host, method=method)
        assert status == 503, (status, body)
        assert kind == KAMAL or headers["Retry-After"] == "5", headers.items()  # it says nothing of that
        assert kind == KAMAL or headers["Content-Type"].startswith("text/plain"), headers.items()
        assert "back at 9" in body, body
    calls.good("resume")
    _served(host, "v2")
    assert calls.good("state").split()[-1] == "running"


def _held(kind, host, calls):
    with ThreadPoolExecutor(max_workers=4) as pool:
        slow = pool.submit(ask, host, path="/slow?ms=3000")  # is under way when the pause comes, and ends
        wait_until(lambda: open_connections(host, "shop-web-v2") > 0, 60, "a request under way")
        calls.good("pause")
        assert slow.result()[0] == 200
        waiting = [pool.submit(ask, host) for _ in range(3)]
        threading.Event().wait(1)  # nothing happens, and that is the point
        assert not any(request.done() for request in waiting), [request.result() for request in waiting]
        assert calls.good("state").split()[-1] == "paused"
        calls.good("resume")
        assert [request.result()[0] for request in waiting] == [200, 200, 200]
    calls.good("shed")
    assert ask(host)[0] in (503, 504)
    calls.good("resume")
    _served(host, "v2")


def _cannot_hold(kind, host, calls):
    recipe = calls.project.folder / "recipes/calls.lua"
    recipe.write_text(RECIPE % 'app.proxy:needs "pause"')
    before = host.snapshot()
    refused = calls.run("pause")
    assert refused.code == 2 and f"{kind} cannot pause" in refused.out + refused.err, refused
    assert host.snapshot() == before
    recipe.write_text(RECIPE % "")


def _behind(kind):
    with Lab(hosts=1) as lab:
        host = lab.hosts[0]
        project = Project(lab, kind=kind)
        project.replace(project.inventory, f"  kind: {kind}\n",
                        f"  kind: {kind}\n  hosts: [shop.example, b.shop.example]\n  path_prefix: /\n")
        calls = Calls(project)
        project.deploy("v1")
        project.deploy("v2")
        _served(host, "v2")
        _served(host, "v2", "b.shop.example")
        assert ask(host, "other.example")[2] != "v2\n"

        _maintenance(kind, host, calls)
        (_held if kind in HOLDS else _cannot_hold)(kind, host, calls)

        # The target outlives the proxy, and so does what it is told meanwhile.
        calls.good("maintenance")
        host.engine.call("POST", f"/containers/{CONTAINERS[kind]}/restart?t=1")
        wait_until(lambda: _status(host) == 503, 60, "the maintenance, after a restart")
        calls.good("resume")
        host.engine.call("POST", f"/containers/{CONTAINERS[kind]}/restart?t=1")
        _served(host, "v2")

        # A container that has another address after its restart is found there.
        holder = host.run_app("v9", "holder")
        host.engine.call("POST", "/containers/shop-web-v2/stop?t=1")
        host.run_app("v9", "holder-2")
        host.engine.call("POST", "/containers/shop-web-v2/start")
        _served_by_all(host, "v2")
        for name in (holder, "holder-2"):
            host.engine.remove(name)

        # Another shape of the route comes with a release, under load.
        project.replace(project.inventory, "[shop.example, b.shop.example]", "[shop.example, c.shop.example]")
        with lab.load(rate=50, header="Host: shop.example") as load:
            project.deploy("v3")
            summary = load.stop()
        assert summary["failed"] == 0, summary
        _served(host, "v3", "c.shop.example")
        assert ask(host, "b.shop.example")[2] != "v3\n"
        assert_serving([host], "v3")
        _a_page_of_its_own(kind, lab, project, calls)


# Larger than a buffer of HAProxy's and than a word of nginx's configuration, with what their languages are made of.
FILLER = "".join(f'<p class="n{n}">$1 ${{host}} \\ %[src] {{http.request.host}} caf\u00e9 #{n};</p>\n' for n in range(900))
PAGE = f"<!doctype html>\n<title>down</title>\n{FILLER}<p>back at @</p>\n"


def _page_answers(kind, host, page, retry_after):
    """Every method gets the page, whole, with 503; a client that has seen it gets it again."""
    for method in ("GET", "POST", "DELETE"):
        status, headers, body = ask(host, method=method, path="/any/where?a=1")
        assert status == 503 and body == page, (kind, method, status, body[:200], body[-200:])
        assert headers["Content-Type"].lower() == "text/html; charset=utf-8", headers.items()
        assert kind == KAMAL or headers["Retry-After"] == retry_after, headers.items()
    status, headers, body = ask(host, method="HEAD")
    assert (status, body) == (503, ""), (kind, status, body)
    connection = http.client.HTTPConnection(host.address, 80, timeout=30)
    try:  # one connection, and what makes a file server answer 206, 304 and 412
        for wanted in ({"Range": "bytes=0-9"}, {"If-None-Match": "*"}, {"If-Match": '"x"'}):
            connection.request("GET", "/", headers={"Host": "shop.example", **wanted})
            answer = connection.getresponse()
            assert (answer.status, answer.read().decode()) == (503, page), (kind, wanted, answer.status)
    finally:
        connection.close()


def _a_page_of_its_own(kind, lab, project, calls):
    host = lab.hosts[0]
    file = project.folder / "recipes/maintenance.html"
    file.write_text(PAGE.replace("@", "nine"))
    retry = "" if kind == KAMAL else ", retry_after: 90s"
    # What runs has never heard of a page.
    project.inventory.write_text(
        project.inventory.read_text() + f"\nmaintenance: {{ page: maintenance.html{retry} }}\n")
    with lab.load(rate=50, header="Host: shop.example") as load:
        calls.good("page")
        _page_answers(kind, host, PAGE.replace("@", "nine"), "90")
        calls.good("resume")
        _served(host, "v3")
        load.stop()
    failed = [one for one in load.records() if one["error"]]
    assert failed and {one["status"] for one in failed} == {503}, failed[:3]

    # Another page takes the place of one; neither a switch nor a restart of the proxy ends the maintenance.
    calls.good("page")
    file.write_text(PAGE.replace("@", "ten"))
    calls.good("page")
    _page_answers(kind, host, PAGE.replace("@", "ten"), "90")
    project.deploy("v4")
    _page_answers(kind, host, PAGE.replace("@", "ten"), "90")
    host.engine.call("POST", f"/containers/{CONTAINERS[kind]}/restart?t=1")
    wait_until(lambda: _status(host) == 503, 60, "the maintenance, after a restart")
    _page_answers(kind, host, PAGE.replace("@", "ten"), "90")
    calls.good("resume")
    _served(host, "v4")

    # A page that is gone is said before anything is changed.
    file.unlink()
    before = host.snapshot()
    result = calls.run("page")
    assert result.code == 2 and "maintenance.html: no such file" in result.out + result.err, result
    assert host.snapshot() == before


def _status(host):
    try:
        return ask(host)[0]
    except OSError:
        return None


def test_the_calls_that_all_proxies_share():
    with ThreadPoolExecutor(max_workers=2) as pool:
        list(pool.map(_behind, CONTAINERS))


test_the_calls_that_all_proxies_share.timeout = 1200

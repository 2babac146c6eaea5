"""--plan: it touches nothing, and what it lists is what a run then does."""

import hashlib
import json
import re
import time

from labkit import Lab
from labkit.paths import ROOT
from prodkit import (CADDY, FULL, HAPROXY, KAMAL, NGINX, TRAEFIK, Project, assert_same, assert_serving, connections, container,
                     snapshots)

SECRET = "a-token-that-nobody-may-see"
ENV = {"SHOP_TOKEN": SECRET}
SETTINGS = "env: { clear: { COLOUR: red }, secret: [SHOP_TOKEN] }\nretain: 1\n"


def _files(host):
    """Every file that a deploy could touch on a host, with its size and time."""
    found = host.machine.run(["sh", "-c", "find /root /home /etc -xdev -printf '%p %y %s %T@\\n' | sort"])
    return found.stdout.splitlines()


def _project_files(project):
    return {str(path.relative_to(project.folder)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(project.folder.rglob("*")) if path.is_file()}


def _events(host, since, until):
    """What an engine did in a time, without the commands that only look."""
    status, data = host.engine.raw("GET", f"/events?since={since:.6f}&until={until:.6f}")
    assert status == 200, data
    found = [json.loads(line) for line in data.splitlines() if line.strip()]
    looks = re.compile(r"exec_die$|exec_\w+: (kamal-proxy list|sh -c .*(show servers state|nginx -v|/proc/\[0-9\]))", re.S)
    return [(event["Type"], event["Action"]) for event in found if not looks.match(event["Action"])]


class Untouched:
    """Fails where anything has changed between the beginning and the end of a block: engines, files, proxies, journal."""

    def __init__(self, project):
        self.project = project

    def _look(self):
        return {"files": {host.name: _files(host) for host in self.project.hosts},
                "hosts": snapshots(self.project.hosts), "project": _project_files(self.project)}

    def __enter__(self):
        self.before, self.since = self._look(), time.time()
        return self

    def __exit__(self, kind, *_):
        if kind is not None:
            return
        until = time.time()
        assert_same(self.before, self._look())
        for host in self.project.hosts:
            assert _events(host, self.since, until) == [], host.name


def _plan(project, command, *args, code=6):
    """The steps of a plan, during which nothing changes."""
    with Untouched(project):
        result, events = project.events(command, *args, "--plan", "--exit-code", env=ENV)
    assert result.code == code, result
    assert SECRET not in result.out + result.err, result
    assert events[-1]["type"] == "plan.finished" and events[-1]["exit_code"] == code, result
    steps = [event for event in events if event["type"] == "plan.step"]
    listed = sum(len(host["changes"]) for step in steps for host in step["hosts"])
    assert events[-1]["changes"] == listed, result
    return steps, result


def _commands(steps, host):
    return [change.get("command", "") for step in steps for each in step["hosts"] if each["host"] == host
            for change in each["changes"]]


def _named(commands, pattern):
    return {match[1] for command in commands if (match := re.search(pattern, command))}


def _assert_planned(steps, before, after, what):
    """What a plan listed for a host, against what then was different there."""
    commands = _commands(steps, what[0])
    text = "\n".join([str(what), *commands])
    old, new = before["containers"], after["containers"]
    running = {name for name, one in new.items() if one["state"] == "running"}
    was_running = {name for name, one in old.items() if one["state"] == "running"}
    assert _named(commands, r"^docker run .*--name (\S+)") == set(new) - set(old), text
    assert _named(commands, r"^docker start (\S+)") == (running & set(old)) - was_running, text
    assert _named(commands, r"^docker stop .*?(\S+)$") == was_running & set(new) - running, text
    assert _named(commands, r"^docker rm .*?(\S+)$") == set(old) - set(new), text
    assert _named(commands, r"^docker pull (\S+)$") == set(after["images"]) - set(before["images"]), text
    assert _named(commands, r"^docker rmi (\S+)$") == set(before["images"]) - set(after["images"]), text
    assert _named(commands, r"^docker network create (\S+)$") == set(after["networks"]) - set(before["networks"]), text
    return text


def _assert_switched(kind, steps, host, version):
    commands = _commands(steps, host)
    if kind in (NGINX, HAPROXY, TRAEFIK):
        _assert_told(kind, steps, host)
        return
    target = rf"\$\(docker ps -aq -f name=\^{re.escape(container(version))}\$\):80"
    if kind == KAMAL:
        wanted = r"^docker exec kamal-proxy kamal-proxy deploy shop-web --target=(\S+|\$\(.*?\)\S+) --"
    else:
        wanted = r"touch .* shop-web (\S+|\$\(.*\)\S+)$"
    found = [match[1] for command in commands if (match := re.search(wanted, command, re.S))]
    assert len(found) == 1, commands
    assert re.fullmatch(target, found[0]) or re.fullmatch(r"[0-9a-f]{12}:80", found[0]), found


def _assert_told(kind, steps, host):
    """The switch is listed: the service's file with its target, and the command that makes it count."""
    files = [change for step in steps for each in step["hosts"] if each["host"] == host for change in each["changes"]
             if change["kind"] == "file" and "shop-web." in change["path"]]
    assert files and all(change["state"] in ("new", "changed") for change in files), files
    counts = {NGINX: r"^docker exec nginx nginx -c \S+ -s reload$",
              HAPROXY: r"set server shop-web/\w+ addr |^docker kill --signal USR2 haproxy$"}.get(kind)  # Traefik watches its files
    commands = _commands(steps, host)
    assert counts is None or any(re.search(counts, command, re.S) for command in commands), commands


def _plan_then_run(kind):
    with Lab(hosts=2) as lab:
        project = Project(lab, kind=kind, more=SETTINGS)
        listed = []
        for command, version in (("deploy", "v1"), ("deploy", "v2"), ("deploy", "v3"), ("rollback", "v2")):
            args = ["--version", version] if command == "deploy" else []
            before = snapshots(lab.hosts)
            steps, _ = _plan(project, command, *args)
            result = project.good(command, *args, env=ENV)
            after = snapshots(lab.hosts)
            assert_serving(lab.hosts, version, result)
            for host in lab.hosts:
                _assert_planned(steps, before[host.name], after[host.name], (host.name, command, version))
                _assert_switched(kind, steps, host.name, version)
            listed.append(f"{command} {version}: {len(_commands(steps, 'h1'))} changes of h1")
            names = [step["step"] for step in steps]
            journal = [step["name"] for step in project.history()[0]["steps"]]
            assert names == journal, (names, journal)
        # What is there already: no change, and 0.
        steps, result = _plan(project, "deploy", "--version", "v2", code=0)
        assert all(not _commands(steps, host.name) for host in lab.hosts), result
        shown = project.good("deploy", "--version", "v2", "--plan", env=ENV)
        assert shown.out.rstrip().endswith("no changes"), shown
        # Commands inside containers are recorded even where the recipe's command is one that reads.
        with Untouched(project):
            asked = project.run("exec", "--plan", "--exit-code", "--", "rm", "-rf", "/", env=ENV)
        assert asked.code == 6 and f"docker exec {container('v2')} rm -rf /" in asked.out, asked
        # A project that never ran has no journal, and a plan makes none.
        fresh = Project(lab, kind=kind, more=SETTINGS)
        _plan(fresh, "deploy", "--version", "v4")
        assert not (fresh.folder / ".deployrun").exists()
    return "\n".join(listed)


def test_a_plan_touches_nothing_and_is_what_happens_behind_kamal_proxy():
    return _plan_then_run(KAMAL)


def test_a_plan_touches_nothing_and_is_what_happens_behind_traefik():
    return _plan_then_run(TRAEFIK)


test_a_plan_touches_nothing_and_is_what_happens_behind_kamal_proxy.timeout = 600
test_a_plan_touches_nothing_and_is_what_happens_behind_traefik.timeout = 600

if FULL:  # in CI test_proxies.py deploys behind all five
    def test_a_plan_touches_nothing_and_is_what_happens_behind_the_others():
        for kind in (CADDY, NGINX, HAPROXY):
            _plan_then_run(kind)

    test_a_plan_touches_nothing_and_is_what_happens_behind_the_others.timeout = 1800


THIRD_PARTY = """\
local deploy = require "deploy"
local host = deploy.host { address = "%(address)s", name = "h1", user = "root", keys = { "%(key)s" },
  known_hosts = "%(known_hosts)s", config = false }

deploy.command "prepare" {
  run = function(run)
    local found = run:step("look", { on = host, reads = true, run = function()
      return { kernel = host:exec({ "uname", "-s" }).stdout, before = host:read("/etc/motd-of-ours") }
    end })[host]
    run:step("write", { on = host, run = function()
      host:write("/etc/motd-of-ours", "hello from " .. found.kernel:gsub("%%s+$", "") .. "\\nsecond line\\n")
      host:write("/etc/token-of-ours", deploy.secrets.from_env("SHOP_TOKEN"), { mode = "0600" })
      host:exec { "touch", "/root/with a space" }
      host:exec("echo $HOME > /root/by-the-shell")
      host:remove("/etc/goes-away")
      assert(host:stat("/etc/goes-away") == nil)
      return { read_back = host:read("/etc/motd-of-ours") }
    end })
    run:step("containers", { on = host, run = function()
      host.docker:pull("%(image)s")
      local made = host.docker:create { image = "%(image)s", name = "side", env = { PORT = 8080 } }
      host.docker:start(made.id)
      assert(host.docker:inspect("side").running)
      host.docker:exec("side", { "true" })
      host.docker:create_network("side-net")
      host.docker:connect_network("side-net", "side")
      host.docker:rename("side", "other")
      host.docker:stop("other", "1s")
      return { id = made.id }
    end })
  end,
}
"""


def test_a_plan_of_a_third_party_recipe():
    with Lab(hosts=1) as lab:
        host = lab.hosts[0]
        host.machine.run(["sh", "-c", "printf 'old words\\nsecond line\\n' > /etc/motd-of-ours; touch /etc/goes-away"])
        project = Project(lab)
        project.recipe.write_text(THIRD_PARTY % {"address": host.address, "key": lab.keys.client["ed25519"],
                                                 "known_hosts": lab.known_hosts, "image": lab.image("app:v1")})
        before = host.snapshot()
        etc = host.machine.run(["sh", "-c", "ls -l --time-style=full-iso /etc"]).stdout
        steps, result = _plan(project, "prepare")
        assert host.machine.run(["sh", "-c", "ls -l --time-style=full-iso /etc"]).stdout == etc
        changes = [change for step in steps for each in step["hosts"] for change in each["changes"]]
        motd = changes[0]
        assert motd["path"] == "/etc/motd-of-ours" and motd["state"] == "changed", motd
        assert motd["diff"].splitlines()[1:] == ["-old words", "+hello from Linux", " second line"], motd
        assert changes[1]["content"] == "[secret:SHOP_TOKEN]" and "diff" not in changes[1], changes[1]
        image = lab.image("app:v1")
        assert _commands(steps, "h1")[2:] == [
            "touch '/root/with a space'", "echo $HOME > /root/by-the-shell", "rm -f /etc/goes-away",
            f"docker pull {image}", f"docker run --detach --name side --env PORT=8080 {image}",
            "docker exec side true", "docker network create side-net", "docker network connect side-net side",
            "docker rename side other", "docker stop --time 1 other"], result
        assert_same(before, host.snapshot(), result)
        # Pasted into a shell on the host, the listed commands do what the run does.
        for command in _commands(steps, "h1")[2:]:
            if not command.startswith("docker exec"):  # the image has nothing that ends with 0
                host.machine.run(["sh", "-c", command])
        by_hand = host.snapshot()
        host.reset()
        host.machine.run(["sh", "-c", "rm '/root/with a space' /root/by-the-shell; touch /etc/goes-away"])
        project.good("prepare", env=ENV)
        assert host.exists("/root/with a space") and host.read("/root/by-the-shell") == "/root\n"
        assert not host.exists("/etc/goes-away")
        ran = host.snapshot()
        for one in (by_hand["containers"]["other"], ran["containers"]["other"]):
            del one["restart"]  # "no" for the command, "" for the Engine API, which means the same
        assert_same(by_hand, ran)


SPEC = """\
local test = require "test"

local function shop()
  return test.rehearse { recipe = "recipes/prod.lua", hosts = test.recorded "hosts.json",
    secrets = { SHOP_TOKEN = "[secret:SHOP_TOKEN]" } }
end

test.it("does what the plan said", function()
  local result = shop():run("deploy", { version = "v3" })
  test.equal(table.concat(result:commands("h1"), "\\n"), %(commands)s)
end)

test.it("gives traffic back where one server refuses it", function()
  local prod = shop()
  local result = prod:run("deploy", { version = "v3" }, { fail = { step = "switch traffic", host = "h2", after = true } })
  test.equal(result.state, "failed_undone")
  test.equal(prod:containers("h2")["shop-web-v2"], "running")
  test.equal(prod:containers("h2")["shop-web-v3"], nil)
  test.equal(prod:run("deploy", { version = "v3" }).state, "done")
  test.equal(prod:containers("h2")["shop-web-v2"], "exited")
end)
"""


def test_recorded_hosts_are_what_a_spec_sees():
    """A plan writes what it found; a spec rehearses the same command on it and comes to the same commands."""
    with Lab(hosts=2) as lab:
        for kind in (KAMAL, CADDY):
            project = Project(lab, kind=kind, more=SETTINGS)
            project.deploy("v1", env=ENV)
            project.deploy("v2", env=ENV)
            result, events = project.events("deploy", "--version", "v3", "--plan", "--record", "hosts.json", env=ENV)
            assert result.code == 0, result
            recorded = project.folder / "hosts.json"
            assert SECRET not in recorded.read_text() and recorded.stat().st_mode & 0o077 == 0
            commands = "\n".join(change.get("command") or f"write {change['path']}" for step in events
                                 if step["type"] == "plan.step" for each in step["hosts"] if each["host"] == "h1"
                                 for change in each["changes"])
            (project.folder / "shop_test.lua").write_text(SPEC % {"commands": json.dumps(commands)})
            before = [connections(host) for host in lab.hosts]
            result = lab.deployrun(["test", "shop_test.lua"], cwd=project.folder)
            assert result.code == 0 and "2 passed, 0 failed" in result.out, result
            assert [connections(host) for host in lab.hosts] == before  # nobody is asked any more
            for host in lab.hosts:
                host.reset()


def test_the_demo_can_be_planned():
    with Lab(hosts=1) as lab:
        host = lab.hosts[0]
        for name, wanted in (("app:v1", "deployrun-demo:v1"), ("app:v2", "deployrun-demo:v2"),
                             ("kamal-proxy:v0.9.2", "deployrun-demo-proxy:1")):
            host.engine.pull(lab.image(name))
            host.machine.run(["docker", "tag", lab.image(name), lab.image(wanted)])
            host.machine.run(["docker", "push", lab.image(wanted)])
            host.machine.run(["docker", "rmi", lab.image(wanted)])
        before = host.snapshot()
        result = lab.deployrun([ROOT / "recipes/demo.lua", "--plan", "--exit-code", "--port", "8099", "--registry",
                                lab.registry_address], cwd=lab.scratch(),
                               env={"DOCKER_HOST": f"unix://{host.engine.socket_path}"})
        assert result.code == 6, result
        for words in ("docker run --detach --name deployrun-demo-web-v1 ", "--name deployrun-demo-web-v2 ",
                      "docker stop --time 10 deployrun-demo-web-v1", "10 changes pending; nothing was changed"):
            assert words in result.out, (words, result)
        assert_same(before, host.snapshot(), result)


def _error(events):
    return next(event["error"] for event in events if event["type"] == "error")


def test_errors_of_a_plan_are_those_of_the_run():
    with Lab(hosts=2) as lab:
        project = Project(lab, more=SETTINGS)
        project.deploy("v1", env=ENV)
        for command, *args in (("rollback",), ("rollback", "--version", "v7"), ("deploy", "--version", "v404")):
            with Untouched(project):
                planned, told = project.events(command, *args, "--plan", env=ENV)
            ran, happened = project.events(command, *args, env=ENV)
            assert planned.code == ran.code == 1, (planned, ran)
            for field in ("kind", "step"):
                assert _error(told)[field] == _error(happened)[field], (planned, ran)
            finished = next(event for event in told if event["type"] == "plan.finished")
            assert finished["state"] == "failed" and finished["exit_code"] == 1, planned
        lab.hosts[1].stop_sshd()
        result = project.run("deploy", "--version", "v2", "--plan", env=ENV)
        assert result.code == 4, result

"""recipes/prod.lua on three servers under load: good versions, bad ones, going back, and what people see of it."""

import base64
import json
import re
import threading

from labkit import Lab, processes
from mirror import Mirror
from prodkit import (CADDY, FULL, HAPROXY, KAMAL, NGINX, STEADY, TRAEFIK, Project, assert_same, assert_serving, container, differences,
                     seconds_line, snapshots, summary_line)

ROUNDS = 10 if FULL else 2  # each: two deploys and one rollback


def versions():
    """v2 … v9, v1, v2 … without end."""
    number = 1
    while True:
        number = number % 9 + 1
        yield f"v{number}"


# --- no request is lost

def _ship_and_go_back(kind):
    """20 deploys and 10 rollbacks (in CI 4 and 2) under load."""
    times = {"deploy": [], "rollback": []}
    with Lab(hosts=3) as lab:
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
        assert len(summary["by_version"]) >= (9 if FULL else 1 + 2 * ROUNDS), summary
        assert all(summary["by_kind"][name]["requests"] > 0 for name in ("fresh", "keepalive", "upload", "slow")), summary
    return "\n".join([summary_line(summary), *(seconds_line(name, found) for name, found in times.items())])


def test_no_request_is_lost_behind_kamal_proxy():
    return _ship_and_go_back(KAMAL)


def test_no_request_is_lost_behind_caddy():
    return _ship_and_go_back(CADDY)


def test_no_request_is_lost_behind_nginx():
    return _ship_and_go_back(NGINX)


def test_no_request_is_lost_behind_haproxy():
    return _ship_and_go_back(HAPROXY)


def test_no_request_is_lost_behind_traefik():
    return _ship_and_go_back(TRAEFIK)


for _test in (test_no_request_is_lost_behind_kamal_proxy, test_no_request_is_lost_behind_caddy,
              test_no_request_is_lost_behind_nginx, test_no_request_is_lost_behind_haproxy,
              test_no_request_is_lost_behind_traefik):
    _test.timeout = 2400 if FULL else 600
    _test.alone = True  # beside others the machine, not the proxy, would be what keeps large uploads waiting


NAIVE = """\
local deploy = require "deploy"

deploy.command "deploy" {
  params = { old = {}, new = {} },
  run = function(run)
    run:step("stop the old one, start the new one", {
      on = deploy.app("recipes/prod.yml").hosts,
      run = function(host)
        host.docker:stop(run.old)
        host.docker:start(run.new)
      end,
    })
  end,
}
"""


def test_the_load_notices_a_deploy_that_loses_requests():
    """The same load, hosts and program with a recipe that does it the wrong way round: what 0 is worth above."""
    with Lab(hosts=3) as lab:
        project = Project(lab)
        project.deploy("v1")
        project.deploy("v2")
        (project.folder / "recipes/naive.lua").write_text(NAIVE)
        with lab.load(**STEADY) as load:
            result = lab.deployrun(["recipes/naive.lua", "deploy", "--old", container("v2"), "--new", container("v1")],
                                   cwd=project.folder)
            assert result.code == 0, result
            summary = load.stop()
        assert summary["failed"] > 0, summary
    return summary_line(summary)


# --- a bad version on one server

def _check_story(kind, result):
    """The error names the server and says what was seen: probes, exit code, last log lines."""
    text = result.out + result.err
    assert re.search(r"^error: ", text, re.M), result
    assert re.search(r"^  in +h2\b", text, re.M), result
    log = re.search(r"^  log +\| .*", text, re.M)
    assert log and "starting version" in text, result
    if kind in ("crash", "crash-boot"):
        assert "exit code 3" in text, result
        assert "| " in text and "fatal: cannot reach the database, giving up" in text, result
        return
    probes = re.search(r"^  probes +(.*)", text, re.M)
    assert probes, result
    expected = {"unhealthy": "500", "wrong-port": "connect failed", "redirect": "301", "slow-boot": "connect failed",
                "slow-health": "time|timed out|no answer"}[kind]
    assert re.search(expected, probes.group(1)), (expected, probes.group(0), result)


BAD = ["crash", "crash-boot", "unhealthy", "wrong-port", "redirect", "slow-boot", "slow-health"]


def _bad_versions(proxy, kinds=BAD):
    """The second of three servers gets an image that is bad in one way after the other; the load goes on through all."""
    seen = []
    with Lab(hosts=3) as lab:
        project = Project(lab, kind=proxy, deadline="6s", more="stop_timeout: 2s\n")
        project.deploy("v1")
        mirror = Mirror(lab, lab.hosts[1])
        with mirror, lab.load(**{**STEADY, "slow_ms": 1000}) as load:
            before = snapshots(lab.hosts)
            for number, kind in enumerate(kinds, 2):
                mirror.offer(kind, f"v{number}")
                result = project.run("deploy", "--version", f"v{number}")
                assert result.code == 1, (kind, result)
                assert_serving(lab.hosts, "v1", result)
                assert_same(before, snapshots(lab.hosts), result)
                _check_story(kind, result)
                seen.append(f"{kind}: exit 1 after {result.seconds:.1f} s")
            summary = load.stop()
        assert summary["failed"] == 0, summary
        assert list(summary["by_version"]) == ["v1"], summary
        assert [record["state"] for record in project.history()] == ["failed_undone"] * len(kinds) + ["done"]
        # What was bad was the image on that server alone: without it the same version ships.
        assert_serving(lab.hosts, "v2", project.deploy("v2"))
        # And what took it back was the recipe's undo: without it the same failure leaves its traces.
        project.recipe.write_text(re.sub(r"^ +undo = .*\n", "", project.recipe.read_text(), flags=re.M))
        before = snapshots(lab.hosts)
        with mirror:
            assert project.run("deploy", "--version", "v3").code == 1
        assert differences(before, snapshots(lab.hosts))
    return "\n".join([summary_line(summary), *seen])


def test_a_bad_version_on_one_server_changes_nothing():
    return _bad_versions(KAMAL)


test_a_bad_version_on_one_server_changes_nothing.alone = True


if FULL:
    def test_a_bad_version_on_one_server_changes_nothing_behind_the_others():
        return "\n".join(_bad_versions(proxy) for proxy in (CADDY, NGINX, HAPROXY, TRAEFIK))

    test_a_bad_version_on_one_server_changes_nothing_behind_the_others.alone = True
    test_a_bad_version_on_one_server_changes_nothing_behind_the_others.timeout = 1800


# --- a second time, and many times

CHANGES = {"container": ("create", "start", "stop", "die", "kill", "destroy", "rename", "restart", "pause", "unpause"),
           "image": ("tag", "untag", "delete", "load", "import"), "network": ("create", "connect", "disconnect", "destroy"),
           "volume": ("create", "destroy")}


CHANGING_STEPS = {"see to the proxy", "pull the image", "start the new version", "switch traffic", "retire the old version",
                  "let go of the oldest"}


def engine_time(host):
    return host.machine.run(["date", "+%s.%N"]).stdout.strip()


def changes_since(host, begin):
    """What the engine itself says was changed since then: `container start shop-web-v1`."""
    events = host.engine.call("GET", f"/events?since={begin}&until={engine_time(host)}") or []
    return [f"{event['Type']} {event['Action']} {event['Actor']['Attributes'].get('name', event['Actor']['ID'])}"
            for event in (events if isinstance(events, list) else [events])
            if event["Action"] in CHANGES.get(event["Type"], ())]


def _deploy_again(kind):
    with Lab(hosts=2) as lab:
        project = Project(lab, kind=kind)
        begin = {host.name: engine_time(host) for host in lab.hosts}
        project.deploy("v1")
        for host in lab.hosts:
            assert f"container start {container('v1')}" in changes_since(host, begin[host.name])
        before = snapshots(lab.hosts)
        begin = {host.name: engine_time(host) for host in lab.hosts}
        result, events = project.events("deploy", "--version", "v1")
        assert result.code == 0, result
        assert_same(before, snapshots(lab.hosts), result)
        changed = {host.name: changes_since(host, begin[host.name]) for host in lab.hosts}
        assert not any(changed.values()), changed
        finished = [event for event in events if event["type"] == "task.finished"]
        said = {event["step"] for event in finished if event["state"] == "unchanged"}
        assert said and {event["state"] for event in finished if event["step"] in said} == {"unchanged"}, result
        claimed = {event["step"] for event in finished if event["state"] == "done"}
        assert not claimed & CHANGING_STEPS, claimed
        return f"unchanged: {', '.join(sorted(said))}; {result.seconds:.2f} s"


def test_a_second_deploy_changes_nothing_behind_kamal_proxy():
    return _deploy_again(KAMAL)


def test_a_second_deploy_changes_nothing_behind_caddy():
    return _deploy_again(CADDY)


if FULL:  # in CI a plan says so: test_plan.py
    def test_a_second_deploy_changes_nothing_behind_nginx():
        return _deploy_again(NGINX)

    def test_a_second_deploy_changes_nothing_behind_haproxy():
        return _deploy_again(HAPROXY)

    def test_a_second_deploy_changes_nothing_behind_traefik():
        return _deploy_again(TRAEFIK)


def test_five_stopped_releases_are_kept():
    with Lab(hosts=1) as lab:
        host = lab.hosts[0]
        project = Project(lab)
        for number in range(1, 9):
            project.deploy(f"v{number}")
        states = {name: found["state"] for name, found in host.snapshot()["containers"].items()
                  if found["labels"].get("service") == "shop"}
        assert states == {**{container(f"v{n}"): "exited" for n in range(3, 8)}, container("v8"): "running"}, states
        result = project.run("rollback", "--version", "v2")
        assert result.code != 0 and "v2" in result.out + result.err, result
        assert_serving(lab.hosts, "v8", result)
        project.good("rollback", "--version", "v3")
        assert_serving(lab.hosts, "v3")


# --- what people see

def test_status_logs_exec_and_history():
    with Lab(hosts=3) as lab:
        project = Project(lab)
        project.deploy("v1")
        project.deploy("v2")
        project.good("rollback")

        before = snapshots(lab.hosts)
        status = project.good("status")
        for host in lab.hosts:
            assert re.search(rf"^{host.name} +web +v1 \(running\), kept: v2$", status.out, re.M), status
        logs = project.good("logs")
        for host in lab.hosts:
            assert re.search(rf"^{host.name}\b.*starting version v1", logs.out, re.M), logs
        # The image has one program, and a second server on its port says so and ends.
        answer = project.run("exec", "--", "/demo_app")
        assert answer.code == 1, answer
        for host in lab.hosts:
            assert re.search(rf"^{host.name}\b.*cannot listen on port 80", answer.out + answer.err, re.M), answer
        assert_same(before, snapshots(lab.hosts))

        records = project.history()
        assert [record["command"] for record in records] == ["rollback", "deploy", "deploy"], records
        assert {record["state"] for record in records} == {"done"}, records
        assert [record["parameters"].get("version") for record in records[1:]] == ["v2", "v1"], records
        text = lab.deployrun(["history"], cwd=project.folder)
        assert text.code == 0 and len(text.out.splitlines()) == 3, text
        assert re.search(r"\bdone\b.*recipes/prod\.lua deploy version=v2", text.out), text
    return f"status:\n{status.out}history:\n{text.out}"


# --- secrets

# The app prints its VERSION when it starts: a secret that comes back in logs.
SECRETS = {"VERSION": "correct-horse/battery+staple", "REGISTRY_PASSWORD": "hunter2-lab-registry-42"}
WITH_SECRETS = """\
registry:
  username: lab
  password: REGISTRY_PASSWORD
env:
  clear: { SHOP_COLOUR: turquoise-canary }
  secret: [VERSION]
"""


def forms(value):
    raw = value.encode()
    percent = "".join(c if c.isalnum() or c in "-._~" else f"%{ord(c):02X}" for c in value)
    return {raw, base64.b64encode(raw), base64.urlsafe_b64encode(raw), percent.encode(), json.dumps(value).encode()[1:-1]}


class CommandLines(threading.Thread):
    """Collects every command line that runs on the hosts, looked at without pause."""

    def __init__(self, hosts):
        super().__init__(daemon=True)
        self._roots = [host.machine.root / "proc" for host in hosts]
        self._ending = threading.Event()
        self.seen = set()

    def run(self):
        while not self._ending.is_set():
            for root in self._roots:
                self.seen.update(processes.command_lines(root).values())

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self._ending.set()
        self.join()


def files_with(host, needles):
    """Files of a host that hold one of the needles, outside the engine's own records of its containers."""
    found = host.machine.run(["grep", "-rlF", "--exclude-dir=docker", "-f", "-", "/root", "/home", "/tmp", "/etc", "/run",
                              "/var/log", "/var/tmp"], check=False, stdin="\n".join(n.decode() for n in needles))
    return found.stdout.split()


def test_secrets_reach_the_app_and_nothing_else():
    needles = {form for value in SECRETS.values() for form in forms(value)}
    with Lab(hosts=2, sshd=["AllowStreamLocalForwarding no"]) as lab:  # so that commands run on the hosts at all
        project = Project(lab, deadline="6s", more=WITH_SECRETS)
        place = project.folder / ".deployrun"
        place.mkdir(mode=0o700)
        (place / "secrets").write_text("".join(f"{name}='{value}'\n" for name, value in SECRETS.items()))
        (place / "secrets").chmod(0o600)
        with CommandLines(lab.hosts) as lines:
            results = [project.good("deploy", "--version", "v1", "-vv"),
                       project.run("deploy", "--version", "v2", "--json"),
                       project.run("deploy", "--version", "unhealthy", "-vv"),
                       project.run("deploy", "--version", "nowhere"),
                       project.good("status"), project.good("logs"), lab.deployrun(["history"], cwd=project.folder)]
        assert [result.code for result in results] == [0, 0, 1, 1, 0, 0, 0], results
        for host in lab.hosts:
            env = host.engine.get(f"/containers/{container('v2')}/json")["Config"]["Env"]
            assert f"VERSION={SECRETS['VERSION']}" in env and "SHOP_COLOUR=turquoise-canary" in env, env
            assert f"starting version {SECRETS['VERSION']}" in host.engine.logs(container("v2"))

        for shown in (r"POST /v1\.\d+/containers/create\?name=\S+  201, \d+ ms, \d+ bytes out, \d+ in",
                      r"GET /v1\.\d+/containers/\S+  200, \d+ ms, 0 bytes out, \d+ in",
                      r"SSH to \S+: connected, \d+ ms", r"SSH to \S+: closed after \d+ round trips, \d+ bytes out"):
            assert re.search(shown, results[0].out), (shown, results[0].out)
        for result in (results[2], results[5]):  # what the app said of it is shown, without it
            assert "starting version [secret:VERSION]" in result.out, result
        for result in results:
            assert not any(needle in (result.out + result.err).encode() for needle in needles), result
        kept = [path for path in place.rglob("*") if path.is_file() and path.name != "secrets"]
        journal = b"".join(path.read_bytes() for path in kept)
        assert container("v2").encode() in journal, kept
        assert not any(needle in journal for needle in needles)
        assert any(b"dial-stdio" in line for line in lines.seen), "the watch saw no command of ours"
        assert not any(needle in line for line in lines.seen for needle in needles)
        for host in lab.hosts:
            assert files_with(host, [b"AllowStreamLocalForwarding no"]), "the search finds nothing at all"
            assert files_with(host, needles) == []

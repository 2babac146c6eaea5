"""What a release is made of: several roles on a server, other settings for the same version, secrets that changed."""

import re
import signal
import urllib.request

from labkit import Lab, wait_until
from prodkit import (CADDY, FULL, HAPROXY, KAMAL, NGINX, TRAEFIK, Project, assert_same, assert_serving, container,
                     serving, snapshots)

ROLES = """\
roles:
  web: {{ hosts: [{{ address: {0}, name: h1 }}, {{ address: {1}, name: h2 }}] }}
  jobs: {{ hosts: [{{ address: {1}, name: h2 }}], env: {{ clear: {{ PORT: 8080 }} }} }}
"""


def _with_roles(project, hosts):
    text = project.inventory.read_text()
    start, end = text.index("hosts:\n"), text.index("ssh:\n")
    project.inventory.write_text(text[:start] + ROLES.format(*(host.address for host in hosts)) + text[end:])


def _answered_by(host):
    with urllib.request.urlopen(host.url + "/version", timeout=10) as answer:
        return answer.read().decode().strip()


def _states(host):
    return {name: found["state"] for name, found in host.snapshot()["containers"].items() if name.startswith("shop-")}


def test_a_role_without_proxy_follows_the_version():
    with Lab(hosts=2) as lab:
        project = Project(lab)
        _with_roles(project, lab.hosts)
        project.deploy("v1")
        project.deploy("v2")
        assert_serving(lab.hosts, "v2")
        assert _states(lab.hosts[0]) == {container("v1"): "exited", container("v2"): "running"}
        assert _states(lab.hosts[1]) == {container("v1"): "exited", container("v2"): "running",
                                         container("v1", "jobs"): "exited", container("v2", "jobs"): "running"}
        before = snapshots(lab.hosts)
        bad = project.run("deploy", "--version", "crash")  # the worker ends too, and it has no health to be asked
        assert bad.code == 1 and "exit code 3" in bad.out + bad.err, bad
        assert_same(before, snapshots(lab.hosts), bad)
        project.good("rollback")
        assert_serving(lab.hosts, "v1")
        assert _states(lab.hosts[1])[container("v1", "jobs")] == "running"
        assert _states(lab.hosts[1])[container("v2", "jobs")] == "exited"


def test_other_settings_make_another_release_of_the_same_version():
    with Lab(hosts=2) as lab:
        project = Project(lab, more="env: { clear: { COLOUR: red }, secret: [SHOP_TOKEN] }\n")
        first = {"SHOP_TOKEN": "the-first-token-of-all"}
        project.deploy("v1", env=first)
        ids = [host.engine.get(f"/containers/{container('v1')}/json")["Id"] for host in lab.hosts]
        with lab.load(rate=100) as load:
            project.deploy("v1", env=first)
            assert [host.engine.get(f"/containers/{container('v1')}/json")["Id"] for host in lab.hosts] == ids
            for settings, env, expected in (("COLOUR: red", {"SHOP_TOKEN": "a-rotated-token-instead"}, "a-rotated-token"),
                                            ("COLOUR: blue", {"SHOP_TOKEN": "a-rotated-token-instead"}, "COLOUR=blue")):
                project.inventory.write_text(re.sub("COLOUR: [a-z]+", settings, project.inventory.read_text()))
                project.deploy("v1", env=env)
                for index, host in enumerate(lab.hosts):
                    found = host.engine.get(f"/containers/{container('v1')}/json")
                    assert found["Id"] != ids[index], "the old container serves on"
                    ids[index] = found["Id"]
                    assert any(expected in entry for entry in found["Config"]["Env"]), found["Config"]["Env"]
                    assert serving(host) == container("v1")
                    assert _states(host) == {container("v1"): "running"}
            summary = load.stop()
        assert summary["failed"] == 0, summary


def test_a_bad_setting_of_the_same_version_is_taken_back():
    with Lab(hosts=2) as lab:
        project = Project(lab, deadline="6s", more="env: { clear: { HEALTH_STATUS: 200 } }\n")
        project.deploy("v1")
        before = snapshots(lab.hosts)
        with lab.load(rate=100) as load:
            project.replace(project.inventory, "HEALTH_STATUS: 200", "HEALTH_STATUS: 500")
            bad = project.run("deploy", "--version", "v1")
            assert bad.code == 1 and "500" in bad.out + bad.err, bad
            assert_same(before, snapshots(lab.hosts), bad)
            summary = load.stop()
        assert summary["failed"] == 0, summary


def test_a_kept_version_is_released_anew():
    """Deployed again, a version that is kept is a new release: it comes after what served, not before."""
    with Lab(hosts=1) as lab:
        project = Project(lab)
        for version in ("v1", "v2", "v1"):
            project.deploy(version)
            assert_serving(lab.hosts, version)
        assert _states(lab.hosts[0]) == {container("v1"): "running", container("v2"): "exited"}
        project.good("rollback")
        assert_serving(lab.hosts, "v2")
        nothing = project.run("rollback")
        assert nothing.code == 1 and "no older release" in nothing.out + nothing.err, nothing
        assert_serving(lab.hosts, "v2")


def _requests_outlive_a_kill(kind):
    """Requests longer than a container's grace: the fresh process has to wait for them as the killed one would have."""
    with Lab(hosts=1) as lab:
        host = lab.hosts[0]
        project = Project(lab, kind=kind, more="stop_timeout: 2s\n")
        project.deploy("v1")
        with lab.load(rate=20, slow_every="1s", slow_ms=6000) as load:
            for version, mode, expected in (("v2", "resume", "v2"), ("v3", "abort", "v2")):
                deploy = project.start("deploy", "--version", version)
                wait_until(lambda: _answered_by(host) == version, 60, f"traffic goes to {version}")
                deploy.signal(signal.SIGKILL)
                deploy.wait()
                settled = lab.deployrun(["recipes/prod.lua", f"--{mode}"], cwd=project.folder)
                assert settled.code == 0, settled
                assert_serving(lab.hosts, expected, settled)
            summary = load.stop()
        assert summary["failed"] == 0, summary
        assert summary["by_kind"]["slow"]["requests"] > 5, summary


def test_requests_outlive_a_kill_behind_kamal_proxy():
    _requests_outlive_a_kill(KAMAL)


def test_requests_outlive_a_kill_behind_caddy():
    _requests_outlive_a_kill(CADDY)


if FULL:
    def test_requests_outlive_a_kill_behind_nginx():
        _requests_outlive_a_kill(NGINX)

    def test_requests_outlive_a_kill_behind_haproxy():
        _requests_outlive_a_kill(HAPROXY)

    def test_requests_outlive_a_kill_behind_traefik():
        _requests_outlive_a_kill(TRAEFIK)

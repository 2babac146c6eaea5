"""recipes/kamal.lua: a Kamal project on two servers with the real kamal-proxy, under load where traffic must not be lost."""

import base64

from kamalkit import Project, containers, running
from labkit import Lab
from prodkit import summary_line


def _check_container(host):
    """What `docker run` of Kamal 2.12 would have made (KAMAL.md C1, C3)."""
    raw = host.engine.get("/containers/shop-workers-v1/json")
    config, wanted = raw["Config"], raw["HostConfig"]
    env = dict(line.split("=", 1) for line in config["Env"])
    assert env["KAMAL_CONTAINER_NAME"] == "shop-workers-v1" and env["KAMAL_VERSION"] == "v1", env
    assert env["KAMAL_HOST"] == host.address and env["GREETING"] == "hello there", env
    assert env["API_TOKEN"] == 'token $x "q"', env
    labels = config["Labels"]
    assert (labels["service"], labels["role"], labels["destination"]) == ("shop", "workers", ""), labels
    assert config["Hostname"].startswith(host.address + "-"), config["Hostname"]
    assert wanted["NetworkMode"] == "kamal" and wanted["RestartPolicy"]["Name"] == "unless-stopped", wanted
    assert wanted["LogConfig"]["Config"] == {"max-size": "10m"} and wanted["Memory"] == 256 << 20, wanted
    assert host.read("/root/.kamal/apps/shop/env/roles/web.env") == 'API_TOKEN=token $x "q"\n'
    assert "Booted app version v1" in host.read("/root/.kamal/shop-audit.log")


def test_a_kamal_project_from_setup_to_prune():
    with Lab(hosts=2) as lab:
        first, second = lab.hosts
        project = Project(lab)
        project.good("setup", "-P", "--version", "v1")
        _check_container(first)
        assert list(containers(first, service="shop-cache")) == ["shop-cache"]
        assert running(second) == ["shop-web-v1"] and running(second, "workers") == []
        assert not first.exists("/root/.kamal/lock-shop")
        assert (project.folder / "hooks.log").read_text() == 'setup v1 false token $x "q"\n'
        latest = {host.engine.get(f"/images/{lab.image('shop')}:latest/json")["Id"] for host in lab.hosts}
        assert latest == {first.engine.get(f"/images/{lab.image('shop')}:v1/json")["Id"]}
        with lab.load(rate=200) as load:
            project.good("deploy", "-P", "--version=v2")
            assert [running(host) for host in lab.hosts] == [["shop-web-v2"], ["shop-web-v2"]]
            project.good("redeploy", "-P", "--version=v2")  # the same version again: the old one is set aside
            bad = project.run("deploy", "-P", "--version", "unhealthy")
            assert bad.code == 1 and "did not become healthy" in bad.err + bad.out, bad
            assert [running(host) for host in lab.hosts] == [["shop-web-v2"], ["shop-web-v2"]], bad
            assert running(first, "workers") == ["shop-workers-v2"], bad
            assert not first.exists("/root/.kamal/lock-shop"), bad
            project.good("rollback", "v1")
            assert [running(host) for host in lab.hosts] == [["shop-web-v1"], ["shop-web-v1"]]
            summary = load.stop()
        assert summary["failed"] == 0, summary
        assert project.good("running", "-q").out.split() == ["v1", "v1"]
        _check_commands(lab, project)
        return summary_line(summary)


def _check_commands(lab, project):
    first, _ = lab.hosts
    # Kamal's own lock is respected, and told.
    details = base64.b64encode(b"Locked by: Ann at 2026-01-01T00:00:00Z\nVersion: v9\nMessage: by hand").decode()
    first.machine.run(["sh", "-c", f"mkdir -p /root/.kamal/lock-shop && echo {details} > /root/.kamal/lock-shop/details"])
    held = project.run("deploy", "-P", "--version", "v3")
    assert held.code == 3 and "Ann" in held.out + held.err, held
    assert "Locked by: Ann" in project.good("lock", "status").out
    project.good("lock", "release")
    project.good("lock", "acquire", "-m", "mine", "--version", "v3")
    assert "Message: mine" in project.good("lock", "status").out
    project.good("lock", "release")
    project.good("app", "maintenance", "--message", "back soon")
    assert "back soon" in first.machine.run(["curl", "-s", "http://127.0.0.1/"]).stdout
    project.good("app", "live")
    assert "] [workers] Booted app version v2" in project.good("audit", "-p").out
    project.good("prune", "containers", "--retain", "1")
    stopped = [one for one in containers(first, service="shop").values() if one["State"] == "exited"]
    assert len(stopped) == 1, stopped


test_a_kamal_project_from_setup_to_prune.alone = True  # 200 requests a second, and two servers' deploys

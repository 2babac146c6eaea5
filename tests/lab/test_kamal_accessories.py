"""Accessories that the proxy serves, the hidden single steps of every group, and aliases; two servers."""

from kamalkit import Project, containers, push, running
from labkit import Lab
from prodkit import summary_line

SEARCH = """accessories:
  search:
    image: {image}
    host: {host}
    env: {{ clear: {{ A: "<%= 'of a template' %>" }}, secret: [API_TOKEN] }}
    files: ["own.conf.erb:/etc/own.conf", {{ local: plain, remote: /etc/plain, mode: "0600" }}]
    directories: ["data:/data"]
    proxy: {{ host: search.test, healthcheck: {{ path: /up, interval: 1 }} }}
"""


def _asked(host, name="search.test"):
    return host.machine.run(["curl", "-s", "-H", f"Host: {name}", f"http://{host.address}/version"]).stdout.strip()


def _search(host):
    return containers(host, service="shop-search").get("shop-search")


def test_an_accessory_behind_the_proxy():
    with Lab(hosts=2) as lab:
        push(lab, "t1", "t2")
        project = Project(lab)
        first, second = lab.hosts
        (project.folder / "own.conf.erb").write_text("service <%= ENV['KIND'] || 'plain' %>\n")
        (project.folder / "plain").write_text("plain\n")
        project.configure("accessories:\n", SEARCH.format(image=lab.image("app:v2"), host=second.address))
        project.good("setup", "-P", "--version", "t1")
        assert _asked(second) == "v2" and _asked(second, "other.test") == "t1"
        assert second.snapshot()["proxy"]["shop-search"]["target"].startswith("shop-search")
        assert second.read("/root/shop-search/etc/own.conf") == "service plain\n"
        assert second.machine.run(["stat", "-c", "%a", "/root/shop-search/etc/plain"]).stdout == "600\n"
        assert second.exists("/root/shop-search/data") and not first.exists("/root/shop-search")
        env = second.engine.get("/containers/shop-search/json")["Config"]["Env"]
        assert "A=of a template" in env and 'API_TOKEN=token $x "q"' in env, env

        with lab.load(rate=100) as load:  # of the app: an accessory's comings and goings do not touch it
            project.good("accessory", "stop", "search")
            assert _asked(second) == "t1" and "shop-search" not in second.snapshot()["proxy"]  # the app takes all names
            project.good("accessory", "start", "search")
            assert _asked(second) == "v2"
            before = _search(second)["Id"]
            project.good("accessory", "restart", "search")
            assert _asked(second) == "v2" and _search(second)["Id"] == before
            project.configure(lab.image("app:v2"), lab.image("app:v3"))
            project.good("accessory", "reboot", "search")
            assert _asked(second) == "v3" and _search(second)["Id"] != before
            project.good("deploy", "-P", "--version", "t2")
            assert _asked(second) == "v3" and _asked(second, "other.test") == "t2"

            # One that never gets healthy: the old one is back, under its name and behind the proxy.
            before = _search(second)["Id"]
            project.configure("path: /up, interval: 1 }", "path: /nowhere, interval: 1 }")
            bad = project.run("accessory", "reboot", "search")
            assert bad.code == 1 and "proxy.command" in bad.out + bad.err, bad
            assert _search(second)["Id"] == before and _asked(second) == "v3", bad
            project.configure("path: /nowhere, interval: 1 }", "path: /up, interval: 1 }")

            # The hidden steps, one by one.
            project.good("accessory", "stop", "search")
            project.good("accessory", "remove_container", "search")
            assert _search(second) is None
            project.good("accessory", "remove-image", "search")
            assert lab.image("app:v3") not in second.snapshot()["images"]
            project.good("accessory", "remove_service_directory", "search")
            assert not second.exists("/root/shop-search")
            project.good("accessory", "directories", "search")
            assert second.exists("/root/shop-search/data")
            (project.folder / "plain").write_text("another\n")
            project.good("accessory", "upload", "search", )
            assert second.read("/root/shop-search/etc/plain") == "another\n"
            project.good("accessory", "pull_image", "search")
            assert lab.image("app:v3") in second.snapshot()["images"] and _search(second) is None
            project.good("accessory", "boot", "search")
            assert _asked(second) == "v3"
            project.good("accessory", "remove", "search", "-y")
            assert "shop-search" not in second.snapshot()["proxy"] and not second.exists("/root/shop-search")
            summary = load.stop()
        assert summary["failed"] == 0, summary
        return summary_line(summary)


def test_hidden_steps_and_aliases():
    with Lab(hosts=2) as lab:
        push(lab, "t1", "t2", "t3")
        project = Project(lab)
        first, second = lab.hosts
        project.configure("aliases: { running: app version }", "aliases:\n  running: app version\n  where: running -h "
                          f"{second.address}\n  say: server exec -p \"echo 'two  words'\"\n  old: app remove_container\n")
        project.good("setup", "-P", "--version", "t1")
        for version in ("t2", "t3"):
            project.good("deploy", "-P", "--version", version)

        assert project.good("running", "-q").out.split() == ["t3", "t3"]
        assert project.good("where", "-q").out.split() == ["t3"]                       # an alias of an alias
        assert project.good("where", "-q", "-h", "*").out.split() == ["t3", "t3"]      # what comes later counts
        assert "two  words" in project.good("say").out
        wrong = project.run("wher")
        assert wrong.code == 2 and "where" in wrong.out + wrong.err, wrong

        with lab.load(rate=100) as load:
            project.good("old", "t1")
            names = containers(first, role="web")
            assert "shop-web-t1" not in names and "shop-web-t2" in names, names
            project.good("app", "remove_containers")
            assert list(containers(first, role="web")) == ["shop-web-t3"] == list(containers(second, role="web"))
            project.good("app", "remove_images")
            images = first.snapshot()["images"]
            assert lab.image("shop:t3") in images and lab.image("shop:t1") not in images, images
            summary = load.stop()
        assert summary["failed"] == 0, summary
        project.good("app", "remove_app_directories")
        assert not first.exists("/root/.kamal/apps/shop") and running(first) == ["shop-web-t3"]
        project.good("app", "stop")
        project.good("proxy", "stop")
        project.good("proxy", "remove_container")
        assert "kamal-proxy" not in containers(first)
        project.good("proxy", "remove_image")
        assert lab.image("kamal-proxy:v0.9.2") not in first.snapshot()["images"]
        project.good("proxy", "remove_proxy_directory")
        assert not first.exists("/root/.kamal/proxy")
        return summary_line(summary)

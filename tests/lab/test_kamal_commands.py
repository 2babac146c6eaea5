"""Kamal's commands beside deploys, on two servers with the real kamal-proxy, each looked at there. A load runs wherever
traffic must go on."""

import json
from dataclasses import replace

from kamalkit import Kamal, Project, containers, latest, push, running, serves
from labkit import Lab, wait_until
from labkit.images import kamal_proxy_image
from labkit.paths import ROOT
from prodkit import summary_line
from terminal import Terminal

BUSYBOX = "/bin/busybox"


def _deployed(lab, *versions):
    push(lab, "t1", "t2", "t3", tools=True)
    push(lab, "1", repository="tools", tools=True)
    project = Project(lab, cache="tools:1")
    project.good("setup", "-P", "--version", versions[0])
    for version in versions[1:]:
        project.good("deploy", "-P", "--version", version)
    return project


def _throw_aways(host):
    return [name for name in containers(host) if "-exec-" in name]


def _exec(lab, project):
    first, second = lab.hosts
    said = project.good("app", "exec", f"{BUSYBOX} env").out
    assert said.count("App Host: ") == 3 and said.count("GREETING=hello there") == 3, said  # web twice, workers once
    assert "API_TOKEN=" in said and "KAMAL_VERSION" not in said, said
    assert 'token $x "q"' not in said, "a secret is masked in what commands print"
    inside = project.good("app", "exec", "--reuse", "-r", "web", "-e", "A:1", "--", BUSYBOX, "env").out
    assert inside.count("KAMAL_VERSION=t2") == 2 and inside.count("\nA=1\n") == 2, inside
    raw = project.good("app", "exec", "--raw", "--reuse", "-p", "-r", "web", f"{BUSYBOX} printf 'a\\nb'").out
    assert raw.rstrip("\n") == "a\nb", repr(raw)
    for words in (["--reuse"], []):
        bad = project.run("app", "exec", *words, "-p", f"{BUSYBOX} ls /nowhere")
        assert bad.code == 1 and "/nowhere: No such file" in bad.out + bad.err, bad
    assert project.run("app", "exec", "--detach", "--reuse", "x").code == 2
    assert [_throw_aways(host) for host in lab.hosts] == [[], []]
    project.good("app", "exec", "--detach", "-p", "-r", "web", f"{BUSYBOX} sleep 600")
    name, = _throw_aways(first)
    assert name.startswith("shop-web-exec-latest-") and _throw_aways(second) == [], name
    config = first.engine.get(f"/containers/{name}/json")
    assert config["HostConfig"]["NetworkMode"] == "kamal" and not config["Config"]["Labels"].get("role"), config
    first.engine.remove(name)
    assert "Executed cmd '/bin/busybox env' on app version latest" in project.good("audit").out


def _looks(lab, project):
    first, _ = lab.hosts
    assert project.good("app", "version").out.split().count("t2") == 2
    details = project.good("app", "details").out
    assert "shop-web-t2" in details and "shop-web-t1" not in details, details
    assert "shop-web-t1" in project.good("app", "containers").out
    images = project.good("app", "images").out
    assert lab.image("shop:t2") in images and lab.image("shop:latest") in images, images
    everything = project.good("details").out
    for word in ("Proxy Host: ", "kamal-proxy", "App Host: ", "Accessory cache Host: ", "shop-cache"):
        assert word in everything, (word, everything)
    first.machine.run(["curl", "-s", f"http://{first.address}/version"])
    for name, words in (("shop-web-t2", "GET /version"), ("kamal-proxy", '"path":"/version"')):  # written after the answer
        wait_until(lambda n=name, w=words: w in first.engine.logs(n), 60, f"{words} in the log of {name}")
    # The app writes a time of its own before each line; the engine's stands before that.
    logs = ["app", "logs", "-p", "-r", "web", "-g", "GET /version"]
    line, = [line for line in project.good(*logs, "-n", "50").out.splitlines() if "GET /version" in line][-1:]
    plain, = [line for line in project.good(*logs, "-T", "--since", "5m").out.splitlines() if "GET" in line][-1:]
    assert line.endswith(plain) and line.count("T") == plain.count("T") + 1, (line, plain)
    assert "kamal-proxy" in project.good("proxy", "details").out
    assert '"path":"/version"' in project.good("proxy", "logs", "-p", "-n", "200").out
    assert "HOME=/root" in project.good("server", "exec", "-p", "env").out
    assert project.good("version").out.strip().startswith("2."), "the version of Kamal that this stands in for"
    assert f":absolute_image: {lab.image('shop')}:t2" in project.good("config", "--version", "t2").out
    assert json.loads(project.good("secrets", "fetch", "-a", "test", "--account", "x", "A").out)


def _app_life(lab, project):
    """Boot, stale containers: under load. Then stop and start, and maintenance, where visitors notice by intent."""
    first, second = lab.hosts
    with lab.load(rate=100) as load:
        before = containers(first, role="web")["shop-web-t2"]["Id"]
        result = project.good("app", "boot")
        assert containers(first, role="web")["shop-web-t2"]["Id"] != before and running(first) == ["shop-web-t2"], result
        project.good("app", "boot", "--version", "t1")
        assert [latest(host) for host in lab.hosts] == [["t1"], ["t1"]]
        project.good("rollback", "t2")
        first.engine.call("POST", "/containers/shop-web-t1/start")
        assert "stale container shop-web-t1" in project.good("app", "stale_containers").out
        assert running(first) == ["shop-web-t1", "shop-web-t2"]
        project.good("app", "stale_containers", "--stop")
        assert running(first) == ["shop-web-t2"]
        summary = load.stop()
    assert summary["failed"] == 0, summary
    project.good("app", "maintenance", "--message", "back soon")
    assert "back soon" in first.machine.run(["curl", "-s", "http://127.0.0.1/"]).stdout
    project.good("app", "live")
    project.good("app", "stop")
    assert [running(host) for host in lab.hosts] == [[], []] and running(first, "workers") == []
    assert "shop-web" not in (first.snapshot()["proxy"] or {})
    project.good("app", "start", "--version", "t2")
    assert first.machine.run(["curl", "-s", "http://127.0.0.1/version"]).stdout == "t2\n"
    assert [running(host) for host in lab.hosts] == [["shop-web-t2"], ["shop-web-t2"]]
    return summary_line(summary)


def _accessories(lab, project):
    first, _ = lab.hosts
    with lab.load(rate=100) as load:
        before = containers(first, service="shop-cache")["shop-cache"]["Id"]
        assert "already exists" in project.good("accessory", "boot", "cache").out
        assert containers(first, service="shop-cache")["shop-cache"]["Id"] == before
        project.good("accessory", "reboot", "cache")
        after = containers(first, service="shop-cache")["shop-cache"]
        assert after["Id"] != before and after["State"] == "running", after
        assert "\nA=b\n" in project.good("accessory", "exec", "cache", "--reuse", f"{BUSYBOX} env").out
        assert "\nA=b\n" in project.good("accessory", "exec", "cache", f"{BUSYBOX} env").out
        assert list(containers(first, service="shop-cache")) == ["shop-cache"]
        assert "shop-cache" in project.good("accessory", "details", "all").out
        assert "listening" in project.good("accessory", "logs", "cache", "-n", "9").out
        project.good("accessory", "stop", "cache")
        assert containers(first, service="shop-cache")["shop-cache"]["State"] == "exited"
        project.good("accessory", "start", "cache")
        project.good("accessory", "restart", "cache")
        assert containers(first, service="shop-cache")["shop-cache"]["State"] == "running"
        unknown = project.run("accessory", "reboot", "cash")
        assert unknown.code == 2 and "cache" in unknown.out + unknown.err, unknown
        assert project.run("accessory", "remove", "cache").code == 2  # without -y
        first.machine.run(["mkdir", "-p", "/root/shop-cache/data"])
        project.good("accessory", "remove", "cache", "-y")
        assert not containers(first, service="shop-cache") and not first.exists("/root/shop-cache")
        assert lab.image("tools:1") not in first.snapshot()["images"]
        project.good("accessory", "boot", "all")
        assert containers(first, service="shop-cache")["shop-cache"]["State"] == "running"
        summary = load.stop()
    assert summary["failed"] == 0, summary
    return summary_line(summary)


def test_commands_beside_deploys():
    with Lab(hosts=2) as lab:
        project = _deployed(lab, "t1", "t2")
        _exec(lab, project)
        _looks(lab, project)
        return _app_life(lab, project) + "\n" + _accessories(lab, project)


def test_a_project_to_begin_with():
    with Lab(hosts=0) as lab:
        folder = lab.scratch()
        recipe = str(ROOT / "recipes/kamal.lua")

        def run(*words):
            return lab.deployrun([recipe, *words], cwd=folder)
        assert run("config").code == 2
        said = run("init")
        assert said.code == 0 and "Created config/deploy.yml" in said.out, said
        assert (folder / ".kamal/secrets").stat().st_mode & 0o777 == 0o600
        assert (folder / ".kamal/hooks/pre-deploy.sample").stat().st_mode & 0o111
        (folder / ".kamal/secrets").write_text("MINE=1\n")
        assert "stays as it is" in run("init").out and (folder / ".kamal/secrets").read_text() == "MINE=1\n"
        assert ":service_with_version: my-app-v1" in run("config", "--version", "v1").out
        assert "  path_prefixes: strings" in run("docs", "proxy").out and run("docs", "nothing").code == 2


def test_the_proxy_is_rebooted_and_everything_is_removed():
    with Lab(hosts=2) as lab:
        first, second = lab.hosts
        project = _deployed(lab, "t1", "t2")
        before = containers(first)["kamal-proxy"]["Id"]
        assert project.run("proxy", "reboot").code == 2  # without -y
        project.good("proxy", "reboot", "-y", "--rolling")
        assert containers(first)["kamal-proxy"]["Id"] != before
        for host in lab.hosts:  # its routes come from its volume
            assert host.machine.run(["curl", "-s", f"http://{host.address}/version"]).stdout == "t2\n"
        project.good("proxy", "stop")
        assert containers(first)["kamal-proxy"]["State"] == "exited"
        project.good("proxy", "start")
        project.good("proxy", "restart")
        project.good("proxy", "boot")
        serves(first, "t2")  # once it listens again

        refused = project.run("proxy", "remove")
        assert refused.code == 1 and "shop" in refused.out + refused.err, refused
        # Another app's folder: what is everybody's stays.
        Kamal(second).sh("mkdir -p .kamal/apps/blog")
        project.good("app", "remove", "-r", "workers")
        assert running(first, "workers") == [] and running(first) == ["shop-web-t2"]
        assert not containers(first, role="workers") and lab.image("shop:t2") in first.snapshot()["images"]
        assert first.exists("/root/.kamal/apps/shop")
        assert project.run("remove").code == 2
        project.good("remove", "-y")
        for host in lab.hosts:
            assert not containers(host, service="shop") and not containers(host, service="shop-cache")
            assert not [image for image in host.snapshot()["images"] if "/shop:" in image], host.snapshot()["images"]
            assert not host.exists("/root/.kamal/apps/shop") and not host.exists("/root/.kamal/lock-shop")
        assert "kamal-proxy" not in containers(first) and not first.exists("/root/.kamal/proxy")
        assert containers(second)["kamal-proxy"]["State"] == "running"
        project.good("proxy", "remove", "--force")
        assert "kamal-proxy" not in containers(second)
        # And all of it again, on servers that are empty.
        project.good("setup", "-P", "--version", "t3")
        assert [running(host) for host in lab.hosts] == [["shop-web-t3"], ["shop-web-t3"]]


def test_files_on_the_server_say_how_the_proxy_is_run():
    """`proxy boot_config`, which counts where deploy.yml has no proxy.run. The files are Kamal's to the byte."""
    with Lab(hosts=1) as lab:
        host, project = lab.hosts[0], Project(lab)
        lab.registry.push(replace(kamal_proxy_image(), repository="me/kamal-proxy"))
        run = f"  run: {{ registry: {lab.registry_address}, repository: kamal-proxy, version: v0.9.2 }}\n"
        project.configure(run, "")
        project.good("proxy", "boot_config", "set", "--registry", lab.registry_address, "--repository", "me",
                     "--http-port", "8080", "--publish-host-ip", "0.0.0.0", "--metrics-port=9090", "--debug",
                     "--docker-options", "memory=64m", "label=a=b")
        options = ("--publish 0.0.0.0:8080:80 --publish 0.0.0.0:443:443 --log-opt max-size=10m --expose=9090 --memory=64m "
                   "--label=a=b")
        files = {name: host.read(f"/root/.kamal/proxy/{name}") for name in ("options", "image", "run_command")}
        assert files == {"options": options, "image": f"{lab.registry_address}/me/kamal-proxy",
                         "run_command": "kamal-proxy run --debug --metrics-port 9090"}, files
        assert not host.exists("/root/.kamal/proxy/image_version")
        said = project.good("proxy", "boot_config", "get").out
        assert f"Host {host.address}: {options} {files['image']}:v0.9.2 {files['run_command']}" in said, said

        project.good("setup", "-P", "--version", "v1")
        assert host.machine.run(["curl", "-s", f"http://{host.address}:8080/version"]).stdout == "v1\n"
        made = host.engine.get("/containers/kamal-proxy/json")
        assert made["HostConfig"]["Memory"] == 64 << 20 and made["Config"]["Labels"]["a"] == "b", made
        assert made["Config"]["Cmd"] == ["kamal-proxy", "run", "--debug", "--metrics-port", "9090"], made

        # Another port from the next boot on; the images' own registry stays.
        project.good("proxy", "boot_config", "set", "--registry", lab.registry_address, "--repository", "me")
        assert not host.exists("/root/.kamal/proxy/options") and not host.exists("/root/.kamal/proxy/run_command")
        project.good("proxy", "reboot", "-y")
        assert host.machine.run(["curl", "-s", f"http://{host.address}/version"]).stdout == "v1\n"
        bad = project.run("proxy", "boot_config", "set", "--docker-options", "nowhere=1")
        assert bad.code == 2 and "nowhere" in bad.out + bad.err, bad
        project.good("proxy", "boot_config", "reset")
        assert not host.exists("/root/.kamal/proxy/image")
        assert "basecamp/kamal-proxy:v0.9.2" in project.good("proxy", "boot_config", "get").out
        assert project.run("proxy", "boot_config", "seet").code == 2


SHIM = """#!/bin/sh
printf '%s\\n' "$*" >> /root/docker.args
exec /usr/bin/env -i HOME="$HOME" PATH=/usr/sbin:/usr/bin:/sbin:/bin {docker} "$@"
"""


def test_passwords_of_the_registry_are_in_no_arguments():
    with Lab(hosts=1) as lab:
        host, project = lab.hosts[0], Project(lab)
        docker = host.machine.run(["sh", "-c", "command -v docker"]).stdout.strip()
        host.machine.run(["sh", "-c", f"cp -L {docker} /root/docker.real && cat > /root/docker.shim && chmod 755 "
                          f"/root/docker.shim && mount --bind /root/docker.shim {docker}"],
                         stdin=SHIM.format(docker="/root/docker.real"))
        project.good("registry", "login", "-L")
        assert lab.registry_address in host.read("/root/.docker/config.json")
        assert "login --username any --password-stdin" in host.read("/root/docker.args")
        project.good("registry", "logout", "-L")
        assert lab.registry_address not in host.read("/root/.docker/config.json")
        assert "registry-password" not in host.read("/root/docker.args")


def test_a_terminal_inside_containers():
    with Lab(hosts=2) as lab:
        first, _ = lab.hosts
        project = _deployed(lab, "t1")
        for words, prompt in ((["app", "exec", "-i", f"{BUSYBOX} sh"], "-exec-"),
                              (["app", "exec", "-i", "--reuse", f"{BUSYBOX} sh"], None),
                              (["accessory", "exec", "cache", "-i", f"{BUSYBOX} sh"], None)):
            with Terminal(lab.scratch(), ["recipes/kamal.lua", *words], cwd=project.folder,
                          env={"HOME": lab.folder}) as terminal:
                terminal.wait_for(r"/ #\s*$", 60)
                if prompt:
                    assert wait_until(lambda: _throw_aways(first), 60, "a throw-away container")
                terminal.type(f"{BUSYBOX} test -t 0 && {BUSYBOX} echo a ter''minal", "Enter")
                terminal.wait_for("a terminal", 60)
                terminal.type("exit 3", "Enter")
                terminal.wait_for("exit 1", 60)
                assert "exit code 3" in terminal.everything()
        assert _throw_aways(first) == []


for _test in (test_commands_beside_deploys, test_the_proxy_is_rebooted_and_everything_is_removed):
    _test.timeout = 600

"""kamal.lua deploy with its build: the commit's clone through the user's own buildx, pushed to the lab's registry."""

import json
import os
import shutil
import subprocess

from kamalkit import Project, containers, running
from labkit import Lab, binaries, wait_until
from labkit.images import Entry, Image
from labkit.paths import deployrun
from labkit.wait import START

DOCKERFILE = """\
FROM scratch
COPY busybox /bin/busybox
COPY demo_app /demo_app
COPY page.txt /page.txt
ARG COLOUR=none
ENV VERSION=$COLOUR
RUN --mount=type=secret,id=API_TOKEN ["/bin/busybox", "sh", "-c", \
"/bin/busybox sha256sum < /run/secrets/API_TOKEN > /sum"]
CMD ["/demo_app"]
"""
GIT = {"GIT_AUTHOR_NAME": "Ann", "GIT_AUTHOR_EMAIL": "ann@example.org", "GIT_COMMITTER_NAME": "Ann",
       "GIT_COMMITTER_EMAIL": "ann@example.org", "PATH": "/usr/local/bin:/usr/bin:/bin"}


class Workshop(Project):
    """The project in a repository, with the docker command's plugin; it is built at the first host's engine."""

    def __init__(self, lab):
        super().__init__(lab)
        self.home = lab.scratch()
        (self.home / ".docker/cli-plugins").mkdir(parents=True)
        (self.home / ".docker/cli-plugins/docker-buildx").symlink_to(binaries.buildx())
        for source, name in ((binaries.packaged("busybox", "busybox-static"), "busybox"), (binaries.app(), "demo_app")):
            shutil.copyfile(source, self.folder / name)
            (self.folder / name).chmod(0o755)
        (self.folder / "Dockerfile").write_text(DOCKERFILE)
        (self.folder / "page.txt").write_text("committed\n")
        (self.folder / ".gitignore").write_text(".deployrun\nhooks.log\n")
        self.configure("builder: { arch: amd64 }",
                       "builder: { arch: amd64, driver: docker, args: { COLOUR: green }, secrets: [API_TOKEN] }")
        self.git("init", "-q")
        self.commit()

    def git(self, *words):
        done = subprocess.run(["git", *words], cwd=self.folder, env={**GIT, "HOME": str(self.home)}, capture_output=True,
                              text=True, check=True)
        return done.stdout.strip()

    def commit(self):
        self.git("add", "-A")
        self.git("commit", "-qm", "a change", "--allow-empty")
        return self.git("rev-parse", "HEAD")

    def docker(self, *words):
        """The user's own docker command."""
        done = subprocess.run(["docker", *words], env={"PATH": os.environ["PATH"], "HOME": str(self.home)}, capture_output=True,
                              text=True, check=False)
        assert done.returncode == 0, done
        return done.stdout

    def start(self, *args, env=None):
        socket = self.lab.hosts[0].engine.socket_path
        return super().start(*args, env={"HOME": self.home, "DOCKER_HOST": f"unix://{socket}",
                                         "TMPDIR": self.home, **(env or {})})


class Local(Workshop):
    """The operator's machine is the first host: its engine builds, and holds the registry. deployrun runs in its network, as
    there its loopback is the registry's."""

    def __init__(self, lab):
        super().__init__(lab)
        self.configure(f"registry: {{ server: {lab.registry_address}, username: any, password: [REGISTRY_PASSWORD] }}",
                       "registry: { server: localhost:5555 }")
        operator, *servers = (host.address for host in lab.hosts)
        self.configure(f"web: [{', '.join([operator, *servers])}]", f"web: [{', '.join(servers)}]")
        self.configure(f"hosts: [{operator}]", f"hosts: [{servers[0]}]")
        self.configure(f"host: {operator}", f"host: {servers[0]}")
        wrapper = self.home / "deployrun"
        wrapper.write_text(f'#!/bin/sh\nexec nsenter --target {lab.hosts[0].machine.pid} --net {deployrun()} "$@"\n')
        wrapper.chmod(0o755)
        os.environ["DEPLOYRUN"] = str(wrapper)  # a test has a process of its own


def _registry_image():
    """Laid out as the official image of that name, as far as it matters: it listens on 5000."""
    program = binaries.packaged("docker-registry")
    config = ("version: 0.1\nstorage: { filesystem: { rootdirectory: /var/lib/registry } }\n"
              "http: { addr: ':5000' }\n")
    entries = (Entry("usr/bin/registry", source=program),
               *(Entry(str(path).lstrip("/"), source=path) for path in binaries.libraries(program)),
               Entry("etc/registry.yml", text=config, mode=0o644), Entry("var/lib/registry"), Entry("tmp", mode=0o1777))
    return Image("registry", "3", entries, {"Cmd": ["/usr/bin/registry", "serve", "/etc/registry.yml"], "Env": ["PATH=/"]})


def test_a_registry_of_this_machine_reaches_the_servers_through_ssh():
    with Lab(hosts=3) as lab:
        operator, *servers = lab.hosts
        lab.registry.push(_registry_image())
        operator.engine.pull(lab.image("registry:3"))
        operator.engine.call("POST", f"/images/{lab.image('registry:3')}/tag?repo=registry&tag=3")
        shop = Local(lab)
        version = shop.commit()
        refused = shop.run("registry", "login")
        assert refused.code == 2 and "asks for no password" in refused.out + refused.err, refused
        shop.good("setup")
        assert containers(operator)["kamal-docker-registry"]["State"] == "running"
        for host in servers:
            assert running(host) == [f"shop-web-{version}"]
            assert f"localhost:5555/shop:{version}" in host.snapshot()["images"], host.snapshot()["images"]
            # The way there ended with the pull.
            listening = host.machine.run(["ss", "-Hltn"]).stdout
            assert ":22 " in listening and ":5555" not in listening, listening
        second = shop.commit()
        with lab.load(urls=[f"http://{host.address}/" for host in servers], rate=50) as load:
            shop.good("deploy")
            summary = load.stop()
        assert summary["failed"] == 0, summary
        assert [running(host) for host in servers] == [[f"shop-web-{second}"]] * 2

        # Without the registry, and with the port taken: nothing is changed, and the reason is told.
        shop.good("registry", "remove")
        assert "kamal-docker-registry" not in containers(operator)
        gone = shop.run("deploy", "-P", "--version", version)
        assert gone.code == 1 and "registry setup" in gone.out + gone.err, gone
        assert [running(host) for host in servers] == [[f"shop-web-{second}"]] * 2
        shop.good("registry", "setup")
        shop.good("app", "exec", "-p", "-r", "web", "--reuse", "/bin/busybox true")


def _deploy_under_load(lab, shop, version):
    with lab.load(rate=50) as load:
        shop.good("deploy")
        summary = load.stop()
    assert summary["failed"] == 0, summary
    assert running(lab.hosts[0]) == [f"shop-web-{version}"]


def _inside(host, container, *argv):
    code, out, err = host.engine.exec(container, ["/bin/busybox", *argv])
    assert code == 0, err
    return out


def test_a_commit_is_built_pushed_and_deployed():
    with Lab(hosts=1) as lab:
        host, shop = lab.hosts[0], Workshop(lab)
        version = shop.git("rev-parse", "HEAD")
        (shop.folder / "page.txt").write_text("not committed\n")
        shop.good("setup")
        assert running(host) == [f"shop-web-{version}"] and set(lab.registry.tags("shop")) >= {version, "latest"}
        assert _inside(host, f"shop-web-{version}", "cat", "/page.txt") == "committed\n"
        assert host.machine.run(["curl", "-s", f"http://{host.address}/version"]).stdout == "green\n"
        expected = subprocess.run(["sha256sum"], input='token $x "q"', capture_output=True, text=True).stdout
        assert _inside(host, f"shop-web-{version}", "cat", "/sum") == expected
        image = host.engine.get(f"/images/{lab.image('shop')}:{version}/json")
        assert image["Config"]["Labels"]["service"] == "shop" and image["Os"] == "linux", image

        second = shop.commit()
        _deploy_under_load(lab, shop, second)
        assert _inside(host, f"shop-web-{second}", "cat", "/page.txt") == "not committed\n"
        plan = shop.good("plan", "deploy").out
        assert "docker buildx build" in plan and f"--tag={lab.image('shop')}:{second}" in plan, plan

        # A failing build changes no server.
        before = host.snapshot()
        (shop.folder / "Dockerfile").write_text("FROM scratch\nCOPY nothing /\n")
        shop.commit()
        bad = shop.run("deploy")
        assert bad.code == 1 and "nothing" in bad.out + bad.err, bad
        after = host.snapshot()
        assert (before["containers"], before["proxy"]) == (after["containers"], after["proxy"])

        # builder.context: the folder as it is, and a version that says so.
        (shop.folder / "Dockerfile").write_text(DOCKERFILE)
        (shop.folder / "page.txt").write_text("of the folder\n")
        shop.configure("driver: docker,", "driver: docker, context: .,")
        shop.good("build", "deliver")
        tags = [tag for tag in lab.registry.tags("shop") if "_uncommitted_" in tag]
        assert len(tags) == 1, lab.registry.tags("shop")
        shop.good("deploy", "-P", "--version", tags[0])
        assert _inside(host, f"shop-web-{tags[0]}", "cat", "/page.txt") == "of the folder\n"
        assert "default" in shop.good("build", "details").out

        # build dev: into the engine here, and nowhere else.
        (shop.folder / "new.txt").write_text("new\n")
        (shop.folder / "page.txt").write_text("of a morning\n")
        pushed = lab.registry.tags("shop")
        dev = shop.good("build", "dev", "--version", "work")
        assert "Untracked files will be present in the image: new.txt" in dev.out, dev
        assert "Files with uncommitted changes will be present in the image: " in dev.out and "page.txt" in dev.out, dev
        images = host.snapshot()["images"]
        assert {lab.image("shop:work-dirty"), lab.image("shop:latest-dirty")} <= set(images), images
        assert lab.registry.tags("shop") == pushed
        assert host.machine.run(["docker", "run", "--rm", lab.image("shop:work-dirty"), "/bin/busybox", "cat",
                                 "/page.txt"]).stdout == "of a morning\n"
        assert not containers(host, role="builder")


# In place of buildpacks: it notes what it was told, and builds the folder's Dockerfile into the engine here.
PACK = """\
#!/bin/sh
here=$(dirname "$0")
printf '%s\\n' "$@" > "$here/argv"
printf '%s' "$API_TOKEN" > "$here/token"
[ "$1" = builder ] && echo "inspected $3" && exit 0
[ -e "$here/fail" ] && echo "ERROR: failed to build" >&2 && exit 51
tags= path=
while [ $# -gt 0 ]; do
  case $1 in
    -t) tags="$tags -t $2"; shift ;;
    --path) path=$2; shift ;;
  esac
  shift
done
exec docker build -q $tags --label service=shop "$path"
"""


def test_buildpacks_build_what_is_deployed():
    with Lab(hosts=1) as lab:
        host, shop = lab.hosts[0], Workshop(lab)
        (shop.folder / "Dockerfile").write_text('FROM scratch\nCOPY busybox /bin/busybox\nCOPY demo_app /demo_app\n'
                                                'ENV VERSION=packed\nCMD ["/demo_app"]\n')
        shop.configure("driver: docker, args", "pack: { builder: some/builder, buildpacks: [one/a, two/b] }, args")
        version = shop.commit()
        tools = shop.home / "bin"
        tools.mkdir()
        (tools / "pack").write_text(PACK)
        (tools / "pack").chmod(0o755)
        path = {"PATH": f"{tools}:{os.environ['PATH']}"}

        missing = shop.run("build", "push", env={"PATH": "/usr/bin:/bin"})
        assert missing.code == 1 and "pack cannot be run" in missing.out + missing.err, missing
        shop.good("setup", env=path)
        assert running(host) == [f"shop-web-{version}"] and set(lab.registry.tags("shop")) >= {version, "latest"}
        assert host.machine.run(["curl", "-s", f"http://{host.address}/version"]).stdout == "packed\n"
        argv = (tools / "argv").read_text().splitlines()
        image = lab.image("shop")
        assert argv[-1].startswith(str(shop.home / "kamal-clones")), argv
        assert argv[:-1] == ["build", image, "--platform", "linux/amd64", "--creation-time", "now", "--builder",
                             "some/builder", "--buildpack", "one/a", "--buildpack", "two/b", "--buildpack",
                             "paketo-buildpacks/image-labels", "-t", f"{image}:{version}", "-t", f"{image}:latest", "--env",
                             "BP_IMAGE_LABELS=service=shop", "--env", "COLOUR=green", "--env", "API_TOKEN", "--path"], argv
        assert (tools / "token").read_text() == 'token $x "q"'
        (tools / "argv").unlink()
        assert "--builder some/builder" in shop.good("plan", "deploy", env=path).out and not (tools / "argv").exists()
        assert "inspected some/builder" in shop.good("build", "details", env=path).out

        (tools / "fail").touch()
        failed = shop.run("deploy", env=path)
        assert failed.code == 1 and "failed to build" in failed.out + failed.err, failed
        assert running(host) == [f"shop-web-{version}"]


def _builders(shop):
    """By name: the drivers and endpoints of its nodes, as buildx has written them down."""
    found = {}
    for path in (shop.home / ".docker/buildx/instances").glob("*"):
        instance = json.loads(path.read_text())
        found[instance["Name"]] = [(instance["Driver"], node["Endpoint"]) for node in instance["Nodes"]]
    return found


def _contexts(shop):
    metas = (json.loads(path.read_text()) for path in (shop.home / ".docker/contexts/meta").glob("*/meta.json"))
    return {meta["Name"]: meta["Endpoints"]["docker"]["Host"] for meta in metas}


def _start_buildkit(lab, shop, name):
    """BuildKit on the first host, and buildx' builder of that name there. What Kamal would make by itself runs an image of
    Docker Hub, and wants more rights than a host of the lab has."""
    machine = lab.hosts[0].machine
    program = machine.root / "usr/local/bin/buildkitd"
    shutil.copyfile(binaries.buildkit("buildkitd"), program)
    program.chmod(0o755)
    (machine.root / "etc/buildkitd.toml").write_text(
        f'[worker.oci]\nenabled = true\n[worker.containerd]\nenabled = false\n[registry."{lab.registry_address}"]\nhttp = true\n')
    machine.start("buildkitd", ["buildkitd", "--config", "/etc/buildkitd.toml", "--addr", "unix:///run/buildkitd.sock"])
    socket = machine.root / "run/buildkitd.sock"
    wait_until(socket.exists, START, "buildkitd")
    shop.docker("buildx", "create", "--name", name, "--driver", "remote", f"unix://{socket}")


STEPS = """\
RUN --mount=type=ssh ["/bin/busybox", "sh", "-c", "test -S \\"$SSH_AUTH_SOCK\\" && echo forwarded > /forwarded"]
RUN ["/bin/busybox", "sh", "-c", "/bin/busybox cat /proc/sys/kernel/random/uuid > /once"]
"""


def test_a_builder_of_its_own():
    """BuildKit instead of the engine: secrets, an SSH key, a cache in the registry, and an image for two architectures."""
    with Lab(hosts=1) as lab:
        host, shop = lab.hosts[0], Workshop(lab)
        _start_buildkit(lab, shop, "kamal-local-docker-container")
        key = lab.keys.client["ed25519"]
        shop.configure("driver: docker, args", f"ssh: default={key}, cache: {{ type: registry, options: mode=max }}, args")
        (shop.folder / "Dockerfile").write_text(DOCKERFILE.replace("CMD", STEPS + "CMD"))
        first = shop.commit()
        shop.good("setup")
        assert running(host) == [f"shop-web-{first}"] and set(lab.registry.tags("shop")) >= {first, "latest"}
        inside = {name: _inside(host, f"shop-web-{first}", "cat", f"/{name}") for name in ("forwarded", "sum", "once")}
        assert inside["forwarded"] == "forwarded\n"
        assert inside["sum"] == subprocess.run(["sha256sum"], input='token $x "q"', capture_output=True, text=True).stdout

        # Nothing is left at the builder: what does not change comes from the registry.
        shop.docker("buildx", "prune", "--all", "--force", "--builder", "kamal-local-docker-container")
        second = shop.commit()
        _deploy_under_load(lab, shop, second)
        assert _inside(host, f"shop-web-{second}", "cat", "/once") == inside["once"]

        shop.configure("builder: { arch: amd64,", "builder: { arch: [amd64, arm64],")
        (shop.folder / "Dockerfile").write_text(DOCKERFILE[:DOCKERFILE.index("RUN")] + 'CMD ["/demo_app"]\n')
        both = shop.commit()
        shop.good("deploy")
        assert running(host) == [f"shop-web-{both}"]
        assert lab.registry.architectures("shop", both) >= {"amd64", "arm64"}


def _with_own_ssh(lab, shop):
    """PATH with an ssh that knows the lab, as the operator's ~/.ssh would have it, which ssh looks for where HOME is not."""
    tools = shop.home / "bin"
    tools.mkdir()
    (tools / "ssh").write_text(f'#!/bin/sh\nexec /usr/bin/ssh -F {lab.ssh_config} "$@"\n')
    (tools / "ssh").chmod(0o755)
    return {"PATH": f"{tools}:{os.environ['PATH']}"}


def test_builders_are_made_and_removed():
    """By the real buildx, which builds nothing yet: of this machine, of another one, and of both together."""
    with Lab(hosts=1) as lab:
        shop, remote = Workshop(lab), f"ssh://root@{lab.hosts[0].address}"
        path = _with_own_ssh(lab, shop)
        slug = remote.replace("://", "-").replace("@", "-").replace(".", "-")
        shop.configure("driver: docker, args", "args")
        for settings, name, drivers, contexts in (
                ("", "kamal-local-docker-container", 1, 0),
                (f"remote: '{remote}', local: false, ", f"kamal-remote-{slug}", 1, 1),
                (f"remote: '{remote}', ", f"kamal-hybrid-docker-container-{slug}", 2, 1)):
            architectures = "[amd64, arm64]" if drivers == 2 else "amd64"
            shop.configure("builder: { arch: amd64, ", f"builder: {{ arch: {architectures}, {settings}")
            shop.good("build", "create", env=path)
            made, there = _builders(shop), _contexts(shop)
            assert list(made) == [name] and len(made[name]) == drivers, made
            assert {driver for driver, _ in made[name]} == {"docker-container"}, made
            assert list(there.values()) == [remote] * contexts, there
            if contexts:
                assert made[name][-1][1] == f"{name}-context", (made, there)
            details = shop.good("build", "details").out
            assert f"Builder: {name}\n" in details and details.count(name) > 1, details
            shop.good("build", "remove", env=path)
            assert _builders(shop) == {} and _contexts(shop) == {}, (_builders(shop), _contexts(shop))
            shop.good("build", "remove", env=path)  # what is gone is gone
            shop.configure(f"builder: {{ arch: {architectures}, {settings}", "builder: { arch: amd64, ")

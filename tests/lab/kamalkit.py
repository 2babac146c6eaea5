"""recipes/kamal.lua on the lab's hosts: a project as a team has it, and a server as Kamal 2.12 leaves it.

Used by test_kamal*.py here and in tests/fault. The recipe is the shipped file, copied unchanged. What Kamal does on
a server is written out as the commands that it sends there, in its order and with its quoting (KAMAL.md C and D).
"""

import base64
import shutil
import urllib.error
import urllib.request
from dataclasses import replace

from labkit import binaries, wait_until
from labkit.images import Entry, kamal_app_images
from labkit.paths import ROOT

CONFIG = """\
service: shop
image: shop
registry: {{ server: {registry}, username: any, password: [REGISTRY_PASSWORD] }}
builder: {{ arch: amd64 }}
servers:
  web: [{hosts}]
  workers:
    hosts: [{first}]
    options: {{ memory: 256m }}
env:
  clear: {{ GREETING: "hello there" }}
  secret: [API_TOKEN]
proxy:
  healthcheck: {{ interval: 1, path: /up, timeout: 1 }}
  run: {{ registry: {registry}, repository: kamal-proxy, version: v0.9.2 }}
accessories:
  cache: {{ image: {cache}, host: {first}, env: {{ clear: {{ A: b }} }} }}
deploy_timeout: 6
drain_timeout: 5
readiness_delay: 1
retain_containers: 2
ssh: {{ user: root, keys: [{key}], config: false }}
aliases: {{ running: app version }}
x-deployrun: {{ known_hosts: {known_hosts} }}
"""


class Project:
    """A folder as a team has it, with the shipped recipe beside it."""

    def __init__(self, lab, cache="app:v9"):
        self.lab = lab
        self.folder = lab.scratch()
        registry = lab.image("shop").partition("/")[0]
        (self.folder / "config").mkdir()
        (self.folder / ".kamal/hooks").mkdir(parents=True)
        (self.folder / "recipes").mkdir()
        shutil.copyfile(ROOT / "recipes/kamal.lua", self.folder / "recipes/kamal.lua")
        self.path = self.folder / "config/deploy.yml"
        self.path.write_text(CONFIG.format(
            registry=registry, hosts=", ".join(host.address for host in lab.hosts), first=lab.hosts[0].address,
            key=lab.keys.client["ed25519"], known_hosts=lab.known_hosts, cache=lab.image(cache)))
        (self.folder / ".kamal/secrets").write_text(
            "REGISTRY_PASSWORD=$(printf registry-password)\nAPI_TOKEN='token $x \"q\"'\n")
        hook = self.folder / ".kamal/hooks/post-deploy"
        hook.write_text('#!/bin/sh\necho "$KAMAL_COMMAND $KAMAL_VERSION $KAMAL_LOCK $API_TOKEN" >> hooks.log\n')
        hook.chmod(0o755)

    def configure(self, old, new):
        """Changes config/deploy.yml; the old text must be there once."""
        text = self.path.read_text()
        assert text.count(old) == 1, (old, text)
        self.path.write_text(text.replace(old, new))

    def start(self, *args, env=None):
        return self.lab.start_deployrun(["recipes/kamal.lua", *args], cwd=self.folder, env=env)

    def run(self, *args, env=None, timeout=120):
        return self.start(*args, env=env).wait(timeout)

    def good(self, *args, env=None):
        result = self.run(*args, env=env)
        assert result.code == 0, result
        return result


def push(lab, *tags, repository="shop", tools=False, assets=None, env=()):
    """Further versions of the app in the registry, as a build leaves them there. `tools`: with busybox, and without an
    entry point, so that other commands can be run in them. `assets`: a folder with a file that is called as the tag. `env`:
    more settings of the app, "NAME=value"."""
    layers, template = {}, next(image for image in kamal_app_images() if image.tag == "v1")
    for tag in tags:
        own = [f"VERSION={tag}" if entry.startswith("VERSION=") else entry for entry in template.config["Env"]]
        config, entries = {**template.config, "Env": [*own, *env]}, template.entries
        if tools:
            config["Cmd"] = config.pop("Entrypoint")
            entries += (Entry("bin/busybox", source=binaries.packaged("busybox", "busybox-static")),)
        if assets:
            entries += (Entry(f"{assets}/{tag}.css", text=f"/* {tag} */", mode=0o644),)
        lab.registry.push(replace(template, repository=repository, tag=tag, config=config, entries=entries), layers)


def containers(host, **want):
    """name → container of those with these labels, stopped ones too."""
    found = {}
    for one in host.engine.get("/containers/json?all=1"):
        if all(one["Labels"].get(key) == value for key, value in want.items()):
            found[one["Names"][0][1:]] = one
    return found


def running(host, role="web"):
    return sorted(name for name, one in containers(host, service="shop", role=role).items() if one["State"] == "running")


def latest(host):
    """The version that the tag `latest` names; nothing else has it."""
    tags = next((image["RepoTags"] for image in host.engine.get("/images/json")
                 if host.image("shop:latest") in (image["RepoTags"] or [])), [])
    return sorted(tag.rpartition(":")[2] for tag in tags if not tag.endswith(":latest"))


class Kamal:
    """What Kamal 2.12 does on one server. `role`s are booted as `kamal deploy` does, up to a named moment."""

    def __init__(self, host):
        self.host = host

    def sh(self, script):
        return self.host.machine.run(["sh", "-c", "cd /root && " + script]).stdout.strip()

    def audit(self, message, role=None):
        tag = f" [{role}]" if role else ""
        self.sh(f'mkdir -p .kamal && echo "[2026-01-02T03:04:05Z] [ann@example.org]{tag} {message}" >> '
                ".kamal/shop-audit.log")

    def pull(self, version):
        self.audit(f"Pulled image with version {version}")
        self.sh(f"docker image rm --force {self.host.image('shop')}:{version} >/dev/null 2>&1; "
                f"docker pull -q {self.host.image('shop')}:{version}")

    def proxy(self):
        """`kamal proxy boot` with the test's proxy.run."""
        image = self.host.image("kamal-proxy:v0.9.2")
        self.sh(f"docker network create kamal >/dev/null 2>&1; docker pull -q {image}; mkdir -p .kamal/proxy/apps-config; "
                "docker container start kamal-proxy >/dev/null 2>&1 || docker run --name kamal-proxy --network kamal "
                "--detach --restart unless-stopped --volume kamal-proxy-config:/home/kamal-proxy/.config/kamal-proxy "
                "--volume $PWD/.kamal/proxy/apps-config:/home/kamal-proxy/.apps-config --publish 80:80 --publish 443:443 "
                f'--log-opt max-size="10m" {image} kamal-proxy run; '
                "until docker exec kamal-proxy kamal-proxy list >/dev/null 2>&1; do sleep 0.1; done")

    def run(self, role, version):
        """`docker run` of a role, with its env file, as at every boot."""
        name, number = f"shop-{role}-{version}", "0123456789ab"
        self.sh("mkdir -p .kamal/apps/shop/env/roles && umask 077 && "
                f"""printf '%s\\n' 'API_TOKEN=token $x "q"' > .kamal/apps/shop/env/roles/{role}.env""")
        self.audit(f"Booted app version {version}", role)
        self.sh(f'docker run --detach --restart unless-stopped --name {name} --network kamal --hostname '
                f'{self.host.address}-{number} --env KAMAL_CONTAINER_NAME="{name}" --env KAMAL_VERSION="{version}" '
                f'--env KAMAL_HOST="{self.host.address}" --env GREETING="hello there" '
                f'--env-file .kamal/apps/shop/env/roles/{role}.env --log-opt max-size="10m" --label service="shop" '
                f'--label role="{role}" --label destination '
                + ('--memory "256m" ' if role == "workers" else "") + self.host.image("shop") + f":{version}")
        return name

    def switch(self, name):
        short = self.sh(f"docker container ls --all --filter name='^{name}$' --quiet")
        self.sh(f'docker exec kamal-proxy kamal-proxy deploy shop-web --target="{short}:80" --deploy-timeout="6s" '
                '--drain-timeout="5s" --health-check-interval="1s" --health-check-timeout="1s" '
                '--health-check-path="/up" --buffer-requests --buffer-responses --log-request-header="Cache-Control" '
                '--log-request-header="Last-Modified" --log-request-header="User-Agent"')

    def tag(self, version):
        self.audit(f"Tagging {self.host.image('shop')}:{version} as the latest image")
        self.sh(f"docker tag {self.host.image('shop')}:{version} {self.host.image('shop')}:latest")

    def deploy(self, version, roles=("web",), old=None, until=None):
        """`until`: "run", "switch" or "stop": Kamal is gone right after that, its lock and the rest left as they are."""
        self.pull(version)
        self.proxy()
        for role in roles:
            name = self.run(role, version)
            if until == "run":
                return
            if role == "web":
                self.switch(name)
            if until == "switch":
                return
            if old:
                self.sh(f"docker stop shop-{role}-{old}")
            if until == "stop":
                return
        self.tag(version)

    def accessory(self):
        self.sh("mkdir -p .kamal/apps/shop/env/accessories && umask 077 && echo > "
                ".kamal/apps/shop/env/accessories/cache.env")
        self.sh('docker run --name shop-cache --detach --restart unless-stopped --network kamal --log-opt max-size="10m" '
                f'--env KAMAL_HOST="{self.host.address}" --env A="b" --env-file '
                '.kamal/apps/shop/env/accessories/cache.env --label service="shop-cache" '
                + self.host.image("app:v9"))

    def lock(self, version="v9", message="Automatic deploy lock"):
        """Its lock, as a deploy of Ann's has it."""
        details = f"Locked by: Ann at 2026-01-02T03:04:05Z\nVersion: {version}\nMessage: {message}"
        encoded = base64.encodebytes(details.encode()).decode()
        lines = "\n".join(encoded.replace("\n", "")[at:at + 60] for at in range(0, len(encoded), 60)).rstrip()
        self.sh(f"mkdir -p .kamal && mkdir .kamal/lock-shop && echo '{lines}' > .kamal/lock-shop/details")

    def unlock(self):
        self.sh("rm .kamal/lock-shop/details && rm -r .kamal/lock-shop")

    def current(self, role="web"):
        """What Kamal takes for the version that runs (`kamal app version`): the newest container of the image that
        `latest` names, else the newest that runs."""
        ps = ("docker ps --latest --format '{{.Names}}' --filter label=service=shop --filter label=destination= "
              f"--filter label=role={role} --filter status=running --filter status=restarting")
        found = self.sh(f"{{ {ps} --filter ancestor=$(docker image ls --filter reference={self.host.image('shop')}:latest "
                        f"--format '{{{{.ID}}}}'); {ps}; }} 2>/dev/null | head -1")
        return found.removeprefix(f"shop-{role}-")


class Kamal1(Kamal):
    """What Kamal 1.9 does on one server: Traefik reads labels, and everything is in Docker's own network."""

    def traefik(self):
        image = self.host.image("traefik:v3")
        self.sh(f"docker pull -q {image}; docker run --name traefik --detach --restart unless-stopped --publish 80:80 "
                f'--volume /var/run/docker.sock:/var/run/docker.sock --log-opt max-size="10m" {image} traefik '
                "--providers.docker --global.checknewversion=false --global.sendanonymoususage=false")

    def run(self, role, version):
        name, rule = f"shop-{role}-{version}", "PathPrefix(`/`)"
        self.sh("mkdir -p .kamal/env/roles && umask 077 && "
                f"""printf '%s\\n' 'API_TOKEN=token $x "q"' > .kamal/env/roles/shop-{role}.env""")
        self.sh(f'docker run --detach --restart unless-stopped --name {name} --env KAMAL_CONTAINER_NAME="{name}" '
                f'--env KAMAL_VERSION="{version}" --env-file .kamal/env/roles/shop-{role}.env --log-opt max-size="10m" '
                f'--label service="shop" --label role="{role}" --label destination '
                + (f"--label traefik.http.routers.shop-web.rule='{rule}' --label traefik.http.routers.shop-web.priority=2 "
                   if role == "web" else "--label traefik.enable=false ") + self.host.image("shop") + f":{version}")
        return name

    def accessory(self):
        self.sh("docker run --name shop-cache --detach --restart unless-stopped --label traefik.enable=false "
                f'--label service="shop-cache" {self.host.image("app:v9")}')

    def leave(self, version, roles):
        self.traefik()
        self.pull(version)
        for role in roles:
            self.run(role, version)
        self.tag(version)


def version_at(host):
    try:
        with urllib.request.urlopen(f"http://{host.address}/version", timeout=5) as answer:
            return answer.read().decode()
    except (OSError, urllib.error.URLError):
        return None


def serves(host, version):
    wait_until(lambda: version in (version_at(host) or ""), 60, f"{version} at {host.name}")

"""recipes/kamal.lua: servers as Kamal 1 leaves them, with the real Traefik, become what Kamal 2 makes of them."""

import urllib.error
import urllib.request

from kamalkit import Kamal, Project, containers, latest, running
from labkit import Lab, binaries, wait_until
from prodkit import summary_line


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
    wait_until(lambda: version in (version_at(host) or ""), 30, f"{version} at {host.name}")


def seen_at(host):
    """What runs, by name."""
    return sorted(one["Names"][0][1:] for one in host.engine.get("/containers/json"))


def test_servers_of_kamal_1_are_upgraded():
    binaries.traefik()
    with Lab(hosts=2) as lab:
        first, second = lab.hosts
        project = Project(lab)
        Kamal1(first).leave("v1", ("web", "workers"))
        Kamal1(first).accessory()
        Kamal1(second).leave("v1", ("web",))
        for host in lab.hosts:
            serves(host, "v1")
        before = [seen_at(host) for host in lab.hosts]
        assert before[0] == ["shop-cache", "shop-web-v1", "shop-workers-v1", "traefik"], before

        asked = project.run("upgrade")
        assert asked.code == 2 and "--confirmed" in asked.out + asked.err, asked

        # kamal-proxy does not come up on one of them: Traefik does again.
        second_one = Kamal(second)
        second_one.sh(f"docker run --detach --name squatter --publish 443:80 {second.image('app:v9')}")
        taken = project.run("upgrade", "-y")
        assert taken.code == 1 and "443" in taken.out + taken.err, taken
        second_one.sh("docker rm --force squatter")
        assert [seen_at(host) for host in lab.hosts] == before, taken
        for host in lab.hosts:
            serves(host, "v1")

        # The app does not boot: Traefik serves the old one again, and kamal-proxy is gone.
        Kamal(second).pull("unhealthy")
        Kamal(first).pull("unhealthy")
        bad = project.run("upgrade", "-y", "--version", "unhealthy")
        assert bad.code == 1 and "all that it changed is undone" in bad.out + bad.err, bad
        assert [seen_at(host) for host in lab.hosts] == before, bad
        for host in lab.hosts:
            serves(host, "v1")
            assert containers(host, service="shop").keys() & {"shop-web-unhealthy"} == set(), bad

        result = project.good("upgrade", "-y", "--rolling")
        for host in lab.hosts:
            assert running(host) == ["shop-web-v1"] and latest(host) == ["v1"], result
            assert "kamal-proxy" in seen_at(host) and "traefik" not in containers(host), result
            serves(host, "v1")
        cache = first.engine.get("/containers/shop-cache/json")
        assert "kamal" in cache["NetworkSettings"]["Networks"] and cache["State"]["Running"], cache
        assert not any("traefik" in (tag or "") for one in first.engine.get("/images/json") for tag in one["RepoTags"] or [])
        assert not first.exists("/root/.kamal/lock-shop"), result

        # From here on it is a project of Kamal 2.
        with lab.load(rate=100) as load:
            project.good("deploy", "-P", "--version", "v2")
            summary = load.stop()
        assert summary["failed"] == 0 and running(second) == ["shop-web-v2"], summary
        return summary_line(summary)

"""recipes/kamal.lua: servers as Kamal 1 leaves them, with the real Traefik, become what Kamal 2 makes of them."""

from kamalkit import Kamal, Kamal1, Project, containers, latest, running, serves
from labkit import Lab, binaries
from prodkit import summary_line


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

"""Going back: what there is to go back to, which version is meant, how long it takes until the earlier one has the traffic,
and what becomes of it where somebody has removed what was kept."""

import dataclasses
import re
import shutil

from composekit import Project as ComposeProject
from labkit import Lab
from labkit.images import app_images
from labkit.paths import ROOT
from prodkit import FULL, Project, assert_same, assert_serving, container, summary_line
from test_compose import whole

LIGHT = {"rate": 50}
ROUNDS = 20 if FULL else 3
TOLD = re.compile(r"(\S+) serves again: traffic after ([\d.]+) (ms|s), all done after")


def seconds_to_traffic(result, version):
    """What the run itself says."""
    told, number, unit = TOLD.search(result.out).groups()
    assert told == version, result
    return float(number) * {"ms": 0.001, "s": 1}[unit]


def prune_all(host):
    """`docker system prune --all`: what does not run goes, with its images."""
    host.engine.call("POST", "/containers/prune")
    host.engine.call("POST", "/images/prune?filters=" + '{"dangling":["false"]}')


def image_of(host, name):
    return host.engine.get(f"/containers/{name}/json")["Image"]


def _many(project, versions):
    """Rollbacks to and fro under load; the seconds until traffic, sorted."""
    found = []
    with project.lab.load(**LIGHT) as load:
        for number in range(ROUNDS):
            version = versions[number % 2]
            result = project.good("rollback", version)
            assert_serving(project.lab.hosts, version, result)
            found.append(seconds_to_traffic(result, version))
        summary = load.stop()
    assert summary["failed"] == 0, summary
    found.sort()
    assert not FULL or found[len(found) // 2] < 5, found
    return (f"traffic after {found[len(found) // 2]:.2f} s (median of {len(found)}; {found[0]:.2f} to {found[-1]:.2f}); "
            + summary_line(summary))


def _moved(lab):
    """Somebody gives the tag v1 to something else."""
    images = {image.tag: image for image in app_images()}
    lab.registry.push(dataclasses.replace(images["v9"], tag="v1"))


def test_rollback_of_several_servers():
    with Lab(hosts=2) as lab:
        project = Project(lab, more="env: { clear: { COLOUR: red } }\n")
        project.deploy("v1")
        project.replace(project.inventory, "COLOUR: red", "COLOUR: blue")
        project.deploy("v2")
        released = project.history()[0]["releases"]
        assert [one["host"] for one in released] == ["h1", "h2"], released
        noted, noted_v1 = released[0], project.history()[1]["releases"][0]["images"]["web"]
        assert noted["version"] == "v2" and noted["images"]["web"].startswith(lab.image("app") + "@sha256:") and "COLOUR" in noted["env"]["web"], noted
        assert "blue" not in str(noted)
        told = project.good("rollback", "--list").out
        assert len(re.findall(r"web +v2 +serves +\d.* MB", told)) == 2, told
        assert len(re.findall(r"web +v1 +kept +\d.* MB  image, settings: COLOUR", told)) == 2, told
        assert [record["command"] for record in project.history()] == ["deploy", "deploy"], "a look leaves no trace"
        said = [_many(project, ["v1", "v2"])]
        if ROUNDS % 2:
            project.good("rollback", "v2")
        first, second = lab.hosts
        was = image_of(second, container("v1"))

        # One server has lost what it kept, the tag means something else by now, and this machine knows nothing.
        for path in project.folder.glob(".deployrun/journal*"):
            path.unlink()
        prune_all(first)
        _moved(lab)
        assert re.search(r"v1 +gone .*comes from the registry: sha256:", project.good("rollback", "--list").out)
        with lab.load(**LIGHT) as load:
            result = project.good("rollback")
            summary = load.stop()
        assert summary["failed"] == 0, summary
        assert_serving(lab.hosts, "v1", result)
        assert [image_of(host, container("v1")) for host in lab.hosts] == [was, was]
        said.append(f"one of two from its digest: traffic after {seconds_to_traffic(result, 'v1')} s")

        # The way back alone, with another recipe.
        shutil.copyfile(ROOT / "recipes/rollback.lua", project.folder / "recipes/rollback.lua")
        listed = lab.deployrun(["recipes/rollback.lua", "list"], cwd=project.folder)
        assert listed.code == 0 and "v2" in listed.out, listed
        alone = lab.deployrun(["recipes/rollback.lua", "rollback", "v2"], cwd=project.folder)
        assert alone.code == 0, alone
        assert_serving(lab.hosts, "v2", alone)
        said.append(f"recipes/rollback.lua: traffic after {seconds_to_traffic(alone, 'v2')} s")

        # Where the registry does not have it any more, everything is as before.
        prune_all(first)
        digest = noted_v1.rpartition("@")[2]
        lab.registry._request("DELETE", f"/v2/app/manifests/{digest}")
        before = [host.snapshot() for host in lab.hosts]
        bad = project.run("rollback")
        assert bad.code == 1 and digest in bad.out + bad.err and "h1" in bad.out + bad.err, bad
        assert_same(dict(enumerate(before)), dict(enumerate(host.snapshot() for host in lab.hosts)), bad)
    return "\n".join(said)


test_rollback_of_several_servers.timeout = 1200 if FULL else 600


def test_rollback_of_a_compose_project():
    with Lab(hosts=1) as lab:
        project, host = whole(lab), lab.hosts[0]
        project.deploy("v1")
        was = image_of(host, "shop-web-v1")
        project.deploy("v2")
        told = project.good("rollback", "--list").out
        assert re.search(r"web +v2 +serves", told) and re.search(r"web +v1 +kept .*image", told), told
        said = [_many(project, ["v1", "v2"])]
        if ROUNDS % 2:
            project.good("rollback", "v2")
        prune_all(host)
        _moved(lab)
        assert re.search(r"web +v1 +gone .*sha256:", project.good("rollback", "--list").out)
        with lab.load(**LIGHT) as load:
            result = project.good("rollback")
            summary = load.stop()
        assert summary["failed"] == 0, summary
        assert image_of(host, "shop-web-v1") == was
        states = project.states()
        assert {name for name, state in states.items() if state == "running" and "db" not in name} == {
            "shop-web-v1", "shop-worker-v1", "shop-writer-v1"}, (states, result)
        said.append(f"from its digest: traffic after {seconds_to_traffic(result, 'v1')} s")
    return "\n".join(said)


test_rollback_of_a_compose_project.timeout = 1200 if FULL else 600


def test_rollback_of_a_window():
    """What is gone is fetched before the window opens."""
    with Lab(hosts=1) as lab:
        project = ComposeProject(lab, mode="window")
        project.deploy("v1")
        project.deploy("v2")
        prune_all(lab.hosts[0])
        result = project.good("rollback")
        assert_serving(lab.hosts, "v1", result)
        assert result.out.index("fetch what is gone") < result.out.index("open the window"), result
        return f"traffic after {seconds_to_traffic(result, 'v1')} s"

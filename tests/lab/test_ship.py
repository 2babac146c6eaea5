"""A deploy without a registry: the operator's engine has the image, and only missing layers travel to the servers."""

import re
from urllib.parse import quote

from labkit import Lab
from prodkit import KAMAL, PROXY_IMAGES, Project, assert_same, assert_serving, serving, snapshots

UNPUBLISHED = "unpublished"  # no registry has it


def _tag(engine, source, repository, tag):
    engine.call("POST", f"/images/{quote(source, safe='/:')}/tag?repo={quote(repository, safe='')}&tag={tag}")


def _shipped(events):
    return {event["host"]: event.get("note", "") for event in events
            if event["type"] == "task.finished" and event["step"] == "pull the image"}


def test_a_deploy_needs_no_registry():
    with Lab(hosts=3) as lab:
        servers, operator = lab.hosts[:2], lab.hosts[2]
        project = Project(lab, hosts=servers, more="pull: ship\n")
        repository = lab.image(UNPUBLISHED)
        project.replace(project.inventory, f"image: {lab.image('app')}\n", f"image: {repository}\n")
        for version in ("v1", "v2"):
            operator.engine.pull(lab.image(f"app:{version}"))
            _tag(operator.engine, lab.image(f"app:{version}"), repository, version)
        for host in servers:
            host.engine.pull(lab.image(PROXY_IMAGES[KAMAL]))
        here = {"DOCKER_HOST": f"unix://{operator.engine.socket_path}"}

        before = snapshots(servers)
        plan = project.good("deploy", "--version", "v1", "--plan", env=here)
        assert f"docker save {repository}:v1" in plan.out, plan
        assert_same(before, snapshots(servers), plan)

        # Both versions are one layer of files with different settings.
        for version, travelled in (("v1", 1), ("v2", 0)):
            result, events = project.events("deploy", "--version", version, env=here)
            assert result.code == 0, result
            assert_serving(servers, version, result)
            notes = _shipped(events)
            assert len(notes) == 2 and all(re.fullmatch(rf"{travelled} of 1 layers, [\d.]+ MiB", note)
                                           for note in notes.values()), notes
        again, events = project.events("deploy", "--version", "v2", env=here)
        assert again.code == 0 and set(_shipped(events).values()) == {"it is there"}, again

        # An image that this machine does not have: nothing was changed.
        before = snapshots(servers)
        missing = project.run("deploy", "--version", "v9", env=here)
        assert missing.code == 1 and "docker.not_found" in missing.out + missing.err, missing
        assert_same(before, snapshots(servers), missing)
        project.good("rollback", env=here)
        assert {serving(host) for host in servers} == {"shop-web-v1"}

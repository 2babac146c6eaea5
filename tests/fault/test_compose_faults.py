"""What a Compose deploy needs cannot be had: the registry fails, a disk is full. The old version serves throughout, nothing
is left over, and the words say what and where."""

from dataclasses import replace

from faultkit import FULL, LIGHT, Lab  # first: it makes the lab's modules known
from composekit import Project
from labkit.forwarder import FaultyRegistry
from labkit.images import Entry, app_images
from prodkit import assert_serving, summary_line
from test_registry import FAULTS

# What the registry is asked for, and which steps ask.
ASKED = {"/manifests/": "pin the images", "/blobs/": "(pin|pull) the images"}
LIMIT = 'retries = 1, timeout = "4s"'
SPACE = "no space left on device"


def _cases():
    """(what is asked for, fault, words). A digest that is wrong stands in a manifest."""
    every = [(asked, fault, words) for asked in ASKED for fault, words in FAULTS.items()
             if fault != "wrong digest" or asked == "/manifests/"]
    ours = {("/manifests/", "500"), ("/manifests/", "hang"), ("/blobs/", "429"), ("/blobs/", "trickle")}
    return [case for case in every if FULL or case[:2] in ours]


def test_the_registry_fails_a_compose_deploy():
    found = []
    with Lab(hosts=1) as lab, FaultyRegistry(lab) as registry:
        project, host = Project(lab), lab.hosts[0]
        project.replace(project.compose, lab.image("app"), f"{registry.address}/app")
        project.replace(project.recipe, 'retries = 2, timeout = "1m"', LIMIT)
        project.replace(project.recipe, 'parallel = 20, retries = 2, timeout = "10m"', LIMIT)
        project.deploy("v1")
        with lab.load(**LIGHT) as load:
            for asked, fault, words in _cases():
                registry.strike(fault, host.address, only=asked)
                said = project.bad("v2", rf"{ASKED[asked]}(.|\n)*({words})")
                assert registry.hits > 0, fault
                registry.heal()
                found.append(f"{fault} for {asked}: {said}, {registry.hits} requests")
            # It is busy for a moment only.
            registry.strike("429", host.address, times=1)
            result = project.deploy("v2")
            assert registry.hits == 1, result
            registry.heal()
            assert_serving(lab.hosts, "v2", result)
            summary = load.stop()
        assert summary["failed"] == 0, summary
    return "\n".join([*found, f"429 once: exit 0 after {result.seconds:.1f} s", summary_line(summary)])


test_the_registry_fails_a_compose_deploy.timeout = 900


class Disk:
    """A file system of its own on a host, small enough to fill."""

    def __init__(self, host, path, size):
        self._machine, self._path = host.machine, path
        self._machine.run(["mkdir", "-p", path])
        self._machine.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", path])

    def fill(self, left):
        """Leaves so many bytes."""
        free = int(self._machine.run(["df", "--output=avail", "--block-size=1", self._path]).stdout.split()[1])
        self._machine.run(["fallocate", "--length", str(free - left), f"{self._path}/ballast"])

    def free(self):
        self._machine.run(["rm", f"{self._path}/ballast"])


def test_a_full_disk_fails_a_compose_deploy():
    """The engine's disk, which has no room for layers or for anything; the disk of deployrun's own files."""
    found = []
    with Lab(hosts=1) as lab:
        host = lab.hosts[0]
        host.stop_engine()
        engine = Disk(host, "/var/lib/docker", "600m")
        host.start_engine()
        home = Disk(host, "/root/.deployrun", "40m")
        first = next(image for image in app_images() if image.tag == "v1")
        lab.registry.push(replace(first, tag="large", entries=(*first.entries, Entry("ballast", text="x" * 8_000_000))))
        project = Project(lab)
        project.deploy("v1")
        with lab.load(**LIGHT) as load:
            for disk, left, version in ((engine, 1_000_000, "large"), (engine, 0, "v2"), (home, 0, "v3")):
                disk.fill(left)
                said = project.bad(version, f"{SPACE}|disk is full|disk_full")
                disk.free()
                found.append(f"{left} bytes left for {said}")
            result = project.deploy("large")
            assert_serving(lab.hosts, "large", result)
            summary = load.stop()
        assert summary["failed"] == 0, summary
    return "\n".join([*found, summary_line(summary)])


test_a_full_disk_fails_a_compose_deploy.timeout = 600

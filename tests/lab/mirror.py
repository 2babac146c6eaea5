"""A registry of its own for one host: what that host pulls under a tag is another image than what the others get.

That is how a version comes to be bad on one server alone: a mirror that is stale, or a tag that somebody pushed again.
"""

import dataclasses

from labkit import registry, wait_until
from labkit.images import BROKEN, app_images
from labkit.registry import Registry
from labkit.wait import START

PORT = 5050


class Mirror:
    """Runs on the host itself; its engine reaches it instead of the lab's registry, as long as this object is open."""

    def __init__(self, lab, host):
        self._host = host
        self._rule = ["OUTPUT", "-t", "nat", "-p", "tcp", "-d", lab.registry_address.split(":")[0], "--dport",
                      lab.registry_address.split(":")[1], "-j", "DNAT", "--to-destination", f"{host.address}:{PORT}"]
        config = host.machine.root / "etc/mirror.yml"
        config.write_text(registry.configuration("/var/lib/mirror", f"{host.address}:{PORT}"))
        host.machine.start("mirror", ["docker-registry", "serve", "/etc/mirror.yml"])
        self._registry = Registry(f"{host.address}:{PORT}")
        wait_until(self._registry.answers, START, f"{host.name}: its own registry")
        self._layers = {}

    def offer(self, kind, tag):
        """Puts an image that is bad in the way `kind` says under a tag of the app that is good elsewhere."""
        bad = next(image for image in app_images() if image.tag == kind)
        env = [f"VERSION={tag}" if entry.startswith("VERSION=") else entry for entry in bad.config["Env"]]
        assert kind in BROKEN
        self.push(dataclasses.replace(bad, tag=tag, config={**bad.config, "Env": env}))

    def push(self, image):
        """Puts any image there, under its own name."""
        self._registry.push(image, self._layers)

    def __enter__(self):
        self._host.machine.run(["iptables", "-I", *self._rule])
        return self

    def __exit__(self, *_):
        self._host.machine.run(["iptables", "-D", *self._rule])

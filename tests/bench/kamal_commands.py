"""kamal: what `kamal` users run, by recipes/kamal.lua, on one server with one role, beside the figures of Kamal 2.12.

Kamal's own figures were taken once, on a machine of this kind, with the same app (it needs 0.5 s to listen), the same
engine and proxy, and Ruby 3.3; they are no part of this run. The engine's floor (floor.py) is.
"""

import os
import statistics
import sys

from benchkit import PRODUCT, Route, figures, ratio, run, timed
from deploys import FLOOR, RETAIN, Contestant, Floor, push_versions
from kamalkit import Project, push
from labkit import Lab
from labkit.paths import deployrun

BOOT = 500  # ms, as when Kamal was measured
# What Kamal 2.12 needs, in seconds, by round trip time in ms.
KAMAL = {"version": {0: 0.26}, "config": {0: 0.27}, "app exec --reuse": {0: 0.63},
         "deploy": {0: 3.63, 20: 5.80, 100: 13.4}, "rollback": {0: 2.73, 20: 4.02, 100: 8.2}}
KAMAL_TRIPS = {"deploy": 100, "rollback": 55}
OFFLINE = ("version", "config")


class Site(Contestant):
    """A project with one role on one server, reached over a route."""

    def __init__(self, lab, route, repository):
        super().__init__(lab, route, repository)
        self.project = Project(lab)
        host, (address, port) = lab.hosts[0].address, route.address(0)
        before, _, after = (self.project.folder / "config/deploy.yml").read_text().partition("servers:\n")
        text = (before + f"servers: [{address}]\n" + "env:\n" + after.partition("env:\n")[2])
        head, _, rest = text.partition("accessories:\n")
        text = head + rest.partition("\n")[2]
        for old, new in (("image: shop\n", f"image: {repository}\n"), (str(lab.known_hosts), str(route.known_hosts)),
                         ("ssh: { user: root,", f"ssh: {{ user: root, port: {port},"),
                         ("retain_containers: 2", f"retain_containers: {RETAIN}")):
            assert old in text, (old, text)
            text = text.replace(old, new)
        assert host == address or host not in text, text
        (self.project.folder / "config/deploy.yml").write_text(text)
        (self.project.folder / ".kamal/hooks/post-deploy").unlink()

    def _run(self, *args):
        run([deployrun(), "recipes/kamal.lua", *args], cwd=self.project.folder,
            env={"PATH": os.environ["PATH"], "HOME": str(self.lab.folder)})

    def deploy(self):
        self._run("deploy", "-P", "--version", self.version())

    def rollback(self):
        self._run("rollback", self.version(1))

    def forward(self):
        self._run("rollback", self.version())

    def commands(self):
        """What is measured, by name, and what makes the next measurement alike."""
        return {"version": (lambda: self._run("version"), None),
                "config": (lambda: self._run("config", "--version", "r1"), None),
                "app exec --reuse": (lambda: self._run("app", "exec", "--reuse", "/bin/busybox true"), None),
                "deploy": (self.ship, None), "rollback": (self.rollback, self.forward)}


def _measure(site, floor, route, pairs):
    """Walls and turns by command; the floor's walls for deploy and rollback."""
    walls, turns, floors = {}, {}, {}
    for name, (command, after) in site.commands().items():
        walls[name], turns[name], floors[name] = [], [], []
        for _ in range(pairs):
            route.turns()
            walls[name].append(timed(command)[0])
            turns[name].append(route.turns())
            if after:
                after()
            if name == "deploy":
                floors[name].append(timed(floor.ship)[0])
            elif name == "rollback":
                floors[name].append(timed(floor.rollback)[0])
                floor.forward()
    return walls, turns, floors


def measure(rtts, pairs):
    print(f"\n== kamal: recipes/kamal.lua on one server, app listens after {BOOT} ms; Kamal 2.12 as measured once, elsewhere")
    medians = {}
    with Lab(hosts=1) as lab:
        tags = [f"r{number}" for number in range(1, pairs + RETAIN + 3)]
        # The floor's images have no label: with it kamal.lua would count their containers for its own, and prune them.
        push_versions(lab, [f"app-floor-{rtt}" for rtt in rtts], len(tags), BOOT)
        for rtt in rtts:
            push(lab, *tags, repository=f"shop-{rtt}", tools=True, env=[f"BOOT_DELAY_MS={BOOT}"])
        for rtt in rtts:
            lab.hosts[0].reset()
            route = Route(lab, rtt)
            site = Site(lab, route, f"shop-{rtt}")
            site.ship()  # starts the proxy that both use
            floor = Floor(lab, route, f"app-floor-{rtt}")
            for one in (site, floor):
                while one.newest <= RETAIN + 1:
                    one.ship()
            walls, turns, floors = _measure(site, floor, route, pairs)
            floor.close()
            route.close()
            print(f"-- round trip time {rtt} ms")
            for name, seconds in walls.items():
                if rtt and name in OFFLINE:
                    continue
                medians[name, rtt] = statistics.median(seconds)
                words = [f"{statistics.median(turns[name]):.0f} turns"] if rtt else []
                kamal = KAMAL[name].get(rtt)
                if kamal:
                    words.append(f"Kamal {1000 * kamal:.0f} ms, {kamal / medians[name, rtt]:.1f} × ours")
                if floors[name]:
                    words.append(f"{ratio(seconds, floors[name]):.2f} × {FLOOR}")
                if rtt and (name, 0) in medians:
                    trips = (medians[name, rtt] - medians[name, 0]) * 1000 / rtt
                    theirs = f" (Kamal {KAMAL_TRIPS[name]})" if name in KAMAL_TRIPS else ""
                    words.append(f"{trips:.1f} trips{theirs}")
                print(f"{PRODUCT + ' ' + name:28}{figures(seconds)}   {', '.join(words)}")
            sys.stdout.flush()

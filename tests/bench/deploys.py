"""deploy, rollback: a whole deploy with recipes/prod.lua and the way back to the kept container.

Beside the same docker steps by a plain client on the server's own engine socket (floor.py), by the docker command on the
server itself, and by a script with ssh ControlMaster and the docker command (by_hand.sh).
"""

import json
import os
import statistics
import subprocess
import sys
from dataclasses import replace

from benchkit import HERE, PRODUCT, Route, figures, ratio, run, timed
from labkit import Lab
from labkit.images import app_images
from labkit.paths import deployrun
from prodkit import Project

RETAIN = 2
FLOOR, COMMANDS, SCRIPT = "the engine's floor", "docker on the server", "ssh + docker by hand"


class Contestant:
    """Ships versions r1, r2 … of an app of its own to the same servers."""

    def __init__(self, lab, route, repository):
        self.lab, self.route, self.repository, self.newest = lab, route, repository, 0

    def version(self, back=0):
        number = self.newest - back
        return f"r{number}" if number > 0 else None

    def ship(self):
        self.newest += 1
        self.deploy()


class Product(Contestant):
    def __init__(self, lab, route, repository):
        super().__init__(lab, route, repository)
        self.project = Project(lab, more=f"retain: {RETAIN}\n", known_hosts=route.known_hosts)
        text = self.project.inventory.read_text().replace(lab.image("app") + "\n", lab.image(repository) + "\n")
        for index, host in enumerate(lab.hosts):
            address, port = route.address(index)
            text = text.replace(f"address: {host.address},", f"address: {address}, port: {port},")
        self.project.inventory.write_text(text)

    def _run(self, *args):
        run([deployrun(), "recipes/prod.lua", *args], cwd=self.project.folder,
            env={"PATH": os.environ["PATH"], "HOME": str(self.lab.folder)})

    def deploy(self):
        self._run("deploy", "--version", self.version())

    def rollback(self):
        self._run("rollback")

    def forward(self):
        """Back to the newest, unmeasured."""
        self._run("rollback", "--version", self.version())


class Script(Contestant):
    def _run(self, what, new, old, oldest):
        run([HERE / "by_hand.sh", what, self.route.config, "byhand", "byhand.test", self.lab.image(self.repository),
             new, old or "-", oldest or "-", *(host.name for host in self.lab.hosts)])

    def deploy(self):
        self._run("deploy", self.version(), self.version(1), self.version(RETAIN + 1))

    def rollback(self):
        self._run("rollback", self.version(1), self.version(), None)

    def forward(self):
        self._run("rollback", self.version(), self.version(1), None)


class Commands(Script):
    """The same script on each server itself: what its docker steps cost without any way there."""

    def _run(self, what, new, old, oldest):
        script = ["bash", "-c", (HERE / "by_hand.sh").read_text(), "by_hand", what, "-", "command", "command.test",
                  self.lab.image(self.repository), new, old or "-", oldest or "-", "here"]
        children = [subprocess.Popen(host.machine.enter(script), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
                    for host in self.lab.hosts]
        for child in children:
            if child.wait() != 0:
                raise RuntimeError(f"{what} by hand on a server: exit {child.returncode}")


class Floor(Contestant):
    def __init__(self, lab, route, repository):
        super().__init__(lab, route, repository)
        self._clients = [subprocess.Popen(host.machine.enter(["python3", "-c", (HERE / "floor.py").read_text()]),
                                          stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for host in lab.hosts]

    def _run(self, new, old, oldest, pull):
        order = {"service": "floor", "host": "floor.test", "image": f"{self.lab.image(self.repository)}:{new}", "pull": pull,
                 "new": f"floor-{new}", "old": old and f"floor-{old}", "oldest": oldest and f"floor-{oldest}",
                 "oldest_image": f"{self.lab.image(self.repository)}:{oldest}"}
        for client in self._clients:
            client.stdin.write(json.dumps(order) + "\n")
            client.stdin.flush()
        for client in self._clients:
            if not client.stdout.readline():
                raise RuntimeError("floor.py ended")

    def deploy(self):
        self._run(self.version(), self.version(1), self.version(RETAIN + 1), True)

    def rollback(self):
        self._run(self.version(1), self.version(), None, False)

    def forward(self):
        self._run(self.version(), self.version(1), None, False)

    def close(self):
        for client in self._clients:
            client.stdin.close()
            client.wait()
            client.stdout.close()


def push_versions(lab, repositories, count, boot):
    layers = {}
    template = next(image for image in app_images() if image.tag == "v1")
    for repository in repositories:
        for number in range(1, count + 1):
            env = [f"VERSION=r{number}" if entry.startswith("VERSION=") else entry for entry in template.config["Env"]]
            lab.registry.push(replace(template, repository=repository, tag=f"r{number}",
                                      config={**template.config, "Env": [*env, f"BOOT_DELAY_MS={boot}"]}), layers)


def measure_deploys(scenario, hosts, rtts, pairs, boot):
    print(f"\n== {scenario}, {hosts} server{'s' if hosts > 1 else ''}, app listens after {boot} ms")
    medians = {}
    with Lab(hosts=hosts) as lab:
        repositories = ["app", "app-floor", "app-commands", "app-script"]
        push_versions(lab, [f"{name}-{rtt}" for name in repositories for rtt in rtts], pairs + RETAIN + 3, boot)
        floor = None
        for rtt in rtts:
            for host in lab.hosts:
                host.reset()
            route = Route(lab, rtt)
            contestants = {PRODUCT: Product(lab, route, f"app-{rtt}")}
            contestants[PRODUCT].ship()  # starts the proxy that all three use
            floor = contestants[FLOOR] = Floor(lab, route, f"app-floor-{rtt}")
            if rtt == 0:
                contestants[COMMANDS] = Commands(lab, route, f"app-commands-{rtt}")
            contestants[SCRIPT] = Script(lab, route, f"app-script-{rtt}")
            for contestant in contestants.values():
                while contestant.newest <= RETAIN + 1:
                    contestant.ship()
            walls, cpus, turns = ({name: [] for name in contestants} for _ in range(3))
            for _ in range(pairs):
                for name, contestant in contestants.items():
                    route.turns()
                    wall, cpu = timed(contestant.ship if scenario == "deploy" else contestant.rollback)
                    walls[name].append(wall)
                    cpus[name].append(cpu)
                    turns[name].append(route.turns())
                    if scenario == "rollback":
                        contestant.forward()
            floor.close()
            route.close()
            print(f"-- round trip time {rtt} ms")
            for name in contestants:
                counted = "" if rtt == 0 or name in (FLOOR, COMMANDS) else f"   {statistics.median(turns[name]):.0f} turns"
                cpu = "" if name in (FLOOR, COMMANDS) else f"   {1000 * statistics.median(cpus[name]):.0f} ms CPU here"
                print(f"{name:22}{figures(walls[name])}{cpu}{counted}")
                medians[name, rtt] = statistics.median(walls[name])
            print("deployrun is " + ", ".join(f"{ratio(walls[PRODUCT], walls[name]):.2f} × {name}"
                                              for name in contestants if name != PRODUCT))
            if rtt and (PRODUCT, 0) in medians:
                trips = {name: (medians[name, rtt] - medians[name, 0]) * 1000 / rtt for name in (PRODUCT, SCRIPT)}
                print(", ".join(f"{name}: {count:.1f} trips" for name, count in trips.items()))
            sys.stdout.flush()

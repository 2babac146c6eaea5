"""What the scenarios share: figures, timing, and the ways to the lab's servers."""

import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "lab"))

from delay import Way  # noqa: E402
from labkit.paths import deployrun  # noqa: E402

PRODUCT = "deployrun"


def figures(seconds):
    ordered = sorted(1000 * s for s in seconds)
    return f"{statistics.median(ordered):9.1f} ms   ({ordered[0]:.1f} to {ordered[-1]:.1f}, n={len(ordered)})"


def ratio(one, other):
    return statistics.median(one) / statistics.median(other)


def timed(fn):
    """Seconds of wall time and of our children's CPU time."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begin = time.monotonic()
    fn()
    wall = time.monotonic() - begin
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def run(argv, **options):
    result = subprocess.run([str(a) for a in argv], capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False,
                            **options)
    if result.returncode != 0:
        raise RuntimeError(f"{argv}: exit {result.returncode}\n{result.stdout}{result.stderr}")
    return result.stdout


def report(walls, product=PRODUCT):
    """Each contestant's figures, then the product's ratio to every other one."""
    for name, seconds in walls.items():
        print(f"{name:26}{figures(seconds)}")
    others = [f"{ratio(walls[product], seconds):.2f} × {name}" for name, seconds in walls.items() if name != product]
    print(f"{product} is " + ", ".join(others))
    sys.stdout.flush()


def take_turns(contestants, pairs):
    """Walls of each, run in turn (A B C A B C …)."""
    walls = {name: [] for name in contestants}
    for _ in range(pairs):
        for name, fn in contestants.items():
            walls[name].append(timed(fn)[0])
    return walls


def peak_memory(argv, **options):
    """MiB that one process held at most; its children do not count. Looked at while it runs: what wait4 tells begins with
    the memory of whoever started it."""
    process = subprocess.Popen([str(a) for a in argv], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, **options)
    peak, status = 0, Path(f"/proc/{process.pid}/status")
    while process.poll() is None:
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                peak = max(peak, int(line.split()[1]))
        time.sleep(0.005)
    if process.returncode != 0:
        raise RuntimeError(f"{argv}: exit {process.returncode}")
    return peak / 1024


def environment(lab):
    return {"PATH": os.environ["PATH"], "HOME": str(lab.folder)}


RECIPE = """\
local deploy = require "deploy"
{head}
deploy.command "bench" {{
  default = true, params = {{ count = {{ type = "integer", default = 1 }} }},
  run = function(run) run:step("bench", {{ on = hosts, run = function(on)
    {body}
  end }}) end,
}}
"""


def host_table(name, address, port, key, known_hosts):
    return (f'deploy.host {{ name = "{name}", address = "{address}", port = {port}, user = "root", keys = {{ "{key}" }}, '
            f'known_hosts = "{known_hosts}", config = false }}')


def recipe(folder, head, body):
    """Writes a recipe whose one step runs `body` on `hosts`, which `head` declares; returns its path."""
    path = folder / "bench.lua"
    path.write_text(RECIPE.format(head=head, body=body))
    return path


class Route:
    """The servers as one contestant reaches them at one round trip time."""

    def __init__(self, lab, rtt_ms):
        self.lab = lab
        self.ways = [Way(host.address, rtt_ms / 1000) for host in lab.hosts] if rtt_ms else []
        folder = lab.scratch()
        self.known_hosts, self.config = folder / "known_hosts", folder / "config"
        known = lab.known_hosts.read_text()
        blocks = []
        for index, host in enumerate(lab.hosts):
            address, port = ("127.0.0.1", self.ways[index].port) if self.ways else (host.address, 22)
            for line in lab.known_hosts.read_text().splitlines():
                name, kind, key = line.split()
                if name == host.address and self.ways:
                    known += f"[{address}]:{port} {kind} {key}\n"
            blocks.append(f"Host {host.name}\n  HostName {address}\n  Port {port}\n  User root\n  IdentityFile "
                          f"{lab.keys.client['ed25519']}\n  IdentitiesOnly yes\n  UserKnownHostsFile {self.known_hosts}\n"
                          f"  GlobalKnownHostsFile /dev/null\n")
        self.known_hosts.write_text(known)
        self.config.write_text("\n".join(blocks))

    def address(self, index):
        return ("127.0.0.1", self.ways[index].port) if self.ways else (self.lab.hosts[index].address, 22)

    def turns(self):
        """Per server since the last call; None without a forwarder."""
        if not self.ways:
            return None
        found = statistics.mean(way.turns for way in self.ways)
        for way in self.ways:
            way.reset()
        return found

    def close(self):
        for way in self.ways:
            way.close()


def versions():
    def first(argv):
        try:
            result = subprocess.run(argv, capture_output=True, text=True, check=False)
            return (result.stdout + result.stderr).strip().splitlines()[0]
        except (OSError, IndexError):
            return f"{argv[0]}: not found"
    return [first([str(deployrun()), "--version"]), first(["ssh", "-V"]), first(["dockerd", "--version"]),
            first(["docker", "--version"]), f"kernel {os.uname().release}, {os.cpu_count()} cores"]


class Connection:
    """One server of the lab over `rtt`, with a recipe for us and a ControlMaster for ssh, each with an open connection."""

    def __init__(self, lab, rtt, recipe):
        self._route = Route(lab, rtt)
        address, port = self._route.address(0)
        self._folder = lab.scratch()
        (self._folder / "recipe.lua").write_text(recipe.format(
            address=address, port=port, key=lab.keys.client["ed25519"], known_hosts=self._route.known_hosts))
        self._environment = {"PATH": os.environ["PATH"], "HOME": str(lab.folder)}
        self._share = ["ssh", "-F", self._route.config, "-o", f"ControlPath={self._folder}/control"]
        run([*self._share, "-o", "ControlMaster=yes", "-fN", "h1"], env=self._environment)

    def deployrun(self, *words):
        return run([deployrun(), "recipe.lua", *words], cwd=self._folder, env=self._environment)

    def ssh(self, *words):
        run([*self._share, "h1", *words], env=self._environment)

    def cold_ssh(self, *words):
        run(["ssh", "-F", self._route.config, "h1", *words], env=self._environment)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        run([*self._share, "-O", "exit", "h1"], env=self._environment)
        self._route.close()

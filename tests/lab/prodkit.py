"""recipes/prod.lua on the lab's hosts: a project with its inventory, and what its tests look at.

Used by test_prod.py, test_refusals.py and test_keys.py. The recipe is the shipped file, copied unchanged; only the
inventory beside it is the test's own.
"""

import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor

from labkit.paths import ROOT

FULL = os.environ.get("DEPLOYRUN_FULL") == "1"
KAMAL, CADDY, NGINX, HAPROXY, TRAEFIK = "kamal_proxy", "caddy", "nginx", "haproxy", "traefik"
PROXY_IMAGES = {KAMAL: "kamal-proxy:v0.9.2", CADDY: "caddy:2", NGINX: "nginx:stable", HAPROXY: "haproxy:lts",
                TRAEFIK: "traefik:v3"}
SERVICE = "shop"

# 200 requests a second in all, half of them on kept connections, with large and long ones among them.
STEADY = {"rate": 200, "uploads_every": "3s", "upload_bytes": 20 * 1024 * 1024, "slow_every": "1s",
          "slow_ms": 10_000 if FULL else 3000}

INVENTORY = """\
service: {service}
image: {image}

hosts:
{hosts}
ssh:
  user: {user}
  keys: [{key}]
  known_hosts: {known_hosts}
  config: false
{ssh}
proxy:
  kind: {kind}
  image: {proxy_image}

health:
  path: /up
  timeout: 1s
  deadline: {deadline}
{more}"""


class Project:
    """A folder with recipes/prod.lua and its inventory, as a team has it. `hosts` are the lab's (all by default),
    `ssh` and `more` further lines of the inventory."""

    RECIPE = "recipes/prod.lua"

    def __init__(self, lab, *, kind=KAMAL, hosts=None, user="root", key=None, deadline="8s", ssh="", more="",
                 known_hosts=None):
        self.lab = lab
        self.hosts = lab.hosts if hosts is None else hosts
        self.folder = lab.scratch()
        (self.folder / "recipes").mkdir()
        shutil.copyfile(ROOT / self.RECIPE, self.recipe)
        self.inventory.write_text(INVENTORY.format(
            service=SERVICE, image=lab.image("app"), user=user, key=key or lab.keys.client["ed25519"], kind=kind,
            hosts="".join(f"  - {{ address: {host.address}, name: {host.name} }}\n" for host in self.hosts), ssh=ssh,
            known_hosts=known_hosts or lab.known_hosts, proxy_image=lab.image(PROXY_IMAGES[kind]), deadline=deadline,
            more=more))

    @property
    def recipe(self):
        return self.folder / self.RECIPE

    @property
    def inventory(self):
        return self.folder / "recipes/prod.yml"

    def replace(self, path, old, new):
        """Changes a file of the project; the old text must be there once."""
        text = path.read_text()
        assert text.count(old) == 1, (old, text)
        path.write_text(text.replace(old, new))

    def start(self, command, *args, env=None):
        return self.lab.start_deployrun([self.RECIPE, command, *args], cwd=self.folder, env=env)

    def run(self, command, *args, env=None, timeout=180):
        return self.start(command, *args, env=env).wait(timeout)

    def good(self, command, *args, **options):
        """Runs a command that must succeed."""
        result = self.run(command, *args, **options)
        assert result.code == 0, result
        return result

    def deploy(self, version, **options):
        return self.good("deploy", "--version", version, **options)

    def history(self):
        """The journal's runs, newest first, as `deployrun history --json` gives them."""
        result = self.lab.deployrun(["history", "--json"], cwd=self.folder)
        assert result.code == 0, result
        return [event["record"] for event in map(json.loads, result.out.splitlines()) if event["type"] == "history"]

    def events(self, command, *args, **options):
        """Runs a command with --json; returns (Result, its events)."""
        result = self.run(command, *args, "--json", **options)
        return result, [json.loads(line) for line in result.out.splitlines()]


def container(version, role="web"):
    return f"{SERVICE}-{role}-{version}"


def snapshots(hosts):
    """The state of each host, by name."""
    with ThreadPoolExecutor(max_workers=len(hosts)) as pool:
        return dict(zip((host.name for host in hosts), pool.map(lambda host: host.snapshot(), hosts)))


def differences(before, after, where=""):
    """Where two snapshots differ, one line each; empty when they are equal."""
    if isinstance(before, dict) and isinstance(after, dict):
        found = []
        for key in sorted({*before, *after}):
            place = f"{where}/{key}"
            if key not in after:
                found.append(f"{place}: gone")
            elif key not in before:
                found.append(f"{place}: new: {after[key]}")
            else:
                found += differences(before[key], after[key], place)
        return found
    return [] if before == after else [f"{where}: {before} became {after}"]


def assert_same(before, after, result=""):
    found = differences(before, after)
    assert not found, "\n".join([*found, str(result)])


def serving(host):
    """The container that the host's proxy sends traffic to: `shop-web-v1`."""
    proxy = host.snapshot()["proxy"]
    targets = [route["target"] for route in proxy.values()] if isinstance(proxy, dict) else proxy or []
    assert len(targets) == 1, (host.name, proxy)
    return targets[0].rpartition(":")[0]


def assert_serving(hosts, version, result=""):
    found = {host.name: serving(host) for host in hosts}
    assert set(found.values()) == {container(version)}, f"{found}, not {version}\n{result}"


def summary_line(summary):
    """What a load found, in one line."""
    kinds = ", ".join(f"{kind['requests']} {name}" for name, kind in sorted(summary["by_kind"].items()))
    return (f"{summary['requests']} requests ({kinds}), {summary['failed']} failed, longest gap "
            f"{summary['longest_gap_ms']} ms, p50 {summary['p50_ms']} ms, p99 {summary['p99_ms']} ms, "
            f"answered by {' '.join(sorted(summary['by_version']))}")


def seconds_line(name, seconds):
    """`deploy: 1.2 s (median of 4; 1.1 to 1.4)`."""
    ordered = sorted(seconds)
    return (f"{name}: {ordered[len(ordered) // 2]:.2f} s (median of {len(ordered)}; {ordered[0]:.2f} to "
            f"{ordered[-1]:.2f})")


def connections(host):
    """How many connections the host's SSH server has accepted so far."""
    return host.machine.log("sshd").count("\nConnection from ")

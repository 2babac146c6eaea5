"""A lab: some servers, a registry and keys, in one private network 10.99.<number>.0/24 (and fd99:<number>::/64).

    with Lab(hosts=3, proxy="kamal") as lab:
        lab.hosts[0].engine.pull(lab.image("app:v1"))

Nothing of it outlives the process, however that ends: see hostinit.py and slot.py.
"""

import os
import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from . import binaries, needs, podman, slot
from . import registry as registry_module
from . import systemd as systemd_module
from .files import HOMES, host_files
from .host import Host
from .keys import PASSPHRASE, Keys
from .load import Load
from .machine import Machine
from .paths import temporary
from .program import Program, environment
from .wait import START, wait_until

REGISTRY_PORT = 5000


class Lab:
    """`hosts`: how many. `proxy`: None, "kamal" or "caddy", started on each host. `sshd`: lines for sshd_config of
    every host, or {host name: lines}. `engine`: whether the hosts run a Docker engine, with `engine_options` in its
    daemon.json; "podman": Podman instead, of the user deploy. `systemd`: whether the hosts run systemd."""

    passphrase = PASSPHRASE

    def __init__(self, hosts=3, proxy=None, sshd=(), engine=True, engine_options=None, systemd=False):
        needs.check()
        if engine == "podman":
            podman.check()
        if systemd:
            systemd_module.check()
        if proxy is not None:
            {"kamal": binaries.kamal_proxy, "caddy": binaries.caddy}[proxy]()  # Skip before anything was started
        self._names = [f"h{n}" for n in range(1, hosts + 1)]
        self._proxy = proxy
        self._engine = engine
        self._systemd = systemd
        self._engine_options = engine_options or {}
        self._sshd = sshd if isinstance(sshd, dict) else {name: sshd for name in self._names}
        self.hosts = []
        self._machines = []
        self._loads = []
        self._lock = None
        self.folder = None

    # --- life

    def __enter__(self):
        return self.up()

    def __exit__(self, *_):
        self.down()

    def up(self):
        slot.sweep_dead()
        self.number, self._lock = slot.take()
        try:
            self._up()
        except BaseException:
            self.down()
            raise
        return self

    def _up(self):
        net = f"10.99.{self.number}"
        self.network = f"{net}.0/24"
        self.registry_address = f"{net}.1:{REGISTRY_PORT}"
        self.folder = temporary(self.number)
        self.folder.mkdir(mode=0o700)
        addresses = {name: f"{net}.{10 + n}" for n, name in enumerate(self._names, 1)}
        with ThreadPoolExecutor(max_workers=len(self._names) + 2) as pool:
            keys = pool.submit(Keys, self.folder / "ssh", self._names)
            storage = pool.submit(registry_module.storage)
            self.keys = keys.result()
            self.known_hosts, self.ssh_config = self.keys.write_client_files(addresses)
            self._start_hub(storage.result())
            machines = pool.map(lambda name: self._start_machine(name, addresses[name]), self._names)
            for machine in machines:
                self._machines.append(machine)
                address = addresses[machine.name]
                self._plug(machine, address)
                self.hosts.append(Host(machine, address, self._cgroup(machine.name), self.registry_address,
                                       "podman" if self._engine == "podman" else "docker", self._systemd))
            list(pool.map(self._start_services, self.hosts))
        wait_until(self.registry.answers, START, "registry")

    def _cgroup(self, name):
        return f"drlab{self.number}-{name}"

    def _start_machine(self, name, address):
        return Machine(self.folder, name, lock_fd=self._lock, cgroup=self._cgroup(name), homes=HOMES,
                       files=host_files(name, address, self.network, self._sshd.get(name, ()), self.keys,
                                        self._engine_options))

    def _start_hub(self, storage):
        """The network's middle: a bridge with the uplink to this machine, and the registry on its address. In a
        namespace of its own, so that no packet filter of this machine sees the traffic between hosts."""
        device = slot.device(self.number)
        config = registry_module.configuration("/var/lib/registry", self.registry_address)
        hub = Machine(self.folder, "hub", lock_fd=self._lock, cgroup=self._cgroup("hub"), devices=["uplink"], remove_folder=True,
                      files=[{"path": "/etc/registry.yml", "text": config}],
                      overlays=[{"lower": str(storage), "path": "/var/lib/registry"}])
        self._machines.append(hub)
        self._hub = hub
        _ip("link", "add", device, "type", "veth", "peer", "name", "uplink", "netns", str(hub.pid))
        _ip("address", "add", f"10.99.{self.number}.254/24", "dev", device)
        _ip("address", "add", f"{self.address6('.254')}/64", "dev", device, "nodad")
        _ip("link", "set", device, "up")
        hub.run(["ip", "-batch", "-"], stdin=f"link add bridge0 type bridge\n"
                f"address add 10.99.{self.number}.1/24 dev bridge0\n"
                f"link set uplink master bridge0\nlink set uplink up\nlink set bridge0 up\n")
        hub.start("registry", ["docker-registry", "serve", "/etc/registry.yml"])
        self.registry = registry_module.Registry(self.registry_address)

    def _plug(self, machine, address):
        _ip("link", "add", machine.name, "netns", str(self._hub.pid), "type", "veth", "peer", "name", "eth0", "netns",
            str(machine.pid))
        self._hub.run(["ip", "-batch", "-"],
                      stdin=f"link set {machine.name} master bridge0\nlink set {machine.name} up\n")
        machine.run(["ip", "-batch", "-"], stdin=f"address add {address}/24 dev eth0\n"
                    f"address add {self.address6(address)}/64 dev eth0 nodad\nlink set eth0 up\n")

    def _start_services(self, host):
        host.start_systemd()
        host.start_sshd()
        if self._engine:
            host.start_engine()
        host.wait_sshd()
        if self._proxy is not None:
            wait_until(self.registry.answers, START, "registry")
            {"kamal": host.start_kamal_proxy, "caddy": host.start_caddy}[self._proxy]()

    def down(self):
        """Ends everything and waits until it is gone."""
        for load in self._loads:
            load.__exit__()
        self._loads.clear()
        if self._lock is None:
            return
        with ThreadPoolExecutor(max_workers=8) as pool:
            list(pool.map(Machine.close, self._machines))
        self._machines.clear()
        self.hosts.clear()
        shutil.rmtree(temporary(self.number), ignore_errors=True)
        os.close(self._lock)
        self._lock = None

    # --- what tests use

    def image(self, name):
        """`app:v1` as the lab's hosts call it."""
        return f"{self.registry_address}/{name}"

    @property
    def urls(self):
        return [host.url for host in self.hosts]

    def address6(self, address):
        """The IPv6 address of what has this IPv4 address in the lab."""
        return f"fd99:{self.number}::{address.rsplit('.', 1)[1]}"

    def unplug(self, host):
        """Takes the cable out: the host's link goes down. plug() puts it in again."""
        self._hub.run(["ip", "link", "set", host.name, "down"])

    def plug(self, host):
        self._hub.run(["ip", "link", "set", host.name, "up"])

    def scratch(self):
        """A fresh folder that dies with the lab."""
        return Path(tempfile.mkdtemp(dir=self.folder))

    def load(self, urls=None, **options):
        """Starts the load generator on the hosts' port 80; returns a Load after the first good answer."""
        load = Load(urls or self.urls, self.scratch() / "requests.jsonl", **options)
        self._loads.append(load)
        return load

    def ssh(self, host, argv, *, user="root", key="ed25519", options=(), timeout=30, env=None):
        """Runs argv on a host with the system's ssh client; returns the CompletedProcess."""
        command = ["ssh", "-F", str(self.ssh_config), "-o", "BatchMode=yes" if env is None else "BatchMode=no",
                   "-l", user, "-i", str(self.keys.client[key])]
        if key != "ed25519":  # the configuration names that one
            command[1:3] = ["-F", "none", "-o", f"UserKnownHostsFile={self.known_hosts}", "-o", "IdentitiesOnly=yes",
                            "-o", "StrictHostKeyChecking=yes"]
        for option in options:
            command += ["-o", option]
        return subprocess.run([*command, host.address, *argv], capture_output=True, text=True, timeout=timeout,
                              stdin=subprocess.DEVNULL, env={**os.environ, **(env or {})})

    def start_deployrun(self, args, *, cwd=None, env=None):
        """Starts the program under test; returns a Program: .signal(), .wait(), .process."""
        return Program(args, cwd=cwd or self.scratch(), env=environment({"HOME": self.folder, **(env or {})}))

    def deployrun(self, args, *, cwd=None, env=None, timeout=120):
        """Runs the program under test to its end; returns a Result: code, out, err, seconds."""
        return self.start_deployrun(args, cwd=cwd, env=env).wait(timeout)


def _ip(*args):
    subprocess.run(["ip", *args], check=True, capture_output=True, text=True)

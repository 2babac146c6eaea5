"""One server of the lab: SSH server, engine, and what a test wants to know of them."""

import os
import shutil
import signal
import socket

from . import binaries, podman, processes
from . import systemd as systemd_module
from .engine import Engine, EngineError
from .files import DEPLOY, sshd_config
from .images import GOOD
from .machine import Machine
from .snapshot import take
from .wait import START, wait_until

ESTABLISHED, LISTENS = "01", "0A"  # include/net/tcp_states.h
CONFIG_VOLUME = "kamal-proxy-config:/home/kamal-proxy/.config/kamal-proxy"


class Host:
    """`name`, `address`, `url` (port 80), `machine` (its namespaces), `engine` (its Engine API)."""

    def __init__(self, machine: Machine, address, cgroup, registry, kind="docker", systemd=False):
        self.machine = machine
        self.name = machine.name
        self.address = address
        self.url = f"http://{address}"
        self.registry = registry
        self._cgroup = cgroup
        self._kind = kind
        self._systemd = systemd
        self._daemon = "podman" if kind == "podman" else "dockerd"
        self.engine = Engine(machine.root / (podman.SOCKET[1:] if kind == "podman" else "run/docker.sock"))
        if kind == "podman":
            podman.prepare(machine, registry, cgroup)
        if systemd:
            systemd_module.prepare(machine)

    # --- services

    def start_services(self):
        self.start_sshd()
        self.start_engine(wait=False)
        self.wait_sshd()
        self.wait_engine()

    def start_systemd(self):
        """systemd, on a host that has it, and all that it starts."""
        if self._systemd:
            systemd_module.start(self.machine, self._cgroup)

    def reboot(self, between=()):
        """Ends systemd and starts it anew, with a program run in between. An engine, and what a test started, go on."""
        systemd_module.stop(self.machine)
        self.machine.run(between or ["true"])
        self.start_systemd()
        self.wait_sshd()

    def start_sshd(self):
        if self._systemd:
            self.machine.run(["systemctl", "start", "ssh"])
        else:
            self.machine.start("sshd", ["/usr/sbin/sshd", "-D", "-e"])

    def wait_sshd(self, port=22):
        def answers():
            with socket.create_connection((self.address, port), timeout=1) as connection:
                return connection.recv(4) == b"SSH-"
        self._wait("systemd" if self._systemd else "sshd" if port == 22 else f"sshd-{port}", answers)

    def stop_sshd(self):
        if self._systemd:
            self.machine.run(["systemctl", "stop", "ssh"])
        else:
            self.machine.stop("sshd")

    def start_engine(self, wait=True):
        argv = ["dockerd", "--cgroup-parent", "/" + self._cgroup]
        self.machine.start(self._daemon, podman.service(self._cgroup) if self._kind == "podman" else argv)
        if wait:
            self.wait_engine()

    def wait_engine(self):
        self._wait(self._daemon, lambda: self.engine.raw("GET", "/_ping", timeout=5)[0] == 200)

    def stop_engine(self, number=signal.SIGTERM):
        """Ends the daemon as a stop of its service does, which stops the containers too; SIGKILL: as a crash does."""
        self.machine.stop(self._daemon, number)
        (self.machine.root / "run/docker.pid").unlink(missing_ok=True)

    def as_engine_user(self, argv, **options):
        """Runs a program as the user whose Podman it is, in a session like his own."""
        return self.machine.run(podman.command(self._cgroup, argv), **options)

    def _wait(self, service, check):
        def ready():
            if not self.machine.alive(service):
                raise RuntimeError(f"{self.name}: {service} ended:\n{self.machine.log(service)[-4000:]}")
            return check()
        try:
            wait_until(ready, START, f"{self.name}: {service}")
        except TimeoutError as error:
            raise TimeoutError(f"{error}\n{self.machine.log(service)[-4000:]}") from None

    def configure_sshd(self, lines):
        """Restarts sshd with these lines before the standard ones; open sessions go on."""
        (self.machine.root / "etc/ssh/sshd_config").write_text(sshd_config(lines))
        self.stop_sshd()
        self.start_sshd()
        self.wait_sshd()

    # --- containers

    def image(self, name):
        """`app:v1` as this lab's hosts call it."""
        return f"{self.registry}/{name}"

    def run_app(self, tag, name=None, network="kamal", **options):
        """Starts the app directly, without deployrun; returns the container's id, of a good version once it listens."""
        self.engine.network(network)
        container = self.engine.run(name or f"app-{tag}", self.image(f"app:{tag}"), network=network, **options)
        if tag in GOOD:
            wait_until(lambda: self.has_socket(container, LISTENS), START, f"{self.name}: app {tag}")
        return container

    def has_socket(self, container, state, port=80):
        """Whether a container has a TCP socket of its own at `port` in this state of the kernel's table."""
        pid = self.engine.get(f"/containers/{container}/json")["State"]["Pid"]
        rows = (self.machine.root / f"proc/{pid}/net/tcp6").read_text().splitlines()[1:]
        return any(fields[1].endswith(f":{port:04X}") and fields[3] == state for fields in map(str.split, rows))

    def start_kamal_proxy(self):
        """As Kamal starts it, on ports 80 and 443; returns when it takes commands."""
        self.engine.network("kamal")
        self.engine.run("kamal-proxy", self.image("kamal-proxy:v0.9.2"), network="kamal", publish={80: 80, 443: 443},
                        volumes=[CONFIG_VOLUME], restart="unless-stopped")
        wait_until(lambda: self.kamal_proxy("list")[0] == 0, START, f"{self.name}: kamal-proxy")

    def kamal_proxy(self, *argv, timeout=60):
        """Runs a kamal-proxy command in its container; returns (exit code, stdout, stderr)."""
        return self.engine.exec("kamal-proxy", ["kamal-proxy", *argv], timeout)

    def start_caddy(self):
        """Port 80, and the admin API on its default address inside the container."""
        # Caddy 2.6 opens its listeners anew on each change of its configuration (SO_REUSEPORT) and closes the old
        # ones; without this the kernel resets the connections that wait in them.
        migrate = {"Sysctls": {"net.ipv4.tcp_migrate_req": "1"}}
        self.engine.network("kamal")
        self.engine.run("caddy", self.image("caddy:2"), network="kamal", publish={80: 80, 443: 443},
                        volumes=["caddy-config:/config", "caddy-data:/data"], restart="unless-stopped",
                        host_config=migrate)
        wait_until(self._port_80_answers, START, f"{self.name}: caddy")

    def _port_80_answers(self):
        with socket.create_connection((self.address, 80), timeout=2) as connection:
            connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
            return connection.recv(5) == b"HTTP/"

    def snapshot(self):
        """Containers, images, networks, volumes and proxy routes without ids, addresses and times: equal for equal
        states of two hosts or two moments."""
        return take(self.engine)

    def reset(self):
        """Removes all containers, volumes and networks; images stay. For several cases in one lab."""
        for container in self.engine.get("/containers/json?all=1"):
            try:
                self.engine.remove(container["Id"])
            except EngineError as error:
                if error.status not in (404, 409):
                    raise
        self.engine.call("POST", "/networks/prune")
        self.engine.call("POST", "/volumes/prune")
        for volume in self.engine.get("/volumes")["Volumes"] or []:
            self.engine.call("DELETE", f"/volumes/{volume['Name']}?force=1")
        self.machine.run(["sh", "-c", "rm -rf /root/.deployrun /home/deploy/.deployrun /root/.kamal"])

    def install_compose(self):
        """Docker's Compose plugin, as root and deploy find it; without it the server has version 1, where the machine
        has it."""
        for home, uid in (("root", 0), ("home/deploy", DEPLOY)):
            folder = self.machine.root / home / ".docker/cli-plugins"
            folder.mkdir(parents=True)
            shutil.copy2(binaries.compose(), folder / "docker-compose")
            for path in (folder.parent, folder, folder / "docker-compose"):
                os.chown(path, uid, uid)

    # --- files

    def read(self, path):
        return (self.machine.root / path.lstrip("/")).read_text()

    def exists(self, path):
        return (self.machine.root / path.lstrip("/")).exists()

    # --- trouble

    def cut(self):
        """Drops every packet of this host in silence, both ways; connections stay open and dead. mend() ends it."""
        for chain, side in (("PREROUTING", "-i"), ("OUTPUT", "-o")):
            self.machine.run(["iptables", "-t", "raw", "-I", chain, side, "eth0", "-j", "DROP"])

    def mend(self):
        for chain, side in (("PREROUTING", "-i"), ("OUTPUT", "-o")):
            self.machine.run(["iptables", "-t", "raw", "-D", chain, side, "eth0", "-j", "DROP"])

    def ssh_rules(self, *rules):
        """Packet filter rules for SSH alone, in place of those of an earlier call: `OUTPUT -j DROP`."""
        for table in ("raw", "filter"):
            self.machine.run(["iptables", "-t", table, "-F", *([] if table == "raw" else ["INPUT"])])
        for rule in rules:
            chain, *words = rule.split()
            table = "raw" if "REJECT" not in words else "filter"
            port = "--sport" if chain == "OUTPUT" else "--dport"
            self.machine.run(["iptables", "-t", table, "-I", chain, "-p", "tcp", port, "22", *words])

    def end_ssh_sessions(self):
        """Kills every process of the SSH server but the one that listens."""
        proc, listener = self.machine.root / "proc", self.machine.process("sshd")
        for pid in processes.numbers(proc):
            if pid != listener and (processes.read(pid, "comm", proc) or b"").startswith(b"sshd"):
                self.machine.run(["kill", "-KILL", str(pid)], check=False)

    def freeze(self):
        """Stops all its processes; the kernel still accepts connections for them. thaw() ends it."""
        self.machine.freeze()

    def thaw(self):
        self.machine.thaw()

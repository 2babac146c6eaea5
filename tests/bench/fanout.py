"""fanout: one command on each of many servers, from nothing to the last answer, beside what else does that.

The servers are addresses of one lab host: its sshd does the work of all of them, for every contestant the same.
"""

import shutil

from benchkit import PRODUCT, environment, host_table, peak_memory, recipe, report, run, take_turns
from labkit import Lab
from labkit.paths import deployrun

FORKS = 50


def _addresses(lab, count):
    """Further addresses on the lab host's interface, from .50 on."""
    network = lab.hosts[0].address.rsplit(".", 1)[0]
    addresses = [f"{network}.{number}" for number in range(50, 50 + count)]
    lab.hosts[0].machine.run(["ip", "-batch", "-"], stdin="".join(f"address add {a}/24 dev eth0\n" for a in addresses))
    return addresses


def _peers(folder, config, addresses):
    """Each tool with its own defaults, but for the number at once, which is the same for all that have one."""
    hosts = folder / "hosts"
    hosts.write_text("\n".join(addresses) + "\n")
    inventory = folder / "inventory"
    inventory.write_text("\n".join(addresses) + "\n[all:vars]\nansible_ssh_common_args=-F " + str(config) + "\n")
    commands = {
        "parallel-ssh": ["parallel-ssh", "-h", hosts, "-p", FORKS, "-x", f"-F {config}", "-t", 120, "true"],
        "pdsh": ["pdsh", "-S", "-R", "ssh", "-f", FORKS, "-w", f"^{hosts}", "true"],
        "clush": ["clush", "-S", "-q", "-f", FORKS, "-o", f"-F {config}", "--hostfile", hosts, "true"],
        "ansible -m raw": ["ansible", "all", "-i", inventory, "-f", FORKS, "-m", "raw", "-a", "true"],
        "ansible -m command": ["ansible", "all", "-i", inventory, "-f", FORKS, "-m", "command", "-a", "true"],
    }
    return {name: argv for name, argv in commands.items() if shutil.which(argv[0])}


def measure(count, pairs):
    print(f"\n== fanout: `true` on {count} servers, each connected to first; {FORKS} at once for the others")
    with Lab(hosts=1, engine=False, sshd=["MaxStartups 1000"]) as lab:
        addresses = _addresses(lab, count)
        folder = lab.scratch()
        known_hosts, config = folder / "known_hosts", folder / "config"
        names = ",".join(addresses)
        known_hosts.write_text("".join(f"{names} {line.split(' ', 1)[1]}\n" for line in
                                       lab.known_hosts.read_text().splitlines()
                                       if line.split()[0] == lab.hosts[0].address))
        key = lab.keys.client["ed25519"]
        config.write_text(f"User root\nIdentityFile {key}\nIdentitiesOnly yes\nUserKnownHostsFile {known_hosts}\n"
                          "GlobalKnownHostsFile /dev/null\nLogLevel ERROR\n")
        tables = ",\n  ".join(host_table(address, address, 22, key, known_hosts) for address in addresses)
        path = recipe(folder, f"local hosts = {{\n  {tables}\n}}", 'on:exec({ "true" }, { reads = true })')
        here = environment(lab)
        there = {**here, "PDSH_SSH_ARGS_APPEND": f"-F {config}"}
        contestants = {PRODUCT: lambda: run([deployrun(), path], cwd=folder, env=here)}
        for name, argv in _peers(folder, config, addresses).items():
            contestants[name] = lambda a=argv: run(a, cwd=folder, env=there)
        report(take_turns(contestants, pairs))
        print(f"peak memory of {PRODUCT}: {peak_memory([deployrun(), path], cwd=folder, env=here):.0f} MiB")

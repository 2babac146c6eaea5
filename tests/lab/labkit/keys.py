"""SSH keys of a lab: host keys per machine, client keys of each kind, known_hosts and a client configuration."""

import subprocess

KINDS = {"ed25519": [], "ecdsa": ["-b", "256"], "rsa": ["-b", "2048"]}
PASSPHRASE = "a lab passphrase"


def _generate(jobs):
    """Runs ssh-keygen for (path, kind, passphrase) triples, all at once."""
    running = [subprocess.Popen(["ssh-keygen", "-q", "-t", kind, *KINDS[kind], "-N", passphrase, "-C", "lab",
                                 "-f", str(path)], stdin=subprocess.DEVNULL) for path, kind, passphrase in jobs]
    if any(process.wait() for process in running):
        raise RuntimeError("ssh-keygen failed")


class Keys:
    """Private keys of clients: `ed25519`, `ecdsa`, `rsa`, and `encrypted` (ed25519 under PASSPHRASE)."""

    def __init__(self, folder, hosts):
        self.folder = folder
        folder.mkdir(mode=0o700)
        self.client = {kind: folder / f"id_{kind}" for kind in (*KINDS, "encrypted")}
        jobs = [(path, "ed25519" if name == "encrypted" else name, PASSPHRASE if name == "encrypted" else "")
                for name, path in self.client.items()]
        for host in hosts:
            (folder / host).mkdir()
            jobs += [(self.host_key(host, kind), kind, "") for kind in KINDS]
        _generate(jobs)
        self.authorized = "".join(path.with_suffix(".pub").read_text() for path in self.client.values())

    def host_key(self, host, kind):
        return self.folder / host / f"ssh_host_{kind}_key"

    def replace_host_key(self, host, kind):
        """Makes another key for a host in the same place; the caller installs it."""
        path = self.host_key(host, kind)
        path.unlink()
        path.with_suffix(".pub").unlink()
        _generate([(path, kind, "")])

    def write_client_files(self, addresses):
        """Writes `known_hosts` and `config` for {name: address}; returns their paths."""
        known = self.folder / "known_hosts"
        config = self.folder / "config"
        lines = []
        blocks = []
        for name, address in addresses.items():
            for kind in KINDS:
                public = self.host_key(name, kind).with_suffix(".pub").read_text().split()
                lines.append(f"{address} {public[0]} {public[1]}\n")
            blocks.append(f"Host {name} {address}\n  HostName {address}\n  User root\n"
                          f"  IdentityFile {self.client['ed25519']}\n  IdentitiesOnly yes\n"
                          f"  UserKnownHostsFile {known}\n  GlobalKnownHostsFile /dev/null\n"
                          f"  StrictHostKeyChecking yes\n")
        known.write_text("".join(lines))
        config.write_text("\n".join(blocks))
        return known, config

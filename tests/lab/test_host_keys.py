"""Who is this host? Every kind of known_hosts line, read by deployrun and by the system's ssh client, which must agree:
on the host itself, and on somebody else who answers in its place."""

import base64
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor

from labkit import Lab

RECIPE = """\
local deploy = require "deploy"

deploy.command "look" {
  reads = true,
  run = function(run)
    for _, case in ipairs(require "cases") do
      local host = deploy.host(case.host)
      local ok, failure = pcall(host.exec, host, { "true" })
      run:log(("case %s: %s"):format(case.name, ok and "match" or failure.kind))
      if not ok then run:log(("said %s: %s"):format(case.name, failure.message)) end
      host:close()
    end
  end,
}
"""
VERDICTS = {"ssh.host_unknown": "unknown", "ssh.host_changed": "changed", "ssh.host_revoked": "revoked"}


def public(path):
    """`ssh-ed25519 AAAA…` of a key."""
    return " ".join(path.with_suffix(".pub").read_text().split()[:2])


class Keys:
    """The lines' right-hand sides: the host's keys and others of the same types."""

    def __init__(self, lab):
        other = lab.scratch()
        for kind in ("ed25519", "ecdsa", "rsa"):
            subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", other / kind], check=True)
            setattr(self, kind, public(lab.keys.host_key("h1", kind)))
            setattr(self, f"other_{kind}", public(other / kind))


def hashed(lab, line):
    """The line as `ssh-keygen -H` writes it."""
    path = lab.scratch() / "known_hosts"
    path.write_text(line + "\n")
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", path], check=True, capture_output=True)
    return path.read_text().rstrip("\n")


def cases(lab, key):
    """name: (lines, or a list of files' lines; port; HostKeyAlias)."""
    a = lab.hosts[0].address
    net = a.rsplit(".", 1)[0]
    blob = key.ed25519.split()[1]
    cut = base64.b64encode(base64.b64decode(blob)[:20]).decode()
    found = {
        "plain": f"{a} {key.ed25519}",
        "plain ecdsa": f"{a} {key.ecdsa}",
        "plain rsa": f"{a} {key.rsa}",
        "all types": f"{a} {key.rsa}\n{a} {key.ecdsa}\n{a} {key.ed25519}",
        "another key": f"{a} {key.other_ed25519}",
        "another key of another type": f"{a} {key.other_ecdsa}",
        "another rsa key": f"{a} {key.other_rsa}",
        "one type right, one wrong": f"{a} {key.other_ed25519}\n{a} {key.rsa}",
        "several keys of a type": f"{a} {key.other_ed25519}\n{a} {key.ed25519}",
        "nothing": "",
        "comments and blanks": f"# {a} {key.other_ed25519}\n\n  # more\n{a} {key.ed25519}",
        "another host": f"{net}.99 {key.ed25519}",
        "hashed": hashed(lab, f"{a} {key.ed25519}"),
        "hashed, another key": hashed(lab, f"{a} {key.other_ed25519}"),
        "hashed, another host": hashed(lab, f"{net}.99 {key.ed25519}"),
        "hashed with a port": (hashed(lab, f"[{a}]:2222 {key.ed25519}"), 2222),
        "port": (f"[{a}]:2222 {key.ed25519}", 2222),
        "port, another key": (f"[{a}]:2222 {key.other_ed25519}", 2222),
        "port, the bare name vouches": (f"{a} {key.ed25519}", 2222),
        "port, the bare name contradicts": (f"{a} {key.other_ed25519}", 2222),
        "port contradicts, the bare name vouches": (f"[{a}]:2222 {key.other_ed25519}\n{a} {key.ed25519}", 2222),
        "port vouches, the bare name contradicts": (f"[{a}]:2222 {key.ed25519}\n{a} {key.other_ed25519}", 2222),
        "port, the bare name knows another type": (f"{a} {key.rsa}", 2222),
        "another port": f"[{a}]:2222 {key.ed25519}",
        "the usual port in brackets": f"[{a}]:22 {key.ed25519}",
        "wildcard": f"{net}.* {key.ed25519}",
        "wildcard of one": f"{a[:-1]}? {key.ed25519}",
        "wildcard, another key": f"{net}.* {key.other_ed25519}",
        "wildcard, another type": f"* {key.other_rsa}",
        "everybody": f"* {key.ed25519}",
        "negated": f"!{a},{net}.* {key.ed25519}",
        "another negated": f"!{net}.99,{net}.* {key.ed25519}",
        "negated alone": f"!{net}.99 {key.ed25519}",
        "a list": f"web,{a},db {key.ed25519}",
        "revoked": f"@revoked {a} {key.ed25519}",
        "revoked for all, known to one": f"{a} {key.ed25519}\n@revoked * {key.ed25519}",
        "another key revoked": f"@revoked * {key.other_ed25519}\n{a} {key.ed25519}",
        "another type revoked": f"@revoked * {key.ecdsa}\n{a} {key.ed25519}",
        "revoked for others": f"@revoked !{a},* {key.ed25519}\n{a} {key.ed25519}",
        "revoked, hashed": "@revoked " + hashed(lab, f"{a} {key.ed25519}") + f"\n{a} {key.ed25519}",
        "revoked with the bare name": (f"[{a}]:2222 {key.ed25519}\n@revoked {a} {key.ed25519}", 2222),
        "an authority alone": f"@cert-authority {a} {key.ed25519}",
        "an authority beside the key": f"@cert-authority * {key.other_rsa}\n{a} {key.ed25519}",
        "an authority beside another key": f"@cert-authority * {key.ed25519}\n{a} {key.other_ed25519}",
        "a marker nobody knows": f"@trusted {a} {key.ed25519}",
        "half a key": f"{a} ssh-ed25519 {cut}",
        "no key": f"{a}",
        "a key under another type's name": f"{a} ssh-rsa {blob}",
        "broken lines before": f"{a}\n{a} ssh-ed25519\n{a} ssh-ed25519 !!!\n{a} {key.ed25519}",
        "line ends of Windows": f"{a} {key.ed25519}\r",
        "tabs and a comment": f" \t{a}\t{key.ed25519.replace(' ', chr(9))} root@host of mine",
        "an alias": (f"prod {key.ed25519}", 22, "prod"),
        "an alias, another key": (f"prod {key.other_ed25519}\n{a} {key.ed25519}", 22, "prod"),
        "an alias stands without its port": (f"prod {key.ed25519}", 2222, "prod"),
        "two files": [f"{a} {key.other_ed25519}", f"{a} {key.ed25519}"],
        "revoked in the second file": [f"{a} {key.ed25519}", f"@revoked * {key.ed25519}"],
        "a server without the known type": (f"[{a}]:2201 {key.ed25519}", 2201),
        "a server with one type": (f"[{a}]:2201 {key.ecdsa}", 2201),
        "a server with one type, another key": (f"[{a}]:2201 {key.other_ecdsa}", 2201),
        "a server with one type, several known": (f"[{a}]:2201 {key.ed25519}\n[{a}]:2201 {key.ecdsa}", 2201),
    }
    return {name: case if isinstance(case, tuple) else (case,) for name, case in found.items()}


class Case:
    def __init__(self, lab, name, lines, port=22, alias=None):
        self.name, self.port, self.address = name, port, lab.hosts[0].address
        folder = lab.scratch()
        self.files = []
        for number, text in enumerate(lines if isinstance(lines, list) else [lines]):
            self.files.append(folder / f"known_hosts{number}")
            self.files[-1].write_bytes(text.encode() + b"\n")
        self.key = lab.keys.client["ed25519"]
        self.config = folder / "config"
        self.config.write_text(f"IdentityFile {self.key}\nIdentitiesOnly yes\n"
                               f"UserKnownHostsFile {' '.join(map(str, self.files))}\nGlobalKnownHostsFile /dev/null\n"
                               "StrictHostKeyChecking yes\n" + (f"HostKeyAlias {alias}\n" if alias else ""))

    def lua(self):
        return (f'{{ name = "{self.name}", host = {{ name = "{self.name}", address = "{self.address}", user = "root", '
                f'port = {self.port}, config = "{self.config}" }} }},\n')

    def openssh(self):
        """What the system's client makes of it."""
        result = subprocess.run(["ssh", "-F", self.config, "-o", "BatchMode=yes", "-p", str(self.port),
                                 f"root@{self.address}", "true"], capture_output=True, text=True, timeout=60,
                                stdin=subprocess.DEVNULL, check=False)
        if result.returncode == 0:
            return "match"
        if "REVOKED HOST KEY" in result.stderr:
            return "revoked"
        if "REMOTE HOST IDENTIFICATION HAS CHANGED" in result.stderr:
            return "changed"
        if re.search("No .* host key is known", result.stderr):
            return "unknown"
        return result.stderr


def verdicts(lab, every):
    """({name: verdict} of deployrun, the same of ssh, {name: message} of deployrun's refusals)."""
    folder = lab.scratch()
    (folder / "look.lua").write_text(RECIPE)
    (folder / "cases.lua").write_text("return {\n" + "".join(case.lua() for case in every) + "}\n")
    with ThreadPoolExecutor(max_workers=4) as pool:
        ssh = pool.map(Case.openssh, every)
        result = lab.deployrun(["look.lua"], cwd=folder, timeout=240)
        ssh = dict(zip((case.name for case in every), ssh))
    assert result.code == 0, result
    ours = {name: VERDICTS.get(kind, kind) for name, kind in re.findall(r"case (.*): (\S+)$", result.out, re.M)}
    return ours, ssh, dict(re.findall(r"said (.*?): (.*)$", result.out, re.M))


def start_others(host):
    """More servers on the same host: one on another port, one that has an ECDSA key alone."""
    for name, port, keys in (("sshd-2222", 2222, ("ed25519", "ecdsa", "rsa")), ("sshd-2201", 2201, ("ecdsa",))):
        config = host.machine.root / f"etc/ssh/{name}"
        config.write_text(f"Port {port}\nPermitRootLogin yes\nUsePAM no\nMaxStartups 200\nLogLevel VERBOSE\n"
                          f"PidFile none\n" + "".join(f"HostKey /etc/ssh/ssh_host_{key}_key\n" for key in keys))
        host.machine.start(name, ["/usr/sbin/sshd", "-D", "-e", "-f", f"/etc/ssh/{name}"])
        host.wait_sshd(port)


def logins(host):
    return sum(host.machine.log(name).count("Accepted publickey") for name in ("sshd", "sshd-2222", "sshd-2201"))


def test_host_keys_are_judged_as_openssh_does():
    with Lab(hosts=1, engine=False, sshd=["MaxStartups 200"]) as lab:
        host = lab.hosts[0]
        start_others(host)
        every = [Case(lab, name, *case) for name, case in cases(lab, Keys(lab)).items()]
        ours, ssh, said = verdicts(lab, every)
        wrong = {name: (ours.get(name), verdict) for name, verdict in ssh.items() if ours.get(name) != verdict}
        assert not wrong, f"ours, OpenSSH's: {wrong}"
        assert set(ssh.values()) == {"match", "unknown", "changed", "revoked"}, ssh
        assert "names a certificate authority" in said["an authority alone"], said
        assert "it offers ecdsa-sha2-nistp256" in said["a server without the known type"], said
        let_in = sum(verdict == "match" for verdict in ssh.values())

        # Somebody else answers on the same address, with keys of his own of every type.
        for name in ("sshd", "sshd-2222", "sshd-2201"):
            host.machine.stop(name)
        for kind in ("ed25519", "ecdsa", "rsa"):
            lab.keys.replace_host_key("h1", kind)
            path = host.machine.root / f"etc/ssh/ssh_host_{kind}_key"
            path.write_text(lab.keys.host_key("h1", kind).read_text())
        before = logins(host)
        host.start_sshd()
        host.wait_sshd()
        start_others(host)
        before = logins(host)
        ours, ssh, said = verdicts(lab, every)
        wrong = {name: (ours.get(name), verdict) for name, verdict in ssh.items() if ours.get(name) != verdict}
        assert not wrong, f"ours, OpenSSH's: {wrong}"
        assert "match" not in ours.values(), ours
        assert logins(host) == before
        assert re.search("SHA256:.*known is ssh-ed25519 SHA256:", said["plain"]), said
    return f"{len(ssh)} of {len(ssh)} cases as OpenSSH: {let_in} let in; in the hands of somebody else: 0"


def test_a_certificate_alone_is_refused_in_so_many_words():
    """OpenSSH takes such a host; libssh2 1.11.1 cannot check a host's certificate."""
    with Lab(hosts=1, engine=False) as lab:
        host = lab.hosts[0]
        authority = lab.scratch() / "ca"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", authority], check=True)
        key = host.machine.root / "etc/ssh/ssh_host_ed25519_key.pub"
        signed = lab.scratch() / "key.pub"
        signed.write_bytes(key.read_bytes())
        subprocess.run(["ssh-keygen", "-q", "-s", authority, "-I", "h1", "-h", "-n", host.address, signed], check=True)
        (host.machine.root / "etc/ssh/ssh_host_ed25519_key-cert.pub").write_bytes(
            signed.with_name("key-cert.pub").read_bytes())
        host.configure_sshd(["HostCertificate /etc/ssh/ssh_host_ed25519_key-cert.pub"])
        case = Case(lab, "certificate", f"@cert-authority {host.address} {public(authority)}")
        ours, ssh, said = verdicts(lab, [case])
        assert ssh == {"certificate": "match"}, ssh
        assert ours == {"certificate": "unknown"}, ours
        assert "certificate authority for it, which cannot be used" in said["certificate"], said

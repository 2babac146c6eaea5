"""The configuration files of a lab host: users, SSH server, engine."""

import json
import os

DEPLOY, OPS, DOCKER_GROUP = 1000, 1001, 998

PASSWD = f"""root:x:0:0:root:/root:/bin/bash
daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin
sshd:x:105:65534::/run/sshd:/usr/sbin/nologin
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
deploy:x:{DEPLOY}:{DEPLOY}::/home/deploy:/bin/bash
ops:x:{OPS}:{OPS}::/home/ops:/bin/bash
"""
GROUP = f"""root:x:0:
tty:x:5:
sudo:x:27:ops
docker:x:{DOCKER_GROUP}:deploy
deploy:x:{DEPLOY}:
ops:x:{OPS}:
nogroup:x:65534:
"""
SHADOW = "".join(f"{name}:*:19000:0:99999:7:::\n" for name in ("root", "daemon", "sshd", "nobody", "deploy", "ops"))
HOMES = [{"path": "/root", "uid": 0}, {"path": "/home/deploy", "uid": DEPLOY}, {"path": "/home/ops", "uid": OPS}]
SSHD = """Port 22
HostKey /etc/ssh/ssh_host_ed25519_key
HostKey /etc/ssh/ssh_host_ecdsa_key
HostKey /etc/ssh/ssh_host_rsa_key
UsePAM no
UseDNS no
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
PrintMotd no
PrintLastLog no
PidFile /run/sshd.pid
MaxStartups 200
LogLevel VERBOSE
Subsystem sftp /usr/lib/openssh/sftp-server
"""


def sshd_config(extra):
    """`extra` lines come first: sshd takes the first value that it reads."""
    return "".join(line + "\n" for line in extra) + SSHD


def engine_config(network, options):
    return json.dumps({"data-root": "/var/lib/docker", "exec-root": "/run/docker", "pidfile": "/run/docker.pid",
                       "hosts": ["unix:///run/docker.sock"], "insecure-registries": [network],
                       "exec-opts": ["native.cgroupdriver=cgroupfs"], "log-level": "warn", "shutdown-timeout": 3,
                       **options})


def host_files(name, address, network, sshd_lines, keys, engine_options):
    """All files that differ from an empty /etc, as hostinit takes them."""
    files = [
        {"path": "/etc/passwd", "text": PASSWD},
        {"path": "/etc/group", "text": GROUP},
        {"path": "/etc/shadow", "text": SHADOW, "mode": 0o600},
        {"path": "/etc/nsswitch.conf", "text": "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\n"},
        {"path": "/etc/hosts", "text": f"127.0.0.1 localhost\n{address} {name}\n"},
        {"path": "/etc/hostname", "text": name + "\n"},
        {"path": "/etc/resolv.conf", "text": ""},
        {"path": "/etc/profile", "text": ""},
        {"path": "/etc/ssh/sshd_config", "text": sshd_config(sshd_lines), "mode": 0o600},
        {"path": "/etc/docker/daemon.json", "text": engine_config(network, engine_options)},
    ]
    for kind in ("ed25519", "ecdsa", "rsa"):
        key = keys.host_key(name, kind)
        files.append({"path": f"/etc/ssh/ssh_host_{kind}_key", "text": key.read_text(), "mode": 0o600})
        files.append({"path": f"/etc/ssh/ssh_host_{kind}_key.pub", "text": key.with_suffix(".pub").read_text()})
    for home in HOMES:
        files.append({"path": home["path"] + "/.ssh/authorized_keys", "text": keys.authorized, "mode": 0o600,
                      "uid": home["uid"]})
    if os.path.exists("/usr/bin/sudo"):
        files.append({"path": "/etc/sudoers", "text": "root ALL=(ALL) ALL\nops ALL=(ALL) NOPASSWD: ALL\n",
                      "mode": 0o440})
        for module in ("sudo", "other"):
            files.append({"path": f"/etc/pam.d/{module}",
                          "text": "".join(f"{part} required pam_permit.so\n"
                                          for part in ("auth", "account", "password", "session"))})
    return files

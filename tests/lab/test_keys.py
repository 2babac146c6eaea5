"""Whole deploys with every kind of key, user and SSH server: the server says which key it took."""

import re

from agent import Agent
from labkit import Lab
from prodkit import Project, assert_serving, container

NAMES = {"rsa": "RSA", "ed25519": "ED25519", "ecdsa": "ECDSA"}


def accepted(host):
    """(user, kind of key) of every login that the host's SSH server accepted, in order."""
    return re.findall(r"^Accepted publickey for (\S+) from \S+ port \d+ ssh2: (\S+) ", host.machine.log("sshd"), re.M)


def _ship(project, version, *logins, env=None):
    """Deploys and asserts that the servers served it, and took these logins alone."""
    hosts = project.hosts
    before = {host.name: len(accepted(host)) for host in hosts}
    result = project.deploy(version, env=env)
    assert_serving(hosts, version, result)
    for host in hosts:
        assert accepted(host)[before[host.name]:] == list(logins), (accepted(host), result)


def test_deploys_with_rsa_ecdsa_and_ed25519_keys():
    with Lab(hosts=1) as lab:
        for version, user, (kind, name) in zip(("v1", "v2", "v3"), ("root", "deploy", "root"), NAMES.items()):
            _ship(Project(lab, user=user, key=lab.keys.client[kind]), version, (user, name))


def test_deploys_with_an_encrypted_key():
    with Lab(hosts=1) as lab:
        project = Project(lab, key=lab.keys.client["encrypted"], ssh="  passphrase: KEY_PASSPHRASE\n")
        _ship(project, "v1", ("root", "ED25519"), env={"KEY_PASSPHRASE": lab.passphrase})
        wrong = project.run("deploy", "--version", "v2", env={"KEY_PASSPHRASE": "another"})
        assert wrong.code in (2, 4) and "another" not in wrong.out + wrong.err, wrong
        missing = project.run("deploy", "--version", "v2")
        assert missing.code == 2 and "KEY_PASSPHRASE" in missing.err + missing.out, missing
        assert_serving(lab.hosts, "v1")


def test_deploys_with_keys_of_an_agent():
    with Lab(hosts=1) as lab:
        for version, (kind, name) in zip(("v1", "v2", "v3"), NAMES.items()):
            with Agent(lab.scratch(), lab.keys.client[kind]) as agent:
                project = Project(lab)
                project.replace(project.inventory, f"  keys: [{lab.keys.client['ed25519']}]\n", "")
                _ship(project, version, ("root", name), env={"SSH_AUTH_SOCK": agent.socket})
        refused = project.run("deploy", "--version", "v4")  # without the agent there is no key at all
        assert refused.code == 4, refused
        assert container("v4") not in lab.hosts[0].snapshot()["containers"]


def test_deploys_where_stream_forwarding_is_forbidden():
    """The engine is reached through `docker system dial-stdio` there, and through the forwarded socket elsewhere."""
    with Lab(hosts=2, sshd={"h2": ["AllowStreamLocalForwarding no"]}) as lab:
        for version, user in (("v1", "root"), ("v2", "deploy")):
            project = Project(lab, user=user)
            _ship(project, version, (user, "ED25519"))
        project.good("rollback")
        assert_serving(lab.hosts, "v1")


def test_a_user_without_the_engine_is_refused():
    with Lab(hosts=1) as lab:
        result = Project(lab, user="ops").run("deploy", "--version", "v1")
        assert result.code in (1, 4), result
        assert re.search("permission|denied|forbidden|not allowed", result.out + result.err), result
        assert lab.hosts[0].snapshot()["containers"] == {}

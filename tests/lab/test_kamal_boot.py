"""Booting in batches (boot.limit, boot.wait) with Kamal's hooks once for each, on three servers under load; rollbacks that
make a new container."""

import re
import signal

from kamalkit import Project, containers, latest, push, running
from labkit import Lab, wait_until
from prodkit import summary_line

HOOK = """#!/bin/sh
echo "$(basename $0) $KAMAL_HOSTS $KAMAL_LOCK $KAMAL_COMMAND" >> hooks.log
[ ! -e "fail-$(basename $0)-$KAMAL_HOSTS" ] || { echo "told to fail" >&2; exit 1; }
[ ! -e "hang-$(basename $0)-$KAMAL_HOSTS" ] || exec sleep 20
"""
NAMES = ("pre-connect", "pre-deploy", "pre-app-boot", "post-app-boot", "pre-proxy-reboot", "post-proxy-reboot")


def _with_hooks(project):
    for name in NAMES:
        path = project.folder / ".kamal/hooks" / name
        path.write_text(HOOK)
        path.chmod(0o755)
    (project.folder / ".kamal/hooks/post-deploy").unlink()


def _hooks(project):
    """What the hooks have noted since the last call."""
    log = project.folder / "hooks.log"
    lines = log.read_text().splitlines() if log.exists() else []
    log.unlink(missing_ok=True)
    return lines


def _serving(lab):
    return [running(host) for host in lab.hosts]


def _killed_in_a_hook(lab, project):
    """KILL while the second batch's first hook runs: --abort runs no hook, --resume those that were not known to have ended."""
    one, two, three = (host.address for host in lab.hosts)
    hang = project.folder / f"hang-pre-app-boot-{two}"
    for how, version, served in (("--abort", "t2", "t1"), ("--resume", "t2", "t2")):
        hang.touch()
        program = project.start("deploy", "-P", "--version", version)
        log = project.folder / "hooks.log"
        wait_until(lambda: log.exists() and f"pre-app-boot {two}" in log.read_text(), 60, "the hook")
        program.signal(signal.SIGKILL)
        program.wait()
        assert _serving(lab) == [["shop-web-t2"], ["shop-web-t1"], ["shop-web-t1"]]
        _hooks(project)
        hang.unlink()
        result = project.good(how)
        assert _serving(lab) == [[f"shop-web-{served}"]] * 3, result
        expected = [] if how == "--abort" else [
            f"pre-app-boot {two} true deploy", f"post-app-boot {two} true deploy",
            f"pre-app-boot {three} true deploy", f"post-app-boot {three} true deploy"]
        done = _hooks(project)
        # How the hook before the kill ended may not have reached the disk: that one may run again.
        if done[:1] == [f"post-app-boot {one} true deploy"]:
            done = done[1:]
        assert done == expected, (how, done, result)
        assert not lab.hosts[0].exists("/root/.kamal/lock-shop")


def test_servers_are_booted_in_batches_with_hooks_for_each():
    with Lab(hosts=3) as lab:
        push(lab, "t1", "t2", "t3")
        project = Project(lab)
        _with_hooks(project)
        project.configure("deploy_timeout: 6\n", "deploy_timeout: 6\nboot: { limit: 1, wait: 1 }\n")
        one, two, three = (host.address for host in lab.hosts)
        everywhere = ",".join((one, two, three))
        project.good("setup", "-P", "--version", "t1")
        assert _hooks(project) == [f"pre-connect {everywhere} false setup", f"pre-deploy {everywhere} true setup"] + [
            f"{when}-app-boot {host} true setup" for host in (one, two, three) for when in ("pre", "post")]
        with lab.load(rate=100) as load:
            _killed_in_a_hook(lab, project)
            # The second batch fails: the first one goes back too.
            (project.folder / f"fail-pre-app-boot-{two}").touch()
            bad = project.run("deploy", "-P", "--version", "t3")
            assert bad.code == 1 and "told to fail" in bad.out + bad.err, bad
            assert _serving(lab) == [["shop-web-t2"]] * 3 and running(lab.hosts[0], "workers") == ["shop-workers-t2"], bad
            assert f"post-app-boot {one} true deploy" in _hooks(project)
            assert project.good("deploy", "-P", "--version", "t3", "-H").code == 0 and _hooks(project) == []
            summary = load.stop()
        assert summary["failed"] == 0, summary
        assert _serving(lab) == [["shop-web-t3"]] * 3
        # Half of the hosts, rounded down: one at a time; two at a time.
        project.configure("limit: 1, wait: 1", "limit: 2")
        project.good("redeploy", "-P", "--version", "t2")
        assert _hooks(project)[2:] == [f"{when}-app-boot {hosts} true redeploy" for hosts in (f"{one},{two}", three)
                                       for when in ("pre", "post")]
        project.good("proxy", "reboot", "-y", "--rolling", "--version", "t2")
        assert _hooks(project) == [f"{when}-proxy-reboot {host} true proxy" for host in (one, two, three)
                                   for when in ("pre", "post")]
        project.good("proxy", "reboot", "-y", "--version", "t2")
        assert _hooks(project) == [f"{when}-proxy-reboot {everywhere} true proxy" for when in ("pre", "post")]
        return summary_line(summary)


def test_a_fresh_rollback_makes_a_new_container():
    with Lab(hosts=2) as lab:
        push(lab, "t1", "t2")
        project = Project(lab)
        first = lab.hosts[0]
        project.good("setup", "-P", "--version", "t1")
        project.good("deploy", "-P", "--version", "t2")

        def made(version):
            found = first.engine.get(f"/containers/shop-web-{version}/json")
            return found["Id"], [line for line in found["Config"]["Env"] if line.startswith("GREETING=")][0]
        old = made("t1")
        project.configure('GREETING: "hello there"', "GREETING: changed")
        with lab.load(rate=100) as load:
            project.good("rollback", "t1", "--fresh")
            new = made("t1")
            assert new[0] != old[0] and new[1] == "GREETING=changed" and old[1] == "GREETING=hello there", (old, new)
            assert _serving(lab) == [["shop-web-t1"]] * 2 and [latest(host) for host in lab.hosts] == [["t1"]] * 2
            # The old one was set aside, as at every boot of a version that is there, and is pruned like others.
            aside = [name for name in containers(first, role="web") if name.startswith("shop-web-t1_replaced_")]
            assert len(aside) == 1 and containers(first)[aside[0]]["Id"] == old[0], aside
            # Without it: the container of the deploy, as it was; and that again as its own kept one.
            project.good("rollback", "t2")
            assert made("t2")[1] == "GREETING=hello there"
            project.good("rollback")
            assert made("t1") == new
            summary = load.stop()
        assert summary["failed"] == 0, summary
        return summary_line(summary)


def test_a_new_version_is_asked_before_the_proxy_is():
    """It says what it answered; where the server forbids asking, and where it ends, the proxy decides as with Kamal."""
    with Lab(hosts=2) as lab:
        push(lab, "t1", "t2", "t3")
        push(lab, "slow", env=["BOOT_DELAY_MS=1300"])
        push(lab, "down", env=["BOOT_DELAY_MS=60000", "CRASH_AFTER_MS=300", "EXIT_CODE=3"])
        project = Project(lab)
        project.good("setup", "-P", "--version", "t1")
        with lab.load(rate=100) as load:
            project.good("deploy", "-P", "--version", "slow")
            project.good("deploy", "-P", "--version", "t2")
            bad = project.run("deploy", "-P", "--version", "unhealthy")
            assert bad.code == 1 and "shop-web-unhealthy did not become healthy" in bad.out, bad
            assert re.search(r"http://[\d.]+:80/up", bad.out) and "500" in bad.out and "a redirect is no answer" in bad.out, bad
            down = project.run("deploy", "-P", "--version", "down")
            assert down.code == 1 and "shop-web-down" in down.out and "target failed to become healthy" in down.out, down
            assert _serving(lab) == [["shop-web-t2"]] * 2
            for host in lab.hosts:
                host.configure_sshd(["AllowTcpForwarding local", "AllowStreamLocalForwarding yes", "PermitOpen none"])
            project.good("deploy", "-P", "--version", "t3")
            bad = project.run("deploy", "-P", "--version", "unhealthy")
            assert bad.code == 1 and "target failed to become healthy" in bad.out, bad
            assert _serving(lab) == [["shop-web-t3"]] * 2
            summary = load.stop()
        assert summary["failed"] == 0, summary
        return summary_line(summary)


for _test in (test_servers_are_booted_in_batches_with_hooks_for_each,):
    _test.timeout = 600

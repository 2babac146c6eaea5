"""recipes/harden.lua on a real SSH server and a real firewall: what is closed, what stays open, and that nobody is locked out:
where the second login fails, and where the run ends in the middle, all is as before."""

import signal
import socket
import subprocess
from pathlib import Path

from labkit import Lab, wait_until
from labkit.needs import Skip
from labkit.paths import ROOT

HOST = 'deploy.hosts {{ {{ address = "{address}", name = "{name}", user = "{user}", keys = {{ "{key}" }}, '\
       'known_hosts = "{known}", config = false }} }}'
# The third second login is the one after the firewall.
BROKEN = """
local prove, calls = harden.prove, 0
function harden:prove(host)
  calls = calls + 1
  if calls == 3 then %s end
  return prove(self, host)
end
"""


LETS_PASSWORDS_IN = ["PasswordAuthentication yes", "KbdInteractiveAuthentication yes"]
OPEN = [True, True, False, False]  # 22, 80, 8081, 9999 of a hardened host
UNIT = "deployrun-firewall.service"
LATE = """
    run:step("fail", { on = servers, run = function() deploy.fail("too late") end })
"""
TIMERS = ("apt-daily.timer", "apt-daily-upgrade.timer")
NETWORK = """[Unit]
DefaultDependencies=no
After=network-pre.target
Before=network.target sysinit.target
[Service]
Type=oneshot
ExecStart=sh -c '/usr/sbin/nft list ruleset >/run/seen-by-network'
[Install]
WantedBy=sysinit.target
"""


class Hardened:
    """A folder with the recipe for one host."""

    def __init__(self, lab, upgrades=False, user="root"):
        self.lab, self.host, self.folder = lab, lab.hosts[0], lab.scratch()
        (self.folder / "recipes").mkdir()
        words = HOST.format(address=self.host.address, name=self.host.name, user=user, key=lab.keys.client["ed25519"],
                            known=lab.known_hosts)
        text = (ROOT / "recipes/harden.lua").read_text()
        self.text = text.replace('deploy.hosts { "root@10.0.0.5" }', words)
        if not upgrades:  # no package source in the lab
            self.text = self.text.replace("upgrades = true", "upgrades = false")
        assert words in self.text and f"upgrades = {str(upgrades).lower()}" in self.text
        self.write()

    def write(self, broken=None):
        at = self.text.index('deploy.command "harden"')
        more = BROKEN % broken if broken else ""
        (self.folder / "recipes/harden.lua").write_text(self.text[:at] + more + self.text[at:])

    def start(self, *args):
        return self.lab.start_deployrun(["recipes/harden.lua", *args], cwd=self.folder)

    def run(self, *args):
        return self.start(*args).wait(180)

    def reached(self, port):
        try:
            with socket.create_connection((self.host.address, port), timeout=2):
                return True
        except OSError:
            return False

    def methods(self):
        """What the SSH server offers to somebody without a key."""
        said = subprocess.run(["ssh", "-F", "none", "-o", "PreferredAuthentications=none", "-o", "StrictHostKeyChecking=no",
                               "-o", "UserKnownHostsFile=/dev/null", f"root@{self.host.address}", "true"],
                              capture_output=True, text=True, timeout=30, check=False).stderr
        return said.rsplit("(", 1)[1].split(")")[0].split(",") if "Permission denied (" in said else said

    def state(self):
        """What a run could leave."""
        script = ("cat /etc/ssh/sshd_config; ls -R /etc/ssh /etc/deployrun /run/deployrun* 2>&1; "
                  "nft list table inet deployrun 2>&1; systemctl list-unit-files 'deployrun*' 2>&1")
        return self.host.machine.run(["sh", "-c", script], check=False).stdout


def _offers(host):
    """A port that the host listens on itself, and one that Docker publishes beside 80."""
    host.machine.start("other", ["python3", "-m", "http.server", "9999"])
    host.engine.network("kamal")
    host.engine.run("app-80", host.image("app:v1"), network="kamal", publish={80: 80})
    host.engine.run("app-8081", host.image("app:v1"), network="kamal", publish={8081: 80})


def _harden(site):
    """Fails first and is taken back whole; then for good, and again. Returns what to print."""
    host = site.host
    _offers(host)
    wait_until(lambda: all(site.reached(port) for port in (22, 80, 8081, 9999)), 60, "what is offered")
    assert "password" in site.methods(), site.methods()
    before = site.state()

    plan = site.run("--plan")
    assert plan.code == 0 and site.state() == before, plan

    # The second login after the firewall fails: all is taken back.
    site.write('deploy.fail("nobody gets in")')
    bad = site.run()
    assert bad.code == 1 and "nobody gets in" in bad.out + bad.err, bad
    assert site.state() == before, (before, site.state(), bad)
    wait_until(lambda: "password" in site.methods(), 60, "passwords again")  # a reload does not wait for sshd
    assert site.reached(9999) and site.reached(8081)

    site.write()
    good = site.run()
    assert good.code == 0, good
    assert site.methods() == ["publickey"], site.methods()
    assert [site.reached(port) for port in (22, 80, 8081, 9999)] == OPEN, good
    again = site.run()
    assert again.code == 0 and "3 unchanged" in again.out, again
    return f"{good.seconds:.1f} s; again {again.seconds:.1f} s"


def test_a_server_is_hardened():
    with Lab(hosts=1, sshd=LETS_PASSWORDS_IN) as lab:
        return _harden(Hardened(lab))


def _needs_sudo():
    if not Path("/usr/bin/sudo").exists():
        raise Skip("packages are missing: sudo")


def test_a_plain_user_with_sudo_hardens():
    """Who logs in is nobody; sudo without a password does the rest. Without it nothing is touched."""
    _needs_sudo()
    with Lab(hosts=1, sshd=LETS_PASSWORDS_IN) as lab:
        told = _harden(Hardened(lab, user="ops"))
        site, state = Hardened(lab, user="deploy"), Hardened(lab).state()  # who is no sudoer
        refused = site.run()
        said = refused.out + refused.err
        assert refused.code == 1 and "deploy may not become root: sudo: " in said, refused
        assert "deploy ALL=(root) NOPASSWD: ALL" in said and site.state() == state, refused
        plan = Hardened(lab, user="ops").run("--plan")
        assert plan.code == 0 and plan.out.rstrip().endswith("no changes"), plan
        return told


def _write(host, path, text):
    place = host.machine.root / path
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text)


def test_a_server_with_systemd_stays_closed():
    """After a start of the server, before its network is there; beside the unit of the distribution; upgrades have their timers."""
    with Lab(hosts=1, systemd=True, sshd=LETS_PASSWORDS_IN) as lab:
        site, host = Hardened(lab, upgrades=True), lab.hosts[0]
        _write(host, "etc/apt/apt.conf.d/01lab", "")
        _write(host, "var/lib/dpkg/info/format", "1\n")
        _write(host, "var/lib/dpkg/status", "Package: unattended-upgrades\nStatus: install ok installed\nVersion: 2.9\n"
               "Architecture: all\nMaintainer: lab\nDescription: there already\n")
        # As where cloud-init waits for the network: it comes up before sysinit.target.
        _write(host, "etc/systemd/system/network-up.service", NETWORK)
        _write(host, "etc/nftables.conf", "flush ruleset\n")

        def systemctl(*words):
            return host.machine.run(["systemctl", "--no-pager", *words], check=False).stdout.strip()

        systemctl("daemon-reload")
        systemctl("enable", "network-up")
        pid = systemctl("show", "-P", "MainPID", "ssh")

        # A later step fails, as that of another server does: all is taken back, the unit too.
        late, text = '    run:step("upgrade by itself", {', site.text
        assert late in text
        before = site.state()
        site.text = text.replace(late, LATE + late)
        site.write()
        bad = site.run()
        assert bad.code == 1 and "too late" in bad.out + bad.err, bad
        assert site.state() == before, (before, site.state(), bad)
        assert UNIT not in systemctl("list-units", "--all"), systemctl("status", UNIT)
        site.text = text
        site.write()
        told = _harden(site)
        assert systemctl("show", "-P", "MainPID", "ssh") == pid, "a reload, not a restart"
        assert systemctl("is-enabled", UNIT) == "enabled" and systemctl("is-active", UNIT) == "active"
        found = host.machine.run(["systemd-analyze", "verify", f"/etc/systemd/system/{UNIT}"])
        assert found.stdout + found.stderr == "", found
        for timer in TIMERS:
            assert systemctl("is-enabled", timer) == "enabled" and systemctl("is-active", timer) == "active", timer
        assert "Unattended-Upgrade" in host.read("/etc/apt/apt.conf.d/20auto-upgrades")

        host.reboot(between=["nft", "delete", "table", "inet", "deployrun"])
        assert systemctl("is-system-running") == "running", systemctl("--failed")
        log = host.machine.run(["journalctl", "--no-pager", "-b"]).stdout
        assert "cycle" not in log, log
        assert "chain input" in host.read("/run/seen-by-network")
        assert [site.reached(port) for port in (22, 80, 8081, 9999)] == OPEN
        again = site.run()
        assert again.code == 0 and "3 unchanged" in again.out, again

        # The distribution's own unit empties all tables when it starts.
        systemctl("start", "nftables")
        assert "chain input" not in site.state()
        again = site.run()
        assert again.code == 0 and "2 unchanged" in again.out and "chain input" in site.state(), again
        for words in (("restart", "nftables"), ("reload", "nftables"), ("restart", UNIT)):
            systemctl(*words)
            # Ours follows; systemctl waits for the one that it was told.
            wait_until(lambda: "chain input" in site.state(), 60, f"the firewall after {words}")
            assert not site.reached(9999)
        systemctl("enable", "nftables")
        host.reboot()
        assert "chain input" in site.state() and not site.reached(9999)
        return told


def _ends_in_the_middle(user):
    with Lab(hosts=1, systemd=True) as lab:
        site, host = Hardened(lab, user=user), lab.hosts[0]
        _offers(host)
        site.write('deploy.sleep("10m")')
        program = site.start()
        wait_until(lambda: "chain input" in site.state(), 60, "a firewall that waits for its proof")
        assert not site.reached(9999)
        program.signal(signal.SIGKILL)
        program.wait()
        wait_until(lambda: "chain input" not in site.state() and site.reached(9999), 120, "the firewall was taken back")
        undone = site.run("--abort")
        assert undone.code == 0, undone
        assert site.reached(9999) and "chain input" not in site.state(), undone


def test_nobody_is_locked_out_by_a_run_that_ends_in_the_middle():
    """The process is gone before the second login: the server takes the firewall back by itself."""
    _ends_in_the_middle("root")


def test_no_sudoer_is_locked_out_either():
    _needs_sudo()
    _ends_in_the_middle("ops")


test_nobody_is_locked_out_by_a_run_that_ends_in_the_middle.timeout = 400
test_no_sudoer_is_locked_out_either.timeout = 400

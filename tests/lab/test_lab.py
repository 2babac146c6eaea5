"""The lab's own tests: what the other tests stand on."""

import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from labkit import Lab, processes, slot, wait_until
from labkit.host import ESTABLISHED
from labkit.images import BROKEN, GOOD
from prodkit import summary_line

STEADY = {"rate": 200, "uploads_every": "2s", "upload_bytes": 20 * 1024 * 1024, "slow_every": "1s", "slow_ms": 3000}


def get(url):
    with urllib.request.urlopen(url, timeout=10) as answer:
        return answer.read().decode()


def processes_of(number):
    """Processes whose command line names a lab's folder or cgroup."""
    lines = (line.replace(b"\0", b" ").decode(errors="replace") for line in processes.command_lines().values())
    return [text for text in lines if f"deployrun-lab-{number}/" in text or f"drlab{number}-" in text]


def test_hosts_are_separate_machines():
    with Lab(hosts=3) as lab:
        names = [lab.ssh(host, ["hostname"]).stdout.strip() for host in lab.hosts]
        assert names == ["h1", "h2", "h3"], names
        lab.hosts[0].machine.run(["touch", "/root/only-here"])
        assert lab.hosts[0].exists("/root/only-here")
        assert not lab.hosts[1].exists("/root/only-here")
        lab.hosts[0].engine.pull(lab.image("app:v1"))
        assert lab.hosts[0].snapshot()["images"] == [lab.image("app:v1")]
        assert lab.hosts[1].snapshot()["images"] == []
        other = lab.hosts[0].machine.run(["bash", "-c", f"exec 3<>/dev/tcp/{lab.hosts[1].address}/22; head -c 4 <&3"])
        assert other.stdout == "SSH-", other


def test_ssh_takes_every_kind_of_key():
    with Lab(hosts=1, engine=False) as lab:
        host = lab.hosts[0]
        for kind in ("ed25519", "ecdsa", "rsa"):
            answer = lab.ssh(host, ["id", "-un"], user="deploy", key=kind)
            assert answer.stdout == "deploy\n", (kind, answer)
        ask = lab.folder / "ask"
        ask.write_text(f"#!/bin/sh\necho '{lab.passphrase}'\n")
        ask.chmod(0o700)
        answer = lab.ssh(host, ["id", "-un"], key="encrypted", options=["PreferredAuthentications=publickey"],
                         env={"SSH_ASKPASS": ask, "SSH_ASKPASS_REQUIRE": "force"})
        assert answer.stdout == "root\n", answer
        refused = lab.ssh(host, ["true"], key="encrypted")
        assert refused.returncode == 255, refused


def test_sshd_lines_of_one_host():
    with Lab(hosts=2, sshd={"h2": ["AllowStreamLocalForwarding no", "MaxSessions 1"]}) as lab:
        lines = [lab.hosts[n].machine.run(["/usr/sbin/sshd", "-T"]).stdout for n in (0, 1)]
        assert "allowstreamlocalforwarding yes" in lines[0] and "allowstreamlocalforwarding no" in lines[1]
        assert "maxsessions 1\n" in lines[1]
        assert lab.ssh(lab.hosts[1], ["docker", "version", "-f", "{{.Server.Version}}"], user="deploy").returncode == 0
        lab.hosts[1].configure_sshd(["MaxSessions 0"])
        assert lab.ssh(lab.hosts[1], ["true"]).returncode != 0


def test_registry_has_every_tag():
    with Lab(hosts=1) as lab:
        assert set(lab.registry.tags("app")) >= set(GOOD) | set(BROKEN)
        host = lab.hosts[0]
        host.engine.pull(lab.image("app:v2"))
        inspected = host.engine.get(f"/images/{lab.image('app:v2')}/json")
        assert inspected["RepoDigests"] == [f"{lab.image('app')}@{lab.registry.digest('app', 'v2')}"], inspected


def test_broken_images_break_as_named():
    with Lab(hosts=1) as lab:
        host = lab.hosts[0]
        names = {tag: host.run_app(tag) for tag in BROKEN}

        def ended(tag):
            state = host.engine.get(f"/containers/{names[tag]}/json")["State"]
            return state["Status"] == "exited" and state["ExitCode"]
        for tag in ("crash", "crash-boot"):
            assert wait_until(lambda t=tag: ended(t), 60, f"end of {tag}") == 3
            assert "fatal: cannot reach the database" in host.engine.logs(names[tag])

        def status(tag, port=80):
            address = host.engine.get(f"/containers/{names[tag]}/json")["NetworkSettings"]["Networks"]["kamal"]
            probe = (f"exec 3<>/dev/tcp/{address['IPAddress']}/{port} && "
                     "printf 'GET /up HTTP/1.0\\r\\n\\r\\n' >&3 && timeout 2 head -n 1 <&3")
            return host.machine.run(["bash", "-c", probe], check=False).stdout.strip()
        for tag, port, line in (("unhealthy", 80, "HTTP/1.1 500 Internal Server Error"),
                                ("redirect", 80, "HTTP/1.1 301 Moved Permanently"), ("wrong-port", 8080, "HTTP/1.1 200 OK")):
            wait_until(lambda t=tag, p=port, answer=line: status(t, p) == answer, 60, tag)
        assert status("wrong-port") == ""
        assert status("slow-boot") == ""
        assert status("slow-health") == ""


def test_app_behind_kamal_proxy():
    with Lab(hosts=1, proxy="kamal") as lab:
        host = lab.hosts[0]
        host.run_app("v1")
        code, out, err = host.kamal_proxy("deploy", "app", "--target", "app-v1:80")
        assert code == 0, (out, err)
        assert get(host.url).startswith("v1 ")
        assert host.snapshot()["proxy"] == {
            "app": {"host": "*", "path": "/", "target": "app-v1:80", "state": "running"}}
        with lab.load(**STEADY) as load:
            host.run_app("v2")
            code, out, err = host.kamal_proxy("deploy", "app", "--target", "app-v2:80", "--drain-timeout", "10s")
            assert code == 0, (out, err)
            host.engine.remove("app-v1")
            time.sleep(1)
            summary = load.stop()
        assert summary["failed"] == 0, summary
        assert set(summary["by_version"]) == {"v1", "v2"}, summary


def _caddy_to(host, upstream):
    """Sends port 80 of a host to an upstream, through a configuration file and a reload."""
    (host.machine.root / "tmp/Caddyfile").write_text(f":80 {{\n\treverse_proxy {upstream}\n}}\n")
    host.machine.run(["docker", "cp", "/tmp/Caddyfile", "caddy:/etc/caddy/Caddyfile"])
    code, out, err = host.engine.exec("caddy", ["caddy", "reload", "--config", "/etc/caddy/Caddyfile", "--adapter",
                                                "caddyfile"])
    assert code == 0, (out, err)


def test_app_behind_caddy():
    with Lab(hosts=1, proxy="caddy") as lab:
        host = lab.hosts[0]
        assert host.snapshot()["proxy"] == []
        host.run_app("v1")
        _caddy_to(host, "app-v1:80")
        assert get(host.url).startswith("v1 ")
        assert host.snapshot()["proxy"] == ["app-v1:80"]
        with lab.load(**STEADY) as load:
            host.run_app("v2")
            _caddy_to(host, "app-v2:80")
            time.sleep(1)
            summary = load.stop()
        assert summary["failed"] == 0, summary
        assert set(summary["by_version"]) == {"v1", "v2"}, summary


def test_load_of_an_undisturbed_app_loses_nothing():
    with Lab(hosts=2) as lab:
        for host in lab.hosts:
            host.run_app("v1", publish={80: 80})
        with lab.load(duration="5s", **STEADY) as load:
            summary = load.wait()
        assert summary["failed"] == 0, summary
        assert summary["requests"] >= 900
        assert summary["by_kind"]["upload"]["requests"] >= 2 and summary["by_kind"]["slow"]["requests"] >= 4
        assert len(load.records()) == summary["requests"]
        return summary_line(summary)


def test_load_reports_a_killed_app():
    with Lab(hosts=1) as lab:
        host = lab.hosts[0]
        container = host.run_app("v1", publish={80: 80})
        with lab.load(**STEADY) as load:
            host.engine.call("POST", f"/containers/{container}/kill")
            wait_until(lambda: any(r["error"] for r in load.records()), 60, "a failed request")
            summary = load.stop()
        assert summary["failed"] > 0
        assert summary["failures"][0]["error"].startswith("curl "), summary["failures"][0]


def test_app_finishes_requests_when_stopped():
    with Lab(hosts=1) as lab:
        host = lab.hosts[0]
        container = host.run_app("v1", publish={80: 80})
        slow = subprocess.Popen(["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", host.url + "/slow?ms=5000"],
                                stdout=subprocess.PIPE, text=True)
        wait_until(lambda: host.has_socket(container, ESTABLISHED), 60, "the request's connection")
        time.sleep(0.5)  # nothing tells when the app has it
        host.engine.call("POST", f"/containers/{container}/stop?t=30")
        assert slow.communicate()[0] == "200"
        assert host.engine.get(f"/containers/{container}/json")["State"]["ExitCode"] == 0
        assert "1 requests were in flight" in host.engine.logs(container)


def test_cut_and_frozen_hosts():
    with Lab(hosts=2) as lab:
        first, second = lab.hosts
        quick, patient = ["ConnectTimeout=1"], ["ConnectTimeout=20"]
        first.cut()
        assert lab.ssh(first, ["true"], options=quick).returncode == 255
        assert lab.ssh(second, ["true"], options=patient).returncode == 0
        first.mend()
        assert lab.ssh(first, ["true"], options=patient).returncode == 0
        lab.unplug(first)
        assert lab.ssh(first, ["true"], options=quick).returncode == 255
        lab.plug(first)
        assert lab.ssh(first, ["true"], options=patient).returncode == 0
        first.freeze()
        assert lab.ssh(first, ["true"], options=quick).returncode == 255
        first.thaw()
        assert lab.ssh(first, ["true"], options=patient).returncode == 0


def test_engine_can_crash_and_come_back():
    with Lab(hosts=1) as lab:
        host = lab.hosts[0]
        container = host.run_app("v1", publish={80: 80})
        assert get(host.url).startswith("v1 ")
        host.stop_engine(signal.SIGKILL)
        assert get(host.url).startswith("v1 "), "the container outlives its engine"
        host.start_engine()
        # Engine 20.10 without live-restore ends the containers that it finds.
        wait_until(lambda: host.snapshot()["containers"]["app-v1"]["state"] == "exited", 60, "end of the container")
        host.engine.call("POST", f"/containers/{container}/start")
        assert wait_until(lambda: get(host.url), 60, "the app").startswith("v1 ")


def test_two_labs_at_once():
    with Lab(hosts=1) as one, Lab(hosts=1) as two:
        assert one.network != two.network
        one.hosts[0].run_app("v1", publish={80: 80})
        two.hosts[0].run_app("v2", publish={80: 80})
        assert get(one.hosts[0].url).startswith("v1 ")
        assert get(two.hosts[0].url).startswith("v2 ")


def test_a_host_with_systemd():
    """Beside an engine; units are the real ones, for who logs in as for the test."""
    with Lab(hosts=1, systemd=True) as lab:
        host = lab.hosts[0]
        (host.machine.root / "etc/systemd/system/hello.service").write_text(
            "[Service]\nType=oneshot\nExecStart=/bin/sh -c 'echo hello; echo there >/root/hello'\n")
        answer = lab.ssh(host, ["systemctl daemon-reload && systemctl start hello && systemctl is-system-running"])
        assert answer.stdout == "running\n", answer
        assert host.read("/root/hello") == "there\n"
        assert "hello" in host.machine.run(["journalctl", "--no-pager", "-u", "hello"]).stdout
        failed = lab.ssh(host, ["systemctl", "start", "nothing"])
        assert failed.returncode != 0 and "not found" in failed.stderr, failed
        # The machine's own settings and devices are out of its reach.
        for path in ("/proc/sys/kernel/hostname", "/sys/kernel/uevent_seqnum"):
            assert host.machine.run(["sh", "-c", f"findmnt -T {path} -n -o OPTIONS"]).stdout.startswith("ro,"), path
        before = lab.ssh(host, ["systemctl", "show", "-P", "MainPID", "ssh"]).stdout
        host.configure_sshd(["MaxSessions 1"])
        assert lab.ssh(host, ["systemctl", "show", "-P", "MainPID", "ssh"]).stdout != before
        host.run_app("v1", publish={80: 80})
        assert get(host.url).startswith("v1 ")


def test_nothing_is_left_after_the_end():
    for systemd in (False, True):
        with Lab(hosts=2, systemd=systemd) as lab:
            lab.hosts[0].run_app("v1", publish={80: 80})
            number = lab.number
            assert slot.leftovers(number) and processes_of(number)
        assert slot.leftovers(number) == []
        assert processes_of(number) == []


def test_nothing_is_left_after_a_kill():
    program = ("import sys; sys.path.insert(0, sys.argv[1])\nfrom labkit import Lab\n"
               "lab = Lab(hosts=1, systemd=len(sys.argv) > 2).up()\nlab.hosts[0].run_app('v1')\nprint(lab.number, flush=True)\nsys.stdin.read()\n")
    for number, more in ((signal.SIGKILL, []), (signal.SIGTERM, []), (signal.SIGKILL, ["systemd"])):
        owner = subprocess.Popen([sys.executable, "-c", program, os.path.dirname(__file__), *more],
                                 stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        lab_number = int(owner.stdout.readline())
        assert processes_of(lab_number)
        owner.send_signal(number)
        owner.communicate()
        wait_until(lambda n=lab_number: not processes_of(n), 60, "end of the lab's processes")
        wait_until(lambda n=lab_number: not slot.leftovers(n), 60, "end of its devices and folders")


for _test in (test_app_behind_kamal_proxy, test_app_behind_caddy, test_load_of_an_undisturbed_app_loses_nothing):
    _test.alone = True  # beside others the machine would be what keeps requests waiting
for _test in (test_nothing_is_left_after_the_end, test_nothing_is_left_after_a_kill):
    _test.alone = True  # another lab might take the number


HANGING = '''
import os, time
def test_fine(): return "measured"
def test_never_cleans_up():
    try:
        time.sleep(60)
    finally:
        time.sleep(60)
test_never_cleans_up.timeout = 1
def test_leaves_a_child_behind():
    if os.fork() == 0:
        os.closerange(1, 3)
        time.sleep(20)
        os._exit(0)
test_leaves_a_child_behind.timeout = 1
'''


def test_one_that_hangs_is_killed_and_named():
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "test_it.py").write_text(HANGING)
        ended = subprocess.run([sys.executable, Path(__file__).with_name("run.py"), "--folder", folder],
                               env={**os.environ, "LAB_CLEANING": "1"}, capture_output=True, text=True, timeout=60,
                               check=False)
        assert ended.returncode == 1, ended
        for name in ("test_never_cleans_up", "test_leaves_a_child_behind"):
            assert f"failed: test_it::{name}: killed: " in ended.stdout, ended.stdout
        assert ended.stdout.endswith("1 passed, 2 failed, 0 skipped\n"), ended.stdout

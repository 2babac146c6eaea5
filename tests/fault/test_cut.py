"""A server goes away in the middle of a deploy: its cable is pulled, or its SSH server hangs. That is noticed and said;
when it is back, one command ends everything as before or as after."""

import json
import signal
import time
from concurrent.futures import ThreadPoolExecutor

from faultkit import LIGHT, Lab, Site, Watch, step_of
from labkit import processes
from prodkit import summary_line

NOTICED = 60  # seconds; SAFETY.md F3 says 45, on a machine with nothing else to do


def _ssh_processes(host):
    """Process IDs of the host's SSH server and its sessions, inside its namespace."""
    proc = host.machine.root / "proc"
    return [str(pid) for pid in processes.numbers(proc) if processes.read(pid, "comm", proc) == b"sshd\n"]


def _signal_ssh(host, name):
    host.machine.run(["kill", f"-{name}", *_ssh_processes(host)], check=False)  # one may have ended meanwhile


def _lost(lab, site, *, take_away, bring_back, settle, step, load_on):
    """One host is lost when a step whose name has `step` begins; returns what was measured."""
    victim = site.hosts[1]
    before = site.states()
    with lab.load(load_on, **LIGHT) as load:
        watch = Watch(site.start("--json"))
        watch.wait_for(f"the step {step}", step_of(step), 60)
        take_away(victim)
        begin = time.monotonic()
        try:
            noticed = watch.wait_for("the loss", lambda event: event["type"] == "task.finished" and event.get("error")
                                     and event["host"] == victim.name, NOTICED + 5) - begin
            if settle == "resume":
                # Undoing needs the host too and cannot succeed now. A process that dies instead leaves the run as it is.
                watch.program.signal(signal.SIGKILL)
                code, text = watch.end(10)
                assert code == -signal.SIGKILL, (code, text)
            else:
                code, text = watch.end(300)
                assert code in (1, 5), (code, watch.events, text)
                said = json.dumps([event for _, event in watch.events if event["type"] in ("error", "log")]) + text
                assert victim.name in said, said
            ended = time.monotonic() - begin
        finally:
            bring_back(victim)
        assert noticed <= NOTICED, noticed
        if code != 1:
            result = site.settle(settle)
            assert result.code == 0, result
        context = watch.events
        if settle == "resume":
            site.assert_after(context)
        else:
            site.assert_before(before, context)
        summary = load.stop()
    assert summary["failed"] == 0, summary["failures"]
    return f"noticed after {noticed:.1f} s, exit {code} after {ended:.1f} s; {summary_line(summary)}"


def _in_labs(*cases):
    """Each case in a lab of its own, all at the same time: they mostly wait for a dead connection to be noticed."""
    def work(case):
        step, settle, whole, take_away, bring_back = case
        with Lab(hosts=3) as lab:
            site = Site(lab, count=10)
            site.learn()
            urls = lab.urls if whole else [lab.hosts[0].url, lab.hosts[2].url]
            found = _lost(lab, site, step=step, settle=settle, load_on=urls, take_away=lambda host: take_away(lab, host),
                          bring_back=lambda host: bring_back(lab, host))
            return f"at «{step}», then --{settle}: {found}"

    with ThreadPoolExecutor(max_workers=len(cases)) as pool:
        return "\n".join(pool.map(work, cases))


CABLE = (False, Lab.unplug, Lab.plug)
HANGING_SSH = (True, lambda _, host: _signal_ssh(host, "STOP"), lambda _, host: _signal_ssh(host, "CONT"))


def test_a_server_that_is_lost_in_the_middle_of_a_deploy():
    return _in_labs(("start", "abort", *CABLE), ("switch", "resume", *CABLE), ("switch", "abort", *CABLE),
                    ("switch", "abort", *HANGING_SSH))


test_a_server_that_is_lost_in_the_middle_of_a_deploy.timeout = 900

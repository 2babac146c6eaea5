"""The network between the operator and a server fails in the middle of a deploy, and servers that take few connections.
Only SSH is hit: the server itself serves on, so no request may fail. Once the network is back, one command ends everything
as before or as after."""

import signal
from concurrent.futures import ThreadPoolExecutor

from faultkit import FULL, LIGHT, Lab, Site, Watch, step_of
from labkit.slowlink import SlowLink
from prodkit import summary_line

NOTICED = 60  # seconds; 45 on an idle machine (SAFETY.md F3)

# The packet filter's rules of a fault; RESET answers with a reset, HALF is what is left of a server that forgot.
DROP = ("PREROUTING -j DROP", "OUTPUT -j DROP")
ONE_WAY = ("OUTPUT -j DROP",)
RESET = ("INPUT -j REJECT --reject-with tcp-reset",)
LOSS = ("PREROUTING -m statistic --mode random --probability 0.05 -j DROP",
        "OUTPUT -m statistic --mode random --probability 0.05 -j DROP")


def _rules(*rules):
    return lambda host: host.ssh_rules(*rules)


def _half_open(host):
    """The server's end of every connection is gone, and the client was not told."""
    host.ssh_rules(*DROP)
    host.end_ssh_sessions()
    host.ssh_rules()


def _restart(host):
    """As an update of the package does it, only worse: open sessions end too."""
    host.stop_sshd()
    host.end_ssh_sessions()
    host.start_sshd()
    host.wait_sshd()


FAULTS = {"drop": _rules(*DROP), "one way": _rules(*ONE_WAY), "reset": _rules(*RESET), "half-open": _half_open,
          "restart of sshd": _restart}
PHASES = ["look", "proxy", "pull", "start", "wait", "switch", "retire"]
IN_CI = [[("one way", "pull", "abort"), ("restart of sshd", "switch", "abort"), ("half-open", "retire", "resume")],
         [("reset", "start", "resume"), ("restart of sshd", "look", "abort"), ("reset", "switch", "abort"),
          ("half-open", "wait", "abort")]]


def _share(cases, count):
    return [cases[index::count] for index in range(count)]


def _one(site, fault, phase, mode):
    """One deploy whose second server is hit when a step begins."""
    victim, before = site.hosts[1], site.states()
    watch = Watch(site.start("--json"))
    try:
        watch.wait_for(f"the step {phase}", step_of(phase), 120)
        FAULTS[fault](victim)
        if mode == "resume":
            watch.kill_at_failure(NOTICED + 60)
        elif fault in ("drop", "one way"):
            watch.wait_for("the loss", lambda event: event["type"] == "task.finished" and event.get("error"), NOTICED)
            victim.ssh_rules()
        elif fault == "reset":
            watch.wait_for("the loss", lambda event: event["type"] == "task.finished" and event.get("error"), NOTICED)
            victim.ssh_rules()
        code, text = watch.end(400)
    finally:
        victim.ssh_rules()
    context = (fault, phase, mode, code, [event for _, event in watch.events if event.get("error")], text)
    return f"{fault} at «{phase}»: exit {code}, {site.settled(before, mode, code, context)}"


def _work(cases):
    with Lab(hosts=2) as lab:
        site = Site(lab, count=12 + len(cases))
        site.learn()
        with lab.load(**LIGHT) as load:
            found = [_one(site, *case) for case in cases]
            summary = load.stop()
        assert summary["failed"] == 0, (found, summary["failures"])
        return "\n".join([*found, summary_line(summary)])


def test_the_network_fails_in_the_middle_of_a_deploy():
    everything = [(fault, phase, mode) for fault in FAULTS for phase in PHASES for mode in ("abort", "resume")]
    shares = _share(everything, 2) if FULL else IN_CI
    with ThreadPoolExecutor(max_workers=len(shares)) as pool:
        return "\n".join(pool.map(_work, shares))


test_the_network_fails_in_the_middle_of_a_deploy.timeout = 14400 if FULL else 900


def test_servers_that_take_few_connections_or_lose_packets():
    """One session per connection; two connections that log in at a time; 5 % of the packets lost both ways."""
    with Lab(hosts=2, sshd={"h1": ["MaxSessions 1"], "h2": ["MaxStartups 1:100:1"]}) as lab:
        site = Site(lab, count=12)
        site.learn()
        lab.hosts[1].ssh_rules(*LOSS)
        seconds = []
        with lab.load(**LIGHT) as load:
            for _ in range(5 if FULL else 2):
                seconds.append(site.start().wait(300))
                assert seconds[-1].code == 0, seconds[-1]
                site.assert_after(seconds[-1])
            before = site.states()
            lab.hosts[1].ssh_rules()
            summary = load.stop()
        assert summary["failed"] == 0, summary["failures"]
        assert before == site.states()
        return f"{', '.join(f'{result.seconds:.1f} s' for result in seconds)}; {summary_line(summary)}"


test_servers_that_take_few_connections_or_lose_packets.timeout = 900


def test_a_server_at_the_other_end_of_the_world():
    """2 s from a question to its answer (in CI 600 ms), and packets that are lost on top of that."""
    with Lab(hosts=2) as lab, SlowLink(lab, lab.hosts[1], 1.0 if FULL else 0.3) as far:
        lab.hosts[1].ssh_rules(*LOSS)
        known = lab.scratch() / "known_hosts"
        known.write_text(lab.known_hosts.read_text() + far.known_hosts)
        site = Site(lab, count=12, steady=False, hosts=[lab.hosts[0], far], known_hosts=known, deadline="60s")
        site.project.replace(site.project.inventory, "timeout: 1s", "timeout: 15s")  # a look takes two ways there and back
        site.ship()
        with lab.load(**LIGHT) as load:
            good = site.ship()
            before = site.states()
            watch = Watch(site.start("--json"))
            watch.wait_for("the step switch", step_of("switch"), 200)
            watch.program.signal(signal.SIGTERM)
            code, text = watch.end(300)
            assert code == 143, (code, text)
            site.assert_before(before, text)
            summary = load.stop()
        assert summary["failed"] == 0, summary["failures"]
        return f"a deploy: {good.seconds:.1f} s; one that was cancelled: undone; {summary_line(summary)}"


test_a_server_at_the_other_end_of_the_world.timeout = 900

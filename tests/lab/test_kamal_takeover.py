"""Servers that Kamal has deployed to are taken over: its lock is respected, its containers are rolled back to and pruned,
and what it leaves when it is interrupted is repaired, under load and without a lost request."""

from concurrent.futures import ThreadPoolExecutor

from kamalkit import Kamal, Project, containers, latest, push, running
from labkit import Lab
from prodkit import FULL, assert_same, snapshots, summary_line


def _kamals(lab):
    return [Kamal(host) for host in lab.hosts]


def _as_kamal(lab, version, **options):
    """`kamal deploy` of a version on both hosts, the workers on the first."""
    roles = {lab.hosts[0]: ("web", "workers"), lab.hosts[1]: ("web",)}
    with ThreadPoolExecutor(max_workers=2) as pool:
        list(pool.map(lambda kamal: kamal.deploy(version, roles=roles[kamal.host], **options), _kamals(lab)))


def _states(lab):
    return [(running(host), latest(host), {kamal.current() for kamal in [Kamal(host)]}) for host in lab.hosts]


def _assert_all(lab, version, context):
    """Both tools take this version for the one that serves, and nothing else of the role runs."""
    expected = ([f"shop-web-{version}"], [version], {version})
    assert _states(lab) == [expected, expected], (_states(lab), context)
    assert running(lab.hosts[0], "workers") == [f"shop-workers-{version}"], context
    for host in lab.hosts:
        assert host.snapshot()["proxy"]["shop-web"]["target"].partition(":")[0] == f"shop-web-{version}", context


def _taken_over(lab, project):
    """Deployed twice by Kamal, its lock held; then by us, in alternation with it."""
    first, second = lab.hosts
    _as_kamal(lab, "v1")
    _as_kamal(lab, "v2", old="v1")
    Kamal(first).accessory()
    _assert_all(lab, "v2", "Kamal's own work")
    cache = containers(first, service="shop-cache")["shop-cache"]["Id"]
    with lab.load(rate=100) as load:
        Kamal(first).lock()
        before = snapshots(lab.hosts)
        for words in (["rollback", "v1"], ["app", "stop"], ["prune", "all"], ["accessory", "reboot", "cache"],
                      ["deploy", "-P", "--version", "v2"]):
            held = project.run(*words)
            assert held.code == 3 and "Locked by: Ann" in held.out + held.err, held
        assert_same(before, snapshots(lab.hosts))
        assert project.good("app", "version", "-q").out.split() == ["v2", "v2"]
        Kamal(first).unlock()

        result = project.good("rollback")
        _assert_all(lab, "v1", result)
        result = project.good("deploy", "-P", "--version", "v3")
        _assert_all(lab, "v3", result)
        # retain_containers is 2, of all roles of the service on a host: the first has two roles, the second one.
        assert len(containers(first, service="shop")) == 4 and len(containers(second, service="shop")) == 3, result
        result = project.good("prune", "containers", "--retain", "1")
        assert len(containers(first, service="shop")) == 3 and len(containers(second, service="shop")) == 2, result
        assert containers(first, service="shop-cache")["shop-cache"]["Id"] == cache, "the accessory was touched"
        assert not first.exists("/root/.kamal/lock-shop")
        log = project.good("audit", "-p").out
        for line in ("[ann@example.org] [web] Booted app version v2", "[web] Booted app version v3", "Pruned containers"):
            assert line in log, (line, log)
        # Kamal deploys again, on what we left.
        _as_kamal(lab, "v4", old="v3")
        _assert_all(lab, "v4", "Kamal after us")
        result = project.good("rollback", "v3")
        _assert_all(lab, "v3", result)
        summary = load.stop()
    assert summary["failed"] == 0, summary
    return summary


def test_what_kamal_has_deployed_is_taken_over():
    with Lab(hosts=2) as lab:
        push(lab, "v4")
        return summary_line(_taken_over(lab, Project(lab)))


def _repaired(lab, project, moment, then):
    """Kamal's deploy of v2 was interrupted on the first host at `moment`, and had only begun on the second."""
    first, second = lab.hosts
    for host in lab.hosts:
        host.reset()
    _as_kamal(lab, "v1")
    with lab.load(rate=200) as load:
        Kamal(first).lock("v2")
        Kamal(first).deploy("v2", old="v1", until=moment)
        Kamal(second).deploy("v2", old="v1", until="run")
        # The tag names v1 everywhere; the first host is served by v2.
        assert [latest(host) for host in lab.hosts] == [["v1"], ["v1"]]
        assert first.snapshot()["proxy"]["shop-web"]["target"].startswith("shop-web-v2")
        stale = project.good("app", "stale_containers").out
        assert ("shop-web-v1" in stale) == (moment == "switch") and "stale container shop-web-v2" in stale, stale
        held = project.run("deploy", "-P", "--version", then)
        assert held.code == 3 and "Ann" in held.out + held.err, held
        project.good("lock", "release")
        result = project.good("deploy", "-P", "--version", then)
        summary = load.stop()
    assert summary["failed"] == 0, (summary, [one for one in load.records() if one["error"]][:5], result)
    _assert_all(lab, then, result)
    return f"{moment}, then {then}: {summary_line(summary)}"


def test_a_server_that_kamal_left_in_the_middle_is_repaired_without_a_lost_request():
    with Lab(hosts=2) as lab:
        project = Project(lab)
        cases = [(moment, then) for moment in ("switch", "stop") for then in ("v3", "v2", "v1")]
        cases = cases if FULL else [cases[0], cases[4]]
        return "\n".join(_repaired(lab, project, moment, then) for moment, then in cases)


test_a_server_that_kamal_left_in_the_middle_is_repaired_without_a_lost_request.timeout = 900
test_a_server_that_kamal_left_in_the_middle_is_repaired_without_a_lost_request.alone = True

"""What must not begin: wrong recipes and inventories before any connection, wrong hosts before any change, a second run."""

import re
import signal

from labkit import Lab, wait_until
from labkit.keys import KINDS
from prodkit import Project, assert_same, assert_serving, connections, serving, snapshots

# (what, file, old text, new text, the words that are wrong, what the error says; {place}: where those words are)
MISTAKES = [
    ("syntax error in the recipe", "recipe", "local deploy = require", "local deploy = ) require", ") require",
     [r"{place}\b"]),
    ("unknown option of a step", "recipe", "    rolling = ", "    roling = ", "roling",
     [r"{place}\b", "unknown option `roling`", "did you mean 'rolling'"]),
    ("unknown key of the inventory", "inventory", "  deadline: ", "  deadlin: ", "deadlin",
     ["{place}: ", "unknown key `deadlin`", "did you mean 'deadline'"]),
    ("unknown proxy in the inventory", "inventory", "kind: kamal_proxy", "kind: kamalproxy", "kamalproxy",
     ["{place}: ", "did you mean 'kamal_proxy'"]),
    ("wrong type in the inventory", "inventory", "timeout: 1s", "timeout: soon", "soon", ["{place}: ", "duration"]),
    ("broken YAML", "inventory", "hosts:\n", "hosts: [\n", "hosts", [r"recipes/prod\.yml:\d+:\d+"]),
    ("the same key twice", "inventory", "\nhealth:\n", "\nservice: other\nhealth:\n", "service: other",
     ["{place}", "service"]),
    ("missing secret", "inventory", "\nhealth:\n", "\nenv: { secret: [SHOP_TOKEN] }\nhealth:\n", "",
     ["SHOP_TOKEN", r"\.deployrun/secrets"]),
]
COMMANDS = [
    (["deploy", "--versoin", "v1"], ["unknown parameter `--versoin`", "did you mean 'version'"]),
    (["deploy", "--version"], ["--version: a value is missing"]),
    (["deploy", "--version", "v 1"], ["v 1"]),
    (["delpoy", "--version", "v1"], ["unknown command `delpoy`", "did you mean 'deploy'"]),
    (["logs", "--lines", "many"], ["--lines", "whole number", "many"]),
]


def _place(path, wrong):
    """Where these words are in a file, as a pattern: `recipes/prod.yml:12:3`."""
    before = path.read_text().split(wrong)[0] if wrong else ""
    return re.escape(f"recipes/{path.name}:{before.count(chr(10)) + 1}:{len(before) - before.rfind(chr(10))}")


def _assert_refused(result, words, what):
    """Exit 2, every word said, and no trace of Lua's stack: the mistake is not in the recipe's code."""
    assert result.code == 2, (what, result)
    for word in words:
        assert re.search(word, result.err + result.out), (what, word, str(result))


def test_mistakes_are_refused_before_any_connection():
    with Lab(hosts=3, engine=False) as lab:
        before = [connections(host) for host in lab.hosts]
        for what, file, old, new, wrong, words in MISTAKES:
            project = Project(lab)
            path = getattr(project, file)
            project.replace(path, old, new)
            place = _place(path, wrong)
            result = project.run("deploy", "--version", "v1")
            _assert_refused(result, [word.replace("{place}", place) for word in words], what)
            assert project.history() == [], what
        project = Project(lab)
        for words, expected in COMMANDS:
            _assert_refused(lab.deployrun(["recipes/prod.lua", *words], cwd=project.folder), expected, words)
        _assert_refused(lab.deployrun(["recipes/nothing.lua"], cwd=project.folder), ["recipes/nothing.lua"], "no such file")
        assert [connections(host) for host in lab.hosts] == before
        # The count sees what it is there to see: without a mistake the hosts are connected to.
        project.run("deploy", "--version", "v1")
        wait_until(lambda: all(connections(host) > count for host, count in zip(lab.hosts, before)), 60, "connections")


def test_all_mistakes_of_an_inventory_are_told_at_once():
    with Lab(hosts=1, engine=False) as lab:
        project = Project(lab)
        project.replace(project.inventory, "  deadline: ", "  deadlin: ")
        project.replace(project.inventory, "kind: kamal_proxy", "kind: kamalproxy")
        project.replace(project.inventory, "service: shop", "service: Shop Of Mine")
        result = project.run("deploy", "--version", "v1")
        places = re.findall(r"recipes/prod\.yml:(\d+):(\d+): ", result.err + result.out)
        assert result.code == 2 and len(places) == 3 and places == sorted(places, key=lambda p: int(p[0])), result


def _assert_untouched(project, before, words, *, on):
    """A deploy of v2 that must end with 4, name the host and leave everything as it was."""
    result = project.run("deploy", "--version", "v2")
    assert result.code == 4, result
    for word in [on, *words]:
        assert re.search(word, result.err + result.out), (word, str(result))
    assert_same(before, snapshots(project.hosts), result)
    return result


def test_a_changed_host_key_is_refused():
    with Lab(hosts=3) as lab:
        project = Project(lab)
        project.deploy("v1")
        before = snapshots(lab.hosts)
        second = lab.hosts[1]
        for kind in KINDS:  # another machine answers at that address now
            lab.keys.replace_host_key("h2", kind)
            (second.machine.root / f"etc/ssh/ssh_host_{kind}_key").write_text(lab.keys.host_key("h2", kind).read_text())
        second.configure_sshd([])
        _assert_untouched(project, before, [r"ssh\.host_changed", "shows another key", "known_hosts", "SHA256:"], on="h2")
        assert "Accepted" not in second.machine.log("sshd").rpartition("Server listening")[2], "it was logged in to"
        assert_serving(lab.hosts, "v1")


def test_an_unknown_host_is_refused_and_accepted_when_told():
    with Lab(hosts=3) as lab:
        known = lab.scratch() / "known_hosts"
        known.write_text("".join(line for line in lab.known_hosts.read_text().splitlines(True)
                                 if not line.startswith(lab.hosts[2].address + " ")))
        project = Project(lab, known_hosts=known)
        text = known.read_text()
        before = snapshots(lab.hosts)
        _assert_untouched(project, before, [r"ssh\.host_unknown", "known_hosts", "SHA256:"], on="h3")
        assert known.read_text() == text, "strict means that nothing is added"
        project.replace(project.inventory, "ssh:\n", "ssh:\n  accept_new: true\n")
        project.deploy("v1")
        assert_serving(lab.hosts, "v1")
        added = [line for line in known.read_text().splitlines() if line not in text.splitlines()]
        assert added and all(line.startswith(lab.hosts[2].address + " ") for line in added), added


def test_an_unreachable_host_stops_a_deploy_before_it_changes_anything():
    with Lab(hosts=3) as lab:
        project = Project(lab)
        project.deploy("v1")
        before = snapshots(lab.hosts)
        lab.hosts[2].stop_sshd()
        _assert_untouched(project, before, ["refused"], on="h3")
        lab.hosts[2].start_sshd()
        lab.hosts[2].wait_sshd()
        lab.hosts[0].cut()  # every packet is dropped: nothing but a deadline ends the wait
        result = project.run("deploy", "--version", "v2")
        assert result.code == 4, result
        assert re.search(r"\bh1\b", result.err + result.out), result
        lab.hosts[0].mend()
        assert_same(before, snapshots(lab.hosts), result)
        assert_serving(lab.hosts, "v2", project.deploy("v2"))


def test_a_second_run_is_refused_while_one_is_going_on():
    with Lab(hosts=2) as lab:
        project = Project(lab)
        project.deploy("v1")
        first = project.start("deploy", "--version", "v-late")  # healthy two seconds after its start
        wait_until(lambda: any("shop-web-v-late" in host.snapshot()["containers"] for host in lab.hosts), 60,
                   "the first run's container")
        for command in (["deploy", "--version", "v2"], ["rollback"]):
            second = project.run(*command)
            assert second.code == 3, second
            assert str(first.process.pid) in second.err + second.out, second
        looked = project.run("status")  # looking is allowed
        assert looked.code == 0, looked
        assert first.process.poll() is None, "the first run ended before it was disturbed"
        result = first.wait()
        assert result.code == 0, result
        assert_serving(lab.hosts, "v-late", result)
        assert [record["state"] for record in project.history()] == ["done", "done"]


def test_an_unfinished_run_must_be_decided_first():
    with Lab(hosts=2) as lab:
        project = Project(lab)
        project.deploy("v1")
        before = snapshots(lab.hosts)
        first = project.start("deploy", "--version", "v-late")
        wait_until(lambda: any("shop-web-v-late" in host.snapshot()["containers"] for host in lab.hosts), 60,
                   "the first run's container")
        first.signal(signal.SIGKILL)
        assert first.wait().code == -signal.SIGKILL
        refused = project.run("deploy", "--version", "v2")
        assert refused.code == 5, refused
        assert "--resume" in refused.err + refused.out and "--abort" in refused.err + refused.out, refused
        aborted = lab.deployrun(["recipes/prod.lua", "--abort"], cwd=project.folder)
        assert aborted.code == 0, aborted
        assert_same(before, snapshots(lab.hosts), aborted)
        assert {serving(host) for host in lab.hosts} == {"shop-web-v1"}
        project.deploy("v2")
        assert_serving(lab.hosts, "v2")

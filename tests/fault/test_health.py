"""New versions whose health endpoint misbehaves on one server of two: the deploy ends within its deadline, and all is as
before. The endpoints are real containers; a shell script answers each connection."""

import json
from pathlib import Path

from faultkit import FULL, LIGHT, Lab, Site
from labkit.images import Entry, Image
from labkit.needs import Skip, find
from mirror import Mirror
from prodkit import serving, summary_line

DEADLINE = 6  # seconds
SLACK = 20    # for a busy machine; 1 on an idle one

HEAD = r"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
# What a connection gets.
ENDPOINTS = {
    "never answers": "sleep 3600",
    "closes at once": "exit 0",
    "one byte a second": r'i=0; for c in H T T P / 1 . 1 " " 2 0 0; do printf "$c"; sleep 1; done; sleep 3600',
    "headers without end": rf'printf "{HEAD}"; while :; do printf "X-More: and more\r\n" || exit; done',
    "a redirect loop": r'printf "HTTP/1.1 302 Found\r\nLocation: /up\r\nContent-Length: 0\r\n\r\n"',
    "speaks TLS": r'printf "\025\003\001\000\002\002\050"',
    "a status that is none": r'printf "HTTP/1.1 999 Wrong\r\nContent-Length: 0\r\n\r\n"',
    "garbage": 'head -c 4096 /dev/zero',
}
PERHAPS = {
    "flaps": rf'if mkdir /tmp/odd; then printf "HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"; else rmdir /tmp/odd; '
             rf'printf "{HEAD}Content-Length: 0\r\n\r\n"; fi',
    "a body of 10 GB": rf'printf "{HEAD}Content-Length: 10000000000\r\n\r\n"; head -c 10000000000 /dev/zero',
}


def _image(tag, script):
    busybox = find("busybox")
    if busybox is None:
        raise Skip("packages are missing: busybox-static")
    applets = ("sh", "sleep", "head", "mkdir", "rmdir")
    links = tuple(Entry(f"bin/{name}", text=f"#!/bin/busybox sh\nexec /bin/busybox {name} \"$@\"\n") for name in applets)
    entries = (Entry("bin/busybox", source=Path(busybox)), *links, Entry("tmp", mode=0o1777),
               Entry("answer", text=f"#!/bin/busybox sh\nread -r line || exit\n{script}\n"))
    return Image("app", tag, entries, {"Entrypoint": ["/bin/busybox", "nc", "-ll", "-p", "80", "-e", "/answer"],
                                       "Env": ["PATH=/bin"], "StopSignal": "SIGKILL"})


def _waited(result):
    """How long h2 was waited for, in seconds, and why it was given up."""
    events = [json.loads(line) for line in result.out.splitlines()]
    found = [event for event in events if event["type"] == "task.finished" and event["host"] == "h2"
             and "ready" in event["step"]]
    assert found and found[0].get("error"), result
    return found[0]["ms"] / 1000, found[0]["error"]


def _given_up(site, mirror, name, script):
    before = site.states()
    mirror.push(_image(site.next, script))
    result = site.start("--json").wait(200)
    assert result.code == 1, (name, result)
    seconds, error = _waited(result)
    assert error["kind"] == "app.unready", (name, error)  # the container was up all the time
    assert DEADLINE - 0.5 <= seconds <= DEADLINE + SLACK, (name, seconds, result)
    site.assert_before(before, (name, result))
    return f"{name}: given up after {seconds:.1f} s"


def _either(site, mirror, name, script):
    """One good answer is enough: what gives some is shipped everywhere or nowhere, in time, however much it sends."""
    before = site.states()
    mirror.push(_image(site.next, script))
    result = site.start("--json").wait(200)
    assert result.code in (0, 1), (name, result)
    if result.code == 1:
        site.assert_before(before, (name, result))
        return f"{name}: undone"
    assert {serving(host) for host in site.hosts} == {f"shop-web-{site.next}"}, result
    back = site.project.run("rollback")
    assert back.code == 0, back
    assert {serving(host) for host in site.hosts} == {f"shop-web-r{site.newest}"}, back
    site.project.deploy(f"r{site.newest}")
    return f"{name}: shipped after {result.seconds:.1f} s, and taken back"


def test_health_endpoints_that_misbehave():
    with Lab(hosts=2) as lab:
        site = Site(lab, count=12, deadline=f"{DEADLINE}s")
        site.learn()
        with Mirror(lab, lab.hosts[1]) as mirror:
            with lab.load(**LIGHT) as load:
                found = [_given_up(site, mirror, *case) for case in ENDPOINTS.items() for _ in range(20 if FULL else 1)]
                summary = load.stop()
            assert summary["failed"] == 0, (found, summary["failures"])
            found += [_either(site, mirror, *case) for case in PERHAPS.items()]
    return "\n".join([*found, summary_line(summary)])


VERSIONS = {  # what an app of the version r1 answers where the next one is shipped
    "another version": rf'printf "{HEAD}X-App-Version: r1\r\nContent-Length: 0\r\n\r\n"',
    "no version": rf'printf "{HEAD}Content-Length: 0\r\n\r\n"',
}


def test_an_answer_of_another_version_is_not_the_new_one():
    with Lab(hosts=2) as lab:
        site = Site(lab, count=8, deadline=f"{DEADLINE}s", steady=False)
        site.project.replace(site.project.inventory, f"  deadline: {DEADLINE}s\n",
                             f"  deadline: {DEADLINE}s\n  version_header: X-App-Version\n")
        site.ship()  # whose answers tell the right one
        found = []
        with Mirror(lab, lab.hosts[1]) as mirror:
            for name, script in VERSIONS.items():
                before = site.states()
                mirror.push(_image(site.next, script))
                result = site.start("--json").wait(200)
                assert result.code == 1, (name, result)
                seconds, error = _waited(result)
                told = "header X-App-Version is `r1`, not `r2`" if "r1" in script else "no header X-App-Version"
                assert error["kind"] == "app.unready" and told in json.dumps(error), (name, error)
                site.assert_before(before, (name, result))
                found.append(f"{name}: given up after {seconds:.1f} s")
    return "\n".join(found)


test_health_endpoints_that_misbehave.timeout = 14400 if FULL else 600

"""--lock-wait of kamal.lua: Kamal's own lock on the server is waited for where a deploy holds it, and each waiter says who
that is. A lock that a person took is never waited for."""

from kamalkit import Kamal, Project, push, running
from labkit import Lab

WAIT = ["--lock-wait", "--lock-wait-interval=1"]


def _until(program, words):
    """Reads what a started deployrun says until a line has these words."""
    said = []
    for line in program.process.stdout:
        said.append(line)
        if words in line:
            return line
    raise AssertionError(f"{words!r} was never said:\n{''.join(said)}")


def test_somebody_elses_deploy_is_waited_for():
    with Lab(hosts=1) as lab:
        host = lab.hosts[0]
        push(lab, "t1", "t2", tools=False)
        project, kamal = Project(lab), Kamal(host)
        project.good("setup", "-P", "--version", "t1")
        host.engine.pull(lab.image("shop:v3"))
        host.engine.pull(lab.image("app:v1"))

        # Kamal deploys: who does not wait, or not long enough, ends with 3 and says who holds the lock.
        kamal.lock()
        late = project.run("prune", "images", *WAIT, "--lock-wait-timeout=2")
        assert late.code == 3 and "Locked by: Ann" in late.out + late.err and late.seconds >= 2, late
        # Two wait, and go on one after the other.
        waiting = [project.start("deploy", "-P", "--version", "t2", *WAIT)]
        line = _until(waiting[0], "asked again every 1 s")
        assert "Locked by: Ann" in line and "Automatic deploy lock" in line, line
        other = Project(lab)
        waiting.append(other.start("prune", "images", *WAIT))
        _until(waiting[1], "asked again every 1 s")
        assert running(host) == ["shop-web-t1"]
        kamal.unlock()
        results = [program.wait(120) for program in waiting]
        assert [result.code for result in results] == [0, 0], results
        assert running(host) == ["shop-web-t2"] and not host.exists("/root/.kamal/lock-shop"), results
        images = host.snapshot()["images"]
        assert lab.image("shop:v3") not in images and lab.image("app:v1") in images, images
        assert {lab.image("shop:t1"), lab.image("shop:t2"), lab.image("shop:latest")} <= set(images), images

        # A person's lock stays until that person lets go of it.
        kamal.lock(message="by hand")
        held = project.run("prune", "images", *WAIT)
        assert held.code == 3 and "by hand" in held.out + held.err and "asked again" not in held.out, held
        assert "Message: by hand" in project.good("lock", "status").out
        project.good("lock", "release")

        # Whoever waits can be interrupted, and leaves nothing behind.
        kamal.lock()
        program = project.start("prune", "images", *WAIT)
        _until(program, "asked again")
        program.signal()
        stopped = program.wait(60)
        assert stopped.code == 130 and host.exists("/root/.kamal/lock-shop/details"), stopped
        kamal.unlock()
        project.good("prune", "images")

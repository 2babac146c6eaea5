"""What a person sits in front of: logs that go on, a shell on a server. On real terminals, two servers."""

from kamalkit import Project, push
from labkit import Lab, wait_until
from terminal import Terminal

BUSYBOX = "/bin/busybox"


def _terminal(lab, project, *words):
    return Terminal(lab.scratch(), ["recipes/kamal.lua", *words], cwd=project.folder, env={"HOME": lab.folder},
                    columns=200)


def _seen(host, terminal, path):
    """Asks the app again and again: a line that was written before it is followed is not shown with --grep."""
    def shown():
        host.machine.run(["curl", "-s", f"http://{host.address}{path}"])
        return path in terminal.everything()
    wait_until(shown, 60, f"{path} on the screen", every=0.2)


def _follows(lab, project):
    """Lines appear as they are written, those that fit alone, until Ctrl-C."""
    for number, (words, fits) in enumerate(((["app", "logs", "-f"], "listening"),
                                            (["app", "logs", "--follow", "-n", "2", "-g", "GET /[x-z]nd"], None),
                                            (["app", "logs", "-f", "-g", "get /znd", "--grep-options", "-i"], None),
                                            (["proxy", "logs", "-f", "-T"], '"level"'))):  # the last ten, whichever they are
        with _terminal(lab, project, *words) as terminal:
            if fits:
                terminal.wait_for(fits, 60)
            _seen(lab.hosts[0], terminal, f"/znd-{number}")
            terminal.type("C-c")
            terminal.wait_for("exit 130", 60)
            if not fits:
                lines = terminal.everything().partition("^C")[0].splitlines()
                assert lines and all("GET /znd" in line for line in lines), lines


def test_logs_go_on_until_ctrl_c():
    with Lab(hosts=2) as lab:
        push(lab, "t1", tools=True)
        project = Project(lab)
        project.good("setup", "-P", "--version", "t1")
        _follows(lab, project)
        first = lab.hosts[0]
        container = first.engine.get("/containers/shop-workers-t1/json")["Id"]
        # Another container by its ID, and grep's own options.
        said = project.good("app", "logs", "-p", "-r", "web", "--container-id", container).out
        assert "listening" in said, said
        counted = project.good("app", "logs", "-p", "-r", "web", "-g", "LISTENING", "--grep-options", "-i -c").out
        assert "\n1\n" in counted, counted
        with _terminal(lab, project, "accessory", "logs", "cache", "-f") as terminal:
            terminal.wait_for("listening", 60)
            terminal.type("C-c")
            terminal.wait_for("exit 130", 60)


def test_a_shell_on_a_server():
    with Lab(hosts=2) as lab:
        push(lab, "t1", tools=True)
        project = Project(lab)
        with _terminal(lab, project, "server", "exec", "-i", "sh") as terminal:
            terminal.wait_for(r"#\s*$", 60)
            terminal.type("test -t 0 && echo a ter''minal in $HOME", "Enter")
            terminal.wait_for("a terminal in /root", 60)
            terminal.type("exit 4", "Enter")
            terminal.wait_for("exit 1", 60)
            assert "exit code 4" in terminal.everything()
        # Words go to the server's shell, on all hosts, with what it prints.
        said = project.good("server", "exec", "echo $HOME; echo two | tr a-z A-Z").out
        assert said.count("/root\nTWO\n") == 2 and said.count("App Host: ") == 2, said
        bad = project.run("server", "exec", "-p", "ls", "/nowhere")
        assert bad.code == 1 and "/nowhere" in bad.out + bad.err, bad

"""deploy.localhost:shell(): a shell of this machine on a terminal of its own. No server."""

import os
import signal
import tempfile
import termios
from contextlib import contextmanager
from pathlib import Path

from labkit import processes, wait_until
from labkit.paths import deployrun
from labkit.program import environment
from screen import Screen


@contextmanager
def shells(*calls, columns=80, rows=24):
    """A recipe that opens these shells one after another, on a terminal; the terminal."""
    with tempfile.TemporaryDirectory(prefix="deployrun-shell-") as folder:
        body = "".join(f'    run:log("shell {n} ended with " .. here:shell({call}))\n' for n, call in enumerate(calls, 1))
        (Path(folder) / "test.lua").write_text(
            'local deploy = require "deploy"\nlocal here = deploy.localhost\ndeploy.command "go" {\n  reads = true,\n'
            f"  run = function(run)\n{body}  end,\n}}\n")
        env = environment({"HOME": folder, "TERM": "xterm-256color", "SHELL": "/bin/bash", "PS1": "$ "})
        yield Screen([str(deployrun()), "test.lua"], folder, env, columns=columns, rows=rows)


def test_a_local_shell_in_a_terminal():
    with shells("", '{ "sh", "-c", "stty size; exit 5" }', '"kill -KILL $$"', columns=100, rows=30) as screen:
        screen.wait(r"[#$] ")
        screen.type("stty size; echo $TERM; tty\r")
        screen.wait(r"30 100\r\n.*xterm-256color\r\n.*/dev/pts/\d+")
        screen.resize(132, 43)
        screen.type("echo size-$(stty size)-\r")
        screen.wait(r"size-43 132-")
        # Keys that would end a program here end one there.
        screen.type("sh -c 'echo be''gan; exec sleep 1000'\r")
        screen.wait("began")
        screen.type("\x03")
        screen.wait("[#$] ")
        screen.type("echo code-$?-\r")
        screen.wait(r"code-130-")
        # One that is stopped comes back: the shell there controls its jobs.
        screen.type("sh -c 'echo be''gan; exec sleep 1001'\r")
        screen.wait("began")
        screen.type("\x1a")
        screen.wait("Stopped.*[#$] ")
        screen.type("kill -KILL %1; exec sh -c 'exit 42'\r")
        screen.wait(r"shell 1 ended with 42")
        screen.wait(r"43 132.*shell 2 ended with 5")
        screen.wait(r"shell 3 ended with 137")
        assert termios.tcgetattr(screen.master)[:4] == screen.before[:4], "the terminal is as it was"
        assert screen.end() == 0


def test_much_output_of_a_local_program_arrives_whole():
    with shells('{ "sh", "-c", "seq 200000; echo the-end; exit 3" }') as screen:
        screen.wait(r"(?s)\b199999\r\n200000\r\nthe-end\r\n.*shell 1 ended with 3")
        assert screen.end() == 0


def test_a_local_shell_that_is_ended_from_outside_gives_the_terminal_back():
    with shells('{ "sh", "-c", "echo pid-$$-; exec sleep 999" }') as screen:
        pid = int(screen.wait(r"pid-(\d+)-")[1])
        screen.process.send_signal(signal.SIGTERM)
        screen.wait("SIGTERM|interrupted")
        assert termios.tcgetattr(screen.master)[:4] == screen.before[:4]
        assert screen.end() == 143
        wait_until(lambda: not processes.runs(pid), 60, "the program to end")


def test_a_local_shell_that_cannot_be_says_so():
    with shells('{ "no-such-program-here" }') as screen:
        screen.wait("no-such-program-here.*[Nn]o such file")
        assert screen.end() == 1
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "test.lua").write_text(
            'local deploy = require "deploy"\ndeploy.command "go" { reads = true, run = function()\n'
            "  deploy.localhost:shell()\nend }\n")
        code = os.waitstatus_to_exitcode(os.system(f"cd {folder} && {deployrun()} test.lua >said 2>&1 </dev/null"))
        said = (Path(folder) / "said").read_text()
        assert code != 0 and "no terminal" in said, said

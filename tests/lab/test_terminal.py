"""What a person sees, on a real terminal: the board while a deploy runs, resized, narrow, interrupted and failed.

The tests return the screens, so that whoever reads the log of a test run reads them too.
"""

import re

from labkit import Lab
from prodkit import Project, assert_serving
from terminal import Terminal

ENV = {"NO_COLOR": "1"}


def _rows(screen, state):
    """The board's lines in that state, by host."""
    return {match[1]: match[0] for line in screen if (match := re.match(rf"  (h\d+) +{state} .*", line))}


def _run(lab, project, args, **options):
    return Terminal(lab.scratch(), args, cwd=project.folder, env={"HOME": lab.folder, **ENV, **options.pop("env", {})},
                    **options)


def _picture(title, screen):
    return f"-- {title}\n" + "\n".join(screen) + "\n"


def _board(screen, hosts=3):
    """The last lines of the screen: those of the hosts at work, and how many they are."""
    return screen[-hosts - 1:]


def test_the_board_shows_what_is_waited_for_and_until_when():
    with Lab(hosts=3) as lab:
        project = Project(lab, deadline="300s")
        with _run(lab, project, ["recipes/prod.lua", "deploy", "--version", "unhealthy"],
                  columns=120) as terminal:
            told = r" at most \d.* more for http://[\d.]+:80/up to answer: 500"
            wide = terminal.wait_for(rf"(?m)(^  h\d +waiting .*{told}.*\n){{3}}  3 at work, 0 of 3 hosts ended\Z")
            assert set(_rows(_board(wide), "waiting")) == {"h1", "h2", "h3"}, wide
            pictures = _picture("120 columns", wide)
            for columns, rows in ((50, 20), (30, 12)):
                terminal.resize(columns, rows)
                # The screen as it is drawn anew: one line for each host, none of them broken.
                narrow = terminal.wait_for(r"(?m)(^  h\d +waiting .*…\n){3}  3 at work, 0 of 3 hosts.*\Z")
                assert max(map(len, _board(narrow))) < columns, narrow
                pictures += _picture(f"{columns} columns", narrow)
            terminal.resize(120, 30)
            terminal.wait_for(r"(?m)(^  h\d +waiting .*to answer: 500.*\n){3}  3 at work, 0 of 3 hosts ended\Z")
            terminal.type("C-c")
            end = terminal.wait_for(r"(?m)^exit \d+$")
        text = "\n".join(end)
        assert end[-1] == "exit 130", text
        assert re.search(r"cancelled after .*; all that it changed is undone", text), text
        assert re.search(r"(?m)^  log:  \S*\.deployrun/log/\S+\.log$", text), text
        return pictures + _picture("interrupted", end)


def test_when_it_has_ended_only_what_happened_is_left_on_the_terminal():
    with Lab(hosts=3) as lab:
        project = Project(lab)
        with _run(lab, project, ["recipes/prod.lua", "deploy", "--version", "v-late"]) as terminal:
            end = terminal.wait_for(r"(?m)^exit \d+$")
            text = terminal.everything()
        assert end[-1] == "exit 0", text
        assert not re.search(r"waiting|running|at work", text), text
        assert re.search(r"(?m)^wait until it is ready\n(  h\d +done .*\n){3}", text), text
        assert re.search(r"(?m)^done in .*: \d+ tasks", text), text
        assert_serving(lab.hosts, "v-late", text)
        return _picture("the end", end)


def test_a_failure_is_told_below_the_board_with_its_log():
    with Lab(hosts=2) as lab:
        project = Project(lab, deadline="3s")
        with _run(lab, project, ["recipes/prod.lua", "deploy", "--version", "unhealthy"], columns=80) as terminal:
            end = terminal.wait_for(r"(?m)^exit \d+$")
            text = terminal.everything()
        assert end[-1] == "exit 1", text
        assert re.search(r"(?m)^error: shop-web-unhealthy did not become ready", text), text
        assert re.search(r"(?m)^  at       recipes/prod.lua:\d+$", text), text
        assert not re.search(r"h\d +(waiting|running)|at work", text), text
        log = project.folder / re.search(r"(?m)^  log:  (\S+)$", text)[1]
        assert log.stat().st_mode & 0o777 == 0o600, oct(log.stat().st_mode)
        assert "waiting for http://" in log.read_text(), log.read_text()
        return _picture("80 columns, failed", end)


def test_without_a_terminal_there_are_plain_lines():
    with Lab(hosts=1) as lab:
        project = Project(lab)
        result = project.good("deploy", "--version", "v1", env={"TERM": "xterm-256color"})
        assert "\x1b" not in result.out + result.err, result
        for env in ({"TERM": "dumb"}, {"CI": "true", "TERM": "xterm-256color"}):
            with _run(lab, project, ["recipes/prod.lua", "deploy", "--version", "v1"], env=env) as terminal:
                end = terminal.wait_for(r"(?m)^exit \d+$")
                assert end[-1] == "exit 0", terminal.everything()
                assert "at work" not in terminal.everything()
        return result.out

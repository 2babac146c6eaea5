"""What comes back from a host is data: it steers no terminal and commands no CI runner; and no secret is seen anywhere."""

import json
import os
import re

from labkit import Lab, wait_until
from prodkit import FULL
from sinks import Said, corpus, forms, random_secrets, steering, strings

# What the board itself writes: up, erase to the end of the line, erase below.
BOARD = re.compile(r"\x1b\[\d+A|\x1b\[K|\x1b\[J")
OURS = re.compile(r"::(group::|endgroup::$|(error|warning) (file=say\.lua,line=\d+,)?title=)")


def test_hostile_output_reaches_no_terminal():
    pieces = corpus("terminal_sequences.txt") + corpus("workflow_commands.txt")
    assert len(pieces) == 60 + 10
    with Lab(hosts=1, engine=False) as lab:
        said = Said(lab, b"\n".join(pieces) + b"\nthe end\n")
        said.looked()
        sinks = said.run("-vv") + said.run("-vvv", env={"GITLAB_CI": "false", "FORCE_COLOR": "0"})
        for name, out in sinks:
            assert name != "stdout" or b"the end" in out
            assert steering(out.decode()) is None, (name, steering(out.decode()))
        board = said.run_on_terminal().decode().replace("\r\n", "\n").replace("\r\x1b[", "\x1b[")
        assert BOARD.search(board), "no board was shown"
        assert steering(BOARD.sub("", board)) is None, steering(BOARD.sub("", board))
        events = [json.loads(line) for line in said.run("--json")[0][1].splitlines()]
        assert any(event["type"] == "task.output" for event in events)
        for event in events:
            for text in strings(event):
                assert steering(text) is None, (event["type"], steering(text))
        github = said.run("-vv", env={"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": said.summary,
                                      "GITHUB_WORKSPACE": said.folder})
        commands = [line for line in github[0][1].decode().splitlines() if line.strip("\t \xa0").startswith("::")]
        assert commands and all(OURS.match(line) for line in commands), commands
        assert any(line.startswith("::error file=say.lua,line=") for line in commands), commands
        assert "##[" not in github[0][1].decode()
        for name, content in said.files():
            if "journal" not in name:  # which keeps what was said, and is no terminal
                assert steering(content.decode()) is None, (name, steering(content.decode()))
        return (f"{len(pieces)} pieces through plain lines, board, JSON, GitHub's log and summary, log file: "
                f"0 control characters; {len(commands)} workflow commands, all ours")


def _hits(values, sinks):
    """(form, sink) of every form of every secret that is found in a sink."""
    found = []
    for index, value in enumerate(values, 1):
        for form, text in forms(value).items():
            needle = text.encode()
            found += [(f"S{index}", form, name) for name, content in sinks if needle in content]
    return found


def _remote_files(root):
    """Every file of a host that could have been written by us, but the declared one and what the test put there."""
    sinks = []
    for top in ("root", "tmp", "var/tmp", "home", "run", "etc", "var/log", "dev/shm"):
        for folder, folders, names in os.walk(root / top):
            folders[:] = [name for name in folders if not os.path.ismount(os.path.join(folder, name))]
            for name in names:
                path = os.path.join(folder, name)
                if path in (str(root / "root/declared"), str(root / "root/said")) or not os.path.isfile(path) \
                        or os.path.islink(path):
                    continue
                with open(path, "rb") as file:
                    sinks.append((f"host:{path.removeprefix(str(root))}", file.read(8 << 20)))
    return sinks


def _process_lists(root):
    """The arguments of every process on the host, now."""
    lists = []
    for entry in os.listdir(root / "proc"):
        if entry.isdigit():
            try:
                lists.append((f"host:process {entry}", (root / "proc" / entry / "cmdline").read_bytes()))
            except OSError:
                pass  # it has ended
    return lists


def test_secrets_are_seen_nowhere():
    values = random_secrets(200 if FULL else 50)
    said_text = "\n".join(f"{name}: <{text}>" for value in values for name, text in forms(value).items())
    with Lab(hosts=1, engine=False) as lab:
        said = Said(lab, said_text.encode() + b"\n", values)
        root = said.host.machine.root
        said.looked(False)
        program = said.start("-vv")
        waiting = b"until [ -e /root/looked ]"
        lists = wait_until(lambda: (lists := _process_lists(root)) and any(waiting in text for _, text in lists)
                           and lists, 60, "the command that has the secrets")
        with open(f"/proc/{program.process.pid}/cmdline", "rb") as file:
            lists.append(("our own arguments", file.read()))
        said.looked()
        result = program.wait()
        assert result.code == 1, result
        assert "[secret:S1]" in result.out and "<" + values[0] not in result.out
        declared = (root / "root/declared").read_text()
        assert all(value + "\n" in declared for value in values), "the secrets did not arrive"
        sinks = [("stdout", result.out.encode()), ("stderr", result.err.encode())]
        sinks += [("--json " + name, content) for name, content in said.run("--json")]
        sinks += [("-q " + name, content) for name, content in said.run("-q")]
        sinks += [("board", said.run_on_terminal())]
        github = said.run("-vv", env={"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": said.summary})
        masks = [line for line in github[0][1].splitlines() if line.startswith(b"::add-mask::")]
        rest = b"\n".join(line for line in github[0][1].splitlines() if not line.startswith(b"::add-mask::"))
        sinks += [("GitHub's log", rest)]
        sinks += said.files() + _remote_files(root) + lists
        # The search finds what it is there to find: each form is in what the host was made to say, and told to GitHub.
        assert len(_hits(values, [("said", said_text.encode())])) == 12 * len(values)
        told = b"\n".join(masks).replace(b"%25", b"%")
        missing = [(form, text) for value in values for form, text in forms(value).items()
                   if text.encode() not in told]
        assert not missing, missing[:5]
        assert (hits := _hits(values, sinks)) == [], hits[:20]
        return (f"{len(values)} secrets × 12 forms × {len(sinks)} sinks ({len(lists)} process lists among them): "
                f"0 hits; {len(masks)} forms masked by the runner too")

"""Hostile text and secrets for a run on the lab, and every place where they could come out again.

A project whose recipe makes a host say what the file /root/said holds: by a command's output, a note, a message, data,
an error. Used by test_seen.py.
"""

import base64
import json
import os
import pty
import random
import re
import shlex
import subprocess
import urllib.parse

from labkit.paths import ROOT, deployrun
from labkit.program import environment

RECIPE = """\
local deploy = require "deploy"
local store = deploy.secrets.open {{ "secrets.env" }}
local host = deploy.host {{ address = "{address}", name = "h1", user = "root", keys = {{ "{key}" }},
  known_hosts = "{known_hosts}", config = false }}

deploy.command "say" {{
  default = true,
  run = function(run)
    run:step("deliver", {{ on = host, run = function(h)
      local env, all = {{}}, ""
      for index = 1, {secrets} do
        env["S" .. index] = store:get("S" .. index)
        all = all .. env["S" .. index] .. "\\n"
      end
      if all ~= "" then h:write("/root/declared", all, {{ mode = "0600" }}) end
      h:exec({{ "sh", "-c", "until [ -e /root/looked ]; do sleep 0.1; done" }}, {{ env = env, stdin = all }})
    end }})
    run:step("listen", {{ on = host, run = function(h)
      local said = h:exec({{ "cat", "/root/said" }}).stdout
      print(said)
      run:log(said)
      return {{ note = said, kept = said }}
    end }})
    run:step("fail", {{ on = host, run = function(h)
      h:exec {{ "sh", "-c", "cat /root/said >&2; exit 3" }}
    end }})
  end,
}}
"""


class Said:
    """A project on one host of a lab. `text`: bytes that the host says. `secrets`: values, delivered as S1, S2, …"""

    def __init__(self, lab, text, secrets=()):
        self.lab = lab
        self.host = lab.hosts[0]
        self.folder = lab.scratch()
        self.summary = self.folder / "summary.md"
        (self.host.machine.root / "root/said").write_bytes(text)
        (self.folder / "secrets.env").write_text("".join(f"S{n}={_quoted(value)}\n" for n, value in
                                                         enumerate(secrets, 1)))
        (self.folder / "secrets.env").chmod(0o600)
        (self.folder / "say.lua").write_text(RECIPE.format(
            address=self.host.address, key=lab.keys.client["ed25519"], known_hosts=lab.known_hosts,
            secrets=len(secrets)))

    def looked(self, done=True):
        """Lets the first step go on."""
        path = self.host.machine.root / "root/looked"
        path.touch() if done else path.unlink(missing_ok=True)

    def start(self, *args, env=None):
        return self.lab.start_deployrun(["say.lua", *args], cwd=self.folder, env=env)

    def run(self, *args, env=None):
        """(name of the sink, its bytes) of one run; its exit code must be that of a failed step."""
        result = self.start(*args, env=env).wait()
        assert result.code == 1, result
        return [("stdout", result.out.encode()), ("stderr", result.err.encode())]

    def run_on_terminal(self):
        """What a terminal would get: the board."""
        command = [str(deployrun()), "say.lua", "-vv"]
        settings = environment({"HOME": self.lab.folder, "TERM": "xterm-256color", "NO_COLOR": "1"})
        controller, terminal = pty.openpty()
        with subprocess.Popen(command, cwd=self.folder, env=settings, stdin=subprocess.DEVNULL, stdout=terminal,
                              stderr=terminal) as process:
            os.close(terminal)
            seen = bytearray()
            while True:
                try:
                    piece = os.read(controller, 65536)
                except OSError:  # EIO: nobody holds the terminal any more
                    break
                if not piece:
                    break
                seen += piece
        os.close(controller)
        assert process.returncode == 1, seen.decode(errors="replace")
        return bytes(seen)

    def files(self):
        """(name, bytes) of all that runs left in the project: logs, journal, summary."""
        left = [path for path in self.folder.rglob("*")
                if path.is_file() and path.name not in ("secrets.env", "say.lua")]
        assert any(path.suffix == ".log" for path in left) and any("journal" in path.name for path in left), left
        return [(str(path.relative_to(self.folder)), path.read_bytes()) for path in left]


def _quoted(value):
    return "'" + value + "'"


def corpus(name):
    """The pieces of a file of tests/support, as bytes."""
    lines = (ROOT / "tests/support" / name).read_text().splitlines()
    return [line.encode().decode("unicode_escape").encode("latin-1") for line in lines if not line.startswith("# ")]


def strings(value):
    """Every text in a JSON value."""
    if isinstance(value, dict):
        return [text for pair in value.items() for each in pair for text in strings(each)]
    if isinstance(value, list):
        return [text for each in value for text in strings(each)]
    return [value] if isinstance(value, str) else []


def random_secrets(count, seed=20261121):
    """Values as generators of passwords make them, and such as make escaping hard; no ' and no line end, so that a
    file of them needs no escapes of its own."""
    source = random.Random(seed)
    letters = "abcXYZ019-_+/=.:@!$%&*\"\\ <>(){}[]#;|^~`?,"
    return ["q" + "".join(source.choices(letters, k=source.randint(8, 60))) + f"Z{n}" for n in range(count)]


def forms(value):
    """The twelve forms of SAFETY §4 row 5: name → what a program that encodes or quotes the value prints."""
    raw = value.encode()

    def core(text, before):  # what does not depend on its neighbours
        return text[(8 * before + 5) // 6: 8 * (before + len(raw)) // 6]
    shifted = [base64.b64encode(b"\0" * before + raw).decode() for before in range(3)]
    return {
        "raw": value, "trimmed": value.strip(), "hex": raw.hex(), "HEX": raw.hex().upper(),
        "base64": core(shifted[0], 0), "base64 after 1": core(shifted[1], 1), "base64 after 2": core(shifted[2], 2),
        "base64 url": core(shifted[0], 0).translate(str.maketrans("+/", "-_")),
        "percent": urllib.parse.quote(value, safe=""), "JSON": json.dumps(value)[1:-1],
        "shell": shlex.quote(value).removeprefix("'").removesuffix("'"), "YAML": value.replace("'", "''"),
    }


def steering(text):
    """The first character of decoded text that could steer a terminal or hide text; None where there is none."""
    found = re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff"
                      "\U000e0000-\U000e007f]", text)
    return found and (repr(found[0]), text[max(0, found.start() - 40):found.start() + 40])

"""hostile: YAML that would blow up, loop or mislead, as a recipe reads it."""

import json

from benchkit import figures, run
from labkit.paths import deployrun

RECIPE = """\
local deploy = require "deploy"
local files, json, task, yaml = require "native.files", require "native.json", require "native.task", require "native.yaml"
deploy.command "read" { default = true, reads = true, run = function()
  for index = 1, %d do
    local name = index .. ".yml"
    local bytes = files.read(name)
    local began = task.now()
    local ok, got = pcall(yaml.decode, bytes, { file = name })
    print(json.encode { ms = task.now() - began, refused = not ok, message = not ok and got.message or "" })
  end
end }
"""


def _bomb(levels):
    lines = ["a0: &a0 [x,x,x,x,x,x,x,x,x,x]"]
    lines += [f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 10)}]" for n in range(1, levels)]
    return "\n".join(lines).encode()


CASES = {
    "a bomb of 10^50 nodes": _bomb(50),
    "a bomb of 10^7 nodes": _bomb(7),
    "a list that holds itself": b"a: &x [1, *x]",
    "a map that holds itself": b"&x {a: {b: *x}}",
    "100,000 lists in one another": b"[" * 100_000,
    "a key twice among 20,000": b"".join(b"k%d: 1\n" % n for n in range(20_000)) + b"k7: 2\n",
    "a key twice in a flow map": b"{a: 1, b: 2, a: 3}",
    "200,000 nodes": b"[" + b"1," * 200_000 + b"1]",
    "a text of 2 MiB": b"a: '" + b"x" * (2 << 20) + b"'",
    "bytes that are no UTF-8": b"a: \xff\xfe\n",
}


def measure(folder, pairs):
    print("\n== hostile YAML")
    for index, text in enumerate(CASES.values(), 1):
        (folder / f"{index}.yml").write_bytes(text)
    (folder / "read.lua").write_text(RECIPE % len(CASES))
    times, said = {name: [] for name in CASES}, {}
    for _ in range(pairs):
        lines = run([deployrun(), "read.lua", "-q"], cwd=folder).splitlines()
        for name, line in zip(CASES, lines, strict=True):
            found = json.loads(line)
            assert found["refused"], (name, found)
            times[name].append(found["ms"] / 1000)
            said[name] = found["message"]
    for name, seconds in times.items():
        print(f"{name:32}{figures(seconds)}  {said[name][:90]}")

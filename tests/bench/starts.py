"""start: --version and the first line of Lua, beside other interpreters."""

import shutil

from benchkit import figures, run, timed
from labkit.paths import deployrun

HELLO = """\
local deploy = require "deploy"
deploy.command "hello" { default = true, reads = true, run = function(run) run:log("hello") end }
"""
INTERPRETERS = {"luajit": ["-e", ""], "python3": ["-c", ""], "ruby": ["-e", ""]}


def measure_start(lab_folder, pairs):
    print("\n== start")
    recipe = lab_folder / "hello.lua"
    recipe.write_text(HELLO)
    commands = {"deployrun --version": [deployrun(), "--version"], "deployrun hello.lua": [deployrun(), recipe]}
    commands |= {name: [name, *args] for name, args in INTERPRETERS.items() if shutil.which(name)}
    walls = {name: [] for name in commands}
    for _ in range(max(pairs, 21)):
        for name, argv in commands.items():
            walls[name].append(timed(lambda a=argv: run(a, cwd=lab_folder))[0])
    for name, seconds in walls.items():
        print(f"{name:22}{figures(seconds)}")

"""Faults of the recipe itself: whatever it does wrong, the run is undone and says so, or names what a person has to do."""

import json
import os
import re
import subprocess
import tempfile
from pathlib import Path

from faultkit import FULL
from labkit.paths import deployrun

# Two steps that leave a file each, and one that goes wrong in its own way.
RECIPE = """\
local deploy = require "deploy"
local function touch(name) deploy.localhost:exec { "touch", name } end

deploy.command "go" {
  run = function(run)
    for _, name in ipairs { "one", "two" } do
      run:step(name, { run = function() touch(name) end, undo = function()
        %(undo)s
        deploy.localhost:exec { "rm", "-f", name }
      end })
    end
    %(between)s
    run:step("three", { retries = 0, run = function() touch "three"
      %(fault)s
    end,
      undo = function() deploy.localhost:exec { "rm", "-f", "three" } end })
  end,
}
"""

# name: (what the third step does, what the error says)
IN_A_STEP = {
    "an error": ('error("boom")', "boom"),
    "an error that is a table": ('error { kind = "shop.closed", message = "closed today" }', "closed today"),
    "an error that is nothing": ("error(nil)", "nil"),
    "a nil index": ("local t; return t.field", "index"),
    "a loop without end": ("while true do end", "without waiting"),
    "a loop without end in a coroutine": ("coroutine.wrap(function() while true do end end)()", "without waiting"),
    "recursion without end": ("local function f() return 1 + f() end f()", "stack overflow"),
    "a bare yield": ("coroutine.yield(1)", "coroutine"),
    "a yield across a sort": ('table.sort({ 3, 2, 1 }, function() deploy.sleep "1ms" return true end)', "yield"),
    "a yield in gsub": ('local _ = (("x"):gsub("x", function() deploy.sleep "1ms" end))', "yield"),
    "a wait in a coroutine of its own": (
        'local ok = coroutine.wrap(function() deploy.sleep "1ms" end); ok()', "task"),
    "a result that is no data": ("return { call = print }", "function"),
    "an undeclared global": ("undeclared = 1", "undeclared"),
}
# These are right: waiting works across pcall, iterators and metamethods.
FINE = {
    "a wait across pcall": 'assert(pcall(deploy.sleep, "1ms"))',
    "a wait across nested pcalls": 'assert(pcall(pcall, function() deploy.sleep "1ms" end))',
    "a wait in an iterator": 'for _ in function(_, last) deploy.sleep "1ms"; return not last or nil end do end',
    "a wait in a metamethod": 'local t = setmetatable({}, { __index = function() deploy.sleep "1ms" return 1 end }); '
                              "assert(t.x == 1)",
    "an error that is caught": 'pcall(error, "caught")',
    "a coroutine that only computes": "local sum = 0; for n in coroutine.wrap(function() for i = 1, 3 do "
                                      "coroutine.yield(i) end end) do sum = sum + n end; assert(sum == 6)",
}


class Folder:
    def __init__(self, path, **parts):
        self.path = Path(path)
        parts = {"undo": "", "between": "", "fault": "", **parts}
        (self.path / "recipe.lua").write_text(RECIPE % parts)

    def run(self, *args):
        """(exit code, what was said)"""
        result = subprocess.run([str(deployrun()), "recipe.lua", *args], cwd=self.path, capture_output=True, text=True,
                                timeout=300, env={"PATH": os.environ["PATH"], "HOME": str(self.path)})
        return result.returncode, result.stdout + result.stderr

    def files(self):
        return {path.name for path in self.path.iterdir()} & {"one", "two", "three"}


def _undone(name, fault, word, where="fault"):
    with tempfile.TemporaryDirectory() as path:
        folder = Folder(path, **{where: fault})
        code, said = folder.run("go")
        assert code == 1, (name, code, said)
        assert word in said, (name, said)
        assert folder.files() == set(), (name, folder.files(), said)
        assert folder.run("--resume")[0] == 2, name  # nothing is left to settle


def test_faults_in_a_step_are_undone():
    chosen = {name: one for name, one in IN_A_STEP.items() if FULL or "end in a" not in name}
    for name, (fault, word) in chosen.items():
        _undone(name, fault, word)
    return f"{len(chosen)} kinds"


def test_faults_between_steps_are_undone():
    chosen = IN_A_STEP if FULL else dict(list(IN_A_STEP.items())[:4])
    kept = {name: one for name, one in chosen.items() if "result" not in name}
    for name, (fault, word) in kept.items():
        _undone(name, f"do {fault} end" if fault.startswith("return") else fault.replace("return t.field", "t = t.field"),
                word, where="between")
    return f"{len(kept)} kinds"


def test_what_may_be_done_works():
    for name, words in FINE.items():
        with tempfile.TemporaryDirectory() as path:
            code, said = Folder(path, fault=words).run("go")
            assert code == 0, (name, code, said)


def test_an_undo_that_fails_needs_a_person_who_is_told_what_to_do():
    for undo, word in (('if name == "two" then error("stuck") end', "stuck"),
                       ('if name == "two" then deploy.localhost:exec { "false" } end', "exit code 1")):
        with tempfile.TemporaryDirectory() as path:
            folder = Folder(path, undo=undo, fault='error("boom")')
            code, said = folder.run("go")
            assert code == 5, (code, said)
            assert "boom" in said and word in said, said
            assert re.search(r"undoing two failed", said) and re.search(r"one was not undone", said), said
            assert folder.files() == {"one", "two"}, folder.files()
            # Still nobody may begin something else; once the recipe is mended, one command ends it.
            assert folder.run("go")[0] == 5
            Folder(path, fault='error("boom")')
            code, said = folder.run("--abort", "--force")
            assert code == 0, (code, said)
            assert folder.files() == set(), folder.files()


def test_an_undo_without_end_is_stopped():
    with tempfile.TemporaryDirectory() as path:
        folder = Folder(path, undo='if name == "two" then while true do end end', fault='error("boom")')
        code, said = folder.run("go", "--json")
        events = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
        assert code == 5, (code, said)
        kinds = {event["error"]["kind"] for event in events if event["type"] == "task.finished" and event.get("error")}
        assert "recipe.stuck" in kinds, kinds


test_faults_in_a_step_are_undone.timeout = test_faults_between_steps_are_undone.timeout = 900

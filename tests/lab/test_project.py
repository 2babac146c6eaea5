"""The program's own commands as people type them: init, check, test, help, doc, completion, man, history. No server."""

import json
import os
import pty
import re
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path

from labkit.needs import Skip
from labkit.paths import deployrun

COMMANDS = ["init", "check", "test", "history", "repl", "doc", "types", "completion", "man", "sbom"]


@contextmanager
def folder():
    with tempfile.TemporaryDirectory(prefix="deployrun-project-") as path:
        yield Path(path)


def run(*words, cwd, code=0, env=None):
    """The command's (stdout, stderr); its exit code must be `code`."""
    result = subprocess.run([str(deployrun()), *map(str, words)], cwd=cwd, capture_output=True, text=True, timeout=120,
                            stdin=subprocess.DEVNULL, check=False, env={**os.environ, "NO_COLOR": "1", **(env or {})})
    assert result.returncode == code, (words, result)
    return result.stdout, result.stderr


def project(path, name="shop"):
    run("init", name, cwd=path)
    return path / name


def test_a_new_project_works_as_it_is():
    with folder() as path:
        shop = project(path)
        made = {str(p.relative_to(shop)) for p in shop.rglob("*") if p.is_file() and ".luals" not in p.parts}
        assert made == {"recipes/prod.lua", "recipes/prod.yml", "tests/prod_test.lua", ".luarc.json", ".luacheckrc",
                        ".gitignore", ".github/workflows/deploy.yml"}, made
        out, _ = run("check", "recipes/prod.lua", cwd=shop)
        assert "nothing wrong: 5 commands, 2 servers" in out, out
        out, _ = run("test", cwd=shop)
        assert re.search(r"^2 passed, 0 failed", out, re.M), out
        library = json.loads((shop / ".luarc.json").read_text())["workspace.library"][0]
        assert "function Host:exec(" in (shop / library / "deploy/host.lua").read_text()
        checked = subprocess.run(["luacheck", "--quiet", "."], cwd=shop, capture_output=True, text=True, check=False)
        assert checked.returncode == 0, checked.stdout
        assert "service: shop " in (shop / "recipes/prod.yml").read_text()


def test_init_overwrites_nothing():
    with folder() as path:
        (path / ".gitignore").write_text("mine\n")
        out, _ = run("init", cwd=path, code=2)
        assert ".gitignore is there already" in out, out
        assert [p.name for p in path.iterdir()] == [".gitignore"] and (path / ".gitignore").read_text() == "mine\n"


def test_check_tells_everything_at_once():
    with folder() as path:
        shop = project(path)
        recipe, inventory = shop / "recipes/prod.lua", shop / "recipes/prod.yml"
        recipe.write_text(recipe.read_text().replace("rolling = ", "roling = ").replace("app:prune(", "ap:prune("))
        inventory.write_text(inventory.read_text().replace("deadline: 30s", "deadlin: 30s") +
                             "env: { secret: [SHOP_A, SHOP_B] }\n")
        out, _ = run("check", "recipes/prod.lua", cwd=shop, code=2)
        for words in (r"recipes/prod\.lua:\d+:\d+", "unknown option `roling`", "undeclared global `ap`",
                      r"recipes/prod\.yml:\d+:\d+: unknown key `deadlin`"):
            assert re.search(words, out), (words, out)
        inventory.write_text(inventory.read_text().replace("deadlin: 30s", "deadline: 30s"))
        out, _ = run("check", "recipes/prod.lua", cwd=shop, code=2)
        assert "SHOP_A" in out and "SHOP_B" in out, out
        out, _ = run("check", "recipes/prod.lua", "--json", cwd=shop, code=2)
        kinds = [event["error"]["kind"] for event in map(json.loads, out.splitlines()) if event["type"] == "error"]
        assert sorted(kinds) == ["recipe.global", "secret.missing", "secret.missing", "usage"], kinds


CHECKED = """\
local deploy = require "deploy"
local store = deploy.secrets.open {{
  "lines.env",
  {{ file = "key.pem", name = "KEY" }},
  {{ command = {{ "sh", "-c", "printf '%s' '{{\\"FROM_PROGRAM\\":\\"canary-program\\"}}'" }}, format = "json" }},
  {{ stdin = true, name = "FROM_STDIN" }},
  {more}
}}
for _, name in ipairs {{ "FROM_FILE", "KEY", "FROM_PROGRAM", "FROM_STDIN", "FROM_ENV", {names} }} do store:get(name) end
deploy.command "deploy" {{ run = function() end }}
"""


def _secrets_check(path, *words, more="", names="", code=0):
    """(stdout, stderr) of `secrets check`, of which neither shows a value."""
    (path / "deploy.lua").write_text(CHECKED.format(more=more, names=names))
    result = subprocess.run([str(deployrun()), "secrets", "check", "deploy.lua", *words], cwd=path, capture_output=True,
                            text=True, timeout=60, check=False, input="canary-stdin\n",
                            env={**os.environ, "NO_COLOR": "1", "FROM_ENV": "canary-environment"})
    assert result.returncode == code, result
    assert "canary" not in result.stdout + result.stderr, result
    return result.stdout, result.stderr


def _sources(path):
    for name, text in (("lines.env", "FROM_FILE=canary-file\n"), ("key.pem", "-----BEGIN-----\ncanary-key\n")):
        (path / name).write_text(text)
        (path / name).chmod(0o600)


def test_secrets_check_says_where_each_is():
    with folder() as path:
        _sources(path)
        out, _ = _secrets_check(path)
        for name, where in (("FROM_FILE", "lines.env"), ("KEY", "key.pem"), ("FROM_PROGRAM", "command sh"),
                            ("FROM_STDIN", "standard input"), ("FROM_ENV", "environment")):
            assert re.search(rf"^{name} +there +{where}$", out, re.M), (name, out)
        assert out.endswith("5 secrets, all there\n"), out
        out, _ = _secrets_check(path, "--json")
        events = [json.loads(line) for line in out.splitlines()]
        told = [(event["name"], event["state"], event["source"]) for event in events if event["type"] == "secret.checked"]
        assert told == [("FROM_ENV", "there", "environment"), ("FROM_FILE", "there", "lines.env"),
                        ("FROM_PROGRAM", "there", "command sh"), ("FROM_STDIN", "there", "standard input"),
                        ("KEY", "there", "key.pem")], events


def test_secrets_check_tells_all_that_is_wrong_at_once():
    with folder() as path:
        _sources(path)
        (path / "lines.env").chmod(0o644)
        more = """{ command = { "sh", "-c", "echo can''ary-said; echo vault is sealed >&2; exit 3" }, name = "SEALED" },
          { command = { "no-such-program-here" }, name = "NO_PROGRAM" },
          { file = "nowhere.pem", name = "NO_FILE" },
          { command = { "sleep", "60" }, timeout = "50ms", name = "SLOW" },"""
        names = '"SEALED", "NO_PROGRAM", "NO_FILE", "SLOW", "DEPLOYRUN_NOWHERE"'
        out, err = _secrets_check(path, more=more, names=names, code=2)
        for name, state, why in (
                ("SEALED", "unreadable", "secrets from sh: exit code 3: vault is sealed"),
                ("NO_PROGRAM", "unreadable", ".*no-such-program-here: not found"),
                ("NO_FILE", "unreadable", ".*nowhere.pem.*"), ("SLOW", "unreadable", ".*sleep.*50 ms"),
                ("DEPLOYRUN_NOWHERE", "missing", "not in any source, nor in the environment"),
                ("FROM_FILE", "there", "lines.env")):
            assert re.search(rf"(?i)^{name} +{state} +{why}$", out, re.M), (name, out)
        assert "others may read this file of secrets; chmod 600 lines.env" in out + err, out + err
        assert "10 secrets, 5 not there" in out, out
        out, _ = _secrets_check(path, "--json", more=more, names=names, code=2)
        kinds = {event["name"]: event["error"]["kind"] for event in map(json.loads, out.splitlines())
                 if event["type"] == "secret.checked" and "error" in event}
        assert kinds == {"SEALED": "secret.source", "NO_PROGRAM": "process.spawn", "NO_FILE": "files.not_found",
                         "SLOW": "timeout"}, kinds


def test_secrets_check_reads_inventories_and_refuses_what_is_no_recipe():
    with folder() as path:
        (path / "prod.yml").write_text("service: shop\nimage: shop\nhosts: [10.0.0.5]\nenv: { secret: [TOKEN, GONE] }\n"
                                       "secrets: [{ file: token, name: TOKEN }]\n")
        (path / "token").write_text("canary\n")
        (path / "token").chmod(0o600)
        out, _ = run("secrets", "check", "prod.yml", cwd=path, code=2)
        assert re.search(r"^GONE +missing", out, re.M) and re.search(r"^TOKEN +there +token$", out, re.M), out
        out, _ = run("secrets", "check", "prod.yml", cwd=path, env={"GONE": "canary-here"})
        assert "2 secrets, all there" in out and "canary" not in out, out
        (path / "none.lua").write_text('require("deploy").command "a" { run = function() end }\n')
        assert "no secret is asked for" in run("secrets", "check", "none.lua", cwd=path)[0]
        for name, text, said in (("bad.lua", "local x = ) 1\n", "bad.lua:1:11"),
                                 ("bad.yml", "service: [\n", "bad.yml:")):
            (path / name).write_text(text)
            out, err = run("secrets", "check", name, cwd=path, code=2)
            assert said in out + err, out + err
        out, err = run("secrets", "check", "missing.lua", cwd=path, code=2)
        assert "missing.lua" in out + err, out + err


def test_help_needs_no_valid_project():
    with folder() as path:
        out, _ = run("--help", cwd=path)
        for command in COMMANDS:
            assert f"deployrun {command}" in out, command
            assert f"deployrun {command}" in run(command, "--help", cwd=path)[0]
        shop = project(path)
        out, _ = run("recipes/prod.lua", "--help", cwd=shop)
        assert "rollback" in out and "--version" in out and "--resume" in out, out
        inventory = shop / "recipes/prod.yml"
        inventory.write_text("service: [\n")
        out, _ = run("recipes/prod.lua", "--help", cwd=shop)
        assert "rollback" in out and "--version" in out and "--resume" in out, out
        inventory.unlink()
        assert "rollback" in run("recipes/prod.lua", "--help", cwd=shop)[0]
        (shop / "recipes/prod.lua").write_text("local x = ) 1\n")
        assert "--resume" in run("recipes/prod.lua", "--help", cwd=shop)[0]
        assert "--resume" in run("recipes/nothing.lua", "--help", cwd=shop)[0]


def test_unknown_words_are_refused():
    with folder() as path:
        for words, said in ((["history", "--limt", "3"], "--limit"), (["history", "--limit", "many"], "limit"),
                            (["check"], "a word is missing"), (["completion", "bash", "zsh"], "unexpected `zsh`"),
                            (["completion", "tcsh"], "bash, zsh or fish"), (["doc", "Hosst"], "Host"),
                            (["--json"], "the recipe comes first")):
            out, _ = run(*words, cwd=path, code=2)
            assert said in out, (words, out)


def test_doc_and_what_is_inside():
    with folder() as path:
        out, _ = run("doc", "Host:exec", cwd=path)
        assert "command  string[]|string" in out and "host.exit" in out, out
        assert "deployrun history" in run("doc", "history", cwd=path)[0]
        parts = json.loads(run("sbom", cwd=path)[0])
        assert parts["bomFormat"] == "CycloneDX"
        names = {part["name"]: part["version"] for part in parts["components"]}
        assert {"curl", "libssh2", "sqlite", "openssl", "zlib", "luajit", "libuv", "yaml-cpp"} <= set(names), names
        out, _ = run("--version", "-v", cwd=path)
        for name, version in names.items():
            assert re.search(rf"^  {re.escape(name)} +{re.escape(version)}", out, re.M), (name, out)


def test_history_of_a_project():
    with folder() as path:
        assert "no runs yet" in run("history", cwd=path)[0]
        (path / "a.lua").write_text("""
local deploy = require "deploy"
deploy.command "good" { default = true, run = function(run)
  run:step("look", { run = function() return { seen = 1 } end })
end }
deploy.command "bad" { run = function(run)
  run:step("first", { run = function() return 1 end, undo = function() end })
  run:step("second", { run = function() deploy.fail("no luck") end })
end }
""")
        run("a.lua", cwd=path)
        run("a.lua", "bad", cwd=path, code=1)
        out, _ = run("history", cwd=path)
        assert [line.split()[2] for line in out.splitlines()] == ["failed_undone", "done"], out
        events = [json.loads(line) for line in run("history", "--json", "--state", "done", cwd=path)[0].splitlines()]
        assert [event["record"]["command"] for event in events] == ["good"], events
        assert len(run("history", "--command", "bad", cwd=path)[0].splitlines()) == 1
        assert "no such runs" in run("history", "--recipe", "b.lua", cwd=path)[0]
        bad = json.loads(run("history", "--json", "--command", "bad", cwd=path)[0])["record"]["id"]
        out, _ = run("history", bad, cwd=path)
        assert "second" in out and "no luck" in out and "undone" in out, out
        run("history", "20000101-nothing", cwd=path, code=2)


# What is typed, and some of what must be offered.
TYPED = [("deployrun ch", ["check"]), ("deployrun history --st", ["--state"]), ("deployrun completion ", ["bash", "fish"]),
         ("deployrun --", ["--help"]), ("deployrun recipes/prod.lua ro", ["rollback"]),
         ("deployrun recipes/prod.lua deploy --ve", ["--version"]), ("deployrun recipes/prod.lua logs --", ["--lines", "--resume"])]


def _offered_by_bash(script, line, cwd):
    words = line.split(" ")
    code = (f"source {script}; COMP_WORDS=({' '.join(map(repr, words))}); COMP_CWORD={len(words) - 1}; "
            "_deployrun 2>/dev/null; printf '%s\\n' \"${COMPREPLY[@]}\"")
    return subprocess.run(["bash", "-c", code], cwd=cwd, capture_output=True, text=True, check=True).stdout.split()


def _offered_by_fish(script, line, cwd):
    code = f"source {script}; complete -C {line!r}"
    out = subprocess.run(["fish", "--no-config", "-c", code], cwd=cwd, capture_output=True, text=True, check=True).stdout
    return [word.split("\t")[0] for word in out.splitlines()]


def test_completions_offer_what_the_recipe_declares():
    with folder() as path:
        shop = project(path)
        bin_folder = path / "bin"
        bin_folder.mkdir()
        (bin_folder / "deployrun").symlink_to(deployrun().resolve())
        old, os.environ["PATH"] = os.environ["PATH"], f"{bin_folder}:{os.environ['PATH']}"
        try:
            for shell, offered in (("bash", _offered_by_bash), ("fish", _offered_by_fish)):
                if not shutil.which(shell):
                    raise Skip(f"{shell} is not installed")
                script = path / f"deployrun.{shell}"
                script.write_text(run("completion", shell, cwd=path)[0])
                for line, wanted in TYPED:
                    words = offered(script, line, shop)
                    assert set(wanted) <= set(words), (shell, line, words)
            script = path / "_deployrun"
            script.write_text(run("completion", "zsh", cwd=path)[0])
            if not shutil.which("zsh"):
                raise Skip("zsh is not installed")
            subprocess.run(["zsh", "-n", script], check=True)
        finally:
            os.environ["PATH"] = old


def test_the_manual_page_is_complete_and_well_formed():
    with folder() as path:
        (path / "deployrun.1").write_text(run("man", cwd=path)[0])
        shown = subprocess.run(["groff", "-man", "-Tutf8", "-ww", "-Kutf8", "deployrun.1"], cwd=path, capture_output=True,
                               text=True, check=True, env={**os.environ, "GROFF_NO_SGR": "1"})
        assert shown.stderr == "", shown.stderr
        text = re.sub(r".\x08", "", shown.stdout)
        for word in [*COMMANDS, "--resume", "--plan", "--project", "EXIT STATUS", "130/143"]:
            assert word in text, word


def _typed_at_a_terminal(words, keys, cwd):
    """All that a program says at a terminal of its own to what is typed there; each is typed when a prompt stands, or, of
    a pair, when the program has drawn its first."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(cwd)
        os.environ.update(TERM="xterm", NO_COLOR="1", XDG_STATE_HOME=str(cwd))
        os.execv(deployrun(), [str(deployrun()), *words])
    said, turns = b"", list(keys)
    while True:
        try:
            part = os.read(terminal, 4096)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        said += part
        after, typed = (turns[:1] or [""])[0] if turns and isinstance(turns[0], tuple) else ("\n> ", (turns or [""])[0])
        if turns and said.endswith(after.encode()):
            turns.pop(0)
            os.write(terminal, typed.encode())
    _, status = os.waitpid(pid, 0)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(status) == 0 and not turns, said
    return said.decode()


def test_the_prompt_edits_lines_and_keeps_a_history():
    with folder() as path:
        shop = project(path)
        # Left arrow and an insertion; then the line before, by the up arrow; then the tab key.
        said = _typed_at_a_terminal(["repl", "recipes/prod.lua"],
                                    ["40 + 1\x1b[D2\r", "\x1b[A + 1\r", "app.conf\t.service\r", "\x04"], shop)
        assert "\n61\r" in said and "\n62\r" in said and '\n"shop"\r' in said, said
        history = shop / "deployrun/repl_history"
        assert "21" in history.read_text() and oct(history.stat().st_mode & 0o777) == "0o600", history.read_text()


def test_ctrl_c_leaves_a_line_and_ctrl_d_ends():
    with folder() as path:
        # A line that is not finished, then a statement that is not: both are gone, and the next line begins anew.
        said = _typed_at_a_terminal(["repl"], ["oops(", ("oops(", "\x03"), "40 + 2\r", "do\r", ("\n>> ", "\x03"),
                                               "print(7 * 11)\r", "\x04"], path)
        assert said.count("^C") == 2 and "\n42\r" in said and "\n77\r" in said and "error" not in said, said


def test_the_prompt_reads_lines_from_elsewhere_too():
    with folder() as path:
        shop = project(path)
        out = subprocess.run([deployrun(), "repl", "recipes/prod.lua"], cwd=shop, capture_output=True, text=True, check=True,
                             input="#app.hosts\ndeploy.sleep('1ms')\nfor _, h in ipairs(app.hosts) do\nprint(h.name)\nend\n")
        assert out.stdout.split() == ["2", "app1.example.com", "app2.example.com"], out
        failed = subprocess.run([deployrun(), "repl"], cwd=shop, capture_output=True, text=True, check=False, input="nope()\n")
        assert failed.returncode == 1 and "undeclared global" in failed.stdout, failed

"""deployrun-agent on real servers: how it gets there, how it ends, databases of servers and in volumes, `once`."""

import os
import shutil
import signal
import subprocess
from pathlib import Path

from labkit import Lab, Skip, processes, wait_until
from labkit.paths import deployrun
from test_ssh import recipe, run_recipe

HOME = "/home/deploy"
AGENT = deployrun().parent / "agent" / "deployrun-agent"
ARM64_AGENT = deployrun().parent / "agent-aarch64" / "agent" / "deployrun-agent"


def files(host, folder=f"{HOME}/.deployrun"):
    return sorted(path.name for path in (host.machine.root / folder.lstrip("/")).iterdir())


def agents(host):
    """Process ids of running agents, as the server counts."""
    lines = ((pid, line.split(b"\0")) for pid, line in processes.command_lines(host.machine.root / "proc").items())
    return [pid for pid, words in lines if b"agent" in words[0] and b"serve" in words]


def as_deploy(lab, host, body, **options):
    result = run_recipe(lab, host, body, user="deploy", **options)
    return result, result.out + result.err


WRITE = f"""
    local db = host:sqlite("{HOME}/app.sqlite3", {{ create = true }})
    db:execute("CREATE TABLE IF NOT EXISTS row (n INTEGER)")
    db:run("INSERT INTO row VALUES (?1)", {{ 7 }})
    print("rows " .. db:query("SELECT count(*) AS c, sum(n) AS s FROM row")[1].c)"""


def test_delivery_to_a_plain_user():
    with Lab(hosts=1, engine=False) as lab:
        host = lab.hosts[0]
        folder = host.machine.root / HOME.lstrip("/") / ".deployrun"
        result, said = as_deploy(lab, host, WRITE)
        assert result.code == 0 and "rows 1" in said, result
        [name] = files(host)
        agent = folder / name
        assert agent.stat().st_mode & 0o7777 == 0o700 and folder.stat().st_mode & 0o7777 == 0o700
        assert agent.read_bytes() == AGENT.read_bytes() and agent.stat().st_uid != 0
        wait_until(lambda: not agents(host), 60, "the agent's end")

        # Another content under its name never runs; an agent of another version that nobody used for a day goes.
        agent.write_text("#!/bin/sh\ntouch /tmp/was-run\n")
        old, recent = folder / "agent-00000000000000aa", folder / "agent-00000000000000bb"
        for path in (old, recent):
            path.write_text("another version")
        os.utime(old, (0, 0))
        result, said = as_deploy(lab, host, WRITE)
        assert result.code == 0 and "rows 2" in said, result
        assert agent.read_bytes() == AGENT.read_bytes() and not host.exists("/tmp/was-run")
        assert files(host) == sorted([name, recent.name])

        # A server of another kind.
        uname = host.machine.root / "usr/local/bin/uname"
        uname.write_text("#!/bin/sh\necho riscv64\n")
        uname.chmod(0o755)
        result, said = as_deploy(lab, host, WRITE)
        uname.unlink()
        assert result.code != 0 and "agent.arch" in said and "riscv64" in said and "x86_64" in said, result

        # A place where nothing may run, one that cannot be written to, a folder that is a link.
        host.machine.run(["mount", "-t", "tmpfs", "-o", "noexec,mode=0700,uid=" + str(agent.stat().st_uid), "none",
                          f"{HOME}/.deployrun"])
        result, said = as_deploy(lab, host, WRITE)
        assert result.code != 0 and "agent.delivery" in said and "noexec" in said, result
        host.machine.run(["mount", "-o", "remount,ro,exec", f"{HOME}/.deployrun"])
        host.machine.run(["umount", f"{HOME}/.deployrun"])
        host.machine.run(["mount", "-t", "tmpfs", "-o", "ro,mode=0700,uid=" + str(agent.stat().st_uid), "none",
                          f"{HOME}/.deployrun"])
        result, said = as_deploy(lab, host, WRITE)
        assert result.code != 0 and "agent.delivery" in said and "written" in said, result
        host.machine.run(["umount", f"{HOME}/.deployrun"])
        host.machine.run(["mv", f"{HOME}/.deployrun", f"{HOME}/elsewhere"])
        host.machine.run(["ln", "-s", "elsewhere", f"{HOME}/.deployrun"])
        result, said = as_deploy(lab, host, WRITE)
        assert result.code != 0 and "agent.delivery" in said and "link" in said, result


HOLDS = f"""
    local client = require("deploy.host.agent").on(host:_session(), host.name, {{ lease = "3s" }})
    local backend = require("native.sqlite.there").backend(client)
    local db = require("native.sqlite").open_with(backend, "{HOME}/app.sqlite3", {{ create = true }}, host.name)
    db:execute("CREATE TABLE IF NOT EXISTS row (n INTEGER)")
    db:exclusive(function(tx)
      tx:run("INSERT INTO row VALUES (1)")
      require("native.files").write("began", "")
      while client:alive() do task.sleep(50) end
    end)"""


def start_holding(lab, host):
    folder = recipe(lab, host, HOLDS, user="deploy")
    program = lab.start_deployrun(["test.lua"], cwd=folder)
    wait_until(lambda: (folder / "began").exists(), 60, "the transaction")
    assert len(agents(host)) == 1
    return program


def rows(host):
    script = f"import sqlite3; print(sqlite3.connect('{HOME}/app.sqlite3').execute('select count(*) from row').fetchone()[0])"
    return int(host.machine.run(["python3", "-c", script]).stdout)


EMULATED = """
local agent = require "native.agent"
local lock = require "deploy.lock"
local sqlite = require "native.sqlite"
local test = require "test"

test.it("opens databases, copies them, and keeps locks, on arm64", function()
  local client = agent.connect(agent.dial_process {{ "qemu-aarch64-static", "{agent}", "serve", "--lease", "30s" }})
  test.equal(client:hello().arch, "aarch64")
  local db = sqlite.open_with(require("native.sqlite.there").backend(client), "{folder}/app.sqlite3", {{ create = true }}, "arm")
  db:execute("CREATE TABLE row (n INTEGER)")
  db:exclusive(function(tx) tx:run("INSERT INTO row VALUES (?1)", {{ 7 }}) end)
  db:snapshot("{folder}/copy.sqlite3")
  db:run("DELETE FROM row")
  db:restore("{folder}/copy.sqlite3")
  test.equal(db:query("SELECT n FROM row")[1].n, 7)
  test.equal(db:check().ok, true)
  local taken = client:call("lock.acquire", {{ name = "shop", patience_ms = 0,
    claim = lock.claim({{ user = "ann", host = "laptop" }}, "deploy", {{ run = "r1" }}) }})
  local ok, err = pcall(client.call, client, "lock.acquire", {{ name = "shop", patience_ms = 0,
    claim = lock.claim({{ user = "bob", host = "laptop" }}, "deploy", {{ run = "r2" }}) }})
  test.equal({{ ok, err.kind }}, {{ false, "lock.held" }})
  client:call("lock.release", {{ claim = taken.claim }})
  client:close()
end)
"""


def test_an_arm64_server_gets_the_agent_for_it():
    """Delivered where `uname -m` says so; what is delivered works, as far as an emulator can tell."""
    if not shutil.which("qemu-aarch64-static"):
        raise Skip("qemu-aarch64-static (qemu-user-static) is not installed")
    if not ARM64_AGENT.exists():
        raise Skip("this build has no agent for arm64: g++-aarch64-linux-gnu, .ci/setup")
    with Lab(hosts=1, engine=False) as lab:
        host = lab.hosts[0]
        uname = host.machine.root / "usr/local/bin/uname"
        uname.write_text("#!/bin/sh\necho aarch64\n")
        uname.chmod(0o755)
        as_deploy(lab, host, WRITE)
        [name] = files(host)
        agent = host.machine.root / HOME.lstrip("/") / ".deployrun" / name
        assert agent.read_bytes() == ARM64_AGENT.read_bytes()
        folder = lab.scratch()
        (folder / "arm64_test.lua").write_text(EMULATED.format(agent=ARM64_AGENT, folder=folder))
        result = lab.deployrun(["test", "arm64_test.lua"], cwd=folder, env={"HOME": str(folder)})
        assert result.code == 0 and "1 passed, 0 failed" in result.out, result


def test_the_agent_ends_with_its_line():
    """Killed, cut off, frozen: the agent is gone, its transaction is rolled back, its lock is free."""
    with Lab(hosts=1, engine=False) as lab:
        host = lab.hosts[0]
        killed = start_holding(lab, host)
        killed.signal(signal.SIGKILL)
        killed.wait()
        wait_until(lambda: not agents(host), 60, "the agent's end after a kill")
        assert rows(host) == 0

        cut = start_holding(lab, host)
        host.cut()
        wait_until(lambda: not agents(host), 60, "the agent's end after a cut")
        result = cut.wait(60)
        host.mend()
        assert result.code != 0 and "agent.lost" in result.out + result.err, result
        assert rows(host) == 0

        frozen = start_holding(lab, host)
        frozen.signal(signal.SIGSTOP)
        wait_until(lambda: not agents(host), 60, "the agent's end while deployrun is frozen")
        frozen.signal(signal.SIGCONT)
        result = frozen.wait(60)
        assert result.code != 0 and "agent.lost" in result.out + result.err, result
        assert rows(host) == 0


def test_a_database_in_a_volume_of_an_image_without_a_shell():
    with Lab(hosts=1) as lab:
        host = lab.hosts[0]
        image = lab.image("app:v1")
        host.run_app("v1", "shop", volumes=["shop-data:/data"])
        folder = Path(host.engine.get("/volumes/shop-data")["Mountpoint"])
        before = host.snapshot()
        place = f'{{ volume = "shop-data", path = "db/app.sqlite3", image = "{image}" }}'
        host.machine.run(["mkdir", folder / "db"])
        result = run_recipe(lab, host, f"""
    local db = host:sqlite({place}, {{ create = true }})
    db:execute("CREATE TABLE row (n INTEGER)")
    print("once " .. tostring(db:once("seed", function(tx) tx:run("INSERT INTO row VALUES (5)") end)))
    print("again " .. tostring(db:once("seed", function() error("twice") end)))
    db:snapshot("db/copy.sqlite3")
    db:run("DELETE FROM row")
    db:restore("db/copy.sqlite3")
    print("free " .. tostring(db:space().free > 0) .. " ok " .. tostring(db:check().ok))
    db:mutex("migrate", function() print("mutex") end)
    db:close()
    local through = host:sqlite {{ container = "shop", path = "/data/db/app.sqlite3" }}
    print("through " .. through:query("SELECT n FROM row")[1].n)""")
        for line in ("once true", "again false", "free true ok true", "mutex", "through 5"):
            assert line in result.out, (line, result)
        assert result.code == 0, result
        wait_until(lambda: host.snapshot() == before, 60, "the throw-away containers' end")

        # Somebody in another container holds it: process, command and container are named.
        folder = recipe(lab, host, f"""
    local client = require("deploy.host.agent").in_container(host.docker, {place})
    local backend = require("native.sqlite.there").backend(client)
    require("native.sqlite").open_with(backend, "db/app.sqlite3", nil, host.name):exclusive(function()
      require("native.files").write("began", "")
      task.sleep(60000)
    end)""")
        holder = lab.start_deployrun(["test.lua"], cwd=folder)
        wait_until(lambda: (folder / "began").exists(), 60, "the transaction")
        [container] = [one["Id"] for one in host.engine.get('/containers/json?filters={"label":["deployrun.agent"]}')]
        result = run_recipe(lab, host, f"""
    local db = host:sqlite({place}, {{ patience = "300ms" }})
    local ok, err = pcall(db.run, db, "DELETE FROM row")
    print(err.kind, err.message, err.waited_ms >= 300, err.holder_container)
    print("holders " .. #db:holders())""")
        for text in ("sqlite.busy", "deployrun-agent serve (process", container[:12], "true", "holders 1"):
            assert text in result.out, (text, result)

        # A deployrun that is killed leaves no container.
        holder.signal(signal.SIGKILL)
        holder.wait()
        wait_until(lambda: host.snapshot() == before, 60, "the container's end")


def test_once_among_eight_who_start_at_a_time():
    """Eight begin together; the first is killed in the middle, another does it; the rest go on."""
    with Lab(hosts=1, engine=False) as lab:
        work = lab.scratch()
        script = 'echo $$ >>began; [ "$(wc -l <began)" -gt 1 ] || exec sleep 60; echo done >>done'
        argv = [AGENT, "once", "--db", work / "app.sqlite3", "--key", "schema", "--timeout", "30s", "--", "sh", "-c", script]
        started = [subprocess.Popen(argv, cwd=work, stdin=subprocess.DEVNULL) for _ in range(8)]
        wait_until(lambda: (work / "began").exists() and (work / "began").read_text().strip(), 60, "the first")
        initialiser = int((work / "began").read_text())
        first = next(each for each in started if each.pid == processes.state(initialiser)[1])
        first.kill()
        codes = {each.pid: each.wait(60) for each in started}
        assert codes.pop(first.pid) == -signal.SIGKILL and set(codes.values()) == {0}, codes
        assert (work / "done").read_text() == "done\n" and not processes.runs(initialiser)
        # Done before: nothing runs. A failure's code and a signal are the command's.
        def once(key, *command, **options):
            words = [AGENT, "once", "--db", work / "app.sqlite3", "--key", key, *options.get("more", ()), "--", *command]
            return subprocess.run(words, cwd=work, capture_output=True, text=True)
        assert once("schema", "sh", "-c", "exit 9").returncode == 0
        assert once("other", "sh", "-c", "exit 9").returncode == 9
        assert once("other", "sh", "-c", "kill -TERM $$").returncode == -signal.SIGTERM
        assert once("other", "no-such-program").returncode == 127
        with subprocess.Popen([AGENT, "once", "--db", work / "app.sqlite3", "--key", "slow", "--", "sh", "-c",
                               "trap 'exit 4' TERM; echo ready; while :; do sleep 0.05; done"],
                              stdout=subprocess.PIPE, text=True) as slow:
            assert slow.stdout.readline() == "ready\n"
            busy = once("slow", "true", more=["--timeout", "100ms"])
            assert busy.returncode == 75 and f"held by process {slow.pid}, sh" in busy.stderr, busy
            slow.terminate()
            assert slow.wait(60) == 4

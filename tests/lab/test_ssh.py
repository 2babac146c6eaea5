"""Ways to a server and what they carry: jump hosts, proxy commands, IPv6, strict servers, lost connections, forwards, a
shell in a terminal, hosts that are made known."""

import re
import socket
import subprocess
import termios
import threading

from labkit import Lab, wait_until
from labkit.paths import deployrun
from labkit.program import environment
from prodkit import Project, assert_serving
from screen import Screen


def accepted(host):
    return host.machine.log("sshd").count("Accepted publickey")


def recipe(lab, host, body, **options):
    """Runs `body` with `host` and `run` in a recipe's command; returns (Result, its folder)."""
    folder = options.pop("folder", None) or lab.scratch()
    fields = {"address": host.address, "name": host.name, "user": "root", "keys": f"{{{lab.keys.client['ed25519']}}}",
              "known_hosts": lab.known_hosts, "config": False, **options}
    words = []
    for name, value in fields.items():
        if value is None:
            continue
        if isinstance(value, bool) or isinstance(value, int):
            words.append(f"{name} = {str(value).lower()}")
        elif str(value).startswith("{"):
            words.append(f'{name} = {{ "{str(value)[1:-1]}" }}')
        else:
            words.append(f'{name} = "{value}"')
    (folder / "test.lua").write_text(
        'local deploy = require "deploy"\nlocal task = require "native.task"\n'
        'deploy.command "go" {\n  reads = true,\n  run = function(run)\n'
        f'    local host = deploy.host {{ {", ".join(words)} }}\n    local _ = task\n{body}\n  end,\n}}\n')
    return folder


def run_recipe(lab, host, body, env=None, **options):
    return lab.deployrun(["test.lua"], cwd=recipe(lab, host, body, **options), env=env)


# --- through other hosts

def only_through(lab, gate, hosts):
    """Nobody but `gate` reaches the SSH servers of `hosts`."""
    for host in hosts:
        host.machine.run(["iptables", "-I", "INPUT", "-p", "tcp", "--dport", "22", "!", "-s", gate.address, "-j",
                          "REJECT", "--reject-with", "tcp-reset"])


def logins_from(host):
    return set(re.findall(r"Accepted publickey for \S+ from (\S+) ", host.machine.log("sshd")))


def test_deploys_through_a_bastion():
    """Three with a jump host of the inventory, then one each with ProxyJump and ProxyCommand of OpenSSH's configuration."""
    with Lab(hosts=3) as lab:
        bastion, hosts = lab.hosts[0], lab.hosts[1:]
        only_through(lab, bastion, hosts)
        direct = Project(lab, hosts=hosts).run("deploy", "--version", "v1")
        assert direct.code == 4, direct
        jump = Project(lab, hosts=hosts, ssh=f"  jump: root@{bastion.address}\n")
        for version in ("v1", "v2", "v3"):
            before = accepted(bastion)
            result = jump.deploy(version)
            assert_serving(hosts, version, result)
            assert accepted(bastion) - before == 1, "one connection to the bastion is enough for all behind it"
        for version, line in (("v4", f"ProxyJump root@{bastion.address}"),
                              ("v5", f"ProxyCommand ssh -F {lab.ssh_config} -W %h:%p root@{bastion.address}")):
            config = lab.scratch() / "config"
            blocks = "".join(f"Host {host.address}\n  {line}\n" for host in hosts)
            config.write_text(blocks + f"Host *\n  IdentityFile {lab.keys.client['ed25519']}\n  IdentitiesOnly yes\n")
            project = Project(lab, hosts=hosts)
            project.replace(project.inventory, "  config: false\n", f"  config: {config}\n")
            assert_serving(hosts, version, project.deploy(version))
        for host in hosts:
            assert logins_from(host) == {bastion.address}, host.machine.log("sshd")


def test_two_jump_hosts_and_what_goes_wrong_on_the_way():
    with Lab(hosts=3, engine=False) as lab:
        first, second, last = lab.hosts
        only_through(lab, first, [second])
        only_through(lab, second, [last])
        say = 'run:log("it says " .. host:exec({ "hostname" }).stdout)'
        chain = f"root@{first.address},root@{second.address}"
        result = run_recipe(lab, last, say, jump=chain)
        assert result.code == 0 and "it says h3" in result.out, result
        # The key of each is checked: of the last one, and of those in between.
        for wrong in (last, second, first):
            lines = [line for line in lab.known_hosts.read_text().splitlines() if not line.startswith(wrong.address + " ")]
            partial = lab.scratch() / "known_hosts"
            partial.write_text("\n".join(lines) + "\n")
            result = run_recipe(lab, last, say, jump=chain, known_hosts=partial)
            assert result.code != 0 and "is not known" in result.err + result.out, (wrong.name, result)
            assert wrong.address in result.err + result.out, (wrong.name, result)
        # A host that is not there, told by the jump host.
        last.machine.stop("sshd")
        result = run_recipe(lab, last, say, jump=chain)
        assert result.code == 4 and "through" in result.out + result.err, result


def test_a_silent_host_behind_a_bastion_holds_up_nobody_else():
    with Lab(hosts=3, engine=False) as lab:
        bastion, silent, other = lab.hosts
        silent.cut()
        body = f"""
    local options = {{ user = "root", keys = {{ "{lab.keys.client['ed25519']}" }}, known_hosts = "{lab.known_hosts}",
      config = false, jump = "root@{bastion.address}", connect_timeout = "12s" }}
    local function to(address, name)
      local spec = {{ address = address, name = name }}
      for key, value in pairs(options) do spec[key] = value end
      return deploy.host(spec)
    end
    local began = task.now()
    local dead = task.spawn(function() return to("{silent.address}", "silent"):exec {{ "true" }} end, {{ observed = true }})
    task.sleep(300)
    run:log("other says " .. to("{other.address}", "other"):exec({{ "hostname" }}).stdout)
    run:log(("after %d s"):format((task.now() - began) / 1000))
    local ok, failure = pcall(task.join, dead)
    run:log("silent: " .. tostring(ok) .. " " .. failure.kind)"""
        result = run_recipe(lab, bastion, body)
        assert result.code == 0 and "other says h3" in result.out, result
        assert int(re.search(r"after (\d+) s", result.out).group(1)) < 12, result
        assert "silent: false ssh.connect" in result.out, result


def test_a_proxy_command_that_fails_says_why():
    with Lab(hosts=1, engine=False) as lab:
        result = run_recipe(lab, lab.hosts[0], "host:exec { 'true' }",
                            proxy_command="sh -c 'echo no way out >&2; exit 7'")
        assert result.code == 4, result
        assert "no way out" in result.out + result.err and "exit code 7" in result.out + result.err, result


def test_deploys_over_ipv6():
    with Lab(hosts=1) as lab:
        host = lab.hosts[0]
        six = lab.address6(host.address)
        known = lab.scratch() / "known_hosts"
        known.write_text(lab.known_hosts.read_text().replace(host.address, six))
        project = Project(lab, known_hosts=known)
        project.replace(project.inventory, f"address: {host.address}", f'address: "{six}"')
        project.deploy("v1")
        project.replace(project.inventory, f'{{ address: "{six}", name: h1 }}', f'"[{six}]:22"')
        project.deploy("v2")
        assert_serving(lab.hosts, "v2")
        assert logins_from(host) == {lab.address6(".254")}, host.machine.log("sshd")


# --- strict servers

def test_a_server_that_allows_one_session():
    with Lab(hosts=1, sshd=["MaxSessions 1"]) as lab:
        project = Project(lab)
        project.deploy("v1")
        assert_serving(lab.hosts, "v2", project.deploy("v2"))
        body = """
    local all = {}
    for i = 1, 6 do
      all[i] = task.spawn(function() return host:exec({ "sh", "-c", "sleep 0.1; echo " .. i }).stdout end, { observed = true })
    end
    local said = {}
    for i = 1, 6 do said[i] = task.join(all[i]):gsub("%s", "") end
    run:log("said " .. table.concat(said, " "))"""
        result = run_recipe(lab, lab.hosts[0], body)
        assert result.code == 0 and "said 1 2 3 4 5 6" in result.out, result
        # What keeps the deploy lock has the one session for as long as the connection lasts.
        locked = run_recipe(lab, lab.hosts[0], """
    local database = host:sqlite({ path = "there.db" }, { create = true })
    host:exec({ "true" })""")
        assert locked.code != 0 and "MaxSessions" in locked.out and "two are enough" in locked.out, locked


def test_a_server_that_drops_connections_at_random():
    """Twenty logins at once where sshd lets only a few in that have not logged in yet."""
    with Lab(hosts=1, engine=False) as lab:
        host = lab.hosts[0]
        config = host.machine.root / "etc/ssh/sshd_config"  # sshd takes the last one of these, not the first
        config.write_text(config.read_text().replace("MaxStartups 200", "MaxStartups 2:70:4"))
        host.stop_sshd()
        host.start_sshd()
        host.wait_sshd()
        body = f"""
    local all = {{}}
    for i = 1, 20 do
      all[i] = task.spawn(function()
        local one = deploy.host {{ address = "{host.address}", name = "n" .. i, user = "root", config = false,
          keys = {{ "{lab.keys.client['ed25519']}" }}, known_hosts = "{lab.known_hosts}", connect_timeout = "60s" }}
        return one:exec({{ "true" }}).code
      end, {{ observed = true }})
    end
    local sum = 0
    for i = 1, 20 do sum = sum + task.join(all[i]) + 1 end
    run:log("logged in " .. sum)"""
        result = run_recipe(lab, host, body)
        assert result.code == 0 and "logged in 20" in result.out, result
        dropped = len(re.findall(r"drop connection|MaxStartups", host.machine.log("sshd")))
        assert dropped > 0, host.machine.log("sshd")
    return f"20 logins, {dropped} lines of the server about dropped ones"


# --- lost connections

LOSE = ("echo x >> /root/runs; if [ ! -e /root/lost ]; then touch /root/lost; p=$$; "
        "while [ \"$(cat /proc/$p/comm)\" != sshd ]; do p=$(awk '{print $4}' /proc/$p/stat); done; kill -9 $p; sleep 60; fi; "
        "echo again")


def test_a_lost_connection_is_made_once_more_for_what_may_be_repeated():
    with Lab(hosts=1, engine=False) as lab:
        host = lab.hosts[0]
        (host.machine.root / "root/lose.sh").write_text(LOSE)
        body = """
    local command = { "sh", "/root/lose.sh" }
    local ok, failure = pcall(host.exec, host, command)
    run:log("plain: " .. tostring(ok) .. " " .. failure.kind)
    host:remove("/root/lost")
    run:log("repeatable: " .. host:exec(command, { repeatable = true }).stdout)
    host:remove("/root/lost")
    host:remove("/root/runs")
    run:log("read: " .. host:read("/root/lose.sh"):sub(1, 6))"""
        result = run_recipe(lab, host, body.replace('    host:remove("/root/runs")\n', ""))
        assert result.code == 0, result
        assert "plain: false ssh.lost" in result.out and "repeatable: again" in result.out, result
        assert host.read("/root/runs") == "x\nx\nx\n", "once without leave, twice with"


# --- forwards

def test_forwards_of_a_recipe():
    """A registry of this machine on a port of the server, a socket of the server on a socket of this machine."""
    with Lab(hosts=1) as lab:
        host = lab.hosts[0]
        listener = socket.create_server(("127.0.0.1", 0))
        served = []

        def serve():
            connection, _ = listener.accept()
            with connection:
                served.append(connection.recv(100))
                connection.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello")
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        here = lab.scratch() / "engine.sock"
        body = f"""
    local back = host:forward_remote(0, "127.0.0.1:{listener.getsockname()[1]}")
    run:log("there: " .. host:probe("http://" .. back.address .. "/v2/", 200).body)
    local out = host:forward_local("{here}", "/var/run/docker.sock")
    local engine = require("native.docker").client {{ socket = "{here}" }}
    run:log("engine: " .. engine:version().Version)
    engine:close()
    run:log("used: " .. out:stats().connections .. " " .. back:stats().connections)
    out:close()
    back:close()"""
        result = run_recipe(lab, host, body)
        listener.close()
        assert result.code == 0 and "there: hello" in result.out, result
        assert re.search(r"engine: \d+\.\d+", result.out) and "used: 1 1" in result.out, result
        assert served and served[0].startswith(b"GET /v2/"), served
        assert not here.exists()


# --- a terminal


def test_a_shell_in_a_terminal():
    with Lab(hosts=1, engine=False) as lab:
        host = lab.hosts[0]
        folder = recipe(lab, host, '    run:log("shell ended with " .. host:shell())\n'
                                   '    run:log("program ended with " .. host:shell { "sh", "-c", "stty size; exit 5" })')
        env = environment({"HOME": lab.folder, "TERM": "xterm-256color"})
        screen = Screen([str(deployrun()), "test.lua"], folder, env, columns=100, rows=30)
        screen.wait(r"[#$] ")
        screen.type("stty size; echo $TERM; tty\r")
        screen.wait(r"30 100\r\n.*xterm-256color\r\n.*/dev/pts/\d+")
        screen.resize(132, 43)
        screen.type("echo size-$(stty size)-\r")
        screen.wait(r"size-43 132-")
        # Keys that would end a program here end one there.
        screen.type("sleep 1000\r")
        screen.wait("sleep 1000")
        wait_until(lambda: host.machine.run(["pgrep", "-x", "sleep"], check=False).returncode == 0, 60, "sleep")
        screen.type("\x03")
        screen.type("echo code-$?-\r")
        screen.wait(r"code-130-")
        screen.type("exit 42\r")
        screen.wait(r"shell ended with 42")
        screen.wait(r"43 132.*program ended with 5")
        after = termios.tcgetattr(screen.master)
        assert after[:4] == screen.before[:4], "the terminal is as it was"
        assert screen.end() == 0
        # Ended from outside, the terminal is given back and the shell there is gone.
        screen = Screen([str(deployrun()), "test.lua"], folder, env)
        screen.wait(r"[#$] ")
        screen.type("sleep 999\r")
        wait_until(lambda: host.machine.run(["pgrep", "-x", "sleep"], check=False).returncode == 0, 60, "sleep")
        screen.process.terminate()
        screen.wait("SIGTERM|interrupted")
        assert termios.tcgetattr(screen.master)[:4] == screen.before[:4]
        assert screen.end() == 143
        wait_until(lambda: host.machine.run(["pgrep", "-x", "sleep"], check=False).returncode != 0, 60, "no sleep")
        # Without a terminal it says so.
        result = lab.deployrun(["test.lua"], cwd=folder)
        assert result.code != 0 and "no terminal" in result.out + result.err, result


def test_a_server_without_terminals_says_so():
    with Lab(hosts=1, engine=False, sshd=["PermitTTY no"]) as lab:
        folder = recipe(lab, lab.hosts[0], '    local ok, failure = pcall(host.shell, host)\n'
                                           '    run:log("said " .. failure.kind)')
        screen = Screen([str(deployrun()), "test.lua"], folder, environment({"HOME": lab.folder, "TERM": "xterm"}))
        screen.wait("said ssh.pty")
        assert screen.end() == 0


# --- making hosts known

def fingerprint(lab, host, kind):
    output = subprocess.run(["ssh-keygen", "-lf", lab.keys.host_key(host.name, kind).with_suffix(".pub")],
                            capture_output=True, text=True, check=True).stdout
    return output.split()[1]


def test_host_trust():
    with Lab(hosts=2, engine=False) as lab:
        host, bastion = lab.hosts
        pins = lab.scratch() / "config/hosts.known"

        def trust(*words):
            return lab.deployrun(["host", "trust", host.address, "--ssh-config", "none", "--file", pins, *words])

        # Nobody says so: shown, and nothing written.
        result = trust()
        assert result.code == 2 and not pins.exists(), result
        for kind in ("ed25519", "ecdsa", "rsa"):
            assert fingerprint(lab, host, kind) in result.out, result
        # A fingerprint that is not its own.
        wrong = trust("--fingerprint", fingerprint(lab, bastion, "ed25519"))
        assert wrong.code == 4 and not pins.exists(), wrong
        # One that is: that key alone.
        right = trust("--fingerprint", fingerprint(lab, host, "ecdsa"))
        assert right.code == 0, right
        assert len(pins.read_text().splitlines()) == 1 and " ecdsa-sha2-nistp256 " in pins.read_text(), pins.read_text()
        assert pins.stat().st_mode & 0o777 == 0o600
        say = 'run:log("in as " .. host:exec({ "whoami" }).stdout)'
        result = run_recipe(lab, host, say, known_hosts=pins)
        assert result.code == 0 and "in as root" in result.out, result
        # The rest, then nothing more.
        assert trust("--yes").code == 0 and len(pins.read_text().splitlines()) == 3, pins.read_text()
        again = trust("--yes")
        assert again.code == 0 and "known already" in again.out and len(pins.read_text().splitlines()) == 3, again
        # OpenSSH reads what was written.
        assert lab.ssh(host, ["true"], options=[f"UserKnownHostsFile={pins}"]).returncode == 0
        # In a terminal: asked, and answered.
        typed = lab.scratch() / "hosts.known"
        argv = [str(deployrun()), "host", "trust", host.address, "--ssh-config", "none", "--file", str(typed)]
        env = environment({"HOME": lab.folder, "TERM": "xterm"})
        for answer, code, lines in (("no", 4, 0), (fingerprint(lab, bastion, "rsa"), 4, 0),
                                    (fingerprint(lab, host, "rsa"), 0, 1), ("yes", 0, 3)):
            screen = Screen(argv, lab.scratch(), env)
            screen.wait("fingerprint to compare: ")
            screen.type(answer + "\r")
            screen.wait("written" if code == 0 else "nothing")
            assert screen.end() == code, answer
            assert (len(typed.read_text().splitlines()) if typed.exists() else 0) == lines, answer
        # Through a jump host, which has to be known itself.
        behind = lab.scratch() / "hosts.known"
        jump = ["host", "trust", host.address, "--ssh-config", "none", "--file", behind, "--jump",
                f"root@{bastion.address}", "--yes"]
        assert lab.deployrun(jump).code == 4
        # Another key on a known host: refused, and the file is as it was.
        before = pins.read_text()
        lab.keys.replace_host_key("h1", "ed25519")
        (host.machine.root / "etc/ssh/ssh_host_ed25519_key").write_text(lab.keys.host_key("h1", "ed25519").read_text())
        host.stop_sshd()
        host.start_sshd()
        host.wait_sshd()
        for words in (["--yes"], ["--fingerprint", fingerprint(lab, host, "ed25519")]):
            refused = trust(*words)
            assert refused.code == 4 and "ssh-keygen -R" in refused.err + refused.out, refused
            assert pins.read_text() == before

"""Podman as a plain user, by the same calls as Docker: over SSH and on the machine itself, its socket found by itself."""

import shutil
import urllib.request

from labkit import Lab
from labkit import podman
from labkit.paths import deployrun
from prodkit import KAMAL, Project, assert_same, assert_serving, snapshots

RECIPE = """\
local deploy = require "deploy"
local task = require "native.task"
local IMAGE, OTHER, MISSING = "{image}:v1", "{image}:v2", "{image}:nothing"
local host = {host}

local function kind(fn, ...)
  local ok, err = pcall(fn, ...)
  return ok and "ok" or err.kind
end
local function equal(actual, expected, what)
  if actual ~= expected then error(("%s: %s, not %s"):format(what, tostring(actual), tostring(expected)), 2) end
end

deploy.command "try" {{
  default = true,
  run = function(run)
    run:step("try", {{ on = host, run = function(on)
      local docker = on.docker
{body}
      print("all of it")
    end }})
  end,
}}
"""

EVERYTHING = """
      -- Which engine.
      assert(docker:ping():match("^1%.%d+$"), "an API version")
      equal(docker:version().Components[1].Name, "{engine}", "engine")
      equal(docker:info().Rootless, {rootless}, "rootless")

      -- Images.
      local told = 0
      local pulled = docker:pull(IMAGE, {{ on_progress = function(now) told = told + 1 end }})
      equal(pulled.changed, true, "first pull")
      assert(pulled.digest and pulled.digest:match("^sha256:%x+$"), "digest: " .. tostring(pulled.digest))
      local again = docker:pull(IMAGE)
      equal(again.changed, false, "second pull")
      equal(kind(docker.pull, docker, MISSING), "docker.not_found", "a tag that is missing")
      local image = docker:inspect_image(IMAGE)
      assert(image.id:match("^sha256:%x+$") and image.env.VERSION == "v1" and image.ports[1] == "80/tcp")
      equal(image.entrypoint[1], "/demo_app", "entrypoint")
      equal(kind(docker.inspect_image, docker, MISSING), "docker.not_found", "an image that is missing")
      docker:tag_image(IMAGE, IMAGE .. "-again")
      equal(#docker:inspect_image(IMAGE).tags, 2, "tags")
      equal(#docker:list_images {{ reference = IMAGE }}, 1, "images of that name")
      docker:remove_image(IMAGE .. "-again")
      equal(#docker:inspect_image(IMAGE).tags, 1, "tags")

      -- Networks and volumes.
      docker:create_network("net", {{ labels = {{ a = "b" }} }})
      equal(kind(docker.create_network, docker, "net"), "docker.conflict", "a network twice")
      equal(docker:inspect_network("net").labels.a, "b", "network's label")
      equal(#docker:list_networks {{ name = "net" }}, 1, "networks of that name")
      equal(#docker:list_networks {{ labels = {{ "a=b" }} }}, 1, "networks of that label")
      equal(kind(docker.inspect_network, docker, "nobody"), "docker.not_found", "a network that is missing")
      docker:create_volume("data", {{ labels = {{ a = "b" }} }})
      equal(docker:create_volume("data").name, "data", "a volume twice")
      equal(docker:inspect_volume("data").labels.a, "b", "volume's label")
      equal(#docker:list_volumes {{ labels = {{ "a=b" }} }}, 1, "volumes")
      equal(kind(docker.inspect_volume, docker, "nobody"), "docker.not_found", "a volume that is missing")

      -- Events, from before what they tell of.
      local seen = {{}}
      local watching = task.spawn(function()
        for event in docker:events {{ since = tostring(os.time() - 1), filters = {{ container = {{ "web" }}, type = {{ "container" }} }} }} do
          seen[#seen + 1] = event.action
          if event.action == "start" then return event end
        end
      end)
      docker:ping()
      docker:version()

      -- Containers.
      local spec = {{ image = IMAGE, name = "web", network = "net", aliases = {{ "shop" }}, labels = {{ service = "shop" }},
        publish = {{ "8080:80" }}, volumes = {{ "data:/data" }}, env = {{ COLOUR = "blue" }}, restart = "unless-stopped",
        stop_timeout = "5s", log_options = {{ ["max-size"] = "10m" }} }}
      local made = docker:create(spec)
      assert(made.id:match("^%x+$"))
      equal(kind(docker.create, docker, spec), "docker.conflict", "a name twice")
      equal(kind(docker.create, docker, {{ image = MISSING, name = "no" }}), "docker.not_found", "without an image")
      equal(docker:inspect("web").state, "created", "state")
      equal(docker:start("web"), true, "start")
      equal(docker:start("web"), false, "start again")
      local event = task.join(watching)
      equal(event.name, "web", "event")
      equal(event.attributes.service, "shop", "event's label")
      equal(seen[1] .. " " .. seen[#seen], "create start", "events")

      local web = docker:inspect("web")
      equal(web.running, true, "running")
      equal(web.state, "running", "state")
      equal(web.health, "", "health")
      equal(web.name, "web", "name")
      equal(web.image, IMAGE, "image")
      equal(web.image_id, image.id, "image's ID")
      equal(web.labels.service, "shop", "label")
      equal(web.env.COLOUR, "blue", "environment")
      equal(web.restart, "unless-stopped", "restart")
      assert(web.networks.net.ip:match("^%d+%."), "address")
      equal(web.published[1].port, "8080", "port")
      equal(web.mounts[1].name .. ":" .. web.mounts[1].target, "data:/data", "mount")
      equal(#docker:list {{ labels = {{ "service=shop" }} }}, 1, "by label")
      equal(#docker:list {{ labels = {{ "service=other" }} }}, 0, "by another label")
      equal(docker:list({{ name = "web" }})[1].id, made.id, "by name")
      equal(#docker:list {{ name = "we" }}, 0, "by a part of a name")
      equal(docker:inspect_network("net").containers[1].name, "web", "in the network")
      equal(kind(docker.remove_image, docker, IMAGE), "docker.conflict", "an image in use")
      equal(kind(docker.remove_volume, docker, "data"), "docker.conflict", "a volume in use")
      equal(kind(docker.inspect, docker, "nobody"), "docker.not_found", "a container that is missing")
      on:wait_healthy("http://127.0.0.1:8080/up", {{ within = "60s" }})

      -- What it says, and what is run inside.
      for line in docker:follow("web", {{ all = true }}) do
        if line:find("listening", 1, true) then break end
      end
      local logs = docker:logs("web")
      assert(logs.text:find("listening", 1, true), logs.text)
      equal(docker:logs("web", {{ tail = 1 }}).text:find("starting", 1, true), nil, "the last line alone")
      local ran = docker:exec("web", {{ "/demo_app" }}, {{ env = {{ PORT = "80" }} }})
      assert(ran.code ~= 0 and ran.stdout:find("cannot listen", 1, true), ran.stdout .. ran.stderr)
      assert(docker:exec("web", {{ "/nothing" }}).code >= 126, "a program that is missing")
      docker:write("web", "/data/hello", "from here", {{ mode = 384 }})
      equal(docker:read("web", "/data/hello"), "from here", "a file")
      equal(docker:get_archive("web", "/data")[1].type, "directory", "a folder")
      equal(kind(docker.read, docker, "web", "/data/nothing"), "docker.not_found", "a file that is missing")
      local used = docker:stats("web")
      assert(used.received_bytes > 0 and used.cpu >= 0, "received " .. used.received_bytes)
      local disk = docker:disk_usage()
      assert(disk.images.count >= 1 and disk.images.bytes > 0 and disk.containers.count == 1)

      -- Other networks, other names, the end.
      docker:create_network("second")
      docker:connect_network("second", "web", {{ aliases = {{ "again" }} }})
      assert(docker:inspect("web").networks.second, "joined")
      docker:disconnect_network("second", "web")
      equal(docker:inspect("web").networks.second, nil, "left")
      docker:rename("web", "old")
      equal(docker:inspect("old").id, made.id, "renamed")
      docker:restart("old", {{ grace = "5s" }})
      equal(docker:inspect("old").running, true, "restarted")
      local waiting = task.spawn(function() return docker:wait("old") end)
      equal(docker:stop("old", {{ grace = "5s" }}), true, "stop")
      equal(docker:stop("old"), false, "stop again")
      equal(type(task.join(waiting)), "number", "code")
      equal(docker:inspect("old").state, "exited", "state")
      equal(kind(docker.exec, docker, "old", {{ "/demo_app" }}), "docker.conflict", "exec in what is stopped")
      docker:start("old")
      docker:kill("old", "KILL")
      docker:wait("old")
      equal(kind(docker.kill, docker, "old"), "docker.conflict", "kill what is stopped")
      docker:remove("old", {{ force = true, volumes = true }})
      equal(kind(docker.remove, docker, "old"), "docker.not_found", "remove twice")
      docker:remove_network("second")
      docker:remove_network("net")
      equal(kind(docker.remove_network, docker, "net"), "docker.not_found", "remove a network twice")
      docker:remove_volume("data")

      -- A description with much in it, two networks at once, and what does not start.
      docker:create_network("net")
      docker:create_network("second")
      docker:create {{ image = IMAGE, name = "full", network = "net", networks = {{ {{ name = "second" }} }},
        hostname = "inside", extra_hosts = {{ "db:10.0.0.1" }}, tmpfs = {{ ["/tmp"] = "size=1m" }}, read_only = true,
        cap_drop = {{ "ALL" }}, security = {{ "no-new-privileges" }}, init = false, user = "1000:1000",
        env = {{ PORT = "8081" }}, labels = {{ service = "full" }},
        health = {{ test = {{ "/demo_app" }}, interval = "1s" }} }}
      docker:start("full")
      assert(docker:inspect("full").networks.net.ip ~= "" and docker:inspect("full").networks.second.ip ~= "")
      equal(docker:inspect("full").running, true, "it runs")
      docker:create {{ image = IMAGE, name = "broken", entrypoint = {{ "/nothing" }} }}
      equal(kind(docker.start, docker, "broken"), "docker.invalid", "a program that is missing")
      docker:remove("full", {{ force = true }})
      equal(#docker:prune("containers").removed, 1, "containers pruned")
      assert(#docker:prune("networks").removed >= 2)
      docker:save_images(IMAGE, "saved.tar")
      docker:remove_image(IMAGE)
      equal(docker:load_images("saved.tar").images[1].name, IMAGE, "loaded")
      equal(docker:inspect_image(IMAGE).id, image.id, "the same image")
      docker:pull(OTHER)
      docker:save_images({{ IMAGE, OTHER }}, "both.tar")
      equal(#docker:load_images("both.tar").images, 2, "loaded")
"""

OVER_SSH = """deploy.host({{ name = "h1", address = "{address}", user = "deploy", keys = {{ "{key}" }},
  known_hosts = "{known_hosts}", config = false{more} }})"""


def recipe(lab, body, host=None, more=""):
    over = OVER_SSH.format(address=lab.hosts[0].address, key=lab.keys.client["ed25519"], known_hosts=lab.known_hosts,
                           more=more)
    return RECIPE.format(image=lab.image("app"), host=host or over, body=body)


def attempt(lab, body, more="", *options):
    folder = lab.scratch()
    (folder / "try.lua").write_text(recipe(lab, body, more=more))
    return lab.deployrun(["try.lua", *options], cwd=folder)


def good(lab, body, more="", *options):
    result = attempt(lab, body, more, *options)
    assert result.code == 0 and "all of it" in result.out, result
    return result


def test_docker_takes_every_call():
    """The measure: what is asked of Podman below is what Docker does."""
    with Lab(hosts=1) as lab:
        good(lab, EVERYTHING.format(engine="Engine", rootless="nil"))


def test_rootless_podman_takes_every_call():
    with Lab(hosts=1, engine="podman") as lab:
        result = good(lab, EVERYTHING.format(engine="Podman Engine", rootless="true"), "", "-v")
        assert podman.SOCKET in result.out + result.err, result


# The first questions, all at once.
PING = """
      local asked = task.each({ 1, 2, 3, 4 }, {}, function() return docker:version().Components[1].Version end)
      for _, one in ipairs(asked) do if not one.ok then error(one.error, 0) end end"""


def test_its_socket_is_named_or_found_and_said_where_it_is():
    with Lab(hosts=1, engine="podman") as lab:
        host = lab.hosts[0]
        good(lab, PING, f', docker_socket = "{podman.SOCKET}"')
        wrong = attempt(lab, PING, ', docker_socket = "/run/nobody.sock"')
        assert wrong.code == 1 and "no engine: /run/nobody.sock is not there" in wrong.out, wrong
        assert podman.SOCKET in wrong.out and "docker.connect" in wrong.out, wrong

        # Docker is installed here and stopped: another engine is no answer to that.
        host.machine.run(["umount", "/usr/sbin/dockerd"])
        stopped = attempt(lab, PING)
        assert stopped.code == 1 and "no engine: /var/run/docker.sock" in stopped.out, stopped
        assert podman.SOCKET in stopped.out, stopped
        host.machine.run(["mount", "--bind", "/dev/null", "/usr/sbin/dockerd"])

        # No forwarding of sockets: through a command, with a named socket and with one that is found.
        host.configure_sshd(["AllowStreamLocalForwarding no"])
        good(lab, PING)
        good(lab, PING, f', docker_socket = "{podman.SOCKET}"')
        host.configure_sshd([])

        # A plan reads through the same socket.
        good(lab, PING, "", "--plan")

        host.stop_engine()
        (host.machine.root / podman.SOCKET[1:]).unlink(missing_ok=True)
        missing = attempt(lab, PING)
        assert missing.code == 1 and "systemctl --user enable --now podman.socket" in missing.out, missing


def test_on_the_machine_itself():
    with Lab(hosts=1, engine="podman") as lab:
        host = lab.hosts[0]
        home = host.machine.root / "home/deploy"
        shutil.copyfile(deployrun(), home / "deployrun")
        (home / "deployrun").chmod(0o755)
        (home / "try.lua").write_text(recipe(lab, EVERYTHING.format(engine="Podman Engine", rootless="true"),
                                             host="deploy.localhost"))
        result = host.as_engine_user(["/home/deploy/deployrun", "try.lua"], check=False, timeout=120)
        assert result.returncode == 0 and "all of it" in result.stdout, result


def test_the_shipped_recipe_deploys_to_it():
    """Its containers' addresses are its user's alone: readiness is asked from inside. The ports are below 1024."""
    with Lab(hosts=2, engine="podman") as lab:
        project = Project(lab, kind=KAMAL, user="deploy")
        planned = project.good("deploy", "--version", "v1", "--plan")
        assert "docker run" in planned.out, planned
        assert not any(host.engine.containers() for host in lab.hosts)
        project.deploy("v1")
        assert_serving(lab.hosts, "v1")
        for host in lab.hosts:
            with urllib.request.urlopen(host.url + "/up", timeout=5) as answer:
                assert answer.status == 200
        before = snapshots(lab.hosts)
        project.deploy("v1")
        assert_same(before, snapshots(lab.hosts))

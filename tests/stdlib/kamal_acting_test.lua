--- What Kamal's commands do to a server in which order: nothing is taken away before what comes in its place can be
--- made, what is somebody else's stays, and what was done once is not done again to finish or undo a run.

local accessories = require "kamal.accessories"
local assets = require "kamal.assets"
local blocks = require "kamal.blocks"
local boot = require "kamal.boot"
local checking = require "kamal.checking"
local configuration = require "kamal.configuration"
local current = require "kamal.current"
local deploying = require "kamal.deploying"
local environment = require "kamal.environment"
local files = require "native.files"
local lock = require "kamal.lock"
local process = require "native.process"
local proxy = require "kamal.proxy"
local replacing = require "deploy.replacing"
local report = require "native.report"
local run_module = require "deploy.run"
local stopping = require "deploy.stopping"
local task = require "native.task"
local test = require "test"

local function scratch() return (process.run({ "mktemp", "-d" }).stdout:gsub("%s+$", "")) end

--- Gives `fn` a folder until all that it has begun has ended: audit lines are written beside what they tell of.
local function in_folder(fn)
  local folder = scratch()
  local ok, err = pcall(task.join, task.spawn(function() fn(folder) end, { name = "in a folder" }))
  files.remove(folder, { recursive = true })
  if not ok then error(err, 0) end
end

local function it_in_folder(what, fn) test.it(what, function() in_folder(fn) end) end

--- A server whose commands run here, in a folder of their own.
local function here(folder)
  return { name = "h1", exec = function(_, argv, given)
    return process.run(argv, { cwd = folder, check = given and given.check })
  end }
end

--- An engine that remembers containers by name: just enough to see what becomes of each.
local function engine(containers, images)
  local docker = { containers = containers, done = {} }
  local function note(...) docker.done[#docker.done + 1] = table.concat({ ... }, " ") end
  local function find(ref)
    for name, one in pairs(containers) do
      if name == ref or one.id == ref then return one, name end
    end
    error({ kind = "docker.not_found", message = "no such container: " .. ref }, 0)
  end
  function docker.inspect(_, ref)
    local one, name = find(ref)
    one.name = name
    return one
  end
  function docker.stop(_, ref) find(ref).running = false note("stop", ref) end
  function docker.start(_, ref)
    if docker.refuses then error({ kind = "docker.engine", message = "port is taken" }, 0) end
    find(ref).running = true
    note("start", ref)
  end
  function docker.remove(_, ref)
    local _, name = find(ref)
    containers[name] = nil
    note("remove", ref)
  end
  function docker.rename(_, ref, to)
    local one, name = find(ref)
    containers[name], containers[to] = nil, one
    note("rename", name, to)
  end
  function docker.create(_, spec)
    if containers[spec.name] then error({ kind = "docker.conflict", message = spec.name .. " is taken" }, 0) end
    containers[spec.name] = { id = "new", running = false }
    note("create", spec.name)
    return { id = "new" }
  end
  function docker.inspect_image(_, ref)
    if images and images[ref] then return { id = ref } end
    error({ kind = "docker.not_found", message = "no such image: " .. ref }, 0)
  end
  function docker.pull(_, ref, given) note("pull", ref, given and given.credentials and "as" or "", given
    and given.credentials and given.credentials.username or "") end
  function docker.inspect_network() return {} end
  function docker.execs() return {} end
  function docker.wait() end
  function docker.exec() return { code = 0, stdout = "", stderr = "" } end
  function docker.list()
    local out = {}
    for name, one in pairs(containers) do
      out[#out + 1] = { id = one.id, name = name, state = one.running and "running" or "exited" }
    end
    return out
  end
  return docker
end

local function project_of(folder, lines)
  files.write(folder .. "/deploy.yml", "service: shop\nimage: me/shop\nbuilder: { arch: amd64 }\n"
    .. (lines and lines:find("servers:", 1, true) and "" or "servers: [1.1.1.1]\n")
    .. "registry: { server: reg.example.com, username: ann, password: p }\n" .. (lines or ""))
  local config = configuration.load { config_file = folder .. "/deploy.yml", version = "v1",
    environment = environment.new(function() return nil end) }
  return { config = config, options = {}, environment = environment.new(function() return nil end),
    command = "proxy reboot", hosts = {}, roles = config.roles }
end

test.it("takes back only what it had set aside, and finishes what was cut off", function()
  local docker = engine { db = { id = "old", running = true } }
  local host = { name = "h1", docker = docker }
  replacing.set_aside(host, "db")
  replacing.set_aside(host, "db")  -- once more, as a resumed run does
  docker:create { name = "db" }
  replacing.set_aside(host, "db")  -- what was half made gives way
  test.equal(docker.containers.db, nil)
  docker:create { name = "db" }
  test.equal(replacing.restore(host, "db"), true)
  test.equal(docker.containers, { db = { id = "old", running = true, name = "db_set_aside" } })
  test.equal(replacing.restore(host, "db"), false)
  replacing.set_aside(host, "db")
  docker:create { name = "db" }
  replacing.forget(host, "db")
  replacing.forget(host, "db")
  test.equal(docker.containers.db.id, "new")
  test.equal(replacing.restore(host, "db"), false)
end)

test.it("brings back what was set aside also where that was cut off before it ran, or before it was served", function()
  local docker = engine { db = { id = "old", running = true } }
  local host, start, served = { name = "h1", docker = docker }, docker.start, {}
  replacing.set_aside(host, "db")
  docker.start = function() error({ kind = "docker.connect", message = "cut off" }, 0) end
  test.raises("docker.connect", function() replacing.restore(host, "db") end)
  docker.start = start
  test.raises("proxy.command", function()
    replacing.restore(host, "db", function() error({ kind = "proxy.command", message = "cut off" }, 0) end)
  end)
  test.equal(replacing.restore(host, "db", function(id) served[#served + 1] = id end), true)
  test.equal(served, { "old" })
  test.equal(docker.containers.db.running, true)
  test.equal(replacing.restore(host, "db", function(id) served[#served + 1] = id end), false)
  test.equal(served, { "old" })
end)

it_in_folder("keeps a lock that somebody else has just made, and lets go of its own half made one", function(folder)
  local project = { primary_host = here(folder), config = { service = "shop" }, options = {} }
  local path = folder .. "/.kamal/lock-shop"
  local details = lock.details("v1", lock.AUTOMATIC)
  -- Kamal's, between `mkdir` and its details.
  files.mkdir(path)
  test.raises("kamal.locked", function() lock.acquire(project, details) end)
  lock.release_own(project, details)
  test.equal(files.exists(path), true)
  -- Somebody else's, with details.
  files.write(path .. "/details", lock.details("v0", "mine"))
  lock.release_own(project, details)
  test.equal(files.exists(path), true)
  lock.release(project)
  -- Ours, killed before its details were written.
  lock.acquire(project, details)
  files.remove(path .. "/details")
  lock.release_own(project, details)
  test.equal(files.exists(path), false)
  -- Ours.
  lock.acquire(project, details)
  lock.acquire(project, details)
  lock.release_own(project, details)
  lock.release_own(project, details)
  test.equal(files.exists(path), false)
end)

it_in_folder("removes other versions' assets and never those of a role whose name goes on", function(folder)
  local project = project_of(folder, "asset_path: /app/public\nservers:\n  web: [1.1.1.1]\n"
    .. "  web-admin: { hosts: [1.1.1.1], proxy: true }\n")
  function project.roles_on() return project.roles end
  local above = folder .. "/.kamal/apps/shop/assets/volumes/"
  files.mkdir(folder .. "/.kamal/apps/shop/assets/extracted")
  for _, name in ipairs { "web-v1", "web-v0", "web-admin-v1", "web-admin-v0" } do files.mkdir(above .. name) end
  assets.clean(project, here(folder), "v1")
  local left = {}
  for _, one in ipairs(files.list(above)) do left[#left + 1] = one.name end
  table.sort(left)
  test.equal(left, { "web-admin-v1", "web-v1" })
end)

test.it("takes what runs for what serves where the proxy points to a container that has ended", function()
  local listed = {}
  for index, one in ipairs { { "v2", "exited" }, { "v1", "running" } } do
    listed[index] = { id = ("%012d"):format(index), name = "shop-web-" .. one[1], state = one[2], created = -index,
      image_id = "i", labels = { service = "shop", role = "web" } }
  end
  local docker = engine({ ["kamal-proxy"] = { id = "p", running = true } })
  function docker.list() return listed end
  function docker.read()
    return '[{"name":"shop-web","options":{"hosts":[],"path_prefixes":["/"]},"active_targets":["000000000001:80"],'
      .. '"pause_controller":{"state":0}}]'
  end
  local project = project_of(scratch())
  function project.roles_on() return project.roles end
  local look = current.look(project, { name = "1.1.1.1", docker = docker })
  test.equal(look.roles.web.current.version, "v1")
end)

test.it("goes back to no version that never ran: a run that failed leaves its container", function()
  local listed = {}
  for index, one in ipairs { { "v3", "created" }, { "v2", "running" }, { "v1", "exited" } } do
    listed[index] = { id = ("%012d"):format(index), name = "shop-web-" .. one[1], state = one[2], created = -index,
      image_id = "i", labels = { service = "shop", role = "web" } }
  end
  local docker, project = engine {}, project_of(scratch())
  function docker.list() return listed end
  function docker.read() error({ kind = "docker.not_found", message = "none" }, 0) end
  function project.roles_on() return project.roles end
  local host = { name = "1.1.1.1", docker = docker }
  project.app_hosts = { host }
  test.equal(deploying._previous(project, { [host] = current.look(project, host) }), "v1")
end)

local function booted(project)
  function project.spec() return { name = "kamal-proxy" } end
  function project.credentials() return { username = "ann", password = "p" } end
  return project
end

it_in_folder("stops the proxy for a reboot only once its successor can be made", function(folder)
  local docker = engine({ ["kamal-proxy"] = { id = "old", running = true, image = "basecamp/kamal-proxy:v0.9.2" } })
  local host = here(folder)
  host.docker = docker
  local project = booted(project_of(folder))
  -- Settings of `proxy boot_config` that docker does not know: found before anything is touched.
  files.write(folder .. "/.kamal/proxy/options", "publish 80:80", { parents = true })
  test.raises("proxy.boot", function() proxy.reboot(project, host) end)
  test.equal(docker.done, {})
  files.remove(folder .. "/.kamal/proxy/options")
  -- One that does not start: the old one comes back.
  docker.refuses = true
  test.raises("docker.engine", function() proxy.reboot(project, host) end)
  docker.refuses = false
  proxy.unreboot(host)
  proxy.unreboot(host)
  test.equal(docker.containers["kamal-proxy"].id, "old")
  test.equal(docker.containers["kamal-proxy"].running, true)
  proxy.reboot(project, host)
  test.equal(docker.containers["kamal-proxy"].id, "new")
  test.equal(docker.containers["kamal-proxy_set_aside"], nil)
end)

test.it("pulls the proxy from the app's registry with the app's credentials, and from no other", function()
  for lines, wanted in pairs {
    ["proxy: { run: { registry: reg.example.com } }\n"] = "pull reg.example.com/basecamp/kamal-proxy:v0.9.2 as ann",
    [""] = "pull basecamp/kamal-proxy:v0.9.2  ",
  } do
    in_folder(function(folder)
      local host = here(folder)
      host.name, host.docker = "1.1.1.1", engine {}
      proxy.boot(booted(project_of(folder, lines)), host)
      test.equal(host.docker.done[1], wanted)
    end)
  end
end)

it_in_folder("stops an accessory for a reboot only once its successor can be made", function(folder)
  local docker = engine({ ["shop-db"] = { id = "old", running = true } }, { ["mysql:8"] = true })
  local host = here(folder)
  host.docker = docker
  local project = booted(project_of(folder, "accessories:\n  db: { image: 'mysql:8', host: 1.1.1.1, files: ['"
    .. folder .. "/missing.cnf:/etc/my.cnf'] }\n"))
  local db = project.config.accessories[1]
  local err = test.raises("config.invalid", function() accessories.reboot(project, host, db) end)
  test.contains(err.message, "Missing file")
  test.equal(docker.containers["shop-db"].running, true)
  test.equal(docker.done, { "pull mysql:8 as ann" })
end)

it_in_folder("gives traffic back to the old container at the port that it had", function(folder)
  local project, argv = project_of(folder, "proxy: { app_port: 3000 }\n"), nil
  local old, new = ("a"):rep(64), ("b"):rep(64)
  local docker = engine { ["shop-web-v0"] = { id = old, running = false },
    ["shop-web-v1"] = { id = new, running = true }, ["kamal-proxy"] = { id = "p", running = true } }
  local state = '[{"name":"shop-web","options":{"hosts":[],"path_prefixes":["/"]},"active_targets":["%s:3000"],'
    .. '"pause_controller":{"state":0}}]'
  function docker.read() return state:format(new:sub(1, 12)) end
  function docker.exec(_, _, words)
    argv = words
    return { code = 0, stdout = "", stderr = "" }
  end
  local before = { id = old, name = "shop-web-v0", version = "v0", running = true }
  local function unboot(proxy_state, routes)
    boot.unboot(project, { name = "1.1.1.1", docker = docker }, project.roles[1], { version = "v1", look = {
      roles = { web = { containers = { before }, current = before } }, routes = routes, proxy = proxy_state } })
  end
  unboot("running", { ["shop-web"] = { container = old:sub(1, 12), port = 80, state = "running" } })
  test.equal(argv[4], "--target=" .. old:sub(1, 12) .. ":80")
  unboot("stopped", {})  -- its routes were not known: they come back with the proxy
  test.equal(argv[4], "--target=" .. old:sub(1, 12) .. ":3000")
  unboot("running", {})  -- nothing came to it before
  test.equal({ argv[2], argv[3] }, { "remove", "shop-web" })
  test.equal(docker.containers["shop-web-v0"].running, true)
  test.equal(docker.containers["shop-web-v1"], nil)
end)

--- A proxy whose command for shop-web goes on although nobody waits for it; `ends` is called when it comes to its end.
local function under_way(docker, command, ends)
  local looks = 0
  function docker.execs()
    looks = looks + 1
    if looks == 3 then ends() end
    return { { argv = { "kamal-proxy", "list" }, running = false },
      { argv = { "kamal-proxy", command, "shop-web" }, running = looks < 3 } }
  end
end

--- Two versions, both running, and the proxy's state, in which v0 has the traffic.
local function two_versions()
  local old, new = ("a"):rep(64), ("b"):rep(64)
  local docker = engine { ["shop-web-v0"] = { id = old, running = true },
    ["shop-web-v1"] = { id = new, running = true }, ["kamal-proxy"] = { id = "p", running = true } }
  local serving = old
  function docker.read()
    return ('[{"name":"shop-web","options":{"hosts":[],"path_prefixes":["/"]},"active_targets":["%s:80"],'
      .. '"pause_controller":{"state":0}}]'):format(serving:sub(1, 12))
  end
  function docker.exec(_, _, words)
    docker.done[#docker.done + 1] = table.concat(words, " ", 2, 3)
    serving = (words[4] or ""):find(old:sub(1, 12), 1, true) and old or new
    return { code = 0, stdout = "", stderr = "" }
  end
  local before = { id = old, name = "shop-web-v0", version = "v0", running = true }
  local look = { roles = { web = { containers = { before }, current = before } }, proxy = "running",
    routes = { ["shop-web"] = { container = old:sub(1, 12), port = 80, state = "running" } } }
  return docker, look, function() serving = new end
end

it_in_folder("a switch that goes on in the proxy although it was called off is taken back too", function(folder)
  local project = project_of(folder)
  local docker, look, switch = two_versions()
  under_way(docker, "deploy", switch)
  local host = { name = "u1", docker = docker }
  stopping.begin(host)
  boot.unboot(project, host, project.roles[1], { version = "v1", look = look })
  test.equal(docker.done, { "deploy shop-web", "remove " .. ("b"):rep(64) })
end)

it_in_folder("an old container that a process which is gone was about to stop runs again", function(folder)
  local project = project_of(folder, "stop_timeout: 1\n")
  local docker, look = two_versions()
  function docker.execs() return {} end
  function docker.wait() docker.containers["shop-web-v0"].running = false end
  boot.unboot(project, { name = "u2", docker = docker }, project.roles[1], { version = "v1", look = look })
  test.equal(docker.containers["shop-web-v0"].running, true)
  test.equal(docker.done, { "start " .. ("a"):rep(64), "remove " .. ("b"):rep(64) })
end)

it_in_folder("a boot that is gone on with stops the old container only once the proxy has drained it", function(folder)
  local project = project_of(folder)
  function project.spec() return { name = "shop-web-v1" } end
  local host = here(folder)
  function host.write() end
  local docker, look, switch = two_versions()
  host.docker = docker
  switch()
  under_way(docker, "deploy", function() docker.done[#docker.done + 1] = "drained" end)
  boot.boot(project, host, project.roles[1], { version = "v1", look = look })
  test.equal(docker.done, { "drained", "stop " .. ("a"):rep(64) })
end)

it_in_folder("what is started although its end, which was called off, is yet to come runs in the end", function(folder)
  local project = project_of(folder, "accessories:\n  db: { image: 'mysql:8', host: 1.1.1.1 }\n")
  local host = here(folder)
  local db, ends = { id = "d", running = true }, true
  host.name, host.docker = "u3", engine { ["shop-db"] = db }
  local function come_to_its_end()
    if ends then db.running, ends = false, false end
  end
  host.docker.wait = come_to_its_end
  function host.docker.start() db.running = true end  -- nothing, where it runs yet
  accessories.start(project, host, project.config.accessories[1])
  come_to_its_end()
  test.equal(db.running, true)
end)

it_in_folder("the maintenance ends once its beginning, which was called off, has drained", function(folder)
  local project = project_of(folder)
  local docker = two_versions()
  under_way(docker, "stop", function() docker.done[#docker.done + 1] = "drained" end)
  boot.live(project, { name = "1.1.1.1", docker = docker }, "shop-web")
  test.equal(docker.done, { "drained", "resume shop-web" })
end)

test.it("tells what the servers say that answer, then what one does not", function()
  local said = {}
  local shown = report.text
  report.text = function(words) said[#said + 1] = words end
  local hosts = { { name = "h1" }, { name = "h2" }, { name = "h3" } }
  local err = test.raises("ssh.connect", function()
    blocks.by_host({ command = "app details", options = {} }, hosts, "App", function(host)
      if host.name == "h1" then error({ kind = "ssh.connect", message = "refused" }, 0) end
      return host.name .. " is well"
    end)
  end)
  report.text = shown
  test.equal(err.message, "refused")
  test.equal(said, { "App Host: h2\nh2 is well\n\n", "App Host: h3\nh3 is well\n\n" })
end)

test.it("looks up no secret for a check-list before one of its checks is run", function()
  local project = project_of(scratch(), "x-deployrun: { checks: { before: [{ check: image }] } }\n")
  local asked = 0
  function project.credentials()
    asked = asked + 1
    return { username = "ann" }
  end
  local list = checking.of(project, "before")
  test.equal(asked, 0)
  test.equal(list.app._credentials.username, "ann")
  test.equal(list.app.nothing, nil)
end)

test.it("asks for no secret to undo a deploy", function()
  local project, asked = project_of(scratch(), "env: { secret: [TOKEN] }\n"), 0
  local function ask() asked = asked + 1 error { kind = "kamal.secrets", message = "op: not signed in" } end
  project.config.secrets = { value = ask, get = ask, names = ask }
  project.options, project.app_hosts, project.proxy_hosts = { skip_push = true }, {}, {}
  local function deploy(mode, once)
    local run = run_module.new { params = {}, mode = mode, localhost = { name = "local" },
      record = once and { id = "1", started = 0, steps = {}, once = once } or nil }
    return pcall(deploying.deploy, run, project, "deploy")
  end
  test.equal(deploy("abort", { version = "v1", secrets = true }), false)  -- it ends where the journal does
  test.equal(asked, 0)
  test.equal(deploy("run"), false)
  test.equal(asked, 1)
end)

it_in_folder("looks at the pulled image beside taking the lock, let go of where the image is wrong", function(folder)
  local project, label = project_of(folder), "shop"
  local host = here(folder)
  host.docker = { inspect_image = function() return { labels = { service = label } } end }
  project.primary_host, project.app_hosts = host, { host }
  local details, path = "bWU=", folder .. "/.kamal/lock-shop/details"
  local function deploy()
    local held
    local run = run_module.new { info = {}, params = {}, mode = "run", localhost = { name = "local" } }
    lock.details = function() return details end
    local result = run:execute(function()
      deploying.locked(run, project, "v1", function() held = files.read(path) end, "reg.example.com/me/shop:v1")
    end)
    return result, held
  end
  local real = lock.details
  local done, held = deploy()
  label = "another"
  local wrong, never = deploy()
  lock.details = real
  test.equal({ done.state, held }, { "done", details .. "\n" })
  test.equal({ wrong.state, wrong.error.kind, never }, { "failed_undone", "kamal.image" })
  test.equal(files.exists(folder .. "/.kamal/lock-shop"), false)
end)

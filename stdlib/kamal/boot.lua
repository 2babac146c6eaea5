--- Booting a version of an app on a server: its container beside the old one, traffic, then the end of the old one.
--- Each call is repeatable and is told what a look found before the run began, so that another process can finish or
--- undo it.

local audit = require "kamal.audit"
local containers = require "kamal.containers"
local current = require "kamal.current"
local door = require "native.door"
local fail = require "native.fail"
local kamal_proxy = require "proxy.kamal_proxy"
local naming = require "kamal.naming"
local prepared = require "proxy.prepared"
local proxy_args = require "kamal.proxy_args"
local readiness = require "kamal.readiness"
local report = require "native.report"
local secret = require "native.secret"
local side_by_side = require "deploy.side_by_side"
local stopping = require "deploy.stopping"
local task = require "native.task"
local text = require "native.text"
local try = require "deploy.try"

local M = {}

local STOP = "10s"         -- the engine's own limit
local PROXY_GRACE = 60000  -- ms beyond what a command of the proxy may wait for
local START_BEGINS = 20    -- ms after which an engine has begun with a start it was told

local function short(id) return id:sub(1, 12) end

local function random(host, role, version)
  return text.sha256(table.concat({ host.name, role.name, version, tostring(os.time()), tostring(task.now()) }, " "))
end

local function was_there(before, id)
  for _, one in ipairs(before.containers) do
    if one.id == id then return one end
  end
end

local function stop_timeout(project, role)
  local node = role.node and role.node:get("stop_timeout") or project.config.root:get("stop_timeout")
  if node then return ("%.0fs"):format(node.value) end
  -- The proxy has drained what it serves; others get as long as a drain.
  return not role.proxy and ("%.0fs"):format(project.config.drain_timeout) or nil
end

--- Milliseconds that no command of the proxy takes.
local function limit_of(project)
  local config = project.config
  local drain = math.max(config.drain_timeout, project.options.drain_timeout or 0)
  return (config.deploy_timeout + drain) * 1000 + PROXY_GRACE
end

--- Waits until the proxy has ended such commands for a service that nobody waits for any more.
local function await_end(project, host, service, commands)
  door.wait(host.name, ("until kamal-proxy has done what it was told for %s"):format(service), nil, function()
    kamal_proxy.await_end(host, naming.PROXY_CONTAINER, service, commands, limit_of(project))
  end)
end

--- Runs kamal-proxy's own command in its container; raises `proxy.command` with what it said. A deploy waits there for
--- the new target's health and the old one's last request, and no command takes longer than both.
--- @async
--- @param project KamalProject
--- @param host Host
--- @param argv string[]
--- @param ahead? PreparedCommand
function M.proxy(project, host, argv, ahead)
  local result = task.within(limit_of(project), ("kamal-proxy %s on %s"):format(argv[2], host.name), function()
    return prepared.run(host.docker, naming.PROXY_CONTAINER, argv, ahead)
  end)
  if result.code == 0 then return end
  local said = text.clean(result.stderr ~= "" and result.stderr or result.stdout):gsub("%s+$", "")
  fail.raise("proxy.command", ("kamal-proxy %s %s: %s"):format(argv[2], argv[3] or "", said),
    { host = host.name, code = result.code, stderr = said })
end

--- Ends a maintenance: of one that was called off only once it has drained, for what drains answers 503 to everything.
--- @async
--- @param project KamalProject
--- @param host Host
--- @param service string
function M.live(project, host, service)
  await_end(project, host, service, kamal_proxy.HOLDS)
  M.proxy(project, host, { "kamal-proxy", "resume", service })
end

local function deploy_argv(project, role, id, version, port)
  return proxy_args.deploy(project.config, role.proxy, { service = naming.prefix(project.config, role),
    target = short(id), port = port, version = version, role = role.name })
end

--- The env file's text, and its values as secrets.
local function env_file(project, role, host)
  local file = containers.env_file(project.config:env(role, host.name), function(name)
    return project.config.secrets:value(name)
  end)
  return file, function(name, value) return value ~= "" and secret.value(name, value) or value end
end

--- What stands under a name: its ID where this run has made it and it runs; else it is out of the way.
local function clear_name(host, role, version, before, name)
  local now = try(host.docker.inspect, host.docker, name)
  if now and not was_there(before, now.id) then
    if now.running then return now.id end
    host.docker:remove(now.id, { force = true, volumes = true })  -- half made by this run
  elseif now then
    local aside = ("%s_replaced_%s"):format(name, random(host, role, version):sub(1, 16))
    host.docker:rename(now.id, aside)
  end
end

--- Makes the container of a version, or finds the one that this run has made; what stands under its name is set aside.
--- Most often the name is free and there is nothing to look at first. Returns its ID, and whether it is new.
local function make(host, role, version, before, spec)
  local is_free = true
  for _, one in ipairs(before.containers) do is_free = is_free and one.name ~= spec.name end
  if is_free then
    local ok, made = pcall(host.docker.create, host.docker, spec)
    if ok then return made.id, true end
    if fail.normal(made).kind ~= "docker.conflict" then error(made, 0) end
  end
  local id = clear_name(host, role, version, before, spec.name)
  if id then return id, false end
  return host.docker:create(spec).id, true
end

--- Starts a container, and has the proxy's command for its traffic known to the engine meanwhile. Its address too: an
--- inspection that comes while a container starts is answered as soon as it has.
--- @return { command?: PreparedCommand, ip?: string }
local function wake(project, host, role, id, version)
  if not role.proxy then
    host.docker:start(id)
    return {}
  end
  local argv = deploy_argv(project, role, id, version)
  local known = {}
  host:_prepare_commands(4)  -- the audit lines of the boot, the tag and the prune, and the end of the lock
  side_by_side({
    function() host.docker:start(id) end,
    function() known.command = prepared.command(host.docker, naming.PROXY_CONTAINER, argv) end,
    function()
      if door.is_kept() then return end
      task.sleep(START_BEGINS)
      local ok, ip = pcall(readiness.address, host, id)
      known.ip = ok and ip or nil
    end,
  }, "start", function(fn) fn() end)
  return known
end

--- Makes and starts the container of a version, beside its env file, which only people read: the engine is told what is
--- in it. Returns its ID and name, whether it is new, and what was learned while it started.
local function create(project, host, role, version, before)
  local file, secrets = env_file(project, role, host)
  local run = containers.app(project.config, role, host.name, { version = version,
    hostname = naming.hostname(host.name, random(host, role, version)) })
  local spec = project:spec(host, run, file, secrets)
  local id, is_new
  local known = {}
  side_by_side({
    function()
      host:write(naming.role_env(project.config, role), file == "\n" and file or secret.value("env file", file),
        { mode = "0600", make_parents = true })
    end,
    function()
      id, is_new = make(host, role, version, before, spec)
      if is_new then known = wake(project, host, role, id, version) end
    end,
  }, "boot", function(fn) fn() end)
  return id, naming.container(project.config, role, version), is_new, known
end

--- The proxy's service still points elsewhere, or not at all.
local function needs_switch(project, role, id, look)
  local route = look.routes[naming.prefix(project.config, role)]
  return not (route and route.container == short(id))
end

--- Boots a role on a server.
--- @async
--- @param project KamalProject
--- @param host Host
--- @param role KamalRole
--- @param given { version: string, look: KamalLook, retained?: boolean, again?: boolean }  retained: the stopped
---   container of that version is started again, as it was; again: an earlier attempt may have begun
--- @return { id: string, name: string, replaced?: string, unchanged?: boolean, note: string }
function M.boot(project, host, role, given)
  stopping.begin(host)
  local version, before = given.version, given.look.roles[role.name]
  local old = before.current
  local id, name, is_new, known
  if given.retained then
    for _, one in ipairs(before.containers) do
      if one.version == version then id, name = one.id, one.name break end
    end
    known = wake(project, host, role, id, version)
    if old and old.id == id then return { id = id, name = name, unchanged = true, note = name .. " serves already" } end
  else
    id, name, is_new, known = create(project, host, role, version, before)
  end
  audit.record(project, host, "Booted app version " .. version, role)
  local ok, refusal
  if role.proxy then
    -- One that an interrupted attempt has made may have the traffic already.
    if given.retained or is_new or needs_switch(project, role, id, { routes = current.routes(host) }) then
      readiness.answers(project, host, role, { id = id, name = name, ip = known.ip })
      report.waiting(host, ("%s to be healthy"):format(name), project.config.deploy_timeout * 1000)
      ok, refusal = pcall(M.proxy, project, host, deploy_argv(project, role, id, version), known.command)
    else
      ok = true
    end
  else
    ok, refusal = pcall(readiness.steady, project, host, id, name)
  end
  if not ok then readiness.explain(host, name, refusal) end
  if role.proxy and (given.again or not (is_new or given.retained)) then
    await_end(project, host, naming.prefix(project.config, role), kamal_proxy.DEPLOYS)
  end
  for _, one in ipairs(before.containers) do
    if one.running and one.id ~= id then
      stopping.stop(host, one.id, one.name, stop_timeout(project, role))
    end
  end
  return { id = id, name = name, replaced = old and old.name, note = name }
end

--- Gives a role's traffic back to where it was; false where it was not away.
local function give_back(project, host, role, look)
  local service, before = naming.prefix(project.config, role), look.roles[role.name]
  local route, now = look.routes[service], current.routes(host)[service]
  -- A proxy that did not run when it was looked at could not tell its routes.
  if not route and look.proxy ~= "running" and before.current then
    route = { container = short(before.current.id) }
  end
  if route and before.current and not (now and now.container == route.container) then
    -- At the port it had: the configuration may name another one by now.
    M.proxy(project, host, deploy_argv(project, role, before.current.id, before.current.version, route.port))
    return true
  end
  if route or not now then return false end
  M.proxy(project, host, { "kamal-proxy", "remove", service })
  return true
end

--- Gives back what a boot took: the old container runs and has the traffic, the new one is gone (a retained one
--- stopped).
--- @async
--- @param project KamalProject
--- @param host Host
--- @param role KamalRole
--- @param given { version: string, look: KamalLook, retained?: boolean }
function M.unboot(project, host, role, given)
  local before, docker = given.look.roles[role.name], host.docker
  local service = naming.prefix(project.config, role)
  for _, one in ipairs(before.containers) do
    if one.running then stopping.wake(host, one.id, stop_timeout(project, role) or STOP) end
  end
  if role.proxy then
    give_back(project, host, role, given.look)
    -- A switch that was cut off may still have come true inside the proxy.
    await_end(project, host, service, kamal_proxy.DEPLOYS)
    give_back(project, host, role, given.look)
  end
  local name = naming.container(project.config, role, given.version)
  local now = try(docker.inspect, docker, name)
  if now and not was_there(before, now.id) then
    docker:remove(now.id, { force = true, volumes = true })
  elseif now and not was_there(before, now.id).running and now.running then
    docker:stop(now.id, stop_timeout(project, role))
  end
  for _, one in ipairs(before.containers) do
    local found = try(docker.inspect, docker, one.id)
    if found and found.name ~= one.name then docker:rename(one.id, one.name) end
  end
end

--- Stops containers of a role that run although they do not serve.
--- @async
--- @param project KamalProject
--- @param host Host
--- @param look KamalLook
--- @param stop boolean  false: only told
--- @return string[] names
function M.stale(project, host, look, stop)
  local names = {}
  if stop then stopping.begin(host) end
  for _, role in ipairs(project:roles_on(host)) do
    local own = look.roles[role.name]
    for _, one in ipairs(own.containers) do
      if one.running and own.current and one.id ~= own.current.id then
        names[#names + 1] = one.name
        if stop then stopping.stop(host, one.id, one.name, stop_timeout(project, role)) end
      end
    end
  end
  return names
end

M.stop_timeout, M.env_file, M.STOP = stop_timeout, env_file, STOP

return M

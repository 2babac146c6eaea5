--- Booting a version of an app on a server: its container beside the old one, traffic, then the end of the old one.
--- Each call is repeatable and is told what a look found before the run began, so that another process can finish or
--- undo it.

local audit = require "kamal.audit"
local containers = require "kamal.containers"
local current = require "kamal.current"
local door = require "native.door"
local fail = require "native.fail"
local naming = require "kamal.naming"
local proxy_args = require "kamal.proxy_args"
local report = require "native.report"
local secret = require "native.secret"
local task = require "native.task"
local text = require "native.text"
local try = require "deploy.try"

local M = {}

local LOG_LINES = 20
local STORY_DEADLINE = 10000  -- ms for asking what went wrong

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

--- Runs kamal-proxy's own command in its container; raises `proxy.command` with what it said.
--- @async
--- @param host Host
--- @param argv string[]
function M.proxy(host, argv)
  local result = host.docker:exec(naming.PROXY_CONTAINER, argv)
  if result.code == 0 then return end
  local said = text.clean(result.stderr ~= "" and result.stderr or result.stdout):gsub("%s+$", "")
  fail.raise("proxy.command", ("kamal-proxy %s %s: %s"):format(argv[2], argv[3] or "", said),
    { host = host.name, code = result.code, stderr = said })
end

local function deploy_argv(project, role, id, version)
  return proxy_args.deploy(project.config, role.proxy, { service = naming.prefix(project.config, role),
    target = short(id), version = version, role = role.name })
end

--- Why a container is not healthy: its own last lines beside the proxy's or the engine's word.
local function story(host, name, cause)
  cause = fail.normal(cause)
  if task.cancellation() or cause.kind == "cancelled" then error(cause, 0) end
  local found, logs
  task.shielded(STORY_DEADLINE, "asking why " .. name .. " is not ready", function()
    pcall(function() found = host.docker:inspect(name) end)
    pcall(function() logs = text.clean(host.docker:logs(name, { tail = LOG_LINES }).text) end)
  end)
  local ended = found and not found.running
  fail.raise(ended and "app.exited" or "app.unready", ended and ("%s ended with exit code %d"):format(name,
    found.exit_code) or ("%s did not become healthy"):format(name), { host = host.name, container = name, logs = logs,
    code = ended and found.exit_code or nil, oom_killed = found and found.oom_killed or nil, cause = cause,
    hint = "is it the right port (proxy.app_port) and path (proxy.healthcheck.path)?" })
end

--- Waits until a container that gets no traffic is healthy: its image's own check, or up after the delay.
local function wait_steady(project, host, id, name)
  local config = project.config
  door.wait(host.name, ("until %s is healthy, %.0fs at most"):format(name, config.deploy_timeout), nil, function()
    local deadline = task.now() + config.deploy_timeout * 1000
    local steady
    report.waiting(host, name .. " to be healthy", config.deploy_timeout * 1000)
    while true do
      local found = host.docker:inspect(id)
      if found.health == "healthy" then return end
      local up = found.running and found.state == "running" and found.restart_count == 0 and found.health == ""
      if not found.running and found.state ~= "created" then fail.raise("app.exited", name .. " ended") end
      if up and steady and task.now() >= steady then return end
      if up then steady = steady or task.now() + config.readiness_delay * 1000 else steady = nil end
      if task.now() > deadline + (steady and config.readiness_delay * 1000 or 0) then
        fail.raise("app.unready", ("%s: %s after %.0fs"):format(name,
          found.health ~= "" and found.health or found.state, config.deploy_timeout))
      end
      task.sleep(250)
    end
  end)
end

--- The env file's text, and its values as secrets.
local function env_file(project, role, host)
  local file = containers.env_file(project.config:env(role, host.name), function(name)
    return project.config.secrets:value(name)
  end)
  return file, function(name, value) return value ~= "" and secret.value(name, value) or value end
end

--- Makes the container of a version, or finds the one that this run has made. What stands under its name is set aside.
local function create(project, host, role, version, before)
  local name = naming.container(project.config, role, version)
  local now = try(host.docker.inspect, host.docker, name)
  if now and not was_there(before, now.id) then
    if now.running then return now.id, name end
    host.docker:remove(now.id, { force = true, volumes = true })  -- half made by this run
  elseif now then
    local aside = ("%s_replaced_%s"):format(name, random(host, role, version):sub(1, 16))
    host.docker:rename(now.id, aside)
  end
  local file, secrets = env_file(project, role, host)
  host:write(naming.role_env(project.config, role), file == "\n" and file or secret.value("env file", file),
    { mode = "0600", make_parents = true })
  local run = containers.app(project.config, role, host.name, { version = version,
    hostname = naming.hostname(host.name, random(host, role, version)) })
  local id = host.docker:create(project:spec(host, run, file, secrets)).id
  host.docker:start(id)
  return id, name
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
--- @param given { version: string, look: KamalLook, retained?: boolean }  retained: the stopped container of that
---   version is started again, as it was
--- @return { id: string, name: string, replaced?: string, unchanged?: boolean, note: string }
function M.boot(project, host, role, given)
  local version, before = given.version, given.look.roles[role.name]
  local old = before.current
  local id, name
  if given.retained then
    for _, one in ipairs(before.containers) do
      if one.version == version then id, name = one.id, one.name break end
    end
    host.docker:start(id)
    if old and old.id == id then return { id = id, name = name, unchanged = true, note = name .. " serves already" } end
  else
    id, name = create(project, host, role, version, before)
  end
  audit.record(project, host, "Booted app version " .. version, role)
  local ok, refusal
  if role.proxy then
    if given.retained or needs_switch(project, role, id, { routes = current.routes(host) }) then
      report.waiting(host, ("%s to be healthy"):format(name), project.config.deploy_timeout * 1000)
      ok, refusal = pcall(M.proxy, host, deploy_argv(project, role, id, version))
    else
      ok = true
    end
  else
    ok, refusal = pcall(wait_steady, project, host, id, name)
  end
  if not ok then story(host, name, refusal) end
  for _, one in ipairs(before.containers) do
    if one.running and one.id ~= id then
      report.waiting(host, one.name .. " to end")
      host.docker:stop(one.id, stop_timeout(project, role))
    end
  end
  return { id = id, name = name, replaced = old and old.name, note = name }
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
    if one.running then docker:start(one.id) end
  end
  if role.proxy then
    local route, now = given.look.routes[service], current.routes(host)[service]
    if route and before.current and not (now and now.container == route.container) then
      M.proxy(host, deploy_argv(project, role, before.current.id, before.current.version))
    elseif not route and now then
      M.proxy(host, { "kamal-proxy", "remove", service })
    end
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
  for _, role in ipairs(project:roles_on(host)) do
    local own = look.roles[role.name]
    for _, one in ipairs(own.containers) do
      if one.running and own.current and one.id ~= own.current.id then
        names[#names + 1] = one.name
        if stop then host.docker:stop(one.id, stop_timeout(project, role)) end
      end
    end
  end
  return names
end

M.stop_timeout = stop_timeout

return M

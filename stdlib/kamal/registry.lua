--- The registry's session, here and on the servers. Deploys need none there: credentials travel with each request. Who
--- wants one says `registry login`; the password goes to docker's standard input, never into its arguments. A registry
--- of this machine (`server: localhost:PORT`) is a container here, which servers see through their SSH connection.

local door = require "native.door"
local fail = require "native.fail"
local localhost = require("deploy.host").localhost
local try = require "deploy.try"

--- By command: what it does.
--- @type table<string, fun(project: KamalProject, run: Run)>
local M = {}

local LOCAL_CONTAINER, LOCAL_IMAGE = "kamal-docker-registry", "registry:3"

local function server_argv(credentials) return credentials.registry and { credentials.registry } or {} end

local function login_on(host, credentials)
  host:exec({ "docker", "login", "--username", credentials.username, "--password-stdin",
    unpack(server_argv(credentials)) }, { stdin = credentials.password })
end

local function logout_on(host, credentials)
  host:exec { "docker", "logout", unpack(server_argv(credentials)) }
end

local function check_not_local(project, command)
  if project.config.registry.is_local then
    fail.usage(("%s: a local registry asks for no password"):format(command), { hint = "registry setup starts it" })
  end
end

--- Logs in here, for pushes.
--- @async
--- @param run Run
--- @param project KamalProject
function M.login_here(run, project)
  if not project:has_credentials() then return end
  run:step("log in to the registry", { on = localhost, run = function(host)
    login_on(host, project:credentials())
  end })
end

local function both(project, run, name, fn)
  check_not_local(project, "registry " .. name)
  if not project.options.skip_local then
    run:step(("log %s here"):format(name:sub(4)), { on = localhost, run = function(host)
      fn(host, project:credentials())
    end })
  end
  if not project.options.skip_remote then
    run:step(("log %s on the servers"):format(name:sub(4)), { on = project.hosts, run = function(host)
      fn(host, project:credentials())
    end })
  end
end

M["registry login"] = function(project, run) both(project, run, "login", login_on) end
M["registry logout"] = function(project, run) both(project, run, "logout", logout_on) end

--- Ends the servers' sessions, where there may be one.
--- @async
--- @param project KamalProject
--- @param run Run
function M.logout_remote(project, run)
  if not project:has_credentials() then return end
  run:step("log out on the servers", { on = project.hosts, run = function(host)
    logout_on(host, project:credentials())
  end })
end

--- Starts the registry of this machine, where it does not run.
--- @async
--- @param run Run
--- @param project KamalProject
function M.start_here(run, project)
  local port = project.config.registry.port
  run:step("start the local registry", { on = localhost, run = function(host)
    local docker = host.docker
    local found = try(docker.inspect, docker, LOCAL_CONTAINER)
    if found then return { unchanged = not docker:start(LOCAL_CONTAINER) } end
    if not try(docker.inspect_image, docker, LOCAL_IMAGE) then docker:pull(LOCAL_IMAGE) end
    docker:create { name = LOCAL_CONTAINER, image = LOCAL_IMAGE, restart = "unless-stopped",
      publish = { ("127.0.0.1:%d:5000"):format(port) } }
    docker:start(LOCAL_CONTAINER)
  end })
end

M["registry setup"] = function(project, run)
  if not project.config.registry.is_local then return M["registry login"](project, run) end
  if not project.options.skip_local then M.start_here(run, project) end
end

--- Pulls an image onto a server. What lies in this machine's own registry comes through a port of the server's own
--- loopback, which is there as long as the pull lasts.
--- @async
--- @param project KamalProject
--- @param host Host
--- @param image string
--- @param options? table  as of docker:pull
--- @return { changed: boolean }
function M.pull(project, host, image, options)
  local registry = project.config.registry
  local is_here = registry.is_local and image:sub(1, #registry.server + 1) == registry.server .. "/"
  if not is_here or host == localhost or door.is_kept() then return host.docker:pull(image, options) end
  local opened, way = pcall(host.forward_remote, host, registry.port, "127.0.0.1:" .. registry.port)
  if not opened then
    local err = fail.normal(way)
    err.hint = err.hint or ("is port %d free there? registry.server can name another one"):format(registry.port)
    error(err, 0)
  end
  local ok, result = pcall(host.docker.pull, host.docker, image, options)
  local failed = way:stats().last_error
  way:close()
  if ok then return result end
  local err = fail.normal(result)
  if failed then err.hint = ("the registry here: %s; `registry setup` starts it"):format(failed) end
  error(err, 0)
end

M["registry remove"] = function(project, run)
  if not project.config.registry.is_local then return M["registry logout"](project, run) end
  if project.options.skip_local then return end
  run:step("remove the local registry", { on = localhost, run = function(host)
    local docker = host.docker
    if not try(docker.inspect, docker, LOCAL_CONTAINER) then return { unchanged = true } end
    docker:stop(LOCAL_CONTAINER)
    docker:remove(LOCAL_CONTAINER, { volumes = true })
  end })
end

return M

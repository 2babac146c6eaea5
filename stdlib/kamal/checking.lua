--- `x-deployrun: { checks: … }`: what must be so before a deploy and after it (docs/runbook.md tells the kinds), and
--- `doctor`, which says what keeps the project from being deployed, or from serving.

local checks = require "deploy.checks"
local cross_checks = require "kamal.cross_checks"
local current = require "kamal.current"
local fail = require "native.fail"
local lock = require "kamal.lock"
local naming = require "kamal.naming"
local side_by_side = require "deploy.side_by_side"
local try = require "deploy.try"

local M = {}

local GROUPS = { "reach", "engine", "disk", "registry", "clock" }

local TITLES = { before = "before the deploy", after = "after the deploy" }

--- What those kinds, and the doctor's groups, ask of an app.
local function as_app(project)
  local function none() return {} end
  local config = project.config
  local app = {
    hosts = project.hosts, look = none, roles = none, proxied = none,
    image = function(_, version) return naming.image(config, version) end,
    config = { service = naming.service(config), network = naming.NETWORK, roles = {},
      image = naming.repository(config), pull = config.registry.is_local and "ship" or nil, registry = {} },
  }
  -- Secrets are looked up when somebody asks for them: a run that is undone asks nobody.
  return setmetatable(app, { __index = function(_, key)
    return key == "_credentials" and project:credentials() or nil
  end })
end

--- The list of a moment; nil where the project has none. Raises `config.invalid`.
--- @param project KamalProject
--- @param moment "before"|"after"
--- @return Checks?
function M.of(project, moment)
  local node = project.config.root:dig("x-deployrun", "checks", moment)
  if not node or node:is_blank() then return nil end
  local ok, made = pcall(checks.new, TITLES[moment], as_app(project), node:plain())
  if ok then return made end
  local err = fail.normal(made)
  fail.raise("config.invalid", ("%s: %s"):format(node:place(), err.message), { where = node:place(), hint = err.hint })
end

--- Kamal's own: each a title, and a look that says what is wrong, or nil and what is so.
local function looks(project)
  local config = project.config
  local function everywhere(hosts, fn)
    return function()
      local wrong, notes = {}, {}
      for index, said in ipairs(side_by_side(hosts, "doctor", function(host) return { fn(host) } end, "finish")) do
        if said[1] then wrong[#wrong + 1] = ("%s: %s"):format(hosts[index].name, said[1]) end
        notes[#notes + 1] = said[2]
      end
      if #wrong > 0 then return false, table.concat(wrong, "; ") end
      return true, notes[1]
    end
  end
  local out = {}
  local function add(name, required, run) out[#out + 1] = { name = name, required = required, run = run } end

  add("every secret has a value", true, function()
    for _, role in ipairs(project.roles) do
      for _, host in ipairs(role.hosts) do
        for _, item in ipairs(config:env(role, host).secret) do config.secrets:value(item:match("([^:]*)$")) end
      end
    end
    return true, ("%d names"):format(#config.secrets:names())
  end)
  add("nobody holds the deploy lock", false, function()
    local holder = lock.status(project)
    return holder == nil, holder and holder:gsub("\n", ", ") or nil
  end)
  add("the proxy runs and is new enough", true, everywhere(project.proxy_hosts, function(host)
    local found = try(host.docker.inspect, host.docker, naming.PROXY_CONTAINER)
    if not found then return nil, "not booted yet" end
    if not found.running then return "it is stopped: proxy start" end
    local version = found.image:match("([^:]*)$")
    if version:match("^v?%d") and cross_checks.is_older(version, naming.PROXY_VERSION) then
      return ("%s is older than %s: proxy reboot"):format(version, naming.PROXY_VERSION)
    end
    return nil, version
  end))
  add("each role serves, and nothing stale runs", false, everywhere(project.app_hosts, function(host)
    local look = current.look(project, host)
    for _, role in ipairs(project:roles_on(host)) do
      local own, count = look.roles[role.name], 0
      for _, one in ipairs(own.containers) do count = count + (one.running and 1 or 0) end
      if not own.current and #own.containers > 0 then return ("no container of %s runs: app boot"):format(role.name) end
      if count > 1 then return ("%d containers of %s run: app stale_containers"):format(count, role.name) end
    end
  end))
  add("the proxy has no routes of roles that are gone", false, everywhere(project.proxy_hosts, function(host)
    local wanted, own = {}, naming.service(config)
    for _, role in ipairs(config.roles) do wanted[naming.prefix(config, role)] = role.proxy ~= nil end
    for _, accessory in ipairs(config.accessories) do wanted[accessory.service] = accessory.proxy ~= nil end
    for name in pairs((current.routes(host))) do
      if name:sub(1, #own + 1) == own .. "-" and not wanted[name] then
        return ("%s: docker exec kamal-proxy kamal-proxy remove %s"):format(name, name)
      end
    end
  end))
  return out
end

--- `doctor`: servers, engines, disks, clocks and the registry, then what is Kamal's. Raises `doctor.found` or
--- `checks.failed`.
--- @async
--- @param project KamalProject
--- @param run Run
function M.doctor(project, run)
  local doctor = require("doctor").new { app = as_app(project), recipe = "recipes/kamal.lua" }
  doctor:run(run, { groups = GROUPS })
  checks.new("of the project", doctor.app, looks(project)):run(run)
end

return M

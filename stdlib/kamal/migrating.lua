--- `x-deployrun: { migrate: … }`: the app's migrations, once per deploy, in a container of the new image with the new
--- environment, under the deploy lock and before anything of the new version serves. The database is the app's: what a
--- migration did to it stays when a later step fails (for SQLite, recipes/sqlite_app.lua brings it back).

local audit = require "kamal.audit"
local boot = require "kamal.boot"
local containers = require "kamal.containers"
local door = require "native.door"
local fail = require "native.fail"
local naming = require "kamal.naming"
local report = require "native.report"
local text = require "native.text"
local try = require "deploy.try"

local M = {}

local LIMIT = "10m"
local LAST_LINES = 30

--- What the project says; nil: nothing is to be migrated.
local function settings_of(project)
  local node = project.config.root:dig("x-deployrun", "migrate")
  if not node or node:is_null() then return nil end
  local limit = node:get("timeout")
  return { cmd = node.kind == "map" and node:get("cmd").text or node.text, limit = limit and limit.text or LIMIT,
    place = node:place() }
end

local function name_of(project, version)
  return ("%s-migrate-%s"):format(naming.prefix(project.config, project.primary_role), version)
end

--- Tells what it says, line by line, and gives back the last lines.
local function told(host, id)
  local last = {}
  for line, stream in host.docker:follow(id, { all = true }) do
    line = text.clean(line)
    report.emit { type = "task.output", host = host.name, stream = stream, line = line }
    last[#last + 1] = line
    if #last > LAST_LINES then table.remove(last, 1) end
  end
  return last
end

local function spec_of(project, host, version, settings)
  local role = project.primary_role
  local run = containers.exec(project.config, role, host.name, { version = version, name = name_of(project, version) })
  run.cmd, run.place = settings.cmd, settings.place
  local spec = project:spec(host, run, boot.env_file(project, role, host))
  spec.auto_remove = nil
  return spec
end

local function migrate(project, host, version, settings)
  local docker, name = host.docker, name_of(project, version)
  local earlier = try(docker.inspect, docker, name)
  if earlier then  -- of a run that was killed: two at once would be worse than one more
    if earlier.running then docker:wait(earlier.id) end
    docker:remove(earlier.id, { force = true, volumes = true })
  end
  audit.record(project, host, ("Migrating with app version %s"):format(version), project.primary_role)
  local id = docker:create(spec_of(project, host, version, settings)).id
  docker:start(id)
  local last = not door.is_kept() and told(host, id) or {}
  local code = docker:wait(id)
  if code ~= 0 then
    fail.raise("kamal.migrate", ("`%s` ended with exit code %d"):format(settings.cmd, code), { host = host.name,
      code = code, logs = table.concat(last, "\n"), kept = true,
      hint = "nothing of the new version serves; what the command did to the database stays" })
  end
  docker:remove(id, { force = true, volumes = true })
end

--- Migrates, where the project says how.
--- @async
--- @param run Run
--- @param project KamalProject
--- @param version string
function M.run(run, project, version)
  local settings = settings_of(project)
  if not settings then return end
  run:step("migrate the database", {
    on = { project.primary_host }, timeout = settings.limit,
    run = function(host) migrate(project, host, version, settings) end,
    undo = function(host)
      try(host.docker.remove, host.docker, name_of(project, version), { force = true, volumes = true })
    end,
  })
end

return M

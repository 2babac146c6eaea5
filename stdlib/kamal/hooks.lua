--- Hooks: programs of the project that are run at a moment, with what there is to know in KAMAL_* variables.

local audit = require "kamal.audit"
local fail = require "native.fail"
local files = require "native.files"
local naming = require "kamal.naming"
local process = require "native.process"
local report = require "native.report"
local text = require "native.text"

local M = {}

local WITH_SECRETS = { ["pre-connect"] = true, ["pre-deploy"] = true, ["post-deploy"] = true }

local function names_of(list)
  local out = {}
  for index, one in ipairs(list) do out[index] = one.name end
  return table.concat(out, ",")
end

--- The variables of a hook.
--- @async
--- @param project KamalProject
--- @param given { hosts?: Host[], locked?: boolean, runtime?: integer }
--- @return table<string, string|Secret>
function M.environment(project, given)
  local version = project.config:version()
  local command, subcommand = project.command:match("^(%S+) ?(.*)$")
  local env = {
    KAMAL_RECORDED_AT = os.date("!%Y-%m-%dT%H:%M:%SZ"), KAMAL_PERFORMER = audit.performer(), KAMAL_VERSION = version,
    KAMAL_SERVICE = project.config.service,
    KAMAL_SERVICE_VERSION = project.config.service .. "@" .. naming.abbreviated(version),
    KAMAL_HOSTS = names_of(given.hosts or project.hosts), KAMAL_LOCK = tostring(given.locked or false),
    KAMAL_COMMAND = command, KAMAL_SUBCOMMAND = subcommand ~= "" and subcommand or nil,
    KAMAL_DESTINATION = project.config.destination,
    KAMAL_ROLES = project.options.roles and names_of(project.roles) or nil,
    KAMAL_RUNTIME = given.runtime and ("%d"):format(given.runtime) or nil,
  }
  for name, value in pairs(project.environment:changes()) do env[name] = env[name] or value end
  return env
end

local function is_shown(project, name)
  if project.options.quiet then return false end
  local node = project.config.root:get("hooks_output")
  local level = node and (node.kind == "map" and node:get(name) or node.kind == "scalar" and node) or nil
  return project.options.verbose or (level and level.text == "verbose") or false
end

--- Where a hook is; nil: the project has none of that name, or none are to be run.
local function path_of(project, name)
  local path = project.config.hooks_path .. "/" .. name
  return not project.options.skip_hooks and files.exists(path) and path or nil
end

--- Runs a hook, where the project has it. Raises `kamal.hook` with what it said where it fails.
--- @async
--- @param project KamalProject
--- @param name string
--- @param given? { hosts?: Host[], locked?: boolean, runtime?: integer }
function M.run(project, name, given)
  local path = path_of(project, name)
  if not path then return end
  local env = M.environment(project, given or {})
  if WITH_SECRETS[name] then
    for _, secret in ipairs(project.config.secrets:names()) do env[secret] = project.config.secrets:get(secret) end
  end
  if not path:match("^/") then path = "./" .. path end
  local shown = is_shown(project, name)
  local result = process.run({ path }, { check = false, env = env,
    on_line = shown and function(line) report.text(line .. "\n", name) end or nil })
  if result.code == 0 then return end
  local said = text.clean(result.stderr ~= "" and result.stderr or result.stdout):gsub("%s+$", "")
  fail.raise("kamal.hook", ("Hook `%s` failed: exit code %d%s"):format(name, result.code,
    said ~= "" and ": " .. (said:match("([^\n]+)$") or "") or ""), { code = result.code, stderr = said })
end

--- Runs a hook as a part of a run. Where the run is resumed after a kill those that had ended do not run again (the
--- last one may: its end may not have reached the disk); where it is aborted none does.
--- @async
--- @param run Run
--- @param project KamalProject
--- @param name string
--- @param given? { hosts?: Host[], locked?: boolean, part?: string }  part: which of several times it is
function M.once(run, project, name, given)
  if not path_of(project, name) then return end
  local key = given and given.part and ("hook %s, %s"):format(name, given.part) or "hook " .. name
  run:once(key, function()
    M.run(project, name, given)
    return true
  end)
end

return M

--- Commands inside containers and on servers: app exec, accessory exec, server exec. In the container that runs
--- (--reuse), or in a throw-away one; with a terminal (-i) on the primary host.

local audit = require "kamal.audit"
local blocks = require "kamal.blocks"
local containers = require "kamal.containers"
local current = require "kamal.current"
local fail = require "native.fail"
local naming = require "kamal.naming"
local registry = require "kamal.registry"
local report = require "native.report"
local secret = require "native.secret"
local shell_words = require "kamal.shell_words"
local task = require "native.task"
local text = require "native.text"
local try = require "deploy.try"

--- By command: what it does.
--- @type table<string, fun(project: KamalProject, run: Run)>
local M = {}

local REMOVAL = 30000  -- ms for taking a throw-away container away, whatever happened

local function command_of(words)
  if #words == 0 then fail.usage("No command provided. You must specify a command to execute.") end
  return table.concat(words, " ")
end

local function check_flags(options)
  if options.detach and (options.interactive or options.reuse) then
    fail.usage("Detach is not compatible with " .. (options.interactive and "interactive" or "reuse"))
  end
  if options.raw and (options.interactive or options.detach) then
    fail.usage("Raw is not compatible with " .. (options.interactive and "interactive" or "detach"))
  end
end

local function failed(host, what, code)
  fail.raise("app.exec", ("%s: exit code %d"):format(what, code), { host = host.name, code = code })
end

local function checked(host, what, result)
  if result.code == 0 then return result.stdout .. result.stderr end
  report.text(text.clean(result.stdout .. result.stderr), host.name)
  failed(host, what, result.code)
end

local function interactive(project, host, words)
  local code = host:shell(words)
  if code ~= 0 then failed(host, project.command, code) end
end

local function as_secret(name, value) return value ~= "" and secret.value(name, value) or value end

local function random(...) return text.sha256(table.concat({ ..., tostring(task.now()) }, " ")):sub(1, 6) end

local function see_to_image(project, host, image, credentials)
  if not try(host.docker.inspect_image, host.docker, image) then
    registry.pull(project, host, image, { credentials = credentials })
  end
end

local function exec_container(project, host, role)
  local version = project.options.version or naming.latest_tag(project.config)
  local run = containers.exec(project.config, role, host.name, { version = version,
    random = random(host.name, role.name), env = project.options.env, detach = project.options.detach })
  see_to_image(project, host, run.image, project:credentials())
  return run, version
end

--- Made, waited for, read, removed.
local function throw_away(host, spec, command)
  local id = host.docker:create(spec).id
  local ok, value = pcall(function()
    host.docker:start(id)
    local code = host.docker:wait(id)
    local said = host.docker:logs(id, { all = true })
    return { code = code, stdout = said.stdout, stderr = said.stderr }
  end)
  task.shielded(REMOVAL, "the removal of " .. id:sub(1, 12), function()
    pcall(host.docker.remove, host.docker, id, { force = true, volumes = true })
  end)
  if not ok then error(value, 0) end
  return checked(host, command, value)
end

local function in_new(project, host, role, command)
  local run, version = exec_container(project, host, role)
  local file_path = naming.role_env(project.config, role)
  run.cmd = command
  local spec = project:spec(host, run, host:stat(file_path) and host:read(file_path) or "", as_secret)
  spec.auto_remove = nil
  audit.record(project, host, ("Executed cmd '%s' on app version %s"):format(command, version), role)
  if not project.options.detach then return throw_away(host, spec, command) end
  local id = host.docker:create(spec).id
  host.docker:start(id)
  return id .. "\n"
end

local function joined(...)
  local out = {}
  for _, list in ipairs { ... } do
    for _, word in ipairs(list) do out[#out + 1] = word end
  end
  return out
end

--- `docker run -it …` on the server itself: a terminal goes through no engine API here.
local function terminal_of(project, host, run, words)
  local argv = project:argv(host, run)
  return joined({ "docker", "run", "-it" }, { unpack(argv, 3) }, words)
end

local function app_terminal(project, words)
  local host, role = project.primary_host, project.primary_role
  if not project.options.reuse then
    local run = exec_container(project, host, role)
    return interactive(project, host, terminal_of(project, host, run, words))
  end
  local argv, names = { "docker", "exec", "-it" }, {}
  for name in pairs(project.options.env or {}) do names[#names + 1] = name end
  table.sort(names)
  for _, name in ipairs(names) do
    argv[#argv + 1] = "--env"
    argv[#argv + 1] = name .. "=" .. project.options.env[name]
  end
  interactive(project, host, joined(argv, { current.serving(project, host, role).name }, words))
end

M["app exec"] = function(project)
  local options = project.options
  local command = command_of(project.arguments)
  check_flags(options)
  local words = shell_words.split(command)
  if options.interactive then return app_terminal(project, words) end
  blocks.each_role(project, function(host, role)
    if not options.reuse then return in_new(project, host, role, command) end
    local found = current.serving(project, host, role)
    audit.record(project, host, ("Executed cmd '%s' on app version %s"):format(command, found.version), role)
    return checked(host, command, host.docker:exec(found.id, words, { env = options.env }))
  end)
end

local function accessory_run(project, host, accessory)
  local run = containers.accessory_exec(project.config, accessory)
  see_to_image(project, host, run.image, project:credentials(accessory.node:get("registry")))
  return run
end

local function in_new_accessory(project, host, accessory, command)
  local run = accessory_run(project, host, accessory)
  run.cmd = command
  local file_path = naming.accessory_env(project.config, accessory)
  local spec = project:spec(host, run, host:stat(file_path) and host:read(file_path) or "", as_secret)
  spec.auto_remove = nil
  return throw_away(host, spec, command)
end

M["accessory exec"] = function(project)
  local options = project.options
  local accessory = project:accessory(project.arguments[1])
  local command = command_of { unpack(project.arguments, 2) }
  check_flags(options)
  local words = shell_words.split(command)
  local hosts = project:accessory_hosts(accessory)
  if options.interactive then
    local host = hosts[1]
    local argv = options.reuse and joined({ "docker", "exec", "-it", accessory.service }, words)
      or terminal_of(project, host, accessory_run(project, host, accessory), words)
    return interactive(project, host, argv)
  end
  blocks.by_host(project, hosts, "Accessory " .. accessory.name, function(host)
    audit.record(project, host, ("Executed cmd '%s' on %s accessory"):format(command, accessory.name))
    if not options.reuse then return in_new_accessory(project, host, accessory, command) end
    return checked(host, command, host.docker:exec(accessory.service, words))
  end)
end

M["server exec"] = function(project)
  local command = command_of(project.arguments)
  if project.options.interactive then return interactive(project, project.primary_host, command) end
  blocks.by_host(project, project.hosts, "App", function(host)
    audit.record(project, host, ("Executed cmd '%s' on %s"):format(command, host.name))
    return checked(host, command, host:exec(command, { check = false }))
  end)
end

return M

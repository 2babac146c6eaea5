--- Commands that only look: details, versions, logs, and commands inside containers.

local audit = require "kamal.audit"
local boot = require "kamal.boot"
local containers = require "kamal.containers"
local cross_checks = require "kamal.cross_checks"
local current = require "kamal.current"
local fail = require "native.fail"
local lock = require "kamal.lock"
local naming = require "kamal.naming"
local report = require "native.report"
local secret = require "native.secret"
local secrets = require "kamal.secrets"
local shell_words = require "kamal.shell_words"
local side_by_side = require "deploy.side_by_side"
local text = require "native.text"
local try = require "deploy.try"

--- By command: what it does.
--- @type table<string, fun(project: KamalProject, run: Run)>
local M = {}

--- A block per host, in the hosts' order: "App Host: 10.0.0.1", what it said, a blank line.
local function by_host(project, hosts, kind, fn)
  local said = side_by_side(hosts, project.command, function(host) return fn(host) or "" end, "finish")
  for index, host in ipairs(hosts) do
    if project.options.raw then
      report.text(said[index])
    else
      local head = project.options.quiet and "" or ("%s Host: %s\n"):format(kind, host.name)
      report.text(("%s%s\n\n"):format(head, (said[index]:gsub("%s+$", ""))))
    end
  end
end

local function table_of(rows)
  local widths, lines = {}, {}
  for _, row in ipairs(rows) do
    for column, cell in ipairs(row) do widths[column] = math.max(widths[column] or 0, #cell) end
  end
  for index, row in ipairs(rows) do
    local cells = {}
    for column, cell in ipairs(row) do
      cells[column] = column == #row and cell or cell .. (" "):rep(widths[column] - #cell + 3)
    end
    lines[index] = table.concat(cells)
  end
  return table.concat(lines, "\n")
end

local function container_table(list)
  local rows = { { "CONTAINER ID", "IMAGE", "STATUS", "NAMES" } }
  for _, one in ipairs(list) do rows[#rows + 1] = { one.id:sub(1, 12), one.image, one.status, one.name } end
  return table_of(rows)
end

local function app_containers(project, host, all)
  local out = {}
  local listed = host.docker:list { all = all, labels = { "service=" .. project.config.service } }
  for _, one in ipairs(listed) do
    if (one.labels.destination or "") == (project.config.destination or "") and one.labels.role then
      out[#out + 1] = one
    end
  end
  return container_table(out)
end

M["version"] = function() report.text(cross_checks.KAMAL_VERSION .. "\n") end

local function yaml_line(lines, depth, key, value)
  local indent = ("  "):rep(depth)
  if type(value) == "table" and #value > 0 then
    lines[#lines + 1] = ("%s:%s:"):format(indent, key)
    for _, one in ipairs(value) do lines[#lines + 1] = ("%s- %s"):format(indent, one) end
  elseif type(value) ~= "table" and value ~= nil then
    lines[#lines + 1] = ("%s:%s: %s"):format(indent, key, tostring(value))
  end
end

M["config"] = function(project)
  local config, lines, roles = project.config, { "---" }, {}
  for index, role in ipairs(config.roles) do roles[index] = role.name end
  local version = config:version()
  local primary = config:role(config.primary_role_name)
  yaml_line(lines, 0, "roles", roles)
  yaml_line(lines, 0, "hosts", config.hosts)
  yaml_line(lines, 0, "primary_host", primary and primary.hosts[1])
  yaml_line(lines, 0, "version", version)
  yaml_line(lines, 0, "repository", naming.repository(config))
  yaml_line(lines, 0, "absolute_image", naming.image(config, version))
  yaml_line(lines, 0, "service_with_version", config.service .. "-" .. version)
  local volumes = {}
  for _, volume in ipairs(config.volumes) do
    volumes[#volumes + 1] = '"--volume"'
    volumes[#volumes + 1] = volume
  end
  yaml_line(lines, 0, "volume_args", volumes)
  report.text(table.concat(lines, "\n") .. "\n")
end

M["secrets print"] = function(project)
  for _, name in ipairs(project.config.secrets:names()) do
    report.text(("%s=%s\n"):format(name, tostring(project.config.secrets:get(name))))
  end
end

M["audit"] = function(project)
  by_host(project, project.hosts, "App", function(host) return audit.tail(project, host) end)
end

M["app details"] = function(project)
  by_host(project, project.app_hosts, "App", function(host) return app_containers(project, host, false) end)
end

M["app containers"] = function(project)
  by_host(project, project.app_hosts, "App", function(host) return app_containers(project, host, true) end)
end

M["app images"] = function(project)
  by_host(project, project.app_hosts, "App", function(host)
    local rows = { { "IMAGE", "ID", "SIZE" } }
    for _, image in ipairs(host.docker:list_images { reference = naming.repository(project.config) }) do
      for _, tag in ipairs(image.tags) do
        rows[#rows + 1] = { tag, image.id:gsub("^sha256:", ""):sub(1, 12), ("%.1f MB"):format(image.bytes / 1e6) }
      end
    end
    return table_of(rows)
  end)
end

M["app version"] = function(project)
  by_host(project, project.app_hosts, "App", function(host)
    local found = current.of_role(project, host, project:roles_on(host)[1])
    return found and found.version or ""
  end)
end

M["app stale_containers"] = function(project)
  by_host(project, project.app_hosts, "App", function(host)
    local lines = {}
    for _, name in ipairs(boot.stale(project, host, current.look(project, host), false)) do
      lines[#lines + 1] = ("Detected stale container %s (use `app stale_containers --stop` to stop)"):format(name)
    end
    return table.concat(lines, "\n")
  end)
end

M["proxy details"] = function(project)
  by_host(project, project.proxy_hosts, "Proxy", function(host)
    return container_table(host.docker:list { name = naming.PROXY_CONTAINER })
  end)
end

M["accessory details"] = function(project)
  local names = {}
  if project.arguments[1] == "all" or not project.arguments[1] then
    names = project.config.accessories
  else
    names[1] = project:accessory(project.arguments[1])
  end
  for _, accessory in ipairs(names) do
    by_host(project, project:accessory_hosts(accessory), "Accessory " .. accessory.name, function(host)
      return container_table(host.docker:list { labels = { "service=" .. accessory.service } })
    end)
  end
end

M["details"] = function(project)
  M["proxy details"](project)
  M["app details"](project)
  M["accessory details"](project)
end

M["lock status"] = function(project)
  report.text((lock.status(project) or "There is no deploy lock") .. "\n")
end

-- Logs

--- "42m" as a time that the engine takes; other texts as they are.
local function since_of(value)
  local ok, ms = pcall(text.parse_duration, value)
  return ok and ("%.0f"):format(os.time() - ms / 1000) or value
end

local function log_lines(project, host, id)
  local options = project.options
  local limit = options.lines or not (options.since or options.grep) and 100 or nil
  local said = host.docker:logs(id, { tail = limit, all = limit == nil or nil,
    since = options.since and since_of(options.since) or nil, timestamps = not options.skip_timestamps }).text
  if not options.grep then return said end
  local words = { "grep" }
  for _, word in ipairs(shell_words.split(options.grep_options or "")) do words[#words + 1] = word end
  words[#words + 1] = "-e"
  words[#words + 1] = options.grep
  local result = require("native.process").run(words, { stdin = said, check = false, reads = true })
  return result.stdout
end

local function follow(project, host, id)
  for line in host.docker:follow(id, { tail = project.options.lines or 10,
    timestamps = not project.options.skip_timestamps }) do
    if not project.options.grep or line:find(project.options.grep, 1, true) then report.text(line .. "\n") end
  end
end

local function serving(project, host, role)
  local found = current.of_role(project, host, role)
  if found then return found end
  fail.raise("app.exited", ("no container of %s runs"):format(naming.prefix(project.config, role)),
    { host = host.name })
end

M["app logs"] = function(project)
  if project.options.follow then
    local host, role = project.primary_host, project.primary_role
    return follow(project, host, project.options.container_id or serving(project, host, role).id)
  end
  for _, role in ipairs(project.roles) do
    local hosts = {}
    for _, host in ipairs(project.app_hosts) do
      if role.tags[host.name] then hosts[#hosts + 1] = host end
    end
    by_host(project, hosts, "App", function(host)
      local id = project.options.container_id
      local found = not id and current.of_role(project, host, role)
      if not id and not found then return "Nothing found" end
      return log_lines(project, host, id or found.id)
    end)
  end
end

M["proxy logs"] = function(project)
  if project.options.follow then return follow(project, project.primary_host, naming.PROXY_CONTAINER) end
  by_host(project, project.proxy_hosts, "Proxy", function(host)
    return log_lines(project, host, naming.PROXY_CONTAINER)
  end)
end

M["accessory logs"] = function(project)
  local accessory = project:accessory(project.arguments[1])
  local hosts = project:accessory_hosts(accessory)
  if project.options.follow then return follow(project, hosts[1], accessory.service) end
  by_host(project, hosts, "Accessory " .. accessory.name, function(host)
    return log_lines(project, host, accessory.service)
  end)
end

-- Commands inside

local function command_of(words)
  if #words == 0 then fail.usage("No command provided. You must specify a command to execute.") end
  return table.concat(words, " ")
end

local function checked(host, what, result)
  if result.code == 0 then return result.stdout .. result.stderr end
  report.text(text.clean(result.stdout .. result.stderr), host.name)
  fail.raise("app.exec", ("%s: exit code %d"):format(what, result.code), { host = host.name, code = result.code })
end

--- A throw-away container for a command: made, waited for, read, removed.
local function in_new(project, host, role, command)
  local version = project.options.version or naming.latest_tag(project.config)
  local file_path = naming.role_env(project.config, role)
  local file = host:stat(file_path) and host:read(file_path) or ""
  local random = text.sha256(host.name .. role.name .. tostring(os.time()) .. command):sub(1, 6)
  local run = containers.exec(project.config, role, host.name, { version = version, random = random,
    env = project.options.env, detach = project.options.detach })
  run.cmd = command
  local spec = project:spec(host, run, file, function(name, value)
    return value ~= "" and secret.value(name, value) or value
  end)
  spec.auto_remove = nil
  if not try(host.docker.inspect_image, host.docker, run.image) then
    host.docker:pull(run.image, { credentials = project:credentials() })
  end
  local id = host.docker:create(spec).id
  if project.options.detach then
    host.docker:start(id)
    return id .. "\n"
  end
  local ok, value = pcall(function()
    host.docker:start(id)
    local code = host.docker:wait(id)
    local said = host.docker:logs(id, { all = true })
    return { code = code, stdout = said.stdout, stderr = said.stderr }
  end)
  require("native.task").shielded(30000, "the removal of " .. id:sub(1, 12), function()
    pcall(host.docker.remove, host.docker, id, { force = true, volumes = true })
  end)
  if not ok then error(value, 0) end
  return checked(host, command, value)
end

local function interactive(project, host, words)
  local code = host:shell(words)
  if code ~= 0 then
    fail.raise("app.exec", ("%s: exit code %d"):format(project.command, code), { host = host.name, code = code })
  end
end

M["app exec"] = function(project)
  local options = project.options
  local command = command_of(project.arguments)
  if options.detach and (options.interactive or options.reuse) then
    fail.usage("Detach is not compatible with " .. (options.interactive and "interactive" or "reuse"))
  end
  if options.raw and (options.interactive or options.detach) then
    fail.usage("Raw is not compatible with " .. (options.interactive and "interactive" or "detach"))
  end
  local words = shell_words.split(command)
  if options.interactive then
    if not options.reuse then
      fail.usage("app exec --interactive in a new container is not here yet", { hint = "add --reuse" })
    end
    local host = project.primary_host
    local argv = { "docker", "exec", "-it" }
    for name, value in pairs(options.env or {}) do
      argv[#argv + 1] = "--env"
      argv[#argv + 1] = name .. "=" .. value
    end
    argv[#argv + 1] = serving(project, host, project.primary_role).name
    for _, word in ipairs(words) do argv[#argv + 1] = word end
    return interactive(project, host, argv)
  end
  for _, role in ipairs(project.roles) do
    local hosts = {}
    for _, host in ipairs(project.app_hosts) do
      if role.tags[host.name] then hosts[#hosts + 1] = host end
    end
    by_host(project, hosts, "App", function(host)
      if not options.reuse then return in_new(project, host, role, command) end
      local found = serving(project, host, role)
      audit.record(project, host, ("Executed cmd '%s' on app version %s"):format(command, found.version), role)
      return checked(host, command, host.docker:exec(found.id, words, { env = options.env }))
    end)
  end
end

M["accessory exec"] = function(project)
  local accessory = project:accessory(project.arguments[1])
  local command = command_of { unpack(project.arguments, 2) }
  local words = shell_words.split(command)
  if not project.options.reuse then
    fail.usage("accessory exec in a new container is not here yet", { hint = "add --reuse" })
  end
  local hosts = project:accessory_hosts(accessory)
  if project.options.interactive then
    return interactive(project, hosts[1], { "docker", "exec", "-it", accessory.service, unpack(words) })
  end
  by_host(project, hosts, "Accessory " .. accessory.name, function(host)
    audit.record(project, host, ("Executed cmd '%s' on %s accessory"):format(command, accessory.name))
    return checked(host, command, host.docker:exec(accessory.service, words))
  end)
end

M["server exec"] = function(project)
  local command = command_of(project.arguments)
  if project.options.interactive then return interactive(project, project.primary_host, command) end
  by_host(project, project.hosts, "App", function(host)
    audit.record(project, host, ("Executed cmd '%s' on %s"):format(command, host.name))
    return checked(host, command, host:exec(command, { check = false }))
  end)
end

--- `secrets fetch` and `secrets extract` need no project.
M.offline = {
  ["version"] = M["version"],
  ["secrets fetch"] = function(parsed)
    report.text(secrets.fetch(parsed, require("kamal.environment").new()) .. "\n")
  end,
  ["secrets extract"] = function(parsed)
    report.text(secrets.extract(parsed.arguments[1], parsed.arguments[2]) .. "\n")
  end,
}


return M

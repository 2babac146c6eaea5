--- Commands that only look: details, versions, logs.

local audit = require "kamal.audit"
local blocks = require "kamal.blocks"
local boot = require "kamal.boot"
local building = require "kamal.building"
local checking = require "kamal.checking"
local current = require "kamal.current"
local fail = require "native.fail"
local lock = require "kamal.lock"
local naming = require "kamal.naming"
local process = require "native.process"
local report = require "native.report"
local shell_words = require "kamal.shell_words"
local text = require "native.text"

--- By command: what it does.
--- @type table<string, fun(project: KamalProject, run: Run)>
local M = {}

local by_host, table_of = blocks.by_host, blocks.table_of

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

M["doctor"] = checking.doctor

M["build details"] = function(project) building.details(project) end

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

--- What grep, with the options that were given, leaves of a text. Raises `usage` for what grep does not understand.
local function grep(options, said)
  local words = { "grep" }
  for _, word in ipairs(shell_words.split(options.grep_options or "")) do words[#words + 1] = word end
  words[#words + 1] = "-e"
  words[#words + 1] = options.grep
  local result = process.run(words, { stdin = said, check = false, reads = true })
  if result.code > 1 then fail.usage(text.clean(result.stderr):gsub("%s+$", ""), { token = options.grep }) end
  return result.stdout
end

local function log_lines(project, host, id)
  local options = project.options
  local limit = options.lines or not (options.since or options.grep) and 100 or nil
  local said = host.docker:logs(id, { tail = limit, all = limit == nil or nil,
    since = options.since and since_of(options.since) or nil, timestamps = not options.skip_timestamps }).text
  return options.grep and grep(options, said) or said
end

local function follow(project, host, id)
  local options = project.options
  -- A word is looked for here; what only grep understands costs a grep for each line.
  local plain = options.grep and not options.grep_options and not options.grep:find("[][\\.*^$]")
  for line in host.docker:follow(id, { tail = options.lines or 10,
    since = options.since and since_of(options.since) or nil, timestamps = not options.skip_timestamps }) do
    local shown = line .. "\n"
    if plain then
      shown = line:find(options.grep, 1, true) and shown or ""
    elseif options.grep then
      shown = grep(options, shown)
    end
    if shown ~= "" then report.text(shown) end
  end
end

M["app logs"] = function(project)
  if project.options.follow then
    local host, role = project.primary_host, project.primary_role
    return follow(project, host, project.options.container_id or current.serving(project, host, role).id)
  end
  blocks.each_role(project, function(host, role)
    local id = project.options.container_id
    local found = not id and current.of_role(project, host, role)
    if not id and not found then return "Nothing found" end
    return log_lines(project, host, id or found.id)
  end)
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

for name, command in pairs(require "kamal.executing") do M[name] = command end

return M

--- What commands say per host: "App Host: 10.0.0.1", its text, a blank line; in the hosts' order, asked side by side.

local fail = require "native.fail"
local report = require "native.report"
local side_by_side = require "deploy.side_by_side"

local M = {}

--- One that fails is told once the others have had their say.
--- @async
--- @param project KamalProject
--- @param hosts Host[]
--- @param kind string  "App", "Proxy", "Accessory db"
--- @param fn fun(host: Host): string?
function M.by_host(project, hosts, kind, fn)
  local said = side_by_side(hosts, project.command, function(host)
    local ok, value = pcall(fn, host)
    if ok then return { text = value or "" } end
    return { error = fail.normal(value) }
  end)
  local first
  for index, host in ipairs(hosts) do
    local one = said[index]
    if one.error and first then
      first.also = first.also or {}
      table.insert(first.also, one.error)
    elseif one.error then
      first = one.error
    elseif project.options.raw then
      report.text(one.text)
    else
      local head = project.options.quiet and "" or ("%s Host: %s\n"):format(kind, host.name)
      report.text(("%s%s\n\n"):format(head, (one.text:gsub("%s+$", ""))))
    end
  end
  if first then error(first, 0) end
end

--- The same for each chosen role on its hosts.
--- @async
--- @param project KamalProject
--- @param fn fun(host: Host, role: KamalRole): string?
function M.each_role(project, fn)
  for _, role in ipairs(project.roles) do
    local hosts = {}
    for _, host in ipairs(project.app_hosts) do
      if role.tags[host.name] then hosts[#hosts + 1] = host end
    end
    M.by_host(project, hosts, "App", function(host) return fn(host, role) end)
  end
end

--- Rows as a table: columns as wide as their widest cell.
--- @param rows string[][]
--- @return string
function M.table_of(rows)
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

return M

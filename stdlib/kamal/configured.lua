--- Commands that tell what the project's files say, and ask no server.

local naming = require "kamal.naming"
local report = require "native.report"

--- By command: what it does.
--- @type table<string, fun(project: KamalProject, run: Run)>
local M = {}

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

return M

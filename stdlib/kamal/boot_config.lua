--- `proxy boot_config`: four files on a server that say how the proxy is run where deploy.yml has no `proxy.run`. Kamal
--- calls them deprecated and reads them still; as a server has one proxy, so do we (kamal/proxy_run.lua).

local docker_options = require "kamal.docker_options"
local fail = require "native.fail"
local naming = require "kamal.naming"
local proxy_run = require "kamal.proxy_run"
local report = require "native.report"

local M = {}

local FILES = { "options", "image", "image_version", "run_command" }

--- What the command line says, as the files have it; nil: as it would be without one.
local function wanted(options)
  local words = {}
  if options.publish then
    for _, port in ipairs(proxy_run.ports(options.publish_host_ip, options.http_port, options.https_port)) do
      words[#words + 1] = "--publish " .. port
    end
  end
  if options.log_max_size ~= "" then words[#words + 1] = "--log-opt max-size=" .. options.log_max_size end
  if options.metrics_port then words[#words + 1] = ("--expose=%d"):format(options.metrics_port) end
  for _, option in ipairs(options.docker_options or {}) do words[#words + 1] = "--" .. option end
  local command = (options.debug and " --debug" or "")
    .. (options.metrics_port and (" --metrics-port %d"):format(options.metrics_port) or "")
  local line, image = table.concat(words, " "), naming.PROXY_IMAGE
  if options.registry or options.repository then
    image = ("%s%s/kamal-proxy"):format(options.registry and options.registry .. "/" or "",
      options.repository or "basecamp")
  end
  return { options = line ~= proxy_run.OPTIONS and line or nil, image = image ~= naming.PROXY_IMAGE and image or nil,
    image_version = options.image_version, run_command = command ~= "" and "kamal-proxy run" .. command or nil }
end

local function write(host, files)
  for _, name in ipairs(FILES) do
    local path = ".kamal/proxy/" .. name
    if files[name] then
      host:write(path, files[name], { make_parents = true })
    else
      host:remove(path)
    end
  end
end

local verbs = {}

function verbs.set(project, run)
  local files = wanted(project.options)
  for _, option in ipairs(proxy_run.of_files(files).options) do  -- refused now, not when the proxy boots
    local problem, hint = docker_options.set({ env = {} }, option.flag, option.value)
    if problem and option.flag ~= "detach" then fail.usage(problem, { hint = hint, token = option.flag }) end
  end
  run:step("write how the proxy is run", { on = project.proxy_hosts, run = function(host) write(host, files) end })
  report.text "It counts when the proxy boots the next time (proxy reboot), unless deploy.yml says proxy.run.\n"
end

function verbs.get(project, run)
  local found = run:step("read how the proxy is run", { on = project.proxy_hosts, reads = true, run = function(host)
    local files = proxy_run.read_files(host)
    return ("%s %s:%s%s"):format(files.options or proxy_run.OPTIONS, files.image or naming.PROXY_IMAGE,
      files.image_version or naming.PROXY_VERSION, files.run_command and " " .. files.run_command or "")
  end })
  for _, host in ipairs(project.proxy_hosts) do report.text(("Host %s: %s\n"):format(host.name, found[host])) end
end

function verbs.reset(project, run)
  run:step("forget how the proxy is run", { on = project.proxy_hosts, run = function(host) write(host, {}) end })
end

--- `proxy boot_config set|get|reset`.
--- @async
--- @param project KamalProject
--- @param run Run
function M.command(project, run)
  local verb = verbs[project.arguments[1]]
  if not verb then
    fail.usage(("Unknown boot_config subcommand %s"):format(project.arguments[1]),
      { token = project.arguments[1], hint = "set, get or reset" })
  end
  verb(project, run)
end

return M

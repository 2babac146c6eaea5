--- How the proxy's container is run on a host: as `proxy.run` says, else as files on the server do that
--- `proxy boot_config` wrote, else by Kamal's defaults.

local containers = require "kamal.containers"
local document = require "kamal.document"
local fail = require "native.fail"
local naming = require "kamal.naming"
local shell_words = require "kamal.shell_words"

local M = {}

local LOG_SIZE = "10m"
local READ = [[cd .kamal/proxy 2>/dev/null || exit 0
for f in options image image_version run_command; do
  if [ -f "$f" ]; then printf '%s ' "$f"; tr '\n' ' ' < "$f"; echo; fi
done]]

--- @class ProxyFiles  what lies in .kamal/proxy on a server, by file; nil: the default
--- @field options? string        of `docker run`
--- @field image? string          without its version
--- @field image_version? string
--- @field run_command? string

local function text_of(node) return node and not node:is_null() and node.text or nil end
local function bracketed(ip) return ip:find(":", 1, true) and ip:sub(1, 1) ~= "[" and "[" .. ip .. "]" or ip end

--- Which ports are published: on each address, or on all.
--- @param ips? string[]
--- @param http integer
--- @param https integer
--- @return string[]  "80:80", "443:443"
function M.ports(ips, http, https)
  local out = {}
  for _, ip in ipairs(ips or { "" }) do
    local address = ip ~= "" and bracketed(ip) .. ":" or ""
    out[#out + 1] = ("%s%d:80"):format(address, http)
    out[#out + 1] = ("%s%d:443"):format(address, https)
  end
  return out
end

--- What the options file says where there is none.
M.OPTIONS = "--publish 80:80 --publish 443:443 --log-opt max-size=" .. LOG_SIZE

local function new(image, cmd)
  local run = containers.new(image, cmd)
  run:add("name", naming.PROXY_CONTAINER)
  run:add("network", naming.NETWORK)
  run:add("detach")
  run:add("restart", "unless-stopped")
  run:add("volume", "kamal-proxy-config:/home/kamal-proxy/.config/kamal-proxy")
  run:add("volume", "$PWD/.kamal/proxy/apps-config:" .. naming.APPS_CONFIG)
  return run
end

--- Adds the options of a `docker run` that a text writes out.
local function add_line(run, line)
  local words = shell_words.split(line)
  local at = 1
  while at <= #words do
    local flag, value = words[at]:match("^%-%-([^=]+)=?(.*)$")
    if not flag then
      fail.raise("proxy.boot", (".kamal/proxy/options: `%s` is no option of docker run"):format(words[at]),
        { hint = "proxy boot_config reset" })
    end
    if not words[at]:find("=", 1, true) then
      local following = words[at + 1]
      value = following and following:sub(1, 2) ~= "--" and following or true
      at = value == true and at or at + 1
    end
    run:add(flag, value)
    at = at + 1
  end
end

--- As files on the server say it.
--- @param files ProxyFiles
--- @return DockerRun
function M.of_files(files)
  local run = new(("%s:%s"):format(files.image or naming.PROXY_IMAGE, files.image_version or naming.PROXY_VERSION),
    files.run_command)
  add_line(run, files.options or M.OPTIONS)
  return run
end

local function of_node(node)
  local function value(key, default)
    local one = node:get(key)
    if one == nil then return default end
    return one.value
  end
  local registry, version = text_of(node:get("registry")), text_of(node:get("version")) or naming.PROXY_VERSION
  local metrics = value("metrics_port")
  local run = new(("%s%s:%s"):format(registry and registry .. "/" or "",
    text_of(node:get("repository")) or naming.PROXY_IMAGE, version), "kamal-proxy run"
    .. (value("debug") == true and " --debug" or "") .. (metrics and (" --metrics-port %d"):format(metrics) or ""))
  if value("publish", true) ~= false then
    local ips = node:get("bind_ips") and node:get("bind_ips"):texts()
    local ports = M.ports(ips, value("http_port", 80), value("https_port", 443))
    for _, port in ipairs(ports) do run:add("publish", port) end
  end
  local size = node:get("log_max_size")
  if not size or not size:is_blank() then run:add("log-opt", "max-size=" .. (size and size.text or LOG_SIZE)) end
  if metrics then run:add("expose", tostring(metrics)) end
  run:add_options(node:get("options"))
  return run
end

--- As the configuration says it; `files` count where it says nothing.
--- @param config KamalConfig
--- @param host string
--- @param files? ProxyFiles
--- @return DockerRun
function M.of(config, host, files)
  local found = config:proxy_runs(host)[1]
  if found then return of_node(found.node or document.map()) end
  return M.of_files(files or {})
end

--- What a server's files say.
--- @async
--- @param host Host
--- @return ProxyFiles
function M.read_files(host)
  local found = {}
  for name, value in host:exec({ "sh", "-c", READ }, { reads = true }).stdout:gmatch("(%S+) ([^\n]*)\n") do
    value = value:gsub("^%s+", ""):gsub("%s+$", "")
    if value ~= "" then found[name] = value end
  end
  return found
end

--- The proxy's container on a server; its files are read where they count.
--- @async
--- @param project KamalProject
--- @param host Host
--- @return DockerRun
function M.there(project, host)
  local told = #project.config:proxy_runs(host.name) > 0
  return M.of(project.config, host.name, not told and M.read_files(host) or nil)
end

return M

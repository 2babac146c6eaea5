--- Flags of `docker run` as fields of a container's description (docs/docker.md): what stands under `options:` is
--- written for the docker command, and containers are made through the engine's own interface.

local text = require "native.text"

local M = {}

-- kind → flags. The field is the flag with _ for -, unless FIELDS has another name.
local KINDS = {
  text = "user workdir hostname domainname ip ip6 mac-address volume-driver cgroup-parent cgroupns ipc pid userns " ..
    "uts runtime isolation stop-signal memory memory-reservation kernel-memory shm-size memory-swap cpuset-cpus " ..
    "cpuset-mems platform log-driver io-maxbandwidth network restart name",
  number = "cpus cpu-shares cpu-period cpu-quota cpu-rt-period cpu-rt-runtime cpu-count cpu-percent " ..
    "memory-swappiness oom-score-adj pids-limit blkio-weight io-maxiops",
  flag = "privileged init tty interactive read-only publish-all oom-kill-disable rm",
  list = "add-host dns dns-option dns-search link device device-cgroup-rule group-add cap-add cap-drop security-opt " ..
    "publish expose network-alias link-local-ip volumes-from volume",
  map = "label annotation sysctl ulimit log-opt storage-opt",
  device_map = "device-read-bps device-write-bps device-read-iops device-write-iops blkio-weight-device",
  special = "env entrypoint tmpfs mount gpus health-cmd health-interval health-timeout health-start-period " ..
    "health-start-interval health-retries no-healthcheck stop-timeout",
}
local FIELDS = {
  ["add-host"] = "extra_hosts", ["dns-option"] = "dns_options", link = "links", device = "devices",
  ["device-cgroup-rule"] = "device_cgroup_rules", ["security-opt"] = "security", ["network-alias"] = "aliases",
  ["link-local-ip"] = "link_local_ips", volume = "volumes", label = "labels", annotation = "annotations",
  sysctl = "sysctls", ulimit = "ulimits", ["log-opt"] = "log_options", ["storage-opt"] = "storage_options",
  rm = "auto_remove", ["io-maxbandwidth"] = "io_max_bandwidth", ["io-maxiops"] = "io_max_iops",
}
local NOT_OURS = { ["env-file"] = "put the variables under env", ["label-file"] = "put them under labels",
  pull = "images are pulled before", detach = "containers always run in the background",
  cidfile = "it has no meaning here", attach = "containers run in the background" }

local kind_of, known = {}, {}
for kind, flags in pairs(KINDS) do
  for flag in flags:gmatch("%S+") do
    kind_of[flag] = kind
    known[#known + 1] = flag
  end
end
table.sort(known)

local function field_of(flag) return FIELDS[flag] or (flag:gsub("-", "_")) end

local function pair(value, separator)
  local name, rest = value:match("^([^" .. separator .. "]*)" .. separator .. "(.*)$")
  return name or value, rest or ""
end

local MOUNT = { src = "source", dst = "target", destination = "target", readonly = "read_only", ro = "read_only",
  ["bind-propagation"] = "propagation", ["volume-nocopy"] = "no_copy", ["tmpfs-size"] = "size",
  ["tmpfs-mode"] = "mode", ["volume-subpath"] = "subpath", ["volume-driver"] = "driver" }
local MOUNT_FLAGS = { read_only = true, no_copy = true }

local function mount_of(value)
  local mount = {}
  for part in value:gmatch("[^,]+") do
    local key, rest = part:match("^([^=]+)=(.*)$")
    key = key or part
    key = MOUNT[key] or key
    if MOUNT_FLAGS[key] then mount[key] = rest == nil or rest == "true" or rest == "1" else mount[key] = rest end
  end
  return mount
end

local function health(spec)
  spec.health = spec.health or {}
  return spec.health
end

local special = {}
special["env"] = function(spec, value)
  local name, rest = value:match("^([^=]*)=(.*)$")
  if name then spec.env[name] = rest end
end
special["entrypoint"] = function(spec, value) spec.entrypoint = { value } end
special["tmpfs"] = function(spec, value)
  spec.tmpfs = spec.tmpfs or {}
  local path, options = pair(value, ":")
  spec.tmpfs[path] = options
end
special["mount"] = function(spec, value)
  spec.mounts = spec.mounts or {}
  table.insert(spec.mounts, mount_of(value))
end
special["gpus"] = function(spec, value) spec.gpus = tonumber(value) or value end
special["stop-timeout"] = function(spec, value) spec.stop_timeout = value .. "s" end
special["no-healthcheck"] = function(spec) spec.health = { test = "none" } end
special["health-cmd"] = function(spec, value) health(spec).test = value end
special["health-retries"] = function(spec, value) health(spec).retries = tonumber(value) end
for _, name in ipairs { "interval", "timeout", "start-period", "start-interval" } do
  special["health-" .. name] = function(spec, value) health(spec)[name:gsub("-", "_")] = value end
end

--- Sets what a flag says. Returns what is wrong with it, in words, and a hint; nil where nothing is.
--- @param spec ContainerSpec
--- @param flag string       without its dashes
--- @param value string|true
--- @return string? problem
--- @return string? hint
function M.set(spec, flag, value)
  local kind = kind_of[flag]
  if NOT_OURS[flag] then return ("--%s cannot be given here"):format(flag), NOT_OURS[flag] end
  if not kind then return ("docker run has no option --%s"):format(flag), text.nearest_hint(flag, known) end
  local field = field_of(flag)
  if kind == "flag" then
    spec[field] = value == true or value == "true"
  elseif value == true and flag ~= "no-healthcheck" then
    return ("--%s needs a value"):format(flag)
  elseif kind == "text" then
    spec[field] = value
  elseif kind == "number" then
    spec[field] = tonumber(value)
    if not spec[field] then return ("--%s: %q is no number"):format(flag, value) end
  elseif kind == "list" then
    spec[field] = spec[field] or {}
    table.insert(spec[field], value)
  elseif kind == "map" or kind == "device_map" then
    spec[field] = spec[field] or {}
    local name, rest = pair(value, kind == "map" and "=" or ":")
    spec[field][name] = rest
  else
    special[flag](spec, value)
  end
end

return M

--- A disk that is full or nearly so: what fills it, how much of that is safe to free, and what frees it.

local fail = require "native.fail"
local patient_module = require "doctor.patient"

local M = { needs = "session" }

local FULL, LOW = 0.03, 0.10               -- of the disk, free
local FULL_BYTES, LOW_BYTES = 1e8, 1e9     -- and not more than this
local LARGE_LOG = 1e8

--- Frees what nothing uses and nothing can go back to: nameless images and the build cache.
local function free(host)
  local images, cache = host.docker:prune "images", nil
  local ok, value = pcall(host.docker.prune, host.docker, "build")
  if ok then cache = value end
  return patient_module.size(images.bytes + (cache and cache.bytes or 0)) .. " freed"
end

M.FINDINGS = {
  { id = "disk.full", severity = "error", title = "{mount} is full: {free} of {size} left ({percent} % used)",
    cause = "what takes the room: {uses}", fix = "{mend}", apply = free },
  { id = "disk.low", severity = "warning", title = "{mount} has {free} of {size} left ({percent} % used)",
    cause = "what takes the room: {uses}", fix = "{mend}", apply = free },
  { id = "disk.inodes", severity = "error", title = "{mount} has no room for further files ({percent} % of its inodes)",
    cause = "very many small files: sessions, caches, mail", fix = "{mend}" },
  { id = "disk.log", severity = "warning", title = "the log of {name} takes {bytes}",
    cause = "its log has no limit: the engine keeps every line", fix = "{mend}" },
}

--- The rows of `df -P`: mount → { size, used, available } (KiB, or inodes).
--- @param text string
--- @return table<string, { size: number, available: number }>
function M.rows(text)
  local out = {}
  for size, available, mount in text:gmatch("\n%S+%s+(%d+)%s+%d+%s+(%d+)%s+%S+%s+([^\n]+)") do
    out[mount] = { size = tonumber(size), available = tonumber(available) }
  end
  return out
end

--- How bad it is: nil, "disk.low" or "disk.full".
--- @param size number       bytes
--- @param available number  bytes
--- @return string?
function M.verdict(size, available)
  if size <= 0 then return nil end
  if available / size < FULL and available < FULL_BYTES * 10 or available < FULL_BYTES / 10 then return "disk.full" end
  if available / size < LOW and available < LOW_BYTES * 2 then return "disk.low" end
end

local function places(patient)
  local out, seen = { "/" }, { ["/"] = true }
  local function add(path)
    if path and path:sub(1, 1) == "/" and not seen[path] then
      seen[path] = true
      out[#out + 1] = path
    end
  end
  if patient:has_engine() then
    local info = patient:info()
    add(info.DockerRootDir)
    for _, one in ipairs(patient:serving()) do
      for _, mount in ipairs(one.container and one.container.mounts or {}) do add(mount.source) end
    end
  end
  return out
end

--- The sizes of the containers' logs, the largest first; those that this user may not read are left out.
local function logs(patient)
  local out = {}
  for _, entry in ipairs(patient.host.docker:list { all = true }) do
    local container = patient:inspect(entry.id)
    local path = container and container.raw.LogPath
    if path and path ~= "" then
      local bytes = tonumber((patient:output { "stat", "-c", "%s", path }):match("%d+"))
      local limits = ((container.raw.HostConfig or {}).LogConfig or {}).Config or {}
      if bytes then
        out[#out + 1] = { name = container.name, bytes = bytes, path = path, limited = limits["max-size"] ~= nil }
      end
    end
  end
  table.sort(out, function(a, b) return a.bytes > b.bytes end)
  return out
end

--- What takes the room, in words and what would be safe to free.
local function uses(patient, found_logs)
  if not patient:has_engine() then return "the engine does not answer: `df` and `du` tell", {}, 0 end
  local size = patient_module.size
  local usage = patient:once("usage", function() return patient.host.docker:disk_usage() end)
  local logged = 0
  for _, one in ipairs(found_logs) do logged = logged + one.bytes end
  local parts = {
    { "images", usage.images.bytes, ("images %s (%s of them no container uses)"):format(size(usage.images.bytes),
      size(usage.images.unused_bytes)) },
    { "volumes", usage.volumes.bytes, "volumes (databases, uploads) " .. size(usage.volumes.bytes) },
    { "logs", logged, "containers' logs " .. size(logged) },
    { "containers", usage.containers.bytes, "files that containers wrote " .. size(usage.containers.bytes) },
    { "cache", usage.build_cache.bytes, "the build cache " .. size(usage.build_cache.bytes) },
  }
  table.sort(parts, function(a, b) return a[2] > b[2] end)
  local words, evidence = {}, {}
  for index, part in ipairs(parts) do
    if index <= 3 and part[2] > 0 then words[#words + 1] = part[3] end
    evidence[index] = part[3]
  end
  for index = 1, math.min(3, #found_logs) do
    evidence[#evidence + 1] = ("the log of %s: %s"):format(found_logs[index].name, size(found_logs[index].bytes))
  end
  for _, one in ipairs(patient:nameless()) do
    evidence[#evidence + 1] = ("safe to free: nameless image %s, %s"):format(one.id:sub(8, 19), size(one.bytes))
  end
  return #words > 0 and table.concat(words, ", ") or "not the engine: `du -xh / | sort -h | tail` tells", evidence,
    usage.build_cache.unused_bytes
end

local function mend(patient, cache_bytes, found_logs)
  local safe = cache_bytes
  for _, one in ipairs(patient:has_engine() and patient:nameless() or {}) do safe = safe + one.bytes end
  local lines = {}
  if patient:has_engine() then
    lines[1] = ("%s    (safe: about %s)"):format(
      patient:typed "docker image prune -f && docker builder prune -f", patient_module.size(safe))
    lines[2] = patient:typed "docker image prune -a -f" .. "    (images that no container uses: a rollback to one "
      .. "pulls it again)"
  end
  local log = found_logs[1]
  if log and log.bytes > LARGE_LOG / 10 then
    lines[#lines + 1] = patient:typed("sudo truncate -s 0 " .. log.path) .. "    (the log of " .. log.name .. ")"
  end
  lines[#lines + 1] = patient:typed "sudo du -xh / --max-depth=3 | sort -h | tail -20" .. "    (the rest)"
  return table.concat(lines, "\n")
end

--- What `df` tells. A place that this user may not look into (a volume's folder) makes it fail, and it tells the rest
--- all the same.
local function df(patient, flag, list)
  return M.rows("\n" .. patient.host:exec({ "df", flag, unpack(list) }, { reads = true, check = false }).stdout)
end

--- @param patient Patient
--- @param say fun(id: string, facts: table)
function M.on_host(patient, say)
  local list = places(patient)
  local rows = df(patient, "-Pk", list)
  if next(rows) == nil then fail.raise("host.exit", "df tells nothing", { host = patient.host.name }) end
  local found_logs = patient:has_engine() and logs(patient) or {}
  for mount, row in pairs(rows) do
    local size, available = row.size * 1024, row.available * 1024
    local id = M.verdict(size, available)
    if id then
      local what, evidence, cache = uses(patient, found_logs)
      say(id, { mount = mount, free = patient_module.size(available), size = patient_module.size(size),
        percent = math.floor((1 - available / size) * 100 + 0.5), uses = what, evidence = evidence,
        mend = mend(patient, cache, found_logs) })
    end
  end
  for mount, row in pairs(df(patient, "-Pi", list)) do
    if row.size > 0 and row.available / row.size < FULL / 3 then
      say("disk.inodes", { mount = mount, percent = math.floor((1 - row.available / row.size) * 100 + 0.5),
        mend = patient:typed(("sudo du --inodes -x %s --max-depth=3 | sort -n | tail -20"):format(mount)) })
    end
  end
  for _, one in ipairs(found_logs) do
    if one.bytes > LARGE_LOG and not one.limited then
      say("disk.log", { name = one.name, bytes = patient_module.size(one.bytes),
        mend = patient:typed("sudo truncate -s 0 " .. one.path) .. "\nand give the engine a limit: "
          .. [[{"log-opts": {"max-size": "10m"}} in /etc/docker/daemon.json]] })
    end
  end
end

return M

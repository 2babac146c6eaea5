--- Hosts that are only told of: what a spec says about them, answered in the shape of the real reads. What is not told
--- is not there; a command that is not told prints nothing and succeeds.

local door = require "native.door"
local fail = require "native.fail"
local has_labels = require "deploy.planned.labels"
local text = require "native.text"

local M = {}

--- @class HostFacts
--- @field containers? table<string, table>  by name: fields of DockerContainer; state "running" unless told;
---   listed (place in the engine's list) tells those created in one second apart
--- @field images? string[]                  names; or fields of DockerImage by name
--- @field networks? string[]
--- @field volumes? string[]
--- @field routes? table<string, string>     service → container that gets its traffic
--- @field releases? ReleaseRecord[]         what is remembered of releases, newest first
--- @field registry? table<string, boolean>  false: an image that cannot be pulled
--- @field files? table<string, string>      path → contents
--- @field exec? table<string, string|table>|fun(line: string, container: string?): string|table|nil
---   by command line: what it prints, or { stdout, stderr, code }
--- @field http? table<string, integer|table>  by URL: status, or a reply
--- @field docker? table<string, function>   further calls of the engine, by name

local function digest(...) return text.sha256(table.concat({ ... }, " ")) end

local function filled(given, defaults)
  local out = {}
  for key, value in pairs(defaults) do out[key] = value end
  for key, value in pairs(given or {}) do out[key] = value end
  return out
end

local function image_of(host, name, given)
  return filled(given, { id = "sha256:" .. digest("image", host, name), tags = { name }, digests = {}, created = "",
    bytes = 0, os = "linux", architecture = "", labels = {}, env = {}, cmd = {}, entrypoint = {}, user = "",
    workdir = "", ports = {}, stop_signal = "", healthcheck = false, raw = {} })
end

local function container_of(host, name, given)
  local out = filled(given, { id = digest("container", host, name), name = name, image = "", image_id = "", created = 1,
    state = "running", status = "", health = "", exit_code = 0, error = "", oom_killed = false, started_at = "",
    finished_at = "", restart_count = 0, restart = "no", labels = {}, env = {}, cmd = {}, entrypoint = {},
    published = {}, mounts = {}, networks = {}, raw = {} })
  out.running = out.state == "running"
  if out.image_id == "" and out.image ~= "" then out.image_id = "sha256:" .. digest("image", host, out.image) end
  return out
end

--- Lists may be given as names alone or as fields by name.
local function each(given, fn)
  for key, value in pairs(given or {}) do
    if type(key) == "number" then fn(value, {}) else fn(key, value) end
  end
end

--- As an engine lists containers: newest first.
local function newest_first(a, b)
  local x, y = tonumber(a.created) or 0, tonumber(b.created) or 0
  if x ~= y then return x > y end
  if a.listed ~= b.listed then return (a.listed or math.huge) < (b.listed or math.huge) end
  return a.name < b.name
end

local function missing(host, what, name, kind)
  fail.raise("docker.not_found", ("%s %s: No such %s: %s"):format(what, name, kind, name), { host = host })
end

--- What a command of a host is told to print.
--- @param facts HostFacts
--- @param line string
--- @param container string?
--- @return { stdout: string, stderr: string, code: integer, ms: number }?
function M.output(facts, line, container)
  local told = facts.exec
  if type(told) == "function" then
    told = told(line, container)
  elseif told then
    told = told[line]
  end
  if told == nil then return nil end
  if type(told) ~= "table" then told = { stdout = tostring(told) } end
  return filled(told, { stdout = "", stderr = "", code = 0, ms = 0, truncated = false })
end

local SILENT = { stdout = "", stderr = "", code = 0, ms = 0, truncated = false }

--- The reads of an engine.
--- @param host string
--- @param facts HostFacts
--- @return table base
function M.engine(host, facts)
  local base, containers, images = {}, {}, {}
  local networks, volumes = {}, {}
  each(facts.images, function(name, given) images[name] = image_of(host, name, given) end)
  each(facts.containers, function(name, given)
    containers[name] = container_of(host, name, given)
    local image = containers[name].image
    if image ~= "" then images[image] = images[image] or image_of(host, image) end
  end)
  each(facts.networks, function(name, given)
    networks[name] = filled(given, { id = digest("network", host, name), name = name, driver = "bridge",
      internal = false, labels = {}, containers = {} })
  end)
  each(facts.volumes, function(name, given)
    volumes[name] = filled(given, { name = name, driver = "local", mountpoint = "", labels = {} })
  end)

  function base:inspect(name)
    for _, one in pairs(containers) do
      local by_id = #name >= 12 and one.id:sub(1, #name) == name
      if one.name == name or by_id then return one end
    end
    missing(host, "inspect", name, "container")
  end
  function base:list(options)
    local out = {}
    for _, one in pairs(containers) do
      if has_labels(one, options and options.labels) then out[#out + 1] = one end
    end
    table.sort(out, newest_first)
    return out
  end
  function base:inspect_image(name)
    local latest = images[name .. ":latest"]
    for _, one in pairs(images) do
      if one.id == name then return one end
    end
    return images[name] or latest or missing(host, "inspect image", name, "image")
  end
  function base:list_images(options)
    local out = {}
    if options and options.nameless then return out end
    for _, one in pairs(images) do
      if has_labels(one, options and options.labels) then out[#out + 1] = one end
    end
    table.sort(out, function(a, b) return a.id < b.id end)
    return out
  end
  function base:inspect_remote_image(name)
    local there = (facts.registry or {})[name]
    if there == false then
      fail.raise("docker.not_found", ("pull %s: manifest unknown"):format(name), { host = host,
        hint = "was this tag pushed to that registry?" })
    end
    return { digest = there and there ~= true and there or nil }
  end
  local function named(list, field, kind)
    base["inspect_" .. kind] = function(_, name) return field[name] or missing(host, "inspect " .. kind, name, kind) end
    base[list] = function(_, options)
      local out = {}
      for name, one in pairs(field) do
        local wanted = options and options.name
        if (not wanted or wanted == name) and has_labels(one, options and options.labels) then out[#out + 1] = one end
      end
      return out
    end
  end
  named("list_networks", networks, "network")
  named("list_volumes", volumes, "volume")
  function base:exec(name, argv) return M.output(facts, text.shell_join(argv), base:inspect(name).name) or SILENT end
  function base:execs() return {} end
  function base:logs() return { text = "", stdout = "", stderr = "", truncated = false } end
  function base:follow() return function() end end
  function base:wait() return 0 end
  function base:ping() return "1.41" end
  for name, fn in pairs(facts.docker or {}) do base[name] = fn end
  return setmetatable(base, { __index = function(_, name)
    fail.usage(("the facts of %s do not say what docker:%s answers"):format(host, tostring(name)),
      { hint = ("docker = { %s = function(_, …) return … end }"):format(tostring(name)) })
  end })
end

--- The reads of files and commands. `real` answers what is not told: this machine's own files.
--- @param host string
--- @param facts HostFacts
--- @param face "ssh"|"files"|"process"
--- @param real table?
--- @return table base
function M.files(host, facts, face, real)
  local base = {}
  local function told(path) return facts.files and facts.files[path] end
  function base:read(path, options)
    if told(path) then return told(path) end
    if real then return real:read(path, options) end
    fail.raise(face .. ".not_found", ("read %s: no such file"):format(path), { host = host, path = path })
  end
  function base:stat(path)
    if told(path) then
      return { type = "file", size = #told(path), mode = "0644", user = "", group = "", uid = 0, gid = 0, modified = 0 }
    end
    return real and real:stat(path) or nil
  end
  function base:list(path) return real and real:list(path) or {} end
  function base:exec(command)
    local line = type(command) == "table" and text.shell_join(command) or command
    return M.output(facts, line) or SILENT
  end
  function base:run(argv, options)
    local found = M.output(facts, text.shell_join(argv))
    if found then return found end
    if real and argv[1] == "git" then return real:run(argv, options) end
    return SILENT
  end
  return base
end

--- Answers over HTTP; healthy unless told otherwise.
--- @param facts HostFacts
--- @return table base
function M.http(facts)
  local function reply(_, url, expect)
    local told = (facts.http or {})[url] or 200
    if type(told) ~= "table" then told = { status = told } end
    local ok = told.status >= 200 and told.status < 300
    if type(expect) == "number" then ok = told.status == expect end
    return filled(told, { headers = {}, body = "", url = url, ms = 0, reused = false, ok = ok,
      reason = not ok and ("status %d"):format(told.status) or nil })
  end
  return { probe = reply, get = function(_, url) return reply(nil, url) end,
    request = function(_, url) return reply(nil, url) end }
end

--- A session or an engine that is nowhere: each of its calls goes to the keeper.
--- @param keeper Keeper
--- @param face "ssh"|"docker"
--- @param host string
--- @return table
function M.object(keeper, face, host)
  local kinds, free = door.kinds(face), {}
  function free.alive() return true end
  function free.close() end
  function free.requests() return 0 end
  function free.stats() return { round_trips = 0, bytes_in = 0, bytes_out = 0 } end
  return setmetatable({ host = host, name = host }, { __index = function(self, name)
    if kinds.free[name] then return free[name] or function() return { host = host } end end
    local call = { face = face, name = name, reads = kinds.reads[name] or false, face_calls = {} }
    local function method(_, ...) return keeper:call(call, self, ...) end
    rawset(self, name, method)
    return method
  end })
end

return M

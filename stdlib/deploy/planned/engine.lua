--- An engine as planned changes would leave it: its answers are the real ones with what the plan has "done" so far.
--- Calls that change answer as the engine would (conflicts, what is missing, "it runs already") and record the
--- equivalent docker command. `base` makes the real reads; nothing here reaches the engine otherwise.
--- Images, networks and volumes are stock.lua's.

local docker = require "native.docker"
local fail = require "native.fail"
local has_labels = require "deploy.planned.labels"
local placeholder = require "deploy.planned.placeholder"
local secret = require "native.secret"
local stock = require "deploy.planned.stock"
local text = require "native.text"

local M = {}
local Engine = {}
Engine.__index = Engine

--- What a call of the face becomes; a call that has no entry is a read of the real engine, or a change without result.
local calls = {}

--- @param host string
--- @param recorder { record: fun(host: string, change: table): table, wait: fun(host: string, words: string),
---        reads_exec: fun(options: table?): boolean }
--- @return table
function M.new(host, recorder)
  local self = setmetatable({ host = host, _recorder = recorder, _made = {}, _changes = {} }, Engine)
  self._stock = stock.new(self)
  return self
end

--- Makes a call of the face.
--- @async
--- @param call DoorCall
--- @param base table  the face's calls, real
--- @return any
function Engine:call(call, base, ...)
  local planned = calls[call.name] or self._stock.calls[call.name]
  if planned then return planned(self, base, ...) end
  if call.reads then return base[call.name](base, ...) end
  local argv = { "docker", (call.name:gsub("_", " ")) }
  for _, value in ipairs { ... } do
    if type(value) == "string" then argv[#argv + 1] = value end
  end
  self:record(argv)
  return {}
end

--- Records a docker command.
--- @param argv string[]
--- @param note? string
--- @return table change
function Engine:record(argv, note)
  return self._recorder:record(self.host, { kind = "command", argv = argv, note = note })
end

--- Raises that something is not there, in the engine's words.
function Engine:not_found(what, name, kind)
  fail.raise("docker.not_found", ("%s %s: No such %s: %s"):format(what, name, kind, name), { host = self.host })
end

--- Raises that something is in the way.
function Engine:conflict(message) fail.raise("docker.conflict", message, { host = self.host }) end

local function copy(value)
  local out = {}
  for key, one in pairs(value) do out[key] = one end
  return out
end

--- A real container with what the plan did to it.
local function patched(real, change)
  if not change then return real end
  local out = copy(real)
  out.name = change.name or out.name
  if change.state then
    out.state, out.running, out.planned = change.state, change.state == "running", true
    if out.networks and out.running then
      out.networks = {}
      for network, at in pairs(real.networks) do
        out.networks[network] = { ip = placeholder.address(out.name), aliases = at.aliases }
      end
    end
  end
  return out
end

--- A container by name or ID, as planned changes leave it. Raises `docker.not_found`.
function Engine:find(base, name)
  for _, one in ipairs(self._made) do
    local by_id = #name >= 12 and one.id:sub(1, #name) == name
    if not one.removed and (one.name == name or by_id) then return one end
  end
  for id, change in pairs(self._changes) do
    if change.name == name and not change.removed then return patched(base:inspect(id), change) end
  end
  local real = base:inspect(name)
  local change = self._changes[real.id]
  local renamed_away = change and change.name and real.name == name
  if change and (change.removed or renamed_away) then self:not_found("inspect", name, "container") end
  return patched(real, change)
end

--- The same; nil where there is none.
function Engine:try_find(base, name)
  local ok, found = pcall(self.find, self, base, name)
  if ok then return found end
  if fail.normal(found).kind ~= "docker.not_found" then error(found, 0) end
end

--- Notes what becomes of a container.
function Engine:_set(one, fields)
  local target = one.made and one or self._changes[one.id]
  if not target then
    target = {}
    self._changes[one.id] = target
  end
  for key, value in pairs(fields) do target[key] = value end
  if one.made and fields.state then one.running = fields.state == "running" end
end

--- Whether only the plan knows what the container would answer.
function Engine:is_planned(one) return one.made or one.planned or false end

-- A `docker create` that is followed by its start is one `docker run`, unless something happened in between.
local function settle(one) one.entry = nil end

function calls.inspect(self, base, name) return self:find(base, name) end

local function is_listed(one, options)
  if options.name and one.name ~= options.name then return false end
  if options.states then
    local any = false
    for _, state in ipairs(options.states) do any = any or one.state == state end
    if not any then return false end
  elseif not options.all and one.state ~= "running" then
    return false
  end
  return has_labels(one, options.labels)
end

function calls.list(self, base, options)
  options = options or {}
  local out, newest = {}, 0
  for _, entry in ipairs(base:list { all = true, labels = options.labels }) do
    local change = self._changes[entry.id]
    newest = math.max(newest, entry.created or 0)
    if not (change and change.removed) then
      local one = patched(entry, change)
      if is_listed(one, options) then out[#out + 1] = one end
    end
  end
  for index, one in ipairs(self._made) do
    if not one.removed and is_listed(one, options) then
      local entry = copy(one)
      entry.created = newest + index
      table.insert(out, 1, entry)
    end
  end
  return out
end

--- What a container would be once it is made.
local function made_of(self, spec, image)
  local id = placeholder.id(self.host, spec.name or "container", #self._made)
  local name = spec.name or "container-" .. (#self._made + 1)
  local network = spec.network or "bridge"
  local labels = {}
  for key, value in pairs(image.labels or {}) do labels[key] = value end
  for key, value in pairs(spec.labels or {}) do labels[key] = tostring(value) end
  return {
    made = true, id = id, name = name, image = spec.image, image_id = image.id, created = "", state = "created",
    status = "", running = false, health = "", exit_code = 0, error = "", oom_killed = false, started_at = "",
    finished_at = "", restart_count = 0, restart = spec.restart or "no", labels = labels, env = spec.env or {},
    cmd = spec.cmd or {}, entrypoint = spec.entrypoint or {}, published = {}, mounts = {}, raw = {},
    networks = { [network] = { ip = placeholder.address(name), aliases = spec.aliases or {} } },
  }
end

function calls.create(self, base, spec)
  docker.check(spec)
  if spec.name and self:try_find(base, spec.name) then
    self:conflict(("create %s: the name %s is in use"):format(spec.name, spec.name))
  end
  local image = self._stock:image(base, spec.image)
  local one = made_of(self, spec, image)
  self._made[#self._made + 1] = one
  placeholder.note(one.id, one.name)
  self._stock:take_volumes(base, spec.volumes)
  local argv = docker.run_argv(spec)
  local create = { argv[1], "create" }
  for index = 4, #argv do create[#create + 1] = argv[index] end
  one.entry, one.run_argv = self:record(create), argv
  return { id = one.id, warnings = {} }
end

--- A container that a command makes or starts, other than the engine's own.
--- @param spec { name: string, image: string, labels: table, network: string }
--- @param state "created"|"running"
function Engine:appear(spec, state)
  for _, known in ipairs(self._made) do
    if known.name == spec.name and not known.removed then return self:_set(known, { state = state }) end
  end
  local one = made_of(self, spec, { id = "sha256:" .. text.sha256("planned image " .. self.host .. spec.image) })
  self._made[#self._made + 1] = one
  placeholder.note(one.id, one.name)
  self:_set(one, { state = state })
end

function calls.start(self, base, name)
  local one = self:find(base, name)
  if one.running then return false end
  if one.entry then
    one.entry.argv = one.run_argv
    settle(one)
  else
    self:record { "docker", "start", one.name }
  end
  self:_set(one, { state = "running" })
  return true
end

local function seconds(grace)
  if type(grace) == "table" then grace = grace.grace end
  return grace and tostring(math.ceil(text.parse_duration(grace) / 1000))
end

function calls.stop(self, base, name, grace)
  local one = self:find(base, name)
  if not one.running then return false end
  local limit = seconds(grace)
  self:record(limit and { "docker", "stop", "--time", limit, one.name } or { "docker", "stop", one.name })
  self:_set(one, { state = "exited" })
  return true
end

local function running(self, base, name, what)
  local one = self:find(base, name)
  if not one.running then self:conflict(("%s %s: Container %s is not running"):format(what, one.name, one.name)) end
  return one
end

function calls.kill(self, base, name, signal)
  local one = running(self, base, name, "kill")
  self:record(signal and { "docker", "kill", "--signal", signal, one.name } or { "docker", "kill", one.name })
  -- Only KILL is sure to end it; what another signal does is the program's choice.
  if not signal or signal == "KILL" then self:_set(one, { state = "exited" }) end
end

function calls.pause(self, base, name)
  local one = running(self, base, name, "pause")
  self:record { "docker", "pause", one.name }
end

function calls.unpause(self, base, name)
  self:record { "docker", "unpause", running(self, base, name, "unpause").name }
end

function calls.restart(self, base, name)
  local one = self:find(base, name)
  self:record { "docker", "restart", one.name }
  self:_set(one, { state = "running" })
end

function calls.rename(self, base, name, new_name)
  local one = self:find(base, name)
  if self:try_find(base, new_name) then
    self:conflict(("rename %s: the name %s is in use"):format(one.name, new_name))
  end
  self:record { "docker", "rename", one.name, new_name }
  settle(one)
  self:_set(one, { name = new_name })
  placeholder.note(one.id, new_name)
end

function calls.remove(self, base, name, options)
  options = options or {}
  local one = self:find(base, name)
  if one.running and not options.force then
    self:conflict(("remove %s: You cannot remove a running container"):format(one.name))
  end
  local argv = { "docker", "rm" }
  if options.force then argv[#argv + 1] = "--force" end
  if options.volumes then argv[#argv + 1] = "--volumes" end
  argv[#argv + 1] = one.name
  self:record(argv)
  self:_set(one, { removed = true, state = "removed" })
end

function calls.exec(self, base, name, argv, options)
  options = options or {}
  local one = running(self, base, name, "exec in")
  if self._recorder:reads_exec(options) and not self:is_planned(one) then return base:exec(name, argv, options) end
  if not self._recorder:reads_exec(options) then
    local words = { "docker", "exec" }
    local names = {}
    for key in pairs(options.env or {}) do names[#names + 1] = key end
    table.sort(names)
    for _, key in ipairs(names) do
      words[#words + 1] = "--env"
      words[#words + 1] = key .. "=" .. tostring(options.env[key])
    end
    if options.user then words[#words + 1] = "--user=" .. options.user end
    if options.workdir then words[#words + 1] = "--workdir=" .. options.workdir end
    words[#words + 1] = one.name
    for _, word in ipairs(argv) do words[#words + 1] = word end
    self:record(words)
  end
  local known = self._recorder:output(self.host, text.shell_join(argv), one.name)
  return known or { stdout = options.planned or "", stderr = "", code = 0, ms = 0, truncated = false }
end

function calls.prepare_exec(self, base, name)
  running(self, base, name, "exec in")
  return ""
end

function calls.wait(self, base, name, condition)
  local one = self:find(base, name)
  local real = not self:is_planned(one)
  if real and not one.running and condition ~= "next-exit" then return base:wait(name, condition) end
  self._recorder:wait(self.host, ("until %s ends"):format(one.name))
  return 0
end

function calls.logs(self, base, name, options)
  local one = self:find(base, name)
  if one.made then return { text = "", stdout = "", stderr = "", truncated = false } end
  return base:logs(one.id, options)
end

function calls.follow(self, base, name, options)
  local one = self:find(base, name)
  if self:is_planned(one) then return function() end end
  return base:follow(one.id, options)
end

function calls.execs(self, base, name)
  local one = self:find(base, name)
  return one.made and {} or base:execs(one.id)
end

--- What a container that is not made yet holds is its image's to say: nothing is known.
function calls.read(self, base, name, path)
  local one = self:find(base, name)
  return one.made and "" or base:read(one.id, path)
end

function calls.get_archive(self, base, name, path)
  local one = self:find(base, name)
  return one.made and {} or base:get_archive(one.id, path)
end

local function said_of(bytes) return secret.is(bytes) and tostring(bytes) or ("%d bytes"):format(#bytes) end

function calls.write(self, base, name, path, bytes)
  local one = self:find(base, name)
  settle(one)
  self:record({ "docker", "cp", "-", ("%s:%s"):format(one.name, path) }, said_of(bytes))
end

function calls.put_archive(self, base, name, path, entries)
  local one, words = self:find(base, name), {}
  settle(one)
  for index, entry in ipairs(entries) do
    words[index] = entry.name .. (entry.bytes and (" (%s)"):format(said_of(entry.bytes)) or "")
  end
  self:record({ "docker", "cp", "-", ("%s:%s"):format(one.name, path) }, table.concat(words, ", "))
end

function calls.connect_network(self, base, network, name)
  local one = self:find(base, name)
  settle(one)
  self:record { "docker", "network", "connect", network, one.name }
  if one.made then one.networks[network] = { ip = placeholder.address(one.name), aliases = {} } end
end

function calls.disconnect_network(self, base, network, name)
  local one = self:find(base, name)
  settle(one)
  self:record { "docker", "network", "disconnect", network, one.name }
  if one.made then one.networks[network] = nil end
end

--- Containers that an image stands behind, as planned changes leave them.
function Engine:using_image(base, id)
  local names = {}
  for _, one in ipairs(calls.list(self, base, { all = true })) do
    if one.image_id == id then names[#names + 1] = one.name end
  end
  return names
end

return M

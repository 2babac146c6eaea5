--- A plan: the recipe is executed with a keeper at the door that makes reads for real and records changes. What it
--- records is told per step and host as the equivalent commands; nothing outside this program is touched.
--- What later reads of the plan see is deploy/planned/'s.

local door = require "native.door"
local engine = require "deploy.planned.engine"
local fail = require "native.fail"
local files = require "deploy.planned.files"
local json = require "native.json"
local placeholder = require "deploy.planned.placeholder"
local report = require "native.report"

local M = {}
local Plan = {}
Plan.__index = Plan
M.Plan = Plan

Plan.ends_at_failure = true  -- nothing was done, so there is nothing to undo

local LOCAL = "local"
local MOST_WAITS = 1000  -- of one step on one host; a loop that waits for what only a change brings would not end

--- @class PlannedStep
--- @field name string
--- @field reads boolean
--- @field hosts { host: string, changes: PlannedChange[], waits: string[] }[]  in the order in which they took part

--- @class PlannedChange
--- @field kind "command"|"file"
--- @field command? string   one line for a shell
--- @field note? string
--- @field path? string      of a file
--- @field state? "new"|"changed"
--- @field diff? string
--- @field mode? string
--- @field owner? string
--- @field bytes? integer
--- @field content? string   instead of a diff: the secret's name

--- The face's calls, real: `base:inspect(name)`. Those of a module are functions, those of a class methods of `object`.
local function real(call, object)
  return setmetatable({}, { __index = function(self, name)
    local fn = call.face_calls[name]
    if not fn then return nil end
    local function method(_, ...)
      if object then return fn(object, ...) end
      return fn(...)
    end
    rawset(self, name, method)
    return method
  end })
end

--- @param recording? table  what reads see is noted there (deploy/planned/recording.lua)
--- @return table plan  a Keeper
function M.new(recording)
  return setmetatable({ steps = {}, recording = recording, _worlds = {} }, Plan)
end

--- What the plan has done to a host so far.
--- @param host string
--- @return { engine: table, files: table, memory: table, routes: table }
function Plan:_world(host)
  local world = self._worlds[host]
  if not world then
    world = { engine = engine.new(host, self), files = files.new(host, self), memory = {}, routes = {} }
    self._worlds[host] = world
  end
  return world
end

function Plan:memory(host) return self:_world(host).memory end

--- The place of what happens on a host now.
function Plan:_place(host)
  local step = self._step
  if not step then
    step = { name = nil, reads = false, hosts = {}, _by_name = {} }
    self._step = step
    self.steps[#self.steps + 1] = step
  end
  local place = step._by_name[host]
  if not place then
    place = { host = host, changes = {}, waits = {} }
    step._by_name[host] = place
    step.hosts[#step.hosts + 1] = place
  end
  return place
end

--- What happens from now on belongs to a step.
--- @param name string
--- @param options StepOptions
--- @param hosts Host[]
--- @param undo? boolean
function Plan:begin_step(name, options, hosts, undo)
  self._step = { name = name, reads = options.reads or false, undo = undo, hosts = {}, _by_name = {} }
  self.steps[#self.steps + 1] = self._step
  for _, host in ipairs(hosts) do self:_place(host.name) end
end

--- @see Plan.begin_step
function Plan:end_step() self._step = nil end

--- Makes one task of a step, or undoes it.
--- @param step table
--- @param host Host
--- @param undo? boolean
--- @param result? any  of the task, for its undo
--- @return any result
function Plan:perform(step, host, undo, result)
  if undo then return step.options.undo(host, result) end
  return step.options.run(host)
end

--- What a run would tell of its steps is the plan's to tell; what a recipe says is said.
--- @param event table
function Plan:report(event)
  if event.type == "log" then report.emit(event) end
end

--- What a command that is not run is taken to print; nil: nothing is known.
--- @return table?
function Plan:output() return nil end

--- Time that would pass.
function Plan:sleep(_, words) self:wait(nil, words) end

function Plan:record(host, change)
  local place = self:_place(host)
  place.changes[#place.changes + 1] = change
  return change
end

function Plan:wait(host, words)
  local place = self:_place(host or LOCAL)
  if place.waits[#place.waits] ~= words then
    place.waits[#place.waits + 1] = words
    place.repeated = 0
  end
  place.repeated = (place.repeated or 0) + 1
  if place.repeated > MOST_WAITS then
    fail.raise("recipe.endless_wait", ("the plan waits again and again: %s"):format(words), { host = host,
      hint = "what it waits for comes with a change, which a plan does not make: deploy.planning() tells" })
  end
  return true
end

--- Whether a command only looks: its options say so, else its step.
--- @param options table?
--- @return boolean
function Plan:reads_exec(options)
  if options and options.reads ~= nil then return options.reads end
  return self._step ~= nil and self._step.reads
end

--- The files of this machine, for what is sent from here.
--- @return table files  stat, read, list
function Plan:this_machine()
  local local_files = require "native.files"
  return { stat = function(_, path) return local_files.stat(path) end,
    read = function(_, path) return local_files.read(path) end }
end

-- Faces: each turns a call into the world's.
local faces = {}

function faces.docker(self, call, client, ...)
  return self:_world(client.host or LOCAL).engine:call(call, self:base(call, client), ...)
end

function faces.ssh(self, call, session, ...)
  return self:_world(session.host or session.name).files:call(call, self:base(call, session), ...)
end

function faces.files(self, call, ...) return self:_world(LOCAL).files:call(call, self:base(call), ...) end

faces.process = faces.files

local READING = { GET = true, HEAD = true, OPTIONS = true }
local NO_REPLY = { status = 200, headers = {}, body = "", url = "", ms = 0, reused = false, ok = true, attempts = 0,
  waited_ms = 0, history = "" }
local NOTHING_SEEN = { requests = 0, failures = 0, reused = 0, ms = 0, longest_gap_ms = 0, gap_at_ms = 0, p50_ms = 0,
  p99_ms = 0, max_ms = 0, by_status = {}, first_failures = {} }

local function copy(value)
  local out = {}
  for key, one in pairs(value) do out[key] = one end
  return out
end

function faces.http(self, call, url, ...)
  local options = select(call.name == "probe" and 2 or 1, ...) or {}
  local host = options.host or LOCAL
  local shown = tostring(url)
  if call.name == "observe" then
    self:wait(host, ("and watches %s meanwhile"):format(shown))
    local function seen() return copy(NOTHING_SEEN) end
    return { snapshot = seen, stop = seen, close = function() end }
  end
  if call.name == "wait_healthy" then
    self:wait(host, ("until %s is healthy"):format(shown))
    return copy(NO_REPLY)
  end
  local method = options.method or ((options.body or options.json) and "POST") or "GET"
  if call.name == "request" and not READING[method] and not options.reads then
    self:record(host, { kind = "command", argv = { "curl", "-X", method, shown } })
    return copy(NO_REPLY)
  end
  if placeholder.is_planned_url(shown) then return copy(NO_REPLY) end
  local base = self:base(call)
  return base[call.name](base, url, ...)
end

--- A database is read for real; what changes it is named. One that would only be made now holds nothing.
function faces.sqlite(self, call, database, ...)
  local base = self:base(call, database)
  if not database:is_open() then
    base = { query = function() return { { n = 0 }, changes = 0 } end, was_done = function() return false end }
  end
  if call.reads then
    if not base[call.name] then return {} end
    return base[call.name](base, ...)
  end
  local words = { "sqlite3", database.path }
  local first = ...
  if call.name == "once" and base:was_done(first) then return false end
  if call.name == "run" or call.name == "execute" then words[3] = first end
  if call.name == "snapshot" then words[3] = (".backup %s"):format(first) end
  if call.name == "restore" then words[3] = (".restore %s"):format(first) end
  if call.name == "remove_snapshot" then words = { "rm", "--force", first } end
  if call.name == "reserve" then
    local file = database.path .. ".reserve"
    words = first and { "fallocate", "--length", ("%d"):format(first), file } or { "rm", "--force", file }
  end
  local note
  if call.name == "once" then note = ("once, as %q"):format(first) end
  if call.name == "exclusive" then note = "in one transaction" end
  self:record(database.host or LOCAL, { kind = "command", argv = words, note = note })
  if call.name == "run" then return { changes = 0 } end
  if call.name == "once" then return true end
  return { bytes = 0, pages = 0 }
end

--- Where a proxy sends traffic: what it says, with what the plan switched.
function faces.proxy(self, call, proxy, host, ...)
  local base = self:base(call, proxy)
  if type(host) ~= "table" then return base[call.name](base, host, ...) end
  local routes = self:_world(host.name).routes
  local own = routes[proxy.container]
  if not own then
    own = {}
    routes[proxy.container] = own
  end
  local place = self:_place(host.name)
  local before = #place.changes
  local result = base[call.name](base, host, ...)
  if call.name == "routes" then
    local out = copy(result)
    for service, target in pairs(own) do out[service] = target or nil end
    return out
  end
  local service, to = ...
  if call.name == "switch" then
    local id, port = to.container:sub(1, 12), to.route.app_port
    own[service] = { container = id, port = port, state = "running", target = ("%s:%d"):format(id, port) }
    -- The command that switches is the last one; it names an ID, people know the container by its name.
    local last = #place.changes > before and place.changes[#place.changes]
    if last then last.note = ("traffic of %s goes to %s"):format(service, host.docker:inspect(to.container).name) end
  elseif call.name == "remove" then
    own[service] = false
    local last = #place.changes > before and place.changes[#place.changes]
    if last then last.note = ("traffic of %s ends"):format(service) end
  end
  return result
end

--- What Compose would make: its commands are told one by one, the containers of an `up` are there afterwards.
function faces.compose(self, call, project, host, services, ...)
  local result = call.make(project, host, services, ...)
  if call.name == "begin" then
    local options = select(2, ...)
    self:_world(host.name).engine:appear({ name = options.name, image = project.containers[1].image, labels = {} },
      "running")
  end
  if call.name ~= "up" and call.name ~= "create" then return result end
  local wanted, state = {}, call.name == "up" and "running" or "created"
  for _, name in ipairs(services) do wanted[name] = true end
  for _, one in ipairs(project.containers) do
    if wanted[one.service] then self:_world(host.name).engine:appear(one, state) end
  end
  return result
end

--- Where reads come from.
--- @param call DoorCall
--- @param object table?
--- @return table
function Plan:base(call, object)
  local base = real(call, object)
  if not self.recording or not object then return base end
  return setmetatable({}, { __index = function(_, name)
    if not base[name] then return nil end
    return function(_, ...)
      local result = base[name](base, ...)
      self.recording:note(object.host or LOCAL, call.face, name, result, ...)
      return result
    end
  end })
end

--- Of a face that the plan knows nothing about: reads are made, changes are told by their name and texts.
local function other(self, call, ...)
  if call.reads then return call.make(...) end
  local argv = { call.face .. "." .. call.name }
  for _, value in ipairs { ... } do
    if type(value) == "string" then argv[#argv + 1] = value end
  end
  self:record(LOCAL, { kind = "command", argv = argv })
  return {}
end

function Plan:call(call, ...) return (faces[call.face] or other)(self, call, ...) end

--- Executes `fn` with the plan at the door.
--- @async
--- @generic T
--- @param fn fun(): T
--- @return T
function Plan:within(fn)
  door.set_keeper(self)
  local function closing(ok, ...)
    door.set_keeper(nil)
    if not ok then error((...), 0) end
    return ...
  end
  return closing(pcall(fn))
end

--- A change as plain data, its commands as lines that one could paste.
local function told(change)
  local out = { kind = change.kind, note = change.note, path = change.path, state = change.state, diff = change.diff,
    mode = change.mode, owner = change.owner, bytes = change.bytes, content = change.content }
  if out.diff then out.diff = placeholder.named(out.diff) end
  if change.kind == "command" then out.command = files.line_of(change, placeholder.resolved) end
  return out
end

--- What a step would do, as plain data.
--- @param step table
--- @return PlannedStep
local function step_told(step)
  local out = { name = step.name, reads = step.reads, undo = step.undo, hosts = json.array {} }
  for index, place in ipairs(step.hosts) do
    local changes = json.array {}
    for position, change in ipairs(place.changes) do changes[position] = told(change) end
    out.hosts[index] = { host = place.host, changes = changes, waits = json.array(place.waits) }
  end
  return out
end

--- Whether anything happens outside of steps where something might.
local function happens(step)
  if step.name then return true end
  for _, place in ipairs(step.hosts) do
    if #place.changes + #place.waits > 0 then return true end
  end
  return false
end

--- The whole plan as plain data.
--- @return PlannedStep[]
function Plan:table()
  local out = {}
  for _, step in ipairs(self.steps) do
    if happens(step) then out[#out + 1] = step_told(step) end
  end
  return out
end

--- How many changes are pending.
--- @return integer
function Plan:count()
  local count = 0
  for _, step in ipairs(self.steps) do
    for _, place in ipairs(step.hosts) do count = count + #place.changes end
  end
  return count
end

return M

--- A rehearsal: commands of a recipe executed against facts instead of hosts (docs/recipes.md, Specs). It is a plan
--- whose reads come from what the spec tells and whose changes stay for the next command; a failure can be made to
--- happen at a step, and then the run is undone as a real one would be. Time is deploy/planned/clock.lua's.

local check = require "deploy.check"
local clock = require "deploy.planned.clock"
local command = require "deploy.command"
local facts_module = require "deploy.planned.facts"
local fail = require "native.fail"
local files = require "native.files"
local host_module = require "deploy.host"
local json = require "native.json"
local options_module = require "deploy.options"
local outcome = require "deploy.outcome"
local plan = require "deploy.plan"
local run_module = require "deploy.run"
local secrets = require "deploy.secrets"

local M = {}
local Rehearsal = setmetatable({}, { __index = plan.Plan })
Rehearsal.__index = Rehearsal

Rehearsal.ends_at_failure = false

local OPTIONS = { recipe = { "string", required = true }, hosts = { "table" }, secrets = { "table" } }
local RUN = { fail = { "table" } }
local FAULT = { step = { "string|integer", required = true }, host = { "string" }, error = { "string|table" },
  after = { "boolean" }, hang = { "boolean" }, undo = { "boolean" }, times = { "integer" } }

--- @class Fault  a failure that is made to happen
--- @field step string|integer  its name or its number
--- @field host? string         on this one only; absent: on all
--- @field error? string|table  what is raised: a message, or { kind, message, … }
--- @field after? boolean       the task has done its work when it fails
--- @field hang? boolean        instead of failing it never ends
--- @field undo? boolean        in the step's undo
--- @field times? integer       so often, then it succeeds; absent: every time

--- @class RehearsalResult
--- @field state string     "done", "failed_undone", "needs_person"
--- @field exit_code integer
--- @field error? table
--- @field left? string[]
--- @field steps PlannedStep[]  in the order in which they happened, undo included (`undo` is true)
--- @field logs string[]
--- @field ms number        what the run would have taken in waiting
local Result = {}
Result.__index = Result

--- What was changed on a host, one line each: commands as one could paste them, `write PATH` for files.
--- @param host? string    absent: on all
--- @param step? string    of this step only
--- @param undo? boolean   what its undo did, instead
--- @return string[]
function Result:commands(host, step, undo)
  local out = {}
  for _, one in ipairs(self.steps) do
    local wanted = (not step or one.name == step) and (undo == nil or (one.undo or false) == undo)
    for _, place in ipairs(wanted and one.hosts or {}) do
      for _, change in ipairs((not host or place.host == host) and place.changes or {}) do
        out[#out + 1] = change.command or "write " .. change.path
      end
    end
  end
  return out
end

--- The names of the steps that took place, in order; those that were undone with `undo: ` before them.
--- @return string[]
function Result:order()
  local out = {}
  for index, one in ipairs(self.steps) do out[index] = (one.undo and "undo: " or "") .. (one.name or "") end
  return out
end

--- A rehearsal of a recipe.
--- @async
--- @param given { recipe: string, hosts?: table<string, HostFacts>, secrets?: table<string, string> }
---   hosts: by name; one that is not told has nothing on it
--- @return table rehearsal
function M.new(given)
  options_module.check(given, OPTIONS, "test.rehearse")
  local self = setmetatable(plan.new(), Rehearsal)
  self._facts, self._engines, self.recipe = given.hosts or {}, {}, given.recipe
  self._secrets = {}
  for name, value in pairs(given.secrets or {}) do self._secrets[name] = secrets.value(name, value) end
  return self
end

function Rehearsal:_facts_of(host)
  self._facts[host] = self._facts[host] or {}
  return self._facts[host]
end

function Rehearsal:_engine_of(host)
  self._engines[host] = self._engines[host] or facts_module.engine(host, self:_facts_of(host))
  return self._engines[host]
end

--- Where reads come from: what the spec tells; the recipe's own files are this machine's.
function Rehearsal:base(call, object)
  if call.face == "docker" then return self:_engine_of(object.host or "local") end
  if call.face == "ssh" then return facts_module.files(object.host, self:_facts_of(object.host), "ssh") end
  if call.face == "http" then return facts_module.http(self:_facts_of("local")) end
  local real = plan.Plan.base(self, call, object)
  if call.face == "proxy" then return real end
  local outside = setmetatable({}, { __index = function(_, name)
    return function(_, ...) return self._clock:outside(real[name], real, ...) end
  end })
  return facts_module.files("local", self:_facts_of("local"), call.face, outside)
end

function Rehearsal:call(call, ...)
  self._clock:stir()
  if call.face == "releases" then return self:_facts_of((...).name).releases or {} end
  local result = plan.Plan.call(self, call, ...)
  if call.face == "proxy" and call.name == "routes" then self:_tell_routes(result, ...) end
  return result
end

--- Adds the routes that the spec tells, where nothing else is known of a service.
function Rehearsal:_tell_routes(routes, proxy, host)
  local own = self:_world(host.name).routes[proxy.container] or {}
  for service, name in pairs(self:_facts_of(host.name).routes or {}) do
    if own[service] == nil and not routes[service] then
      local id = self:_engine_of(host.name):inspect(name).id:sub(1, 12)
      routes[service] = { container = id, port = 80, state = "running", target = id .. ":80" }
    end
  end
end

--- What a command prints.
function Rehearsal:output(host, line, container) return facts_module.output(self:_facts_of(host), line, container) end

--- Time passes on the rehearsal's clock.
function Rehearsal:sleep(ms, words)
  self:wait(nil, words)
  self._clock:sleep(ms, words)
end

--- Collects what a run says.
function Rehearsal:report(event)
  if event.type == "log" then self._logs[#self._logs + 1] = event.message end
end

function Rehearsal:_fault(step, host, undo)
  for _, fault in ipairs(self._faults) do
    local here = (fault.step == step.name or fault.step == step.ordinal) and (not fault.host or fault.host == host.name)
    if here and (fault.undo or false) == undo and (not fault.times or (fault.met or 0) < fault.times) then
      fault.met = (fault.met or 0) + 1
      return fault
    end
  end
end

local function raise(fault)
  local given = fault.error or "made to fail by the spec"
  if type(given) == "string" then given = { kind = "host.exit", message = given } end
  fail.raise(given.kind or "host.exit", given.message or "made to fail by the spec", given)
end

--- Makes one task of a step, or its undo, unless a fault is due.
function Rehearsal:perform(step, host, undo, result)
  self._clock:stir()
  local fault = self:_fault(step, host, undo or false)
  if fault and fault.hang then self._clock:sleep(math.huge, ("step %q"):format(step.name)) end
  if fault and not fault.after then raise(fault) end
  local value = plan.Plan.perform(self, step, host, undo, result)
  if fault then raise(fault) end
  if undo or value == nil then return nil end
  return json.decode(json.encode(value))  -- as the journal would have it: what another process could read back
end

local function load_recipe(path)
  local source = files.read(path)
  local chunk, problem = loadfile(path)
  if not chunk then error(problem, 0) end
  check.recipe(path, source)
  return chunk
end

local function faults_of(given)
  if not given then return {} end
  local list = given.step and { given } or given
  local out = {}
  for index, fault in ipairs(list) do
    options_module.check(fault, FAULT, "fail")
    out[index] = {}
    for key, value in pairs(fault) do out[index][key] = value end
  end
  return out
end

--- Executes a command; what it leaves behind is there for the next one. Errors of the run are in its result.
--- @async
--- @param name? string     the recipe's default command unless told
--- @param params? table    as from the command line, with Lua's types
--- @param given? { fail?: Fault|Fault[] }
--- @return RehearsalResult
function Rehearsal:run(name, params, given)
  given = options_module.check(given, RUN, "rehearsal:run")
  self.steps, self._step, self._logs, self._faults = {}, nil, {}, faults_of(given.fail)
  self._clock = clock.new()
  local chunk = load_recipe(self.recipe)
  local registry = require("deploy")._new_registry()
  host_module.set_transport { session = function(host) return facts_module.object(self, "ssh", host.name) end,
    docker = function(host) return facts_module.object(self, "docker", host.name) end }
  secrets.set_given(self._secrets)
  self._clock:install()
  local ok, result = pcall(self.within, self, function()
    chunk()
    local chosen = command.choose(registry, name)
    local values = {}
    for key, value in pairs(params or {}) do
      if not chosen.params[key] then
        fail.usage(("%s: unknown parameter `%s`"):format(chosen.name, key), { token = key })
      end
      values[key] = value
    end
    command.complete(chosen, values)
    local run = run_module.new { info = {}, params = values, mode = "run", localhost = host_module.localhost,
      plan = self }
    return run:execute(chosen.run)
  end)
  self._clock:remove()
  secrets.set_given(nil)
  host_module.set_transport(nil)
  if not ok then result = { state = "failed_undone", error = fail.normal(result) } end
  for _, fault in ipairs(self._faults) do
    if not fault.met then
      fail.usage(("fail: step %s did not take place%s"):format(tostring(fault.step),
        fault.host and " on " .. fault.host or ""), { hint = "steps: " .. table.concat(Result.order(
          { steps = self:table() }), ", ") })
    end
  end
  return setmetatable({ state = result.state, error = result.error, left = result.left, ms = self._clock.time,
    exit_code = outcome.exit_code(result), steps = self:table(), logs = self._logs }, Result)
end

--- The containers of a host as they are now: name → state.
--- @async
--- @param host string
--- @return table<string, string>
function Rehearsal:containers(host)
  local out = {}
  local engine = self:_world(host).engine
  for _, one in ipairs(engine:call({ name = "list", reads = true }, self:_engine_of(host), { all = true })) do
    out[one.name] = one.state
  end
  return out
end

--- What the proxy of a host sends traffic to: service → container.
--- @async
--- @param host string
--- @return table<string, string>
function Rehearsal:serving(host)
  local out, world = {}, self:_world(host)
  for service, name in pairs(self:_facts_of(host).routes or {}) do out[service] = name end
  for _, own in pairs(world.routes) do
    for service, target in pairs(own) do
      out[service] = target and world.engine:find(self:_engine_of(host), target.container).name or nil
    end
  end
  return out
end

--- A file of a host as it is now; nil: it is not there.
--- @async
--- @param host string
--- @param path string
--- @return string?
function Rehearsal:file(host, path)
  local known = self:_world(host).files:contents(path)
  if known ~= nil then return known or nil end
  return (self:_facts_of(host).files or {})[path]
end

return M

--- The one door through which everything passes that reads or changes something outside this program. Normally it
--- stands open. With a keeper (a plan: deploy/plan.lua; a spec of a recipe: deploy/rehearsal.lua) each call is handed
--- to the keeper, which makes reads and records changes. A face puts its calls behind the door with one `guard`; a call
--- that it does not name as a read counts as a change, so that a new one is never made in a plan by oversight.

local task = require "native.task"

local M = {}

--- @class Keeper
--- @field call fun(self: Keeper, call: DoorCall, ...): any   `...` are the call's own arguments, the object first
--- @field wait fun(self: Keeper, host: string?, words: string): boolean  false: wait for real
--- @field sleep fun(self: Keeper, ms: number, words: string)
--- @field memory fun(self: Keeper, host: string): table      what planned changes will have done, by module and host

--- @class DoorCall
--- @field face string                 "docker", "ssh", "files", "process", "http", "proxy"
--- @field name string
--- @field reads boolean
--- @field make fun(...): any          the call itself
--- @field face_calls table<string, function>  every guarded call of the face, as it is behind the door

local keeper
local gate
local guarded = {}  -- face → which of its calls are what

--- Who stands at the door from now on; nil opens it.
--- @param new Keeper?
function M.set_keeper(new) keeper = new end

--- What is asked before each change that is really made; it raises where none may be made. nil: nothing.
--- @param new fun()?
function M.set_gate(new) gate = new end

--- Whether calls go to a keeper: what is done now is no deploy.
--- @return boolean
function M.is_kept() return keeper ~= nil end

local function set(names)
  local out = {}
  for _, name in ipairs(names or {}) do out[name] = true end
  return out
end

--- Puts the calls of a face's class (or module) behind the door.
--- @param face string
--- @param class table
--- @param kinds { reads: string[], free?: string[] }  free: neither reads nor changes anything outside; the rest
---   changes
function M.guard(face, class, kinds)
  local reads, free, face_calls = set(kinds.reads), set(kinds.free), {}
  guarded[face] = { reads = reads, free = free }
  for name, make in pairs(class) do
    if type(make) == "function" and type(name) == "string" and not name:match("^_") and not free[name] then
      face_calls[name] = make
      local call = { face = face, name = name, reads = reads[name] or false, make = make, face_calls = face_calls }
      class[name] = function(...)
        if keeper then return keeper:call(call, ...) end
        if gate and not call.reads then gate() end
        return make(...)
      end
    end
  end
end

--- Which calls of a face read, and which are free.
--- @param face string
--- @return { reads: table<string, boolean>, free: table<string, boolean> }
function M.kinds(face) return guarded[face] end

--- Waits for what only time or a change can bring. In a plan nothing is waited for: it says what would be, and goes on.
--- @async
--- @generic T
--- @param host string?    whose; nil: nobody's
--- @param words string    "until shop-web-v2 answers"
--- @param planned T       what a plan goes on with
--- @param fn fun(): T
--- @return T
function M.wait(host, words, planned, fn)
  if keeper and keeper:wait(host, words) then return planned end
  return fn()
end

--- Lets time pass. A plan says so and goes on, a spec has a clock of its own.
--- @async
--- @param ms number
--- @param words string  "5s before the next servers"
function M.sleep(ms, words)
  if keeper then keeper:sleep(ms, words) else task.sleep(ms) end
end

--- Where a module notes what its planned changes will have done, for its later reads; nil outside of plans.
--- @param host string
--- @return table?
function M.memory(host) return keeper and keeper:memory(host) end

--- Options of an `exec` without those that are the door's: `reads` (it changes nothing), `planned` (its standard output
--- in a plan that does not run it).
--- @param options table?
--- @return table?
function M.own_options(options)
  if not options or (options.reads == nil and options.planned == nil) then return options end
  local out = {}
  for key, value in pairs(options) do out[key] = value end
  out.reads, out.planned = nil, nil
  return out
end

return M

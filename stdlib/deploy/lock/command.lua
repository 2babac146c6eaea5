--- `deployrun RECIPE lock status|acquire|release|break`: the deploy locks of a recipe, for people. Every recipe has it,
--- unless it declares a command of that name.

local fail = require "native.fail"
local host_module = require "deploy.host"
local lock = require "deploy.lock"
local report = require "native.report"

local M = {}

M.NAME = "lock"
local ACTIONS = { "status", "acquire", "release", "break" }

--- What the recipe has declared; without an app or a lock of its own, the project's.
local function places()
  local declared = lock.declared()
  if #declared == 0 then declared[1] = lock.of_project(host_module.localhost) end
  return declared
end

local function where(place)
  return ("%s%s"):format(place.name, place.host.name ~= "local" and " on " .. place.host.name or "")
end

local function call(place, method, params)
  params.name = place.name
  return lock.keeper(place.host):call("lock." .. method, params)
end

local actions = {}

function actions.status(place)
  local status = lock.status(place)
  report.text(("%s: %s\n"):format(where(place), status.holder and "held by " .. lock.words(status.holder) or "free"))
  for _, waiting in ipairs(status.waiting) do
    report.text(("  waiting: %s%s\n"):format(waiting.owner, waiting.message ~= "" and ", " .. waiting.message or ""))
  end
end

function actions.acquire(place, run, info)
  local claim = lock.claim(info, run.message or "", { by_hand = true })
  local ok, err = pcall(call, place, "acquire", { claim = claim, patience_ms = 0 })
  if not ok then
    err = fail.normal(err)
    if err.kind == "lock.held" then err.message = err.message .. (" (id %s)"):format(err.holder_id) end
    error(err, 0)
  end
  report.text(("%s: held from now on, until `lock release` (id %s)\n"):format(where(place), claim.id))
end

function actions.release(place, run, info)
  local ended = lock.end_claim(place, "release", { id = run.params.id, by = lock.claim(info, "lock release", {}) })
  report.text(("%s: free; it was held by %s\n"):format(where(place), lock.words(ended)))
end

actions["break"] = function(place, run, info)
  local broken = lock.end_claim(place, "break", { id = run.params.id, by = lock.claim(info, "lock break", {}) })
  report.text(("%s: free; taken away from %s\n"):format(where(place), lock.words(broken)))
end

--- Tries every place; an id names a claim of one of them.
local function each(run, info)
  local act, missing, done = actions[run.action], nil, 0
  for _, place in ipairs(places()) do
    local ok, err = pcall(act, place, run, info)
    if ok then done = done + 1 end
    if not ok and fail.normal(err).kind ~= "lock.not_found" then error(err, 0) end
    if not ok then missing = missing or err end
  end
  if done == 0 then error(missing, 0) end
end

--- The command, as `deploy.command` would declare it.
--- @param info table  user, host, actor, version: as of a request
--- @return Command
function M.new(info)
  return {
    name = M.NAME, help = "The deploy lock: who has it; take it, give it back or take it away", reads = true,
    params = {
      action = { positional = true, default = "status", choices = ACTIONS, help = table.concat(ACTIONS, ", ") },
      id = { help = "which claim: to break one, or to release what was taken by hand" },
      message = { help = "with acquire: why" },
    },
    run = function(run)
      if run.action == "break" and not run.params.id then
        fail.usage("lock break: --id says which claim; `lock status` shows it")
      end
      each(run, info)
    end,
  }
end

return M

--- What a finished invocation means for whoever called it: the exit code (DESIGN §3).

local M = {}

M.DONE, M.FAILED, M.USAGE, M.LOCKED, M.UNREACHABLE, M.NEEDS_PERSON, M.PENDING = 0, 1, 2, 3, 4, 5, 6

local USAGE_ROOMS = { usage = true, recipe = true, config = true, yaml = true, secret = true }
local USAGE_KINDS = { ["proxy.unsupported"] = true, ["kamal.erb"] = true, ["kamal.secrets"] = true }
local SIGNALS = { [2] = 130, [15] = 143, [1] = 129 }

local function room(err) return err.kind:match("^[^.]+") end

--- The failure that the chain of causes began with, if it is one of reaching a host.
local function unreachable(err)
  while err do
    if room(err) == "ssh" or err.kind == "docker.connect" then return true end
    err = err.cause
  end
  return false
end

--- @param outcome { state: string, error: table?, changed: boolean? }
--- @return integer
function M.exit_code(outcome)
  local state, err = outcome.state, outcome.error
  if state == "done" then return err and M.FAILED or M.DONE end
  if state == "aborted" then return M.DONE end
  if state == "needs_person" then return M.NEEDS_PERSON end
  if state == "cancelled" then return SIGNALS[err and err.signal or 2] or 130 end
  if not err then return M.FAILED end
  if err.kind == "journal.busy" or err.kind == "lock.held" or err.kind == "kamal.locked" then return M.LOCKED end
  if err.kind == "journal.unfinished" then return M.NEEDS_PERSON end
  if not outcome.changed then
    if USAGE_ROOMS[room(err)] or USAGE_KINDS[err.kind] then return M.USAGE end
    if unreachable(err) then return M.UNREACHABLE end
  end
  return M.FAILED
end

return M

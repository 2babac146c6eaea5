--- A clock that is wrong: certificates, registry tokens and logs go by it.

local M = { needs = "session" }

local OFF = 5  -- seconds; the way there and back is taken into account

M.FINDINGS = {
  { id = "clock.skew", severity = "warning", title = "the clock is {seconds} s {direction} this machine's",
    cause = "time synchronisation does not run there (or here)",
    fix = "{typed}", },
}

--- @param patient Patient
--- @param say fun(id: string, facts: table)
function M.on_host(patient, say)
  local before = os.time()
  local there = tonumber((patient:output { "date", "+%s" }):match("%d+"))
  local after = os.time()
  if not there then return end
  local skew = 0
  if there < before then skew = there - before elseif there > after then skew = there - after end
  if math.abs(skew) < OFF then return end
  say("clock.skew", { seconds = math.abs(skew), direction = skew > 0 and "ahead of" or "behind",
    typed = patient:typed "sudo timedatectl set-ntp true && timedatectl status",
    evidence = { ("there %s, here %s (UTC)"):format(os.date("!%H:%M:%S", there), os.date("!%H:%M:%S", after)) } })
end

return M

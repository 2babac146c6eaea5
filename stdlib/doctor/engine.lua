--- The server's Docker or Podman: down, closed to this user, too old.

local fail = require "native.fail"
local task = require "native.task"

local M = { needs = "session" }

M.FINDINGS = {
  { id = "engine.down", severity = "error", title = "no Docker engine answers", cause = "{message}",
    fix = "{typed}" },
  { id = "engine.denied", severity = "error", title = "the Docker engine refuses the user {user}",
    cause = "{user} is not in the group that the engine's socket belongs to",
    fix = "on the server, as root: usermod -aG docker {user}    then log in anew" },
  { id = "engine.too_old", severity = "error", title = "the Docker engine is too old", cause = "{message}",
    fix = "upgrade Docker there: 20.10 or later" },
}

local LOOK = [[systemctl is-active docker 2>/dev/null
journalctl -u docker -n 3 --no-pager -o cat 2>/dev/null || tail -n 3 /var/log/docker.log 2>/dev/null
true]]

--- @param patient Patient
--- @param say fun(id: string, facts: table)
function M.on_host(patient, say)
  local ok, err = pcall(function() return patient.host.docker:ping() end)
  if ok then return end
  if task.cancellation() then error(err, 0) end
  err = fail.normal(err)
  local facts = { message = err.message, evidence = { err.kind .. ": " .. err.message },
    user = patient.host._spec and patient.host._spec.user or "?", typed = patient:typed "sudo systemctl start docker" }
  local seen = err
  while seen do
    if seen.kind == "docker.denied" then return say("engine.denied", facts) end
    if seen.kind == "docker.version" then return say("engine.too_old", facts) end
    seen = seen.cause
  end
  if err.hint then facts.cause = err.message .. ": " .. err.hint end
  for line in patient:output(LOOK):gmatch("[^\n]+") do facts.evidence[#facts.evidence + 1] = line end
  say("engine.down", facts)
end

return M

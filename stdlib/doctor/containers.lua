--- The app's containers: those that end again and again, were killed for memory, fail their check, listen elsewhere.

local fail = require "native.fail"
local task = require "native.task"
local text = require "native.text"

local M = {}

local HISTORY = 600  -- seconds of the engine's events that are asked for
local YOUNG = 60  -- seconds; who was started again within them is not up to stay

M.FINDINGS = {
  { id = "container.restarting", severity = "error", title = "{name} ends and is started again, {count} times so far",
    cause = "its program ends with exit code {code}: its last lines say why",
    fix = "{logs}    then ship a version that starts, or: deployrun {recipe} rollback" },
  { id = "container.oom", severity = "error", title = "{name} was killed for using too much memory",
    cause = "it needs more than its limit of {limit}",
    fix = "raise its memory limit, or make it use less; how much it takes: {stats}" },
  { id = "container.unhealthy", severity = "error", title = "{name} fails its image's own health check",
    cause = "the check ended with exit code {code}", fix = "{logs}" },
  { id = "container.exited", severity = "error", title = "{name}, which is to serve, has ended with exit code {code}",
    cause = "its last lines say why", fix = "{start}    or ship a version that stays up" },
  { id = "container.port", severity = "error", title = "{name} does not listen on port {port}", cause = "{why}",
    fix = "{mend}" },
  { id = "app.unready", severity = "error", title = "{name} is not ready: {url}", cause = "{why}",
    fix = "{logs}" },
}

local function explain_code(code)
  local meaning = { [126] = "the program cannot be executed", [127] = "the program is not in the image",
    [137] = "killed (128 + 9)", [139] = "crashed (128 + 11)", [143] = "ended by SIGTERM" }
  return meaning[code] and ("%d: %s"):format(code, meaning[code]) or tostring(code)
end

local function limit_of(container)
  local bytes = ((container.raw or {}).HostConfig or {}).Memory or 0
  return bytes > 0 and ("%.0f MB"):format(bytes / 1048576) or "the server's memory"
end

--- The exit code with which a container ended last: one that runs again does not know it, the engine's events do.
local function last_code(patient, container)
  if not container.running then return container.exit_code end
  local now = text.parse_time(patient:info().SystemTime)
  if not now then return container.exit_code end
  local code
  now = math.floor(now)
  for event in patient.host.docker:events { since = tostring(now - HISTORY), ["until"] = tostring(now + 1),
    filters = { container = { container.id }, event = { "die" } } } do
    code = tonumber(event.attributes.exitCode) or code
  end
  return code or container.exit_code
end

local function facts_of(patient, container, more)
  local facts = { name = container.name, code = explain_code(container.exit_code), count = container.restart_count,
    limit = limit_of(container), recipe = patient.doctor.recipe, evidence = patient:last_words(container),
    logs = patient:typed("docker logs --tail 100 " .. container.name),
    stats = patient:typed("docker stats --no-stream " .. container.name),
    start = patient:typed("docker start " .. container.name) }
  for key, value in pairs(more or {}) do facts[key] = value end
  return facts
end

--- The last answer of an image's own check.
local function last_check(container)
  local checks = (((container.raw or {}).State or {}).Health or {}).Log or {}
  local last = checks[#checks] or {}
  return last.ExitCode, last.Output
end

--- Says what a container's own state shows; true where that is enough.
--- @param patient Patient
--- @param container DockerContainer
--- @param say fun(id: string, facts: table)
--- @return boolean
function M.state(patient, container, say)
  if container.oom_killed then
    say("container.oom", facts_of(patient, container))
    return true
  end
  if container.state == "restarting" or container.restart_count > 0 and M.is_young(patient, container) then
    say("container.restarting", facts_of(patient, container,
      { code = explain_code(last_code(patient, container)) }))
    return true
  end
  if container.health == "unhealthy" then
    local code, output = last_check(container)
    local evidence = patient:last_words(container)
    if output and output ~= "" then table.insert(evidence, 1, "the check says: " .. output) end
    say("container.unhealthy", facts_of(patient, container, { code = code or "?", evidence = evidence }))
    return true
  end
  return false
end

--- Whether its newest start is a short while ago, by the engine's clock.
--- @param patient Patient
--- @param container DockerContainer
--- @return boolean
function M.is_young(patient, container)
  local now, started = text.parse_time(patient:info().SystemTime), text.parse_time(container.started_at)
  return now ~= nil and started ~= nil and now - started < YOUNG
end

--- The port that is asked and those that are open.
local function check_port(patient, one, port, say)
  local open = patient:listening(one.container)
  if not open then return false end
  local loopback = false
  for _, place in ipairs(open) do
    if place.port == port and not place.loopback then return false end
    if place.port == port then loopback = true end
  end
  local evidence = patient:last_words(one.container)
  table.insert(evidence, 1, patient:listens(one.container))
  local why = "it listens on another port"
  local mend = ("set the app's port to %d, or `proxy.app_port` and `health.port`"):format(port)
  if loopback then
    why, mend = "it listens on 127.0.0.1 alone, where nobody outside of it comes in", "bind it to 0.0.0.0"
  elseif #open == 0 then
    why, mend = "it listens on nothing (yet)", patient:typed("docker logs --tail 100 " .. one.container.name)
  end
  say("container.port", facts_of(patient, one.container, { port = port, why = why, mend = mend, evidence = evidence }))
  return true
end

local function check_ready(patient, one, say)
  local health, container = one.role.health, one.container
  local attached = container.networks[patient.app.config.network]
  if not attached or attached.ip == "" then return end
  local url = ("http://%s:%d%s"):format(attached.ip, health.port, health.path)
  local ok, reply = pcall(patient.host.probe, patient.host, url, health.expect,
    { timeout = health.timeout, headers = { Connection = "close", Host = health.host },
      inside = patient.host.docker.rootless == true and container.pid or nil })
  if ok and reply.ok then return end
  if task.cancellation() then error(reply, 0) end
  local why = ok and (reply.reason or ("status %d"):format(reply.status)) or fail.normal(reply).message
  local evidence = patient:last_words(container)
  if ok and reply.body and reply.body ~= "" then table.insert(evidence, 1, "it answers: " .. reply.body:sub(1, 200)) end
  say("app.unready", facts_of(patient, container, { url = url, why = why, evidence = evidence }))
end

--- @param patient Patient
--- @param say fun(id: string, facts: table)
function M.on_host(patient, say)
  local told = {}
  for _, one in ipairs(patient:serving()) do
    local container = one.container
    if container then told[container.id] = true end  -- jobs.lua tells of roles without proxy
    if container and one.role.proxied then
      if not M.state(patient, container, say) then
        if not container.running then
          say("container.exited", facts_of(patient, container))
        elseif one.role.health and not check_port(patient, one, one.role.health.port, say) then
          check_ready(patient, one, say)
        end
      end
    end
  end
  -- Whatever else of this service ends again and again takes processor and memory from what serves.
  for _, facts in pairs(patient:look().containers) do
    if facts.state == "restarting" and not told[facts.id] then
      local container = patient:inspect(facts.id)
      if container then M.state(patient, container, say) end
    end
  end
end

M._facts_of = facts_of

return M

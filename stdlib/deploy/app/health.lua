--- Whether a fresh container is ready for traffic: asked from its server's own network, every 100 ms at first, while
--- somebody watches whether it ends. A failure tells the whole story: probes, exit code, last log lines.

local LABEL_VERSION = require("deploy.app.container").LABEL_VERSION
local door = require "native.door"
local fail = require "native.fail"
local report = require "native.report"
local task = require "native.task"
local text = require "native.text"

local M = {}

local LOG_LINES, LOG_FIRST, LOG_LAST = 200, 5, 14  -- asked for; shown of them
local ENDED_HINT = "the log's last lines say why it ended"
local UNREADY_HINT = "does it listen there? health.path, health.port and health.deadline say where, and for how long"
local STORY_DEADLINE = 10000  -- ms for asking what went wrong

-- ms for an image's own check: an engine without a timer (Podman without systemd) never makes it.
M._OWN_CHECK_WITHIN = 600000

--- How a log begins and how it ends: what an app says of its start must not drown in what it says of each probe.
local function excerpt(log)
  local lines = {}
  for line in log:gmatch("[^\n]+") do lines[#lines + 1] = line end
  local left_out = #lines - LOG_FIRST - LOG_LAST
  if left_out <= 0 then return log end
  local shown = { table.concat(lines, "\n", 1, LOG_FIRST), ("… %d lines left out"):format(left_out),
    table.concat(lines, "\n", #lines - LOG_LAST + 1) }
  return table.concat(shown, "\n") .. "\n"
end

local function log_excerpt(host, id)
  local ok, logs = pcall(function() return host.docker:logs(id, { tail = LOG_LINES }) end)
  return ok and excerpt(text.clean(logs.text or "")) or nil
end

--- A probe's history as a list, a line per change of what it saw.
local function lines_of(history)
  if type(history) ~= "string" then return history end
  local out = {}
  for line in history:gmatch("[^\n]+") do out[#out + 1] = line end
  return out
end

--- A server that cannot be reached has nothing to tell; asking it would only take time.
local function out_of_reach(err)
  while err do
    if err.kind:match("^ssh%.") or err.kind == "docker.lost" or err.kind == "docker.connect" then return true end
    err = err.cause
  end
  return false
end

--- Why it is not ready, with what the container says of itself.
local function story(host, container, cause)
  cause = fail.normal(cause)
  if cause.kind == "cancelled" or cause.kind == "timeout" or out_of_reach(cause) then error(cause, 0) end
  local found, logs
  task.shielded(STORY_DEADLINE, "asking why " .. container.name .. " is not ready", function()
    pcall(function() found = host.docker:inspect(container.id) end)
    logs = log_excerpt(host, container.id)
  end)
  local ended = cause.kind == "app.exited" or (found and not found.running)
  local code = cause.code or (ended and found and found.exit_code) or nil
  local message = ("%s did not become ready"):format(container.name)
  if ended then message = ("%s ended with exit code %s"):format(container.name, tostring(code or "?")) end
  fail.raise(ended and "app.exited" or "app.unready", message, {
    host = host.name, container = container.name, code = code, logs = logs, history = lines_of(cause.history),
    oom_killed = found and found.oom_killed or nil, cause = cause, hint = ended and ENDED_HINT or UNREADY_HINT,
  })
end

--- Runs `fn` until it returns, or until the container ends, which raises `app.exited`.
local function while_alive(host, container, fn)
  local watcher
  local worker = task.spawn(fn, { name = "readiness of " .. container.name, observed = true })
  local exit
  watcher = task.spawn(function()
    exit = host.docker:wait(container.id, "next-exit")
    worker:cancel("the container ended")
  end, { name = "watch over " .. container.name, observed = true })
  local ok, value = pcall(task.join, worker)
  if not ok and fail.normal(value).kind == "app.exited" and not value.code and task.cancellation() == nil then
    -- It ended before we watched, and was started again since: its next end says how.
    pcall(task.within, STORY_DEADLINE, "the end of " .. container.name, function() task.join(watcher) end)
  end
  watcher:cancel("not needed any more")
  pcall(task.join, watcher)
  if ok then return value end
  if exit ~= nil and task.cancellation() == nil then
    fail.raise("app.exited", ("%s ended with exit code %d"):format(container.name, exit), { code = exit })
  end
  error(value, 0)
end

--- Raises `app.exited` for a container that is down, and for a fresh one that was down since its start: the engine
--- starts it again and again.
local function check_up(container, found, fresh)
  local up = found.running and found.state ~= "restarting"
  if up and not (fresh and found.restart_count > 0) then return end
  fail.raise("app.exited", ("%s ended"):format(container.name), { code = not up and found.exit_code or nil })
end

local function address_of(host, container, network, fresh)
  if container.ip then return container.ip end
  local found = host.docker:inspect(container.id)
  check_up(container, found, fresh)
  local attached = found.networks[network]
  if not attached or attached.ip == "" then
    fail.raise("app.unready", ("%s has no address in network %s"):format(container.name, network), { host = host.name })
  end
  return attached.ip, found.labels[LABEL_VERSION], host.docker.rootless == true and found.pid or nil
end

--- Where an app tells its version, an answer counts only as the shipped one's: an old instance that answers at the
--- address, or an image that holds something else than its tag says, is not the new version.
local function expected(health, version)
  if not health.version_header or not version then return health.expect end
  return { status = health.expect, headers = { [health.version_header] = version } }
end

--- Probes of the container, for people: `http://172.18.0.3:80/up`.
local function url_of(ip, health)
  if ip:find(":", 1, true) then ip = "[" .. ip .. "]" end
  return ("http://%s:%d%s"):format(ip, health.port, health.path)
end

--- Lets a new version stand for a while: one that answers and ends right after must not get traffic. It is watched
--- meanwhile, and looked at once more at the end: on a busy server the news of an end comes late. One that answered
--- only after that while has shown as much by its answer.
local function stand(host, container, ms)
  if ms <= 0 then return end
  task.sleep(ms)
  check_up(container, host.docker:inspect(container.id), true)
end

local function answers(host, container, network, health, state)
  local ip, version, inside = address_of(host, container, network, state ~= "running")
  local began = task.now()
  report.waiting(host, url_of(ip, health) .. " to answer", text.parse_duration(health.deadline))
  local reply = host:wait_healthy(url_of(ip, health), {
    interval = health.interval, timeout = health.timeout, within = health.deadline, expect = expected(health, version),
    -- No connection of ours stays behind: an app that waits for its clients before it ends would wait for us.
    headers = { Connection = "close", Host = health.host }, inside = inside,
  })
  if state == "new" then stand(host, container, text.parse_duration(health.settle) - (task.now() - began)) end
  return { ms = math.floor(task.now() - began + 0.5), attempts = reply.attempts, status = reply.status }
end

local function runs(host, container, settle, state)
  local found = host.docker:inspect(container.id)
  check_up(container, found, state ~= "running")
  if found.health == "" or found.health == "healthy" then
    local ms = state == "new" and text.parse_duration(settle) or 0
    if state == "new" then stand(host, container, ms) end
    return { ms = ms }
  end
  local began = task.now()
  local within = M._OWN_CHECK_WITHIN
  report.waiting(host, container.name .. " to pass its image's own check", within)
  while found.health ~= "healthy" do
    task.sleep(250)
    found = host.docker:inspect(container.id)
    local why
    if task.now() - began > within then why = "says nothing for " .. text.format_duration(within) end
    if found.health == "unhealthy" then why = "fails" end
    if why then
      local message = ("%s: the image's own health check %s"):format(container.name, why)
      fail.raise("app.unready", message, { host = host.name })
    end
  end
  return { ms = math.floor(task.now() - began + 0.5) }
end

--- The next exit code of a container that the engine starts again and again; nil when none comes soon.
local function next_exit_code(host, container)
  local ok, code = pcall(task.within, STORY_DEADLINE, "the end of " .. container.name, function()
    return host.docker:wait(container.id, "next-exit")
  end)
  return ok and code or nil
end

--- Raises why a container that had answered is refused after all: with its exit code where it ended in the meantime,
--- and its last log lines.
--- @async
--- @param host Host
--- @param container { id: string, name: string }
--- @param refusal any  what the proxy raised
function M.explain(host, container, refusal)
  refusal = fail.normal(refusal)
  if refusal.kind == "cancelled" or refusal.kind == "timeout" or task.cancellation() or out_of_reach(refusal) then
    error(refusal, 0)
  end
  local up, why = pcall(function() check_up(container, host.docker:inspect(container.id), true) end)
  why = not up and fail.normal(why) or nil
  if why and why.kind == "app.exited" then
    local code = why.code or next_exit_code(host, container)
    story(host, container, fail.make("app.exited", why.message, { code = code, cause = refusal }))
  end
  story(host, container, fail.make(refusal.kind, refusal.message, { stderr = refusal.stderr }))
end

local function what_is_awaited(container, role)
  local check = role.health
  if not check then return ("until %s has stood for %s"):format(container.name, role.settle) end
  return ("until %s answers :%d%s with %s, %s at most"):format(container.name, check.port, check.path,
    tostring(check.expect), check.deadline)
end

--- Waits until a container is ready: it answers as `role.health` says and stands for `settle`; a role without health
--- check has to stay up (or pass its image's own check).
--- Raises `app.unready` or `app.exited`, with `history`, `code` and `logs`.
--- @async
--- @param host Host
--- @param container { id: string, name: string, ip?: string }  ip: its address there, where it is known
--- @param role RoleConfig
--- @param network string
--- @param state "new"|"woken"|"running"  what was done to it; a new one has to stand for a while
--- @return { ms: integer, attempts: integer? }
function M.wait_ready(host, container, role, network, state)
  local ok, value = pcall(door.wait, host.name, what_is_awaited(container, role), { ms = 0 }, function()
    return while_alive(host, container, function()
      if role.health then return answers(host, container, network, role.health, state) end
      return runs(host, container, role.settle, state)
    end)
  end)
  if ok then return value end
  if task.cancellation() then error(value, 0) end
  return story(host, container, value)
end

return M

--- Kamal's deploy lock: a folder on the primary host, made in one moment, with who holds it and why. The same one that
--- Kamal takes, so that the two keep out of each other's way.

local door = require "native.door"
local fail = require "native.fail"
local naming = require "kamal.naming"
local process = require "native.process"
local report = require "native.report"
local task = require "native.task"
local text = require "native.text"

local M = {}

M.AUTOMATIC = "Automatic deploy lock"

-- Our folder has the sticky bit, which nobody reads: by that it is ours before its details are written.
local ACQUIRE = [[mkdir -p .kamal && mkdir -m 1755 "$1" 2>/dev/null || { [ -d "$1" ] && exit 17; exit 1; }
printf '%s\n' "$2" > "$1/details"]]
local UNWRITTEN = 10  -- times that a lock without details is looked at again
local READ = [[[ -d "$1" ] || exit 18; cat "$1/details" 2>/dev/null || true]]
local RELEASE = [[[ -d "$1" ] || exit 18; rm -f "$1/details" && rm -r "$1"]]
local RELEASE_OWN = [[[ -d "$1" ] || exit 0
[ "$(cat "$1/details" 2>/dev/null)" = "$2" ] || { [ -k "$1" ] && [ ! -s "$1/details" ]; } || exit 0
rm -f "$1/details" && rm -r "$1"]]

local function wrapped(base64)
  local lines = {}
  for at = 1, #base64, 60 do lines[#lines + 1] = base64:sub(at, at + 59) end
  return table.concat(lines, "\n")
end

--- The details of a new lock, as Kamal writes them.
--- @async
--- @param version string
--- @param message string
--- @return string
function M.details(version, message)
  local ok, result = pcall(process.run, { "git", "config", "user.name" }, { check = false, reads = true })
  local name = ok and result.stdout:gsub("%s+$", "") or "Unknown"
  return wrapped(text.base64_encode(("Locked by: %s at %s\nVersion: %s\nMessage: %s"):format(name,
    os.date("!%Y-%m-%dT%H:%M:%SZ"), version, message)))
end

local function run(project, script, ...)
  local path = naming.lock(project.config)
  return project.primary_host:exec({ "sh", "-c", script, "sh", path, ... }, { check = false, planned = "" })
end

local function failed(project, what, result)
  fail.raise("kamal.lock", ("%s the deploy lock: %s"):format(what, text.clean(result.stderr):gsub("%s+$", "")),
    { host = project.primary_host.name })
end

--- Who holds it; nil: nobody.
--- @async
--- @param project KamalProject
--- @return string?
function M.status(project)
  local result = project.primary_host:exec({ "sh", "-c", READ, "sh", naming.lock(project.config) },
    { check = false, reads = true })
  if result.code == 18 then return nil end
  if result.code ~= 0 then failed(project, "reading", result) end
  return text.base64_decode((result.stdout:gsub("%s", ""))) or ""
end

local function held(project, status)
  fail.raise("kamal.locked", "Deploy lock found: " .. (status:gsub("\n", ", ")), { host = project.primary_host.name,
    holder = status, hint = "wait for it, or `lock release` when nobody deploys any more" })
end

--- Takes it once: true, or who holds it.
function M._try(project, details)
  local result = run(project, ACQUIRE, details)
  if result.code == 0 then return true end
  if result.code ~= 17 then failed(project, "taking", result) end
  local status = M.status(project)
  for _ = 1, UNWRITTEN do  -- whoever has just made it has yet to say who it is
    if status ~= "" then break end
    task.sleep(100)
    status = M.status(project)
  end
  if status == nil then return M._try(project, details) end
  if text.base64_decode((details:gsub("%s", ""))) == status then return true end  -- ours, of a run that goes on
  return status
end

--- Takes the lock, waiting for somebody else's deploy where `--lock-wait` says so.
--- Raises `kamal.locked`.
--- @async
--- @param project KamalProject
--- @param details string
function M.acquire(project, details)
  local options = project.options
  local left = options.lock_wait and options.lock_wait_timeout or 0
  while true do
    local got = M._try(project, details)
    if got == true then return end
    if not options.lock_wait or left <= 0 then held(project, got) end
    if not got:find(M.AUTOMATIC, 1, true) then held(project, got) end
    report.emit { type = "log", level = "info", host = project.primary_host.name,
      message = ("the deploy lock is held (%s); asked again every %d s"):format((got:gsub("\n", ", ")),
        options.lock_wait_interval) }
    local pause = math.min(options.lock_wait_interval, left)
    door.sleep(pause * 1000, ("%d s for the deploy lock"):format(pause))
    left = left - pause
  end
end

--- Lets go of it, whoever holds it. Raises `kamal.lock` where nobody does.
--- @async
--- @param project KamalProject
function M.release(project)
  local result = run(project, RELEASE)
  if result.code == 18 then
    fail.raise("kamal.lock", "there is no deploy lock", { host = project.primary_host.name })
  end
  if result.code ~= 0 then failed(project, "releasing", result) end
end

--- Lets go of it where these details are its.
--- @async
--- @param project KamalProject
--- @param details string
function M.release_own(project, details)
  local result = run(project, RELEASE_OWN, details)
  if result.code ~= 0 then failed(project, "releasing", result) end
end

--- Whether a program that started this one holds it (hooks that run commands).
--- @param project KamalProject
--- @return boolean
function M.is_inherited(project) return project.environment:get("KAMAL_LOCK") == "true" end

return M

--- SQLite databases of the app: locked for long and by whom, damaged, behind their migrations.

local fail = require "native.fail"
local place_module = require "deploy.migrate.place"
local task = require "native.task"

local M = {}

local PATIENCE = "3s"        -- a writer is done by then; what holds on longer keeps the app's writers out
local CHECKED_BELOW = 5e8    -- bytes; the integrity check reads all of it

M.FINDINGS = {
  { id = "database.locked", severity = "error", title = "the database {path} is locked by {holder}",
    cause = "{command} has held its write lock for more than {patience}: every writer of the app waits and fails with "
      .. "`database is locked`",
    fix = "{mend}" },
  { id = "database.damaged", severity = "error", title = "the database {path} is damaged", cause = "{message}",
    fix = "deployrun recipes/backup.lua restore    (stops the app, restores, boots; docs/backup.md)" },
  { id = "database.missing", severity = "error", title = "there is no database at {path}", cause = "{message}",
    fix = "deployrun {recipe} deploy    (migrates), or restore a backup; is that where the app keeps it?" },
  { id = "database.pending", severity = "error", title = "{path}: migrations are pending",
    cause = "the version that serves ({version}) knows migrations that this database has not had",
    fix = "deployrun {recipe} deploy --version {version}    (migrates before it starts; docs/sqlite.md)" },
}

--- Raises `usage` for a database that none of the app's volumes holds: it would never be looked at.
--- @param app App
--- @param declared { path: string, role?: string }[]
function M.check(app, declared)
  for _, one in ipairs(declared) do
    local found = false
    for _, role in ipairs(app.config.roles) do
      local wanted = not one.role or one.role == role.name
      found = found or wanted and place_module.volume_of(role.volumes, one.path) ~= nil
    end
    if not found then
      fail.usage(("deploy.doctor: databases: %s is in no volume of %s"):format(one.path,
        one.role and "the role " .. one.role or "the app"),
        { hint = "the path as the app's containers see it, in one of the inventory's `volumes`", token = one.path })
    end
  end
end

--- Reads which processes hold a database and tells it.
local function say_locked(patient, place, err, say)
  local pid, command, container = err.holder_pid, err.holder_command, err.holder_container
  local holders = {}
  local ok, list = pcall(function() return place:with(function(db) return db:holders() end) end)
  for _, one in ipairs(ok and list or {}) do
    holders[#holders + 1] = ("pid %d: %s%s%s"):format(one.pid, one.command,
      one.container ~= "" and ", container " .. one.container:sub(1, 12) or "", one.writes and ", writes" or "")
  end
  local name = container and container ~= "" and patient:inspect(container)
  local holder = name and "the container " .. name.name or pid and ("process %d"):format(pid) or "somebody"
  if #holders == 0 then holders[1] = err.message end
  say("database.locked", { path = place.path, holder = holder, command = command or "a process", patience = PATIENCE,
    evidence = holders, mend = name and patient:typed("docker restart " .. name.name)
      or pid and patient:typed("sudo kill " .. pid) or patient:typed("sudo fuser -v " .. place.path) })
end

local function check(patient, place, say)
  local ok, err = pcall(function()
    place:with(function(db)
      db:wait_free { patience = PATIENCE }
      if db:space().bytes > CHECKED_BELOW then return end
      local found = db:check()
      if not found.ok then
        say("database.damaged", { path = place.path, message = found.problems[1], evidence = found.problems })
      end
    end)
  end)
  if ok then return end
  if task.cancellation() then error(err, 0) end
  err = fail.normal(err)
  if err.kind == "sqlite.busy" then return say_locked(patient, place, err, say) end
  if err.kind == "sqlite.corrupt" then
    return say("database.damaged", { path = place.path, message = err.message, evidence = { err.message } })
  end
  if err.kind == "sqlite.open" then
    return say("database.missing", { path = place.path, message = err.message, recipe = patient.doctor.recipe,
      evidence = { err.message } })
  end
  error(err, 0)
end

local function check_pending(patient, one, declared, say)
  if not declared.pending or not one.container.running then return end
  local result = patient.host.docker:exec(one.container.id, declared.pending, { reads = true })
  if result.code == 0 then return end
  say("database.pending", { path = declared.path, version = one.facts.version or "?", recipe = patient.doctor.recipe,
    evidence = { ("%s: exit code %d"):format(table.concat(declared.pending, " "), result.code),
      result.stdout .. result.stderr } })
end

--- @param patient Patient
--- @param say fun(id: string, facts: table)
function M.on_host(patient, say)
  for _, declared in ipairs(patient.options.databases or {}) do
    for _, one in ipairs(patient:serving()) do
      local wanted = not declared.role or declared.role == one.role.name
      local volume = wanted and one.container and place_module.volume_of(one.role.volumes, declared.path)
      if volume then
        local place = place_module.new(patient.host, one.role, declared.path, one.facts.image)
        patient.closing = patient.closing or {}
        table.insert(patient.closing, function() place:close() end)
        check(patient, place, say)
        check_pending(patient, one, declared, say)
      end
    end
  end
end

return M

--- What a restore brings back: a backup (deploy.backup), or a snapshot that a migration, a rollback or a restore left
--- beside the database. Which one is meant, where it comes from, how its content gets into the database.

local fail = require "native.fail"
local shown = require("deploy.backup").shown

local M = {}

local LEFT = { "rollback", "restore", "restore-back" }  -- snapshots that no migration left

--- @class RestoreSource
--- @field kind "backup"|"snapshot"
--- @field id? string   of a backup, or a file of this machine; nil: the newest
--- @field tag? string  of a snapshot

local function indented(lines) return "  " .. lines:gsub("\n", "\n  ") end

local function there(database, tag)
  return database:look_into(tag, function() return true end) == true
end

--- The snapshots that are there: those of migrations, newest first, then the others.
--- @async
--- @param database table
--- @param exists boolean  there is a database
--- @return { tag: string, said: string }[]
local function snapshots(database, exists)
  local out = {}
  for _, one in ipairs(exists and database:migrations() or {}) do
    if there(database, one.tag) then
      out[#out + 1] = { tag = one.tag, said = ("from before the migration at %s"):format(one.done_at) }
    end
  end
  for _, tag in ipairs(LEFT) do
    if there(database, tag) then
      out[#out + 1] = { tag = tag, said = ("what the last %s replaced"):format((tag:gsub("%-back$", ""))) }
    end
  end
  return out
end

local function is_backup(which) return which:match("%.zst$") or which:match("^%d%d%d%d%d%d%d%dT") end

--- A snapshot by its name, or by the version whose migration left it.
local function snapshot_called(database, exists, which)
  local found = snapshots(database, exists)
  for _, one in ipairs(found) do
    if one.tag == which then return one.tag end
  end
  for _, one in ipairs(found) do
    if one.tag:gsub("%-%x+$", "") == which then return one.tag end
  end
  -- Without a database nobody knows which migrations there were; a name as it is may be there all the same.
  if there(database, which) then return which end
  local names = {}
  for index, one in ipairs(found) do names[index] = one.tag end
  fail.raise("migrate.no_snapshot", ("no snapshot %s is there: %s"):format(which, database:snapshot_path(which)),
    { hint = #names > 0 and "there are " .. table.concat(names, ", ") or "there is none; `restore --list`" })
end

--- Finds what is meant: without a word the newest backup; where no backups are told of, the newest snapshot. Raises
--- `migrate.no_snapshot`, `usage`.
--- @async
--- @param database table
--- @param exists boolean
--- @param backup? Backup
--- @param which? string
--- @return RestoreSource
function M.find(database, exists, backup, which)
  if which and is_backup(which) or not which and backup then
    if not backup then
      fail.usage(("%s is a backup, and deploy.restore was told of none"):format(which), { token = which,
        hint = "backup = deploy.backup { … }" })
    end
    return { kind = "backup", id = which }
  end
  local tag = which and snapshot_called(database, exists, which)
  if not tag then
    local newest = snapshots(database, exists)[1]
    if not newest then
      fail.raise("migrate.no_snapshot", ("no snapshot is there: %s"):format(database:snapshot_path("…")),
        { hint = "with `backup = deploy.backup { … }` a restore has backups too" })
    end
    tag = newest.tag
  end
  return { kind = "snapshot", tag = tag }
end

--- What there is, for people.
--- @async
--- @param database? table  nil: nobody can look
--- @param exists boolean
--- @param backup? Backup
--- @return string
function M.list(database, exists, backup)
  local lines = {}
  if backup then
    local ok, found = pcall(backup.list, backup)
    local err = not ok and fail.normal(found)
    if err and err.kind ~= "backup.plan" then error(found, 0) end
    lines[1] = "backups, newest first\n" .. indented(ok and shown(found) or err.message)
  end
  local known = {}
  for _, one in ipairs(database and snapshots(database, exists) or {}) do
    known[#known + 1] = ("%s  %s"):format(one.tag, one.said)
  end
  lines[#lines + 1] = "snapshots beside the database, newest first\n"
    .. indented(#known > 0 and table.concat(known, "\n") or "none")
  return table.concat(lines, "\n")
end

--- Brings the content into the database, in one transaction.
--- @async
--- @param source RestoreSource
--- @param given { database: table, exists: boolean, backup?: Backup, file?: string }  file: of a fetched backup
function M.load(source, given)
  if source.kind == "backup" then
    given.database:close()  -- its agent: the backup's program comes to the database itself
    given.backup:load(given.file)
  else
    if not given.exists then given.database.place:make() end
    given.database:restore(source.tag)
  end
end

return M

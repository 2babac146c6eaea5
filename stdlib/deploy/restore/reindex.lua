--- Accessories, or a Compose project's services that stay, that hold what was made from the database (a search's index)
--- are filled again after a restore: by the command that the settings name, in a one-off container of the app's image
--- with the app's environment and volumes.

local command = require "deploy.migrate.command"
local fail = require "native.fail"
local report = require "native.report"
local task = require "native.task"
local text = require "native.text"

local M = {}

--- Those that have such a command, on whichever server: it knows how to reach its own.
--- @param app App
--- @return { name: string, reindex: string[], reindex_timeout: string }[]
function M.accessories(app)
  if app.config.filled then return app.config.filled end
  local out = {}
  for _, one in ipairs(app.config.accessories or {}) do
    if one.reindex then out[#out + 1] = one end
  end
  return out
end

local function failed(host, one, why, fields)
  fields.host = host.name
  fields.hint = ("its last lines say why; `%s.%s.reindex` is what is run"):format(
    one.service and "services" or "accessories", one.name)
  fail.raise("restore.reindex", ("%s was not filled again: %s: %s"):format(one.name, text.shell_join(one.reindex), why),
    fields)
end

local function logs_of(place)
  return place.lines and #place.lines > 0 and table.concat(place.lines, "\n") .. "\n" or nil
end

local function fill(host, one, place)
  local limit = text.parse_duration(one.reindex_timeout)
  report.waiting(host, one.name .. " to be filled again", limit)
  local ok, code = pcall(command.code, "image", place, one.reindex, limit)
  if ok and code == 0 then return command.finish("image", place, one.reindex) end
  if ok then return failed(host, one, ("exit code %d"):format(code), { code = code, logs = logs_of(place) }) end
  local err = fail.normal(code)
  if task.cancellation() or err.kind ~= "migrate.timeout" then error(code, 0) end
  failed(host, one, ("not done within %s"):format(one.reindex_timeout), { logs = err.logs, cause = err })
end

--- Fills them, one after the other. Raises `restore.reindex`.
--- @async
--- @param app App
--- @param host Host
--- @param place_of fun(what: string): MigrationPlace
--- @return { note: string }
function M.run(app, host, place_of)
  local names, began = {}, task.now()
  for _, one in ipairs(M.accessories(app)) do
    fill(host, one, place_of("reindex-" .. one.name))
    names[#names + 1] = one.name
  end
  return { note = ("%s in %s"):format(table.concat(names, ", "), text.format_duration(task.now() - began)) }
end

--- Ends what is left of it.
--- @async
--- @param app App
--- @param place_of fun(what: string): MigrationPlace
function M.finish(app, place_of)
  for _, one in ipairs(M.accessories(app)) do
    command.finish("image", place_of("reindex-" .. one.name), one.reindex)
  end
end

return M

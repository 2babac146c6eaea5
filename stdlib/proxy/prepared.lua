--- A command inside a proxy's container takes three answers; the first can be had before its moment has come
--- (docker:prepare_exec).

local door = require "native.door"
local fail = require "native.fail"
local task = require "native.task"
local text = require "native.text"

local M = {}

--- @class PreparedCommand
--- @field exec string
--- @field words string

--- Tells the engine of a command; nil where it does not take it now, which whoever runs the command will be told.
--- @async
--- @param docker Docker
--- @param container string
--- @param argv string[]
--- @return PreparedCommand?
function M.command(docker, container, argv)
  if door.is_kept() then return nil end
  local ok, exec = pcall(docker.prepare_exec, docker, container, argv)
  if task.cancellation() then error(task.cancellation(), 0) end
  return ok and { exec = exec, words = text.shell_join(argv) } or nil
end

--- Runs a command: the prepared one, if that is it and the engine still knows it.
--- @async
--- @param docker Docker
--- @param container string
--- @param argv string[]
--- @param prepared PreparedCommand?
--- @param options? { code?: boolean }
--- @return table result  of docker:exec
function M.run(docker, container, argv, prepared, options)
  if prepared and prepared.words == text.shell_join(argv) then
    local ok, result = pcall(docker.exec, docker, container, argv,
      { code = options and options.code, prepared = prepared.exec })
    if ok then return result end
    local kind = fail.normal(result).kind
    if kind ~= "docker.not_found" and kind ~= "docker.conflict" then error(result, 0) end
  end
  return docker:exec(container, argv, options)
end

return M

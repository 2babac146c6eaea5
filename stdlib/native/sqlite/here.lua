--- Databases of this machine, for native/sqlite.lua: the native calls, each awaited.

local await = require("native.task").await
local fail = require "native.fail"
local files = require "native.files"
local process = require "native.process"
local raw = require "native.sqlite.raw"

local M = {}

local Connection = {}
Connection.__index = Connection

for _, name in ipairs { "query", "run", "execute", "begin", "commit", "rollback", "was_done", "mark_done" } do
  Connection[name] = function(self, ...) return await(self._raw[name](self._raw, ...)) end
end

function Connection:close() self._raw:close() end

--- @async
--- @param path string
--- @param options table    as `deploy.sqlite.open`
--- @param patience number  ms
--- @return table connection
function M.open(path, options, patience)
  options.patience = patience
  return setmetatable({ _raw = await(raw.open(path, options)) }, Connection)
end

--- Returns when nobody writes to a database; raises `sqlite.busy`.
--- @async
--- @param path string
--- @param patience number  ms
function M.wait_free(path, patience)
  local connection = M.open(path, {}, patience)
  local ok, err = pcall(connection.begin, connection, false, patience)
  pcall(connection.rollback, connection)
  connection:close()
  if not ok then error(err, 0) end
end

for _, name in ipairs { "snapshot", "restore", "check", "holders", "space" } do
  M[name] = function(...) return await(raw[name](...)) end
end

--- Removes a database that nobody has open, with what lies beside it; false: nothing was there.
--- @async
--- @param path string
--- @return boolean removed
function M.remove(path)
  local removed = false
  for _, part in ipairs { "-journal", "-wal", "-shm", "" } do removed = files.remove(path .. part) end
  return removed
end

--- Gives a database that nobody has open another name in its folder, with what lies beside it; false: nothing was left.
--- @async
--- @param from string
--- @param to string
--- @return boolean moved
function M.move(from, to)
  local moved = false
  for _, part in ipairs { "-journal", "-wal", "-shm", "" } do
    if files.exists(from .. part) then
      if files.exists(to .. part) then
        fail.raise("sqlite.exists", ("move %s: %s is there"):format(from, to .. part))
      end
      process.run { "mv", "--no-clobber", from .. part, to .. part }
      moved = true
    end
  end
  return moved
end

--- A file of that many bytes, which are taken on the disk.
--- @async
--- @param path string
--- @param bytes integer
function M.reserve(path, bytes)
  process.run { "fallocate", "--length", ("%d"):format(math.max(bytes, 1)), path }
end

local function releaser(lock)
  return function() lock:release() end
end

--- The lock on a file, for as long as it is not released.
--- @async
--- @param path string
--- @param says string      what others are told of the holder
--- @param patience number  ms
--- @return fun() release
function M.lock(path, says, patience) return releaser(await(raw.lock(path, says, patience))) end

--- One of the project's .deployrun/locks.
--- @async
--- @param name string
--- @param says string
--- @param patience number
--- @return fun() release
function M.mutex(name, says, patience) return releaser(await(raw.mutex(name, says, patience))) end

return M

--- The database of a migration: where it is, as a container of the app sees it, and an agent that stays with it from
--- the first check to the end. Connections are opened for one thing at a time: the migration finds nobody in its way.

local door = require "native.door"
local fail = require "native.fail"
local here = require "native.sqlite.here"
local sqlite = require "native.sqlite"
local task = require "native.task"
local there = require "native.sqlite.there"
local try = require "deploy.try"

local M = {}
local ALONE_WITHIN = "45s"  -- the agent of a run that was killed has a lease of 30 s at most

local Place = {}
Place.__index = Place

--- Which volume of a role holds a path of its containers: `shop-data`, `app.sqlite3`. Folders of the server too.
--- @param volumes string[]  "name:/path", "/folder:/path:ro"
--- @param path string
--- @return string? volume
--- @return string? rest  the path within it
function M.volume_of(volumes, path)
  local volume, rest, longest = nil, nil, 0
  for _, one in ipairs(volumes) do
    local source, target = one:match("^([^:]+):([^:]+)")
    local folder = target and target:gsub("/+$", "") .. "/"
    if folder and #folder > longest and path:sub(1, #folder) == folder then
      volume, rest, longest = source, path:sub(#folder + 1), #folder
    end
  end
  return volume, rest
end

--- @param host Host
--- @param role RoleConfig
--- @param database string|{ path: string }  a path of the role's containers; or one of the server
--- @param image string   a local image whose user may use the database
--- @return table place
function M.new(host, role, database, image)
  local self = setmetatable({ host = host, image = image }, Place)
  if type(database) == "table" then
    self.path = database.path
  else
    self.volume, self.path = M.volume_of(role.volumes, database)
  end
  return self
end

--- An agent where the database is; the same one as long as it lives.
function Place:_agent()
  if self._client and self._client:alive() then return self._client end
  self:close()
  if self.volume then
    self._client, self._closing = self.host:_agent_in { volume = self.volume, image = self.image }
  else
    self._client = self.host:_agent()
  end
  return self._client
end

function Place:_backend()
  if not self.volume and self.host.name == "local" then return here end
  return there.backend(self:_agent())
end

function Place:_open_for_real(path, options)
  path, options = path or self.path, options or {}
  if not self.volume and self.host.name == "local" then return self.host:sqlite(path, options) end
  return sqlite.open_with(self:_backend(), path, options, self.host.name)
end

-- What a plan has where there is nothing to open: it holds nothing.
local NOTHING = { space = function() return { bytes = 0, free = 0 } end }

--- A connection, for whoever closes it.
--- @async
--- @param path? string  of a snapshot beside the database
--- @return SqliteDatabase
function Place:open(path)
  if not door.is_kept() then return self:_open_for_real(path) end
  local ok, db = pcall(self._open_for_real, self, path)
  if ok then return db end
  if task.cancellation() then error(db, 0) end
  return sqlite.open_with(NOTHING, self.path, { create = true }, self.host.name)
end

--- Whether there is a database yet. Looking makes nothing: not even the volume.
--- @async
--- @return boolean
function Place:exists()
  if self.volume and not self.volume:find("/", 1, true)
    and not try(self.host.docker.inspect_volume, self.host.docker, self.volume) then
    return false
  end
  local ok, why = pcall(function() self:_open_for_real():close() end)
  if ok then return true end
  local kind = fail.normal(why).kind
  if kind == "sqlite.open" then return false end
  if kind == "sqlite.corrupt" then return true end
  if not door.is_kept() or task.cancellation() then error(why, 0) end
  return true
end

--- Makes the database, empty, where there is none.
--- @async
function Place:make()
  if not door.is_kept() then self:_open_for_real(nil, { create = true }):close() end
end

--- Gives the database, which nobody has open, another name beside it, whatever its files hold; or gives it back.
--- Finishes what an earlier attempt began.
--- @async
--- @param from string
--- @param to string
function Place:move(from, to)
  if not door.is_kept() then self:_backend().move(from, to) end
end

--- Which processes have a lock on it now, also where it is no database any more.
--- @async
--- @return SqliteHolder[]
function Place:holders() return self:_backend().holders(self.path) end

--- Runs `fn` with a connection that ends with it.
--- @async
--- @generic T
--- @param fn fun(db: SqliteDatabase): T
--- @param path? string  of a snapshot beside the database
--- @return T
function Place:with(fn, path)
  local db = self:open(path)
  local function closing(ok, ...)
    db:close()
    if not ok then error((...), 0) end
    return ...
  end
  return closing(pcall(fn, db))
end

--- Runs `fn` while nobody else migrates this database, from whatever machine. No connection is open meanwhile.
--- @async
--- @generic T
--- @param fn fun(): T
--- @return T
function Place:alone(fn)
  if door.is_kept() then return fn() end
  return self:with(function(db)
    db:_rest()
    return db:mutex("migrate", fn, { patience = ALONE_WITHIN })
  end)
end

--- Removes a database that was half made; there was none before.
--- @async
function Place:remove()
  if not self:exists() then return end
  self:with(function(db)
    db:_rest()
    db._backend.remove(self.path)
  end)
end

--- Lets go of the agent.
function Place:close()
  local closing = self._closing
  self._client, self._closing = nil, nil
  if closing then closing() end
end

return M

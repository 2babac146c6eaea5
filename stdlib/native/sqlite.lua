--- SQLite databases that belong to an app, maybe one that is running: reading, changing under a lock, copies that are
--- whole, work that happens once. Locks are waited for without holding up anything else, and who holds one is named.
--- The database's WAL is never checkpointed, and databases on network file systems are refused. `open` is for those of
--- this machine; `host:sqlite(place)` gives the same for those of a server, in a volume or in a container's mounts.
---
---     local db = deploy.sqlite.open("storage/production.sqlite3")
---     db:snapshot("backups/before-" .. run.version .. ".sqlite3")
---     db:once("seed", function(tx) tx:run("INSERT INTO plan(name) VALUES (?1)", { "free" }) end)
---
--- Errors: `sqlite.busy` (`waited_ms`, `holder_pid`, `holder_command`, `holder_container`), `sqlite.open`,
--- `sqlite.network_filesystem`, `sqlite.corrupt`, `sqlite.constraint`, `sqlite.statement`, `sqlite.full`,
--- `sqlite.readonly`, `sqlite.exists`, `sqlite.too_large`, `sqlite.io`.

local door = require "native.door"
local fail = require "native.fail"
local files = require "native.files"
local here = require "native.sqlite.here"
local task = require "native.task"
local text = require "native.text"

local M = {}

local PATIENCE = 10000      -- ms, for a lock that somebody else holds
local END_DEADLINE = 60000  -- ms, for ending a transaction although its task was cancelled

--- @alias SqliteValues any[]|table<string, any>  for ?1, ?2 …, or by name for :name; text, number, boolean, json.null

--- @class SqliteRows
--- @field [integer] table<string, string|number>  a row, by column; NULL is nil
--- @field changes integer                         rows that were inserted, changed or removed

--- @class SqliteHolder
--- @field pid integer
--- @field command string     its first two words
--- @field container string   its container's ID, "" outside of one
--- @field writes boolean     keeps other writers out

--- @class SqliteTransaction
local Transaction = {}
Transaction.__index = Transaction

--- Where a database is: this machine (native/sqlite/here.lua) or behind an agent (native/sqlite/there.lua). Its calls
--- wait.
--- @class SqliteBackend
--- @field open fun(path: string, options: table, patience: number): SqliteConnection
--- @field wait_free fun(path: string, patience: number)
--- @field snapshot fun(from: string, to: string, check: boolean, patience: number): table
--- @field restore fun(from: string, to: string, patience: number): table
--- @field check fun(path: string, patience: number): string[]
--- @field holders fun(path: string): SqliteHolder[]
--- @field space fun(path: string): table
--- @field remove fun(path: string): boolean           a database that nobody has open, with what lies beside it
--- @field move fun(from: string, to: string): boolean   a database that nobody has open, with what lies beside it
--- @field reserve fun(path: string, bytes: integer)     a file of that size
--- @field lock fun(path: string, says: string, patience: number): fun()  gives what releases it

--- @class SqliteConnection  query, run, execute, begin, commit, rollback, was_done, mark_done, close; they wait

--- @class SqliteDatabase
--- @field path string
--- @field host? string  whose it is; nil: this machine's
local Database = {}
Database.__index = Database

local function patience_of(options, fallback, what)
  return text.duration_option(options and options.patience, what .. ": patience") or fallback
end

local function connect(self, patience)
  local options = self._options
  return self._backend.open(self.path, { create = options and options.create,
    read_only = options and options.read_only }, patience)
end

local function database_of(backend, path, options, host, exists)
  local patience = patience_of(options, PATIENCE, "sqlite.open")
  local database = { path = path, host = host, _backend = backend, _patience = patience, _options = options }
  -- A plan makes no file: what it would make stays closed.
  local would_make = options and options.create and door.memory(host or "local") and not exists(path)
  if not would_make then database._connection = connect(database, patience) end
  return setmetatable(database, Database)
end

--- Opens a database of this machine. Raises `sqlite.open` where it is not there, unless `create` is given.
--- @async
--- @param path string
--- @param options? { create?: boolean, read_only?: boolean, patience?: string }  patience: for locks, "10s" unless told
--- @return SqliteDatabase
function M.open(path, options)
  return database_of(here, path, options, nil, files.exists)
end

--- The same for one that a backend reaches.
--- @async
--- @param backend SqliteBackend
--- @param path string
--- @param options? { create?: boolean, read_only?: boolean, patience?: string }
--- @param host string
--- @return SqliteDatabase
function M.open_with(backend, path, options, host)
  return database_of(backend, path, options, host, function() return backend.space(path).bytes > 0 end)
end

--- One statement that reads.
--- @async
--- @param sql string
--- @param values? SqliteValues
--- @return SqliteRows
function Database:query(sql, values)
  return self._connection:query(sql, values)
end

--- One statement that may change something, by itself.
--- @async
--- @param sql string
--- @param values? SqliteValues
--- @return SqliteRows
function Database:run(sql, values)
  return self._connection:run(sql, values)
end

--- Several statements, in one transaction.
--- @async
--- @param sql string
function Database:execute(sql)
  self:exclusive(function(tx) tx:execute(sql) end)
end

--- @async
--- @param sql string
--- @param values? SqliteValues
--- @return SqliteRows
function Transaction:query(sql, values)
  return self._connection:query(sql, values)
end

--- @async
--- @param sql string
--- @param values? SqliteValues
--- @return SqliteRows
function Transaction:run(sql, values)
  return self._connection:run(sql, values)
end

--- @async
--- @param sql string
function Transaction:execute(sql)
  self._connection:execute(sql)
end

--- Runs `fn` in a transaction of its own that nobody else can write beside: committed when it returns, rolled back when
--- it raises, is cancelled, or this process ends.
--- @async
--- @generic T
--- @param fn fun(tx: SqliteTransaction): T
--- @param options? { patience?: string, readers?: boolean }  readers: false keeps those of a rollback journal out too
--- @return T
function Database:exclusive(fn, options)
  local patience = patience_of(options, self._patience, "sqlite.exclusive")
  local connection = connect(self, patience)
  local tx = setmetatable({ _connection = connection }, Transaction)
  local function finishing(ok, ...)
    local value = ...
    task.shielded(END_DEADLINE, "the end of a transaction", function()
      if ok then
        local committed, why = pcall(connection.commit, connection)
        if committed then return connection:close() end
        ok, value = false, why
      end
      pcall(connection.rollback, connection)
      pcall(connection.close, connection)
    end)
    if not ok then error(value, 0) end
    return value
  end
  return finishing(pcall(function()
    connection:begin(options ~= nil and options.readers == false, patience)
    return fn(tx)
  end))
end

--- Waits until nobody holds the write lock; it may be taken again right after.
--- @async
--- @param options? { patience?: string }
function Database:wait_free(options)
  self._backend.wait_free(self.path, patience_of(options, self._patience, "sqlite.wait_free"))
end

--- Whether `once` did it under this key.
--- @async
--- @param key string
--- @return boolean
function Database:was_done(key)
  return self._connection:was_done(key)
end

--- Runs `fn` if nobody has done it under this key: exactly once, whoever comes first, from however many processes.
--- The others wait, then go on. What fails or dies in the middle leaves nothing behind, and the next one tries.
--- @async
--- @param key string
--- @param fn fun(tx: SqliteTransaction)
--- @param options? { patience?: string }
--- @return boolean done  false: it had been done
function Database:once(key, fn, options)
  if self._connection:was_done(key) then return false end
  return self:exclusive(function(tx)
    if tx._connection:was_done(key) then return false end
    fn(tx)
    tx._connection:mark_done(key)
    return true
  end, options)
end

--- A copy of one moment, whole and synced or not there at all, made while the app goes on. It is checked before it gets
--- its name. Raises `sqlite.exists`.
--- @async
--- @param to string  path
--- @param options? { check?: boolean }
--- @return { bytes: integer, pages: integer }
function Database:snapshot(to, options)
  return self._backend.snapshot(self.path, to, not (options and options.check == false), self._patience)
end

--- Replaces the content by a snapshot's, which is checked first. Other connections see the old content or the new one.
--- @async
--- @param from string  path
--- @return { bytes: integer, pages: integer }
function Database:restore(from)
  return self._backend.restore(from, self.path, self._patience)
end

--- Removes a snapshot; false where there is none.
--- @async
--- @param path string
--- @return boolean removed
function Database:remove_snapshot(path)
  if path == self.path then fail.usage("sqlite: the database itself is no snapshot") end
  return self._backend.remove(path)
end

--- Takes room on the database's disk (the file PATH.reserve), so that a restore finds it even on a full disk, until
--- `reserve(nil)` gives it back. Raises `sqlite.full`.
--- @async
--- @param bytes integer?
function Database:reserve(bytes)
  local path = self.path .. ".reserve"
  if bytes then self._backend.reserve(path, bytes) else self._backend.remove(path) end
end

--- What the integrity check and the check of foreign keys find.
--- @async
--- @return { ok: boolean, problems: string[] }
function Database:check()
  local problems = self._backend.check(self.path, self._patience)
  return { ok = #problems == 0, problems = problems }
end

--- Which processes of its machine have a lock on it now, writers first.
--- @async
--- @return SqliteHolder[]
function Database:holders()
  return self._backend.holders(self.path)
end

--- What it takes on its disk, with its WAL, and what is left there.
--- @async
--- @return { bytes: integer, free: integer }
function Database:space()
  return self._backend.space(self.path)
end

--- False for a database that a plan would make.
--- @return boolean
function Database:is_open() return self._connection ~= nil end

--- Lets go of the connection, and of nothing else: what needs none goes on (mutexes, for one).
function Database:_rest()
  local connection = self._connection
  self._connection = nil
  if connection then connection:close() end
end

--- Lets go of the connection.
function Database:close()
  self:_rest()
  if self._closing then self._closing() end
end

local function check_mutex_name(name)
  if type(name) ~= "string" or not name:match("^[%w_][%w_.-]*$") then
    fail.usage(("sqlite.mutex: `%s` cannot be a name"):format(tostring(name)), { token = tostring(name) })
  end
end

local function holding(acquire, fn)
  local release = acquire(("%s since %s"):format(os.getenv("USER") or "somebody", os.date("!%Y-%m-%d %H:%M:%SZ")))
  local function releasing(ok, ...)
    release()
    if not ok then error((...), 0) end
    return ...
  end
  return releasing(pcall(fn))
end

--- Runs `fn` while we hold a lock of that name beside the database (the file PATH.NAME.lock): one at a time, from
--- whatever machine or container. The kernel frees it when the holder ends, however it ends. Raises `sqlite.busy`,
--- which says who holds it.
--- @async
--- @generic T
--- @param name string  letters, digits, _, . and -
--- @param fn fun(): T
--- @param options? { patience?: string }
--- @return T
function Database:mutex(name, fn, options)
  check_mutex_name(name)
  local patience = patience_of(options, PATIENCE, "sqlite.mutex")
  local path = ("%s.%s.lock"):format(self.path, name)
  return holding(function(says) return self._backend.lock(path, says, patience) end, fn)
end

--- Runs `fn` while this process holds a lock of that name in the project's .deployrun/locks: one at a time on this
--- machine, whoever runs. The kernel frees it when the holder ends, however it ends. Raises `sqlite.busy`, which says
--- who holds it.
--- @async
--- @generic T
--- @param name string  letters, digits, _, . and -
--- @param fn fun(): T
--- @param options? { patience?: string }
--- @return T
function M.mutex(name, fn, options)
  check_mutex_name(name)
  local patience = patience_of(options, PATIENCE, "sqlite.mutex")
  return holding(function(says) return here.mutex(name, says, patience) end, fn)
end

door.guard("sqlite", Database, { reads = { "query", "wait_free", "check", "holders", "space", "was_done" },
  free = { "close", "is_open" } })

return M

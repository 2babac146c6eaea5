--- SQLite databases of this machine that belong to an app, maybe one that is running: reading, changing under a lock,
--- copies that are whole, work that happens once. Locks are waited for without holding up anything else, and who holds
--- one is named. The database's WAL is never checkpointed, and databases on network file systems are refused.
---
---     local db = deploy.sqlite.open("storage/production.sqlite3")
---     db:snapshot("backups/before-" .. run.version .. ".sqlite3")
---     db:once("seed", function(tx) tx:run("INSERT INTO plan(name) VALUES (?1)", { "free" }) end)
---
--- Errors: `sqlite.busy` (`waited_ms`, `holder_pid`, `holder_command`, `holder_container`), `sqlite.open`,
--- `sqlite.network_filesystem`, `sqlite.corrupt`, `sqlite.constraint`, `sqlite.statement`, `sqlite.full`,
--- `sqlite.readonly`, `sqlite.exists`, `sqlite.too_large`, `sqlite.io`.

local await = require("native.task").await
local door = require "native.door"
local fail = require "native.fail"
local files = require "native.files"
local raw = require "native.sqlite.raw"
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

--- @class SqliteDatabase
--- @field path string
local Database = {}
Database.__index = Database

local function patience_of(options, fallback, what)
  return text.duration_option(options and options.patience, what .. ": patience") or fallback
end

local function open_raw(path, options, patience)
  return await(raw.open(path, { create = options and options.create, read_only = options and options.read_only,
    patience = patience }))
end

--- Opens a database. Raises `sqlite.open` where it is not there, unless `create` is given.
--- @async
--- @param path string
--- @param options? { create?: boolean, read_only?: boolean, patience?: string }  patience: for locks, "10s" unless told
--- @return SqliteDatabase
function M.open(path, options)
  local patience = patience_of(options, PATIENCE, "sqlite.open")
  local database = { path = path, _patience = patience, _options = options }
  -- A plan makes no file: what it would make stays closed.
  local would_make = options and options.create and door.memory("local") and not files.exists(path)
  if not would_make then database._raw = open_raw(path, options, patience) end
  return setmetatable(database, Database)
end

--- One statement that reads.
--- @async
--- @param sql string
--- @param values? SqliteValues
--- @return SqliteRows
function Database:query(sql, values)
  return await(self._raw:query(sql, values))
end

--- One statement that may change something, by itself.
--- @async
--- @param sql string
--- @param values? SqliteValues
--- @return SqliteRows
function Database:run(sql, values)
  return await(self._raw:run(sql, values))
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
  return await(self._raw:query(sql, values))
end

--- @async
--- @param sql string
--- @param values? SqliteValues
--- @return SqliteRows
function Transaction:run(sql, values)
  return await(self._raw:run(sql, values))
end

--- @async
--- @param sql string
function Transaction:execute(sql)
  await(self._raw:execute(sql))
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
  local connection = open_raw(self.path, self._options, patience)
  local tx = setmetatable({ _raw = connection }, Transaction)
  local function finishing(ok, ...)
    local value = ...
    task.shielded(END_DEADLINE, "the end of a transaction", function()
      if ok then
        local committed, why = pcall(await, connection:commit())
        if committed then return end
        ok, value = false, why
      end
      pcall(await, connection:rollback())
    end)
    connection:close()
    if not ok then error(value, 0) end
    return value
  end
  return finishing(pcall(function()
    await(connection:begin(options ~= nil and options.readers == false, patience))
    return fn(tx)
  end))
end

--- Waits until nobody holds the write lock; it may be taken again right after.
--- @async
--- @param options? { patience?: string }
function Database:wait_free(options)
  local patience = patience_of(options, self._patience, "sqlite.wait_free")
  local connection = open_raw(self.path, self._options, patience)
  local ok, err = pcall(await, connection:begin(false, patience))
  pcall(await, connection:rollback())
  connection:close()
  if not ok then error(err, 0) end
end

local ONCE_TABLE = "CREATE TABLE IF NOT EXISTS deployrun_once (key TEXT PRIMARY KEY, done_at TEXT NOT NULL)"
local HAS_ONCE = "SELECT count(*) AS n FROM sqlite_schema WHERE type = 'table' AND name = 'deployrun_once'"

local function was_done(at, key)
  if at:query(HAS_ONCE)[1].n == 0 then return false end
  return at:query("SELECT count(*) AS n FROM deployrun_once WHERE key = ?1", { key })[1].n > 0
end

--- Runs `fn` if nobody has done it under this key: exactly once, whoever comes first, from however many processes.
--- The others wait, then go on. What fails or dies in the middle leaves nothing behind, and the next one tries.
--- @async
--- @param key string
--- @param fn fun(tx: SqliteTransaction)
--- @param options? { patience?: string }
--- @return boolean done  false: it had been done
function Database:once(key, fn, options)
  if was_done(self, key) then return false end
  return self:exclusive(function(tx)
    if was_done(tx, key) then return false end
    fn(tx)
    tx:execute(ONCE_TABLE)
    tx:run("INSERT INTO deployrun_once VALUES (?1, strftime('%Y-%m-%dT%H:%M:%SZ', 'now'))", { key })
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
  return await(raw.snapshot(self.path, to, not (options and options.check == false), self._patience))
end

--- Replaces the content by a snapshot's, which is checked first. Other connections see the old content or the new one.
--- @async
--- @param from string  path
--- @return { bytes: integer, pages: integer }
function Database:restore(from)
  return await(raw.restore(from, self.path, self._patience))
end

--- What the integrity check and the check of foreign keys find.
--- @async
--- @return { ok: boolean, problems: string[] }
function Database:check()
  local problems = await(raw.check(self.path, self._patience))
  return { ok = #problems == 0, problems = problems }
end

--- Which processes of this machine have a lock on it now, writers first.
--- @async
--- @return SqliteHolder[]
function Database:holders()
  return await(raw.holders(self.path))
end

--- False for a database that a plan would make.
--- @return boolean
function Database:is_open() return self._raw ~= nil end

--- Lets go of the connection.
function Database:close()
  if self._raw then self._raw:close() end
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
  if type(name) ~= "string" or not name:match("^[%w_][%w_.-]*$") then
    fail.usage(("sqlite.mutex: `%s` cannot be a name"):format(tostring(name)), { token = tostring(name) })
  end
  local says = ("%s since %s"):format(os.getenv("USER") or "somebody", os.date("!%Y-%m-%d %H:%M:%SZ"))
  local lock = await(raw.mutex(name, says, patience_of(options, PATIENCE, "sqlite.mutex")))
  local function releasing(ok, ...)
    lock:release()
    if not ok then error((...), 0) end
    return ...
  end
  return releasing(pcall(fn))
end

door.guard("sqlite", Database, { reads = { "query", "wait_free", "check", "holders" }, free = { "close", "is_open" } })

return M

--- The sqlite module on real files: reading and changing, transactions, work that happens once, snapshots, mutexes.

local files = require "native.files"
local json = require "native.json"
local process = require "native.process"
local sqlite = require "native.sqlite"
local task = require "native.task"
local test = require "test"

local function scratch()
  return (process.run({ "mktemp", "-d" }).stdout:gsub("%s+$", ""))
end

--- Runs `fn` with a fresh database of one table.
local function with_database(fn)
  local folder = scratch()
  local db = sqlite.open(folder .. "/app.sqlite3", { create = true, patience = "60s" })
  db:execute("CREATE TABLE note (id INTEGER PRIMARY KEY, body TEXT UNIQUE); INSERT INTO note(body) VALUES ('first')")
  local ok, err = pcall(fn, db, folder)
  db:close()
  files.remove(folder, { recursive = true })
  if not ok then error(err, 0) end
end

test.it("binds values by position and by name, never into the text", function()
  with_database(function(db)
    db:run("INSERT INTO note(body) VALUES (?1)", { "Robert'); DROP TABLE note;--" })
    db:run("INSERT INTO note(id, body) VALUES (:id, :body)", { id = 40, body = json.null })
    local rows = db:query("SELECT id, body FROM note WHERE id >= :low ORDER BY id", { low = 2 })
    test.equal(#rows, 2)
    test.equal(rows[1].body, "Robert'); DROP TABLE note;--")
    test.equal(rows[2], { id = 40 })
    test.equal(db:run("UPDATE note SET body = body || '!' WHERE id < ?1", { 3 }).changes, 2)
  end)
end)

test.it("keeps reads and changes apart", function()
  with_database(function(db)
    local err = test.raises("usage", function() db:query("DELETE FROM note") end)
    test.contains(err.hint, "exclusive")
    test.equal(db:query("SELECT count(*) AS n FROM note")[1].n, 1)
    test.raises("usage", function() db:query("SELECT ?1", {}) end)
    test.raises("usage", function() db:query("SELECT :a", { b = 1 }) end)
  end)
end)

test.it("refuses what is not there, is a folder or no database", function()
  local folder = scratch()
  test.raises("sqlite.open", function() sqlite.open(folder .. "/none.sqlite3") end)
  test.raises("sqlite.open", function() sqlite.open(folder) end)
  files.write(folder .. "/text", ("no database at all "):rep(100))
  test.raises("sqlite.corrupt", function() sqlite.open(folder .. "/text") end)
  files.remove(folder, { recursive = true })
end)

test.it("commits a transaction, and rolls it back when it raises or is cancelled", function()
  with_database(function(db)
    test.equal(db:exclusive(function(tx)
      tx:run("INSERT INTO note(body) VALUES ('kept')")
      return 7
    end), 7)
    test.raises("x.broken", function()
      db:exclusive(function(tx)
        tx:run("INSERT INTO note(body) VALUES ('lost')")
        error({ kind = "x.broken", message = "broken" }, 0)
      end)
    end)
    test.raises("timeout", function()
      task.within(50, "too long", function()
        db:exclusive(function(tx)
          tx:run("INSERT INTO note(body) VALUES ('late')")
          task.sleep(10000)
        end)
      end)
    end)
    test.equal(db:query("SELECT group_concat(body) AS all_of FROM note")[1].all_of, "first,kept")
  end)
end)

test.it("waits for a lock, and says for how long it waited in vain", function()
  with_database(function(db)
    local order, wanted = {}, false
    local holder = task.spawn(function()
      db:exclusive(function()
        order[#order + 1] = "held"
        while not wanted do task.sleep(1) end
        task.sleep(50)
        order[#order + 1] = "freed"
      end)
    end, { name = "holder" })
    while #order == 0 do task.sleep(1) end
    local err = test.raises("sqlite.busy", function() db:wait_free { patience = "20ms" } end)
    test.equal(err.waited_ms >= 20, true)
    wanted = true
    db:wait_free()
    order[#order + 1] = "free"
    task.join(holder)
    test.equal(order, { "held", "freed", "free" })
  end)
end)

test.it("does once what is to be done once, whoever asks, and again what failed", function()
  with_database(function(db)
    local done = 0
    test.raises("x.broken", function()
      db:once("schema", function(tx)
        tx:execute("CREATE TABLE half (id)")
        error({ kind = "x.broken", message = "broken" }, 0)
      end)
    end)
    local outcomes = task.each({ 1, 2, 3, 4, 5, 6, 7, 8 }, {}, function()
      return db:once("schema", function(tx)
        tx:execute("CREATE TABLE whole (id); INSERT INTO whole VALUES (1)")
        done = done + 1
      end)
    end)
    local first = 0
    for _, outcome in ipairs(outcomes) do
      test.equal(outcome.ok, true)
      if outcome.value then first = first + 1 end
    end
    test.equal({ done, first }, { 1, 1 })
    test.equal(db:query("SELECT count(*) AS n FROM whole")[1].n, 1)
    test.raises("sqlite.statement", function() db:query("SELECT * FROM half") end)
  end)
end)

test.it("copies a database that is written to, and brings it back", function()
  with_database(function(db, folder)
    db:execute("PRAGMA user_version = 7")
    local writing = true
    local writer = task.spawn(function()
      local n = 0
      while writing do
        n = n + 1
        db:run("INSERT INTO note(body) VALUES (?1)", { "n" .. n })
      end
    end, { name = "writer" })
    task.sleep(20)
    local copy = folder .. "/copy.sqlite3"
    test.equal(db:snapshot(copy).bytes > 0, true)
    writing = false
    task.join(writer)
    test.equal(files.stat(copy).mode, "0600")
    test.raises("sqlite.exists", function() db:snapshot(copy) end)
    local copied = sqlite.open(copy, { read_only = true })
    local rows = copied:query("SELECT count(*) AS n, max(id) AS last FROM note")[1]
    test.equal(rows.n, rows.last)
    test.equal(copied:check(), { ok = true, problems = {} })
    copied:close()
    test.equal(db:query("SELECT count(*) AS n FROM note")[1].n >= rows.n, true)
    db:restore(copy)
    test.equal(db:query("SELECT count(*) AS n FROM note")[1].n, rows.n)
    test.equal(#files.list(folder), 2)
  end)
end)

test.it("finds what is wrong in a database", function()
  with_database(function(db, folder)
    db:execute("CREATE TABLE child (note_id REFERENCES note(id)); INSERT INTO child VALUES (99)")
    local found = db:check()
    test.equal(found.ok, false)
    test.contains(found.problems[1], "row 1 of child refers to a row of note")
    local bytes = files.read(folder .. "/app.sqlite3")
    files.write(folder .. "/bad.sqlite3", bytes:sub(1, 4096) .. ("\255"):rep(4096) .. bytes:sub(8193))
    local bad = sqlite.open(folder .. "/bad.sqlite3")
    test.equal(bad:check().ok, false)
    bad:close()
    test.raises("sqlite.corrupt", function() db:restore(folder .. "/bad.sqlite3") end)
    test.equal(db:query("SELECT body FROM note")[1].body, "first")
  end)
end)

test.it("lets one at a time hold a mutex", function()
  local inside, most = 0, 0
  local outcomes = task.each({ 1, 2, 3, 4 }, {}, function()
    return sqlite.mutex("spec-" .. tostring(process.run({ "sh", "-c", "echo $PPID" }).stdout:match("%d+")), function()
      inside = inside + 1
      most = math.max(most, inside)
      task.sleep(5)
      inside = inside - 1
      return "done"
    end)
  end)
  for _, outcome in ipairs(outcomes) do test.equal(outcome.value, "done") end
  test.equal(most, 1)
  test.raises("usage", function() sqlite.mutex("../x", function() end) end)
end)

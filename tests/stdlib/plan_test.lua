--- The door and the plan: what passes, what is recorded, what later reads of a plan see.

local diff = require "deploy.planned.diff"
local door = require "native.door"
local files = require "native.files"
local host = require "deploy.host"
local http = require "native.http"
local placeholder = require "deploy.planned.placeholder"
local plan_module = require "deploy.plan"
local process = require "native.process"
local secret = require "native.secret"
local test = require "test"

local here = host.localhost

local function planned(fn)
  local plan = plan_module.new()
  plan:within(fn)
  local changes, waits = {}, {}
  for _, step in ipairs(plan:table()) do
    for _, place in ipairs(step.hosts) do
      for _, change in ipairs(place.changes) do changes[#changes + 1] = change end
      for _, words in ipairs(place.waits) do waits[#waits + 1] = words end
    end
  end
  return changes, waits, plan
end

local function temporary(bytes)
  local path = process.run({ "mktemp" }).stdout:gsub("%s+$", "")
  files.write(path, bytes, { mode = "0644" })
  return path
end

local function contents(path)
  local file = io.open(path)
  local bytes = file and file:read("*a")
  if file then file:close() end
  return bytes
end

test.it("records commands and runs those that only look", function()
  local path = temporary ""
  local changes = planned(function()
    test.equal(here:exec({ "sh", "-c", "echo seen" }, { reads = true }).stdout, "seen\n")
    test.equal(here:exec({ "rm", path }).stdout, "")
    test.equal(here:exec("rm " .. path, { planned = "gone\n" }).stdout, "gone\n")
    process.run { "rm", path }
  end)
  test.equal(contents(path), "")
  os.remove(path)
  test.equal(#changes, 3)
  test.equal(changes[1].command, "rm " .. path)
  test.equal(changes[2].command, "sh -c 'rm " .. path .. "'")
end)

test.it("keeps files as they are and shows later reads what would be there", function()
  local path = temporary "one\ntwo\n"
  local changes = planned(function()
    here:write(path, "one\n2\n")
    test.equal(here:read(path), "one\n2\n")
    here:write(path, "one\n2\n")
    here:remove(path)
    test.equal(here:stat(path), nil)
    test.raises("files.not_found", function() here:read(path) end)
    test.equal(here:remove(path), false)
  end)
  test.equal(contents(path), "one\ntwo\n")
  os.remove(path)
  test.equal(#changes, 2)
  test.equal(changes[1].state, "changed")
  test.equal(changes[1].diff, "@@ -1,2 +1,2 @@\n one\n-two\n+2")
  test.equal(changes[2].command, "rm -f " .. path)
end)

test.it("tells a file as it is already as no change", function()
  local path = temporary "same\n"
  local mode = files.stat(path).mode
  local changes = planned(function() here:write(path, "same\n", { mode = mode }) end)
  os.remove(path)
  test.equal(#changes, 0)
end)

test.it("shows neither secrets nor what only a file's owner may read", function()
  local token = secret.value("TOKEN", "hush-hush-hush")
  local path = temporary ""
  os.remove(path)
  local changes = planned(function()
    here:write(path, token, { mode = "0600" })
    here:write(path .. ".2", "password=plain\n", { mode = "0600" })
    here:exec({ "env" }, { env = { TOKEN = token }, stdin = token })
  end)
  test.equal(changes[1].content, "[secret:TOKEN]")
  test.equal(changes[1].diff, nil)
  test.equal(changes[2].diff, nil)
  test.equal(changes[3].command, "env 'TOKEN=[secret:TOKEN]' env")
  test.equal(changes[3].note, "stdin: [secret:TOKEN]")
  test.equal(contents(path), nil)
end)

test.it("makes no request that changes, and says what it would wait for", function()
  local changes, waits = planned(function()
    test.equal(http.request("http://127.0.0.1:9/hook", { method = "POST" }).status, 200)
    here:wait_healthy("http://127.0.0.1:9/up")
    local observer = http.observe("http://127.0.0.1:9/")
    test.equal(observer:stop().failures, 0)
  end)
  test.equal(changes[1].command, "curl -X POST http://127.0.0.1:9/hook")
  test.equal(waits[1], "until http://127.0.0.1:9/up is healthy")
end)

test.it("ends a loop that waits for what only a change would bring", function()
  local deploy = require "deploy"
  local err = test.raises("recipe.endless_wait", function()
    planned(function()
      test.ok(deploy.planning())
      while true do deploy.sleep("1s") end
    end)
  end)
  test.contains(err.message, "1s")
  test.equal(deploy.planning(), false)
end)

test.it("opens the door again after an error", function()
  test.raises("x.broken", function() planned(function() error({ kind = "x.broken", message = "no" }, 0) end) end)
  test.equal(door.memory("local"), nil)
  test.equal(here:exec({ "echo", "open" }).stdout, "open\n")
end)

test.it("takes a call that nobody classified for a change", function()
  local made = 0
  local named = door.kinds "files"
  local face = { look = function() made = made + 1 return "seen" end, alter = function() made = made + 1 end,
    hold = function() return "free" end }
  door.guard("files", face, { reads = { "look" }, free = { "hold" } })
  local changes = planned(function()
    test.equal(face.look(), "seen")
    face.alter("/etc/thing")
    test.equal(face.hold(), "free")
  end)
  test.equal(made, 1)
  test.equal(changes[1].command, "alter /etc/thing")
  test.ok(named.reads.stat and not named.reads.write)
end)

test.it("tells calls of a face that it does not know by their name", function()
  local face = { look = function() return "seen" end, alter = function() error "made" end }
  door.guard("somebody_else", face, { reads = { "look" } })
  local changes = planned(function()
    test.equal(face.look(), "seen")
    face.alter("it", { much = true })
  end)
  test.equal(changes[1].command, "somebody_else.alter it")
end)

test.it("looks up in its commands what only a change would bring", function()
  local id = placeholder.id("web1", "shop-web-v2", 0)
  test.equal(#id, 64)
  placeholder.note(id, "shop-web-v2")
  test.equal(placeholder.resolved("--target=" .. id:sub(1, 12) .. ":80"),
    "--target=$(docker ps -aq -f name=^shop-web-v2$):80")
  test.equal(placeholder.resolved("'a b " .. id .. "'"),
    "'a b '\"$(docker ps -aq --no-trunc -f name=^shop-web-v2$)\"''")
end)

test.it("reads databases and makes none", function()
  local sqlite = require "native.sqlite"
  local folder = process.run({ "mktemp", "-d" }).stdout:gsub("%s+$", "")
  local there = sqlite.open(folder .. "/there.db", { create = true })
  there:execute("CREATE TABLE t (n INTEGER); INSERT INTO t VALUES (7)")
  there:once("seed", function() end)
  local changes = planned(function()
    local database = sqlite.open(folder .. "/there.db")
    test.equal(database:query("SELECT n FROM t")[1].n, 7)
    test.equal(database:once("seed", function() error "done before" end), false)
    database:run("DELETE FROM t")
    local new = sqlite.open(folder .. "/new.db", { create = true })
    test.equal(new:once("seed", function() error "made" end), true)
    new:close()
    database:close()
  end)
  test.equal(there:query("SELECT n FROM t")[1].n, 7)
  there:close()
  test.equal(files.exists(folder .. "/new.db"), false)
  files.remove(folder, { recursive = true })
  test.equal(#changes, 2)
  test.equal(changes[1].command, ("sqlite3 %s/there.db 'DELETE FROM t'"):format(folder))
  test.equal(changes[2].note, 'once, as "seed"')
end)

test.it("diffs as people know it", function()
  test.equal(diff.unified("", "a\n"), "@@ -0,0 +1,1 @@\n+a")
  test.equal(diff.unified("a\n", "a\n"), "")
  local old, new = {}, {}
  for line = 1, 30 do old[line], new[line] = "line " .. line, "line " .. line end
  new[5], new[25] = "five", nil
  table.remove(old, 12)
  local shown = diff.unified(table.concat(old, "\n") .. "\n", table.concat(new, "\n", 1, 24) .. "\n")
  test.contains(shown, "@@ -2,13 +2,14 @@\n line 2\n line 3\n line 4\n-line 5\n+five\n line 6\n line 7\n line 8\n")
  test.contains(shown, " line 11\n+line 12\n line 13\n")
  test.contains(shown, "\n@@ -21,9 +22,3 @@\n line 22\n")
end)

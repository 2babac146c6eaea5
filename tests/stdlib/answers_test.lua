--- What servers answer about locks, runs and releases: a broken or hostile one gets a clear error, and no say in what
--- other servers run.

local answers = require "native.answers"
local lock = require "deploy.lock"
local records = require "deploy.app.records"
local releases = require "deploy.journal.releases"
local state = require "deploy.journal.state"
local test = require "test"
local there = require "native.sqlite.there"

local said = {}  -- by host: what its agent answers, or a function that raises

local function host_named(name) return { name = name, _spec = { address = name, port = 22 } } end

function lock.keeper(host)
  return { call = function()
    local answer = said[host.name]
    if type(answer) == "function" then return answer() end
    return answer
  end }
end

local web1, web2 = host_named "web1", host_named "web2"
lock.declare("shop", { web1 })
lock.declare("jobs", { web2 })
local shop = lock.declared()[1]

local function release(version, time, ref)
  return { version = version, time = time, service = "jobs", host = "web2", images = { jobs = ref } }
end

local function versions(list)
  local out = {}
  for index, one in ipairs(list) do out[index] = one.version end
  return table.concat(out, " ")
end

local function with_here(rows, fn)
  releases.keep_in { releases = function() return rows end }
  return fn()
end

test.it("a release is found on whichever primary host its run had", function()
  said = { web1 = { release("v3", 3000), release("v1", 1500) }, web2 = { release("v2", 2000), release("v1", 1000) } }
  test.equal(versions(releases.known(web2, "jobs", 5)), "v3 v2 v1")
  test.equal(versions(releases.known(web2, "jobs", 2)), "v3 v2")
  said.web1 = false
  test.equal(versions(releases.known(web2, "jobs", 5)), "v2 v1")
end)

test.it("where another service's primary host is not to be had, this one's own counts", function()
  said = { web1 = function() error({ kind = "ssh.connect", message = "no route" }, 0) end, web2 = { release("v2", 2) } }
  test.equal(versions(releases.known(web2, "jobs", 5)), "v2")
  said.web1, said.web2 = said.web2, said.web1
  test.raises("ssh.connect", function() releases.known(web2, "jobs", 5) end)
end)

test.it("a service without a lock on a server is asked of this machine's journal too", function()
  said = { web1 = { release("v1", 1000) }, web2 = false }
  with_here({ release("v2", 2000) }, function()
    test.equal(versions(releases.known(web2, "other", 5)), "v2 v1")
    test.equal(versions(releases.known(web2, "jobs", 5)), "v1")
  end)
end)

test.it("releases of other types than they have are refused", function()
  said.web1 = false
  for _, answer in ipairs { 1, "all", true, { 7 }, { { version = "v1" } }, { { time = 1 } },
    { { version = "v1", time = "now" } }, { { version = "v1", time = 1, images = "x" } },
    { { version = {}, time = 1, images = {} } } } do
    said.web2 = answer
    local err = test.raises("agent.protocol", function() releases.known(web2, "jobs", 5) end)
    test.equal(err.host, "web2")
    test.contains(err.message, "journal.releases")
  end
end)

test.it("only images of the app itself, by digest, come back", function()
  local ref = "registry.example.com/acme/jobs@sha256:" .. ("1"):rep(64)
  local app = { config = { service = "jobs", retain = 3, image = "registry.example.com/acme/jobs" } }
  records.extend(app)
  said.web1 = false
  said.web2 = { { version = "v1", time = 1, images = { jobs = ref, web = "evil.example.com/x@sha256:" .. ("2"):rep(64),
    cron = "registry.example.com/acme/jobs:latest", other = ref .. "3", last = 7 } } }
  test.equal(app:records(web2)[1].images, { jobs = ref })
end)

test.it("runs of other shapes are refused", function()
  for _, answer in ipairs { 1, "x", { 1 }, { { run = 5, rows = {} } }, { { run = "r", rows = 5 } } } do
    said.web1 = answer
    test.raises("agent.protocol", function() state.runs(shop, 5) end)
  end
  for _, answer in ipairs { 1, "x", {}, { run = "r", rows = { 1 } }, { run = "r", rows = { { number = "1" } } } } do
    said.web1 = answer
    test.raises("agent.protocol", function() state.record(shop, "r") end)
  end
  said.web1 = { run = "r", rows = {} }
  test.raises("journal.corrupt", function() state.record(shop, "r") end)
end)

test.it("a run that its primary host does not know any more is not gone on with", function()
  local journal = { keep_copy = function() end, copy = function() return {} end }
  for _, answer in ipairs { false, { run = "r", rows = {} } } do
    said.web1 = answer
    test.raises("journal.unknown_run", function() state.new(journal, "resume"):sync(shop, "r") end)
  end
end)

test.it("an unfinished run of another shape is refused", function()
  local journal = { keep_copy = function() end }
  said.web2 = false
  for _, answer in ipairs { 1, { run = "r" }, { run = "r", command = {}, rows = 1 } } do
    said.web1 = answer
    test.raises("agent.protocol", function() state.new(journal, "resume"):find(nil, "recipes/prod.lua") end)
    test.raises("agent.protocol", function()
      state.new(journal, "run"):acquired({}, { host = web1, unfinished = answer })
    end)
  end
end)

test.it("a lock's status and its taking are refused where they are none", function()
  for _, answer in ipairs { 1, {}, { waiting = 1 }, { waiting = { 1 } }, { waiting = {}, holder = 1 },
    { waiting = {}, holder = { id = 1 } } } do
    said.web1 = answer
    test.raises("agent.protocol", function() lock.status(shop) end)
  end
  said.web1 = { id = 5 }
  test.raises("agent.protocol", function() lock.end_claim(shop, "break", { id = "x", by = {} }) end)
  local taken = { claim = 1, token = 1, identity = "x", free_ms = 0 }
  for _, answer in ipairs { 1, true, {}, { claim = "1", token = 1, identity = "x", free_ms = 0 },
    { claim = 1, token = 1, identity = "x", free_ms = 0, replaced = { owner = 3 } } } do
    web1._session, web1._ask_agent = function() return {} end, function() return answer, {} end
    test.raises("agent.protocol", function() lock.new(shop, {}):acquire(0) end)
  end
  web1._ask_agent = function() return taken, {} end
  lock.new(shop, {}):acquire(0)
  test.equal(lock.words(lock.holder_of { holder_owner = 5, holder_age_ms = "x", holder_run = true }),
    "5 for 0 ms (id , run true)")
end)

test.it("what an agent says of a database is refused where it is nothing of that", function()
  local answer
  local backend = there.backend { call = function() return answer end, alive = function() return true end }
  local calls = {
    function() backend.open("a.db", {}, 0) end, function() backend.snapshot("a.db", "b.db", true, 0) end,
    function() backend.restore("b.db", "a.db", 0) end, function() backend.check("a.db", 0) end,
    function() backend.holders("a.db") end, function() backend.space("a.db") end,
    function() backend.lock("a.db", "me", 0) end,
  }
  for index, call in ipairs(calls) do
    for _, wrong in ipairs { 1, "x", true } do
      answer = wrong
      test.raises("agent.protocol", call)
    end
    answer = {}
    if index ~= 4 and index ~= 5 then test.raises("agent.protocol", call) end
  end
end)

test.it("what may be missing may be missing, also as null", function()
  local null = require("native.json").null
  test.equal(answers.object({ a = null }, { a = "string?" }, "m").a, null)
  test.raises("agent.protocol", function() answers.object({ a = null }, { a = "string" }, "m") end)
end)

--- What a server's Compose goes on with although nobody waits for it any more, and what an undo makes of that.

local compose_app = require "compose.app"
local process = require "native.process"
local task = require "native.task"
local test = require "test"
local tool = require "compose.tool"

--- A process here that looks like Compose at work for a project, until it is ended.
local function at_work(home, project)
  local words = { "sh", "-c", ': >"$0"; while :; do sleep 0.1; done', ("%s/%s"):format(home, project),
    "--project-directory", tool.folder({ home = home }, project), "up" }
  local work = task.spawn(function() return process.run(words, { check = false }) end,
    { name = project, observed = true })
  process.run { "sh", "-c", 'until [ -e "$1" ]; do sleep 0.02; done', "sh", words[4] }
  return work
end

local function here()
  return { name = "here", exec = function(_, argv) return process.run(argv, { check = false }) end }
end

test.it("ends what runs for a version's projects, and nothing else", function()
  local home = process.run({ "mktemp", "-d" }).stdout:gsub("%s+$", "")
  local own, other = at_work(home, "shop-v1-0a"), at_work(home, "shop-v2-0b")
  tool.let_end(here(), { home = home }, "shop-v1-", 0)
  test.equal(task.join(own).signal, 15)
  local both = process.run { "sh", "-c", "cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' '\\n'" }
  test.contains(both.stdout, home .. "/.deployrun/compose/shop-v2-0b")
  other:cancel("not needed any more")
  pcall(task.join, other)
  tool.let_end(here(), { home = home }, "shop-v1-", 0)
  process.run { "rm", "-r", home }
end)

--- A server whose Compose comes to its end when that is waited for: then a container is there that was not before.
local function server(name)
  local one = { name = "h1", done = {}, there = {} }
  function one.exec(_, argv)
    if argv[3] == tool._LET_END then one.there[name] = { id = "new", running = true, name = name, labels = {} } end
    return { code = 0, stdout = "home /root\ncompose docker 2\n", stderr = "" }
  end
  one.docker = {
    inspect = function(_, ref)
      for known, found in pairs(one.there) do
        if known == ref or found.id == ref then return found end
      end
      error({ kind = "docker.not_found", message = "none" }, 0)
    end,
    stop = function() one.done[#one.done + 1] = "stop" end,
    remove = function(_, ref)
      for known, found in pairs(one.there) do
        if known == ref or found.id == ref then
          one.there[known], one.done[#one.done + 1] = nil, "remove " .. known
          return
        end
      end
      error({ kind = "docker.not_found", message = "none" }, 0)
    end,
  }
  return one
end

local function app(role)
  local roles = { role }
  local self = { config = { service = "shop", roles = roles, network = "kamal" }, window = false }
  function self.roles() return roles end
  return setmetatable(self, compose_app._Compose)
end

local BEFORE = { containers = {}, routes = {}, compose = { home = "/root", argv = { "docker", "compose" } } }

test.it("takes back what Compose makes only after it was called off", function()
  local web = { name = "web", stops_first = false, stop_timeout = "1s" }
  local host = server("shop-web-v1")
  app(web):unstart(host, "v1", BEFORE)
  test.equal(host.done, { "stop", "remove shop-web-v1" })

  host = server("shop-writer-v1")
  app({ name = "writer", stops_first = true, stop_timeout = "1s" }):unhand_over(host, "v1", BEFORE)
  test.equal(host.done, { "stop", "remove shop-writer-v1" })

  host = server("shop.migrate-v1")
  app(web):unmigrate(host, "v1", BEFORE)
  test.equal(host.done, { "remove shop.migrate-v1" })
end)

test.it("says which process does not end, where, and what to do", function()
  local err = test.raises("compose.command", function()
    tool.let_end({ name = "h1", exec = function()
      return { code = 1, stdout = "", stderr = "docker compose does not end: process 42\n" }
    end }, { home = "/root" }, "shop-v1-", 0)
  end)
  test.equal({ err.host, err.message }, { "h1", "docker compose does not end: process 42" })
  test.contains(err.hint, "end it")
end)

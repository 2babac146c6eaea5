--- Connections are begun as Kamal's `sshkit` settings say: so many at a time, names looked up again.

local files = require "native.files"
local process = require "native.process"
local project = require "kamal.project"
local starting = require "deploy.host.starting"
local task = require "native.task"
local test = require "test"

--- The most of five that were under way at once.
local function most_at_once()
  local now, most = 0, 0
  task.each({ 1, 2, 3, 4, 5 }, {}, function()
    starting.connect(function()
      now = now + 1
      most = math.max(most, now)
      task.sleep(1)
      now = now - 1
    end)
  end)
  return most
end

--- How often a name that is not found `missing` times was looked up.
local function lookups(missing)
  local count = 0
  local ok, err = pcall(starting.connect, function()
    count = count + 1
    if count <= missing then error({ kind = "ssh.resolve", message = "look up web1: try again" }, 0) end
    return "connected"
  end)
  return count, ok and err or err.kind
end

local function open(lines)
  local folder = process.run({ "mktemp", "-d" }).stdout:gsub("%s+$", "")
  files.write(folder .. "/deploy.yml", "service: shop\nimage: me/shop\nbuilder: { arch: amd64 }\nservers: [1.1.1.1]\n"
    .. "registry: { username: ann, password: p }\n" .. (lines or ""))
  project.open("version", { config_file = folder .. "/deploy.yml", version = "v1" }, {})
  files.remove(folder, { recursive = true })
end

test.it("begins so many connections at a time as sshkit.max_concurrent_starts says", function()
  starting.set()
  test.equal(most_at_once(), 5)
  open "sshkit: { max_concurrent_starts: 2 }\n"
  test.equal(most_at_once(), 2)
  starting.set()
end)

test.it("goes on with the next one where one fails", function()
  starting.set { at_once = 1 }
  test.raises("ssh.connect", function()
    starting.connect(function() error({ kind = "ssh.connect", message = "refused" }, 0) end)
  end)
  test.equal(most_at_once(), 1)
  starting.set()
end)

test.it("looks a name up again as often as sshkit.dns_retries says, three times unless told", function()
  starting.set()
  test.equal({ lookups(1) }, { 1, "ssh.resolve" })
  open()
  test.equal({ lookups(2) }, { 3, "connected" })
  open "sshkit: { dns_retries: 1 }\n"
  test.equal({ lookups(9) }, { 2, "ssh.resolve" })
  starting.set()
end)

test.it("asks but once where something else is wrong", function()
  starting.set { lookups = 3 }
  local count = 0
  test.raises("ssh.auth", function()
    starting.connect(function()
      count = count + 1
      error({ kind = "ssh.auth", message = "refused" }, 0)
    end)
  end)
  test.equal(count, 1)
  starting.set()
end)

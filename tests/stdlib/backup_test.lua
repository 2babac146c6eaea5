--- What deploy.backup decides by itself: schedules, what is outdated, what it refuses; agents of other processors.

local agent = require "deploy.host.agent"
local backup = require "deploy.backup"
local deploy = require "deploy"
local schedule = require "deploy.backup.schedule"
local task = require "native.task"
local test = require "test"

local HASH = ("a"):rep(64)

test.it("says a schedule to cron and to systemd alike", function()
  test.equal(schedule.parse("daily 03:15"), { cron = "15 3 * * *", calendar = "*-*-* 03:15:00" })
  test.equal(schedule.parse("weekly Sun 23:05"), { cron = "5 23 * * 0", calendar = "Sun *-*-* 23:05:00" })
  test.equal(schedule.parse("every 6h"), { cron = "0 */6 * * *", calendar = "*-*-* 0/6:00:00" })
  test.equal(schedule.parse("every 24h"), { cron = "0 0 * * *", calendar = "*-*-* 00:00:00" })
  test.equal(schedule.parse("every 15m"), { cron = "*/15 * * * *", calendar = "*:0/15:00" })
  for _, bad in ipairs { "", "daily", "daily 24:00", "daily 3:60", "weekly Foo 03:15", "every 5h", "every 7m",
    "every 60m", "every 0m", "every 1d", "* * * * *", "daily 03:15; reboot" } do
    local err = test.raises("usage", function() schedule.parse(bad) end)
    test.contains(err.hint, "daily 03:15")
  end
end)

test.it("writes units whose paths are words and no specifiers", function()
  local service, timer = schedule.units("shop", "/home/a b%h/.deployrun/backup/shop", "daily 03:15")
  test.contains(service, 'ExecStart="/home/a b%%h/.deployrun/backup/shop/program" now "/home/a b%%h/.deployrun/')
  test.contains(timer, "OnCalendar=*-*-* 03:15:00")
end)

test.it("reads the time of a backup's name, leap years and ends of months too", function()
  local one = { name = "shop" }
  local function at(id) return backup._made_ms(one, ("shop-%s-%s.sqlite3.zst"):format(id, HASH)) end
  test.equal(at "19700101T000000.000Z", 0)
  test.equal(at "20261127T051731.965Z", 1795756651965)
  test.equal(at "20240229T235959.001Z", 1709251199001)
  test.equal(at "20000301T000000.000Z", 951868800000)
  test.equal(backup._made_ms(one, "shop2-20261127T051731.965Z-" .. HASH .. ".sqlite3.zst"), nil)
  test.equal(backup._made_ms(one, "notes.txt"), nil)
end)

test.it("keeps what is young, and the newest few however old", function()
  local now = 1795756651965
  local function name(day) return ("shop-2026%sT000000.000Z-%s.sqlite3.zst"):format(day, HASH) end
  local all = { name "1127", name "1120", name "1001", name "0901", "notes.txt" }
  local function old(spec) return backup._outdated({ name = "shop", _spec = spec }, all, now) end
  test.equal(old { at_least = 1 }, { name "1001", name "0901" })
  test.equal(old { at_least = 3 }, { name "0901" })
  test.equal(old {}, {})
  test.equal(old { at_least = 1, keep = "1d" }, { name "1120", name "1001", name "0901" })
end)

test.it("refuses what cannot be, before it connects", function()
  local host = deploy.host "deploy@nowhere.invalid"
  local function new(spec)
    spec.name, spec.host, spec.database = spec.name or "shop", host, spec.database or "/srv/app.sqlite3"
    return deploy.backup(spec)
  end
  test.raises("usage", function() new {} end)
  test.raises("usage", function() new { folder = "/b", name = "../x" } end)
  test.raises("usage", function() new { folder = "/b", keep = "30" } end)
  test.raises("usage", function() new { folder = "/b", every = "sometimes" } end)
  test.raises("usage", function() new { folder = "/b", stop = function() end } end)
  test.raises("usage", function() new { folder = "/b", database = { path = "x", volume = "v", container = "c" } } end)
  test.raises("usage", function() new { s3 = { endpoint = "https://x", bucket = "b" } } end)
  test.equal(new({ folder = "/b", every = "every 6h" }).name, "shop")
end)

test.it("names both processors where there is no agent for an image's", function()
  local engine = { host = "h1", inspect_image = function() return { architecture = "riscv64" } end }
  local err = test.raises("agent.arch", function()
    agent.in_container(engine, { volume = "data", image = "shop:v1" })
  end)
  test.contains(err.message, "riscv64")
  test.contains(err.message, "x86_64")
  test.equal(err.host, "h1")
end)

test.it("has what uses the database run again, also where its end was called off, or comes after a kill", function()
  for index, how in ipairs { "interrupted", "killed" } do
    local ends, running, starts = nil, true, 0
    local function settle()
      if ends and task.now() >= ends then running, ends = false, nil end
      return running
    end
    local function wait()
      while settle() do task.sleep(5) end
    end
    local docker = { inspect = function() return { running = settle() } end, wait = wait }
    function docker.stop()
      ends = task.now() + 80
      wait()
    end
    function docker.start()
      if not settle() then running, starts = true, starts + 1 end
    end
    local one = backup.new { name = "shop", host = deploy.host("server" .. index), database = "/srv/app.sqlite3",
      folder = "/b" }
    one.host = { name = "server" .. index, docker = docker }
    if how == "interrupted" then
      local stopping = task.spawn(function() one:stop { "shop-web-v1" } end, { name = "stop", observed = true })
      task.sleep(10)
      stopping:cancel("interrupted")
      pcall(task.join, stopping)
    else
      ends = task.now() + 80
    end
    one:start { "shop-web-v1" }
    task.sleep(100)
    test.equal({ how, settle(), starts }, { how, true, 1 })
  end
end)

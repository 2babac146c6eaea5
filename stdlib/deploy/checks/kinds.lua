--- The kinds of checks: what each takes, how it is called, and the look that decides. A look answers whether it is so
--- and a few words; what it raises is a failure too.

local fail = require "native.fail"
local http = require "native.http"
local lock = require "deploy.lock"
local patient = require "doctor.patient"
local pick = require "deploy.app.pick"
local process = require "native.process"
local secrets = require "deploy.secrets"
local side_by_side = require "deploy.side_by_side"
local text = require "native.text"

local M = {}

--- @class CheckKind
--- @field takes table<string, OptionSpec>
--- @field title fun(entry: table): string
--- @field run fun(entry: table, context: CheckContext): boolean, string?
--- @field check? fun(entry: table)  raises `usage` for values that mean nothing, when the recipe is read

local UNITS = { kB = 1e3, MB = 1e6, GB = 1e9, TB = 1e12 }

--- Bytes of "2GB".
--- @param size string
--- @return number
function M.bytes(size)
  local word, unit = size:match("^([%d.]+)%s*(%a+)$")
  local number = tonumber(word)
  if not number or not UNITS[unit] then
    fail.usage(("%q is no size: 500MB, 2GB"):format(size), { token = size })
  end
  return number * UNITS[unit]
end

--- Asks every server; good where each says so. The first that does not is told.
local function everywhere(context, fn)
  local answers = side_by_side(context.app.hosts, "check", function(host)
    local ok, good, note = pcall(fn, host)
    if not ok then good, note = false, fail.normal(good).message end
    return { good = good, note = ("%s: %s"):format(host.name, note or "") }
  end, "finish")
  local notes = {}
  for _, answer in ipairs(answers) do
    if not answer.good then return false, answer.note end
    notes[#notes + 1] = answer.note
  end
  return true, table.concat(notes, ", ")
end

local function serving(context, role)
  local app, out = context.app, {}
  local looks = side_by_side(app.hosts, "check", function(host) return app:look(host) end)
  for index, host in ipairs(app.hosts) do
    for _, one in ipairs(app:roles(host)) do
      if not role or one.name == role then
        out[#out + 1] = { host = host, role = one, facts = pick.current(looks[index], one) }
      end
    end
  end
  -- Of nothing all would be true.
  if #out == 0 then fail.usage(("no server has a role %s"):format(role or "at all"), { token = role }) end
  return out
end

local all = {}
M.all = all

all.reachable = {
  takes = {}, title = function() return "servers and engines answer" end,
  run = function(_, context)
    return everywhere(context, function(host) return true, "engine API " .. host.docker:ping() end)
  end,
}

all.disk = {
  takes = { free = { "string", required = true }, path = { "string" } },
  check = function(entry) M.bytes(entry.free) end,
  title = function(entry) return ("%s free on %s"):format(entry.free, entry.path or "/") end,
  run = function(entry, context)
    local wanted = M.bytes(entry.free)
    return everywhere(context, function(host)
      local said = host:exec({ "df", "-Pk", entry.path or "/" }, { reads = true }).stdout
      local free = (tonumber(said:match("\n%S+%s+%d+%s+%d+%s+(%d+)")) or 0) * 1024
      return free >= wanted, patient.size(free) .. " free"
    end)
  end,
}

all.lock = {
  takes = {}, title = function() return "the deploy lock is free, or ours" end,
  run = function(_, context)
    for _, place in ipairs(lock.declared()) do
      local holder = lock.status(place).holder
      if holder and holder.run ~= (context.run.id or "") then return false, lock.words(holder) end
    end
    return true
  end,
}

all.secrets = {
  takes = { names = { "table", required = true } },
  title = function(entry) return "secrets: " .. table.concat(entry.names, ", ") end,
  run = function(entry, context)
    local store = secrets.open(context.app.config.secrets)
    for _, name in ipairs(entry.names) do store:get(name) end
    return true
  end,
}

all.command = {
  takes = { command = { "table", required = true }, on = { "host" }, env = { "table" } },
  title = function(entry) return text.shell_join(entry.command) end,
  run = function(entry)
    local result
    if entry.on then
      result = entry.on:exec(entry.command, { check = false, reads = true, env = entry.env })
    else
      result = process.run(entry.command, { check = false, reads = true, env = entry.env })
    end
    local said = text.clean(result.stderr ~= "" and result.stderr or result.stdout):match("([^\n]+)%s*$") or ""
    return result.code == 0, result.code == 0 and said or ("exit code %d: %s"):format(result.code, said)
  end,
}

all.http = {
  takes = { url = { "string", required = true }, expect = { "any" }, tls_days = { "number" }, ca_file = { "string" },
    connect_to = { "string" }, headers = { "table" } },
  title = function(entry) return entry.url .. " answers" end,
  run = function(entry)
    local expect = { status = "2xx" }
    if type(entry.expect) == "table" and entry.expect[1] == nil then
      expect = {}
      for key, value in pairs(entry.expect) do expect[key] = value end
    elseif entry.expect ~= nil then
      expect.status = entry.expect
    end
    expect.tls_days = entry.tls_days or expect.tls_days
    local reply = http.probe(entry.url, expect, { ca_file = entry.ca_file, connect_to = entry.connect_to,
      headers = entry.headers, fresh = true, timeout = "10s" })
    local days = reply.tls_days and (", certificate good for %d days"):format(reply.tls_days) or ""
    return reply.ok, reply.ok and ("%d in %.0f ms%s"):format(reply.status, reply.ms, days) or reply.reason
  end,
}

all.image = {
  takes = {}, title = function() return "the registry has the image" end,
  run = function(_, context)
    local image = context.app:image(context.version)
    local host = context.app.hosts[1]
    local found = host.docker:inspect_remote_image(image, { credentials = context.app._credentials })
    return true, found.digest:sub(1, 19)
  end,
}

all.backup = {
  takes = { backup = { "table", required = true }, max_age = { "duration" } },
  title = function(entry) return "a backup of the last " .. (entry.max_age or "26h") end,
  run = function(entry)
    local newest
    for _, one in ipairs(entry.backup:list().backups or {}) do
      local taken = text.parse_time(one.id)
      local age = taken and os.time() - taken
      if age and (not newest or age < newest) then newest = age end
    end
    if not newest then return false, "there is none" end
    return newest * 1000 <= text.parse_duration(entry.max_age or "26h"), text.format_duration(newest * 1000) .. " old"
  end,
}

local DAYS = { "Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun" }

local function check_window(entry)
  for _, name in ipairs { "from", "to" } do
    local time = entry[name]
    if time and not (time:match("^[01]%d:[0-5]%d$") or time:match("^2[0-3]:[0-5]%d$") or time == "24:00") then
      fail.usage(("window: %s: %q is no time of a day: \"08:00\""):format(name, time), { token = time })
    end
  end
  for _, day in ipairs(entry.days or {}) do
    local known = false
    for _, one in ipairs(DAYS) do known = known or one == day end
    if not known then
      fail.usage(("window: days: %q is none of %s"):format(tostring(day), table.concat(DAYS, ", ")),
        { token = tostring(day) })
    end
  end
end

--- Whether a time of a day is within a window. One that ends earlier than it begins goes on after midnight, and
--- belongs to the day on which it began.
--- @param entry { days?: string[], from?: string, to?: string }
--- @param day string   "Fri"
--- @param time string  "23:15"
--- @return boolean
function M.in_window(entry, day, time)
  local from, to = entry.from or "00:00", entry.to or "24:00"
  local index, wanted = 0, {}
  for position, name in ipairs(DAYS) do
    if name == day then index = position end
  end
  for _, name in ipairs(entry.days or DAYS) do wanted[name] = true end
  local today, before = wanted[day] or false, wanted[DAYS[(index + 5) % 7 + 1]] or false
  if from <= to then return today and time >= from and time < to end
  return today and time >= from or before and time < to
end

all.window = {
  takes = { days = { "table" }, from = { "string" }, to = { "string" } },
  check = check_window,
  title = function(entry)
    local days = table.concat(entry.days or { "every day" }, " ")
    return ("deploys are on: %s %s to %s"):format(days, entry.from or "00:00", entry.to or "24:00")
  end,
  run = function(entry)
    local clock = os.date("*t")
    local day, time = DAYS[(clock.wday + 5) % 7 + 1], ("%02d:%02d"):format(clock.hour, clock.min)
    return M.in_window(entry, day, time), ("it is %s %s"):format(day, time)
  end,
}

all.clean = {
  takes = {}, title = function() return "the working tree has no changes" end,
  run = function()
    local said = process.run({ "git", "status", "--porcelain" }, { reads = true }).stdout
    local first = said:match("[^\n]+")
    return first == nil, first and text.clean(first) or nil
  end,
}

all.serving = {
  takes = { role = { "string" } }, title = function() return "what serves is what was shipped" end,
  run = function(entry, context)
    if not context.version then return false, "which version? checks:run(run, { version = run.version })" end
    local notes = {}
    for _, one in ipairs(serving(context, entry.role)) do
      local version = one.facts and one.facts.version
      if version ~= context.version then
        return false, ("%s: %s serves %s"):format(one.host.name, one.role.name, version or "nothing")
      end
      notes[#notes + 1] = one.host.name
    end
    return true, ("%s on %s"):format(context.version, table.concat(notes, ", "))
  end,
}

all.count = {
  takes = { command = { "table", required = true }, at_least = { "number" }, at_most = { "number" },
    role = { "string" } },
  title = function(entry) return "count: " .. text.shell_join(entry.command) end,
  run = function(entry, context)
    local one = serving(context, entry.role)[1]
    if not one or not one.facts then return false, "nothing serves" end
    local result = one.host.docker:exec(one.facts.id, entry.command, { reads = true })
    local number = tonumber(result.stdout:match("%-?%d+"))
    if result.code ~= 0 or not number then return false, ("exit code %d, no number"):format(result.code) end
    return number >= (entry.at_least or -math.huge) and number <= (entry.at_most or math.huge), tostring(number)
  end,
}

all.jobs = {
  takes = { role = { "string", required = true } },
  title = function(entry) return ("jobs run: %s"):format(entry.role) end,
  run = function(entry, context)
    local found = serving(context, entry.role)
    for _, one in ipairs(found) do
      if not one.facts or one.facts.state ~= "running" then return false, one.host.name .. ": none runs" end
    end
    return #found > 0, ("%d running"):format(#found)
  end,
}

all.logs = {
  takes = { pattern = { "string" }, at_most = { "integer" }, role = { "string" } },
  title = function(entry) return ("log lines with `%s` since the run began"):format(entry.pattern or "ERROR") end,
  run = function(entry, context)
    local count, first = 0, nil
    for _, one in ipairs(serving(context, entry.role)) do
      local logs = one.facts and one.host.docker:logs(one.facts.id, { since = tostring(context.since), tail = 5000 })
      for line in (logs and logs.text or ""):gmatch("[^\n]+") do
        if line:find(entry.pattern or "ERROR", 1, true) then
          count, first = count + 1, first or ("%s: %s"):format(one.host.name, text.clean(line):sub(1, 160))
        end
      end
    end
    return count <= (entry.at_most or 0), count == 0 and "none" or ("%d, first %s"):format(count, first)
  end,
}

all.accessories = {
  takes = { names = { "table" } }, title = function() return "the app reaches its accessories" end,
  run = function(entry, context)
    local app = context.app
    local said = side_by_side(app:accessory_hosts(entry.names), "check", function(host)
      return app:reach_accessories(host, entry.names)
    end)
    local notes = {}
    for index, one in ipairs(said) do notes[index] = one.note end
    return true, #notes > 0 and table.concat(notes, ", ") or "there are none"
  end,
}

all.release = {
  takes = {}, title = function() return "every server keeps the release to go back to" end,
  run = function(_, context)
    local app, seen = context.app, {}
    local looks = side_by_side(app.hosts, "check", function(host) return app:look_back(host) end)
    for index, host in ipairs(app.hosts) do seen[host.name] = looks[index] end
    return true, app:rollback_target(seen, context.version)
  end,
}

all.doctor = {
  takes = { groups = { "table" } }, title = function() return "the doctor finds no error" end,
  run = function(entry, context)
    local found = require("doctor").new({ app = context.app }):look { groups = entry.groups }
    for _, one in ipairs(found) do
      if one.severity == "error" then return false, ("%s: %s"):format(one.host or "", one.title) end
    end
    return true, ("%d warnings"):format(#found)
  end,
}

M.names = {}
for name in pairs(all) do M.names[#M.names + 1] = name end
table.sort(M.names)

return M

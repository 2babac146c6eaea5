--- A server's own timer for backups: a systemd timer where systemd runs and root logs in, else a line in the user's
--- crontab. Times are by the server's clock.

local fail = require "native.fail"

local M = {}

local DAYS = { Sun = 0, Mon = 1, Tue = 2, Wed = 3, Thu = 4, Fri = 5, Sat = 6 }
local HINT = 'use "daily 03:15", "weekly Sun 03:15", "every 6h" or "every 15m"'
local UNITS = "/etc/systemd/system"
local STAMPS = "/var/lib/systemd/timers"  -- when each timer that is Persistent fired last

local function wrong(every)
  fail.usage(("deploy.backup: `every` cannot be \"%s\""):format(every), { hint = HINT, token = every })
end

local function time_of(every, clock)
  local hour, minute = clock:match("^(%d%d?):(%d%d)$")
  hour, minute = tonumber(hour), tonumber(minute)
  if not hour or hour > 23 or minute > 59 then wrong(every) end
  return hour, minute
end

--- The same for cron and for systemd.
--- @param every string
--- @return { cron: string, calendar: string }
function M.parse(every)
  local count, unit = every:match("^every (%d+)([hm])$")
  count = tonumber(count)
  if count then
    local whole = unit == "h" and 24 or 60
    -- Anything else would leave a shorter pause at the end of the day or the hour.
    if count < 1 or whole % count ~= 0 or count == 60 then wrong(every) end
    if unit == "m" then return { cron = ("*/%d * * * *"):format(count), calendar = ("*:0/%d:00"):format(count) } end
    if count == 24 then return { cron = "0 0 * * *", calendar = "*-*-* 00:00:00" } end
    return { cron = ("0 */%d * * *"):format(count), calendar = ("*-*-* 0/%d:00:00"):format(count) }
  end
  local day, clock = every:match("^weekly (%a%a%a) (%S+)$")
  if day and DAYS[day] then
    local hour, minute = time_of(every, clock)
    return { cron = ("%d %d * * %d"):format(minute, hour, DAYS[day]),
      calendar = ("%s *-*-* %02d:%02d:00"):format(day, hour, minute) }
  end
  clock = every:match("^daily (%S+)$")
  if not clock then wrong(every) end
  local hour, minute = time_of(every, clock)
  return { cron = ("%d %d * * *"):format(minute, hour), calendar = ("*-*-* %02d:%02d:00"):format(hour, minute) }
end

local WHICH = [[
if [ -d /run/systemd/system ] && [ "$(id -u)" = 0 ]; then echo systemd
elif command -v crontab >/dev/null; then echo cron
else echo none; fi]]

local SERVICE = [[
[Unit]
Description=Backup of %s by deployrun
After=network-online.target docker.service
Wants=network-online.target

[Service]
Type=oneshot
ExecStart="%s/program" now "%s"
Nice=10
TimeoutStartSec=infinity
]]

local TIMER = [[
[Unit]
Description=Backups of %s by deployrun

[Timer]
OnCalendar=%s
Persistent=true

[Install]
WantedBy=timers.target
]]

-- $1: the plan's name, $2: its line, or "" to remove it. A line is ours by its end.
local CRON = [[
mine="# deployrun-backup $1"
old=$(crontab -l 2>/dev/null)
new=$(printf '%s\n' "$old" | awk -v m="$mine" 'substr($0, length($0) - length(m) + 1) != m')
[ -z "$2" ] || new=$(printf '%s\n%s' "$new" "$2 $mine")
new=$(printf '%s\n' "$new" | sed '/./,$!d')
[ "$new" = "$old" ] || { if [ -n "$new" ]; then printf '%s\n' "$new" | crontab -; else crontab -r; fi; }]]

local function which(host) return (host:exec({ "sh", "-c", WHICH }, { reads = true }).stdout:gsub("%s+$", "")) end

local function unit_name(name, ending) return ("deployrun-backup-%s.%s"):format(name, ending) end

local function unit_of(name, ending) return UNITS .. "/" .. unit_name(name, ending) end

local function quoted(path) return "'" .. path:gsub("'", "'\\''"):gsub("%%", "\\%%") .. "'" end

--- The texts of the units.
--- @param name string
--- @param home string
--- @param every string
--- @return string service
--- @return string timer
function M.units(name, home, every)
  local path = home:gsub("%%", "%%%%")  -- systemd's own specifiers
  return SERVICE:format(name, path, path), TIMER:format(name, M.parse(every).calendar)
end

--- @async
--- @param host Host
--- @param name string   the plan's
--- @param home string   its folder
--- @param every string
--- @return string kind  "systemd" or "cron"
function M.install(host, name, home, every)
  local times, kind = M.parse(every), which(host)
  if kind == "none" then
    fail.raise("backup.schedule", "the server has neither systemd for this user nor cron", { host = host.name,
      hint = "install cron there, or leave out `every` and run `now` from elsewhere" })
  end
  if kind == "cron" then
    local line = ("%s %s now %s >/dev/null"):format(times.cron, quoted(home .. "/program"), quoted(home))
    host:exec({ "sh", "-c", CRON, "sh", name, line })
    return kind
  end
  local service, timer = M.units(name, home, every)
  host:write(unit_of(name, "service"), service, { mode = "0644" })
  host:write(unit_of(name, "timer"), timer, { mode = "0644" })
  host:exec({ "systemctl", "daemon-reload" })
  host:exec({ "systemctl", "enable", "--now", unit_name(name, "timer") })
  return kind
end

--- Also ends a backup that systemd has under way: its folder goes next.
--- @async
--- @param host Host
--- @param name string
function M.remove(host, name)
  local kind = which(host)
  if kind == "cron" then host:exec({ "sh", "-c", CRON, "sh", name, "" }) end
  if kind ~= "systemd" or not host:stat(unit_of(name, "timer")) then return end
  local timer, service = unit_name(name, "timer"), unit_name(name, "service")
  host:exec({ "systemctl", "disable", "--now", timer })
  host:exec({ "systemctl", "stop", service })
  host:remove(unit_of(name, "timer"))
  host:remove(unit_of(name, "service"))
  host:remove(STAMPS .. "/stamp-" .. timer)
  host:exec({ "systemctl", "daemon-reload" })
  -- A failed unit stays in sight without its file; one that did not fail is unknown by now, an error to systemctl.
  host:exec({ "systemctl", "reset-failed", service }, { check = false })
end

return M

--- Tells others how a run goes: a webhook, Slack, or any command, at its start, success, failure and rollback. Never
--- fails or delays a deploy for long: what cannot be told is warned of. Secrets are masked in all that is told; a
--- webhook's address may itself be one.
---
---     deploy.notify { slack = deploy.secrets.from_env "SLACK_WEBHOOK", on = { "success", "failure", "rollback" } }
---     deploy.notify { webhook = "https://ops.example.com/deploys" }
---     deploy.notify { command = { "bin/announce" } }        -- gets the message as JSON on its standard input

local fail = require "native.fail"
local http = require "native.http"
local json = require "native.json"
local log = require "native.log"
local options_module = require "deploy.options"
local process = require "native.process"
local secret = require "native.secret"
local task = require "native.task"
local text = require "native.text"

local M = {}

local WITHIN = 10000  -- ms for all of them, side by side
local EVENTS = { "start", "success", "failure", "rollback" }
local OPTIONS = {
  webhook = { "string|userdata" }, slack = { "string|userdata" }, command = { "table" }, call = { "function" },
  on = { "table" },
  headers = { "table" },
}

--- @class NotifyOptions  one of `webhook`, `slack`, `command`, `call`
--- @field webhook? string|Secret  gets the message as JSON by POST
--- @field slack? string|Secret    an incoming webhook of Slack (or of what understands the same)
--- @field command? string[]       gets the message as JSON on its standard input, and DEPLOYRUN_EVENT
--- @field call? fun(message: table)  a function of the recipe's; may wait
--- @field on? string[]            "start", "success", "failure", "rollback"; all of them unless told
--- @field headers? table<string, string|Secret>  of a webhook

local declared = {}

--- Declares somebody who is told.
--- @param options NotifyOptions
function M.notify(options)
  options_module.check(options, OPTIONS, "deploy.notify")
  local ways = 0
  for _, way in ipairs { "webhook", "slack", "command", "call" } do ways = ways + (options[way] and 1 or 0) end
  if ways ~= 1 then fail.usage("deploy.notify: one of `webhook`, `slack`, `command`, `call`") end
  local on = {}
  for _, name in ipairs(options.on or EVENTS) do
    local known = false
    for _, event in ipairs(EVENTS) do known = known or event == name end
    if not known then
      fail.usage(("deploy.notify: on: %q is none of %s"):format(tostring(name), table.concat(EVENTS, ", ")),
        { hint = text.nearest_hint(tostring(name), EVENTS), token = tostring(name) })
    end
    on[name] = true
  end
  declared[#declared + 1] = { options = options, on = on }
end

--- What an ending is: a `rollback` that ended well, and a failed run that undid what it had changed, are rollbacks.
--- @param command string
--- @param result { state: string, changed: boolean? }
--- @return string event
--- @return string? also  what it counts as where nobody asked for the first
function M.event_of(command, result)
  if result.state == "done" then return command == "rollback" and "rollback" or "success" end
  return "failure", result.changed and result.state ~= "needs_person" and "rollback" or nil
end

local WORDS = { start = "begins", success = "is done", rollback = "went back", failure = "failed" }

--- The message: what is sent as JSON, with `text` for people.
--- @param event string
--- @param info table   recipe, command, parameters, user, host, actor, revision: as of a request
--- @param result? { run: string, state: string?, error: table?, ms: number? }
--- @return table
function M.message(event, info, result)
  result = result or {}
  local version = (info.parameters or {}).version
  local who = info.actor and info.actor ~= "" and info.actor or ("%s@%s"):format(info.user or "?", info.host or "?")
  local words = ("%s %s%s %s"):format(info.recipe or "?", info.command or "?",
    type(version) == "string" and " " .. version or "", WORDS[event])
  if event == "failure" and result.state ~= "needs_person" then words = words .. "; what it changed is undone" end
  if result.state == "needs_person" then words = words .. " and could not be undone: a person has to look at it" end
  words = words .. (" (by %s%s)"):format(who, result.ms and ", " .. text.format_duration(result.ms) or "")
  local err = result.error
  if err then
    local place = {}
    for _, part in ipairs { err.host or false, err.step or false } do place[#place + 1] = part or nil end
    words = ("%s\n%s%s"):format(words, #place > 0 and table.concat(place, ", ") .. ": " or "", err.message)
  end
  local function masked(value) return value and secret.masked(text.clean(value)) or nil end
  return { event = event, text = masked(words), recipe = info.recipe, command = info.command,
    version = type(version) == "string" and masked(version) or nil, run = result.run, state = result.state, by = who,
    revision = info.revision ~= "" and info.revision or nil, ms = result.ms and math.floor(result.ms) or nil,
    ci_url = require("deploy.lock").ci_url(),
    error = err and { kind = err.kind, message = masked(err.message), host = err.host, step = err.step } or nil }
end

local SLACK = { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;" }

--- What Slack is sent. Its own marks are `<…>` (docs.slack.dev, Formatting message text): what a server has said must
--- neither call everybody nor lead somewhere.
function M._slack(message) return { text = (message.text:gsub("[&<>]", SLACK)) } end

local function send(one, message)
  local options = one.options
  if options.call then return options.call(message) end
  if options.command then
    process.run(options.command, { stdin = json.encode(message), env = { DEPLOYRUN_EVENT = message.event },
      timeout = "10s" })
    return
  end
  local body = options.slack and M._slack(message) or message
  local reply = http.request(options.slack or options.webhook, { json = body, timeout = "10s",
    headers = options.headers })
  if reply.status >= 300 then
    fail.raise("notify.refused", ("%s answered %d"):format(reply.url, reply.status), { status = reply.status })
  end
end

--- Tells all who asked for this event; waits for them at most some seconds.
--- @async
--- @param event string
--- @param also string?  what the event counts as for those that did not ask for it
--- @param message fun(event: string): table
function M.tell(event, also, message)
  local told = {}
  for _, one in ipairs(declared) do
    local as = one.on[event] and event or also and one.on[also] and also or nil
    if as then told[#told + 1] = { one = one, message = message(as) } end
  end
  if #told == 0 then return end
  local ok, err = pcall(task.shielded, WITHIN, "notifications", function()
    for _, outcome in ipairs(task.each(told, { on_failure = "finish" }, function(each)
      send(each.one, each.message)
    end)) do
      if not outcome.ok and outcome.error then
        log.warn("not notified: " .. fail.normal(outcome.error).message)
      end
    end
  end)
  if not ok then log.warn("not notified: " .. fail.normal(err).message) end
end

return M

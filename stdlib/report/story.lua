--- A run's events (docs/events.md) put in order: which steps, what each host did in them and when, what was said, what
--- changed. Knows events and nothing of how a page looks.

local text = require "native.text"

local M = {}

local KEPT_LINES = 400  -- of each step: the last ones

--- @class StoryTask
--- @field host string
--- @field from number   ms since the run began
--- @field to number
--- @field state string
--- @field note string
--- @field attempts integer

--- @class StoryStep
--- @field name string
--- @field undo boolean
--- @field state string
--- @field from number
--- @field to number
--- @field tasks StoryTask[]  in the order of their begin
--- @field lines string[]     what was said meanwhile
--- @field left_out integer   lines before those
--- @field changes { host: string, what: string }[]

--- @class Story
--- @field run string
--- @field recipe string
--- @field command string
--- @field parameters table
--- @field mode? string
--- @field state string
--- @field ms number
--- @field began string    RFC 3339
--- @field steps StoryStep[]
--- @field hosts string[]
--- @field errors table[]
--- @field findings table[]
--- @field checks table[]
--- @field observed table[]
--- @field warnings string[]
--- @field left string[]      what a person has to look at
--- @field next string[]      and to type
--- @field said string[]      before the first step
--- @field probes { host: string, url: string, outcomes: { outcome: string, count: integer, at: number }[] }[]

--- Milliseconds of an event's time; only differences mean something.
local function at(event) return math.floor((text.parse_time(event.time) or 0) * 1000 + 0.5) end

local VERBS = {
  { "POST", "/containers/create%?name=([^&]+)", "create the container %s" },
  { "POST", "/containers/([^/]+)/start", "start %s" }, { "POST", "/containers/([^/]+)/stop", "stop %s" },
  { "POST", "/containers/([^/]+)/restart", "restart %s" }, { "POST", "/containers/([^/]+)/kill", "kill %s" },
  { "POST", "/containers/([^/]+)/pause", "freeze %s" }, { "POST", "/containers/([^/]+)/unpause", "let %s go on" },
  { "POST", "/containers/([^/]+)/rename%?name=([^&]+)", "rename %s to %s" },
  { "DELETE", "/containers/([^/?]+)", "remove the container %s" },
  { "POST", "/images/create%?fromImage=([^&]+)&tag=([^&]+)", "pull %s:%s" },
  { "DELETE", "/images/([^?]+)", "remove the image %s" }, { "POST", "/images/([^?]+)/tag", "tag the image %s" },
  { "POST", "/networks/create", "make a network" }, { "POST", "/volumes/create", "make a volume" },
  { "DELETE", "/volumes/([^/?]+)", "remove the volume %s" },
  { "DELETE", "/networks/([^/?]+)", "remove the network %s" },
  { "POST", "/(%a+)/prune", "prune %s" },
}
-- Of a command inside a container the command itself is told, not how it is begun.
local UNTOLD = { "/exec$", "/exec/%x+/start", "/exec/%x+/resize", "/wait", "/attach" }

local function decoded(path)
  return (path:gsub("%%(%x%x)", function(hex) return string.char(tonumber(hex, 16)) end))
end

--- What a call of an engine changed, in words; nil where it changed nothing.
--- @param event table  `engine.call`
--- @return string?
function M.change(event)
  local method, path = event.method or "", event.path or ""
  if method == "GET" or method == "HEAD" or (tonumber(event.status) or 500) >= 300 and event.status ~= 304 then
    return nil
  end
  if event.status == 304 then return nil end  -- it was so already
  for _, pattern in ipairs(UNTOLD) do
    if path:find(pattern) then return nil end
  end
  for _, verb in ipairs(VERBS) do
    local first, second = path:match(verb[2])
    if verb[1] == method and (first or path:find(verb[2])) then
      local function short(name) return name and decoded(name):gsub("^(%x%x%x%x%x%x%x%x%x%x%x%x)%x+$", "%1") or nil end
      return (verb[3]:gsub("%%s", short(first) or "", 1):gsub("%%s", short(second) or "", 1))
    end
  end
  return ("%s %s"):format(method, decoded(path):gsub("^/v[%d.]+", ""))
end

local Builder = {}
Builder.__index = Builder

--- Milliseconds since the run began.
function Builder:_time(event) return at(event) - self.zero end

--- Notes a host, in the order in which they come.
function Builder:_host(name)
  if not self.seen[name] then
    self.seen[name] = true
    self.story.hosts[#self.story.hosts + 1] = name
  end
end

--- Keeps a line of the step that is under way.
function Builder:_say(event, line)
  local step = self.step
  if not step then return end
  step.lines[#step.lines + 1] = ("%+8.1f s  %s%s"):format(self:_time(event) / 1000,
    event.host and event.host ~= "local" and event.host .. "  " or "", line)
  if #step.lines > KEPT_LINES then
    table.remove(step.lines, 1)
    step.left_out = step.left_out + 1
  end
end

local on = {}

on["run.started"] = function(self, event)
  local story = self.story
  story.run, story.recipe, story.command = event.run, event.recipe, event.command
  story.parameters, story.mode = event.parameters or {}, event.mode
end

on["run.finished"] = function(self, event)
  local story = self.story
  story.state, story.ms, story.left, story.next = event.state, event.ms or 0, event.left or {}, event.next or {}
end

on["step.started"] = function(self, event)
  self.step = { name = event.step, undo = event.undo or false, state = "running", from = self:_time(event),
    to = self:_time(event), tasks = {}, lines = {}, left_out = 0, changes = {}, where = event.where }
  self.story.steps[#self.story.steps + 1] = self.step
end

on["step.finished"] = function(self, event)
  if not self.step or self.step.name ~= event.step then on["step.started"](self, event) end
  self.step.state, self.step.to = event.state, self:_time(event)
end

on["task.started"] = function(self, event)
  if not self.step then return end
  local host = event.host or "local"
  self:_host(host)
  for _, one in ipairs(self.step.tasks) do
    if one.host == host then
      one.attempts, one.state = one.attempts + 1, "running"
      return
    end
  end
  table.insert(self.step.tasks, { host = host, from = self:_time(event), to = self:_time(event), state = "running",
    note = "", attempts = 1 })
end

on["task.finished"] = function(self, event)
  for _, one in ipairs(self.step and self.step.tasks or {}) do
    if one.host == (event.host or "local") then
      one.state, one.to = event.retry and "running" or event.state, self:_time(event)
      one.note = event.note or event.error and event.error.message or ""
      if event.error then self:_say(event, ("failed: %s (%s)"):format(event.error.message, event.error.kind)) end
    end
  end
  if self.step then self.step.to = math.max(self.step.to, self:_time(event)) end
end

on["task.output"] = function(self, event) self:_say(event, "| " .. (event.line or "")) end

on["command.ended"] = function(self, event) self:_say(event, ("exit code %s, %s ms"):format(event.code, event.ms)) end

on["engine.call"] = function(self, event)
  local change = M.change(event)
  if change and self.step then
    table.insert(self.step.changes, { host = event.host or "local", what = change })
    self:_say(event, change)
  end
end

on["log"] = function(self, event)
  if event.level == "warn" or event.level == "error" then
    table.insert(self.story.warnings, (event.host and event.host .. ": " or "") .. (event.message or ""))
  end
  if not self.step and event.level == "info" then table.insert(self.story.said, event.message or "") end
  if event.level ~= "trace" then self:_say(event, event.message or "") end
end

on["probe.failed"] = function(self, event)
  local key = (event.host or "") .. "\0" .. (event.url or "")
  local probe = self.probes[key]
  if not probe then
    probe = { host = event.host or "local", url = event.url or "", outcomes = {} }
    self.probes[key] = probe
    table.insert(self.story.probes, probe)
  end
  local last = probe.outcomes[#probe.outcomes]
  if last and last.outcome == event.outcome then
    last.count = last.count + 1
  else
    table.insert(probe.outcomes, { outcome = event.outcome or "", count = 1, at = self:_time(event) })
  end
  self:_say(event, "probe: " .. (event.outcome or ""))
end

on["error"] = function(self, event) table.insert(self.story.errors, event.error) end
on["finding"] = function(self, event) table.insert(self.story.findings, event) end
on["checks"] = function(self, event) table.insert(self.story.checks, event) end
on["observer.summary"] = function(self, event) table.insert(self.story.observed, event) end

--- @param events table[]  in order
--- @param left_out? integer  events that were not kept
--- @return Story
function M.of(events, left_out)
  local story = { run = "", recipe = "", command = "", parameters = {}, state = "", ms = 0, steps = {}, hosts = {},
    errors = {}, findings = {}, checks = {}, observed = {}, warnings = {}, said = {}, probes = {}, left = {}, next = {},
    left_out = left_out or 0,
    began = events[1] and events[1].time or "" }
  local zero = events[1] and at(events[1]) or 0
  local builder = setmetatable({ story = story, seen = {}, probes = {}, zero = zero }, Builder)
  for _, event in ipairs(events) do
    local handler = on[event.type]
    if handler then handler(builder, event) end
  end
  local last = events[#events]
  if story.ms == 0 and last then story.ms = builder:_time(last) end
  if story.state == "" then story.state = #story.errors > 0 and "failed" or "done" end
  return story
end

return M

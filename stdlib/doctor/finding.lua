--- One finding: its words are declared by its group, what was seen fills them in.

local json = require "native.json"
local secret = require "native.secret"
local text = require "native.text"

local M = {}

--- The words of a finding. `{name}` stands for a fact.
--- @class FindingWords
--- @field id string
--- @field severity "error"|"warning"
--- @field title string
--- @field cause string
--- @field fix string   the command that mends it, or what to do
--- @field apply? fun(host: Host, facts: table): string?  for what is safe: does it, and says what came of it

--- @class Finding
--- @field id string
--- @field severity "error"|"warning"
--- @field host? string
--- @field title string
--- @field cause string
--- @field fix string
--- @field evidence string[]
--- @field apply? fun(host: Host): string?

local BLIND = {
  id = "doctor.blind", severity = "warning", title = "{what} could not be looked at", cause = "{message}",
  fix = "mend what the cause says, then look again",
}

local words

--- Every finding there is, by its id.
--- @return table<string, FindingWords>
function M.all()
  if words then return words end
  words = { [BLIND.id] = BLIND }
  local explain = require "doctor.explain"
  for _, declared in ipairs(explain.FINDINGS) do words[declared.id] = declared end
  for _, name in ipairs(require("doctor").GROUPS) do
    for _, declared in ipairs(require("doctor." .. name).FINDINGS) do words[declared.id] = declared end
  end
  return words
end

local function filled(template, facts)
  return (template:gsub("{([%w_]+)}", function(name)
    local value = facts[name]
    return value == nil and "?" or tostring(value)
  end))
end

local function lines_of(evidence)
  local out = {}
  for _, line in ipairs(type(evidence) == "table" and evidence or { evidence }) do
    line = secret.masked(text.clean(tostring(line)))
    for one in line:gmatch("[^\n]+") do out[#out + 1] = one end
  end
  return json.array(out)
end

--- @param id string
--- @param facts table  what fills in the words; `evidence`: lines; `fix`, `cause`: in place of the declared ones
--- @param host? string
--- @return Finding
function M.make(id, facts, host)
  local declared = M.all()[id]
  if not declared then error("no finding is called " .. id) end
  facts.host = facts.host or host or "this machine"
  local found = {
    id = id, severity = declared.severity, host = host, title = filled(declared.title, facts),
    cause = filled(facts.cause or declared.cause, facts), fix = filled(facts.fix or declared.fix, facts),
    evidence = lines_of(facts.evidence or {}),
  }
  if declared.apply then
    found.apply = function(on) return declared.apply(on, facts) end
  end
  return found
end

--- As an event (docs/events.md).
--- @param found Finding
--- @return table
function M.event(found)
  return { type = "finding", id = found.id, severity = found.severity, host = found.host, title = found.title,
    cause = found.cause, fix = found.fix, evidence = found.evidence, safe = found.apply ~= nil, text = M.text(found) }
end

local function block(label, value)
  return ("  %-6s %s\n"):format(label, (value:gsub("\n", "\n         ")))
end

--- For people.
--- @param found Finding
--- @return string
function M.text(found)
  local host = found.host and found.host .. ": " or ""
  local head = ("%s  %s%s  [%s]\n"):format(found.severity, host, found.title, found.id)
  local out = { head }
  if #found.evidence > 0 then out[#out + 1] = block("seen", table.concat(found.evidence, "\n")) end
  out[#out + 1] = block("cause", found.cause)
  out[#out + 1] = block("fix", found.fix .. (found.apply and "\n(safe: --fix does it)" or ""))
  return table.concat(out)
end

--- Several findings that one cause explains are told as that one: what the engine's disk, a port or a dead container
--- has brought about elsewhere.
local ECHOES = {
  ["app.unready"] = { "container.restarting", "container.oom", "container.unhealthy", "container.port",
    "container.exited" },
  ["container.exited"] = { "container.oom" },
  ["container.restarting"] = { "container.oom" },
  ["proxy.target"] = { "container.restarting", "container.oom", "container.exited" },
  ["assets.page"] = { "app.unready", "container.restarting", "container.oom", "container.unhealthy", "container.port",
    "container.exited", "proxy.down", "proxy.target", "proxy.no_route" },
  ["proxy.down"] = { "port.taken" },
}

--- @param findings Finding[]
--- @return Finding[]
function M.without_echoes(findings)
  local there, out = {}, {}
  for _, found in ipairs(findings) do there[(found.host or "") .. "\0" .. found.id] = true end
  for _, found in ipairs(findings) do
    local echo = false
    for _, cause in ipairs(ECHOES[found.id] or {}) do
      echo = echo or there[(found.host or "") .. "\0" .. cause]
    end
    if not echo then out[#out + 1] = found end
  end
  return out
end

return M

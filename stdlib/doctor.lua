--- Looks for what keeps an app from being shipped or from serving, and tells each thing with what shows it, why it is
--- so, and the command that mends it. What can be found is data: a file per group in doctor/, with the words of its
--- findings (`FINDINGS`) and the looks that find them. Looking changes nothing; `fix` does what is safe.
---
---     local doctor = deploy.doctor { app = app, assets = "/", accessories = { { name = "search", port = 7700 } } }
---     deploy.command "doctor" { reads = function(params) return not params.fix end,
---       params = { fix = { type = "boolean" } }, run = function(run) doctor:run(run, { fix = run.fix }) end }

local fail = require "native.fail"
local finding_module = require "doctor.finding"
local options_module = require "deploy.options"
local patient_module = require "doctor.patient"
local report = require "native.report"
local task = require "native.task"

local M = {}
local Doctor = {}
Doctor.__index = Doctor

--- In the order in which findings are told. Those of `reach` and `engine` come first: where they find something that
--- ends a look, the others of that server have nothing to look at.
M.GROUPS = { "reach", "engine", "disk", "containers", "proxy", "registry", "databases", "accessories", "jobs", "assets",
  "clock", "versions", "certificates", "past" }

local LOOK_WITHIN = 60000   -- ms, one group on one server
local OPTIONS = {
  app = { "table", required = true }, recipe = { "string" }, databases = { "table" }, accessories = { "table" },
  assets = { "string" }, jobs = { "table" }, certificates = { "table" },
}

--- @class Doctor
--- @field app App
--- @field options DoctorOptions
--- @field recipe string

--- @class DoctorOptions
--- @field app App
--- @field recipe? string       whose commands are named in fixes; "recipes/prod.lua" unless told
--- @field databases? { path: string, role?: string, pending?: string[] }[]  path: as the app's containers see it, in
---   one of their volumes; pending: ends with 0 in the running container where no migration is pending
--- @field accessories? { name: string, container?: string, port?: integer, path?: string, on?: Host }[]  container: the
---   name unless told; path: is asked over HTTP, without it the port has to be open
--- @field assets? string       a page whose style sheets and scripts must be there: "/"
--- @field jobs? { role?: string, command?: string[] }[]  command: ends with 0 inside what serves while jobs are run
--- @field certificates? { name: string, port?: integer, days?: integer, ca_file?: string }[]  names that must have a
---   certificate on the servers, beside those of the app's proxy with `tls`; days: how long it must be good for, 14

--- @class DoctorGroup
--- @field FINDINGS FindingWords[]
--- @field needs? "session"|"engine"|"none"   what has to be there to look on a server; "engine" unless told
--- @field on_host? fun(patient: Patient, say: fun(id: string, facts: table))
--- @field once? fun(doctor: Doctor, say: fun(id: string, facts: table))  a look that is no server's

local function group(name) return require("doctor." .. name) end

--- A doctor for an app; connects to nothing.
--- @param options DoctorOptions
--- @return Doctor
function M.new(options)
  options_module.check(options, OPTIONS, "deploy.doctor")
  require("doctor.databases").check(options.app, options.databases or {})
  return setmetatable({ app = options.app, options = options, recipe = options.recipe or "recipes/prod.lua" }, Doctor)
end

--- Runs a look. What a look itself fails with is a finding too: nothing is taken for well that was not seen.
local function guarded(fn, on, say, what)
  local ok, err = pcall(task.within, LOOK_WITHIN, what, function() fn(on, say) end)
  if ok then return end
  if task.cancellation() then error(err, 0) end
  err = fail.normal(err)
  say("doctor.blind", { what = what, message = err.message, evidence = { err.kind .. ": " .. err.message } })
end

local function sayer(found, host)
  return function(id, facts)
    found[#found + 1] = finding_module.make(id, facts, host)
  end
end

local function looks_on(groups, host, doctor)
  local by_group, patient = {}, patient_module.new(host, doctor)
  local function look(name)
    by_group[name] = by_group[name] or {}
    local one = group(name)
    if groups[name] and one.on_host then
      guarded(one.on_host, patient, sayer(by_group[name], host.name), ("%s on %s"):format(name, host.name))
    end
  end
  patient.state = "session"
  local reach = {}
  if not patient:connect(sayer(reach, host.name)) then patient.state = "none" end
  by_group.reach = groups.reach and reach or {}
  if patient.state == "session" then
    look "engine"
    if patient:has_engine() then patient.state = "engine" end
  end
  local rest = {}
  for _, name in ipairs(M.GROUPS) do
    local needs = group(name).needs or "engine"
    if name ~= "reach" and name ~= "engine" and (needs == patient.state or patient.state == "engine") then
      rest[#rest + 1] = name
    end
  end
  task.each(rest, { on_failure = "finish" }, look)
  patient:close()
  return by_group
end

--- Looks at every server, side by side, and at what is no server's.
--- @async
--- @param given? { hosts?: Host[], groups?: string[] }
--- @return Finding[]  in the order of groups, then of servers
function Doctor:look(given)
  given = given or {}
  local groups, hosts, once = {}, given.hosts or self.app.hosts, {}
  for _, name in ipairs(given.groups or M.GROUPS) do groups[name] = true end
  local outcomes = task.each(hosts, { on_failure = "finish" }, function(host) return looks_on(groups, host, self) end)
  for _, outcome in ipairs(outcomes) do
    if not outcome.ok and outcome.error then error(outcome.error, 0) end
  end
  for _, name in ipairs(M.GROUPS) do
    if groups[name] and group(name).once then
      once[name] = {}
      guarded(group(name).once, self, sayer(once[name]), name)
    end
  end
  local all = {}
  for _, name in ipairs(M.GROUPS) do
    for _, outcome in ipairs(outcomes) do
      for _, found in ipairs(outcome.value and outcome.value[name] or {}) do all[#all + 1] = found end
    end
    for _, found in ipairs(once[name] or {}) do all[#all + 1] = found end
  end
  return finding_module.without_echoes(all)
end

--- Does what is safe on a server: looks there again, so that it can be repeated.
function Doctor:_fix(host)
  local notes = {}
  for _, found in ipairs(self:look { hosts = { host } }) do
    if found.apply and found.host == host.name then
      notes[#notes + 1] = ("%s: %s"):format(found.id, found.apply(host) or "done")
    end
  end
  return { unchanged = #notes == 0, note = #notes > 0 and table.concat(notes, "; ") or "nothing to fix" }
end

local function tell(findings)
  local errors = 0
  for _, found in ipairs(findings) do
    report.emit(finding_module.event(found))
    if found.severity == "error" then errors = errors + 1 end
  end
  return errors
end

--- Looks and tells; with `fix` what is safe is done first, as a step of the run. Raises `doctor.found` where an error
--- is left.
--- @async
--- @param run Run
--- @param given? { fix?: boolean, groups?: string[] }  groups: these alone
--- @return Finding[]
function Doctor:run(run, given)
  if given and given.fix then
    run:step("apply the safe fixes", {
      on = self.app.hosts, on_failure = "finish", run = function(host) return self:_fix(host) end,
    })
  end
  local findings = self:look { groups = given and given.groups }
  local errors = tell(findings)
  if errors > 0 then
    local words = errors == 1 and "1 error" or ("%d errors"):format(errors)
    fail.raise("doctor.found", ("%s among %d finding%s"):format(words, #findings, #findings == 1 and "" or "s"),
      { hint = "each finding says what mends it; docs/runbook.md tells more" })
  end
  if #findings == 0 then report.text("nothing is wrong with " .. self.app.config.service .. "\n") end
  return findings
end

return M

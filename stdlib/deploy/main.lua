--- The entry from the command line: reads the recipe, chooses the command, decides between a new run, --resume and
--- --abort, and turns what happened into an exit code.

local check = require "deploy.check"
local command = require "deploy.command"
local fail = require "native.fail"
local files = require "native.files"
local git = require "native.git"
local history_command = require "deploy.journal.history_command"
local json = require "native.json"
local lock_command = require "deploy.lock.command"
local outcome = require "deploy.outcome"
local releases = require "deploy.journal.releases"
local report = require "native.report"
local run_module = require "deploy.run"
local task = require "native.task"
local text = require "native.text"
local unfinished = require "deploy.journal.unfinished"

local M = {}

local BARE = "yes"  -- what --lock-wait is where no duration follows it
local CLOSE_DEADLINE = 10000  -- ms for saying goodbye to hosts

--- @class Request
--- @field recipe string       path as typed
--- @field chunk function      the recipe, compiled
--- @field source string       its text
--- @field words string[]      what followed it on the command line
--- @field mode "run"|"resume"|"abort"
--- @field force boolean       accept a recipe that changed since the run began
--- @field help boolean
--- @field plan boolean        record changes instead of making them
--- @field quiet boolean
--- @field verbose boolean
--- @field exit_code boolean   with a plan: 6 when changes are pending
--- @field record string       with a plan: where the facts that it saw are written; "" for nowhere
--- @field report string      where the run's page is written; "" for nowhere
--- @field lock_wait string     how long a lock that somebody else has is waited for; "" for not at all, "yes" for as
---   long as the recipe's own grammar says
--- @field info table          user, host, actor, version: who runs this

--- The journal; nil for a plan where there is none yet.
local function journal_of(request)
  local ok, journal = pcall(require("deploy.journal").open, request, { create = not request.plan })
  if ok then return journal end
  if request.plan and fail.normal(journal).kind == "journal.missing" then return nil end
  error(journal, 0)
end

local function within(plan, fn)
  if plan then return plan:within(fn) end
  return fn()
end

--- Commands that every recipe has, unless it declares one of that name.
local OWN = { [lock_command.NAME] = lock_command, [history_command.NAME] = history_command }

--- The command and its parameters, by the recipe's own grammar where it has one.
local function parse(request, registry, words)
  if registry.line then
    local name, params = registry.line.read(words)
    return command.choose(registry, name), params
  end
  local name = words[1] and not words[1]:match("^%-") and table.remove(words, 1) or nil
  local own = not registry.by_name[name or ""] and OWN[name]
  local chosen = own and own.new(request.info) or command.choose(registry, name)
  local params = command.parse(chosen, words)
  command.complete(chosen, params)
  return chosen, params
end

--- The locks of a run that executes this command.
local function locks_of(request, name, params, run, state)
  if request.lock_wait == BARE then
    fail.usage("--lock-wait: a duration is missing", { hint = "--lock-wait 10m" })
  end
  local wait = request.lock_wait ~= "" and text.duration_option(request.lock_wait, "--lock-wait") or 0
  local message = ("%s %s"):format(request.info.recipe, name)
  if type(params.version) == "string" then message = ("%s %s"):format(message, params.version) end
  if request.mode ~= "run" then message = ("%s --%s"):format(message, request.mode) end
  return require("deploy.lock.locks").new { info = request.info, message = message, wait_ms = wait, run = run,
    state = state }
end

--- Goes on with an unfinished run, of this machine or of one that is gone.
local function go_on(request, registry, name)
  local journal = journal_of(request)
  releases.keep_in(journal)
  local state = require("deploy.journal.state").new(journal, request.mode)
  local known = unfinished.find(request, journal, state)
  local locks = locks_of(request, known.command, known.parameters, function() return journal.run or known.run end,
    state)
  local ok, record, chosen = pcall(function()
    local taken = unfinished.take_over(request, journal, known, locks, name)
    return taken, command.choose(registry, taken.command)
  end)
  if not ok then
    task.shielded(CLOSE_DEADLINE, "the deploy lock", function() locks:close() end)
    error(record, 0)
  end
  request.info.command, request.info.parameters = record.command, record.parameters
  request.info.revision = record.revision
  report.emit { type = "run.started", run = record.id, recipe = record.recipe, command = record.command,
    parameters = record.parameters, mode = request.mode }
  local run = run_module.new { journal = journal, info = request.info, params = record.parameters, record = record,
    mode = request.mode, localhost = require("deploy.host").localhost, locks = locks, began = request.began }
  return run, run:execute(chosen.run), chosen
end

local function execute(request, registry)
  local words = request.words
  local name = not registry.line and words[1] and not words[1]:match("^%-") and table.remove(words, 1) or nil
  if request.mode ~= "run" then return go_on(request, registry, name) end
  if name then table.insert(words, 1, name) end
  local chosen, params = parse(request, registry, words)
  local journal
  local reads = chosen.reads
  if type(reads) == "function" then reads = reads(params) end
  if not reads then
    journal = journal_of(request)
    if journal then
      releases.keep_in(journal)
      unfinished.check(request, journal)
    end
    request.info.command, request.info.parameters = chosen.name, params
    local known, revision = pcall(git.revision)
    request.info.revision = known and revision or ""
  end
  local run, locks
  if not reads and not request.plan then
    local state = require("deploy.journal.state").new(journal, "run")
    locks = locks_of(request, chosen.name, params, function() return run.id or "" end, state)
  end
  run = run_module.new { journal = not request.plan and journal or nil, info = request.info, params = params,
    mode = "run", localhost = require("deploy.host").localhost, plan = request.planned, locks = locks,
    began = request.began }
  return run, run:execute(chosen.run), chosen
end

--- Writes the page of this invocation, where one is wanted.
local function write_page(request)
  if (request.report or "") == "" then return end
  local ok, err = pcall(task.shielded, CLOSE_DEADLINE, "the report", function()
    local events, left_out = report.collected()
    local page = require("report.page").html(require("report.story").of(events or {}, left_out))
    files.write(request.report, page, { mode = "0600" })
  end)
  if ok then
    report.emit { type = "log", level = "info", message = "report: " .. request.report }
  else
    report.emit { type = "log", level = "warn", message = "no report: " .. fail.normal(err).message }
  end
end

--- Tells whoever the recipe names how a run went.
local function notify(request, chosen, run, result, ms)
  local declared = package.loaded["deploy.notify"]
  if not declared or not run or not run.id or result.state == "unchanged" then return end
  local event, also = declared.event_of(chosen and chosen.name or "", result)
  declared.tell(event, also, function(as)
    return declared.message(as, request.info, { run = run.id, state = result.state, error = result.error, ms = ms })
  end)
end

--- What a failure means, beside its error; a defect of the explanation must not hide what failed.
local function explain(request, run, result)
  if request.planned or not run or not run.id or not result.error then return end
  if result.state ~= "failed_undone" and result.state ~= "needs_person" then return end
  pcall(function() require("doctor.afterwards").tell(result.error) end)
end

--- What a run that waits for a person leaves to do, and what is typed then.
local function left_of(request, result)
  if result.state ~= "needs_person" then return nil, nil end
  return json.array(result.left or {}), { ("deployrun %s --%s"):format(request.recipe, result.next or "abort") }
end

--- `print` of a recipe: through the reporter, where secrets are masked and control sequences taken out.
local function recipe_print(...)
  local words = {}
  for i = 1, select("#", ...) do words[i] = tostring((select(i, ...))) end
  report.text(table.concat(words, "\t"))
end

--- Tells a plan, and what its exit code is.
local function tell_plan(request, result, chosen)
  local plan = request.planned
  local count = plan:count()
  if plan.recording then
    local ok, err = pcall(files.write, request.record, plan.recording:text())
    if not ok and not result.error then result = { state = "failed", error = fail.normal(err) } end
  end
  for ordinal, step in ipairs(plan:table()) do
    report.emit { type = "plan.step", ordinal = ordinal, step = step.name, reads = step.reads, hosts = step.hosts }
  end
  local code = outcome.exit_code(result)
  if code == outcome.DONE and request.exit_code and count > 0 then code = outcome.PENDING end
  report.emit { type = "plan.finished", recipe = request.info.recipe, command = chosen and chosen.name, changes = count,
    state = result.state, exit_code = code }
  return code, result
end

--- Help never needs a valid project: what is wrong is told beside it.
local function tell_help(request)
  local found = require("cli.recipe").read(request.recipe)
  for _, problem in ipairs(found.problems) do
    report.emit { type = "log", level = "warn", message = problem.message }
  end
  if found.registry.line then
    report.text(found.registry.line.help(request.words) .. "\n")
  elseif #found.registry.list > 0 then
    report.text(command.help(found.registry, request.recipe) .. "\n")
  end
  report.text(request.help_text)
  return 0
end

--- `--lock-wait`, with a duration or without one, for a grammar that has it as a flag.
local function give_back_lock_wait(request, at)
  if request.lock_wait == "" then return end
  table.insert(request.words, at, "--lock-wait")
  if request.lock_wait ~= BARE then
    local ms = text.duration_option(request.lock_wait, "--lock-wait")
    table.insert(request.words, at + 1, ("--lock-wait-timeout=%d"):format(math.ceil(ms / 1000)))
  end
  request.lock_wait = ""
end

--- What of our own options means something to a recipe's grammar as well.
local function give_back(request)
  local at = #request.words + 1
  for index, word in ipairs(request.words) do
    if word == "--" then at = math.min(at, index) end
  end
  if at == 1 then return end
  if request.force and request.mode == "run" then table.insert(request.words, at, "--force") end
  if request.mode == "run" then give_back_lock_wait(request, at) end
  if request.quiet then table.insert(request.words, at, "--quiet") end
  if request.verbose then table.insert(request.words, at, "--verbose") end
end

--- `-h` is help, unless the recipe's own grammar takes it.
local function wants_help(request)
  for _, word in ipairs(request.words) do
    if word == "--" then return false end
    if word == "-h" then
      local line = require("cli.recipe").read(request.recipe).registry.line
      require("deploy")._new_registry()  -- the recipe is read again, to be run
      return not line
    end
  end
  return false
end

--- Runs one invocation.
--- @async
--- @param request Request
--- @return integer exit_code
function M.main(request)
  if request.help or wants_help(request) then return tell_help(request) end
  local began = task.now()
  request.began = began
  local run, result, chosen
  local ok, err = pcall(function()
    rawset(_G, "print", recipe_print)
    request.info.recipe_hash = text.sha256(request.source)
    check.recipe(request.recipe, request.source)
    if request.plan then
      local recorder = request.record ~= "" and require("deploy.planned.recording").new() or nil
      request.planned = require("deploy.plan").new(recorder)
    end
    within(request.planned, request.chunk)
    local registry = require("deploy")._registry()
    if registry.line and registry.line.plan_word and registry.line.plan_word == request.words[1] then
      table.remove(request.words, 1)
      request.plan, request.planned = true, request.planned or require("deploy.plan").new()
    end
    if registry.line then give_back(request) end
    run, result, chosen = within(request.planned, function() return execute(request, registry) end)
  end)
  if not ok then
    result = { state = task.cancellation() and "cancelled" or "failed_undone", error = fail.normal(err) }
  end
  if result.state == "cancelled" and task.cancellation() then result.error = task.cancellation() end
  explain(request, run, result)
  local observe = package.loaded["deploy.observe"]
  if observe then pcall(task.shielded, CLOSE_DEADLINE, "observers", observe.finish) end
  pcall(task.shielded, CLOSE_DEADLINE, "closing connections", function() require("deploy.host").close_all() end)
  local code
  if request.planned then
    code, result = tell_plan(request, result, chosen)
  else
    code = outcome.exit_code(result)
  end
  if result.error then report.emit { type = "error", error = result.error } end
  if run and run.id then
    local left, next_words = left_of(request, result)
    report.emit { type = "run.finished", run = run.id, state = result.state, exit_code = code, left = left,
      next = next_words, command = chosen and chosen.name, ms = math.floor(task.now() - began + 0.5) }
  end
  notify(request, chosen, run, result, task.now() - began)
  write_page(request)
  return code
end

return M

--- The entry from the command line: reads the recipe, chooses the command, decides between a new run, --resume and
--- --abort, and turns what happened into an exit code.

local check = require "deploy.check"
local command = require "deploy.command"
local fail = require "native.fail"
local files = require "native.files"
local git = require "native.git"
local lock_command = require "deploy.lock_command"
local outcome = require "deploy.outcome"
local report = require "native.report"
local run_module = require "deploy.run"
local task = require "native.task"
local text = require "native.text"

local M = {}

local TAKE_OVER_DEADLINE = 60000  -- ms for making an unfinished run ours
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
--- @field lock_wait string     how long a lock that somebody else has is waited for; "" for not at all
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

local function unfinished_error(record)
  local message = ("run %s (%s of %s) did not finish"):format(record.id, record.command, record.recipe)
  return fail.make("journal.unfinished", message, {
    run = record.id,
    hint = ("finish it: deployrun %s --resume   or undo it: deployrun %s --abort"):format(record.recipe, record.recipe),
  })
end

--- The record of the run that --resume or --abort is about, owned by this process from here on.
local function take_over(request, journal)
  local record = journal:unfinished()
  if not record then
    fail.usage(("nothing to %s: no run is unfinished"):format(request.mode),
      { hint = "deployrun history shows past runs" })
  end
  if record.recipe ~= request.info.recipe then
    fail.usage(("run %s belongs to %s, not to %s"):format(record.id, record.recipe, request.info.recipe),
      { hint = ("deployrun %s --%s"):format(record.recipe, request.mode) })
  end
  if record.recipe_hash ~= request.info.recipe_hash and not request.force then
    fail.raise("recipe.changed", ("%s changed since run %s began"):format(request.info.recipe, record.id),
      { hint = "bring it back to what it was, or say --force if the change does not matter to the steps" })
  end
  local undoing = false
  for _, step in ipairs(record.steps) do
    for _, entry in ipairs(step.tasks) do
      if entry.state:match("^undo") or entry.state == "undone" then undoing = true end
    end
  end
  if undoing and request.mode == "resume" then
    fail.usage(("run %s was already being undone"):format(record.id),
      { hint = ("deployrun %s --abort"):format(record.recipe) })
  end
  -- Whole or not at all: a signal that comes meanwhile is heard once the run is ours, and undoes it.
  return task.shielded(TAKE_OVER_DEADLINE, "the journal", function()
    return journal:take_over { run = record.id, mode = request.mode }
  end)
end

--- The command and its parameters, by the recipe's own grammar where it has one.
local function parse(request, registry, words)
  if registry.line then
    local name, params = registry.line.read(words)
    return command.choose(registry, name), params
  end
  local name = words[1] and not words[1]:match("^%-") and table.remove(words, 1) or nil
  local chosen = name == lock_command.NAME and not registry.by_name[name] and lock_command.new(request.info)
    or command.choose(registry, name)
  local params = command.parse(chosen, words)
  command.complete(chosen, params)
  return chosen, params
end

--- The locks of a run that executes this command.
local function locks_of(request, name, params, run)
  local wait = request.lock_wait ~= "" and text.duration_option(request.lock_wait, "--lock-wait") or 0
  local message = ("%s %s"):format(request.info.recipe, name)
  if type(params.version) == "string" then message = ("%s %s"):format(message, params.version) end
  if request.mode ~= "run" then message = ("%s --%s"):format(message, request.mode) end
  return require("deploy.locks").new { info = request.info, message = message, wait_ms = wait, run = run }
end

local function execute(request, registry)
  local words = request.words
  local name = not registry.line and words[1] and not words[1]:match("^%-") and table.remove(words, 1) or nil
  if request.mode ~= "run" then
    local journal = journal_of(request)
    local record = take_over(request, journal)
    if name and name ~= record.command then
      fail.usage(("run %s executes `%s`, not `%s`"):format(record.id, record.command, name))
    end
    local chosen = command.choose(registry, record.command)
    report.emit { type = "run.started", run = record.id, recipe = record.recipe, command = record.command,
      parameters = record.parameters, mode = request.mode }
    local locks = locks_of(request, record.command, record.parameters, function() return record.id end)
    local run = run_module.new { journal = journal, info = request.info, params = record.parameters, record = record,
      mode = request.mode, localhost = require("deploy.host").localhost, locks = locks }
    return run, run:execute(chosen.run), chosen
  end
  if name then table.insert(words, 1, name) end
  local chosen, params = parse(request, registry, words)
  local journal
  if not chosen.reads then
    journal = journal_of(request)
    local record = journal and journal:unfinished()
    if record and not (record.owner and record.owner.alive) then error(unfinished_error(record), 0) end
    request.info.command, request.info.parameters = chosen.name, params
    local known, revision = pcall(git.revision)
    request.info.revision = known and revision or ""
  end
  local run
  local locks = not chosen.reads and not request.plan
    and locks_of(request, chosen.name, params, function() return run.id or "" end) or nil
  run = run_module.new { journal = not request.plan and journal or nil, info = request.info, params = params,
    mode = "run", localhost = require("deploy.host").localhost, plan = request.planned, locks = locks }
  return run, run:execute(chosen.run), chosen
end

local function hint_for(request, result)
  if result.state ~= "needs_person" then return end
  report.emit { type = "log", level = "error", message = "left for a person to look at:" }
  for _, line in ipairs(result.left or {}) do report.emit { type = "log", level = "error", message = "  " .. line } end
  report.emit { type = "log", level = "error",
    message = ("then: deployrun %s --abort tries the rest again"):format(request.recipe) }
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

--- What of our own options means something to a recipe's grammar as well.
local function give_back(request)
  local at = #request.words + 1
  for index, word in ipairs(request.words) do
    if word == "--" then at = math.min(at, index) end
  end
  if at == 1 then return end
  if request.force and request.mode == "run" then table.insert(request.words, at, "--force") end
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
  pcall(task.shielded, CLOSE_DEADLINE, "closing connections", function() require("deploy.host").close_all() end)
  local code
  if request.planned then
    code, result = tell_plan(request, result, chosen)
  else
    code = outcome.exit_code(result)
  end
  if result.error then report.emit { type = "error", error = result.error } end
  hint_for(request, result)
  if run and run.id then
    report.emit { type = "run.finished", run = run.id, state = result.state, exit_code = code,
      command = chosen and chosen.name, ms = math.floor(task.now() - began + 0.5) }
  end
  return code
end

return M

--- The step engine on a journal in memory: order, failure, undo, resume and abort from what was recorded.

local run_module = require "deploy.run"
local task = require "native.task"
local test = require "test"

local function host(name) return { name = name } end
local HOSTS = { host "web1", host "web2", host "web3" }

--- A journal that keeps its rows in a list; `lost_after` rows the machine loses its power.
local function journal_in_memory(lost_after)
  local journal = { rows = {}, states = {} }
  local function write(row)
    if lost_after and #journal.rows >= lost_after then error({ kind = "power", message = "lost" }, 0) end
    journal.rows[#journal.rows + 1] = row
  end
  function journal:begin() return "run-1" end
  function journal:append(row) write(row) end
  function journal:post(row) write(row) end
  function journal:finish(finish) self.states[#self.states + 1] = finish.state end
  --- What a fresh process reads.
  function journal:fold()
    local record = { id = "run-1", steps = {}, once = {} }
    for _, row in ipairs(self.rows) do
      if row.type == "once" then record.once[row.name] = row.value end
      if row.type == "step" then record.steps[row.ordinal] = { name = row.name, tasks = {} } end
      if row.type == "task" then
        local tasks = record.steps[row.step].tasks
        local entry
        for _, known in ipairs(tasks) do
          if known.host == row.host then entry = known end
        end
        if not entry then
          entry = { host = row.host }
          tasks[#tasks + 1] = entry
        end
        entry.state, entry.attempt = row.state, row.attempt
        if row.state == "done" then entry.result = row.result end
      end
    end
    return record
  end
  return journal
end

local function new_run(journal, mode, record)
  return run_module.new { journal = journal, info = {}, params = { version = "v2" }, mode = mode or "run",
    record = record, localhost = host "local" }
end

--- A recipe of three steps that writes what it does into `log`; `fail_at` makes one task fail.
local function recipe(log, fail_at)
  local function act(what, target)
    log[#log + 1] = what .. " " .. target.name
    if fail_at == what .. " " .. target.name then error({ kind = "x.broken", message = "broken" }, 0) end
  end
  return function(run)
    run:step("look", { on = HOSTS, reads = true, parallel = 1, run = function(target)
      return { was = "v1", at = target.name }
    end })
    local started = run:step("start", {
      on = HOSTS, parallel = 1,
      run = function(target) act("start", target); return { id = "c-" .. target.name } end,
      undo = function(target, result) act("unstart", target); log[#log + 1] = result and result.id or "half" end,
    })
    run:step("switch", {
      on = HOSTS, rolling = { first = 1, limit = 2 },
      run = function(target) act("switch", target); return started[target].id end,
      undo = function(target) act("unswitch", target) end,
    })
  end
end

local function count(log, what)
  local found = 0
  for _, line in ipairs(log) do
    if line:match("^" .. what) then found = found + 1 end
  end
  return found
end

test.it("runs the steps in order and ends done", function()
  local log, journal = {}, journal_in_memory()
  local result = new_run(journal):execute(recipe(log))
  test.equal(result.state, "done")
  test.equal(log[1], "start web1")
  test.equal(log[4], "switch web1")
  test.equal(#log, 6)
  test.equal(journal.states[1], "done")
end)

test.it("undoes what completed and what was half done, last step first, when a task fails", function()
  local log, journal = {}, journal_in_memory()
  local result = new_run(journal):execute(recipe(log, "switch web2"))
  test.equal(result.state, "failed_undone")
  test.equal(result.error.kind, "x.broken")
  test.equal(result.error.host, "web2")
  test.equal(result.error.step, "switch")
  test.equal(count(log, "unstart"), 3)
  test.equal(count(log, "unswitch"), 3)
  test.equal(log[#log - 6]:match("^unswitch") ~= nil, true)
end)

test.it("the barrier: nothing beyond the first host is switched when the first fails", function()
  local log = {}
  new_run(journal_in_memory()):execute(recipe(log, "switch web1"))
  test.equal(count(log, "switch"), 1)
  test.equal(count(log, "unswitch"), 1)
end)

test.it("a process that died after any row is resumed to the same end, and aborted to the beginning", function()
  local whole = journal_in_memory()
  new_run(whole):execute(recipe {})
  for rows = 1, #whole.rows do
    local journal = journal_in_memory()
    for i = 1, rows do journal.rows[i] = whole.rows[i] end
    local log = {}
    test.equal(new_run(journal, "resume", journal:fold()):execute(recipe(log)).state, "done")
    local again = journal_in_memory()
    for i = 1, rows do again.rows[i] = whole.rows[i] end
    local undone = {}
    test.equal(new_run(again, "abort", again:fold()):execute(recipe(undone)).state, "aborted")
    test.equal(count(undone, "start"), 0)
    test.equal(count(undone, "switch"), 0)
    local begun = 0
    for i = 1, rows do
      local row = whole.rows[i]
      if row.type == "task" and row.step > 1 and row.state == "started" then begun = begun + 1 end
    end
    test.equal(count(undone, "unstart") + count(undone, "unswitch"), begun)
  end
end)

test.it("resuming runs half-done tasks again and finished ones never", function()
  local whole = journal_in_memory()
  new_run(whole):execute(recipe {})
  local journal = journal_in_memory()
  for i, row in ipairs(whole.rows) do
    journal.rows[i] = row
    if row.type == "task" and row.step == 2 and row.host == "web2" and row.state == "started" then break end
  end
  local log = {}
  new_run(journal, "resume", journal:fold()):execute(recipe(log))
  test.equal(table.concat(log, ","), "start web2,start web3,switch web1,switch web2,switch web3")
end)

test.it("once gives the recorded value again", function()
  local journal = journal_in_memory()
  local calls = 0
  local function body(run)
    return run:step("use", { run = function()
      return run:once("time", function() calls = calls + 1; return 42 end)
    end })
  end
  new_run(journal):execute(body)
  local record = journal:fold()
  record.steps = {}
  new_run(journal, "resume", record):execute(body)
  test.equal(calls, 1)
end)

test.it("retries a failed task and gives up after the last attempt", function()
  local attempts = 0
  local result = new_run(journal_in_memory()):execute(function(run)
    run:step("flaky", { retries = 1, run = function()
      attempts = attempts + 1
      if attempts < 2 then error({ kind = "x.flaky", message = "again" }, 0) end
    end })
  end)
  test.equal(result.state, "done")
  test.equal(attempts, 2)
end)

test.it("a step that continues does not fail the run", function()
  local result = new_run(journal_in_memory()):execute(function(run)
    local results = run:step("clean", { on = HOSTS, on_failure = "continue", run = function(target)
      if target.name == "web2" then error({ kind = "x.broken", message = "no" }, 0) end
      return target.name
    end })
    test.equal(results.web1, "web1")
    test.equal(results.web2, nil)
  end)
  test.equal(result.state, "done")
end)

--- A recipe whose last step cannot be undone; `during` is called in the middle of it.
local function letting_go(log, during)
  return function(run)
    run:step("start", { on = HOSTS, parallel = 1, run = function(target) log[#log + 1] = "start " .. target.name end,
      undo = function(target) log[#log + 1] = "unstart " .. target.name end })
    run:step("let go", { on = HOSTS, parallel = 1, final = true, run = function(target)
      log[#log + 1] = "let go " .. target.name
      if during then during(target) end
    end })
  end
end

test.it("once a final step has begun, aborting finishes the run; before that it undoes it", function()
  local whole = journal_in_memory()
  new_run(whole):execute(letting_go {})
  for rows = 1, #whole.rows do
    local journal = journal_in_memory()
    for i = 1, rows do journal.rows[i] = whole.rows[i] end
    local begun = false
    for _, row in ipairs(journal.rows) do begun = begun or (row.type == "task" and row.step == 2) end
    local log = {}
    test.equal(new_run(journal, "abort", journal:fold()):execute(letting_go(log)).state, begun and "done" or "aborted")
    if begun then test.equal(count(log, "unstart"), 0) else test.equal(count(log, "let go"), 0) end
  end
end)

test.it("a final step is neither interrupted nor undone", function()
  local log, journal, result = {}, journal_in_memory(), nil
  local running
  running = task.spawn(function()
    result = new_run(journal):execute(letting_go(log, function()
      running:cancel("interrupted")
      task.sleep(1)
    end))
  end, { observed = true })
  pcall(task.join, running)
  test.equal(result.state, "done")
  test.equal(count(log, "let go"), 3)
  test.equal(count(log, "unstart"), 0)
end)

local function goes_on_after_an_interruption(locks)
  local log, journal, result = {}, journal_in_memory(), nil
  local running
  running = task.spawn(function()
    local run_there = run_module.new { journal = journal, info = {}, params = {}, mode = "run",
      localhost = host "local", locks = locks }
    result = run_there:execute(function(run)
      letting_go(log, function()
        running:cancel("interrupted")
        task.sleep(1)
      end)(run)
      run:step("unlock", { on = HOSTS[1], final = true, run = function()
        task.sleep(1)
        log[#log + 1] = "unlock"
      end })
      run:afterwards("tell", function()
        task.sleep(1)
        log[#log + 1] = "tell"
      end)
    end)
  end, { observed = true })
  pcall(task.join, running)
  test.equal(result.state, "done")
  test.equal(count(log, "let go") + count(log, "unlock") + count(log, "tell"), 5)
  test.equal(journal.states, { "done" })
end

test.it("after an interrupted final step the next one and what comes afterwards are done as well", function()
  goes_on_after_an_interruption(nil)
  -- Under locks, too, of which this run needs none.
  goes_on_after_an_interruption(require("deploy.lock.locks").new { info = {}, message = "", wait_ms = 0,
    run = function() return "run-1" end })
end)

test.it("what fails afterwards undoes nothing, and is the exit code", function()
  local log = {}
  local result = new_run(journal_in_memory()):execute(function(run)
    recipe(log)(run)
    run:afterwards("tell", function() error({ kind = "x.broken", message = "nobody there" }, 0) end)
  end)
  test.equal({ result.state, result.error.kind }, { "done", "x.broken" })
  test.equal(require("deploy.outcome").exit_code(result), 1)
  test.equal(count(log, "un"), 0)
end)

test.it("a failure in a final step is reported only", function()
  local function broken() error({ kind = "x.broken", message = "no" }, 0) end
  local result = new_run(journal_in_memory()):execute(letting_go({}, broken))
  test.equal(result.state, "done")
end)

test.it("a final step is the last one and has no undo", function()
  local result = new_run(journal_in_memory()):execute(function(run)
    run:step("let go", { on = HOSTS, final = true, run = function() end })
    run:step("more", { on = HOSTS, run = function() end })
  end)
  test.equal(result.error.kind, "usage")
  result = new_run(journal_in_memory()):execute(function(run)
    run:step("let go", { on = HOSTS, final = true, run = function() end, undo = function() end })
  end)
  test.equal(result.error.kind, "usage")
end)

test.it("a time limit fails the task with `timeout`, naming step and host", function()
  local result = new_run(journal_in_memory()):execute(function(run)
    run:step("slow", { on = HOSTS[1], timeout = "20ms", run = function() task.sleep(10000) end })
  end)
  test.equal(result.error.kind, "timeout")
  test.equal(result.error.host, "web1")
end)

test.it("after an undo that failed, that host's earlier steps stay and a person is asked", function()
  local undone = {}
  local result = new_run(journal_in_memory()):execute(function(run)
    run:step("one", { on = HOSTS, run = function() return 1 end, undo = function(target)
      undone[#undone + 1] = target.name
    end })
    run:step("two", { on = HOSTS, run = function() return 2 end, undo = function(target)
      if target.name == "web1" then error({ kind = "x.stuck", message = "stuck" }, 0) end
    end })
    error({ kind = "x.late", message = "late" }, 0)
  end)
  test.equal(result.state, "needs_person")
  table.sort(undone)
  test.equal(table.concat(undone, ","), "web2,web3")
  test.equal(#result.left, 2)
end)

test.it("a recipe whose steps changed is not resumed", function()
  local journal = journal_in_memory()
  new_run(journal):execute(recipe {})
  local result = new_run(journal, "resume", journal:fold()):execute(function(run)
    run:step("other", { on = HOSTS, run = function() end })
  end)
  test.equal(result.error.kind, "recipe.changed")
end)

test.it("wrong step options are refused before anything runs", function()
  for _, case in ipairs {
    { { on = HOSTS, paralel = 2, run = function() end }, "paralel" },
    { { on = HOSTS }, "run" },
    { { on = HOSTS, timeout = "10", run = function() end }, "timeout" },
    { { on = HOSTS, on_failure = "ignore", run = function() end }, "ignore" },
    { { on = { HOSTS[1], HOSTS[1] }, run = function() end }, "twice" },
  } do
    local journal = journal_in_memory()
    local result = new_run(journal):execute(function(run) run:step("wrong", case[1]) end)
    test.equal(result.error.kind, "usage")
    test.equal(result.error.message:find(case[2], 1, true) ~= nil, true)
    test.equal(#journal.rows, 0)
  end
end)

test.it("ends a run that is cancelled while the journal writes its first row", function()
  local log, journal, written = {}, journal_in_memory(), nil
  function journal.begin()
    task.sleep(50)
    written = true
    return "run-1"
  end
  local result
  local deploy = task.spawn(function() result = new_run(journal):execute(recipe(log)) end,
    { name = "deploy", observed = true })
  task.sleep(10)
  deploy:cancel("interrupted")
  pcall(task.join, deploy)
  test.equal(written, true)
  test.equal(result.state, "cancelled")
  test.equal(journal.states, { "cancelled" })
  test.equal(log, {})
end)

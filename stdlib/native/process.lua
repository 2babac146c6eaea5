--- Programs of this machine, by their arguments: no shell reads them. A program and all it started end with the task.

local door = require "native.door"
local fail = require "native.fail"
local raw = require "native.process.raw"
local task = require "native.task"
local text = require "native.text"

local M = {}

local STDERR_KEPT = 4096

--- @class ProcessOptions
--- @field stdin? string|Secret                       its whole input; absent: none
--- @field env? table<string, string|number|Secret>   added to the environment
--- @field clear_env? boolean                         `env` is all of the environment
--- @field cwd? string
--- @field check? boolean                             an exit code other than 0 raises `process.exit`; true unless told
--- @field timeout? string                            "30s"; raises `timeout`
--- @field output_limit? integer                      bytes, 16 MiB unless told; more raises `process.output_limit`
--- @field grace? string                              between TERM and KILL when it is ended; "2s" unless told
--- @field tell? string                              its lines are reported as output of the host of this name
--- @field on_line? fun(line: string, output: "stdout"|"stderr")  each line while it runs; may wait
--- @field reads? boolean                             it changes nothing, so that a plan runs it
--- @field planned? string                            what it is taken to print in a plan that does not run it

--- @class ProcessResult
--- @field stdout string
--- @field stderr string
--- @field code integer     128 + signal where a signal ended it
--- @field signal? integer
--- @field ms number

local function last_line(output)
  local last = ""
  for line in output:gmatch("[^\r\n]+") do
    if line:match("%S") then last = line end
  end
  return last
end

local function check(argv, result)
  if result.code == 0 then return end
  local ending = result.signal and "ended by signal " .. result.signal or "exit code " .. result.code
  local complaint = text.clean(last_line(result.stderr))
  fail.raise("process.exit", argv[1] .. ": " .. ending .. (complaint ~= "" and ": " .. complaint or ""), {
    code = result.code,
    signal = result.signal,
    command = text.shell_join(argv),
    stderr = text.clean(result.stderr:sub(-STDERR_KEPT)),
  })
end

local function run_with_lines(argv, native_options, on_line)
  native_options.lines = raw.lines()
  local reader = task.spawn(function()
    while true do
      local line = task.await(native_options.lines:next())
      if not line then return end
      on_line(line.text, line.output)
    end
  end, { name = "lines of " .. tostring(argv[1]) })
  local result = task.await(raw.run(argv, native_options))
  task.join(reader)
  return result
end

--- Runs a program to its end.
--- Raises `process.spawn` (not found, not executable), `process.exit` (`code`, `signal`, `stderr`, `command`),
--- `process.output_limit`, `timeout`. A secret among the arguments is a usage error: they can be seen by all.
--- @async
--- @param argv string[]
--- @param options? ProcessOptions
--- @return ProcessResult
function M.run(argv, options)
  local native_options = {}
  for key, value in pairs(door.own_options(options) or {}) do native_options[key] = value end
  local must_succeed = native_options.check ~= false
  local timeout = text.duration_option(native_options.timeout, "process.run: timeout")
  local on_line = native_options.on_line
  native_options.grace = text.duration_option(native_options.grace, "process.run: grace")
  native_options.check, native_options.timeout, native_options.on_line = nil, nil, nil

  local function run()
    if on_line then return run_with_lines(argv, native_options, on_line) end
    return task.await(raw.run(argv, native_options))
  end
  local result = task.within(timeout, timeout and "run " .. tostring(argv[1]), run)
  if must_succeed then check(argv, result) end
  return result
end

--- A program on a terminal of its own, drawn in the one that this program was started in: keys, colours, window size.
--- Returns when it has ended. Raises `terminal.missing`, `process.spawn`.
--- @async
--- @param argv string[]
--- @return { code: integer, signal: string? }
function M.shell(argv)
  return task.await(raw.shell(argv))
end

door.guard("process", M, { reads = {} })

return M

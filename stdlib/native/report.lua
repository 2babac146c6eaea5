--- Events for whoever watches: people read lines, programs read JSON (docs/events.md). Every text is cleaned of control
--- sequences and secrets are masked.

local raw = require "native.report.raw"
local door = require "native.door"
local task = require "native.task"
local await = task.await

local M = {}

local PROGRESS_PAUSE = 250  -- ms

--- Reports an event; never waits. Needs a `type`; `v`, `time` and `run` are added.
--- @param event table
function M.emit(event)
  raw.emit(event)
end

--- Puts out data that was asked for (a log, a list, a command's output), on standard output even with --quiet. Waits
--- while its reader is far behind.
--- @async
--- @param text string
--- @param host? string  who said it: stands before each line
function M.text(text, host)
  raw.emit { type = "print", text = text, host = host }
  if raw.full() then await(raw.drained()) end
end

--- The run's events so far, in order, masked; nil unless its page is wanted (`--report`).
--- @return table[]? events
--- @return integer? left_out  how many were not kept
function M.collected() return raw.collected() end

--- Says that a host's task waits, for what and for how long at most. It counts until its host says something else.
--- @param host { name: string }
--- @param what string  "http://172.18.0.3:80/up to answer"
--- @param ms? number   until it gives up; nil: no limit of its own
function M.waiting(host, what, ms)
  if door.is_kept() then return end  -- in a plan nothing is waited for
  raw.emit { type = "task.waiting", host = host.name, what = what, left_ms = ms and math.floor(ms + 0.5) or nil }
end

--- Says which command a host gets, for whoever asked for more (`-v`) and for the log.
--- @param host { name: string }
--- @param words string
function M.command(host, words)
  if door.is_kept() then return end
  raw.emit { type = "log", level = "debug", host = host.name, message = "$ " .. tostring(words) }
end

--- Says how a command of a host ended (`-vv`).
--- @param host { name: string }
--- @param result { code: integer, ms: number, stdout: string, stderr: string }
function M.command_ended(host, result)
  if door.is_kept() then return end
  raw.emit { type = "command.ended", host = host.name, code = result.code, ms = math.floor(result.ms + 0.5),
    bytes = #result.stdout + #result.stderr }
end

--- Says how far a host's task is, four times a second at most: give it `docker:pull` as `on_progress`, or call it with
--- what is known of `bytes`, `total_bytes`, `layers` and `done`.
--- @param host { name: string }
--- @param kind? "pull.progress"|"task.progress"
--- @return fun(progress: { bytes?: integer, total_bytes?: integer, layers?: integer, done?: integer })
function M.progress(host, kind)
  local said = -math.huge
  return function(progress)
    local now = task.now()
    if now - said < PROGRESS_PAUSE then return end
    said = now
    local layers = progress.layers and progress.layers > 0
      and ("%d of %d layers"):format(progress.done or 0, progress.layers) or nil
    raw.emit { type = kind or "task.progress", host = host.name, bytes = progress.bytes, total = progress.total_bytes,
      note = layers }
  end
end

return M

--- Lines that a person types: edited, with history and completion, at a terminal; as they come on standard input
--- elsewhere.

local raw = require "native.console.raw"
local await = require("native.task").await

local Console = {}
Console.__index = Console
local M = {}

--- @class Console
--- @field _raw userdata

--- @class ConsoleOptions
--- @field terminal? boolean  both ends are one: with editing
--- @field history? string    a file that keeps what was typed, 0600
--- @field complete? fun(text: string): string[]  what may stand where a word begins with `text`; must not wait

--- Takes standard input; one console at a time.
--- @param options? ConsoleOptions
--- @return Console
function M.open(options)
  options = options or {}
  return setmetatable({
    _raw = raw.open(options.terminal or false, options.history or "", options.complete),
  }, Console)
end

--- The next line, without its newline; nil at the end of the input. Raises `console.io`, and `console.interrupted`
--- for Ctrl-C at a terminal: what was typed is gone.
--- @async
--- @param prompt string  shown at a terminal alone
--- @return string?
function Console:line(prompt)
  return await(self._raw:line(prompt))
end

--- Gives standard input back.
function Console:close()
  self._raw:close()
end

return M

--- The journal of a run: in the project's own folder, each row on the disk before its change; and a copy on the primary
--- host, where there is one (deploy/journal/state.lua). The engine asks for these calls and no others.

local native = require "native.journal"

local M = {}

local Journal = {}
Journal.__index = Journal

--- @class RunJournal
--- @field run string?  that this process owns, or did

--- @param request Request
--- @param options? { create?: boolean }  false: `journal.missing` where there is none
--- @return RunJournal
function M.open(request, options)
  local here = native.open { user = request.info.user, host = request.info.host, actor = request.info.actor,
    version = request.info.version, create = options and options.create }
  return setmetatable({ _here = here }, Journal)
end

--- From now on whoever keeps the copy is told of each announcement.
--- @param copy { send: fun(self: table, host_name: string) }
function Journal:keep_copy(copy) self._copy = copy end

--- @async
--- @param info table
--- @return string run
function Journal:begin(info)
  self.run = self._here:begin(info)
  return self.run
end

--- @async
--- @param takeover { run: string, mode: "resume"|"abort" }
--- @return RunRecord
function Journal:take_over(takeover)
  local record = self._here:take_over(takeover)
  self.run = takeover.run
  return record
end

--- An announcement; returns when its change may be asked for. Raises what `native.journal` and
--- deploy/journal/state.lua raise.
--- @async
--- @param row table
function Journal:append(row)
  self._here:append(row)
  if self._copy then self._copy:send(row.host) end
end

--- What goes with the next announcement.
--- @param row table
function Journal:post(row) self._here:post(row) end

for _, name in ipairs { "finish", "unfinished", "history", "record", "copy", "restore", "releases" } do
  Journal[name] = function(self, ...) return self._here[name](self._here, ...) end
end

return M

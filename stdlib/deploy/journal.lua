--- Where a run's journal is. The engine asks for these calls and no others, so that the place can change: now the
--- project's own folder.

local native = require "native.journal"

local M = {}

--- @param request Request
--- @param options? { create?: boolean }  false: `journal.missing` where there is none
--- @return table journal  begin, append, finish, unfinished, take_over, history, record
function M.open(request, options)
  return native.open { user = request.info.user, host = request.info.host, actor = request.info.actor,
    version = request.info.version, create = options and options.create }
end

return M

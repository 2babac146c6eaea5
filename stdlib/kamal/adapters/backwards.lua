--- Kamal's own adapter for tests: names backwards.

local tools = require "kamal.adapters.tools"

local prefixed = tools.prefixed

--- @type SecretsAdapter
local backwards = { account = true }
function backwards.check() end
function backwards.login() end
function backwards.fetch(call, names)
  local results = {}
  for _, name in ipairs(prefixed(names, call.from)) do
    results[name] = name:gsub("LPAREN", "("):gsub("RPAREN", ")"):reverse()
  end
  return results
end

return backwards

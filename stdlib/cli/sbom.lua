--- `deployrun sbom`: what is inside this binary, as it was built (runtime/cmake/components.cmake): CycloneDX JSON, or
--- for `deployrun --version -v` a line each.

local json = require "native.json"
local report = require "native.report"
local stdlib = require "native.stdlib"

local M = {}

--- @async
--- @param request CliRequest
--- @return integer exit_code
function M.main(request)
  local source = stdlib.source "sbom.cdx.json"
  if request.words[1] ~= "list" then
    report.text((source:gsub("\n$", "")))
    return 0
  end
  for _, component in ipairs(json.decode(source).components) do
    local package
    for _, property in ipairs(component.properties or {}) do
      if property.name == "deployrun:package" then package = property.value end
    end
    report.text(("  %-16s %s%s"):format(component.name, component.version, package and " (" .. package .. ")" or ""))
  end
  return 0
end

return M

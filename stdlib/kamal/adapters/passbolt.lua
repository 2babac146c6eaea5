--- Passbolt, by its program `passbolt` (kamal/adapters.lua).

local tools = require "kamal.adapters.tools"

local append, failed, must, need = tools.append, tools.failed, tools.must, tools.need
local parse, prefixed, split = tools.parse, tools.prefixed, tools.split

--- @type SecretsAdapter
local passbolt = {}

function passbolt.check(call) need(call, { "passbolt", "--version" }, "Passbolt CLI") end
function passbolt.login(call) must(call, { "passbolt", "verify" }, "Failed to login to Passbolt") end

local function quoted(word) return '"' .. word:gsub('[\\"]', "\\%0") .. '"' end

--- The ID of a folder by its path, each level asked for below the one before.
local function passbolt_folder(call, path)
  local parent
  for index, name in ipairs(split(path, "/")) do
    local filter = "Name == " .. quoted(name)
    if parent then filter = filter .. " && FolderParentID == " .. quoted(parent) end
    local found = parse(must(call, { "passbolt", "list", "folders", "--filter", filter, "--json" },
      "Could not read folders from Passbolt"), "passbolt")
    local chosen
    for _, folder in ipairs(found) do
      local above = folder.folder_parent_id or ""
      if folder.name == name and (index > 1 or above == "") then chosen = chosen or folder end
    end
    if not chosen then failed(("Could not find the following folders in Passbolt: %s"):format(path)) end
    parent = chosen.id
  end
  return parent
end

function passbolt.fetch(call, names)
  local wanted = prefixed(names, call.from)
  if #wanted == 0 then failed("No secrets given to fetch") end
  local filters, folders, seen = {}, {}, {}
  for _, name in ipairs(wanted) do
    local path, last = name:match("^(.+)/([^/]+)$")
    local filter = "Name == " .. quoted(last or name)
    if path then
      if not seen[path] then
        seen[path] = passbolt_folder(call, path)
        append(folders, "--folder", seen[path])
      end
      filter = ("(%s && FolderParentID == %s)"):format(filter, quoted(seen[path]))
    end
    filters[#filters + 1] = filter
  end
  local argv = append({ "passbolt", "list", "resources", "--filter", table.concat(filters, " || ") }, unpack(folders))
  append(argv, "--column", "name", "--column", "password", "--json")
  local results = {}
  local printed = must(call, argv, ("Could not read %s from Passbolt"):format(table.concat(wanted, ", ")))
  for _, item in ipairs(parse(printed, "passbolt")) do results[item.name] = item.password end
  local missing = {}
  for _, name in ipairs(wanted) do
    local last = name:match("([^/]+)$")
    if results[last] == nil then missing[#missing + 1] = last end
  end
  if #missing > 0 then
    failed(("Could not find the following secrets in Passbolt: %s"):format(table.concat(missing, ", ")))
  end
  return results
end

return passbolt

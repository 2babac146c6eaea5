--- A Compose file as a value, and what of it is refused before any server is contacted: what would build or fetch
--- something there, what leads out of the project's folder, images that mean another thing tomorrow. Reads one file;
--- what becomes of it is render.lua's.

local interpolate = require "compose.interpolate"
local json = require "native.json"
local text = require "native.text"
local yaml = require "native.yaml"

local M = {}

local TOP = { "name", "version", "services", "networks", "volumes", "configs", "secrets" }
local EXACT = 15  -- digits that a number has at most to come through unchanged

--- @class ComposeFile
--- @field file string
--- @field services table<string, table>
--- @field names string[]   of the services, in the order of the file
--- @field networks table<string, any>
--- @field volumes table<string, any>
--- @field configs table<string, any>
--- @field secrets table<string, any>
--- @field variables table<string, table>  name → path of a place that uses it
--- @field local_files string[]  of the project's folder, which its services need beside it
--- @field places table<string, string>  path → file:line:column

-- Numbers that would not come back as they were written stay text, which Compose takes too.
local function scalar(node)
  local word = node.text
  if node.tag == "str" or not (node.plain or node.tag) then return word end
  if word == "true" or word == "false" then return word == "true" end
  if word:match("^0[0-7]+$") then return tonumber(word, 8) end
  if word:match("^-?[1-9]%d*$") and #word <= EXACT or word == "0" then return tonumber(word) end
  return word
end

local function value_of(node)
  if node.kind == "null" then return json.null end
  if node.kind == "scalar" then return scalar(node) end
  if node.kind == "sequence" then
    local out = json.array {}
    for index, item in ipairs(node.items) do out[index] = value_of(item) end
    return out
  end
  local out = {}
  for _, member in ipairs(node.members) do out[member.key] = value_of(member.value) end
  return out
end

local ARRAY = getmetatable(json.array {})

local function is_map(value)
  return type(value) == "table" and value[1] == nil and getmetatable(value) ~= ARRAY
end

local function map(value) return is_map(value) and value or {} end

local function list(value)
  if value == nil or value == json.null then return {} end
  return type(value) == "table" and not is_map(value) and value or { value }
end

-- `problems` is a list of { path, message, hint }, as deploy/schema.lua has it.

local function adder(problems)
  return function(path, message, hint) problems[#problems + 1] = { path = path, message = message, hint = hint } end
end

local FLATTEN = "write one file (YAML's anchors and `<<` may be used); `docker compose config` prints such a one"

--- Whether a word names something elsewhere: oci://…, https://…, git@…, host:path.git
local function is_remote(word)
  return word:match("^%a[%w+.-]*://") ~= nil or word:match("^[%w_.-]+@[%w.-]+:") ~= nil
    or word:match("%.git$") ~= nil or word:match("%.git[#:]") ~= nil or word:match("^github%.com/") ~= nil
end

--- A file of the project, or why it is none.
--- @param word any
--- @return string? path
--- @return string? why
function M.local_path(word)
  if type(word) ~= "string" or word == "" then return nil, "expected the path of a file" end
  if is_remote(word) then return nil, "it is not a file of the project: nothing is fetched from elsewhere" end
  if word:find("$", 1, true) then return nil, "a path with variables could lead anywhere" end
  if word:find("[%c\\]") then return nil, "it holds characters that no path of a project needs" end
  if word:sub(1, 1) == "/" or word:sub(1, 1) == "~" then return nil, "it is outside of the project's folder" end
  local path = word:gsub("^%./+", "")
  for part in path:gmatch("[^/]+") do
    if part == ".." then return nil, "it leads out of the project's folder" end
  end
  return path
end

local function take_file(out, word, path, add)
  local found, why = M.local_path(word)
  if not found then return add(path, ("`%s`: %s"):format(tostring(word), why)) end
  if not out.seen[found] then
    out.seen[found] = true
    out.local_files[#out.local_files + 1] = found
  end
end

local function check_sources(service, path, out, add)
  if service.build ~= nil then
    add({ unpack(path), "build" }, "`build`: nothing is built on a server",
      "let CI build and push the image under the commit's SHA, and name it with `image`")
  end
  if service.extends ~= nil then
    add({ path[1], path[2], "extends" }, "`extends`: not followed, so that what runs is what stands here", FLATTEN)
  end
  if service.provider ~= nil then
    add({ path[1], path[2], "provider" }, "`provider`: it would run a program of the server")
  end
  for index, entry in ipairs(list(service.env_file)) do
    local word = is_map(entry) and entry.path or entry
    take_file(out, word, { path[1], path[2], "env_file", type(service.env_file) == "table" and index or nil }, add)
  end
  for index, entry in ipairs(list(service.label_file)) do
    take_file(out, entry, { path[1], path[2], "label_file", type(service.label_file) == "table" and index or nil }, add)
  end
end

--- The source and the target of a volume, short or long: "data", "/data", and whether it is only read.
--- @param entry any
--- @return { source: string?, target: string?, read_only: boolean, kind: string }
function M.volume(entry)
  if is_map(entry) then
    return { source = entry.source, target = entry.target, read_only = entry.read_only == true,
      kind = entry.type or "volume" }
  end
  local word = tostring(entry)
  local source, target, mode = word:match("^([^:]+):([^:]+):?([^:]*)$")
  if not source then return { target = word, read_only = false, kind = "volume" } end
  local is_path = source:match("^[./~]") ~= nil
  return { source = source, target = target, kind = is_path and "bind" or "volume",
    read_only = ("," .. mode .. ","):find(",ro,", 1, true) ~= nil }
end

local function check_volumes(name, service, out, add)
  for index, entry in ipairs(list(service.volumes)) do
    local volume, path = M.volume(entry), { "services", name, "volumes", index }
    local source = volume.source
    if volume.kind == "bind" and type(source) == "string" then
      if source:sub(1, 1) ~= "/" then
        add(path, ("`%s`: a folder beside the Compose file would be another one in each release"):format(source),
          "use a named volume or an absolute path; files that are only read: `configs`")
      elseif (source .. "/"):find("/../", 1, true) then
        add(path, ("`%s`: it leads out of itself"):format(source))
      end
    elseif volume.kind == "volume" and source and not out.volumes[source] then
      add(path, ("volume `%s` is not declared under `volumes`"):format(source))
    end
  end
end

--- What is wrong with an image's name once its variables are filled in; nil: nothing.
--- @param ref string
--- @return string?
function M.mutable(ref)
  if not ref:match("^[%w][%w._/:@-]*$") then return ("%q is no name of an image"):format(ref) end
  if ref:find("@sha256:%x+$") then return nil end
  local tag = ref:match("[^/]*$"):match(":([^:@]+)$")
  if not tag then return ("%s has no tag, which means `latest`: another image tomorrow"):format(ref) end
  if tag == "latest" or tag:match("%-latest$") then return ("%s: another image tomorrow"):format(ref) end
end

--- The repository of an image's name: without tag and digest.
--- @param ref string
--- @return string
function M.repository(ref)
  local bare = ref:gsub("@.*$", "")
  local folder, name = bare:match("^(.*/)([^/]*)$")
  return (folder or "") .. (name or bare):gsub(":[^:]*$", "")
end

local function check_images(name, service, add)
  local image = service.image
  if type(image) ~= "string" or image == "" then
    add({ "services", name }, ("`services.%s.image` is missing"):format(name))
    return
  end
  if not interpolate.collect(image, {}) then
    add({ "services", name, "image" }, ("`%s`: a variable is `${NAME}` or `$NAME`"):format(image))
  elseif not image:find("$", 1, true) then
    local why = M.mutable(image)
    if why then add({ "services", name, "image" }, why, "name a version, or a digest (name@sha256:…)") end
  end
end

local function check_top(value, add)
  if not is_map(value) or next(value) == nil then return add({}, "expected a map with `services`") end
  local keys = {}
  for key in pairs(value) do keys[#keys + 1] = key end
  table.sort(keys)
  for _, key in ipairs(keys) do
    local known = key:sub(1, 2) == "x-"
    for _, one in ipairs(TOP) do known = known or key == one end
    if key == "include" then
      add({ "include" }, "`include`: not followed, whether it is here or elsewhere", FLATTEN)
    elseif not known then
      add({ key }, ("unknown key `%s`"):format(key), text.nearest_hint(key, TOP))
    end
  end
  for _, key in ipairs { "networks", "volumes", "configs", "secrets" } do
    if value[key] ~= nil and value[key] ~= json.null and not is_map(value[key]) then
      add({ key }, ("`%s`: expected a map"):format(key))
    end
  end
end

local SHARED = {
  networks = { name = true, external = true, driver = true, internal = true, labels = true },
  volumes = { name = true, external = true, driver = true, labels = true },
}

--- Networks and volumes outlive releases, so deployrun makes them; what it cannot make is somebody else's. Whose they
--- are must be clear: a volume that is made anew instead of the one that is meant is empty.
local function check_shared(out, add)
  for kind, known in pairs(SHARED) do
    for name, entry in pairs(out[kind]) do
      if entry ~= json.null and not is_map(entry) then
        add({ kind, name }, ("`%s.%s`: expected a map"):format(kind, name))
      end
      local external, own = map(entry).external, map(entry).name
      if external ~= nil and type(external) ~= "boolean" then
        add({ kind, name, "external" }, ("`%s.%s.external`: expected true or false"):format(kind, name),
          "`external: true`, and beside it `name: NAME`")
      end
      if own ~= nil and (type(own) ~= "string" or own == "") then
        add({ kind, name, "name" }, ("`%s.%s.name`: expected a text"):format(kind, name))
      end
      for key in pairs(map(entry)) do
        if not known[key] and not key:match("^x%-") then
          add({ kind, name, key }, ("`%s.%s.%s`: not supported"):format(kind, name, key),
            "make it on the server yourself and say `external: true`")
        end
      end
    end
  end
end

local function check_service(out, name, add)
  local service = out.services[name]
  local path = { "services", name }
  if not is_map(service) then return add(path, ("`services.%s`: expected a map"):format(name)) end
  check_sources(service, path, out, add)
  check_images(name, service, add)
  check_volumes(name, service, out, add)
end

local function collect(value, found, path, add)
  if type(value) == "string" then
    local names = {}
    if value:find("$", 1, true) and not interpolate.collect(value, names) then
      add(path, ("`%s`: a variable is `${NAME}` or `$NAME`; a dollar sign is `$$`"):format(value))
    end
    for name in pairs(names) do found[name] = found[name] or path end
  elseif type(value) == "table" then
    for key, one in pairs(value) do
      local inner = { unpack(path) }
      inner[#inner + 1] = key
      collect(one, found, inner, add)
    end
  end
end

--- Reads a Compose file and finds everything that is refused. Raises `yaml.*` for what is no YAML, a key twice, a bomb.
--- @param source string
--- @param file string       what to call it
--- @return ComposeFile document
--- @return table[] problems
function M.read(source, file)
  local _, places = yaml.decode(source, { file = file })
  local tree = yaml.tree(source, { file = file })
  local value, problems = value_of(tree), {}
  local add = adder(problems)
  check_top(value, add)
  value = map(value)
  local out = { file = file, places = places, services = map(value.services), names = {}, variables = {},
    networks = map(value.networks), volumes = map(value.volumes), configs = map(value.configs),
    secrets = map(value.secrets), local_files = {}, seen = {} }
  for _, member in ipairs(tree.members or {}) do
    for _, one in ipairs(member.key == "services" and member.value.members or {}) do
      out.names[#out.names + 1] = one.key
    end
  end
  if #out.names == 0 and #problems == 0 then add({}, "`services` is missing or empty") end
  for _, name in ipairs(out.names) do check_service(out, name, add) end
  for _, kind in ipairs { "configs", "secrets" } do
    for name, entry in pairs(out[kind]) do
      if map(entry).file ~= nil then take_file(out, entry.file, { kind, name, "file" }, add) end
    end
  end
  check_shared(out, add)
  for _, key in ipairs { "services", "configs", "secrets", "networks", "volumes" } do
    collect(out[key], out.variables, { key }, add)
  end
  table.sort(out.local_files)
  return out, problems
end

M._is_map, M._map, M._list = is_map, map, list

return M

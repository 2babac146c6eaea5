--- What an engine has beside containers: images, networks and volumes, as planned changes would leave them.

local fail = require "native.fail"
local has_labels = require "deploy.planned.labels"
local text = require "native.text"

local M = {}
local Stock = {}
Stock.__index = Stock
local calls = {}

--- @param engine table
--- @return table
function M.new(engine)
  local self = { calls = calls, _engine = engine, _tags = {}, _images = {}, _networks = {}, _volumes = {} }
  return setmetatable(self, Stock)
end

local function tagged(ref)
  if ref:find("@", 1, true) or ref:match("^sha256:") then return ref end
  return ref:match("[^/]*$"):find(":", 1, true) and ref or ref .. ":latest"
end

local function copy(value)
  local out = {}
  for key, one in pairs(value) do out[key] = one end
  return out
end

--- The names of an image: the real ones without those that the plan took away, with those that it gave.
function Stock:_with_tags(image)
  local out, has = copy(image), {}
  out.tags = {}
  for _, tag in ipairs(image.tags or {}) do
    if self._tags[tag] == nil or self._tags[tag] == image.id then
      out.tags[#out.tags + 1] = tag
      has[tag] = true
    end
  end
  for tag, id in pairs(self._tags) do
    if id == image.id and not has[tag] then out.tags[#out.tags + 1] = tag end
  end
  table.sort(out.tags)
  return out
end

--- An image by name or ID, as planned changes leave it. Raises `docker.not_found`.
function Stock:image(base, ref)
  local id = self._tags[tagged(ref)]
  if id == false then self._engine:not_found("inspect image", ref, "image") end
  local known = self._images[id or ref]
  if known then return self:_with_tags(known) end
  if known == false then self._engine:not_found("inspect image", ref, "image") end
  local real = base:inspect_image(id or ref)
  if self._images[real.id] == false then self._engine:not_found("inspect image", ref, "image") end
  return self:_with_tags(real)
end

local function try_image(self, base, ref)
  local ok, found = pcall(self.image, self, base, ref)
  if ok then return found end
  if fail.normal(found).kind ~= "docker.not_found" then error(found, 0) end
end

function calls.inspect_image(engine, base, ref) return engine._stock:image(base, ref) end

local function is_listed(image, options)
  if options.nameless and #image.tags > 0 then return false end
  if not has_labels(image, options.labels) then return false end
  if not options.reference then return true end
  for _, tag in ipairs(image.tags) do
    if tag == options.reference or tag:match "^(.*):[^/:]*$" == options.reference then return true end
  end
  return false
end

function calls.list_images(engine, base, options)
  local stock, out, listed = engine._stock, {}, {}
  for _, entry in ipairs(base:list_images(options)) do
    listed[entry.id] = true
    if stock._images[entry.id] ~= false then out[#out + 1] = stock:_with_tags(entry) end
  end
  for id, image in pairs(stock._images) do
    if image and not listed[id] then
      local made = stock:_with_tags(image)
      if is_listed(made, options or {}) then out[#out + 1] = made end
    end
  end
  return out
end

--- The registry is asked for real, so that a missing image or a wrong password shows in the plan.
function calls.pull(engine, base, ref, options)
  local stock = engine._stock
  local here, digest = try_image(stock, base, ref), nil
  local asked, there = pcall(base.inspect_remote_image, base, ref, { credentials = (options or {}).credentials })
  if asked then
    digest = there.digest
  elseif fail.normal(there).kind ~= "docker.engine" then
    error(there, 0)
  end
  for _, known in ipairs(here and here.digests or {}) do
    if digest and known:sub(-#digest) == digest then return { image = ref, digest = digest, changed = false } end
  end
  engine:record { "docker", "pull", ref }
  local id = "sha256:" .. text.sha256("planned image " .. engine.host .. ref)
  stock._tags[tagged(ref)] = id
  stock._images[id] = { id = id, tags = { tagged(ref) }, digests = {}, created = "", bytes = 0, os = "",
    architecture = "", labels = {}, env = {}, cmd = {}, entrypoint = {}, user = "", workdir = "", ports = {},
    stop_signal = "", healthcheck = false, raw = {} }
  return { image = ref, digest = digest, changed = true }
end

--- The other engine is asked for real; what it has travels as `docker save` and `docker load` would carry it.
function calls.ship(engine, base, ref, options)
  local stock, from = engine._stock, options.from
  local there, here = from:inspect_image(ref), try_image(stock, base, ref)
  local result = { id = there.id, layers = 0, sent = 0, bytes = there.bytes, changed = false }
  if here and here.id == there.id then return result end
  engine:record({ "docker", "load" }, ("docker save %s on %s"):format(ref, from.host or "local"))
  stock._tags[tagged(ref)], stock._images[there.id] = there.id, there
  result.changed = true
  return result
end

local function from_here(engine) return engine.host ~= "local" and "the file is this machine's" or nil end

--- The images are looked up for real.
function calls.save_images(engine, base, images, path)
  local names = type(images) == "string" and { images } or images
  local argv, result = { "docker", "save", "--output", path }, { images = {}, bytes = 0 }
  for index, name in ipairs(names) do
    local image = engine._stock:image(base, name)
    result.images[index] = { name = name, id = image.id }
    result.bytes = result.bytes + (image.bytes or 0)
    argv[#argv + 1] = name
  end
  engine:record(argv, from_here(engine))
  return result
end

--- What the file holds is known once it is loaded.
function calls.load_images(engine, _, path)
  engine:record({ "docker", "load", "--input", path }, from_here(engine))
  return { images = {}, bytes = 0 }
end

local PRUNED = { containers = "container", images = "image", networks = "network", volumes = "volume",
  build = "builder" }

--- What it would remove is known to the engine alone.
function calls.prune(engine, _, what, options)
  local argv, filters = { "docker", PRUNED[what] or what, "prune", "--force" }, {}
  for name, values in pairs(options and options.filters or {}) do
    for _, value in ipairs(values) do filters[#filters + 1] = name .. "=" .. value end
  end
  table.sort(filters)
  for _, filter in ipairs(filters) do
    argv[#argv + 1] = "--filter"
    argv[#argv + 1] = filter
  end
  engine:record(argv)
  return { removed = {}, bytes = 0 }
end

function calls.tag_image(engine, base, ref, target)
  local image = engine._stock:image(base, ref)
  if engine._stock._tags[tagged(target)] == image.id then return end
  engine:record { "docker", "tag", ref, target }
  engine._stock._tags[tagged(target)] = image.id
end

function calls.remove_image(engine, base, ref, options)
  local stock = engine._stock
  local image = stock:image(base, ref)
  local by_id = image.id == ref or (ref:match("^%x+$") and image.id:sub(8, 7 + #ref) == ref)
  local last = by_id or #image.tags <= 1
  local users = last and engine:using_image(base, image.id) or {}
  if users[1] and not (options and options.force) then
    engine:conflict(("remove image %s: container %s is using it"):format(ref, users[1]))
  end
  engine:record((options and options.force) and { "docker", "rmi", "--force", ref } or { "docker", "rmi", ref })
  if last then
    for _, tag in ipairs(image.tags) do stock._tags[tag] = false end
    stock._images[image.id] = false
  else
    stock._tags[tagged(ref)] = false
  end
  return { untagged = { ref }, deleted = last and { image.id } or {} }
end

--- Calls of a kind of thing that has a name: what is planned, then what is real.
local function named(field, kind, inspect, list)
  local function find(engine, base, name)
    local planned = engine._stock[field][name]
    if planned == false then engine:not_found("inspect " .. kind, name, kind) end
    return planned or base[inspect](base, name)
  end
  local function try_find(engine, base, name)
    local ok, found = pcall(find, engine, base, name)
    if ok then return found end
    if fail.normal(found).kind ~= "docker.not_found" then error(found, 0) end
  end
  calls[inspect] = find
  calls[list] = function(engine, base, options)
    local out, planned = {}, engine._stock[field]
    for _, one in ipairs(base[list](base, options)) do
      if planned[one.name] == nil then out[#out + 1] = one end
    end
    for name, one in pairs(planned) do
      local wanted = options and options.name
      local fits = one and (not wanted or wanted == name) and has_labels(one, options and options.labels)
      if fits then out[#out + 1] = one end
    end
    return out
  end
  return find, try_find
end

local find_network, try_network = named("_networks", "network", "inspect_network", "list_networks")
local find_volume, try_volume = named("_volumes", "volume", "inspect_volume", "list_volumes")

local function with_labels(argv, labels)
  local names = {}
  for name in pairs(labels or {}) do names[#names + 1] = name end
  table.sort(names)
  for _, name in ipairs(names) do
    argv[#argv + 1] = "--label"
    argv[#argv + 1] = name .. "=" .. tostring(labels[name])
  end
  return argv
end

function calls.create_network(engine, base, name, options)
  options = options or {}
  if try_network(engine, base, name) then
    engine:conflict(("create network %s: network with name %s already exists"):format(name, name))
  end
  local argv = { "docker", "network", "create" }
  if options.driver then
    argv[#argv + 1] = "--driver"
    argv[#argv + 1] = options.driver
  end
  if options.internal then argv[#argv + 1] = "--internal" end
  with_labels(argv, options.labels)
  argv[#argv + 1] = name
  engine:record(argv)
  local id = text.sha256("planned network " .. engine.host .. name)
  engine._stock._networks[name] = { id = id, name = name, driver = options.driver or "bridge",
    internal = options.internal or false, labels = options.labels or {}, containers = {} }
  return id
end

function calls.remove_network(engine, base, name)
  find_network(engine, base, name)
  engine:record { "docker", "network", "rm", name }
  engine._stock._networks[name] = false
end

local function volume(name, options)
  return { name = name, driver = options.driver or "local", mountpoint = "", labels = options.labels or {} }
end

function calls.create_volume(engine, base, name, options)
  options = options or {}
  local found = try_volume(engine, base, name)
  if found then return found end
  local argv = { "docker", "volume", "create" }
  if options.driver then
    argv[#argv + 1] = "--driver"
    argv[#argv + 1] = options.driver
  end
  with_labels(argv, options.labels)
  argv[#argv + 1] = name
  engine:record(argv)
  engine._stock._volumes[name] = volume(name, options)
  return engine._stock._volumes[name]
end

function calls.remove_volume(engine, base, name)
  find_volume(engine, base, name)
  engine:record { "docker", "volume", "rm", name }
  engine._stock._volumes[name] = false
end

--- Volumes come with the container that is the first to mount them.
function Stock:take_volumes(base, volumes)
  for _, mount in ipairs(volumes or {}) do
    local name = mount:match("^([^/:][^:]*):")
    if name and not try_volume(self._engine, base, name) then self._volumes[name] = volume(name, {}) end
  end
end

return M

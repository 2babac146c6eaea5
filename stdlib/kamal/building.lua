--- Building and pushing the image with the user's own buildx, as Kamal does it: from a clone of the commit, or from the
--- folder where `builder.context` says so; the version and `latest` as tags, the service as its label.

local build = require "deploy.build"
local fail = require "native.fail"
local files = require "native.files"
local hooks = require "kamal.hooks"
local localhost = require("deploy.host").localhost
local log = require "native.log"
local naming = require "kamal.naming"
local packing = require "kamal.packing"
local process = require "native.process"
local registry = require "kamal.registry"
local report = require "native.report"
local text = require "native.text"

--- By command: what it does.
--- @type table<string, fun(project: KamalProject, run: Run)>
local M = {}

local function node_of(project) return project.config.root:get("builder") end

local function text_at(project, ...)
  local node = node_of(project)
  local found = node and node:dig(...)
  return found and not found:is_blank() and found.text or nil
end

local function texts_at(project, ...)
  local node = node_of(project)
  local found = node and node:dig(...)
  if not found or found:is_null() then return {} end
  return found.kind == "list" and found:texts() or { found.text }
end

local function slug(word) return (word:gsub("[^%w%-_]+", "-"):gsub("^%-+", ""):gsub("%-+$", "")) end

local function driver_of(project) return text_at(project, "driver") or "docker-container" end

--- Whether this machine's own architecture is built here; else the remote one builds all.
local function builds_here(project)
  local node = node_of(project):get("local")
  return not (node and node.value == false)
end

--- The builder's name, as Kamal calls it; nil where the engine itself builds.
--- @param project KamalProject
--- @return string?
function M.builder_name(project)
  local driver, remote = driver_of(project), text_at(project, "remote")
  if driver == "docker" then return nil end
  if driver:match("^cloud ") then return (driver:gsub("[ /]", "-")) end
  local kind = project.config.registry.is_local and "local-registry" or "local"
  if not remote then return ("kamal-%s-%s"):format(kind, driver) end
  if builds_here(project) and #texts_at(project, "arch") > 1 then
    return ("kamal-hybrid-%s-%s"):format(driver, slug(remote))
  end
  return "kamal-remote-" .. slug(remote)
end

local function platforms(project)
  local out = {}
  for index, arch in ipairs(texts_at(project, "arch")) do out[index] = "linux/" .. arch end
  return out
end

local function cache(project)
  local kind = text_at(project, "cache", "type")
  if not kind then return nil, nil end
  local options = text_at(project, "cache", "options")
  local more = options and "," .. options or ""
  if kind == "gha" then return "type=gha" .. more, "type=gha" .. more end
  local image = text_at(project, "cache", "image") or project.config.image .. "-build-cache"
  local server = project.config.registry.server
  local ref = "type=registry,ref=" .. (server and server .. "/" .. image or image)
  return ref .. more, ref .. more
end

local function args_of(project)
  local out, node = {}, node_of(project):get("args")
  for _, name in ipairs(node and node.keys or {}) do out[name] = node:get(name).text end
  return next(out) and out or nil
end

local function secrets_of(project)
  local out = {}
  for _, name in ipairs(texts_at(project, "secrets")) do out[name] = project.config.secrets:get(name) end
  return next(out) and out or nil
end

--- What buildx is told.
--- @async
--- @param project KamalProject
--- @param version string
--- @param context string
--- @return BuildSpec
function M.spec(project, version, context)
  local config, options = project.config, project.options
  local from, to = cache(project)
  local dockerfile = text_at(project, "dockerfile") or "Dockerfile"
  local output = options.output or "registry"
  local sbom = node_of(project):get("sbom")
  return { context = context, dockerfile = dockerfile:match("^/") and dockerfile or context .. "/" .. dockerfile,
    tags = { naming.image(config, version), naming.latest_image(config) }, platforms = platforms(project),
    labels = { service = config.service }, args = args_of(project), secrets = secrets_of(project),
    target = text_at(project, "target"), ssh = text_at(project, "ssh"), provenance = text_at(project, "provenance"),
    sbom = sbom and sbom.text or nil, cache_from = from, cache_to = to, builder = M.builder_name(project),
    push = output == "registry" or nil, load = output == "docker" or nil,
    output = output ~= "registry" and output ~= "docker" and "type=" .. output or nil,
    no_cache = options.no_cache or nil }
end

--- Buildpacks instead of a Dockerfile; nil: buildx.
local function pack_of(project)
  local builder = text_at(project, "pack", "builder")
  return builder and { builder = builder, buildpacks = texts_at(project, "pack", "buildpacks"),
    repository = naming.repository(project.config) } or nil
end

-- A clone of the commit

local function git(folder, ...)
  return (process.run({ "git", "-C", folder, ... }, { planned = "" }).stdout:gsub("%s+$", ""))
end

local function clone_folder(project)
  local here = process.run({ "pwd", "-P" }, { reads = true }).stdout:gsub("%s+$", "")
  local above = (os.getenv "TMPDIR" or "/tmp"):gsub("(.)/+$", "%1")
  return ("%s/kamal-clones/%s-%s"):format(above, project.config.service, text.sha256(here):sub(1, 13))
end

--- Brings the clone to the commit, made anew where it cannot be.
--- @return string folder  where the build's context is
local function clone(project, version)
  local root = git(".", "rev-parse", "--show-toplevel")
  local prefix = git(".", "rev-parse", "--show-prefix")
  if root == "" then root = "." end
  local above = clone_folder(project)
  local folder = above .. "/" .. (root:match("([^/]+)/*$") or "app")
  local revision = version:match("^%x+$") and #version == 40 and version or git(".", "rev-parse", "HEAD")
  local function update()
    git(folder, "remote", "set-url", "origin", root)
    git(folder, "fetch", "origin")
    git(folder, "reset", "--hard", revision)
    git(folder, "clean", "-fdx")
    git(folder, "submodule", "update", "--init")
  end
  local known = files.exists(folder)
  if not known or not pcall(update) then
    files.remove(folder, { recursive = true })
    files.mkdir(above)
    process.run { "git", "clone", root, folder, "--recurse-submodules" }
    git(folder, "reset", "--hard", revision)
  end
  if not require("native.door").is_kept() then
    local now, left = git(folder, "rev-parse", "HEAD"), git(folder, "status", "--porcelain")
    if now ~= revision or left ~= "" then
      fail.raise("build.failed", ("the clone %s is not at commit %s, or has changes of its own"):format(folder,
        revision:sub(1, 7)), { hint = ("remove it: rm -r %s"):format(folder) })
    end
  end
  local inner = text_at(project, "context") or ""
  return (folder .. "/" .. prefix .. inner):gsub("/+$", "")
end

-- The builder

local function exists(name)
  return process.run({ "docker", "buildx", "inspect", name }, { check = false, reads = true }).code == 0
end

local function quiet(argv) return process.run(argv, { check = false }) end

local function create(project)
  if pack_of(project) then return { unchanged = true, note = "pack's own builder" } end
  local name, driver, remote = M.builder_name(project), driver_of(project), text_at(project, "remote")
  if not name then return { unchanged = true, note = "the engine's own builder" } end
  if driver:match("^cloud ") then
    process.run { "docker", "buildx", "create", "--driver", "cloud", (driver:gsub("^cloud ", "")) }
    return
  end
  local here = { "docker", "buildx", "create", "--name", name, "--driver=" .. driver }
  if project.config.registry.is_local then table.insert(here, "--driver-opt=network=host") end
  if not remote then return process.run(here) and nil end
  local context = name .. "-context"
  process.run { "docker", "context", "create", context, "--description", name .. " host",
    "--docker", "host=" .. remote }
  if name:match("^kamal%-hybrid") then
    process.run(here)
    process.run { "docker", "buildx", "create", "--append", "--name", name, context }
  else
    process.run { "docker", "buildx", "create", "--name", name, context }
  end
end

local function remove(project)
  if pack_of(project) then return { unchanged = true, note = "pack's own builder" } end
  local name = M.builder_name(project)
  if not name then return { unchanged = true, note = "the engine's own builder" } end
  quiet { "docker", "buildx", "rm", name }
  if text_at(project, "remote") then quiet { "docker", "context", "rm", name .. "-context" } end
end

M["build create"] = function(project, run)
  run:step("make the builder", { on = localhost, run = function() return create(project) end })
end

M["build remove"] = function(project, run)
  run:step("remove the builder", { on = localhost, run = function() return remove(project) end })
end

--- Says which builder there is.
--- @async
--- @param project KamalProject
function M.details(project)
  local pack = pack_of(project)
  if pack then
    report.text("Builder: pack\n")
    report.text(packing.inspect(pack.builder))
    return
  end
  report.text(("Builder: %s\n"):format(M.builder_name(project) or "default"))
  report.text(process.run({ "docker", "buildx", "ls" }, { reads = true }).stdout)
end

-- Build and push

--- Builds by what the configuration says; makes buildx' builder where it is not. The image's digest where it is told.
local function make(project, spec)
  local pack = pack_of(project)
  if pack then return packing.build(spec, pack) end
  local name = M.builder_name(project)
  if name and not exists(name) then
    remove(project)
    create(project)
  end
  return build.build(spec).digest
end

--- Builds and pushes the version.
--- @async
--- @param run Run
--- @param project KamalProject
--- @param version string
function M.push(run, project, version)
  if project.config.registry.is_local then
    registry.start_here(run, project)
  else
    registry.login_here(run, project)
  end
  hooks.once(run, project, "pre-build")
  run:step("build and push the image", { on = localhost, run = function()
    local context = text_at(project, "context") and "." or nil
    context = context and text_at(project, "context") or clone(project, version)
    local digest = make(project, M.spec(project, version, context))
    return { note = digest, digest = digest }
  end })
end

--- What git does not know of the folder, for whoever builds it: it is in the image.
local function warn_of_changes()
  local told = process.run({ "git", "status", "--porcelain" }, { reads = true }).stdout
  for _, kind in ipairs { { "Untracked files", "^%?%?" }, { "Files with uncommitted changes", "^[^?]" } } do
    local names = {}
    for line in told:gmatch("[^\n]+") do
      if line:match(kind[2]) then names[#names + 1] = line:sub(4) end
    end
    if #names > 0 then
      log.warn(("%s will be present in the image: %s"):format(kind[1], text.clean(table.concat(names, ", "))))
    end
  end
end

M["build dev"] = function(project, run)
  local spec = M.spec(project, project.config:version(), text_at(project, "context") or ".")
  for index, tag in ipairs(spec.tags) do spec.tags[index] = tag .. "-dirty" end
  warn_of_changes()
  run:step("build what lies in the folder", { on = localhost, run = function()
    return { note = make(project, spec) or spec.tags[1] }
  end })
end

M["build push"] = function(project, run)
  hooks.once(run, project, "pre-connect")
  M.push(run, project, run:once("version", function() return project.config:version() end))
end

return M

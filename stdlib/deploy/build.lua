--- Images built by the `docker buildx` that is installed here: by its arguments, no shell between. Secrets travel in
--- its environment or as files, never among the arguments; how far it is shows as this machine's progress.

local fail = require "native.fail"
local files = require "native.files"
local json = require "native.json"
local door = require "native.door"
local options = require "deploy.options"
local process = require "native.process"
local report = require "native.report"
local secret = require "native.secret"
local task = require "native.task"
local text = require "native.text"

local M = {}

local HERE = "local"
local OUTPUT_LIMIT = 64 * 1024 * 1024
local LOG_LINES = 20
local CLEANUP_MS = 5000

--- @class BuildSpec
--- @field context? string                     a folder, or what else buildx takes; "." unless told
--- @field dockerfile? string                  "Dockerfile" of the context unless told
--- @field tags? string|string[]               "registry/shop:v1"
--- @field target? string                      a stage
--- @field platforms? string[]                 "linux/amd64"
--- @field args? table<string, string|number>  they can be read in the image: no place for secrets
--- @field secrets? table<string, Secret|string>  by ID, for `RUN --mount=type=secret`: a value, or a file's path
--- @field labels? table<string, string>
--- @field cache_from? string|string[]         "type=registry,ref=registry/shop:cache"
--- @field cache_to? string|string[]
--- @field push? boolean                       to the tags' registry, with Docker's own login
--- @field load? boolean                       into the engine here, where the builder is not the engine's own
--- @field pull? boolean                       look for newer base images
--- @field no_cache? boolean
--- @field output? string                      "type=tar,dest=image.tar", instead of push and load
--- @field ssh? string                         "default", or a key's or agent socket's path after "default="
--- @field provenance? string                  "mode=max", "false"
--- @field sbom? string                        "true"
--- @field builder? string                     default: buildx' current one
--- @field timeout? string                     "30m"
--- @field on_progress? fun(progress: BuildProgress)

--- @class BuildProgress
--- @field name string     "[build 2/5] RUN make"
--- @field step? integer   2, of its stage
--- @field steps? integer  5

local SPEC = {
  context = { "string" }, dockerfile = { "string" }, tags = { "string|table" }, target = { "string" },
  platforms = { "string|table" }, args = { "table" }, secrets = { "table" }, labels = { "table" },
  cache_from = { "string|table" }, cache_to = { "string|table" }, push = { "boolean" }, load = { "boolean" },
  output = { "string" }, ssh = { "string" }, provenance = { "string" }, sbom = { "string" },
  pull = { "boolean" }, no_cache = { "boolean" }, builder = { "string" }, timeout = { "duration" },
  on_progress = { "function" },
}

local function list(value) return type(value) == "table" and value or { value } end

local function sorted_keys(map)
  local keys = {}
  for key in pairs(map or {}) do
    if type(key) ~= "string" or not key:match("^[%w_.-]+$") or key:sub(1, 1) == "-" then
      fail.usage(("deploy.build: `%s` cannot be a name"):format(tostring(key)))
    end
    keys[#keys + 1] = key
  end
  table.sort(keys)
  return keys
end

--- Adds `--flag=name=value` for each, in the order of the alphabet.
local function add_pairs(argv, flag, map)
  for _, key in ipairs(sorted_keys(map)) do
    if secret.is(map[key]) then
      fail.usage(("deploy.build: %s.%s is a secret, and everybody can read it in the image"):format(flag, key),
        { hint = "secrets = { … } and `RUN --mount=type=secret` keep it out" })
    end
    argv[#argv + 1] = ("--%s=%s=%s"):format(flag, key, tostring(map[key]))
  end
end

local function secret_variable(id) return "DEPLOYRUN_BUILD_" .. id:gsub("[^%w]", "_"):upper() end

--- The command, and the environment that carries its secrets. Raises `usage`.
--- @param spec BuildSpec
--- @return string[] argv, table<string, Secret> env
function M.command(spec)
  options.check(spec, SPEC, "deploy.build")
  local context = spec.context or "."
  if context:sub(1, 1) == "-" or context == "" then
    fail.usage(("deploy.build: `%s` is no context"):format(context), { token = "context" })
  end
  local argv, env = { "docker", "buildx", "build" }, {}
  local function add(flag, value)
    if value ~= nil then argv[#argv + 1] = ("--%s=%s"):format(flag, value) end
  end
  local function add_all(flag, values)
    for _, value in ipairs(list(values)) do add(flag, tostring(value)) end
  end
  add("builder", spec.builder)
  add("file", spec.dockerfile)
  add("target", spec.target)
  for _, flag in ipairs { "output", "ssh", "provenance", "sbom" } do add(flag, spec[flag]) end
  add_all("tag", spec.tags)
  if spec.platforms then add("platform", table.concat(list(spec.platforms), ",")) end
  add_pairs(argv, "build-arg", spec.args)
  add_pairs(argv, "label", spec.labels)
  for _, id in ipairs(sorted_keys(spec.secrets)) do
    local value = spec.secrets[id]
    if secret.is(value) then
      env[secret_variable(id)] = value
      add("secret", ("id=%s,env=%s"):format(id, secret_variable(id)))
    elseif type(value) == "string" and not value:find("[,\"\n]") then
      add("secret", ("id=%s,src=%s"):format(id, value))
    else
      fail.usage(("deploy.build: secrets.%s must be a secret or a file's path"):format(id))
    end
  end
  add_all("cache-from", spec.cache_from)
  add_all("cache-to", spec.cache_to)
  for _, flag in ipairs { "push", "load", "pull", "no_cache" } do
    if spec[flag] then argv[#argv + 1] = "--" .. flag:gsub("_", "-") end
  end
  argv[#argv + 1] = "--progress=plain"
  argv[#argv + 1] = context
  return argv, env
end

--- Reads what buildx says (`--progress=plain`): `#5 [build 2/5] RUN make`, `#5 0.42 its output`, `#5 DONE 0.5s`.
--- @param on_progress fun(progress: BuildProgress)
--- @return { take: fun(line: string), failure: fun(): { message: string, at: string?, logs: string? } }
function M.reader(on_progress)
  local names, logs = {}, {}
  local failed, last_error

  local function take_log(number, line)
    local kept = logs[number] or {}
    logs[number] = kept
    kept[#kept + 1] = line
    if #kept > LOG_LINES then table.remove(kept, 1) end
  end

  local self = {}
  function self.take(line)
    line = text.clean(line)
    local number, rest = line:match("^#(%d+) (.+)$")
    if not number then
      last_error = line:match("^ERROR: (.+)$") or last_error
      return
    end
    local stage = rest:match("^%[([^%]]+)%]")
    if stage and not names[number] then
      names[number] = rest
      local step, steps = stage:match("(%d+)/(%d+)$")
      on_progress { name = rest, step = tonumber(step), steps = tonumber(steps) }
    elseif rest:match("^ERROR: ") then
      failed = failed or number
    elseif rest:match("^%d+%.%d+ ") then
      take_log(number, (rest:gsub("^%d+%.%d+ ", "")))
    end
  end
  function self.failure()
    return { message = last_error or "it failed", at = failed and names[failed],
      logs = failed and logs[failed] and table.concat(logs[failed], "\n") .. "\n" or nil }
  end
  return self
end

local function missing(cause)
  fail.raise("build.missing", "docker buildx cannot be run", { cause = cause and fail.normal(cause),
    hint = "install Docker's command line and its plugin: docker-buildx-plugin (Docker's packages) or docker-buildx" })
end

--- Raises `build.missing` where there is none.
local function check_there()
  local ok, found = pcall(process.run, { "docker", "buildx", "version" }, { check = false, reads = true })
  if not ok then
    if fail.normal(found).kind == "process.spawn" then missing(found) end
    error(found, 0)
  end
  if found.code ~= 0 then missing() end
end

local function on_line(spec)
  local reader = M.reader(function(progress)
    report.emit { type = "task.progress", host = HERE, note = progress.name }
    if spec.on_progress then spec.on_progress(progress) end
  end)
  return reader, function(line, output)
    report.emit { type = "task.output", host = HERE, stream = output, line = line }
    reader.take(line)
  end
end

local function run(argv, env, spec, folder)
  local reader, take = on_line(spec)
  local command = {}
  for index, word in ipairs(argv) do command[index] = word end
  table.insert(command, #command, "--metadata-file=" .. folder .. "/metadata.json")
  local result = process.run(command, { env = env, check = false, on_line = take, timeout = spec.timeout,
    output_limit = OUTPUT_LIMIT, grace = "10s" })
  if result.code ~= 0 then
    local failure = reader.failure()
    fail.raise("build.failed", ("docker buildx build: %s"):format(failure.message),
      { code = result.code, at = failure.at, logs = failure.logs })
  end
  local metadata = json.decode(files.read(folder .. "/metadata.json"))
  return { digest = metadata["containerimage.digest"], metadata = metadata, ms = result.ms }
end

--- Builds an image. Cancelled, the build ends. Raises `build.missing` (with what to install), `build.failed` (`code`,
--- `at`: the step, `logs`: its last lines), `timeout`, `usage`.
--- @async
--- @param spec BuildSpec
--- @return { digest?: string, metadata: table, ms: number }  digest: the image's ID where the engine itself built it,
---   else the manifest's
function M.build(spec)
  local argv, env = M.command(spec)
  check_there()
  if door.is_kept() then
    process.run(argv, { env = env })
    return { digest = nil, metadata = {}, ms = 0 }
  end
  local folder = process.run({ "mktemp", "-d" }).stdout:gsub("%s+$", "")
  local ok, result = pcall(run, argv, env, spec, folder)
  task.shielded(CLEANUP_MS, "removing " .. folder, function() files.remove(folder, { recursive = true }) end)
  if not ok then error(result, 0) end
  return result
end

return M

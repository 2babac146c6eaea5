--- Images made by Cloud Native Buildpacks (`builder.pack`): by the `pack` that is installed here, into the engine here,
--- and from there to the registry. Its arguments are Kamal's, but that a secret's value is in its environment alone.

local fail = require "native.fail"
local process = require "native.process"
local report = require "native.report"
local text = require "native.text"

local M = {}

local HERE = "local"
local LABELS = "paketo-buildpacks/image-labels"  -- makes labels of BP_IMAGE_LABELS
local LOG_LINES = 20
local OUTPUT_LIMIT = 64 * 1024 * 1024

local function sorted_keys(map)
  local out = {}
  for key in pairs(map or {}) do out[#out + 1] = key end
  table.sort(out)
  return out
end

--- The command, and the environment that carries its secrets.
--- @param spec BuildSpec  as buildx would have it
--- @param pack { builder: string, buildpacks: string[], repository: string }
--- @return string[] argv, table<string, Secret> env
function M.command(spec, pack)
  local argv = { "pack", "build", pack.repository, "--platform", spec.platforms[1], "--creation-time", "now",
    "--builder", pack.builder }
  local function add(flag, value) argv[#argv + 1], argv[#argv + 2] = flag, value end
  for _, name in ipairs(pack.buildpacks) do add("--buildpack", name) end
  add("--buildpack", LABELS)
  for _, tag in ipairs(spec.tags) do add("-t", tag) end
  if spec.no_cache then argv[#argv + 1] = "--clear-cache" end
  add("--env", "BP_IMAGE_LABELS=service=" .. spec.labels.service)
  for _, name in ipairs(sorted_keys(spec.args)) do add("--env", ("%s=%s"):format(name, spec.args[name])) end
  for _, name in ipairs(sorted_keys(spec.secrets)) do add("--env", name) end
  add("--path", spec.context)
  return argv, spec.secrets or {}
end

local function run(argv, env)
  local last = {}
  local function take(line, output)
    report.emit { type = "task.output", host = HERE, stream = output, line = line }
    last[#last + 1] = text.clean(line)
    if #last > LOG_LINES then table.remove(last, 1) end
  end
  local ok, result = pcall(process.run, argv, { env = env, check = false, on_line = take, output_limit = OUTPUT_LIMIT,
    grace = "10s" })
  if not ok then
    local err = fail.normal(result)
    if err.kind ~= "process.spawn" then error(err, 0) end
    fail.raise("build.missing", ("%s cannot be run"):format(argv[1]), { cause = err,
      hint = argv[1] == "pack" and "install it: https://buildpacks.io/docs/install-pack/"
        or "install Docker's command line" })
  end
  if result.code ~= 0 then
    fail.raise("build.failed", ("%s %s: exit code %d%s"):format(argv[1], argv[2], result.code,
      #last > 0 and ": " .. last[#last] or ""), { code = result.code, logs = table.concat(last, "\n") })
  end
end

--- Builds an image, and pushes its tags where the specification says so. Raises `build.missing`, `build.failed`.
--- @async
--- @param spec BuildSpec
--- @param pack { builder: string, buildpacks: string[], repository: string }
function M.build(spec, pack)
  run(M.command(spec, pack))
  for _, tag in ipairs(spec.push and spec.tags or {}) do run { "docker", "push", tag } end
end

--- What pack tells of its builder.
--- @async
--- @param builder string
--- @return string
function M.inspect(builder)
  return process.run({ "pack", "builder", "inspect", builder }, { reads = true }).stdout
end

return M

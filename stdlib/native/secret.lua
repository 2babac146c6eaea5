--- Secrets: values that pass through and never show. A secret joins with text into a secret, prints as
--- `[secret:NAME]`, and is masked in all output, in the forms in which programs print it. Recipes cannot read it; what
--- needs it takes it as it is: `env`, `stdin`, `files.write`, registry credentials.

local fail = require "native.fail"
local files = require "native.files"
local log = require "native.log"
local raw = require "native.secret.raw"
local source = require "native.secret_source.raw"
local task = require "native.task"
local text = require "native.text"

local M = {}

local COMMAND_TIMEOUT = "60s"

--- @class Secret
--- @field name fun(self: Secret): string
--- @field equals fun(self: Secret, other: string|Secret): boolean  in constant time
--- @operator concat(string): Secret

local function warn_if_short(secret, too_short)
  if too_short then
    log.warn("secret " .. secret:name() .. ": shorter than 6 bytes, too short to be masked in output")
  end
  return secret
end

--- A secret from a value at hand, for example one that a program printed.
--- @param name string        shown in its place
--- @param value string|Secret
--- @return Secret
function M.value(name, value)
  return warn_if_short(raw.value(name, value))
end

--- A secret from the environment. Raises `secret.missing`.
--- @param name string
--- @param options? { optional?: boolean }  optional: nil where it is not set
--- @return Secret?
function M.from_env(name, options)
  local secret, too_short = raw.from_env(name, options and options.optional)
  return secret and warn_if_short(secret, too_short)
end

--- @param value any
--- @return boolean
M.is = raw.is

--- Text from elsewhere with every secret in it masked, as all output is.
--- @param text string
--- @return string
M.masked = raw.masked

--- @class SecretFile
--- @field path string
--- @field names string[]  in the order of the file
local SecretFile = {}
SecretFile.__index = SecretFile

--- A secret of the file. Raises `secret.missing` naming the file and the nearest name.
--- @param name string
--- @return Secret
function SecretFile:get(name)
  local secret = self:try_get(name)
  if not secret then
    fail.raise("secret.missing", "secret " .. tostring(name) .. ": not in " .. self.path, {
      name = name, source = self.path, token = name, hint = raw.nearest(tostring(name), self.names) })
  end
  return secret
end

--- @param name string
--- @return Secret?
function SecretFile:try_get(name)
  return self._values[name]
end

local function group(path, loaded)
  for _, name in ipairs(loaded.short) do warn_if_short(loaded.values[name], true) end
  return setmetatable({ path = path, names = loaded.names, _values = loaded.values }, SecretFile)
end

--- Reads a file of NAME=VALUE lines ('…' as it is, "…" with escapes, $NAME from above or from the environment).
--- Raises `secret.file` (missing, unreadable, or malformed: with `line`, `column`), `secret.missing` for an unknown
--- $NAME.
--- Warns when others may read the file.
--- @async
--- @param path string
--- @return SecretFile
function M.from_file(path)
  local file = task.await(raw.load(path))
  if file.warning then log.warn(file.warning) end
  return group(path, file)
end

--- How what a source gives becomes secrets.
--- @class SecretShape
--- @field format? "value"|"dotenv"|"json"  "value" where there is a `name`, else "dotenv". "value": all of it but one
---        line end behind it; "dotenv": NAME=VALUE lines, as in a file; "json": an object of texts and numbers
--- @field name? string    of a "value"
--- @field path? string[]  of "json": the members that lead to the object, from the root

local function shape_of(options, what)
  options = options or {}
  local format = options.format or (options.name and "value") or "dotenv"
  if format == "value" and not options.name then
    fail.usage(what .. ": format \"value\" needs a `name`", { token = "value" })
  end
  return { format = format, name = options.name, path = options.path }
end

--- Secrets that a program prints: `op`, `bw`, `vault`, `sops`, `age`, `pass` … It is run with its arguments as they
--- are, never by a shell, and with nothing to read; it may ask a person elsewhere (a key to touch, a window).
--- Raises `secret.source` (`code`, `stderr`; never what it printed), `secret.file` for lines that are no NAME=VALUE,
--- `process.spawn`, `timeout`.
--- @async
--- @param argv string[]
--- @param options? SecretShape|{ timeout?: string, env?: table<string, string|Secret>, cwd?: string }  timeout: "60s"
---        unless told
--- @return SecretFile  `path` is the program
function M.from_command(argv, options)
  local shape = shape_of(options, "secrets from a command")
  shape.env, shape.cwd = options and options.env, options and options.cwd
  local limit = text.duration_option(options and options.timeout or COMMAND_TIMEOUT, "secrets: timeout")
  local loaded = task.within(limit, "secrets from " .. tostring(argv[1]), function()
    return task.await(source.command(argv, shape))
  end)
  return group(argv[1], loaded)
end

--- Secrets from standard input, which another program fills: `sops decrypt … | deployrun …`.
--- Raises `input.terminal`, `input.too_large`, `secret.source`, `secret.file`.
--- @async
--- @param options? SecretShape
--- @return SecretFile
function M.from_stdin(options)
  return group("standard input", task.await(source.input(shape_of(options, "secrets from standard input"))))
end

--- A whole file as one secret (a key, a certificate), or a file of JSON. Warns when others may read it.
--- Raises `files.*`, `secret.source`.
--- @async
--- @param path string
--- @param options SecretShape
--- @return SecretFile
function M.from_whole_file(path, options)
  local loaded = task.await(source.file(path, shape_of(options, "secrets from " .. path)))
  local stat = files.stat(path)
  if stat and stat.mode:match("..$") ~= "00" then
    log.warn(path .. ": others may read this file of secrets; chmod 600 " .. path)
  end
  return group(path, loaded)
end

return M

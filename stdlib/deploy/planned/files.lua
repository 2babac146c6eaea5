--- The files of a host and the commands run there as planned changes would leave them. Serves both faces: a session's
--- calls over SSH and those of this machine (native.files, native.process). A file's change is shown as a diff, unless
--- it holds secrets or only its owner may read it.

local diff = require "deploy.planned.diff"
local fail = require "native.fail"
local secret = require "native.secret"
local text = require "native.text"

local M = {}
local Files = {}
Files.__index = Files

local COMPARED = 1024 * 1024  -- bytes; larger files are told by their size
local calls = { ssh = {}, files = {}, process = {} }

--- @param host string
--- @param recorder table  as for engine.lua
--- @return table
function M.new(host, recorder)
  return setmetatable({ host = host, _recorder = recorder, _known = {} }, Files)
end

--- Makes a call of one of the faces.
--- @async
--- @param call DoorCall
--- @param base table  the face's calls, real
--- @return any
function Files:call(call, base, ...)
  local planned = calls[call.face][call.name]
  if planned then return planned(self, base, ...) end
  if call.reads then return base[call.name](base, ...) end
  local words = { call.name }
  for _, value in ipairs { ... } do
    if type(value) == "string" then words[#words + 1] = value end
  end
  self._recorder:record(self.host, { kind = "command", argv = words })
  return {}
end

local function not_found(self, face, path)
  fail.raise(face == "ssh" and "ssh.not_found" or "files.not_found", ("read %s: no such file"):format(path),
    { host = face == "ssh" and self.host or nil, path = path })
end

local function is_missing(err) return fail.normal(err).kind:match("%.not_found$") ~= nil end

--- What a file holds now: its bytes (nil: too large or no file) and what stat says; nil, nil where nothing is.
local function look(self, base, path)
  local known = self._known[path]
  if known == false then return nil, nil end
  if known then return known.bytes, known.stat end
  local stat = base:stat(path)
  if not stat then return nil, nil end
  if stat.type ~= "file" or stat.size > COMPARED then return nil, stat end
  local ok, bytes = pcall(base.read, base, path)
  if ok then return bytes, stat end
  if not is_missing(bytes) then error(bytes, 0) end
  return nil, nil
end

--- What a file holds by the plan's doing: nil where it did nothing, false where it removed it.
--- @param path string
--- @return string|false?
function Files:contents(path)
  local known = self._known[path]
  if not known then return known end
  return tostring(known.bytes)
end

local function is_private(mode) return mode ~= nil and tonumber(mode, 8) % 64 == 0 end

local function size_of(bytes) return type(bytes) == "string" and #bytes or 0 end

--- Records that a file gets other contents; nothing where it has them.
local function put(self, base, path, bytes, given, default_mode)
  given = given or {}
  local old, stat = look(self, base, path)
  local mode = given.mode or (stat and stat.mode) or default_mode
  local same_bytes
  if secret.is(bytes) then
    same_bytes = type(old) == "string" and bytes:equals(old)
  else
    same_bytes = old == bytes
  end
  local result = { bytes = size_of(bytes), mode = mode, ms = 0 }
  if same_bytes and stat and (not given.mode or given.mode == stat.mode) then return result end
  local change = { kind = "file", path = path, state = stat and "changed" or "new", mode = mode, owner = given.owner }
  if secret.is(bytes) then
    change.content = tostring(bytes)
  else
    change.bytes = #bytes
    local old_text = type(old) == "string" and old or ""
    local shown = not is_private(mode) and not (stat and is_private(stat.mode)) and #bytes <= COMPARED
    if shown and diff.is_text(bytes) and diff.is_text(old_text) then change.diff = diff.unified(old_text, bytes) end
  end
  self._recorder:record(self.host, change)
  self._known[path] = { bytes = bytes, stat = { type = "file", size = size_of(bytes), mode = mode, user = "",
    group = "", uid = 0, gid = 0, modified = 0 } }
  return result
end

local function read(self, base, face, path, options)
  local known = self._known[path]
  if known == nil then return base:read(path, options) end
  if known == false then not_found(self, face, path) end
  -- A recipe cannot read a secret back either way: a file of secrets is text to it, and what it holds shows by name.
  return type(known.bytes) == "string" and known.bytes or tostring(known.bytes)
end

local function stat_of(self, base, path)
  local known = self._known[path]
  if known == nil then return base:stat(path) end
  return known and known.stat or nil
end

local function remove(self, base, path, options)
  if not stat_of(self, base, path) then return false end
  self._recorder:record(self.host, { kind = "command",
    argv = (options and options.recursive) and { "rm", "-rf", path } or { "rm", "-f", path } })
  self._known[path] = false
  return true
end

--- A command with what it is given, as one would type it.
local function command_words(command, options)
  local words = type(command) == "table" and command or { "sh", "-c", command }
  local names = {}
  for name in pairs(options.env or {}) do names[#names + 1] = name end
  table.sort(names)
  local argv = {}
  if #names > 0 then argv[1] = "env" end
  for _, name in ipairs(names) do argv[#argv + 1] = name .. "=" .. tostring(options.env[name]) end
  for _, word in ipairs(words) do argv[#argv + 1] = tostring(word) end
  return argv
end

local function exec(self, command, options, make)
  options = options or {}
  if self._recorder:reads_exec(options) then return make() end
  local stdin = options.stdin
  local note = stdin and ("stdin: " .. (secret.is(stdin) and tostring(stdin) or #stdin .. " bytes")) or nil
  self._recorder:record(self.host, { kind = "command", argv = command_words(command, options), note = note,
    cwd = options.cwd, line = type(command) == "string" and not options.env and command or nil })
  local line = type(command) == "table" and text.shell_join(command) or command
  return self._recorder:output(self.host, line) or { stdout = options.planned or "", stderr = "", code = 0, ms = 0 }
end

function calls.ssh.exec(self, base, command, options)
  return exec(self, command, options, function() return base:exec(command, options) end)
end

function calls.ssh.write(self, base, bytes, to, options) return put(self, base, to, bytes, options, "0644") end

function calls.ssh.read(self, base, path, options) return read(self, base, "ssh", path, options) end

function calls.ssh.stat(self, base, path) return stat_of(self, base, path) end

function calls.ssh.remove(self, base, path, options) return remove(self, base, path, options) end

--- A file of this machine that goes there; it may be too large to compare.
function calls.ssh.upload(self, base, from, to, options)
  local local_files = self._recorder:this_machine()
  local stat = local_files:stat(from)
  if not stat then fail.raise("ssh.file", ("upload %s: no such file"):format(from), { path = from }) end
  if stat.type == "file" and stat.size <= COMPARED then
    return put(self, base, to, local_files:read(from), { mode = options and options.mode or stat.mode,
      owner = options and options.owner }, "0644")
  end
  self._recorder:record(self.host, { kind = "command", argv = { "scp", "-r", from, self.host .. ":" .. to },
    note = ("%d bytes"):format(stat.size) })
  self._known[to] = { stat = { type = stat.type, size = stat.size, mode = stat.mode, user = "", group = "" } }
  return { bytes = stat.size, mode = stat.mode, ms = 0 }
end

--- A folder's contents are not compared: the plan says that it travels.
function calls.ssh.upload_folder(self, _, from, to, options)
  local stat = self._recorder:this_machine():stat(from)
  if not stat or stat.type ~= "directory" then
    fail.raise("ssh.file", ("upload %s: no such folder"):format(from), { path = from })
  end
  local argv = { "rsync", "-rlpt", (from:gsub("/*$", "/")), self.host .. ":" .. to }
  if options and options.replace then table.insert(argv, 3, "--delete") end
  self._recorder:record(self.host, { kind = "command", argv = argv })
  self._known[to] = { stat = { type = "directory", size = 0, mode = "0755", user = "", group = "" } }
  return { files = 0, bytes = 0, ms = 0 }
end

function calls.ssh.download(self, base, from, to)
  local found = stat_of(self, base, from)
  if not found then not_found(self, "ssh", from) end
  self._recorder:record("local", { kind = "command", argv = { "scp", self.host .. ":" .. from, to },
    note = ("%d bytes"):format(found.size) })
  return { bytes = found.size, mode = found.mode, ms = 0 }
end

function calls.ssh.download_folder(self, base, from, to, options)
  local found = stat_of(self, base, from)
  if not found or found.type ~= "directory" then not_found(self, "ssh", from) end
  local argv = { "rsync", "-rlpt", self.host .. ":" .. (from:gsub("/*$", "/")), to }
  if options and options.replace then table.insert(argv, 3, "--delete") end
  self._recorder:record("local", { kind = "command", argv = argv })
  return { files = 0, bytes = 0, ms = 0 }
end

-- This machine. Its calls are functions, not methods: `base` hides that.

function calls.files.write(self, base, path, bytes, options) put(self, base, path, bytes, options, "0600") end

function calls.files.read(self, base, path, options) return read(self, base, "files", path, options) end

function calls.files.stat(self, base, path) return stat_of(self, base, path) end

function calls.files.exists(self, base, path) return stat_of(self, base, path) ~= nil end

function calls.files.remove(self, base, path, options) return remove(self, base, path, options) end

function calls.files.mkdir(self, base, path, options)
  if stat_of(self, base, path) then return false end
  local argv = { "mkdir", "-p", path }
  if options and options.mode then argv = { "mkdir", "-p", "-m", options.mode, path } end
  self._recorder:record(self.host, { kind = "command", argv = argv })
  self._known[path] = { stat = { type = "directory", size = 0, mode = options and options.mode or "0755", uid = 0,
    gid = 0, modified = 0 } }
  return true
end

function calls.process.run(self, base, argv, options)
  return exec(self, argv, options, function() return base:run(argv, options) end)
end

--- A word that a shell reads as it is, quoted only where it must be, so that people can read it too.
local function quoted(word, index)
  if word:match("^[%w@%%+=:,./_-]+$") and not (index == 1 and word:find("=", 1, true)) then return word end
  return text.shell_join { word }
end

--- A command as one line for a shell.
--- @param change table
--- @param resolved fun(word: string): string  what a quoted word with placeholders becomes
--- @return string
function M.line_of(change, resolved)
  if change.line then return resolved(change.line) end
  local words = {}
  for index, word in ipairs(change.argv) do words[index] = resolved(quoted(word, index)) end
  local line = table.concat(words, " ")
  if change.cwd then line = ("cd %s && %s"):format(text.shell_join { change.cwd }, line) end
  return line
end

return M

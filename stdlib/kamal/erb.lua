--- ERB templates of configuration files (trim mode `-`): text, `<%= … %>`, `<% … %>`, in the Ruby that kamal/ruby.lua
--- knows. Where that is not enough an installed `ruby` renders the whole template; without one the error names the
--- line.

local dotenv = require "kamal.dotenv"
local fail = require "native.fail"
local files = require "native.files"
local lexer = require "kamal.ruby_lexer"
local log = require "native.log"
local parser = require "kamal.ruby_parser"
local process = require "native.process"
local ruby = require "kamal.ruby"

local M = {}

local COMMAND_TIMEOUT = "120s"

--- Whether what comes after this beginning of a line is a YAML comment: a `#` at its start or behind a blank, outside
--- of quotes.
local function in_comment(line)
  local quote
  for i = 1, #line do
    local char = line:sub(i, i)
    if quote then
      if char == quote then quote = nil end
    elseif (char == '"' or char == "'") and line:sub(i - 1, i - 1):match("[%s%[{,:]") then
      quote = char
    elseif char == "#" and (i == 1 or line:sub(i - 1, i - 1):match("%s")) then
      return true
    end
  end
  return false
end

local function tag_end(template, at, line, file)
  local from = at
  while true do
    local found = template:find("%>", from, true)
    if not found then
      local where = ("%s:%d"):format(file, line)
      fail.raise("kamal.erb", where .. ": `<%` without its `%>`", { where = where })
    end
    if template:sub(found - 1, found - 1) ~= "%" then return found end
    from = found + 2
  end
end

--- The words of a whole template: its text is a statement, its tags are Ruby.
local function tokens_of(template, file)
  local tokens, at, line = {}, 1, 1
  local line_text = ""  -- of the line so far, tags left out
  local function add_text(text)
    if text == "" then return end
    tokens[#tokens + 1] = { kind = "text", value = text, line = line }
    local last = text:match("([^\n]*)$")
    line_text = text:find("\n", 1, true) and last or line_text .. last
    line = line + select(2, text:gsub("\n", ""))
  end
  local function add_code(code, comment)
    local kind = code:sub(1, 1) == "=" and "out" or "run"
    local source = (kind == "out" and code:sub(2) or code):gsub("%%%%>", "%%>")
    local ok, inner = pcall(lexer.tokens, source, line)
    if ok and kind == "out" and comment then
      -- What is unreadable in a comment is left out; what can be read may still fail in peace.
      ok = pcall(parser.parse, inner)
      if not ok then return end
    end
    if not ok then
      if comment then return end
      error(inner, 0)
    end
    if kind == "out" then tokens[#tokens + 1] = { kind = "out", line = line, tolerant = comment } end
    for _, token in ipairs(inner) do tokens[#tokens + 1] = token end
    tokens[#tokens + 1] = { kind = kind == "out" and "out_end" or "newline", line = line }
  end
  while at <= #template do
    local open = template:find("<%", at, true)
    if not open then
      add_text(template:sub(at))
      break
    end
    local text = template:sub(at, open - 1)
    local mark = template:sub(open + 2, open + 2)
    if mark == "%" then
      add_text(text .. "<%")
      at = open + 3
    else
      if mark == "-" then
        text = (text:gsub("\n[ \t]*$", "\n"))
        if not text:find("\n", 1, true) and text:match("^[ \t]*$") and line_text == "" then text = "" end
      end
      add_text(text)
      local from = open + (mark == "-" and 3 or 2)
      local close = tag_end(template, from, line, file)
      local code = template:sub(from, close - 1)
      at = close + 2
      local trims = code:sub(-1) == "-"
      if trims then code = code:sub(1, -2) end
      if mark ~= "#" then add_code(code, in_comment(line_text)) end
      line = line + select(2, code:gsub("\n", ""))
      if trims and template:match("^\r?\n", at) then
        at = template:match("^\r?\n()", at)
        line, line_text = line + 1, ""
      else
        line_text = line_text .. "x"
      end
    end
  end
  return tokens
end

--- Collects output and remembers from which line of the template each of its lines comes.
local function collector()
  local out = { parts = {}, lines = {}, line = 1 }
  function out.emit(text, line, is_template)
    if text == "" then return end
    out.parts[#out.parts + 1] = text
    for piece, newline in text:gmatch("([^\n]*)(\n?)") do
      if piece ~= "" or newline ~= "" then out.lines[out.line] = out.lines[out.line] or line end
      if newline ~= "" then
        out.line = out.line + 1
        if is_template then line = line + 1 end
      end
    end
  end
  return out
end

--- The world as it is: environment, files, programs of this machine.
--- @param environment Environment
--- @param file string
--- @return table
function M.world(environment, file)
  local world = {}
  function world.env(name) return environment:get(name) end
  function world.set_env(name, value) environment:set(name, value) end
  function world.read(path) return files.exists(path) and files.read(path) or nil end
  function world.run(command, line)
    local result = process.run({ "sh", "-c", command }, { check = false, env = environment:changes(), reads = true,
      timeout = COMMAND_TIMEOUT })
    if result.code ~= 0 then
      log.warn(("%s:%d: the command ended with exit code %d; what it printed is used, as Ruby does: %s"):format(file,
        line, result.code, command))
    end
    return result.stdout
  end
  function world.load_dotenv(path, line)
    local bytes = world.read(path)
    if not bytes then return end
    local parsed = dotenv.parse(bytes, { file = path, env = world.env,
      run = function(words) return (world.run(words, line):gsub("\n$", "")) end })
    for _, name in ipairs(parsed.names) do
      if environment:get(name) == nil then environment:set(name, parsed.values[name]) end
    end
  end
  return world
end

local RUBY = [[
module Kamal; module Utils; def self.docker_arch
  a = `docker info --format '{{.Architecture}}'`.strip
  { "aarch64" => "arm64", "x86_64" => "amd64" }.fetch(a, a)
end; end; end
t = ERB.new(STDIN.read, trim_mode: "-"); t.filename = ARGV[0]; print t.result]]

--- @return string?  nil: there is no ruby
local function by_ruby(template, environment, file)
  local ok, result = pcall(process.run, { "ruby", "-rerb", "-e", RUBY, file }, { stdin = template, check = false,
    env = environment:changes(), reads = true, timeout = COMMAND_TIMEOUT })
  if not ok then
    if result.kind == "process.spawn" then return nil end
    error(result, 0)
  end
  if result.code ~= 0 then
    local said = result.stderr:match("[^\n]+") or ""
    fail.raise("kamal.erb", ("%s: ruby: %s"):format(file, said),
      { stderr = result.stderr, where = said:match("^(%S+:%d+)") })
  end
  return result.stdout
end

local function raised(err, file)
  err = fail.normal(err)
  local where = err.line and ("%s:%d"):format(file, err.line) or file
  if err.kind == "kamal.ruby" then
    fail.raise("kamal.erb", ("%s: %s is more Ruby than is known here"):format(where, err.message), { where = where,
      hint = "install ruby on this machine, or write it simpler (docs/kamal.md says what is known)" })
  elseif err.kind == "kamal.env" then
    fail.raise("kamal.erb", ("%s: %s"):format(where, err.message), { where = where,
      hint = err.name and ("set %s, or give a default: ENV.fetch(%q, \"…\")"):format(err.name, err.name) or nil })
  end
  error(err, 0)
end

--- Renders a template.
--- Raises `kamal.erb` naming the line.
--- @async
--- @param template string
--- @param options { file: string, environment: Environment, world?: table }
--- @return string rendered
--- @return integer[]? lines  the template's line of each rendered one; nil where ruby rendered it
function M.render(template, options)
  if not template:find("<%", 1, true) then return template, nil end
  local file = options.file
  local out = collector()
  local world = options.world or M.world(options.environment, file)
  world.emit = out.emit
  local ok, err = pcall(function()
    local tree = parser.parse(tokens_of(template, file))
    ruby.new(world):run(tree)
  end)
  if ok then return table.concat(out.parts), out.lines end
  err = fail.normal(err)
  if err.kind == "kamal.ruby" then
    local rendered = by_ruby(template, options.environment, file)
    if rendered then return rendered, nil end
  end
  return raised(err, file)
end

return M

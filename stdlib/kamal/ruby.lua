--- What the trees of kamal/ruby_parser.lua mean. Reaches the world only through `world`, so that a spec can stand in:
--- environment, files, commands.

local fail = require "native.fail"
local json = require "native.json"
local lexer = require "kamal.ruby_lexer"
local values = require "kamal.ruby_values"

local M = {}
local NIL = values.NIL

--- @class RubyWorld
--- @field env fun(name: string): string?
--- @field set_env fun(name: string, value: string)
--- @field run fun(command: string, line: integer): string       what a shell command prints
--- @field read fun(path: string): string?                       nil: no such file
--- @field load_dotenv fun(path: string, line: integer)          as the dotenv gem: the environment's own values stay
--- @field emit fun(text: string, line: integer, is_template: boolean)

--- @class Ruby
local Ruby = {}
Ruby.__index = Ruby

--- @param world RubyWorld
--- @return Ruby
function M.new(world)
  return setmetatable({ world = world, locals = {} }, Ruby)
end

local evaluate = {}

function Ruby:run(node) return evaluate[node.type](self, node) end

local function text_argument(call, index)
  local value = call.values[index or 1]
  if type(value) ~= "string" then lexer.unsupported(call.line, ("`%s` with what is no text"):format(call.name)) end
  return value
end

--- Constants with methods of their own: name → method → fn(ruby, call).
local modules = {}

modules.ENV = {
  ["fetch"] = function(ruby, call)
    local name = text_argument(call)
    local value = ruby.world.env(name)
    if value ~= nil then return value end
    if call.block then return call.block(name) end
    if call.values[2] ~= nil then return call.values[2] end
    fail.raise("kamal.env", ("key not found: %q"):format(name), { line = call.line, name = name })
  end,
  ["key?"] = function(ruby, call) return ruby.world.env(text_argument(call)) ~= nil end,
  ["[]"] = function(ruby, call) return ruby.world.env(text_argument(call)) or NIL end,
  ["[]="] = function(ruby, call, value)
    ruby.world.set_env(text_argument(call), value == NIL and "" or values.to_s(value))
    return value
  end,
}
modules.ENV["has_key?"], modules.ENV["include?"] = modules.ENV["key?"], modules.ENV["key?"]

local function read(ruby, call)
  local path = text_argument(call)
  local bytes = ruby.world.read(path)
  if not bytes then
    fail.raise("kamal.env", ("No such file or directory @ rb_sysopen - %s"):format(path), { line = call.line })
  end
  return bytes
end

modules.File = {
  ["read"] = read,
  ["exist?"] = function(ruby, call) return ruby.world.read(text_argument(call)) ~= nil end,
  ["basename"] = function(_, call) return (text_argument(call):gsub("/+$", ""):match("([^/]*)$")) end,
  ["dirname"] = function(_, call) return text_argument(call):match("^(.+)/[^/]*$") or "." end,
  ["join"] = function(_, call)
    local parts = {}
    for index, value in ipairs(call.values) do parts[index] = values.to_s(value) end
    return (table.concat(parts, "/"):gsub("//+", "/"))
  end,
}
modules.File["exists?"], modules.File["file?"] = modules.File["exist?"], modules.File["exist?"]
modules.IO = { ["read"] = read }

local function load_dotenv(ruby, call)
  if #call.values == 0 then ruby.world.load_dotenv(".env", call.line) end
  for index in ipairs(call.values) do ruby.world.load_dotenv(text_argument(call, index), call.line) end
  return values.hash()
end

modules.Dotenv = { ["load"] = load_dotenv, ["load!"] = load_dotenv }

modules.JSON = {
  ["parse"] = function(_, call)
    local ok, decoded = pcall(json.decode, text_argument(call), { null = true })
    if not ok then fail.raise("kamal.env", "JSON.parse: " .. fail.normal(decoded).message, { line = call.line }) end
    return values.from_lua(decoded)
  end,
}

modules["Kamal::Utils"] = {
  ["docker_arch"] = function(ruby, call)
    local arch = ruby.world.run("docker info --format '{{.Architecture}}'", call.line):gsub("%s+$", "")
    if arch == "aarch64" then return "arm64" end
    return arch == "x86_64" and "amd64" or arch
  end,
}

local REQUIRABLE = { dotenv = true, json = true, erb = true, yaml = true, shellwords = true, uri = true, set = true }

local functions = {
  ["require"] = function(_, call)
    local name = text_argument(call)
    if not REQUIRABLE[name] then lexer.unsupported(call.line, ("require %q"):format(name)) end
    return true
  end,
  ["Integer"] = function(_, call)
    local value = call.values[1]
    local number = type(value) == "number" and value or tonumber(values.to_s(value), 10)
    if not number then lexer.unsupported(call.line, ("Integer(%s)"):format(values.to_s(value))) end
    return number
  end,
  ["String"] = function(_, call) return values.to_s(call.values[1]) end,
  ["Array"] = function(_, call)
    local value = call.values[1]
    return type(value) == "table" and value.array and value or values.call(value, "to_a", {}, nil, call.line)
  end,
  ["raise"] = function(_, call)
    local message = values.to_s(call.values[#call.values] or "unhandled exception")
    fail.raise("kamal.env", message, { line = call.line })
  end,
}
functions["abort"], functions["fail"] = functions["raise"], functions["raise"]

function evaluate.block(self, node)
  local value = NIL
  for _, statement in ipairs(node) do value = self:run(statement) end
  return value
end

function evaluate.text(self, node)
  self.world.emit(node.value, node.line, true)
  return NIL
end

function evaluate.out(self, node)
  local ok, value = pcall(self.run, self, node.value)
  if ok then
    self.world.emit(values.to_s(value), node.line, false)
  elseif not node.tolerant then
    error(value, 0)
  end
  return NIL
end

evaluate["if"] = function(self, node)
  local holds = values.truthy(self:run(node.condition))
  if holds ~= (node.negated or false) then return self:run(node.body) end
  return node.otherwise and self:run(node.otherwise) or NIL
end

evaluate["or"] = function(self, node)
  local left = self:run(node.left)
  return values.truthy(left) and left or self:run(node.right)
end

evaluate["and"] = function(self, node)
  local left = self:run(node.left)
  if not values.truthy(left) then return left end
  return self:run(node.right)
end

evaluate["not"] = function(self, node) return not values.truthy(self:run(node.value)) end

function evaluate.negate(self, node)
  local value = self:run(node.value)
  if type(value) ~= "number" then lexer.unsupported(node.line, "`-` of what is no number") end
  return -value
end

evaluate["int"] = function(_, node) return node.value end
evaluate["float"] = function(_, node) return { float = node.value } end
function evaluate.symbol(_, node) return values.symbol(node.value) end

local CONSTANTS = { ["nil"] = NIL, ["true"] = true, ["false"] = false }
function evaluate.constant(_, node) return CONSTANTS[node.value] end

function evaluate.string(self, node)
  local parts = {}
  for index, part in ipairs(node) do parts[index] = type(part) == "string" and part or values.to_s(self:run(part)) end
  return table.concat(parts)
end

function evaluate.command(self, node) return self.world.run(self:run(node.value), node.line) end
function evaluate.words(self, node) return values.call(self:run(node.value), "split", {}, nil, node.line) end

function evaluate.array(self, node)
  local out = values.array()
  for index, item in ipairs(node) do out[index] = self:run(item) end
  return out
end

function evaluate.hash(self, node)
  local out = values.hash()
  for _, pair in ipairs(node) do values.set(out, self:run(pair[1]), self:run(pair[2])) end
  return out
end

evaluate["local"] = function(self, node) return self.locals[node.name] or NIL end

function evaluate.const(self, node)
  if self.locals[node.name] ~= nil then return self.locals[node.name] end
  return lexer.unsupported(node.line, ("the constant %s"):format(node.name))
end

local OPERATIONS = {
  ["+"] = function(a, b)
    if type(a) == "string" and type(b) == "string" then return a .. b end
    if type(a) == "number" and type(b) == "number" then return a + b end
    if type(a) == "table" and a.array and type(b) == "table" and b.array then
      local out = values.array()
      for _, list in ipairs { a, b } do
        for _, item in ipairs(list) do out[#out + 1] = item end
      end
      return out
    end
  end,
  ["-"] = function(a, b) return type(a) == "number" and type(b) == "number" and a - b or nil end,
  ["*"] = function(a, b)
    if type(b) ~= "number" then return nil end
    return type(a) == "string" and a:rep(b) or type(a) == "number" and a * b or nil
  end,
  ["/"] = function(a, b)
    return type(a) == "number" and type(b) == "number" and b ~= 0 and math.floor(a / b) or nil
  end,
  ["%"] = function(a, b) return type(a) == "number" and type(b) == "number" and b ~= 0 and a % b or nil end,
  ["<<"] = function(a, b)
    if type(a) ~= "table" or not a.array then return nil end
    a[#a + 1] = b
    return a
  end,
}

local function same_kind(a, b) return type(a) == type(b) and (type(a) == "number" or type(a) == "string") end
local COMPARISONS = {
  ["<"] = function(a, b) return a < b end, [">"] = function(a, b) return a > b end,
  ["<="] = function(a, b) return a <= b end, [">="] = function(a, b) return a >= b end,
}

function evaluate.binary(self, node)
  local left, right = self:run(node.left), self:run(node.right)
  if node.operator == "==" then return values.equal(left, right) end
  if node.operator == "!=" then return not values.equal(left, right) end
  local compare = COMPARISONS[node.operator]
  if compare and same_kind(left, right) then return compare(left, right) end
  local value = not compare and OPERATIONS[node.operator](left, right) or nil
  if value == nil then lexer.unsupported(node.line, ("`%s` with these values"):format(node.operator)) end
  return value
end

--- A block as a Lua function. A pair given to several names is taken apart.
local function callable(self, node)
  if not node then return nil end
  if node.type == "method_block" then
    return function(value) return values.call(value, node.name, {}, nil, node.line) end
  end
  return function(...)
    local given = { ... }
    if #node.names > 1 and #given == 1 and type(given[1]) == "table" and given[1].array then given = given[1] end
    local before = {}
    for index, name in ipairs(node.names) do
      before[name] = self.locals[name]
      self.locals[name] = given[index] == nil and NIL or given[index]
    end
    local value = self:run(node.body)
    for _, name in ipairs(node.names) do self.locals[name] = before[name] end
    return value
  end
end

local function arguments_of(self, node)
  local out = {}
  for index, argument in ipairs(node.arguments) do out[index] = self:run(argument) end
  return out
end

--- The module that a receiver names; nil where it is a value.
local function module_of(self, receiver)
  if not receiver or receiver.type ~= "const" or self.locals[receiver.name] ~= nil then return nil end
  return modules[receiver.name] or lexer.unsupported(receiver.line, ("the constant %s"):format(receiver.name))
end

function evaluate.call(self, node)
  local name, line = node.name, node.line
  if not node.receiver and self.locals[name] ~= nil and #node.arguments == 0 then return self.locals[name] end
  local call = { name = name, line = line, values = arguments_of(self, node), block = callable(self, node.block) }
  if not node.receiver then
    local fn = functions[name] or lexer.unsupported(line, ("`%s`"):format(name))
    return fn(self, call)
  end
  local module = module_of(self, node.receiver)
  if module then
    local fn = module[name] or lexer.unsupported(line, ("%s.%s"):format(node.receiver.name, name))
    return fn(self, call)
  end
  local receiver = self:run(node.receiver)
  if node.safe and receiver == NIL then return NIL end
  return values.call(receiver, name, call.values, call.block, line)
end

function evaluate.index(self, node)
  local module = module_of(self, node.receiver)
  local given = arguments_of(self, node)
  if module then
    local fn = module["[]"] or lexer.unsupported(node.line, node.receiver.name .. "[]")
    return fn(self, { name = "[]", line = node.line, values = given })
  end
  local value = values.index(self:run(node.receiver), given[1])
  if value == nil or #given > 1 then lexer.unsupported(node.line, "`[]` of these values") end
  return value
end

local function assign_to(self, target, value, line)
  if target.type == "local" then
    self.locals[target.name] = value
    return value
  end
  local module = module_of(self, target.receiver)
  local given = arguments_of(self, target)
  if module and module["[]="] then
    return module["[]="](self, { name = "[]=", line = line, values = given }, value)
  end
  local holder = not module and self:run(target.receiver)
  if type(holder) == "table" and holder.hash then
    values.set(holder, given[1], value)
    return value
  end
  return lexer.unsupported(line, "an assignment to this")
end

function evaluate.assign(self, node)
  local operator = node.operator
  if operator == "=" then return assign_to(self, node.target, self:run(node.value), node.line) end
  local now = self:run(node.target)
  if operator == "||=" and values.truthy(now) or operator == "&&=" and not values.truthy(now) then return now end
  local value = self:run(node.value)
  if operator == "+=" then
    value = OPERATIONS["+"](now, value) or lexer.unsupported(node.line, "`+=` with these values")
  end
  return assign_to(self, node.target, value, node.line)
end

function evaluate.label_value(_, node) return lexer.unsupported(node.line, "unexpected `:`") end

return M

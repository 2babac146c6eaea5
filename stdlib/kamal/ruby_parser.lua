--- The Ruby of configuration templates, from words to a tree: expressions, assignments, conditions, blocks, calls. A
--- node is { type, line, … }; kamal/ruby.lua says what it means.

local lexer = require "kamal.ruby_lexer"

local M = {}
local Parser = {}
Parser.__index = Parser

function Parser:_peek(offset) return self.tokens[self.at + (offset or 0)] or { kind = "end", line = self.last_line } end

function Parser:_next()
  local token = self:_peek()
  self.at = self.at + 1
  self.last_line = token.line
  return token
end

function Parser:_is(kind, value, offset)
  local token = self:_peek(offset)
  return token.kind == kind and (value == nil or token.value == value)
end

function Parser:_accept(kind, value)
  if self:_is(kind, value) then return self:_next() end
end

local function shown(token)
  if token.kind == "end" then return "the end" end
  if token.kind == "text" or token.kind == "out_end" then return "the end of the tag" end
  return ("`%s`"):format(tostring(token.value or token.kind))
end

function Parser:_unexpected()
  local token = self:_peek()
  lexer.unsupported(token.line, "unexpected " .. shown(token))
end

function Parser:_expect(kind, value)
  return self:_accept(kind, value) or self:_unexpected()
end

function Parser:_skip_newlines()
  while self:_is("newline") or self:_is("op", ";") do self:_next() end
end

local function ends_statement(token)
  return token.kind == "newline" or token.kind == "text" or token.kind == "out" or token.kind == "out_end" or
    token.kind == "end" or (token.kind == "op" and token.value == ";")
end

--- Statements up to one of the words; that word is not read.
function Parser:_statements(stops)
  local list = { type = "block", line = self:_peek().line }
  while true do
    self:_skip_newlines()
    local token = self:_peek()
    if token.kind == "end" then
      if stops then lexer.unsupported(token.line, "`end` is missing") end
      return list
    end
    if stops and (token.kind == "keyword" or token.kind == "op") and stops[token.value] then return list end
    list[#list + 1] = self:_statement()
  end
end

function Parser:_statement()
  local token = self:_peek()
  if token.kind == "text" then
    self:_next()
    return { type = "text", line = token.line, value = token.value }
  elseif token.kind == "out" then
    return self:_output()
  end
  local node = self:_expression()
  while self:_is("keyword", "if") or self:_is("keyword", "unless") do
    local word = self:_next()
    local condition = self:_expression()
    node = { type = "if", line = word.line, condition = condition, negated = word.value == "unless", body = node }
  end
  local token_after = self:_peek()
  local closes = self:_is("keyword", "end") or self:_is("op", "}") or self:_is("op", ")")
  if not ends_statement(token_after) and not closes then self:_unexpected() end
  return node
end

--- `<%= … %>`; what fails inside a YAML comment is nothing.
function Parser:_output()
  local token = self:_next()
  local node = { type = "out", line = token.line, tolerant = token.tolerant }
  self:_skip_newlines()
  node.value = self:_statement()
  self:_skip_newlines()
  self:_expect("out_end")
  return node
end

function Parser:_expression()
  if self:_is("keyword", "not") then
    local token = self:_next()
    return { type = "not", line = token.line, value = self:_expression() }
  end
  local left = self:_assignment()
  while self:_is("keyword", "and") or self:_is("keyword", "or") do
    local word = self:_next()
    self:_skip_newlines()
    left = { type = word.value, line = word.line, left = left, right = self:_assignment() }
  end
  return left
end

local ASSIGNMENTS = { ["="] = true, ["||="] = true, ["&&="] = true, ["+="] = true }

function Parser:_assignment()
  local target = self:_ternary()
  local token = self:_peek()
  if token.kind ~= "op" or not ASSIGNMENTS[token.value] then return target end
  local is_name = (target.type == "call" and not target.receiver and #target.arguments == 0) or target.type == "const"
  if not is_name and target.type ~= "index" then return target end
  self:_next()
  self:_skip_newlines()
  if is_name then
    local name = target.name
    self.locals[name] = true
    target = { type = "local", line = target.line, name = name }
  end
  return { type = "assign", line = token.line, operator = token.value, target = target, value = self:_expression() }
end

function Parser:_ternary()
  local condition = self:_binary(1)
  if not self:_is("op", "?") then return condition end
  local token = self:_next()
  self:_skip_newlines()
  local yes = self:_ternary()
  self:_skip_newlines()
  if yes.type == "label_value" then return { type = "if", line = token.line, condition = condition, body = yes.value,
    otherwise = self:_ternary() } end
  self:_expect("op", ":")
  self:_skip_newlines()
  return { type = "if", line = token.line, condition = condition, body = yes, otherwise = self:_ternary() }
end

local LEVELS = {
  { ["||"] = "or" }, { ["&&"] = "and" },
  { ["=="] = "binary", ["!="] = "binary" },
  { ["<"] = "binary", [">"] = "binary", ["<="] = "binary", [">="] = "binary" },
  { ["<<"] = "binary" },
  { ["+"] = "binary", ["-"] = "binary" },
  { ["*"] = "binary", ["/"] = "binary", ["%"] = "binary" },
}

function Parser:_binary(level)
  if not LEVELS[level] then return self:_unary() end
  local left = self:_binary(level + 1)
  while true do
    local token = self:_peek()
    local kind = token.kind == "op" and LEVELS[level][token.value]
    if not kind then return left end
    self:_next()
    self:_skip_newlines()
    local right = level <= 2 and self:_is("keyword", "not") and self:_expression() or self:_binary(level + 1)
    left = { type = kind, line = token.line, operator = token.value, left = left, right = right }
  end
end

function Parser:_unary()
  local token = self:_peek()
  if self:_accept("op", "!") then return { type = "not", line = token.line, value = self:_unary() } end
  if self:_accept("op", "-") then return { type = "negate", line = token.line, value = self:_unary() } end
  return self:_postfix(self:_primary())
end

--- A block behind a call: `{ |a, b| … }` or `do |a| … end`.
function Parser:_block()
  local token = self:_peek()
  local close = (self:_is("op", "{") and "}") or (self:_is("keyword", "do") and "end")
  if not close then return nil end
  self:_next()
  local block = { type = "lambda", line = token.line, names = {} }
  self:_skip_newlines()
  if self:_accept("op", "|") then
    repeat
      local paren = self:_accept("op", "(")
      repeat
        local name = self:_expect("name")
        block.names[#block.names + 1] = name.value
        self.locals[name.value] = true
      until not (paren and self:_accept("op", ","))
      if paren then self:_expect("op", ")") end
    until not self:_accept("op", ",")
    self:_expect("op", "|")
  elseif self:_accept("op", "||") then
    block.names = {}
  end
  block.body = self:_statements { [close] = true }
  self:_next()
  return block
end

--- One argument; `key: value` pairs become one hash at the end.
function Parser:_argument(arguments)
  if self:_accept("op", "&") then
    local symbol = self:_expect("symbol")
    return { type = "method_block", line = symbol.line, name = symbol.value }
  end
  local label = self:_accept("label")
  local key = label and { type = "symbol", line = label.line, value = label.value } or nil
  if not key then
    local value = self:_ternary()
    if not self:_accept("op", "=>") then
      arguments[#arguments + 1] = value
      return nil
    end
    key = value
  end
  local last = arguments[#arguments]
  if not (last and last.braceless) then
    last = { type = "hash", line = key.line, braceless = true }
    arguments[#arguments + 1] = last
  end
  self:_skip_newlines()
  last[#last + 1] = { key, self:_ternary() }
  return nil
end

function Parser:_arguments(close)
  local arguments, block = {}, nil
  self:_skip_newlines()
  while not self:_is("op", close) do
    block = self:_argument(arguments) or block
    self:_skip_newlines()
    if not self:_accept("op", ",") then break end
    self:_skip_newlines()
  end
  self:_expect("op", close)
  return arguments, block
end

local BEGINS = { int = true, float = true, string = true, command = true, symbol = true, const = true, name = true,
  label = true, words = true }
local BEGINS_KEYWORD = { ["nil"] = true, ["true"] = true, ["false"] = true }

--- Whether arguments without parentheses follow.
function Parser:_begins_argument()
  local token = self:_peek()
  if not token.spaced then return false end
  return BEGINS[token.kind] or (token.kind == "keyword" and BEGINS_KEYWORD[token.value]) or
    (token.kind == "op" and token.value == "[" and not self:_peek(1).spaced)
end

--- The arguments and the block of a call whose name was read.
function Parser:_call(receiver, name, line, safe)
  local node = { type = "call", line = line, receiver = receiver, name = name, safe = safe, arguments = {} }
  local is_local = not receiver and self.locals[name]
  if self:_is("op", "(") and not self:_peek().spaced then
    self:_next()
    node.arguments, node.block = self:_arguments(")")
  elseif not is_local and self:_begins_argument() then
    repeat
      self:_skip_newlines()
      node.block = self:_argument(node.arguments) or node.block
    until not self:_accept("op", ",")
  end
  if not is_local then node.block = self:_block() or node.block end
  return node
end

--- A chain goes on in the next line where that begins with a dot.
function Parser:_chain_goes_on()
  local ahead = 0
  while self:_is("newline", nil, ahead) do ahead = ahead + 1 end
  if ahead > 0 and (self:_is("op", ".", ahead) or self:_is("op", "&.", ahead)) then self.at = self.at + ahead end
end

function Parser:_postfix(node)
  while true do
    self:_chain_goes_on()
    local token = self:_peek()
    if token.kind ~= "op" then return node end
    if token.value == "." or token.value == "&." then
      self:_next()
      self:_skip_newlines()
      local name = self:_accept("name") or self:_accept("const") or self:_accept("keyword") or self:_accept("label")
      if not name then self:_unexpected() end
      if name.kind == "label" then  -- `a ? b.c: d`
        return { type = "label_value", line = name.line, value = self:_call(node, name.value, name.line) }
      end
      node = self:_call(node, name.value, name.line, token.value == "&.")
    elseif token.value == "::" then
      self:_next()
      local name = self:_accept("const") or self:_expect("name")
      if name.kind == "const" and node.type == "const" and not self:_is("op", "(") then
        node = { type = "const", line = name.line, name = node.name .. "::" .. name.value }
      else
        node = self:_call(node, name.value, name.line)
      end
    elseif token.value == "[" and not token.spaced then
      self:_next()
      node = { type = "index", line = token.line, receiver = node, arguments = (self:_arguments("]")) }
    else
      return node
    end
  end
end

function Parser:_parts(token)
  local node = { type = "string", line = token.line }
  for index, part in ipairs(token.parts) do
    if type(part) == "table" then
      local inner = setmetatable({ tokens = part, at = 1, last_line = token.line, locals = self.locals }, Parser)
      part = inner:_statements()
    end
    node[index] = part
  end
  return node
end

function Parser:_condition(word)
  local node = { type = "if", line = word.line, negated = word.value == "unless", condition = self:_expression() }
  self:_accept("keyword", "then")
  node.body = self:_statements { ["elsif"] = true, ["else"] = true, ["end"] = true }
  local stop = self:_next()
  if stop.value == "elsif" then
    node.otherwise = self:_condition { line = stop.line }
  elseif stop.value == "else" then
    node.otherwise = self:_statements { ["end"] = true }
    self:_next()
  end
  return node
end

local CONSTANTS = { ["nil"] = true, ["true"] = true, ["false"] = true }

function Parser:_primary()
  local token = self:_next()
  local kind, value, line = token.kind, token.value, token.line
  if kind == "int" or kind == "float" or kind == "symbol" then return { type = kind, line = line, value = value } end
  if kind == "string" then
    local node = self:_parts(token)
    while self:_is("string") do  -- neighbours join
      for _, part in ipairs(self:_parts(self:_next())) do node[#node + 1] = part end
    end
    return node
  elseif kind == "command" then
    return { type = "command", line = line, value = self:_parts(token) }
  elseif kind == "words" then
    return { type = "words", line = line, value = self:_parts(token) }
  elseif kind == "const" then
    if self:_is("op", "(") and not self:_peek().spaced then return self:_call(nil, value, line) end
    return { type = "const", line = line, name = value }
  elseif kind == "name" then
    return self:_call(nil, value, line)
  elseif kind == "keyword" then
    if CONSTANTS[value] then return { type = "constant", line = line, value = value } end
    if value == "if" or value == "unless" then return self:_condition(token) end
    lexer.unsupported(line, ("`%s`"):format(value))
  elseif kind == "op" then
    if value == "(" then
      local node = self:_statements { [")"] = true }
      self:_next()
      return node
    elseif value == "[" then
      local node = self:_arguments("]")
      node.type, node.line = "array", line
      return node
    elseif value == "{" then
      local pairs_of = self:_arguments("}")
      local node = pairs_of[1] or { type = "hash" }
      if #pairs_of > 1 or node.type ~= "hash" then lexer.unsupported(line, "`{`") end
      return { type = "hash", line = line, unpack(node) }
    end
  end
  self.at = self.at - 1
  return self:_unexpected()
end

--- @param tokens RubyToken[]
--- @return table node  a block of statements
function M.parse(tokens)
  local parser = setmetatable({ tokens = tokens, at = 1, last_line = 1, locals = {} }, Parser)
  return parser:_statements()
end

return M

--- Which globals a compiled function reads or writes that nobody declared: read off its bytecode, so the compiler
--- itself decided what is a global. Finds them in functions that have not run yet.

local bit = require "bit"
local util = require "jit.util"

local M = {}

local function opcode(instruction) return bit.band(instruction, 0xff) end

-- The numbers of the two instructions differ between versions of LuaJIT: taken from functions that have one of each.
local GET = opcode((util.funcbc(load("return x"), 1)))
local SET = opcode((util.funcbc(load("x = nil"), 2)))

--- @class GlobalUse
--- @field name string
--- @field line integer
--- @field writes boolean

local function walk(proto, uses)
  local info = util.funcinfo(proto)
  for pc = 1, info.bytecodes - 1 do
    local instruction = util.funcbc(proto, pc)
    if not instruction then break end
    local op = opcode(instruction)
    if op == GET or op == SET then
      local name = util.funck(proto, -bit.rshift(instruction, 16) - 1)
      uses[#uses + 1] = { name = name, line = util.funcinfo(proto, pc).currentline, writes = op == SET }
    end
  end
  for index = 1, info.gcconsts do
    local constant = util.funck(proto, -index)
    if type(constant) == "proto" then walk(constant, uses) end
  end
end

--- The uses of globals that are not there, in the order of their lines.
--- @param chunk function
--- @return GlobalUse[]
function M.unknown(chunk)
  local uses, out = {}, {}
  walk(chunk, uses)
  for _, use in ipairs(uses) do
    if rawget(_G, use.name) == nil then out[#out + 1] = use end
  end
  table.sort(out, function(a, b) return a.line < b.line end)
  return out
end

--- The names of all globals there are, sorted.
--- @return string[]
function M.names()
  local names = {}
  for name in pairs(_G) do names[#names + 1] = name end
  table.sort(names)
  return names
end

return M

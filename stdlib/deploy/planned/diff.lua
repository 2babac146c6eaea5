--- What a change of a file is for people: a unified diff of two texts.

local M = {}

local CONTEXT = 3
local LONGEST = 600   -- lines of either side that are compared line by line
local SHOWN = 200     -- lines of a diff

local function lines_of(text)
  local out = {}
  for line in (text .. (text:sub(-1) == "\n" and "" or "\n")):gmatch("([^\n]*)\n") do out[#out + 1] = line end
  if text == "" then out = {} end
  return out
end

--- Whether something is text that can be shown.
--- @param bytes string
--- @return boolean
function M.is_text(bytes) return not bytes:find("%z") end

--- The longest common subsequence, as a list of { kind, line }: " ", "-", "+".
local function edits(old, new)
  local first, last_old, last_new = 1, #old, #new
  while first <= last_old and first <= last_new and old[first] == new[first] do first = first + 1 end
  while last_old >= first and last_new >= first and old[last_old] == new[last_new] do
    last_old, last_new = last_old - 1, last_new - 1
  end
  local out = {}
  for i = 1, first - 1 do out[#out + 1] = { " ", old[i] } end
  local n, m = last_old - first + 1, last_new - first + 1
  if n > LONGEST or m > LONGEST then
    for i = first, last_old do out[#out + 1] = { "-", old[i] } end
    for i = first, last_new do out[#out + 1] = { "+", new[i] } end
  else
    local common = {}
    for i = n, 0, -1 do
      common[i] = {}
      for j = m, 0, -1 do
        if i == n or j == m then
          common[i][j] = 0
        elseif old[first + i] == new[first + j] then
          common[i][j] = common[i + 1][j + 1] + 1
        else
          common[i][j] = math.max(common[i + 1][j], common[i][j + 1])
        end
      end
    end
    local i, j = 0, 0
    while i < n or j < m do
      if i < n and j < m and old[first + i] == new[first + j] then
        out[#out + 1] = { " ", old[first + i] }
        i, j = i + 1, j + 1
      elseif i < n and (j == m or common[i + 1][j] >= common[i][j + 1]) then
        out[#out + 1] = { "-", old[first + i] }
        i = i + 1
      else
        out[#out + 1] = { "+", new[first + j] }
        j = j + 1
      end
    end
  end
  for i = last_old + 1, #old do out[#out + 1] = { " ", old[i] } end
  return out
end

--- Groups of changed lines with what stands around them: first and last index of each.
local function hunks(list)
  local out = {}
  for index, edit in ipairs(list) do
    if edit[1] ~= " " then
      local from, to = math.max(1, index - CONTEXT), math.min(#list, index + CONTEXT)
      local last = out[#out]
      if last and from <= last[2] + 1 then last[2] = to else out[#out + 1] = { from, to } end
    end
  end
  return out
end

--- @param old string
--- @param new string
--- @return string diff  "" when they are equal; 200 lines at most
function M.unified(old, new)
  local list = edits(lines_of(old), lines_of(new))
  local out, at_old, at_new, next_index = {}, 1, 1, 1
  for _, hunk in ipairs(hunks(list)) do
    for index = next_index, hunk[1] - 1 do
      if list[index][1] ~= "+" then at_old = at_old + 1 end
      if list[index][1] ~= "-" then at_new = at_new + 1 end
    end
    local head, count_old, count_new = #out + 1, 0, 0
    out[head] = ""
    for index = hunk[1], hunk[2] do
      local edit = list[index]
      if edit[1] ~= "+" then count_old = count_old + 1 end
      if edit[1] ~= "-" then count_new = count_new + 1 end
      out[#out + 1] = edit[1] .. edit[2]
    end
    out[head] = ("@@ -%d,%d +%d,%d @@"):format(count_old == 0 and at_old - 1 or at_old, count_old,
      count_new == 0 and at_new - 1 or at_new, count_new)
    at_old, at_new, next_index = at_old + count_old, at_new + count_new, hunk[2] + 1
  end
  if #out > SHOWN then
    local more = #out - SHOWN
    for index = #out, SHOWN + 1, -1 do out[index] = nil end
    out[#out + 1] = ("… %d more lines"):format(more)
  end
  return table.concat(out, "\n")
end

return M

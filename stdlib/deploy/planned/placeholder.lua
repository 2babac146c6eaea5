--- Values that only a change would bring about: IDs and addresses of containers that are not made yet. They have the
--- form of the real ones, so that whatever handles them works in a plan too; commands show what they stand for.

local text = require "native.text"

local M = {}

local ADDRESS = "address-of-"
local names = {}  -- ID → name of the planned container

--- An ID as long as a real one; the same for the same host, name and number.
--- @param host string
--- @param name string
--- @param number integer
--- @return string
function M.id(host, name, number) return text.sha256(("planned %s %s %d"):format(host, name, number)) end

--- Says how the container of a planned ID is called.
--- @param id string
--- @param name string
function M.note(id, name) names[id] = name end

--- Stands for a container's address.
--- @param name string
--- @return string
function M.address(name) return ADDRESS .. name end

--- Whether a URL leads to a container that is not there yet.
--- @param url string
--- @return boolean
function M.is_planned_url(url) return url:find("://" .. ADDRESS, 1, true) ~= nil end

--- A word with planned IDs, as a shell finds them out once their containers are there; short where the word holds the
--- short one.
--- @param word string  quoted already
--- @return string
function M.resolved(word)
  for id, name in pairs(names) do
    local short = id:sub(1, 12)
    if word:find(short, 1, true) then
      local find = ("$(docker ps -aq%s -f name=^%s$)"):format(word:find(id, 1, true) and " --no-trunc" or "", name)
      if word:sub(1, 1) == "'" then find = "'\"" .. find .. "\"'" end
      word = word:gsub(id, function() return find end):gsub(short, function() return find end)
    end
  end
  return word
end

--- Text with planned IDs, for people: `<id of shop-web-v2>`.
--- @param said string
--- @return string
function M.named(said)
  for id, name in pairs(names) do
    local words = ("<id of %s>"):format(name)
    said = said:gsub(id, function() return words end):gsub(id:sub(1, 12), function() return words end)
  end
  return said
end

return M

--- What an app answers while it is down for maintenance: a page of its own or a message, and when to come again. Read
--- and checked with the settings; how it gets to a client is each proxy's business.

local files = require "native.files"
local kinds = require "proxy.kinds"
local text = require "native.text"

local M = {}

local PAGE_LIMIT = 256 * 1024  -- bytes: nginx has the page in its configuration, HAProxy reads it for each request
local RETRY_AFTER = 5          -- s
local MESSAGE = "back in a moment"

--- Of an app's and of a Compose project's settings.
M.SCHEMA = { "map", keys = { message = { "string" }, page = { "string" }, retry_after = { "duration" } } }

--- @class Maintenance
--- @field message string       where there is no page
--- @field page? string         HTML
--- @field retry_after integer  seconds

-- RFC 3629 §4, without NUL.
local UTF8 = { "^[\1-\127]+()", "^[\194-\223][\128-\191]()", "^\224[\160-\191][\128-\191]()",
  "^[\225-\236\238\239][\128-\191][\128-\191]()", "^\237[\128-\159][\128-\191]()",
  "^\240[\144-\191][\128-\191][\128-\191]()", "^[\241-\243][\128-\191][\128-\191][\128-\191]()",
  "^\244[\128-\143][\128-\191][\128-\191]()" }

--- Where bytes stop to be UTF-8 text; nil where they are.
local function fault(bytes)
  local at = 1
  while at <= #bytes do
    local after
    for _, pattern in ipairs(UTF8) do after = after or bytes:match(pattern, at) end
    if not after then return at end
    at = after
  end
end

--- Why a file cannot be a page; else its bytes.
local function read(path)
  local stat = files.stat(path)
  if not stat then return nil, "no such file" end
  if stat.type ~= "file" then return nil, ("it is no plain file (%s)"):format(stat.type) end
  if stat.size > PAGE_LIMIT then
    return nil, ("%d bytes, %d at most"):format(stat.size, PAGE_LIMIT), "link to large images instead"
  end
  local bytes = files.read(path, { limit = PAGE_LIMIT })
  if not bytes:find("%S") then return nil, "it is empty" end
  local at = fault(bytes)
  if at then return nil, ("no UTF-8 text from byte %d on"):format(at) end
  return bytes
end

--- Completes what settings say of it; the page is read, beside the file of the settings.
--- @async
--- @param raw table      the settings; `maintenance` fits the schema
--- @param file string    what they were read from
--- @param problem fun(path: string[], message: string, hint?: string)
--- @return Maintenance
function M.read(raw, file, problem)
  local own = raw.maintenance or {}
  local made = { retry_after = RETRY_AFTER, message = own.message or MESSAGE }
  local kind = kinds.of(raw)
  local lacks = kinds.all[kind].lacks
  for _, key in ipairs { "message", "page", "retry_after" } do
    if own[key] and lacks[key] then
      problem({ "maintenance", key }, ("`maintenance.%s`: %s cannot do that: %s"):format(key, kind, lacks[key]))
    end
  end
  if own.retry_after then made.retry_after = math.max(1, math.ceil(text.parse_duration(own.retry_after) / 1000)) end
  if not own.page then return made end
  local function refuse(why, hint)
    problem({ "maintenance", "page" }, ("`maintenance.page`: %s: %s"):format(own.page, why), hint)
  end
  local path = own.page:sub(1, 1) == "/" and own.page or (file:match("^(.*/)[^/]*$") or "") .. own.page
  local bytes, why, hint = read(path)
  if not bytes then
    refuse(why, hint or "a page of HTML beside the settings")
  elseif kind == "kamal_proxy" and bytes:find("{{", 1, true) then
    refuse("it has `{{`, and kamal_proxy takes its pages for templates", "write &#123;&#123;, or take another proxy")
  end
  made.page = bytes
  return made
end

return M

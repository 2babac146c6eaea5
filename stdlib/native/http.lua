--- Requests and probes. Any HTTP answer is a reply, whatever its status; no answer raises `http.resolve`,
--- `http.connect`, `http.tls`, `http.lost`, `http.protocol` or `http.too_large`. Addresses in errors show neither
--- credentials nor queries.

local await = require("native.task").await
local door = require "native.door"
local fail = require "native.fail"
local json = require "native.json"
local raw = require "native.http.raw"
local task = require "native.task"
local text = require "native.text"

local M = {}

--- @class HttpOptions
--- @field method? string                               "GET" unless told; "POST" with a body
--- @field headers? table<string, string|number|Secret>
--- @field body? string|Secret
--- @field json? any                                    sent as JSON instead of `body`
--- @field timeout? string                              of the whole request, "30s" unless told; raises `timeout`
--- @field verify? boolean                              false: any certificate is accepted
--- @field ca_file? string                              PEM, instead of the system's authorities
--- @field connect_to? string                           "address:port" to connect to; the name stays the address's own
--- @field unix_socket? string                          path of a socket of this machine to speak through
--- @field via? userdata                                a dial of an SSH session to speak through
--- @field host? string                                 whose errors these are

--- @class HttpReply
--- @field status integer
--- @field headers table<string, string>  lower-case names; several values are joined with ", "
--- @field body string
--- @field url string                     without credentials and query
--- @field redirect? string               where a 3xx points, absolute
--- @field ms number
--- @field reused boolean                 on a connection that was open already
--- @field tls_days? number               how long the server's certificate is good for, where `expect` asks for it

--- @class HttpExpect
--- @field status? integer|string|(integer|string)[]  200, "200-299", "2xx" or several; 2xx unless told
--- @field body? string                                must be contained
--- @field headers? table<string, string>              must be there; "" for any value
--- @field json? table<string, any>                    fields by path: ["checks.database"] = "ok"
--- @field tls_days? number                            so long the server's certificate must still be good for

local REQUEST_TIMEOUT = "30s"
local PROBE_TIMEOUT = "5s"

-- One route per dial, so that its connections are kept and reused.
local routes = setmetatable({}, { __mode = "k" })

local function route_of(dial)
  local found = routes[dial]
  if not found then
    found = raw.route(dial)
    routes[dial] = found
  end
  return found
end

local function status_text(status)
  if type(status) ~= "table" then return tostring(status) end
  local parts = {}
  for index, one in ipairs(status) do parts[index] = tostring(one) end
  return table.concat(parts, ",")
end

local function expectation(expect)
  if expect == nil then return nil end
  if type(expect) ~= "table" or expect[1] ~= nil then return { status = status_text(expect) } end
  local out = {}
  for key, value in pairs(expect) do out[key] = value end
  if out.status ~= nil then out.status = status_text(out.status) end
  return out
end

-- A copy with what the binding takes: durations in `names` as milliseconds, a route for a dial, a body for `json`.
local function native(what, options, names)
  local out = {}
  for key, value in pairs(options or {}) do out[key] = value end
  for _, name in ipairs(names) do out[name] = text.duration_option(out[name], what .. ": " .. name) end
  if out.via ~= nil then out.route, out.via = route_of(out.via), nil end
  if out.json ~= nil then
    if out.body ~= nil then fail.usage(what .. ": body and json are the same thing", { token = "json" }) end
    out.body, out.json = json.encode(out.json), nil
    local headers = { ["Content-Type"] = "application/json" }
    for name, value in pairs(out.headers or {}) do headers[name] = value end
    out.headers = headers
  end
  if out.body ~= nil and out.method == nil then out.method = "POST" end
  return out
end

--- Sends a request and waits for the answer.
--- @async
--- @param url string|Secret  absolute, http or https
--- @param options? HttpOptions|{ redirects?: integer, max_body?: integer, fresh?: boolean, proxy?: boolean }
---   redirects: how many are followed, none unless told; max_body: bytes, 16 MiB unless told, more raises
---   `http.too_large`; fresh: a connection of its own; proxy: false ignores `http_proxy` and friends
--- @return HttpReply
function M.request(url, options)
  local out = native("http.request", options, {})
  local timeout = text.duration_option(out.timeout or REQUEST_TIMEOUT, "http.request: timeout")
  out.timeout = nil
  return task.within(timeout, "http request", function() return await(raw.request(url, out)) end)
end

--- @async
--- @param url string|Secret
--- @param options? HttpOptions
--- @return HttpReply
function M.get(url, options)
  return M.request(url, options)
end

--- Asks an address once whether it answers as expected. Follows no redirect, uses no proxy, reads 64 KiB at most.
--- Raises as `request`; an unexpected answer is a result with `ok` false and a `reason`.
--- @async
--- @param url string
--- @param expect? HttpExpect|integer|string
--- @param options? HttpOptions|{ fresh?: boolean }  timeout "5s" unless told
--- @return HttpReply|{ ok: boolean, reason?: string }
function M.probe(url, expect, options)
  local out = native("http.probe", options, {})
  local timeout = text.duration_option(out.timeout or PROBE_TIMEOUT, "http.probe: timeout")
  out.timeout, out.expect = nil, expectation(expect)
  return task.within(timeout, "http probe", function() return await(raw.probe(url, out)) end)
end

--- @class WaitHealthyOptions : HttpOptions
--- @field expect? HttpExpect|integer|string
--- @field interval? string      between attempts at first, "100ms" unless told; later a tenth of the time waited so far
--- @field max_interval? string  "2s" unless told
--- @field successes? integer    how many in a row, 1 unless told
--- @field timeout? string       of one attempt, "5s" unless told
--- @field within? string        in all; without it only the task's own limit ends the waiting, and tells no story
--- @field fresh? boolean        a new connection per attempt

--- Asks again until the address answers as expected.
--- Raises `http.unhealthy` with the story: `attempts`, `first`, `last`, `status`, `history` (a line per change).
--- @async
--- @param url string
--- @param options? WaitHealthyOptions
--- @return HttpReply|{ attempts: integer, waited_ms: number, history: string }
function M.wait_healthy(url, options)
  local out = native("http.wait_healthy", options, { "interval", "max_interval", "timeout", "within" })
  out.expect = expectation(out.expect)
  return await(raw.wait_healthy(url, out))
end

--- @class Observation
--- @field requests integer
--- @field failures integer
--- @field reused integer                      answered on a kept connection
--- @field ms number
--- @field longest_gap_ms number               without a success
--- @field gap_at_ms number                    when that gap began
--- @field p50_ms number
--- @field p99_ms number
--- @field max_ms number
--- @field by_status table<string, integer>    "0": no answer
--- @field first_failures { at_ms: number, status: integer, reason: string, fresh: boolean }[]  20 at most

--- @class HttpObserver
local Observer = {}
Observer.__index = Observer

--- What was seen so far.
--- @return Observation
function Observer:snapshot()
  return self._raw:snapshot()
end

--- Sends no more requests, waits for those under way and tells what was seen.
--- @async
--- @return Observation
function Observer:stop()
  return await(self._raw:stop())
end

--- Ends at once.
function Observer:close()
  self._raw:close()
end

--- Probes an address at a steady rate from now on, whether or not answers come.
--- @param url string
--- @param options? HttpOptions|{ rate?: number, fresh?: number, expect?: HttpExpect|integer|string }
---   rate: requests per second, 50 unless told; fresh: share of requests on new connections, 0.5 unless told;
---   timeout: of one request, "5s" unless told
--- @return HttpObserver
function M.observe(url, options)
  local out = native("http.observe", options, { "timeout" })
  out.expect = expectation(out.expect)
  return setmetatable({ _raw = raw.observe(url, out) }, Observer)
end

door.guard("http", M, { reads = { "get", "probe", "wait_healthy", "observe" } })

return M

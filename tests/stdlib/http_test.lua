local http = require "native.http"
local test = require "test"

local REFUSED = "http://127.0.0.1:1/up?token=hidden"  -- port 1 of loopback: nobody listens

test.it("raises http.connect where nobody listens, and shows no query", function()
  local ok, err = pcall(http.request, REFUSED)
  test.equal(ok, false)
  test.equal(err.kind, "http.connect")
  test.equal(err.message, "GET http://127.0.0.1:1/up?…: connection refused")
end)

test.it("tells the story of what never became healthy", function()
  local ok, err = pcall(http.wait_healthy, REFUSED, { within = "300ms", interval = "50ms", expect = { 200, "204" } })
  test.equal(ok, false)
  test.equal(err.kind, "http.unhealthy")
  test.ok(err.attempts >= 2, "several attempts")
  test.equal(err.status, 0)
  test.equal(err.last, "connection refused")
  test.ok(err.history:find("connection refused (×", 1, true), err.history)
end)

test.it("observes failures and gaps", function()
  local observer = http.observe(REFUSED, { rate = 200 })
  while observer:snapshot().requests < 20 do require("native.task").sleep(5) end
  local seen = observer:stop()
  test.equal(seen.failures, seen.requests)
  test.equal(seen.by_status["0"], seen.failures)
  test.equal(seen.longest_gap_ms, seen.ms)
  test.equal(#seen.first_failures, 20)
end)

test.it("refuses what is misspelt or cannot be sent", function()
  for _, case in ipairs {
    { http.request, REFUSED, { timeuot = "1s" }, "option `timeuot` is unknown" },
    { http.request, REFUSED, { timeout = 5 }, "http.request: timeout: expected a duration" },
    { http.request, REFUSED, { body = "a", json = {} }, "body and json are the same thing" },
    { http.request, "ftp://127.0.0.1/", {}, "only http and https" },
    { http.request, REFUSED, { headers = { ["X-A"] = "b\r\nc" } }, "has a line break" },
    { http.wait_healthy, REFUSED, { expect = "fine" }, "`fine` is not a status" },
    { http.wait_healthy, REFUSED, { expect = { satus = 200 } }, "option `satus` is unknown" },
  } do
    local ok, err = pcall(case[1], case[2], case[3])
    test.equal(ok, false)
    test.equal(err.kind, "usage")
    test.ok(err.message:find(case[4], 1, true), err.message)
  end
end)

--- Small rules about text that are written in Lua.

local test = require "test"
local text = require "native.text"

test.it("reads times as UTC, whatever this machine's zone and summer time are", function()
  test.equal(text.parse_time "1970-01-01T00:00:00Z", 0)
  test.equal(text.parse_time "2026-07-01T12:00:00Z", 1782907200)
  test.equal(text.parse_time "2026-11-27T05:17:31.965Z", 1795756651.965)
  test.equal(text.parse_time "20240229T235959", 1709251199)
  test.equal(text.parse_time "2000-03-01T00:00:00.000000001Z", 951868800.000000001)
  for _, word in ipairs { "yesterday", "", "2026-11-27", "v20260101T000000" } do
    test.equal(text.parse_time(word), nil)
  end
  test.equal(text.parse_time(nil), nil)
end)

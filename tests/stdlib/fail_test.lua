--- Errors as records, and what they came from.

local fail = require "native.fail"
local test = require "test"

test.it("knows the kinds of a failure and of what it came from", function()
  local ok, err = pcall(fail.wrap, "docker.connect", "no engine", { kind = "ssh.lost", message = "gone" })
  test.equal(ok, false)
  test.equal(fail.comes_from(err, "docker.connect"), true)
  test.equal(fail.comes_from(err, "ssh.lost"), true)
  test.equal(fail.comes_from(err, "ssh.connect"), false)
  test.equal(fail.comes_from("a text", "ssh.lost"), false)
  test.equal(fail.comes_from(nil, "ssh.lost"), false)
end)

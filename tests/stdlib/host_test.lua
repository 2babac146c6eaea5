local host = require "deploy.host"
local test = require "test"

test.it("is one object per name", function()
  local one = host.host "deploy@10.0.0.5:22"
  test.equal(one.name, "10.0.0.5")
  test.ok(one == host.host "deploy@10.0.0.5")
  test.equal(host.host("10.0.0.5:2222").name, "10.0.0.5:2222")
  test.equal(host.host("root@[fd00::1]:2200").name, "fd00::1:2200")
  test.equal(host.host({ address = "10.0.0.6", name = "web" }).name, "web")
  test.ok(host.host "localhost" == host.localhost)
end)

test.it("refuses two servers of one name", function()
  host.host { address = "10.0.1.1", name = "twin" }
  test.raises("usage", function() host.host { address = "10.0.1.2", name = "twin" } end)
end)

test.it("refuses what is no server, and unknown options with the nearest one", function()
  test.raises("usage", function() host.host "" end)
  test.raises("usage", function() host.host(7) end)
  local err = test.raises("usage", function() host.host { address = "10.0.0.9", prot = 22 } end)
  test.contains(err.hint, "port")
end)

test.it("runs commands here without SSH", function()
  local result = host.localhost:exec { "printf", "%s|", "a b", "$HOME" }
  test.equal(result.stdout, "a b|$HOME|")
  test.equal(host.localhost:exec("exit 3", { check = false }).code, 3)
  local err = test.raises("host.exit", function() host.localhost:exec { "sh", "-c", "echo no >&2; exit 4" } end)
  test.equal(err.code, 4)
  test.contains(err.message, "exit code 4: no")
end)

test.it("copies a folder here, adding to what is there or replacing it", function()
  local base = host.localhost:exec({ "mktemp", "-d" }).stdout:gsub("%s+$", "")
  host.localhost:exec(("mkdir -p %s/from/sub %s/to && echo one >%s/from/sub/a && echo mine >%s/to/kept")
    :format(base, base, base, base))
  local sent = host.localhost:upload_folder(base .. "/from", base .. "/to")
  test.equal(sent.files, 1)
  test.equal(sent.bytes, 4)
  test.equal(host.localhost:read(base .. "/to/sub/a"), "one\n")
  test.equal(host.localhost:read(base .. "/to/kept"), "mine\n")
  host.localhost:upload_folder(base .. "/from", base .. "/to/", { replace = true })
  test.equal(host.localhost:stat(base .. "/to/kept"), nil)
  host.localhost:upload_folder(base .. "/from", base .. "/new/deep", { make_parents = true })
  test.equal(host.localhost:read(base .. "/new/deep/sub/a"), "one\n")
  test.equal(host.localhost:exec({ "ls", "-A", base }).stdout, "from\nnew\nto\n")
  test.raises("process.exit", function() host.localhost:upload_folder(base .. "/none", base .. "/to") end)
  test.raises("usage", function() host.localhost:upload_folder(base .. "/from", base .. "/to", { owner = "x" }) end)
  host.localhost:remove(base, { recursive = true })
end)

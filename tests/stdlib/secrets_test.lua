local app = require "deploy.app"
local config = require "deploy.app.config"
local files = require "native.files"
local process = require "native.process"
local secret = require "native.secret"
local secrets = require "deploy.secrets"
local test = require "test"

local folder = process.run({ "mktemp", "-d" }).stdout:match("[^\n]+")

local function file(name, bytes, mode)
  local path = folder .. "/" .. name
  files.write(path, bytes, { mode = mode or "0600" })
  return path
end

test.it("takes a program's output, without one line end", function()
  local from = secret.from_command({ "printf", "%s\\n", "  two words  " }, { name = "KEY" })
  test.ok(from:get("KEY"):equals "  two words  ")
  test.equal(tostring(from:get "KEY"), "[secret:KEY]")
  test.equal(table.concat(from.names, " "), "KEY")
  test.ok(secret.from_command({ "printf", "line\\r\\n" }, { name = "KEY" }):get("KEY"):equals "line")
  test.ok(secret.from_command({ "printf", "two\\n\\n" }, { name = "KEY" }):get("KEY"):equals "two\n")
end)

test.it("runs a program by its words, never by a shell", function()
  local from = secret.from_command({ "printf", "%s", "$HOME;`id`" }, { name = "KEY" })
  test.ok(from:get("KEY"):equals "$HOME;`id`")
  local env = secret.from_command({ "sh", "-c", "printf %s \"$PASS\"" }, { name = "KEY",
    env = { PASS = secret.value("PASS", "hunter2-hunter2") } })
  test.ok(env:get("KEY"):equals "hunter2-hunter2")
end)

test.it("takes lines and JSON", function()
  local lines = secret.from_command({ "printf", "A='one two'\\nB=$A-three\\n" })
  test.ok(lines:get("B"):equals "one two-three")
  local answer = '{"data":{"data":{"A":"one-one","PORT":543210,"ON":true,"NO":null}}}'
  local vault = secret.from_command({ "printf", "%s", answer }, { format = "json", path = { "data", "data" } })
  test.ok(vault:get("A"):equals "one-one")
  test.ok(vault:get("PORT"):equals "543210")
  test.ok(vault:get("ON"):equals "true")
  test.equal(vault:try_get "NO", nil)
end)

test.it("says why a program gave none, and never what it printed", function()
  local err = test.raises("secret.source", function()
    secret.from_command({ "sh", "-c", "echo s3cr3t-part; echo 'vault is sealed' >&2; exit 3" }, { name = "KEY" })
  end)
  test.equal(err.code, 3)
  test.contains(err.message, "secrets from sh: exit code 3: vault is sealed")
  for _, text in pairs(err) do test.ok(not tostring(text):find("^s3cr3t"), "the output is shown") end
  test.ok(not err.message:find "s3cr3t" and not err.stderr:find "s3cr3t")
  test.raises("process.spawn", function() secret.from_command({ "no-such-program-here" }, { name = "KEY" }) end)
  test.raises("secret.source", function() secret.from_command({ "true" }, { name = "KEY" }) end)
  test.raises("timeout", function() secret.from_command({ "sleep", "60" }, { name = "KEY", timeout = "50ms" }) end)
  local lines = test.raises("secret.file", function() secret.from_command { "printf", "no equals sign s3cr3t" } end)
  test.ok(not lines.message:find "s3cr3t")
  for _, json in ipairs { '{"A": s3cr3t-value}', '["s3cr3t-value"]', '{"A":{"B":"s3cr3t-value"}}', '"s3cr3t-value"' } do
    local wrong = test.raises("secret.source", function()
      secret.from_command({ "printf", "%s", json }, { format = "json" })
    end)
    test.ok(not wrong.message:find "s3cr3t", wrong.message)
  end
  test.contains(test.raises("secret.source", function()
    secret.from_command({ "printf", "{}" }, { format = "json", path = { "data" } })
  end).message, "no member `data`")
end)

test.it("refuses wrong shapes", function()
  test.raises("usage", function() secret.from_command({ "true" }, { format = "value" }) end)
  test.raises("usage", function() secret.from_command({ "true" }, { format = "xml" }) end)
  test.raises("usage", function() secret.from_command({ "true" }, { format = "json", name = "A" }) end)
  test.raises("usage", function() secret.from_command({ "true" }, { path = { "a" } }) end)
  test.raises("usage", function() secret.from_command {} end)
end)

test.it("takes a whole file as one secret", function()
  local key = file("key.pem", "-----BEGIN-----\nabcdef\n-----END-----\n")
  local from = secret.from_whole_file(key, { name = "KEY" })
  test.ok(from:get("KEY"):equals "-----BEGIN-----\nabcdef\n-----END-----")
  test.raises("files.not_found", function() secret.from_whole_file(folder .. "/none", { name = "KEY" }) end)
end)

test.it("the last source that has a name counts, and a program is run only when it is needed", function()
  local ran = folder .. "/ran"
  local store = secrets.open {
    file("one", "A=from-the-first\nB=from-the-first\n"),
    { command = { "sh", "-c", "touch " .. ran .. "; echo from-the-program" }, name = "C" },
    file("two", "A=from-the-second\n"),
    folder .. "/missing",
  }
  test.ok(store:get("A"):equals "from-the-second")
  test.ok(store:get("B"):equals "from-the-first")
  test.ok(not files.exists(ran), "the program ran although nobody asked for what it gives")
  local found, where = store:try_get "C"
  test.ok(found:equals "from-the-program")
  test.equal(where, "command sh")
  local err = test.raises("secret.missing", function() store:get "DEPLOYRUN_TEST_NOWHERE" end)
  test.contains(err.message, folder .. "/one, command sh, ")
end)

test.it("an inventory names sources; wrong ones are refused with their place", function()
  local inventory = { service = "shop", image = "shop", hosts = { "10.0.0.5" }, env = { secret = { "TOKEN" } },
    secrets = { { command = { "printf", "t0ken-t0ken" }, name = "TOKEN" } } }
  test.ok(app.app(inventory).config.roles[1].secret_values.TOKEN:equals "t0ken-t0ken")
  for words, source in pairs {
    ["one of `file`, `command`, `stdin: true`"] = { name = "A" },
    ["needs a `name`"] = { command = { "x" }, format = "value" },
    ["other formats bring their names"] = { command = { "x" }, format = "json", name = "A" },
    ["`path` belongs to format `json`"] = { file = "x", path = { "a" } },
    ["`timeout` belongs to a `command`"] = { file = "x", timeout = "1s" },
    ["unknown key `comand`"] = { comand = { "x" } },
  } do
    inventory.secrets = { source }
    local err = test.raises("config.invalid", function() config.complete(inventory, "inventory") end)
    local said = err.message
    for _, other in ipairs(err.also or {}) do said = said .. "\n" .. other.message end
    test.contains(said, words)
  end
  process.run { "rm", "-rf", folder }
end)

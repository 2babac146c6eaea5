-- Kamal's command line: Thor's grammar.

local commands = require "kamal.commands"
local kamal = require "kamal"
local grammar = require "kamal.grammar"
local shell_words = require "kamal.shell_words"
local test = require "test"

local function read(line)
  local words = shell_words.split(line)
  local chosen = grammar.choose(commands.LIST, words)
  if chosen.help then return { help = chosen.help } end
  if chosen.alias then return { alias = chosen.alias } end
  local parsed = grammar.parse(chosen.command, chosen.rest, commands.GLOBAL)
  local given = {}
  local defaults = {}
  for _, list in ipairs { commands.GLOBAL, chosen.command.options or {} } do
    for _, option in ipairs(list) do defaults[option.name] = option.default end
  end
  for name, value in pairs(parsed.options) do
    if defaults[name] ~= value then given[name] = value end
  end
  return { command = chosen.command.name, arguments = parsed.arguments, options = given }
end

local function is(command, arguments, options)
  return { command = command, arguments = arguments or {}, options = options or {} }
end

local VECTORS = {
  { "deploy", is "deploy" },
  { "deploy -P", is("deploy", {}, { skip_push = true }) },
  { "deploy --skip-push", is("deploy", {}, { skip_push = true }) },
  { "deploy --skip_push", is("deploy", {}, { skip_push = true }) },
  { "deploy --no-skip-push", is "deploy" },
  { "deploy --no-cache", is("deploy", {}, { no_cache = true }) },
  { "deploy -d staging -c a.yml", is("deploy", {}, { destination = "staging", config_file = "a.yml" }) },
  { "deploy --destination=staging", is("deploy", {}, { destination = "staging" }) },
  { "deploy -dstaging", is("deploy", {}, { destination = "staging" }) },
  { "deploy -h 10.0.0.1,10.0.0.2 -r web", is("deploy", {}, { hosts = "10.0.0.1,10.0.0.2", roles = "web" }) },
  { "deploy --lock-wait --lock_wait_timeout 60", is("deploy", {}, { lock_wait = true, lock_wait_timeout = 60 }) },
  { "deploy --version abc -q", is("deploy", {}, { version = "abc", quiet = true }) },
  { "vers", is "version" }, { "red", is "redeploy" }, { "roll v1", is("rollback", { "v1" }) },
  { "rollback", is "rollback" },
  { "app ver", is "app version" }, { "app stale-containers -s", is("app stale_containers", {}, { stop = true }) },
  { "acc boot db", is("accessory boot", { "db" }) }, { "ac re db --help", nil, "Ambiguous command re" },
  { "app exec ls -l", is("app exec", { "ls", "-l" }) },
  { "app exec --reuse -i 'bin/rails c'", is("app exec", { "bin/rails c" }, { reuse = true, interactive = true }) },
  { "app exec -ip bash", is("app exec", { "bash" }, { interactive = true, primary = true }) },
  { "app exec -e A:1 B:x:y -- env", is("app exec", { "env" }, { env = { A = "1", B = "x:y" } }) },
  { "app exec -- ls -p", is("app exec", { "ls", "-p" }) },
  { "app exec rails db:migrate --trace", is("app exec", { "rails", "db:migrate", "--trace" }) },
  { "app logs -n100 -g err -T", is("app logs", {}, { lines = 100, grep = "err", skip_timestamps = true }) },
  { "app logs --lines=5 --no-follow", is("app logs", {}, { lines = 5, follow = false }) },
  { "app maintenance --message 'be back'", is("app maintenance", {}, { message = "be back" }) },
  { "lock acquire -m busy", is("lock acquire", {}, { message = "busy" }) },
  { "secrets fetch -a op A B --from v", is("secrets fetch", { "A", "B" }, { adapter = "op", from = "v" }) },
  { "proxy boot_config set --publish-host-ip 1.1.1.1 --publish-host-ip 2.2.2.2",
    is("proxy boot_config", { "set" }, { publish_host_ip = { "1.1.1.1", "2.2.2.2" } }) },
  { "proxy boot-config set --docker-options a=b c=d", is("proxy boot_config", { "set" },
  { docker_options = { "a=b", "c=d" } }) },
  { "app remove_container v1", is("app remove_container", { "v1" }) },
  { "", { help = true } }, { "-h", { help = true } }, { "--version", { help = true } },
  { "-d staging deploy", { help = true } },
  { "help", { help = true } }, { "help app", { help = "app" } }, { "app", { help = "app" } },
  { "app help exec", { help = "app exec" } },
  { "app exec --help", { help = "app exec" } }, { "lock --help", { help = "lock" } },
  { "rollback --help", { help = "rollback" } },
  { "shell", { alias = "shell" } }, { "bi", { alias = "bi" } },
  { "de", nil, "Ambiguous command de matches [deploy, details]" },
  { "app frob", nil, 'Could not find command "frob" in "app" namespace.' },
  { "version now", nil, 'ERROR: "kamal version" was called with arguments ["now"]' },
  { "deploy --skip-pusch", nil, 'ERROR: "kamal deploy" was called with arguments ["--skip-pusch"]' },
  { "accessory boot", nil, 'ERROR: "kamal accessory boot" was called with no arguments' },
  { "lock acquire", nil, "No value provided for required options '--message'" },
  { "deploy -d", nil, "No value provided for option '-d'" },
  { "deploy -d -P", nil, "No value provided for option '-d'" },
  { "app logs -n many", nil, "Expected numeric value for '-n'; got \"many\"" },
}

test.it("reads command lines as Thor does", function()
  for _, vector in ipairs(VECTORS) do
    if vector[2] then
      test.equal({ vector[1], read(vector[1]) }, { vector[1], vector[2] })
    else
      local err = test.raises("usage", function() read(vector[1]) end)
      test.contains(err.message, vector[3])
    end
  end
end)

test.it("names the nearest flag", function()
  local err = test.raises("usage", function() read("deploy --skip-pusch") end)
  test.contains(err.hint, "--skip-push")
end)

test.it("has Kamal's 66 visible commands and 14 hidden ones", function()
  local shown, hidden = 0, 0
  for _, command in ipairs(commands.LIST) do
    if command.hidden then hidden = hidden + 1 elseif not command.ours then shown = shown + 1 end
  end
  test.equal({ shown, hidden }, { 66, 14 })
end)

test.it("has something that runs each of them", function()
  local missing = {}
  for _, command in ipairs(commands.LIST) do
    if not kamal.is_there(command.name) then missing[#missing + 1] = command.name end
  end
  test.equal(missing, {})
end)

test.it("filters hosts and roles by wildcards", function()
  local hosts = { "10.0.0.1", "10.0.0.2", "web-1.example.com", "web-2.example.com", "db.example.com" }
  local function filtered(filters) return grammar.filter(filters, hosts) end
  test.equal(filtered { "10.0.0.1" }, { "10.0.0.1" })
  test.equal(filtered { "web-*" }, { "web-1.example.com", "web-2.example.com" })
  test.equal(filtered { "web-[2-9].*", "10.0.0.?" }, { "web-2.example.com", "10.0.0.1", "10.0.0.2" })
  test.equal(filtered { "{db,web-1}.example.com" }, { "web-1.example.com", "db.example.com" })
  test.equal(filtered { "*.nope", "10.0.0.1", "10.*" }, { "10.0.0.1", "10.0.0.2" })
  test.equal(filtered { "web-[!1].example.com" }, { "web-2.example.com" })
  test.equal(filtered { "10x0.0.1" }, {})
end)

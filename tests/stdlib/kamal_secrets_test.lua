-- Kamal's secrets: the dotenv dialect, commands in it, the files that count, and vendors by their programs.

local dotenv = require "kamal.dotenv"
local environment = require "kamal.environment"
local files = require "native.files"
local json = require "native.json"
local process = require "native.process"
local secrets = require "kamal.secrets"
local shell_words = require "kamal.shell_words"
local test = require "test"

local FROM_ENV = { HOME_VALUE = "from-env" }
local PRINTED = { ["echo hi"] = "hi", ["printf xn"] = "xn", ["echo (a)"] = "(a)", ["show pw"] = "pa$1wor$D",
  ["echo from-env"] = "ok", ["two words"] = "x y" }

local function parse(text)
  return dotenv.parse(text, { file = "secrets", env = function(name) return FROM_ENV[name] end,
    run = function(command) return PRINTED[command] or error("no command: " .. command) end })
end

-- text → name → value, as dotenv 3.2 with Kamal's substitution has it
local VECTORS = {
  { "A=1", { A = "1" } }, { "A = 1", { A = "1" } }, { "  A=1  ", { A = "1" } }, { "export A=1", { A = "1" } },
  { "A: 1", { A = "1" } }, { "A:1", {} }, { "A=", { A = "" } }, { "A", { A = "" } }, { "A.b=1", { ["A.b"] = "1" } },
  { "A='x y'", { A = "x y" } }, { 'A="x y"', { A = "x y" } }, { "A=x y", { A = "x y" } },
  { "A='a\\'b'", { A = "a\\'b" } }, { 'A="a\\"b"', { A = 'a"b' } },
  { "A=x # comment", { A = "x" } }, { "A=x#y", { A = "x" } }, { "A='x#y'", { A = "x#y" } },
  { 'A="x#y" # c', { A = "x#y" } },
  { "# A=1\nB=2", { B = "2" } }, { "\n\nA=1\n\n", { A = "1" } },
  { "A='one\ntwo'\nB=3", { A = "one\ntwo", B = "3" } }, { 'A="one\ntwo"', { A = "one\ntwo" } },
  { 'A="a\\nb"', { A = "a\\nb" } }, { "A='a\\nb'", { A = "a\\nb" } }, { "A=a\\nb", { A = "anb" } },
  { "A=1\nB=$A", { A = "1", B = "1" } }, { "A=1\nB=${A}2", { A = "1", B = "12" } },
  { "B=$HOME_VALUE", { B = "from-env" } },
  { "B=$MISSING", { B = "" } }, { "B='$A'", { B = "$A" } }, { "B=\\$A", { B = "$A" } }, { "B=a$ b", { B = "a$ b" } },
  { 'A=x\nB="${A}y"', { A = "x", B = "xy" } },
  { "A=$(echo hi)", { A = "hi" } }, { "A=pre-$(echo hi)-post", { A = "pre-hi-post" } },
  { 'A="$(echo hi)"', { A = "hi" } },
  { "A='$(echo hi)'", { A = "$(echo hi)" } }, { "A=\\$(echo hi)", { A = "$(echo hi)" } },
  { "A=$(echo (a))", { A = "(a)" } }, { "A=$(echo $HOME_VALUE)", { A = "ok" } },
  { "A=$(printf \\xn)", { A = "xn" } }, { "A=$(show pw)", { A = "pa$1wor$D" } }, { "A=$()", { A = "$()" } },
  { "A=1\nA=2", { A = "2" } }, { "A=1\r\nB=2\r\n", { A = "1", B = "2" } }, { "A='x' y", { A = "'x' y" } },
  { "not a line\nB=1", { B = "1" } }, { "A=1\nexport A", { A = "1" } }, { "A=über", { A = "über" } },
  { "DOTENV_LINEBREAK_MODE=legacy\nA=\"a\\nb\"", { DOTENV_LINEBREAK_MODE = "legacy", A = "a\nb" } },
}

test.it("reads the dotenv dialect", function()
  for _, vector in ipairs(VECTORS) do test.equal({ vector[1], parse(vector[1]).values }, { vector[1], vector[2] }) end
end)

test.it("says what Kamal would have made of it", function()
  local notes = parse("A=$(show pw)\nnot a line\nB=x#y\nC=$(printf \\xn)\n").notes
  test.equal(#notes, 4)
  test.contains(notes[1], "secrets:1: A: what the command prints has a $ in it")
  test.contains(notes[1], "makes 2 characters of these 9")
  test.contains(notes[2], "secrets:2:")
  test.contains(notes[3], "B: the value ends at its #")
  test.contains(notes[4], "backslashes")
  test.contains(test.raises("kamal.secrets", function() parse("export A") end).message, "unset variable")
end)

test.it("splits and escapes words as a shell does", function()
  test.equal(shell_words.split([[a 'b c' "d \"e\" $f" g\ h ""]]), { "a", "b c", 'd "e" $f', "g h", "" })
  for _, word in ipairs { "plain", "a b", "it's", "{\"a\":\"$x\"}", "", "line\nline", "ü" } do
    test.equal(shell_words.split(shell_words.escape(word)), { word })
  end
end)

--- A folder with these files, and fake programs on PATH; runs `fn` with an opener of its secrets.
local function project(given, fn)
  local folder = process.run({ "mktemp", "-d" }).stdout:gsub("%s+$", "")
  local env = environment.new()
  env:set("PATH", folder .. "/bin:" .. os.getenv "PATH")
  env:set("CALLS", folder .. "/calls")
  for name, text in pairs(given.env or {}) do env:set(name, text) end
  for name, text in pairs(given.files or {}) do files.write(folder .. "/" .. name, text, { parents = true }) end
  for name, text in pairs(given.programs or {}) do
    files.write(folder .. "/bin/" .. name, "#!/bin/sh\necho \"" .. name .. " $*\" >>\"$CALLS\"\n" .. text,
      { mode = "0755", parents = true })
  end
  local ok, err = pcall(fn, function(destination)
    return secrets.new { path = folder .. "/secrets", destination = destination, environment = env }
  end, function() return files.exists(folder .. "/calls") and files.read(folder .. "/calls") or "" end, folder)
  files.remove(folder, { recursive = true })
  if not ok then error(err, 0) end
end

test.it("reads the common file, then the plain or the destination's, never both", function()
  local given = { files = { ["secrets-common"] = "A=common-value\nB=common-value",
    secrets = "B=plain-value\nC=plain-value",
    ["secrets.staging"] = "B=staging-value" } }
  project(given, function(open, _, folder)
    test.equal(open():value("B"), "plain-value")
    test.equal(open("staging"):value("B"), "staging-value")
    test.equal(open("staging"):value("A"), "common-value")
    test.equal(open("staging"):names(), { "A", "B" })
    local err = test.raises("kamal.secrets", function() open("staging"):value("C") end)
    test.equal(err.message, ("Secret 'C' not found in %s/secrets-common, %s/secrets.staging"):format(folder, folder))
    test.equal(open():place("C"), folder .. "/secrets:2")
  end)
  project({}, function(open, _, folder)
    local err = test.raises("kamal.secrets", function() open():value("C") end)
    test.equal(err.message, ("Secret 'C' not found, no secret files (%s/secrets-common, %s/secrets) provided"):format(
      folder, folder))
  end)
end)

test.it("puts no secret into a command's arguments", function()
  project({ files = { secrets = "A=a-secret-value\nB=$(test $A = a-secret-value && grep -c a-secret /proc/$$/cmdline; "
    .. "true)\n" } }, function(open) test.equal(open():value("B"), "0") end)
end)

test.it("refuses what Kamal takes for empty: a command that fails, and one that is not there", function()
  project({ files = { secrets = "A=fine-value\nB=$(false)\n" } }, function(open, _, folder)
    local err = test.raises("kamal.secrets", function() open():value("A") end)
    test.contains(err.message, folder .. "/secrets:2: `false …` ended with exit code 1")
  end)
  project({ files = { secrets = "A=$(no-such-vault-program get x)\n" } }, function(open)
    test.contains(test.raises("kamal.secrets", function() open():value("A") end).message, "exit code 127")
  end)
end)

test.it("keeps a $ that a command prints", function()
  project({ files = { secrets = "A=$(cat pw-file)\n" } }, function(open, _, folder)
    files.write(folder .. "/secrets", ("A=$(cat %s/pw)\n"):format(folder))
    files.write(folder .. "/pw", "pa$1wor$D\n")
    test.equal(open():value("A"), "pa$1wor$D")
  end)
end)

local FETCHED = [==[
SECRETS=$(kamal secrets fetch --adapter 1password --account my.1password.com --from Vault/Item DB_PASS API/KEY)
DB_PASS=$(kamal secrets extract DB_PASS $SECRETS)
KEY=$(kamal secrets extract API/KEY ${SECRETS})
]==]

local OP = [==[
case "$1 $2" in
"--version ") echo 2.0 ;;
"account get") exit 0 ;;
"item get") printf '%s' '[{"reference":"op://Vault/Item/DB_PASS","value":"s3cret $x \" \\ end"},
      {"reference":"op://Vault/Item/API/KEY","value":"k3y-value"}]' ;;
*) exit 9 ;;
esac
]==]

test.it("runs `kamal secrets` of a file itself", function()
  project({ files = { secrets = FETCHED }, programs = { op = OP } }, function(open, calls)
    local own = open()
    test.equal(own:value("DB_PASS"), 's3cret $x " \\ end')
    test.equal(own:value("KEY"), "k3y-value")
    test.contains(calls(), "op item get Item --vault Vault --format json --account my.1password.com --fields " ..
      "label=DB_PASS,label=API.KEY")
  end)
  project({ files = { secrets = "A=$(bundle exec kamal secrets extract A '{\"x/A\":\"in-bundle\"}')" } }, function(open)
    test.equal(open():value("A"), "in-bundle")
  end)
  project({ files = { secrets = "A=$(kamal secrets extract A '{}')" } }, function(open, _, folder)
    local err = test.raises("kamal.secrets", function() open():value("A") end)
    test.equal(err.message, folder .. "/secrets:1: Could not find secret A")
  end)
end)

--- Vendors: fake programs, what is asked, what must come back and what must have been called.
local VENDORS = {
  { "1password (all of an item)", "1password", { account = "a", from = "op://V/I" }, {},
    { op = [[case "$1 $2" in "item get") echo '{"fields":[{"reference":"op://V/I/password","value":"p1"},
      {"label":"x"},
      {"reference":"op://V/I/t","value":"p2"}]}';; "account get") exit 1;; "signin --account") echo sess;; esac]] },
    { ["V/I"] = "p1", ["V/I/t"] = "p2" }, "op signin --account a --force --raw" },
  { "1password (one field)", "one_password", { account = "a" }, { "V/I/F" },
    { op = [[case "$1 $2" in "item get") echo '{"reference":"op://V/I/F","value":"p1"}';; esac]] },
    { ["V/I/F"] = "p1" },
    "op item get I --vault V --format json --account a --fields label=F" },
  { "lastpass", "lastpass", { account = "me@x", from = "Dir" }, { "A", "B" },
    { lpass = [[case "$1" in status) echo "Not logged in.";;
      show) echo '[{"fullname":"Dir/A","password":"pa"},{"fullname":"Dir/B","password":"pb"}]';; esac]] },
    { ["Dir/A"] = "pa", ["Dir/B"] = "pb" }, "lpass login me@x" },
  { "bitwarden (login)", "bitwarden", { account = "me" }, { "Item" },
    { bw = [[case "$1" in status) [ -n "$BW_SESSION" ] && echo '{"status":"unlocked"}' || echo '{"status":"locked"}';;
      unlock) echo SESSION;;
      get) echo '{"login":{"password":"pw"}}';;
      esac]] },
    { Item = "pw" }, "bw unlock --raw" },
  { "bitwarden (fields)", "bitwarden", { account = "me", from = "Item" }, { "F" },
    { bw = [[case "$1" in status) echo '{"status":"unlocked"}';;
      get) echo '{"fields":[{"name":"F","value":"fv"},{"name":"G","value":"gv"}]}';; esac]] },
    { ["Item/F"] = "fv" }, "bw sync" },
  { "bitwarden secrets manager", "bitwarden-sm", {}, { "u1" },
    { bws = [[case "$1 $2" in "secret get") echo '{"key":"K","value":"v"}';; esac]] },
    { K = "v" }, "bws secret get u1" },
  { "bitwarden secrets manager, of a project", "bitwarden_secrets_manager", {}, { "p1/all" },
    { bws = [[case "$1 $2" in "secret list") echo '[{"key":"K","value":"v"},{"key":"L","value":"w"}]';; esac]] },
    { K = "v", L = "w" }, "bws secret list p1" },
  { "aws", "aws_secrets_manager", { account = "prof", from = "dir" }, { "S", "T", "U" },
    { aws = [==[[ "$1" = --version ] || echo '{"SecretValues":[{"Name":"dir/S","SecretString":"{\"A\":\"1x\",\"B\":2}"},
      {"Name":"dir/T","SecretString":"plain"},
      {"Name":"dir/U","SecretString":"12345678901234567890"}],"Errors":[]}']==] },
    { ["dir/S/A"] = "1x", ["dir/S/B"] = "2", ["dir/T"] = "plain", ["dir/U"] = "12345678901234567890" },
    "aws secretsmanager batch-get-secret-value --secret-id-list dir/S dir/T dir/U --profile prof --output json" },
  { "doppler", "doppler", { from = "proj/prd" }, { "S" },
    { doppler = [[case "$1" in secrets) echo '{"S":{"computed":"v"}}';; esac]] }, { S = "v" },
    "doppler secrets get S --json -p proj -c prd" },
  { "google", "gcp", { account = "u@x|svc@y", from = "proj" }, { "S/3", "T" },
    { gcloud = [[case "$1" in auth) echo '[{}]';; secrets) echo '{"payload":{"data":"dmFsdWU="}}';; esac]] },
    { ["proj/S"] = "value", ["proj/T"] = "value" },
    "gcloud secrets versions access 3 --secret=S --project=proj --account=u@x " ..
    "--impersonate-service-account=svc@y --format=json" },
  { "enpass", "enpass", { from = "/vault" }, { "Foo/DB", "Bar" },
    { ["enpass-cli"] = [[[ "$1" = version ] || echo '[{"title":"Foo","label":"DB","password":"p1"},
      {"title":"Foo","label":"X","password":"no"},
      {"title":"Bar","label":"","password":"p2"}]']] },
    { ["Foo/DB"] = "p1", Bar = "p2" }, "enpass-cli -json -vault /vault show Foo Bar" },
  { "passbolt", "passbolt", { from = "F/G" }, { "S" },
    { passbolt = [[case "$2 $*" in "folders "*'"G" && FolderParentID'*)
      echo '[{"id":"2","name":"G","folder_parent_id":"1"}]';;
      "folders "*) echo '[{"id":"1","name":"F","folder_parent_id":""}]';;
      "resources "*) echo '[{"name":"S","password":"pp"}]';;
      esac]] },
    { S = "pp" }, 'passbolt list resources --filter (Name == "S" && FolderParentID == "2") --folder 2 --column name' },
  { "test", "test", { account = "x", from = "f" }, { "abc" }, {}, { ["f/abc"] = "cba/f" }, "" },
}

test.it("asks each vendor by its own program", function()
  local adapters = require "kamal.adapters"
  for _, vendor in ipairs(VENDORS) do
    local name, adapter, given, names, programs, expected, called = unpack(vendor)
    project({ programs = programs }, function(_, calls, folder)
      local result = adapters.fetch(adapter, names, { account = given.account, from = given.from, env = os.getenv,
        environment = { PATH = folder .. "/bin:" .. os.getenv "PATH", CALLS = folder .. "/calls" } })
      test.equal({ name, result }, { name, expected })
      test.contains(calls(), called)
    end)
  end
end)

test.it("says what is wrong with a vendor in Kamal's words", function()
  local adapters = require "kamal.adapters"
  local function message(adapter, names, given)
    return test.raises("kamal.secrets", function()
      adapters.fetch(adapter, names, { account = given.account, from = given.from, env = os.getenv,
        environment = { PATH = "/nonexistent" } })
    end).message
  end
  test.equal(message("1password", { "A" }, { account = "a" }), "1Password CLI is not installed")
  test.equal(message("bitwarden-sm", { "A" }, {}), "Bitwarden Secrets Manager CLI is not installed")
  test.equal(message("lastpass", { "A" }, {}), "Missing required option '--account'")
  local err = test.raises("usage", function() adapters.fetch("1passwort", {}, { env = os.getenv }) end)
  test.equal(err.message, "Unknown secrets adapter: 1passwort")
  test.contains(err.hint, "1password")
end)

test.it("gives fetched values as JSON", function()
  test.equal(secrets.extract("B", json.encode { ["x/B"] = "1", B = "2" }), "2")
  test.equal(secrets.extract("C", json.encode { ["x/C"] = 3 }), "3")
end)

--- Compose files that are refused before anything is written or contacted: ten that mean harm, and the many that would
--- surprise. Each is read as the recipe reads it.

local compose_config = require "compose.config"
local document = require "compose.document"
local render = require "compose.render"
local test = require "test"

local SETTINGS = { service = "shop", hosts = { "10.0.0.5" }, services = { web = { proxy = { app_port = 3000 } } } }

local function read(source, settings)
  local compose, refused = document.read(source, "compose.yml")
  return compose_config.complete(settings or SETTINGS, "shop.yml", nil, compose, refused)
end

local function refused(source, kind, words, settings)
  local err = test.raises(kind, function() read(source, settings) end)
  test.contains(err.message, words)
  return err
end

local WEB = "services:\n  web:\n    image: reg/shop:${VERSION}\n"

test.it("refuses an include from elsewhere", function()
  for _, from in ipairs { "oci://registry.example.com/evil", "https://example.com/evil.yml",
    "git@github.com:evil/evil.git", "../evil.yml" } do
    refused("include: [\"" .. from .. "\"]\n" .. WEB, "config.invalid", "`include`: not followed")
  end
end)

test.it("refuses extends, wherever it leads", function()
  local err = refused(WEB .. "    extends: { file: oci://registry.example.com/evil, service: web }\n",
    "config.invalid", "compose.yml:4:14: `extends`: not followed")
  test.contains(err.hint, "write one file")
end)

test.it("refuses files outside of the project's folder", function()
  for _, path in ipairs { "/etc/shadow", "../../etc/passwd", "a/../../b", "~/.ssh/id_rsa", "https://example.com/env",
    "$HOME/.ssh/id_rsa", "git@github.com:evil/evil.git" } do
    refused(WEB .. "    env_file: \"" .. path .. "\"\n", "config.invalid", ("`%s`: "):format(path))
    refused(WEB .. ("configs:\n  c: { file: %q }\n"):format(path), "config.invalid", ("`%s`: "):format(path))
    refused(WEB .. ("secrets:\n  s: { file: %q }\n"):format(path), "config.invalid", ("`%s`: "):format(path))
  end
  test.equal(read(WEB .. "    env_file: [./web.env, conf/more.env, conf/.gitlab.env]\n").compose.local_files,
    { "conf/.gitlab.env", "conf/more.env", "web.env" })
end)

test.it("refuses bind mounts that are not what they seem", function()
  for _, volume in ipairs { "./data:/data", "../../etc:/etc", "~/x:/x" } do
    refused(WEB .. "    volumes: [\"" .. volume .. "\"]\n", "config.invalid", "a folder beside the Compose file")
  end
  refused(WEB .. "    volumes: [\"/srv/../etc:/etc\"]\n", "config.invalid", "it leads out of itself")
end)

test.it("refuses what would run a program of the server", function()
  refused(WEB .. "    provider: { type: /tmp/evil }\n", "config.invalid", "it would run a program of the server")
end)

test.it("takes for a writer who has the volumes of another one", function()
  local source = WEB .. "  worker: { image: \"reg/shop:${VERSION}\", volumes_from: [%s] }\n"
  for from, wanted in pairs { ["\"web\""] = true, ["\"web:ro\""] = false } do
    for _, role in ipairs(read(source:format(from)).roles) do
      test.equal(role.stops_first, role.name == "worker" and wanted)
    end
  end
end)

test.it("refuses to build on a server", function()
  for _, build in ipairs { ".", "https://github.com/evil/evil.git#main", "{ context: /, dockerfile: Evil }" } do
    local err = refused(WEB .. "    build: " .. build .. "\n", "config.invalid", "nothing is built on a server")
    test.contains(err.hint, "CI")
  end
end)

test.it("refuses bombs within a moment", function()
  local lines = { "x-a0: &a0 [x, x, x, x, x, x, x, x, x, x]" }
  for level = 1, 9 do
    local alias = ("*a%d"):format(level - 1)
    lines[#lines + 1] = ("x-a%d: &a%d [%s]"):format(level, level, (alias .. ", "):rep(9) .. alias)
  end
  refused(table.concat(lines, "\n") .. "\n" .. WEB, "yaml.limit", "")
  refused("x-a: &x [*x]\n" .. WEB, "yaml.parse", "")
  refused("x-a: " .. ("["):rep(100) .. ("]"):rep(100) .. "\n" .. WEB, "yaml.limit", "")
end)

test.it("refuses a key twice, with both places", function()
  local err = refused(WEB .. "  web:\n    image: evil/image:1\n", "yaml.duplicate", "")
  test.equal({ err.line, err.first_line }, { 4, 2 })
end)

test.it("refuses tags that mean another image tomorrow", function()
  for _, image in ipairs { "postgres", "postgres:latest", "reg:5000/acme/db", "acme/db:stable-latest" } do
    refused(WEB .. "  db:\n    image: " .. image .. "\n", "config.invalid", image)
  end
  local settings = read(WEB)
  for _, version in ipairs { "latest", "main-latest" } do
    local err = test.raises("usage", function() compose_config.images(settings, { "web" }, version) end)
    test.contains(err.hint, "SHA")
  end
  test.equal(compose_config.images(settings, { "web" }, "3f2a91c"), { web = "reg/shop:3f2a91c" })
  read(WEB .. "  db:\n    image: postgres@sha256:" .. ("a"):rep(64) .. "\n")
end)

test.it("refuses names of images that are no names", function()
  for _, image in ipairs { "-v/x:1", "a b:1", "reg/shop:1;reboot", "$(reboot):1", "`reboot`:1" } do
    refused("services:\n  web:\n    image: reg/shop:${VERSION}\n  db:\n    image: '" .. image .. "'\n",
      "config.invalid", "")
  end
end)

test.it("refuses variables that nobody gives a value, and secrets in the name of an image", function()
  local err = refused(WEB .. "    environment: { A: \"${DATABASE_URI}\", B: \"${C:-x}\", D: $$E }\n", "config.invalid",
    "${DATABASE_URI} has no value")
  test.ok(not err.also)
  local settings = { service = "shop", hosts = { "a" }, services = SETTINGS.services, env = { secret = { "KEY" } } }
  refused("services:\n  web:\n    image: reg/${KEY}:${VERSION}\n", "config.invalid", "holds the secret KEY", settings)
  refused(WEB .. "    command: \"echo ${VERSION\"\n", "config.invalid", "a variable is")
end)

test.it("refuses what two releases side by side could not both have", function()
  local more = "    container_name: shop\n    ports: [\"80:3000\"]\n    network_mode: host\n    scale: 3\n"
  local err = refused(WEB .. more, "config.invalid", "container_name")
  test.equal(#err.also, 3)
  refused(WEB .. "    volumes: [\"data:/data\"]\nvolumes: { data: }\n", "config.invalid",
    "two versions would write it at once")
end)

test.it("names every problem with its place, and the nearest name", function()
  local err = refused("servces:\n  web: {}\n", "config.invalid", "unknown key `servces`")
  test.contains(err.hint, "services")
  refused("[1, 2]\n", "config.invalid", "expected a map")
  refused("services: {}\n", "config.invalid", "`services` is missing or empty")
  local two = { service = "shop", hosts = { "a" }, services = { wbe = { proxy = {} } } }
  local wrong = refused(WEB, "config.invalid", "compose.yml has no such service", two)
  test.contains(wrong.hint, "web")
end)

test.it("refuses a migration of a database that no window or volume is for", function()
  local function given(mode, migrate)
    return { service = "shop", hosts = { "10.0.0.5" }, services = { web = { proxy = { app_port = 3000 } } },
      mode = mode, migrate = migrate }
  end
  local writes = WEB .. "    volumes: [\"data:/data\"]\nvolumes: { data: }\n"
  local function migrate(database) return { service = "web", command = { "m" }, database = database } end
  refused(WEB, "config.invalid", "which is in a window", given("blue-green", migrate "/data/app.sqlite3"))
  refused(writes, "config.invalid", "no volume of web holds /db/a.sqlite3", given("window", migrate "/db/a.sqlite3"))
  refused(WEB, "config.invalid", "`migrate.pending` belongs to `migrate.database`",
    given("window", { service = "web", command = { "m" }, pending = { "p" } }))
  local settings = read(writes, given("window", migrate "/data/app.sqlite3"))
  test.equal(settings.roles[1].volumes, { "shop_data:/data" })
  test.equal(settings.migrate.database, "/data/app.sqlite3")
end)

test.it("refuses networks and volumes of which it is not clear whose they are", function()
  refused(WEB .. "volumes: { db: { external: { name: the-db } } }\n", "config.invalid",
    "`volumes.db.external`: expected true or false")
  refused(WEB .. "volumes: { db: { external: \"true\" } }\n", "config.invalid", "expected true or false")
  refused(WEB .. "networks: { front: { name: 5 } }\n", "config.invalid", "`networks.front.name`: expected a text")
  refused(WEB .. "networks: { front: front }\n", "config.invalid", "`networks.front`: expected a map")
  for _, name in ipairs { "db-${VERSION}", "db-${PASSWORD}" } do
    local settings = { service = "shop", hosts = { "10.0.0.5" }, services = SETTINGS.services,
      env = { secret = { "PASSWORD" } } }
    refused(WEB .. "volumes: { db: { name: \"" .. name .. "\" } }\n", "config.invalid", "has no value in `env.clear`",
      settings)
  end
end)

test.it("gives networks and volumes the names that variables give them", function()
  local settings = { service = "shop", hosts = { "10.0.0.5" }, services = SETTINGS.services,
    env = { clear = { STAGE = "test" } } }
  local made = read(WEB .. "volumes: { db: { name: \"${STAGE}-db\" }, own: }\nnetworks: { n: { external: true, "
    .. "name: \"x_${OTHER:-y}\" } }\n", settings)
  local names = {}
  for _, kind in ipairs { "volumes", "networks" } do
    for _, one in ipairs(render.shared(made, kind)) do names[#names + 1] = one.name end
  end
  test.equal(names, { "test-db", "shop_own", "shop_default", "x_y" })
end)

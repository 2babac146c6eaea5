--- The doctor's words and rules: every finding is complete, documented and can be told; what failures mean.

local explain = require "doctor.explain"
local files = require "native.files"
local finding = require "doctor.finding"
local test = require "test"

test.it("has each finding in docs/runbook.md, with a cause and a fix", function()
  local docs, count = files.read "docs/runbook.md", 0
  for id, words in pairs(finding.all()) do
    count = count + 1
    test.ok(docs:find("`" .. id .. "`", 1, true), id .. " is not in docs/runbook.md")
    test.ok(words.cause ~= "" and words.fix ~= "" and words.title ~= "", id)
    test.ok(words.severity == "error" or words.severity == "warning", id)
  end
  test.ok(count > 50, "findings are lost")
end)

test.it("fills in what was seen, and masks and cleans evidence", function()
  local made = finding.make("port.taken", { port = 80, holder = "nginx (pid 3)", mend = "stop it",
    evidence = { "one\27[31m\ntwo" } }, "web1")
  test.equal(made.title, "port 80 is taken by nginx (pid 3)")
  test.equal(#made.evidence, 2)
  test.equal(made.evidence[1]:find("\27", 1, true), nil)
  test.ok(finding.text(made):find("fix    stop it", 1, true))
end)

test.it("tells one cause once", function()
  local function made(id, host) return finding.make(id, {}, host) end
  local left = finding.without_echoes { made("container.oom", "a"), made("app.unready", "a"), made("app.unready", "b") }
  test.equal(#left, 2)
  test.equal(left[2].host, "b")
end)

local function means(err) return (explain.of(err)) end

test.it("knows what failures mean", function()
  local function exited(logs) return { kind = "app.exited", message = "shop-web-v2 ended", code = 1, logs = logs } end
  test.equal(means(exited "SQLite3::BusyException: database is locked"), "app.locked")
  test.equal(means(exited "sqlalchemy.exc.OperationalError: table user already exists"), "app.tables_exist")
  test.equal(means(exited "exec /app: exec format error"), "app.architecture")
  test.equal(means(exited "ActiveRecord::PendingMigrationError"), "app.pending")
  test.equal(means(exited "Errno::EADDRINUSE"), "app.port_in_use")
  test.equal(means(exited "bye"), "app.ended")
  test.equal(means { kind = "app.exited", message = "ended", oom_killed = true }, "app.memory")
  test.equal(means { kind = "compose.command", message = "docker compose up: Bind for 0.0.0.0:5432 failed: port is "
    .. "already allocated" }, "failure.port")
  local id, facts = explain.of(exited "KeyError: 'SECRET_KEY_BASE'")
  test.equal(id, "app.setting")
  test.equal(facts.setting, "SECRET_KEY_BASE")
  test.equal(means { kind = "docker.pull", message = "pull a/b:c: no space left on device" }, "failure.disk")
  test.equal(means { kind = "docker.engine", message = "start: Bind for 0.0.0.0:80 failed: port is already allocated" },
    "failure.port")
  test.equal(means { kind = "docker.auth", message = "unauthorized" }, "registry.refused")
  test.equal(means { kind = "build.failed", message = "x", at = "RUN npm ci" }, "build.failed")
  test.equal(means { kind = "migrate.failed", message = "exit code 1", code = 1 }, "migration.failed")
  test.equal(means { kind = "timeout", message = "late", cause = { kind = "ssh.connect", message = "refused" } },
    "failure.ssh")
  test.equal(means { kind = "usage", message = "wrong" }, "failure.other")
  test.equal(means { kind = "docker.not_found", message = "pull reg/shop:v9: manifest unknown" }, "image.missing")
  for _, what in ipairs { "inspect shop-web-v1: No such container: shop-web-v1", "create x: network kamal not found",
    "start x: get data: no such volume" } do
    test.equal(means { kind = "docker.not_found", message = what }, "failure.other")
  end
  test.equal(means { kind = "kamal.migrate", message = "exit code 1", code = 1, kept = true }, "migration.failed")
  local _, facts_of_it = explain.of { kind = "migrate.failed", message = "exit code 1", code = 1, kept = true }
  test.contains(finding.make("migration.failed", facts_of_it).cause, "what it has done to the database stays")
end)

test.it("judges disks by share and by bytes", function()
  local disk = require "doctor.disk"
  test.equal(disk.verdict(100e9, 50e9), nil)
  test.equal(disk.verdict(100e9, 1.5e9), "disk.low")
  test.equal(disk.verdict(100e9, 5e8), "disk.full")
  test.equal(disk.verdict(1e9, 5e6), "disk.full")
  test.equal(disk.verdict(4e12, 2e11), nil)
  local rows = disk.rows("\nFilesystem 1024-blocks Used Available Capacity Mounted on\n"
    .. "/dev/sda1 1000 900 100 90% /srv/my data")
  test.equal(rows["/srv/my data"].available, 100)
end)

test.it("reads who listens", function()
  local ss = 'LISTEN 0 128 0.0.0.0:80 0.0.0.0:* users:(("nginx",pid=312,fd=6))\nLISTEN 0 128 [::]:8080 [::]:*\n'
  local proxy = require "doctor.proxy"
  test.equal(proxy.listener(ss, 80), "nginx (pid 312)")
  test.equal(proxy.listener(ss, 8080), "")
  test.equal(proxy.listener(ss, 443), nil)
  local open = require("doctor.patient").listening("  0: 0B00007F:AD73 00000000:0000 0A\n  1: 0100007F:0BB8 0:0 0A\n"
    .. "  1: 00000000000000000000000000000000:0050 00000000000000000000000000000000:0000 0A\n")
  test.equal(#open, 2)
  test.equal(open[1], { port = 3000, loopback = true })
  test.equal(open[2], { port = 80, loopback = false })
end)

test.it("knows versions with defects, and their neighbours without", function()
  local versions = require "doctor.versions"
  test.equal(#versions.of("compose", "2.40.1"), 1)
  test.equal(#versions.of("compose", "2.40.2"), 0)
  test.equal(#versions.of("compose", "1.29.2"), 0)
  test.equal(#versions.of("sqlite", "3.40.1"), 1)
  test.equal(#versions.of("sqlite", "3.53.4"), 0)
  test.equal(#versions.of("sqlite", "3.44.6"), 0)
  test.equal(#versions.of("sqlite", "3.46.1"), 1)
  test.equal(#versions.of("sqlite", "3.50.7"), 0)
  test.equal(#versions.of("sqlite", "3.51.2"), 1)
end)

test.it("finds a page's own assets", function()
  local assets = require("doctor.assets").of('<link href="/a.css" rel=x><script src="/b.js?x=1&amp;y=2"></script>'
    .. '<img src="https://else/where.png"><a href="/page">x</a><script src="//cdn/c.js"></script><link href="/a.css">')
  test.equal(assets, { "/a.css", "/b.js?x=1&y=2" })
end)

-- Looks over a patient that says what a server would.

local function looked(group, patient)
  local found = {}
  require("doctor." .. group).on_host(patient, function(id, facts)
    found[#found + 1] = finding.make(id, facts, "h1")
  end)
  return found
end

local function typed(_, words) return "ssh h1 '" .. words .. "'" end

test.it("sees a full disk although a volume's folder is closed to this user", function()
  local patient = { typed = typed, has_engine = function() return false end, host = { name = "h1" } }
  function patient.host.exec(_, argv)
    local rows = argv[2] == "-Pi" and "/dev/sda1 1000 10 990 1% /\n" or "/dev/sda1 100000 99999 1 100% /\n"
    return { code = 1, stdout = "Filesystem x Used Available Capacity Mounted on\n" .. rows,
      stderr = "df: /var/lib/docker/volumes/shop_data/_data: Permission denied" }
  end
  test.equal(looked("disk", patient)[1].id, "disk.full")
  function patient.host.exec() return { code = 127, stdout = "", stderr = "no df" } end
  test.raises("host.exit", function() looked("disk", patient) end)
end)

test.it("asks the registry for the image that a Compose file names", function()
  local asked = {}
  local patient = { app = { config = { image = "reg/shop:${VERSION}", compose = {} } }, host = { docker = {} } }
  function patient.app.image(_, version) return "reg/shop:" .. version end
  function patient.host.docker.inspect_remote_image(_, ref) asked[#asked + 1] = ref end
  local facts = { version = "v1" }
  function patient.serving() return { { facts = facts } } end
  looked("registry", patient)
  facts = nil
  looked("registry", patient)
  test.equal(asked, { "reg/shop:v1" })
end)

test.it("finds an accessory in any network of the app's containers, without root too", function()
  local asked
  local container = { name = "shop-db-1", running = true, restart_count = 0, health = "", state = "running", pid = 7,
    error = "", networks = { shop_default = { ip = "172.19.0.2" } } }
  local patient = { typed = typed, doctor = { recipe = "r.lua" }, host = { name = "h1", docker = { rootless = true } },
    options = { accessories = { { name = "db", container = "shop-db-1", port = 5432 } } } }
  patient.app = { hosts = { patient.host }, config = { network = "kamal" } }
  function patient.inspect() return container end
  function patient.last_words() return {} end
  function patient.serving()
    return { { container = { networks = { kamal = { ip = "172.18.0.3" }, shop_default = { ip = "172.19.0.3" } } } } }
  end
  function patient.host.probe(_, url, _, given) asked = { url, given.inside } end
  test.equal(looked("accessories", patient), {})
  test.equal(asked, { "http://172.19.0.2:5432/", 7 })
  container.networks = { bridge = { ip = "172.17.0.2" } }
  test.equal(looked("accessories", patient)[1].id, "accessory.apart")
end)

test.it("names a server in a fix as it is reached", function()
  local function typed_for(spec) return require("doctor.patient").typed({ _spec = spec }, "docker ps") end
  test.equal(typed_for { address = "10.0.0.5", user = "deploy" }, "ssh deploy@10.0.0.5 'docker ps'")
  test.equal(typed_for { address = "10.0.0.5", user = "deploy", port = 2222, keys = { "~/.ssh/shop", "b" },
    jump = { "ops@gate", "ops@inner" } },
    "ssh -p 2222 -i '~/.ssh/shop' -J 'ops@gate,ops@inner' deploy@10.0.0.5 'docker ps'")
  test.equal(typed_for { address = "10.0.0.5", jump = "none", proxy_command = "nc gate 22" },
    "ssh -o 'ProxyCommand=nc gate 22' 10.0.0.5 'docker ps'")
end)

test.it("never says to switch off what much else hangs on", function()
  local own_unit = require("doctor.proxy").own_unit
  test.equal(own_unit "nginx.service\n", "nginx.service")
  for _, unit in ipairs { "docker.service", "containerd.service", "ssh.service", "user@1000.service", "-", "" } do
    test.equal(own_unit(unit), nil)
  end
end)

test.it("says how a hold of each proxy is ended", function()
  for kind, wanted in pairs { kamal_proxy = "kamal-proxy resume shop-web",
    caddy = 'app.proxy:resume(host, "shop-web")' } do
    local role = { name = "web", proxied = true }
    local patient = { typed = typed, doctor = { recipe = "r.lua" }, host = { name = "h1" } }
    local proxy = { container = "kamal-proxy", settings = { kind = kind }, routes = function()
      return { ["shop-web"] = { container = "abc", state = "maintenance" } }
    end }
    patient.app = { proxy = proxy, config = { service = "shop" }, proxied = function() return { role } end }
    function patient.inspect() return { running = true } end
    local found = looked("proxy", patient)
    test.equal(found[1].id, "proxy.held")
    test.contains(found[1].fix, wanted)
  end
end)

test.it("does not say to forget that a key is revoked", function()
  local found = {}
  require("doctor.reach").say({ name = "h1", _spec = { address = "10.0.0.5", known_hosts = "hosts.known" } },
    { kind = "ssh.host_revoked", message = "connect 10.0.0.5: revoked" }, function(id, facts)
      found[#found + 1] = finding.make(id, facts, "h1")
    end)
  test.equal(found[1].id, "ssh.revoked_host_key")
  test.equal(found[1].fix:find("ssh-keygen -R", 1, true), nil)
end)

test.it("takes a port that it cannot reach for no certificate's fault", function()
  local is_told = require("doctor.certificates").is_told
  test.equal(is_told { kind = "http.tls", message = "expired" }, true)
  test.equal(is_told { kind = "http.connect", message = "connect 10.0.0.5:443: connection refused" }, true)
  test.equal(is_told { kind = "http.connect", message = "connect 10.0.0.5:443: no route to host" }, false)
  test.equal(is_told { kind = "timeout", message = "not finished within 10 s" }, false)
end)

test.it("refuses to be told of a database that it would never look at", function()
  local app = { config = { roles = { { name = "web", volumes = { "data:/data" } } } } }
  local doctor = require "doctor"
  doctor.new { app = app, databases = { { path = "/data/app.sqlite3" } } }
  for _, one in ipairs { { path = "/date/app.sqlite3" }, { path = "/data/app.sqlite3", role = "worker" } } do
    test.raises("usage", function() doctor.new { app = app, databases = { one } } end)
  end
end)

test.it("tells of a worker that ends again and again once", function()
  local worker = { id = "w", name = "shop-worker-v1", running = true, state = "restarting", restart_count = 3,
    health = "", error = "", exit_code = 1, raw = {} }
  local role = { name = "worker", proxied = false }
  local docker = { info = function() return { SystemTime = "2026-11-27T10:00:00Z" } end,
    events = function() return function() end end }
  local patient = { typed = typed, doctor = { recipe = "r.lua" }, host = { name = "h1", docker = docker },
    options = {} }
  function patient.serving() return { { role = role, container = worker } } end
  function patient.look() return { containers = { w = { id = "w", state = "restarting" } } } end
  function patient.inspect() return worker end
  function patient.info() return docker.info() end
  function patient.last_words() return {} end
  local found = looked("containers", patient)
  for _, one in ipairs(looked("jobs", patient)) do found[#found + 1] = one end
  test.equal(#found, 1)
  test.equal(found[1].id, "container.restarting")
end)

test.it("takes what runs once for well once it has ended with 0", function()
  local container = { id = "i", name = "shop-init-v1", running = false, state = "exited", restart_count = 0,
    health = "", error = "", exit_code = 0, raw = {} }
  local patient = { typed = typed, doctor = { recipe = "r.lua" }, host = { name = "h1" }, options = {} }
  function patient.serving() return { { role = { name = "init", one_shot = true }, container = container } } end
  function patient.last_words() return {} end
  test.equal(looked("jobs", patient), {})
  container.exit_code = 3
  test.equal(looked("jobs", patient)[1].id, "jobs.stopped")
end)

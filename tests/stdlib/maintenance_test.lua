--- What an app answers while it is down: the settings of it, and what becomes of a page in each proxy's own language.

local caddy_config = require "proxy.caddy_config"
local config = require "deploy.app.config"
local files = require "native.files"
local kamal_proxy = require "proxy.kamal_proxy"
local nginx_config = require "proxy.nginx_config"
local process = require "native.process"
local test = require "test"

local folder

local function complete(maintenance, kind)
  folder = folder or process.run({ "mktemp", "-d" }).stdout:gsub("%s+$", "") .. "/"
  return config.complete({ service = "shop", image = "shop", hosts = { "a" }, maintenance = maintenance,
    proxy = { kind = kind or "caddy" } }, folder .. "prod.yml").maintenance
end

local function refused(maintenance, words, kind)
  local err = test.raises("config.invalid", function() complete(maintenance, kind) end)
  test.contains(err.message, words)
end

local function page(bytes)
  complete(nil)
  files.write(folder .. "maintenance.html", bytes)
end

test.it("answers with a few words and asks for patience where nobody says more", function()
  test.equal(complete(nil), { message = "back in a moment", retry_after = 5 })
  test.equal(complete { message = "at nine", retry_after = "1m" }, { message = "at nine", retry_after = 60 })
  test.equal(complete({ retry_after = "100ms" }).retry_after, 1)
end)

test.it("reads a page beside the settings", function()
  page "<p>caf\195\169</p>\n"
  test.equal(complete({ page = "maintenance.html" }).page, "<p>caf\195\169</p>\n")
  test.equal(complete({ page = folder .. "maintenance.html" }).page, "<p>caf\195\169</p>\n")
end)

test.it("refuses a page that nobody could serve, before anything is connected to", function()
  refused({ page = "other.html" }, "`maintenance.page`: other.html: no such file")
  refused({ page = "../" .. folder:match("([^/]+)/$") }, "it is no plain file (directory)")
  page " \n"
  refused({ page = "maintenance.html" }, "it is empty")
  page(("x"):rep(262145))
  refused({ page = "maintenance.html" }, "262145 bytes, 262144 at most")
  for bytes, at in pairs { ["<p>caf\233</p>"] = 7, ["<p>\0</p>"] = 4, ["<p>\237\160\128"] = 4, ["\192\128"] = 1,
      ["<p>\240\159\152"] = 4 } do
    page(bytes)
    refused({ page = "maintenance.html" }, ("no UTF-8 text from byte %d on"):format(at))
  end
  files.remove(folder .. "maintenance.html")
  process.run { "ln", "-s", "/etc/hostname", folder .. "maintenance.html" }
  refused({ page = "maintenance.html" }, "it is no plain file (symlink)")
  files.remove(folder .. "maintenance.html")
end)

test.it("refuses what kamal-proxy would not do", function()
  page "<script>{{ x }}</script>"
  refused({ page = "maintenance.html" }, "kamal_proxy takes its pages for templates", "kamal_proxy")
  complete { page = "maintenance.html" }
  refused({ retry_after = "5s" }, "`maintenance.retry_after`: kamal_proxy cannot do that", "kamal_proxy")
end)

test.it("cuts a page into words that nginx takes, and joins them all again", function()
  local bytes = ('<a href="/$1">\\ caf\195\169</a>\n'):rep(9000)
  local made = nginx_config.service("shop-web", { container = "0a", port = 80, state = "maintenance", retry_after = 9,
    page = "0f", route = { hosts = {} } }, bytes)
  test.contains(made, "add_header Retry-After 9 always;")
  test.contains(made, 'default_type "text/html; charset=utf-8";')
  local values = {}
  local function value_of(words)
    return (words:gsub("%${deployrun_p(%d+)}", values):gsub("%${deployrun_dollar}", "$"):gsub("\\(.)", "%1"))
  end
  for name, words in made:gmatch('set %$deployrun_p(%d+) "(.-)";\n') do
    test.ok(#words < 4000, "a word of " .. #words)
    -- What a variable holds is no longer a word of the configuration.
    local grouped = words:find("${deployrun_p", 1, true)
    values[name] = grouped and words:gsub("%${deployrun_p(%d+)}", values) or value_of(words)
  end
  local answer = made:match('return 503 "(.-)";')
  test.ok(#answer < 4000)
  test.ok(answer:gsub("%${deployrun_p(%d+)}", values) == bytes, "it is another page")
end)

test.it("brings a route of an earlier deployrun to the maintenance of this one", function()
  local route = { hosts = {}, app_port = 80, drain_timeout = "30s" }
  local now = caddy_config.encode(caddy_config.with_route(caddy_config.decode(""), "shop-web", route))
  local old = caddy_config.decode(now)
  old.apps.http.servers.deployrun.routes[1].handle[1].routes[1].handle = { { handler = "static_response" } }
  test.equal(caddy_config.encode(caddy_config.with_maintenance(old, "shop-web")), now)
  test.equal(caddy_config.encode(caddy_config.with_maintenance(caddy_config.decode(now), "shop-web")), now)
end)

test.it("tells kamal-proxy where its pages are, where the app has one", function()
  local route = { hosts = {}, app_port = 80, drain_timeout = "30s", health = { path = "/up", port = 80 } }
  local argv = kamal_proxy.deploy_command("shop-web", "0a:80", route, "/pages/shop-web")
  test.equal(argv[#argv], "--error-pages=/pages/shop-web")
  files.remove(folder, { recursive = true })
end)

-- Conformance: configurations, and the exact containers and proxy commands that Kamal 2.12 makes of them (KAMAL.md C).
-- Each vector is a whole configuration; what it does not tell is as in the first one.

local configuration = require "kamal.configuration"
local containers = require "kamal.containers"
local docker = require "native.docker"
local environment = require "kamal.environment"
local files = require "native.files"
local naming = require "kamal.naming"
local process = require "native.process"
local proxy_args = require "kamal.proxy_args"
local proxy_run = require "kamal.proxy_run"
local test = require "test"

local folder = nil

--- A configuration from texts: the file itself, and a destination's.
local function load(text, given)
  given = given or {}
  folder = folder or process.run({ "mktemp", "-d" }).stdout:gsub("%s+$", "")
  files.write(folder .. "/deploy.yml", text)
  if given.over then files.write(folder .. "/deploy.staging.yml", given.over) end
  return configuration.load { config_file = folder .. "/deploy.yml", version = "v1",
    destination = given.over and "staging", environment = environment.new(function() return nil end) }
end

local BASE = { service = "service: shop\n", image = "image: me/shop\n",
  registry = "registry: { username: u, password: p }\n",
  builder = "builder: { arch: amd64 }\n", servers = "servers: [1.1.1.1]\n" }

--- The base with other lines; a line that begins with a key of the base stands in its place
--- (as a comment: takes it away).
local function config_text(lines)
  local out = {}
  for _, key in ipairs { "service", "image", "registry", "builder", "servers" } do
    if not ("\n" .. lines):find("\n#?" .. key .. ":") then out[#out + 1] = BASE[key] end
  end
  return table.concat(out) .. lines .. "\n"
end

local function joined(argv) return table.concat(argv, " ") end

--- Parts of `docker run` in order: env, log, vol, label, opt, image, cmd.
local function app_line(parts)
  local name = parts.name or "shop-web-v1"
  local function part(key, default) return (parts[key] or default) ~= "" and " " .. (parts[key] or default) or "" end
  return "docker run --detach --restart " .. (parts.restart or "unless-stopped") .. " --name " .. name
    .. " --network kamal --hostname H --env KAMAL_CONTAINER_NAME=" .. name ..
      " --env KAMAL_VERSION=v1 --env KAMAL_HOST="
    .. (parts.host or "1.1.1.1") .. part("env", "") .. " --env-file .kamal/apps/" .. (parts.app or "shop")
    .. "/env/roles/" .. (parts.role or "web") .. ".env" .. part("log", "--log-opt max-size=10m") .. part("vol", "")
    .. part("label", "--label service=shop --label role=web --label destination") .. part("opt", "")
    .. part("image", "me/shop:v1") .. part("cmd", "")
end

local W = "servers: { web: { hosts: [1.1.1.1], %s } }"
local function web(inner) return W:format(inner) end
local LABELS = "--label service=shop --label role=web --label destination"
local JOBS = "servers: { web: [1.1.1.1], jobs: { hosts: [2.2.2.2]%s } }"
local function jobs(inner, parts)
  parts.name, parts.role, parts.host = "shop-jobs-v1", "jobs", "2.2.2.2"
  parts.label = parts.label or "--label service=shop --label role=jobs --label destination"
  return { JOBS:format(inner), parts, role = "jobs", host = "2.2.2.2" }
end

local VECTORS = {
  { "", {} },
  -- image and registry
  { "image: other", { image = "other:v1" } },
  { "registry: { server: ghcr.io, username: u, password: [P] }", { image = "ghcr.io/me/shop:v1" } },
  { "registry: { server: localhost:5555 }", { image = "localhost:5555/me/shop:v1" } },
  { "registry: { server: localhost:5555 }\n#image: no", { image = "localhost:5555/shop:v1" } },
  -- env: clear
  { "env: { A: b }", { env = "--env A=b" } },
  { "env: { A: 3306 }", { env = "--env A=3306" } },
  { "env: { A: yes }", { env = "--env A=true" } },
  { "env: { A: no }", { env = "--env A=false" } },
  { "env: { A: 'yes' }", { env = "--env A=yes" } },
  { "env: { A: 2_000 }", { env = "--env A=2000" } },
  { "env: { A: 0600 }", { env = "--env A=384" } },
  { "env: { A: 1.50 }", { env = "--env A=1.5" } },
  { "env: { A: :sym }", { env = "--env A=sym" } },
  { "env: { A: '' }", { env = "--env A" } },
  { "env: { A: ' ' }", { env = "--env A" } },
  { "env: { A: 'a b' }", { env = "--env A=a b" } },
  { "env: { A: 'x=y' }", { env = "--env A=x=y" } },
  { "env: { A: '${HOME}/x' }", { env = "--env A=${HOME}/x" } },
  { "env: { on: 1 }", { env = "--env true=1" } },
  { "env: { B: 1, A: 2 }", { env = "--env B=1 --env A=2" } },
  { "env: { clear: { A: b } }", { env = "--env A=b" } },
  { "env: { clear: {}, secret: [S] }", {} },
  { "env: { secret: [S] }", {} },
  { "env: { clear: { A: b }, secret: [S, 'T:U'] }", { env = "--env A=b" } },
  { "env: { tags: { t: { A: b } } }", {} },
  { "env: { tags: { t: { A: b } } }\nservers: [{ 1.1.1.1: t }]", { env = "--env A=b" } },
  { "env: { clear: { A: a }, tags: { t: { A: b } } }\nservers: [{ 1.1.1.1: [t] }]", { env = "--env A=b" } },
  { "env: { tags: { t: { clear: { A: 1 } }, u: { A: 2, B: 3 } } }\nservers: [{ 1.1.1.1: [t, u] }]",
    { env = "--env A=2 --env B=3" } },
  { "servers: [{ 1.1.1.1: nope }]", {} },
  { web("env: { A: r }"), { env = "--env A=r" } },
  { "env: { A: a, B: b }\n" .. web("env: { A: r, C: c }"), { env = "--env A=r --env B=b --env C=c" } },
  { "env: { clear: { A: a } }\n" .. web("env: { clear: { B: b }, secret: [S] }"), { env = "--env A=a --env B=b" } },
  { "env: { A: a, tags: { t: { A: t } } }\nservers: { web: { hosts: [{ 1.1.1.1: t }] } }", nil,
    error = "env: unknown key: A" },
  -- volumes
  { "volumes: [data:/data]", { vol = "--volume data:/data" } },
  { "volumes: [data:/data, '/host:/c:ro']", { vol = "--volume data:/data --volume /host:/c:ro" } },
  { "volumes: ['$PWD/x:/x']", { vol = "--volume $PWD/x:/x" } },
  { "volumes: []", {} },
  -- labels
  { "labels: { a: b }", { label = LABELS .. " --label a=b" } },
  { "labels: { a: 1, b: no, c: '' }", { label = LABELS .. " --label a=1 --label b=false --label c" } },
  { web("labels: { a: b }"), { label = LABELS .. " --label a=b" } },
  { "labels: { a: 1, b: 2 }\n" .. web("labels: { a: 3 }"), { label = LABELS .. " --label a=3 --label b=2" } },
  { "labels: { traefik.http.x: 'Host(`a`)' }", { label = LABELS .. " --label traefik.http.x=Host(`a`)" } },
  -- logging
  { "logging: { driver: journald }", { log = "--log-driver journald" } },
  { "logging: { options: { max-size: 100m } }", { log = "--log-opt max-size=100m" } },
  { "logging: { driver: local, options: { max-size: 1m, max-file: 3 } }",
    { log = "--log-driver local --log-opt max-size=1m --log-opt max-file=3" } },
  { "logging: { options: {} }", {} },
  { web("logging: { driver: journald }"), { log = "--log-driver journald" } },
  { "logging: { driver: local, options: { max-size: 1m } }\n" .. web("logging: { options: { max-size: 2m } }"),
    { log = "--log-driver local --log-opt max-size=2m" } },
  { "logging: { options: { max-size: 1m } }\n" .. web("logging: { options: { max-file: 2 } }"),
    { log = "--log-opt max-size=1m --log-opt max-file=2" } },
  -- options
  { web("options: { memory: 2g }"), { opt = "--memory 2g" } },
  { web("options: { cpus: 0.5 }"), { opt = "--cpus 0.5" } },
  { web("options: { cap-add: [NET_ADMIN, SYS_TIME] }"), { opt = "--cap-add NET_ADMIN --cap-add SYS_TIME" } },
  { web("options: { init: true }"), { opt = "--init" } },
  { web("options: { read-only: yes, user: 1000 }"), { opt = "--read-only --user 1000" } },
  { web("options: { restart: always }"), { restart = "always" } },
  { web("options: { restart: 'no', memory: 1g }"), { restart = "no", opt = "--memory 1g" } },
  { web("options: { restart: on-failure:3 }"), { restart = "on-failure:3" } },
  { web("options: { publish: ['8080:80'] }"), { opt = "--publish 8080:80" } },
  { web("options: { add-host: 'db:10.0.0.1' }"), { opt = "--add-host db:10.0.0.1" } },
  { web("options: { ulimit: [nofile=1024:2048] }"), { opt = "--ulimit nofile=1024:2048" } },
  { web("options: { health-cmd: 'curl -f localhost', health-retries: 3 }"),
    { opt = "--health-cmd curl -f localhost --health-retries 3" } },
  { web("options: { network-alias: app }"), { opt = "--network-alias app" } },
  { web("options: { tmpfs: '/tmp:size=64m' }"), { opt = "--tmpfs /tmp:size=64m" } },
  { web("options: { shm-size: 256m, gpus: all }"), { opt = "--shm-size 256m --gpus all" } },
  -- cmd
  { web("cmd: bin/serve"), { cmd = "bin/serve" } },
  { web("cmd: bin/serve -p 3000"), { cmd = "bin/serve -p 3000" } },
  { web([[cmd: "sh -c 'a b'"]]), { cmd = "sh -c a b" } },
  -- assets
  { "asset_path: /rails/public", { vol = "--volume $PWD/.kamal/apps/shop/assets/volumes/web-v1:/rails/public" } },
  { "asset_path: /rails/public:ro", { vol = "--volume $PWD/.kamal/apps/shop/assets/volumes/web-v1:/rails/public:ro" } },
  { web("asset_path: /p"), { vol = "--volume $PWD/.kamal/apps/shop/assets/volumes/web-v1:/p" } },
  { "asset_path: /a\n" .. web("asset_path: /p"), { vol = "--volume $PWD/.kamal/apps/shop/assets/volumes/web-v1:/p" } },
  { "asset_path: /a\n" .. web("proxy: false"), {} },
  { "asset_path: /a\nvolumes: [d:/d]",
    { vol = "--volume d:/d --volume $PWD/.kamal/apps/shop/assets/volumes/web-v1:/a" } },
  -- other roles
  jobs("", {}), jobs(", cmd: bin/jobs", { cmd = "bin/jobs" }), jobs(", env: { Q: 1 }", { env = "--env Q=1" }),
  jobs(", options: { memory: 1g }", { opt = "--memory 1g" }), jobs(", options: { restart: always }",
    { restart = "always" }),
  jobs(", labels: { k: v }", { label = "--label service=shop --label role=jobs --label destination --label k=v" }),
  jobs(", logging: { driver: none }", { log = "--log-driver none" }), jobs(", asset_path: /a", {}),
  jobs(", proxy: true, asset_path: /a", { vol = "--volume $PWD/.kamal/apps/shop/assets/volumes/jobs-v1:/a" }),
  jobs(", stop_timeout: 60", {}),
  -- merge keys, anchors, templates
  { "x-env: &e { A: 1, B: 2 }\nenv:\n  <<: *e\n  B: 3", { env = "--env A=1 --env B=3" } },
  { "x-env: &e { A: 1 }\nenv:\n  A: 2\n  <<: *e", { env = "--env A=1" } },
  { "env:\n<% %w[a b].each do |n| %>\n  <%= n.upcase %>: <%= n %>\n<% end %>", { env = "--env A=a --env B=b" } },
  { "env: { A: <%= ENV['NOPE'] || 'd' %> }", { env = "--env A=d" } },
  -- destinations
  { "env: { A: 1 }", { env = "--env A=1" }, over = "", staging = true },
  { "env: { A: 1 }", { env = "--env A=2 --env B=3" }, over = "env: { A: 2, B: 3 }", staging = true },
  { "volumes: [a:/a, b:/b]", { vol = "--volume c:/c" }, over = "volumes: [c:/c]", staging = true },
  { "", { image = "other:v1" }, over = "image: other", staging = true },
  { "env: { D: <%= ENV['KAMAL_DESTINATION'] %> }", { env = "--env D=staging" }, over = "", staging = true },
}

local function expected(vector)
  local parts = vector[2]
  if vector.staging then
    parts.name, parts.app = "shop-web-staging-v1", "shop-staging"
    parts.env = "--env KAMAL_DESTINATION=staging" .. (parts.env and " " .. parts.env or "")
    parts.label = "--label service=shop --label role=web --label destination=staging"
  end
  return app_line(parts)
end

local WORLD = { home = "/root", env = function(name) return name == "HOME" and "/root" or nil end }

test.it("makes an app's containers as Kamal does", function()
  for _, vector in ipairs(VECTORS) do
    local text = config_text(vector[1])
    if vector.error then
      local err = test.raises("config.invalid", function() load(text, { over = vector.over }) end)
      test.contains(err.message, vector.error)
    else
      local config = load(text, { over = vector.over })
      local run = containers.app(config, config:role(vector.role or "web"), vector.host or "1.1.1.1",
        { version = "v1", hostname = "H" })
      test.equal({ vector[1], joined(containers.argv(run)) }, { vector[1], expected(vector) })
      docker.check(containers.spec(run, WORLD))  -- what the engine is asked for is sound
    end
  end
end)

local function accessory_line(parts)
  local function part(key, default) return (parts[key] or default) ~= "" and " " .. (parts[key] or default) or "" end
  return "docker run --name " .. (parts.name or "shop-db") .. " --detach --restart " ..
    (parts.restart or "unless-stopped")
    .. " --network " .. (parts.network or "kamal") .. part("log", "--log-opt max-size=10m") .. part("port", "")
    .. " --env KAMAL_HOST=" .. (parts.host or "1.1.1.1") .. part("env", "")
    .. " --env-file .kamal/apps/shop/env/accessories/db.env" .. part("vol", "")
    .. part("label", "--label service=" .. (parts.name or "shop-db")) .. part("opt", "") .. part("image", "db:1")
    .. part("cmd", "")
end

local ACCESSORIES = {
  { "host: 1.1.1.1", {} },
  { "host: 9.9.9.9", { host = "9.9.9.9" } },
  { "hosts: [1.1.1.1, 9.9.9.9]", {}, hosts = { "1.1.1.1", "9.9.9.9" } },
  { "role: web", {}, hosts = { "1.1.1.1" } }, { "roles: [web]", {}, hosts = { "1.1.1.1" } },
  { "host: 1.1.1.1, service: mysql", { name = "mysql" } },
  { "host: 1.1.1.1, port: 3306", { port = "--publish 3306:3306" } },
  { "host: 1.1.1.1, port: '127.0.0.1:3306:3306'", { port = "--publish 127.0.0.1:3306:3306" } },
  { "host: 1.1.1.1, cmd: run it", { cmd = "run it" } },
  { "host: 1.1.1.1, network: own", { network = "own" } },
  { "host: 1.1.1.1, options: { restart: always, memory: 1g }", { restart = "always", opt = "--memory 1g" } },
  { "host: 1.1.1.1, labels: { a: b }", { label = "--label service=shop-db --label a=b" } },
  { "host: 1.1.1.1, env: { A: 1 }", { env = "--env A=1" } },
  { "host: 1.1.1.1, env: { clear: { A: 1 }, secret: [P] }", { env = "--env A=1" } },
  { "host: 1.1.1.1, volumes: [d:/d]", { vol = "--volume d:/d" } },
  { "host: 1.1.1.1, files: ['my.cnf:/etc/my.cnf']", { vol = "--volume $PWD/shop-db/etc/my.cnf:/etc/my.cnf" } },
  { "host: 1.1.1.1, files: ['my.cnf:/etc/my.cnf:ro']", { vol = "--volume $PWD/shop-db/etc/my.cnf:/etc/my.cnf:ro" } },
  { "host: 1.1.1.1, files: [{ local: a, remote: /b, mode: '0600', owner: '1:1', options: Z }]",
    { vol = "--volume $PWD/shop-db/b:/b:Z" } },
  { "host: 1.1.1.1, directories: ['data:/var/lib/x']", { vol = "--volume $PWD/shop-db/data:/var/lib/x" } },
  { "host: 1.1.1.1, directories: ['/srv/data:/var/lib/x']", { vol = "--volume /srv/data:/var/lib/x" } },
  { "host: 1.1.1.1, directories: ['data:/d:z'], volumes: [v:/v], files: ['f:/f']",
    { vol = "--volume v:/v --volume $PWD/shop-db/f:/f --volume $PWD/shop-db/data:/d:z" } },
  { "host: 1.1.1.1, registry: { server: r.io, username: u, password: p }", { image = "r.io/db:1" } },
}

test.it("makes accessories as Kamal does", function()
  for _, vector in ipairs(ACCESSORIES) do
    local config = load(config_text("accessories:\n  db: { image: 'db:1', " .. vector[1] .. " }"))
    local accessory = config:accessory("db")
    if vector.hosts then test.equal(accessory.hosts, vector.hosts) end
    local run = containers.accessory(config, accessory, accessory.hosts[1])
    test.equal({ vector[1], joined(containers.argv(run)) }, { vector[1], accessory_line(vector[2]) })
    docker.check(containers.spec(run, WORLD))
  end
  local config = load(config_text("logging: { driver: local }\naccessories: { db: { image: 'db:1', tag: t } }\n" ..
    "servers: { web: [{ 1.1.1.1: t }, 2.2.2.2], jobs: [{ 3.3.3.3: [t, u] }] }"))
  test.equal(config:accessory("db").hosts, { "3.3.3.3", "1.1.1.1" })
  test.contains(joined(containers.argv(containers.accessory(config, config:accessory("db"), "1.1.1.1"))),
    "--network kamal --log-driver local --env")
end)

local RUN = "docker run --name kamal-proxy --network kamal --detach --restart unless-stopped " ..
  "--volume kamal-proxy-config:/home/kamal-proxy/.config/kamal-proxy " ..
  "--volume $PWD/.kamal/proxy/apps-config:/home/kamal-proxy/.apps-config "
local PORTS, IMAGE = "--publish 80:80 --publish 443:443 ", "basecamp/kamal-proxy:v0.9.2"
local PROXIES = {
  { "", RUN .. PORTS .. "--log-opt max-size=10m " .. IMAGE },
  { "http_port: 8080, https_port: 8443",
    RUN .. "--publish 8080:80 --publish 8443:443 --log-opt max-size=10m " .. IMAGE .. " kamal-proxy run" },
  { "publish: false", RUN .. "--log-opt max-size=10m " .. IMAGE .. " kamal-proxy run" },
  { "bind_ips: [10.0.0.1, '::1']", RUN ..
    "--publish 10.0.0.1:80:80 --publish 10.0.0.1:443:443 --publish [::1]:80:80 " ..
    "--publish [::1]:443:443 --log-opt max-size=10m " .. IMAGE .. " kamal-proxy run" },
  { "metrics_port: 9090, debug: true", RUN .. PORTS .. "--log-opt max-size=10m --expose 9090 " .. IMAGE ..
    " kamal-proxy run --debug --metrics-port 9090" },
  { "log_max_size: 30m", RUN .. PORTS .. "--log-opt max-size=30m " .. IMAGE .. " kamal-proxy run" },
  { "registry: 'r:5000', repository: me/proxy, version: v9",
    RUN .. PORTS .. "--log-opt max-size=10m r:5000/me/proxy:v9 kamal-proxy run" },
  { "options: { memory: 512m, label: [a=b] }",
    RUN .. PORTS .. "--log-opt max-size=10m --memory 512m --label a=b " .. IMAGE .. " kamal-proxy run" },
}

test.it("runs the proxy as Kamal does", function()
  for _, vector in ipairs(PROXIES) do
    local config = load(config_text(vector[1] ~= "" and "proxy: { run: { " .. vector[1] .. " } }" or ""))
    test.equal(joined(containers.argv(proxy_run.of(config, "1.1.1.1"))), vector[2])
  end
  -- Files that `proxy boot_config` wrote count where proxy.run says nothing, each for itself.
  local written = { options = '--publish 8080:80 --expose=9090 --init --label "a=b c"', image = "r:5000/me/kamal-proxy",
    image_version = "v9", run_command = "kamal-proxy run --debug" }
  local config = load(config_text(""))
  test.equal(joined(containers.argv(proxy_run.of(config, "1.1.1.1", written))), RUN ..
    "--publish 8080:80 --expose 9090 --init --label a=b c r:5000/me/kamal-proxy:v9 kamal-proxy run --debug")
  test.equal(joined(containers.argv(proxy_run.of(config, "1.1.1.1", { image_version = "v9" }))), RUN .. PORTS ..
    "--log-opt max-size=10m basecamp/kamal-proxy:v9")
  local told = load(config_text("proxy: { run: { http_port: 1 } }"))
  test.contains(joined(containers.argv(proxy_run.of(told, "1.1.1.1", written))), "--publish 1:80 --publish 443:443")
  test.raises("proxy.boot", function() proxy_run.of(config, "1.1.1.1", { options = "publish 80:80" }) end)
end)

local LOGGED = "--log-request-header=Cache-Control --log-request-header=Last-Modified --log-request-header=User-Agent"
local TIMES, BUFFERS = "--deploy-timeout=30s --drain-timeout=30s", "--buffer-requests --buffer-responses"
local DEPLOYS = {  -- proxy, what stands between the target and the end
  { "", TIMES .. " " .. BUFFERS .. " " .. LOGGED },
  { "host: a.com", "--host=a.com " .. TIMES .. " " .. BUFFERS .. " " .. LOGGED },
  { "host: 'a.com,b.com'", "--host=a.com --host=b.com " .. TIMES .. " " .. BUFFERS .. " " .. LOGGED },
  { "hosts: [a.com, b.com]", "--host=a.com --host=b.com " .. TIMES .. " " .. BUFFERS .. " " .. LOGGED },
  { "host: a.com, ssl: true", "--host=a.com --tls " .. TIMES .. " " .. BUFFERS .. " " .. LOGGED },
  { "host: a.com, ssl: { certificate_pem: C, private_key_pem: K }", "--host=a.com --tls " ..
    "--tls-certificate-path=/home/kamal-proxy/.apps-config/shop/tls/web/cert.pem " ..
    "--tls-private-key-path=/home/kamal-proxy/.apps-config/shop/tls/web/key.pem " .. TIMES .. " " .. BUFFERS .. " " ..
    LOGGED },
  { "host: a.com, ssl: true, ssl_redirect: false",
    "--host=a.com --tls " .. TIMES .. " " .. BUFFERS .. " --tls-redirect=false " .. LOGGED },
  { "app_port: 3000", TIMES .. " " .. BUFFERS .. " " .. LOGGED, port = 3000 },
  { "healthcheck: { path: /health, interval: 3, timeout: 4 }", TIMES .. " --health-check-interval=3s " ..
    "--health-check-timeout=4s --health-check-path=/health " .. BUFFERS .. " " .. LOGGED },
  { "response_timeout: 10", TIMES .. " --target-timeout=10s " .. BUFFERS .. " " .. LOGGED },
  { "buffering: { requests: false, responses: no }",
    TIMES .. " --buffer-requests=false --buffer-responses=false " .. LOGGED },
  { "buffering: { memory: 2_000_000, max_request_body: 40_000_000, max_response_body: 0 }", TIMES .. " " .. BUFFERS ..
    " --buffer-memory=2000000 --max-request-body=40000000 --max-response-body=0 " .. LOGGED },
  { "path_prefix: '/api,/v2', strip_path_prefix: false",
    TIMES .. " " .. BUFFERS .. " --path-prefix=/api --path-prefix=/v2 --strip-path-prefix=false " .. LOGGED },
  { "path_prefixes: [/a]", TIMES .. " " .. BUFFERS .. " --path-prefix=/a " .. LOGGED },
  { "forward_headers: true", TIMES .. " " .. BUFFERS .. " --forward-headers " .. LOGGED },
  { "logging: { request_headers: [X-A], response_headers: [X-B, X-C] }", TIMES .. " " .. BUFFERS ..
    " --log-request-header=X-A --log-response-header=X-B --log-response-header=X-C" },
}

test.it("tells the proxy what Kamal does", function()
  for _, vector in ipairs(DEPLOYS) do
    local config = load(config_text(vector[1] ~= "" and "proxy: { " .. vector[1] .. " }" or ""))
    local argv = proxy_args.deploy(config, config:role("web").proxy, { service = "shop-web", target = "0123456789ab",
      version = "v1", role = "web" })
    test.equal(joined(argv), ("kamal-proxy deploy shop-web --target=0123456789ab:%d %s"):format(vector.port or 80,
      vector[2]))
  end
  local config = load(config_text("proxy: { host: a.com, ssl: true }\nerror_pages_path: public\ndeploy_timeout: 5\n" ..
    "servers: { web: { hosts: [1.1.1.1], proxy: { host: b.com } } }"))
  test.equal(joined(proxy_args.deploy(config, config:role("web").proxy, { service = "s", target = "t",
    version = "v1" })),
    "kamal-proxy deploy s --target=t:80 --host=b.com --tls --deploy-timeout=5s --drain-timeout=30s " .. BUFFERS ..
      " " ..
    LOGGED .. " --error-pages=/home/kamal-proxy/.apps-config/shop/error_pages/v1")
  test.equal(joined(proxy_args.stop("s", { drain_timeout = 30, message = "back soon" })),
    "kamal-proxy stop s --drain-timeout=30s --message=back soon")
end)

test.it("expands what the server's shell would", function()
  local config = load(config_text("volumes: ['~/x:/x', '$HOME/y:/y', '$PWD/z:/z']\nenv: { A: '${HOME}/$HOME', B: '' }"))
  local world = { home = "/home/me", env = function(name) return ({ HOME = "/h", B = "from-session" })[name] end,
    file = "S=a b\n# no\nT=x\\ny\n" }
  local spec = containers.spec(containers.app(config, config:role("web"), "1.1.1.1", { version = "v1" }), world)
  test.equal(spec.volumes, { "/home/me/x:/x", "/h/y:/y", "/home/me/z:/z" })
  test.equal({ spec.env.A, spec.env.B, spec.env.S, spec.env.T }, { "/h/$HOME", "from-session", "a b", "x\\ny" })
  test.equal(spec.labels.destination, "")
  local bad = load(config_text(web("options: { memmory: 1g }")))
  local err = test.raises("config.invalid", function()
    containers.spec(containers.app(bad, bad:role("web"), "1.1.1.1", { version = "v1" }), world)
  end)
  test.contains(err.message, "docker run has no option --memmory")
  test.contains(err.hint, "memory")
end)

test.it("writes env files to the byte", function()
  local values = { P = 'a"b#c', Q = "line1\nline2\\", R = "üx", E = "" }
  local env = { secret = { "P", "N:Q", "R", "E" } }
  test.equal(containers.env_file(env, function(name) return values[name] end),
    'P=a"b#c\nN=line1\\nline2\\\\\nR=üx\nE=\n')
  test.equal(containers.env_file({ secret = {} }), "\n")
end)

test.it("names things as Kamal does", function()
  local config = load(config_text(""), { over = "" })
  local role = config:role("web")
  test.equal(naming.lock(config), ".kamal/lock-shop-staging")
  test.equal(naming.audit(config), ".kamal/shop-staging-audit.log")
  test.equal(naming.latest_image(config), "me/shop:latest-staging")
  test.equal(naming.version_of(config, role, "shop-web-staging-abc"), "abc")
  test.equal(naming.version_of(config, role, "shop-web-abc"), nil)
  test.equal(naming.abbreviated("0123456789"), "0123456")
  test.equal(naming.abbreviated("01234567_dirty"), "01234567_dirty")
  test.equal(naming.hostname(("x"):rep(50) .. ".y", "abcdefabcdef99"), ("x"):rep(50) .. "-abcdefabcdef")
end)

-- What is wrong, in Kamal's words and with its place; all of it at once.
local ERRORS = {
  { "sevice: x", "deploy.yml:6:1: unknown key: sevice" }, { "x-own: 1", nil },
  { "volumes: a", "volumes: should be an array" }, { "volumes: [{ a: b }]", "volumes/0: should be a string" },
  { "labels: [a]", "labels: should be a hash" }, { "labels: { a: [1] }", "labels/a: should be a string" },
  { "retain_containers: many", "retain_containers: should be an integer" },
  { "retain_containers: 1.5", "retain_containers: should be an integer" },
  { "retain_containers: 0", "Must retain at least 1 container" },
  { "require_destination: 1", "require_destination: should be a boolean" },
  { "require_destination: true", "You must specify a destination" },
  { "minimum_version: 3.0.0", "Current version is 2.12.0, minimum required is 3.0.0" },
  { "service: 'a b'", "Service name can only include alphanumeric characters, hyphens, and underscores" },
  { "service:", "service: should be a string" }, { "image:", "image: should be a string" },
  { "registry: {}", "Missing required configuration for registry" },
  { "registry: { username: u }", "registry/password: is required" },
  { "registry: { username: u, password: [A, B] }",
    "registry/password: should be a string or an array with one string (for secret lookup)" },
  { "builder: { arch: [] }", "builder: Builder arch not set" }, { "builder: {}", "builder: Builder arch not set" },
  { "builder: { arch: amd64, local: false }", "builder: Cannot disable local builds, no remote is set" },
  { "builder: { arch: amd64, cache: { type: s3 } }", "builder: Invalid cache type: s3" },
  { "builder: { arch: [amd64, arm64], pack: { builder: x } }",
    "builder: buildpacks only support building for one arch" },
  { "builder: { arch: 1.0, args: [] }", "builder/args: should be a hash" },
  { "registry: { server: 'localhost:5000' }\nbuilder: { arch: amd64, remote: 'tcp://x' }",
    "Local registry with remote builder requires an SSH URL" },
  { "servers: [[a]]", "servers/0: should be a string or a hash" },
  { "servers: [{ a: t, b: t }]", "servers/0: multiple hosts found" },
  { "servers: { web: { hosts: a } }", "servers/web/hosts: should be an array" },
  { "servers: { web: { host: [a] } }", "servers/web: unknown key: host" },
  { "servers: { web: [] }", "No servers specified for the web primary_role" },
  { "servers: { jobs: [1.1.1.1] }", "The primary_role web isn't defined" },
  { "servers: { web: [1.1.1.1], jobs: [] }", "No servers specified for the jobs role. You can ignore this with" },
  { "servers: { web: [1.1.1.1], jobs: [] }\nallow_empty_roles: true", nil },
  { "primary_role: jobs\nservers: { jobs: [1.1.1.1] }", nil }, { "servers:", "No servers or accessories specified" },
  { web("labels: { role: x }"), "servers/web/labels/role: invalid label. destination, role, and service are reserved" },
  { web("options: { restart: sometimes }"), "servers/web/options/restart: should be no, always, unless-stopped" },
  { web("options: { restart: no }"), 'servers/web/options/restart: should be a string. Use "no" to disable restarts' },
  { web("env: { tags: { a: { B: c } } }"), "servers/web/env: tags are only allowed in the root env" },
  { web("proxy: maybe"), "servers/web/proxy: should be a hash" },
  { "env: { A: [1] }", "env/A: should be a string" }, { "env: { A: }", "env/A: should be a string" },
  { "env: { secret: S }", "env/secret: should be an array" },
  { "proxy: { ssl: true }", "proxy: Must set a host to enable automatic SSL" },
  { "proxy: { host: a, hosts: [b] }", "proxy: Specify one of 'host' or 'hosts', not both" },
  { "proxy: { host: a, ssl: { certificate_pem: C } }", "proxy: Missing private_key_pem setting" },
  { "proxy: { host: a, ssl: { private_key_pem: C } }", "proxy: Missing certificate_pem setting" },
  { "proxy: { run: { publish: false, http_port: 80 } }", "proxy: Cannot set http_port, https_port or bind_ips when" },
  { "proxy: { run: { bind_ips: [nope] } }", "proxy: Invalid publish IP address: nope" },
  { "proxy: { app_port: '80' }", "proxy/app_port: should be an integer" },
  { "proxy: { healtcheck: {} }", "proxy: unknown key: healtcheck" },
  { "servers: [1.1.1.1, 2.2.2.2]\nproxy: { host: a, ssl: true }",
    "SSL is only supported on a single server unless you provide custom certificates, found 2 servers for role web" },
  { "proxy: { host: a, ssl: true }\nservers: { web: [1.1.1.1], api: { hosts: [2.2.2.2], proxy: true } }",
    "Different roles can't share the same host for SSL: a" },
  { "servers: { web: { hosts: [1.1.1.1], proxy: { run: { debug: true } } }, " ..
    "api: { hosts: [1.1.1.1], proxy: { run: { debug: false } } } }",
    "Conflicting proxy run configurations for host 1.1.1.1" },
  { "accessories: { db: { image: x } }", "accessories/db: specify one of `host`, `hosts`, `role`, `roles`, `tag` or" },
  { "accessories: { db: { image: x, role: nope } }", "accessories/db: unknown role nope" },
  { "accessories: { db: { image: x, host: a, files: [1: 2] } }", nil },
  { "accessories: { db: { image: x, host: a, files: a } }", "accessories/db/files: should be an array" },
  { "aliases: { Bad: x }", "aliases/Bad: Invalid alias name: 'Bad'." },
  { "aliases: { deploy: x }", "aliases/deploy: Alias 'deploy' conflicts with a built-in command." },
  { "aliases: { shell: app exec -i bash }", nil },
  { "hooks_output: loud", "Invalid hooks_output 'loud', must be one of" },
  { "hooks_output: { pre-build: loud }", "Invalid hooks_output 'loud' for hook 'pre-build'" },
  { "hooks_output: :verbose", nil },
  { "ssh: { config: { a: b } }", "ssh/config: should be a boolean or a string or an" },
  { "ssh: { keys: a }", "ssh/keys: should be an array" }, { "ssh: { port: 2222, config: false }", nil },
  { "boot: { limit: 25%, wait: 2, parallel_roles: true }", nil },
  { "boot: { wait: long }", "boot/wait: should be an integer" },
  { "sshkit: { dns_retries: x }", "sshkit/dns_retries: should be an integer" },
  { "output: { file: { path: /x }, otel: { endpoint: y } }", nil },
  { "output: { syslog: {} }", "output: unknown key: syslog" },
  { "x-deployrun: { host_keys: accept-new, migrate: bin/rails db:migrate }", nil },
  { "x-deployrun: { host_keys: never }", 'x-deployrun/host_keys: should be "strict" or "accept-new"' },
  { "x-deployrun: { hostkeys: strict }", "x-deployrun: unknown key: hostkeys" },
  { "x-deployrun: { migrate: { timeout: 5m } }", "x-deployrun/migrate: cmd is required" },
  { "x-deployrun: { migrate: { cmd: a, timeout: soon } }", "x-deployrun/migrate/timeout: should be a duration" },
  { "x-deployrun: { checks: { before: [{ check: serving }] } }",
    "x-deployrun/checks/before/0: check should be one of" },
  { "x-other: { anything: 1 }", nil },
  { "traefik: {}", "unknown key: traefik" }, { "healthcheck: {}", "unknown key: healthcheck" },
}

test.it("finds what is wrong, with its place", function()
  for _, vector in ipairs(ERRORS) do
    local ok, err = pcall(load, config_text(vector[1]))
    if vector[2] then
      test.ok(not ok, vector[1] .. ": nothing was found")
      test.contains(err.message, vector[2])
      test.ok(err.where:match("deploy%.yml:%d+:%d+$"), err.where)
    elseif not ok then
      error(vector[1] .. ": " .. err.message)
    end
  end
  local err = test.raises("config.invalid", function() load("sevice: x\nservers: 1\nvolumes: a\n") end)
  test.equal(#err.also, 2)
  test.contains(err.hint, "service")
end)

test.it("resolves boot limits, roles and hosts", function()
  local function limit(text) return load(config_text(text)).boot.limit end
  test.equal(limit "boot: { limit: 3 }", 3)
  test.equal(limit "boot: { limit: 50% }\nservers: [a, b, c, d, e]", 2)
  test.equal(limit "boot: { limit: 10% }\nservers: [a, b]", 1)
  local config = load(config_text("servers: { web: [b, a], api: [c, a] }\naccessories: { db: { image: x, host: d } }"))
  test.equal(config.hosts, { "c", "a", "b", "d" })
  test.equal({ config.roles[1].name, config.roles[2].name }, { "api", "web" })
  test.equal(#config:roles_on("a"), 2)
  files.remove(folder, { recursive = true })
end)

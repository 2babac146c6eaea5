--- Every command of Kamal 2.12 with its flags, and what is added here: names, flags and words, no behaviour.

local M = {}

local YES = { name = "confirmed", letter = "y", type = "boolean", default = false, help = "proceed without a question" }
local ROLLING = { name = "rolling", type = "boolean", default = false, help = "one host at a time" }
local SKIP_PUSH = { name = "skip_push", letter = "P", type = "boolean", default = false, help = "do not build or push" }
local NO_CACHE = { name = "no_cache", type = "boolean", default = false, help = "build without the cache" }
local INTERACTIVE = { name = "interactive", letter = "i", type = "boolean", default = false,
  help = "with a terminal, on the primary host" }
local REUSE = { name = "reuse", type = "boolean", default = false, help = "in the container that runs" }
local RAW = { name = "raw", type = "boolean", default = false, help = "what it prints, unchanged, and nothing else" }
local FRESH = { name = "fresh", type = "boolean", default = false, ours = true,
  help = "a new container of that image with today's configuration, as Kamal does" }

local SKIP_LOCAL = { name = "skip_local", letter = "L", type = "boolean", default = false, help = "not on this one" }
local SKIP_REMOTE = { name = "skip_remote", letter = "R", type = "boolean", default = false, help = "not on hosts" }

local LOGS = {
  { name = "since", letter = "s", help = "2013-01-02T13:23:37Z or 42m" },
  { name = "lines", letter = "n", type = "numeric", help = "from each host (100)" },
  { name = "grep", letter = "g", help = "lines that match alone" },
  { name = "grep_options", help = "given to grep" },
  { name = "follow", letter = "f", type = "boolean", help = "go on, on the primary host" },
  { name = "skip_timestamps", letter = "T", type = "boolean", help = "without times" },
}

local function and_also(list, ...)
  local out = {}
  for _, one in ipairs(list) do out[#out + 1] = one end
  for _, one in ipairs { ... } do out[#out + 1] = one end
  return out
end

--- What every command takes.
--- @type KamalOption[]
M.GLOBAL = {
  { name = "verbose", letter = "v", type = "boolean", help = "more of what is done" },
  { name = "quiet", letter = "q", type = "boolean", help = "less of it" },
  { name = "version", help = "act on this version of the app" },
  { name = "primary", letter = "p", type = "boolean", help = "on the primary host alone" },
  { name = "hosts", letter = "h", help = "on these hosts (commas, wildcards)" },
  { name = "roles", letter = "r", help = "on these roles (commas, wildcards)" },
  { name = "config_file", letter = "c", default = "config/deploy.yml", help = "the configuration" },
  { name = "destination", letter = "d", help = "staging: also config/deploy.staging.yml" },
  { name = "skip_hooks", letter = "H", type = "boolean", default = false, help = "run no hooks" },
  { name = "lock_wait", type = "boolean", default = false, help = "wait for a lock that somebody else's deploy holds" },
  { name = "lock_wait_timeout", type = "numeric", default = 900, help = "seconds" },
  { name = "lock_wait_interval", type = "numeric", default = 15, help = "seconds" },
}

--- @type KamalCommand[]
M.LIST = {}

local function add(name, help, fields)
  local command = fields or {}
  command.name, command.help = name, help
  if not command.words then command.most = command.most or 0 end
  M.LIST[#M.LIST + 1] = command
end

local NAMED = { words = "[NAME]", least = 1, most = 1 }

local function named(fields)
  local out = {}
  for key, value in pairs(NAMED) do out[key] = value end
  for key, value in pairs(fields or {}) do out[key] = value end
  return out
end

-- Top level
add("setup", "bring the servers up, boot accessories, deploy", { options = { SKIP_PUSH, NO_CACHE } })
add("deploy", "ship the app", { options = { SKIP_PUSH, NO_CACHE } })
add("redeploy", "ship the app, without the proxy's boot and without pruning", { options = { SKIP_PUSH, NO_CACHE } })
add("rollback", "go back to a version", { words = "[VERSION]", least = 0, most = 1, options = { FRESH } })
add("details", "all containers")
add("audit", "the audit log's last lines")
add("config", "the resolved configuration, secrets left out")
add("docs", "the configuration's keys, each with what it takes", { words = "[SECTION]", least = 0, most = 1 })
add("init", "a configuration to begin with", { options = { { name = "bundle", type = "boolean" } } })
add("remove", "remove proxy, app, accessories and the registry's session", { options = { YES } })
add("upgrade", "from Kamal 1.x: kamal-proxy in Traefik's place, accessories anew", { options = { YES, ROLLING } })
add("version", "which Kamal this stands in for")

-- app
add("app boot", "boot the app, or the version that is told", {})
add("app start", "start the container of the version")
add("app stop", "stop the app")
add("app details", "the app's containers")
add("app exec", "a command in a container of the app", { words = "[CMD...]", least = 0, options = { INTERACTIVE, REUSE,
  { name = "env", letter = "e", type = "hash", help = "A:1 B:2" },
  { name = "detach", type = "boolean", default = false, help = "in the background" }, RAW } })
add("app containers", "the app's containers, stopped ones too")
add("app stale_containers", "containers that run although they do not serve", {
  options = { { name = "stop", letter = "s", type = "boolean", default = false, help = "stop them" } } })
add("app images", "the app's images")
add("app logs", "the app's log lines", {
  options = and_also(LOGS, { name = "container_id", help = "of this container" }) })
add("app remove", "remove the app's containers, images and folders")
add("app live", "end the maintenance")
add("app maintenance", "answer 503", { options = {
  { name = "drain_timeout", type = "numeric", help = "seconds" }, { name = "message", help = "shown to visitors" } } })
add("app version", "which version runs")
add("app remove_container", "remove one version's container",
  { words = "[VERSION]", least = 1, most = 1, hidden = true })
add("app remove_containers", "remove stopped containers", { hidden = true })
add("app remove_images", "remove images that nothing uses", { hidden = true })
add("app remove_app_directories", "remove the app's folders", { hidden = true })

-- accessory
add("accessory boot", "boot an accessory, or `all`", named())
add("accessory reboot", "replace an accessory's container", named())
add("accessory start", "start an accessory", named())
add("accessory stop", "stop an accessory", named())
add("accessory restart", "stop and start an accessory", named())
add("accessory details", "an accessory's containers", named())
add("accessory exec", "a command in an accessory", { words = "[NAME] [CMD...]", least = 1,
  options = { INTERACTIVE, REUSE, RAW } })
add("accessory logs", "an accessory's log lines", named { options = LOGS })
add("accessory remove", "remove container, image and data", named { options = { YES } })
add("accessory upgrade", "from Kamal 1.x: accessories anew, in Kamal's network", named { options = { ROLLING, YES } })
add("accessory upload", "upload its files", named { hidden = true })
add("accessory directories", "make its folders", named { hidden = true })
add("accessory pull_image", "pull its image", named { hidden = true })
add("accessory remove_container", "remove its container", named { hidden = true })
add("accessory remove_image", "remove its image", named { hidden = true })
add("accessory remove_service_directory", "remove its data", named { hidden = true })

-- build
local OUTPUT = { name = "output", default = "registry", help = "buildx's export type" }
add("build deliver", "build, push, pull", { options = { OUTPUT, NO_CACHE } })
add("build push", "build and push", { options = { OUTPUT, NO_CACHE } })
add("build pull", "pull onto the hosts")
add("build create", "make the builder")
add("build remove", "remove the builder")
add("build details", "the builder")
add("build dev", "build what lies in the folder", { options = {
  { name = "output", default = "docker", help = "buildx's export type" }, NO_CACHE } })

-- registry
add("registry setup", "log in, or start the local registry", { options = { SKIP_LOCAL, SKIP_REMOTE } })
add("registry login", "log in", { options = { SKIP_LOCAL, SKIP_REMOTE } })
add("registry logout", "log out", { options = { SKIP_LOCAL, SKIP_REMOTE } })
add("registry remove", "log out, or stop the local registry", { options = { SKIP_LOCAL, SKIP_REMOTE } })

-- proxy
add("proxy boot", "boot the proxy")
add("proxy boot_config", "how the proxy is run (deprecated: write proxy.run)", {
  words = "<set|get|reset>", least = 1, most = 1, options = {
    { name = "publish", type = "boolean", default = true }, { name = "publish_host_ip", repeatable = true },
    { name = "http_port", type = "numeric", default = 80 }, { name = "https_port", type = "numeric", default = 443 },
    { name = "log_max_size", default = "10m" }, { name = "registry" }, { name = "repository" },
    { name = "image_version" }, { name = "metrics_port", type = "numeric" },
    { name = "debug", type = "boolean", default = false }, { name = "docker_options", type = "array" },
  } })
add("proxy reboot", "replace the proxy's container", { options = { ROLLING, YES } })
add("proxy start", "start the proxy")
add("proxy stop", "stop the proxy")
add("proxy restart", "stop and start the proxy")
add("proxy details", "the proxy's container")
add("proxy logs", "the proxy's log lines", { options = LOGS })
add("proxy remove", "remove the proxy", { options = {
  { name = "force", type = "boolean", default = false, help = "although other apps use it" } } })
add("proxy upgrade", "from Kamal 1.x: kamal-proxy in Traefik's place", { options = { ROLLING, YES }, hidden = true })
add("proxy remove_container", "remove the proxy's container", { hidden = true })
add("proxy remove_image", "remove the proxy's image", { hidden = true })
add("proxy remove_proxy_directory", "remove the proxy's folder", { hidden = true })

-- prune
add("prune all", "old containers and images")
add("prune images", "images that nothing uses")
add("prune containers", "stopped containers but the newest", { options = {
  { name = "retain", type = "numeric", help = "how many are kept" } } })

-- lock
add("lock status", "who holds the lock")
add("lock acquire", "take the lock", {
  options = { { name = "message", letter = "m", required = true, help = "why" } } })
add("lock release", "let go of the lock")

-- secrets
local INLINE = { name = "inline", type = "boolean", hidden = true }
add("secrets fetch", "from a vendor", { words = "[SECRETS...]", least = 0, options = {
  { name = "adapter", letter = "a", required = true, help = "which vendor" },
  { name = "account", help = "account or user" }, { name = "from", help = "vault or folder" }, INLINE } })
add("secrets extract", "one of what fetch gave", { words = "NAME SECRETS", least = 2, most = 2, options = { INLINE } })
add("secrets print", "all of them, for debugging")

-- server
add("server exec", "a command on the hosts", { words = "[CMD...]", least = 0, options = { INTERACTIVE, RAW } })
add("server bootstrap", "install Docker where it is missing")

-- What Kamal does not have
add("doctor", "what keeps the project from being deployed or from serving", { ours = true })
add("plan", "what a command would change", { words = "COMMAND …", least = 0, ours = true })

return M

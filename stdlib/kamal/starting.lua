--- `init` and `docs`: a project to begin with, and the keys that there are. Nothing that is there is written over.

local fail = require "native.fail"
local files = require "native.files"
local report = require "native.report"
local text = require "native.text"
local validator = require "kamal.validator"

local M = {}

local DEPLOY = [[
# The app's name; everything on the servers is called after it.
service: my-app
# Its image, without the registry.
image: my-user/my-app

servers:
  web:
    - 192.168.0.1
  # workers:
  #   hosts: [192.168.0.1]
  #   cmd: bin/jobs

# How traffic comes to it. Behind a proxy that ends TLS (Cloudflare, a load balancer): ssl: false.
proxy:
  ssl: true
  host: app.example.com
  # app_port: 3000

registry:
  # server: ghcr.io
  username: my-user
  # A name in .kamal/secrets.
  password:
    - KAMAL_REGISTRY_PASSWORD

builder:
  arch: amd64

# env:
#   clear: { DB_HOST: 192.168.0.2 }
#   secret: [RAILS_MASTER_KEY]

# aliases:
#   shell: app exec --interactive --reuse "bash"

# volumes: ["app_storage:/app/storage"]

# accessories:
#   db:
#     image: mysql:8.0
#     host: 192.168.0.2
#     port: "127.0.0.1:3306:3306"
#     env: { secret: [MYSQL_ROOT_PASSWORD] }
#     directories: ["data:/var/lib/mysql"]
]]

local SECRETS = [[
# What is written here can be asked for by name in config/deploy.yml: registry.password, env.secret, builder.secrets.
# Keep values out of this file, so that it can be committed: take them from the environment or from a password manager.
KAMAL_REGISTRY_PASSWORD=$KAMAL_REGISTRY_PASSWORD

# SECRETS=$(kamal secrets fetch --adapter 1password --account my-account --from Vault/Item RAILS_MASTER_KEY)
# RAILS_MASTER_KEY=$(kamal secrets extract RAILS_MASTER_KEY $SECRETS)
]]

local HOOKS = {
  { "pre-connect", "before the first server is asked" }, { "docker-setup", "once Docker is there" },
  { "pre-build", "before the image is built" }, { "pre-deploy", "before the app is booted" },
  { "pre-app-boot", "right before containers are booted" }, { "post-app-boot", "right after that" },
  { "post-deploy", "at the end; KAMAL_RUNTIME says how long it took" },
  { "pre-proxy-reboot", "before the proxy's container is replaced" }, { "post-proxy-reboot", "after that" },
}

local HOOK = [[
#!/bin/sh
# Run %s. Rename it to %s and make it executable. Another exit code than 0 ends the command.
# KAMAL_VERSION, KAMAL_HOSTS, KAMAL_COMMAND and others say what is going on.
echo "%s: $KAMAL_PERFORMER $KAMAL_COMMAND $KAMAL_SERVICE_VERSION on $KAMAL_HOSTS"
]]

local function write(path, bytes, mode)
  if files.exists(path) then return report.text(("%s is there already, and stays as it is\n"):format(path)) end
  files.write(path, bytes, { mode = mode, parents = true })
  report.text(("Created %s\n"):format(path))
end

--- @async
function M.init()
  write("config/deploy.yml", DEPLOY, "0644")
  write(".kamal/secrets", SECRETS, "0600")
  for _, hook in ipairs(HOOKS) do
    local name, when = hook[1], hook[2]
    write((".kamal/hooks/%s.sample"):format(name), HOOK:format(when, name, name), "0755")
  end
end

local function sorted(map)
  local out = {}
  for key in pairs(map) do out[#out + 1] = key end
  table.sort(out)
  return out
end

local function lines_of(rules, depth, lines)
  for _, key in ipairs(sorted(rules)) do
    local rule = rules[key]
    local indent = ("  "):rep(depth)
    if type(rule) == "table" then
      lines[#lines + 1] = ("%s%s:"):format(indent, key)
      lines_of(rule, depth + 1, lines)
    else
      lines[#lines + 1] = ("%s%s: %s"):format(indent, key, (rule:gsub("_", " ")))
    end
  end
  return lines
end

--- The keys of the configuration, or of one section, each with what it takes.
--- @param parsed { arguments: string[] }
function M.docs(parsed)
  local section = parsed.arguments[1]
  local sections = validator.sections()
  if not section then return report.text(table.concat(lines_of(validator.ROOT, 0, {}), "\n") .. "\n") end
  local rules = sections[section]
  if not rules then
    local names = sorted(sections)
    fail.usage(("No documentation found for %s"):format(section),
      { hint = text.nearest_hint(section, names), token = section })
  end
  report.text(table.concat(lines_of({ [section] = rules }, 0, {}), "\n") .. "\n")
end

return M

--- `deployrun init [DIR]`: begins a project that works as it is: `check`, `test` and luacheck find nothing wrong, and
--- what is left to do is to name one's own servers and image. Overwrites nothing.

local fail = require "native.fail"
local files = require "native.files"
local report = require "native.report"
local stdlib = require "native.stdlib"
local types = require "cli.types"

local M = {}

local INVENTORY = [==[
# What is shipped and where; docs/recipes.md of deployrun lists every key, `deployrun doc AppConfig` the main ones.
service: NAME                          # prefix of every container: NAME-web-<version>
image: registry.example.com/acme/NAME  # without tag: the version is the tag

hosts:
  - app1.example.com
  - app2.example.com

ssh:
  user: deploy

# registry:
#   username: acme
#   password: REGISTRY_PASSWORD        # the name of a secret: from .deployrun/secrets, else from the environment

# env:
#   clear: { LOG_LEVEL: info }
#   secret: [DATABASE_URL]

proxy:
  kind: kamal_proxy                    # or caddy
  host: NAME.example.com
  app_port: 3000

health:
  path: /up
  deadline: 30s

retain: 5                              # stopped releases that a rollback can go back to
]==]

local SPEC = [==[
-- What a deploy does when all goes well, and when it does not: `deployrun test`. No server is connected to.

local test = require "test"

local HOSTS = { "app1.example.com", "app2.example.com" }

local function project() return test.rehearse { recipe = "recipes/prod.lua" } end

test.it("ships a version to every server, and goes back to the one before", function()
  local shop = project()
  test.equal(shop:run("deploy", { version = "v1" }).state, "done")
  local first = shop:serving(HOSTS[1])
  test.equal(shop:run("deploy", { version = "v2" }).state, "done")
  test.equal(shop:run("rollback").state, "done")
  for _, host in ipairs(HOSTS) do test.equal(shop:serving(host), first) end
end)

test.it("gives traffic back everywhere when one server fails after the switch", function()
  local shop = project()
  shop:run("deploy", { version = "v1" })
  local before = shop:serving(HOSTS[1])
  local result = shop:run("deploy", { version = "v2" },
    { fail = { step = "switch traffic", host = HOSTS[2], after = true } })
  test.equal(result.state, "failed_undone")
  for _, host in ipairs(HOSTS) do test.equal(shop:serving(host), before) end
end)
]==]

local LUARC = [==[
{
  "$schema": "https://raw.githubusercontent.com/LuaLS/vscode-lua/master/setting/schema.json",
  "runtime.version": "LuaJIT",
  "workspace.library": [".luals/library"],
  "workspace.checkThirdParty": false
}
]==]

local LUACHECKRC = [==[
std = "luajit"
max_line_length = 120
exclude_files = { ".luals", ".deployrun", "lua_modules" }
]==]

local GITIGNORE = [==[
# The journal of runs and the secrets of this machine; types for the editor, made by `deployrun types .luals`.
/.deployrun/
/.luals/
]==]


local WORKFLOW = [==[
name: deploy

on:
  push:
  pull_request:
  workflow_dispatch:

permissions:
  contents: read

jobs:
  check:
    runs-on: ubuntu-24.04
    steps:
      - uses: actions/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1 # v7.0.1
        with:
          persist-credentials: false
      - name: Install deployrun
        # The repository's variable DEPLOYRUN_DEB says where your copy of its package is.
        run: curl -fsSL -o /tmp/deployrun.deb "${{ vars.DEPLOYRUN_DEB }}" && sudo apt-get -y install /tmp/deployrun.deb
      - run: deployrun check recipes/prod.lua
      - run: deployrun test

  deploy:
    needs: check
    if: github.event_name != 'pull_request' && github.ref_name == github.event.repository.default_branch
    runs-on: ubuntu-24.04
    environment: production
    # One deploy at a time, and none is cut short by the next.
    concurrency:
      group: deploy
      cancel-in-progress: false
    steps:
      - uses: actions/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1 # v7.0.1
        with:
          persist-credentials: false
      - name: Install deployrun
        run: curl -fsSL -o /tmp/deployrun.deb "${{ vars.DEPLOYRUN_DEB }}" && sudo apt-get -y install /tmp/deployrun.deb
      - name: The key, and the servers' keys
        env:
          SSH_KEY: ${{ secrets.SSH_KEY }}
          SSH_KNOWN_HOSTS: ${{ secrets.SSH_KNOWN_HOSTS }}
        run: |
          install -d -m 700 ~/.ssh
          umask 077
          printf '%s\n' "$SSH_KEY" > ~/.ssh/id_ed25519
          printf '%s\n' "$SSH_KNOWN_HOSTS" > ~/.ssh/known_hosts
      - name: Deploy
        run: deployrun recipes/prod.lua deploy --version "$GITHUB_SHA"
]==]

--- A name that containers may have, from the folder's.
local function service_name(folder)
  local name = folder:gsub("/+$", ""):match("[^/]+$") or ""
  name = name:lower():gsub("[^a-z0-9_-]+", "-"):gsub("^[-_]+", ""):gsub("[-_]+$", "")
  return name ~= "" and name or "shop"
end

--- The files of a new project, by path.
--- @param name string  of the service
--- @return { path: string, text: string }[]
function M.project(name)
  local named = function(text) return (text:gsub("NAME", name)) end
  return {
    { path = "recipes/prod.lua", text = stdlib.source "project:prod.lua" },
    { path = "recipes/prod.yml", text = named(INVENTORY) },
    { path = "tests/prod_test.lua", text = SPEC },
    { path = ".luarc.json", text = LUARC },
    { path = ".luacheckrc", text = LUACHECKRC },
    { path = ".gitignore", text = GITIGNORE },
    { path = ".github/workflows/deploy.yml", text = WORKFLOW },
  }
end

local function refuse_overwriting(folder, project)
  local there = {}
  for _, file in ipairs(project) do
    if files.stat(folder .. "/" .. file.path) then there[#there + 1] = file.path end
  end
  if #there > 0 then
    fail.raise("init.exists", ("%s: %s %s there already; nothing was written"):format(folder,
      table.concat(there, ", "), #there == 1 and "is" or "are"),
      { hint = "begin in an empty folder: deployrun init DIR" })
  end
end

--- @async
--- @param request CliRequest
--- @return integer exit_code
function M.main(request)
  local folder = request.words[1] or "."
  local project = M.project(service_name(folder == "." and request.folder or folder))
  local ok, err = pcall(function()
    refuse_overwriting(folder, project)
    for _, file in ipairs(project) do
      files.write(folder .. "/" .. file.path, file.text, { mode = "0644", parents = true })
    end
    types.write(folder .. "/.luals")
  end)
  if not ok then
    err = fail.normal(err)
    report.emit { type = "error", error = err }
    return err.kind == "init.exists" and 2 or 1
  end
  local lines = {}
  for _, file in ipairs(project) do lines[#lines + 1] = "  " .. file.path end
  local go = folder == "." and "" or ("cd %s && "):format(folder)
  report.text(("A project in %s:\n%s\n\nName your servers and your image in recipes/prod.yml, then:\n" ..
    "  %sdeployrun check recipes/prod.lua\n  %sdeployrun test\n  %sdeployrun recipes/prod.lua --plan"):format(
    folder, table.concat(lines, "\n"), go, go, go))
  return 0
end

return M

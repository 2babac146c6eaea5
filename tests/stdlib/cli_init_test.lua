--- The files of a new project are what their readers take.

local init = require "cli.init"
local json = require "native.json"
local test = require "test"
local yaml = require "native.yaml"

local texts = {}
for _, file in ipairs(init.project "my-shop") do texts[file.path] = file.text end

test.it("names the service after the folder", function()
  local inventory = yaml.decode(texts["recipes/prod.yml"])
  test.equal({ inventory.service, inventory.proxy.host }, { "my-shop", "my-shop.example.com" })
end)

test.it("the workflow is one: no deploy from a pull request, none beside another, no secret in a command", function()
  local workflow = yaml.decode(texts[".github/workflows/deploy.yml"])
  local deploy = workflow.jobs.deploy
  test.equal({ deploy.needs, deploy.concurrency["cancel-in-progress"] }, { "check", false })
  test.contains(deploy["if"], "pull_request")
  for name, job in pairs(workflow.jobs) do
    for _, step in ipairs(job.steps) do
      if (step.run or ""):find("secrets%.") then error(name .. ": a secret in a command") end
      if step.uses then test.equal(step.uses:match("@(%x+)") ~= nil, true) end
    end
  end
end)

test.it("the editor's settings point at the declarations", function()
  test.equal(json.decode(texts[".luarc.json"])["workspace.library"], { ".luals/library" })
end)

test.it("the ignored files are those that hold secrets and what is generated", function()
  test.contains(texts[".gitignore"], "/.deployrun/")
  test.contains(texts[".gitignore"], "/.luals/")
end)

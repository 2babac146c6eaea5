--- The comments of the stdlib hold together: what doc, types and docs/api are made of.

local annotations = require "cli.annotations"
local doc = require "cli.doc"
local files = require "native.files"
local markdown = require "cli.markdown"
local test = require "test"
local types = require "cli.types"

local BUILT_IN = {}
for word in ("any nil boolean string number integer function table thread userdata self T K V true false lightuserdata")
  :gmatch("%S+") do BUILT_IN[word] = true end

local modules, problems = annotations.all()

local function each_entry(fn)
  for _, module in ipairs(modules) do
    for _, entry in ipairs(module.entries) do fn(entry, ("%s:%d"):format(entry.file, entry.line)) end
  end
end

test.it("every tag is one that is known, and complete", function()
  test.equal(problems, {})
end)

test.it("every type that an annotation names is defined", function()
  local defined, unknown = {}, {}
  each_entry(function(entry)
    if entry.kind == "class" then defined[entry.name] = true end
  end)
  each_entry(function(entry, where)
    for _, list in ipairs { entry.params, entry.returns, entry.fields } do
      for _, item in ipairs(list) do
        for _, name in ipairs(annotations.type_names(item.type)) do
          if not BUILT_IN[name] and not defined[name] then unknown[#unknown + 1] = ("%s: %s"):format(where, name) end
        end
      end
    end
    if entry.parent and not defined[entry.parent] then unknown[#unknown + 1] = where .. ": " .. entry.parent end
  end)
  test.equal(unknown, {})
end)

test.it("every documented parameter is one, in its order, and every parameter is documented", function()
  local wrong = {}
  each_entry(function(entry, where)
    if entry.kind ~= "function" or not entry.signature then return end
    if entry.file:match("^proxy/") or entry.file:match("^deploy/planned/")
      or entry.file == "deploy/rehearsal.lua" or entry.file == "deploy/plan.lua" then return end
    local declared, documented = {}, {}
    for name in entry.signature:gmatch("[%w_.]+") do declared[#declared + 1] = name end
    for index, param in ipairs(entry.params) do documented[index] = param.name end
    local one, other = table.concat(declared, ", "), table.concat(documented, ", ")
    if one ~= other then
      wrong[#wrong + 1] = ("%s: %s(%s), documented: %s"):format(where, entry.name, one, other)
    end
  end)
  test.equal(wrong, {})
end)

test.it("reads types with blanks, several results and continued lines", function()
  local kind, rest = annotations.take_type("fun(host: Host): string, table?  what it is")
  test.equal({ kind, rest }, { "fun(host: Host): string, table?", "what it is" })
  local module = annotations.read([==[
--- A module.

local M = {}

--- @class Thing: Other  what it is
--- @field one? integer  the first,
---        and more of it
--- @field two { a: string,
---        b: Thing }  both

--- Does it.
--- @async
--- @param a "x"|"y"  one of them
--- @param b? table<string, Thing[]>
--- @return boolean ok  whether
--- @return string
function M.go(a, b) end
]==], "m", "m.lua")
  test.equal(module.text, "A module.")
  local class, go = module.entries[1], module.entries[2]
  test.equal({ class.name, class.parent, class.text, #class.fields }, { "Thing", "Other", "what it is", 2 })
  test.equal(class.fields[1], { name = "one", optional = true, type = "integer", text = "the first, and more of it" })
  test.equal(class.fields[2].type, "{ a: string, b: Thing }")
  test.equal(class.fields[2].text, "both")
  test.equal({ go.async, go.line, annotations.spelled(go) }, { true, 17, "m.go(a, b?)" })
  test.equal(go.params[1], { name = "a", optional = false, type = '"x"|"y"', text = "one of them" })
  test.equal(go.returns[1], { name = "ok", type = "boolean", optional = false, text = "whether" })
  test.equal(annotations.type_names("table<string, Thing[]>?|{ a: Host, b?: integer }"),
    { "table", "string", "Thing", "Host", "integer" })
end)

test.it("docs/api is what the comments say: deployrun doc --write docs/api", function()
  local stale = {}
  local function compare(name, text)
    local path = "docs/api/" .. name
    if not files.exists(path) or files.read(path) ~= text then stale[#stale + 1] = path end
  end
  compare("README.md", markdown.index(modules))
  local known = { ["README.md"] = true }
  for _, module in ipairs(modules) do
    compare(module.name .. ".md", markdown.page(module))
    known[module.name .. ".md"] = true
  end
  for _, entry in ipairs(files.list "docs/api") do
    if not known[entry.name] then stale[#stale + 1] = "docs/api/" .. entry.name end
  end
  test.equal(stale, {})
end)

test.it("the declarations for an editor compile and give every function its name", function()
  local classes = {}
  for _, module in ipairs(modules) do
    local text = types.declarations(module, classes)
    local chunk, message = load(text, "@" .. module.file)
    if not chunk then error(message) end
    test.contains(text, "--- @meta " .. module.name)
    for _, entry in ipairs(module.entries) do test.contains(text, entry.name) end
    if module.name == "deploy" then
      test.contains(text, 'M.app = require("deploy.app").app')
      test.contains(text, 'M.proxy.caddy = require("proxy.caddy").new')
    end
  end
  test.equal(classes.Host and classes.App and classes.Run, true)
end)

test.it("doc finds functions by what they are called in a recipe", function()
  local function names(word)
    local out = {}
    local entries, whole = doc.find(modules, word)
    for index, entry in ipairs(entries) do out[index] = annotations.spelled(entry) end
    return out, whole
  end
  test.equal(names "Host:exec", { "Host:exec(command, given?)" })
  test.equal(names "deploy.app", { "deploy.app.app(source)" })
  test.equal(names "Run", { "Run" })
  test.equal(#names "no such thing", 0)
  local _, whole = names "deploy.git"
  test.equal(whole[1] and whole[1].name, "native.git")
end)

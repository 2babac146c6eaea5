-- YAML as Ruby reads it (Psych, YAML 1.1): what a plain scalar is, merge keys, places.

local document = require "kamal.document"
local scalar = require "kamal.scalar"
local test = require "test"

-- text → type, value, Ruby's to_s (the value's text unless told)
local VECTORS = {
  { "yes", "boolean", true }, { "Yes", "boolean", true }, { "YES", "boolean", true }, { "no", "boolean", false },
  { "on", "boolean", true }, { "Off", "boolean", false }, { "true", "boolean", true }, { "FALSE", "boolean", false },
  { "y", "string", "y" }, { "n", "string", "n" }, { "yes please", "string", "yes please" },
  { "offs", "string", "offs" },
  { "", "null", nil, "" }, { "~", "null", nil, "" }, { "null", "null", nil, "" }, { "Null", "null", nil, "" },
  { "nulls", "string", "nulls" },
  { "0", "integer", 0 }, { "42", "integer", 42 }, { "-7", "integer", -7 }, { "+7", "integer", 7, "7" },
  { "2_000_000", "integer", 2000000 }, { "1,000", "integer", 1000, "1000" }, { "1__0", "string", "1__0" },
  { "0600", "integer", 384, "384" }, { "0o17", "integer", 15, "15" }, { "08", "string", "08" },
  { "0x1F", "integer", 31, "31" },
  { "0b101", "integer", 5, "5" }, { "-0x10", "integer", -16, "-16" }, { "0_600", "integer", 384, "384" },
  { "12345678901234567890", "integer", 12345678901234567890, "12345678901234567890" },
  { "22:22", "integer", 80520, "80520" }, { "1:30", "integer", 5400, "5400" }, { "8080:80", "string", "8080:80" },
  { "3306:3306", "string", "3306:3306" }, { "1:1:1", "integer", 3661, "3661" }, { "1:2:3:4", "string", "1:2:3:4" },
  { "20:30.5", "float", 73830, "73830.0" }, { "80:40", "integer", 290400, "290400" }, { "80:60", "string", "80:60" },
  { "1.5", "float", 1.5, "1.5" }, { "1.0", "float", 1, "1.0" }, { "1.", "float", 1, "1.0" },
  { ".5", "float", 0.5, "0.5" },
  { "1e3", "string", "1e3" }, { "1.0e+20", "float", 1e20, "1.0e+20" }, { "1.5e-7", "float", 1.5e-7, "1.5e-07" },
  { "-12.25", "float", -12.25, "-12.25" }, { "0.1", "float", 0.1, "0.1" }, { "1_0.5", "float", 10.5, "10.5" },
  { "100.0", "float", 100, "100.0" }, { "3.14159265358979", "float", 3.14159265358979, "3.14159265358979" },
  { "1.2.3", "string", "1.2.3" }, { "10.0.0.1", "string", "10.0.0.1" }, { "v1.2", "string", "v1.2" },
  { ".", "string", "." },
  { ".inf", "float", math.huge, "Infinity" }, { "-.INF", "float", -math.huge, "-Infinity" },
  { ".env", "string", ".env" },
  { ":verbose", "symbol", "verbose" }, { ':"a b"', "symbol", "a b" }, { ":", "string", ":" },
  { "2024-02-29", "date", "2024-02-29" }, { "2024-13-01", "string", "2024-13-01" },
  { "2024-01-02 03:04:05", "time", "2024-01-02 03:04:05" }, { "2024-01-02T03:04:05Z", "time", "2024-01-02T03:04:05Z" },
  { "-", "string", "-" }, { "--flag", "string", "--flag" }, { "100%", "string", "100%" }, { "10m", "string", "10m" },
  { "5s", "string", "5s" }, { "1MB", "string", "1MB" }, { "/up", "string", "/up" }, { "$HOME", "string", "$HOME" },
}

test.it("takes plain scalars for what Psych takes them", function()
  for _, vector in ipairs(VECTORS) do
    local kind, value, shown = scalar.scan(vector[1])
    local expected = vector[4] or (vector[3] ~= nil and tostring(vector[3])) or ""
    test.equal({ vector[1], kind, tostring(value), shown }, { vector[1], vector[2], tostring(vector[3]), expected })
  end
end)

test.it("takes quoted and tagged scalars for text", function()
  local root = document.read("a: 'yes'\nb: \"0600\"\nc: !!str 12\nd: 12\ne: |\n  1\n  2\n", "f.yml")
  for _, key in ipairs { "a", "b", "c", "e" } do test.equal(root:get(key).type, "string") end
  test.equal(root:get("d").type, "integer")
  test.equal(root:get("e").text, "1\n2\n")
end)

test.it("gives keys the same types, as text", function()
  local root = document.read("on: 1\n'off': 2\n80: x\n", "f.yml")
  test.equal(root.keys, { "true", "off", "80" })
end)

test.it("merges in the order of the file", function()
  local root = document.read("a: &a {x: 1, y: 2}\nb:\n  x: 3\n  <<: *a\nc:\n  <<: *a\n  x: 3\n", "f.yml")
  test.equal(root:get("b"):plain(), { x = 1, y = 2 })
  test.equal(root:get("c"):plain(), { x = 3, y = 2 })
end)

test.it("merges documents as deep_merge does: maps merge, lists and scalars give way", function()
  local base = document.read("env:\n  clear: {A: 1, B: 2}\nservers: [a, b]\nkeep: yes\n", "base.yml")
  local over = document.read("env:\n  clear: {B: 3, C: 4}\nservers: [c]\n", "over.yml")
  local root = document.merge(base, over)
  test.equal(root:plain(), { env = { clear = { A = 1, B = 3, C = 4 } }, servers = { "c" }, keep = true })
  test.equal(root:get("servers"):place(), "over.yml:3:10")
  test.equal(root:dig("env", "clear"):key_place("A"), "base.yml:2:11")
  test.equal(root:dig("env", "clear").keys, { "A", "B", "C" })
  test.equal(document.merge(base, document.read("env: []", "o")):get("env").kind, "list")
end)

test.it("tells places in the template where the text was made by one", function()
  local root = document.read("a: 1\nb: 2\nc: 3\n", "f.yml", { 1, 7, 7 })
  test.equal(root:get("c"):place(), "f.yml:7:4")
  local err = test.raises("yaml.duplicate", function() document.read("a: 1\na: 2\n", "f.yml", { 4, 9 }) end)
  test.equal(err.where, "f.yml:9:1")
end)

-- Words that go through shells come back byte for byte: nothing is expanded, split or lost (SAFETY: shell injection).

local process = require "native.process"
local test = require "test"
local text = require "native.text"

local FULL = os.getenv "DEPLOYRUN_FULL" == "1"
local WORDS, BATCH = FULL and 100000 or 10000, 1000
local SHELLS = { { "sh" }, { "dash" }, { "bash", "--posix" }, { "bash" }, { "busybox", "sh" } }
-- What a shell might make something of, and pieces of it.
local TRICKS = { "$HOME", "${HOME}", "`id`", "$(id)", "'", "''", "\"", "\\", "\\\n", "\n", "\r\n", "~", "*", "?",
  "[a-z]", "{a,b}", "!!", "#", ";", "|", "&", "<", ">", "=", "%s", "%", "\\0", "\\c", "-n", "-e", "--", " ", "\t",
  "\27[0m", "\255", "\200", "é", "漢", "$'", "$\"", "\127", "\1" }

-- A generator of our own: the words are the same on every machine.
local seed = 20261121
local function random(below)
  seed = (seed * 16807) % 2147483647
  return seed % below
end

local function word()
  local parts = {}
  for index = 1, random(12) do
    parts[index] = random(3) == 0 and TRICKS[random(#TRICKS) + 1] or string.char(random(255) + 1)
  end
  return table.concat(parts)
end

local function words_of(count)
  local words = {}
  for index = 1, count do words[index] = word() end
  return words
end

local function with(shell, ...)
  local argv = { unpack(shell) }
  for _, argument in ipairs { ... } do argv[#argv + 1] = argument end
  return argv
end

local function installed(shell) return (pcall(process.run, with(shell, "-c", "exit 0"))) end

test.it(("%d random words pass through every shell unchanged"):format(WORDS), function()
  local words = words_of(WORDS)
  local script, expected = {}, table.concat(words, "\0") .. "\0"
  for first = 1, WORDS, BATCH do
    local batch = { "printf", "%s\\000" }
    for index = first, math.min(first + BATCH - 1, WORDS) do batch[#batch + 1] = words[index] end
    script[#script + 1] = text.shell_join(batch)
  end
  local stdin, tried = table.concat(script, "\n") .. "\n", 0
  for _, shell in ipairs(SHELLS) do
    if installed(shell) then
      for _, locale in ipairs { "C", "C.UTF-8" } do
        local options = { stdin = stdin, env = { LC_ALL = locale }, output_limit = 64 * 1024 * 1024 }
        local result = process.run(with(shell, "-s"), options)
        test.ok(result.stdout == expected, ("%s in %s gave other words back"):format(table.concat(shell, " "), locale))
        test.equal(result.stderr, "")
      end
      tried = tried + 1
    end
  end
  test.ok(tried >= (os.getenv "CI" == "true" and #SHELLS or 1), "too few shells are installed")
end)

test.it("a NUL byte, which no argument can hold, is refused", function()
  test.raises("usage", function() text.shell_join { "a\0b" } end)
end)

-- ERB in configuration files: the Ruby that is known here, what fails in comments, what needs a real ruby, places.

local document = require "kamal.document"
local environment = require "kamal.environment"
local erb = require "kamal.erb"
local test = require "test"

--- A world without files and programs but these.
local function render(template, given)
  given = given or {}
  local env = environment.new(function(name) return (given.env or {})[name] end)
  local world = {
    env = function(name) return env:get(name) end,
    set_env = function(name, value) env:set(name, value) end,
    read = function(path) return (given.files or {})[path] end,
    run = function(command) return (given.commands or {})[command] or error("no command " .. command) end,
    load_dotenv = function(path)
      for name, value in ((given.files or {})[path] or ""):gmatch("(%w+)=(%w+)") do
        if not env:get(name) then env:set(name, value) end
      end
    end,
  }
  return erb.render(template, { file = "deploy.yml", environment = env, world = world })
end

local ENV = { NAME = "shop", EMPTY = "", HOSTS = "a,b" }
local FILES = { [".env"] = "TOKEN=t1\nNAME=other\n", ["VERSION"] = "1.2.3\n",
  ["tf.json"] = '{"hosts":["10.0.0.1","10.0.0.2"]}' }
local COMMANDS = { ["git rev-parse HEAD"] = "abc123\n", ["echo shop"] = "shop\n",
  ["docker info --format '{{.Architecture}}'"] = "aarch64\n" }

local VECTORS = {
  { "plain: text", "plain: text" },
  { 'a: <%= ENV["NAME"] %>', "a: shop" },
  { "a: <%= ENV['MISSING'] %>", "a: " },
  { 'a: <%= ENV["MISSING"] || "x" %>', "a: x" },
  { 'a: <%= ENV["MISSING"] || ENV["NAME"] %>', "a: shop" },
  { 'a: <%= ENV.fetch("NAME") %>', "a: shop" },
  { 'a: <%= ENV.fetch("MISSING", "d") %>', "a: d" },
  { 'a: <%= ENV.fetch("MISSING") { "b#{1 + 2}" } %>', "a: b3" },
  { 'a: <%= ENV.fetch "MISSING", 7 %>', "a: 7" },
  { 'a: <%= ENV["EMPTY"].empty? ? "no" : "yes" %>', "a: no" },
  { 'a: <%= ENV.key?("NAME") && !ENV.key?("NOPE") %>', "a: true" },
  { 'a: <%= "v-#{ENV["NAME"]}-#{"in#{1}"}" %>', "a: v-shop-in1" },
  { "a: <%= 'no #{interpolation}' %>", "a: no #{interpolation}" },
  { 'a: <%= "tab\\tq\\"" %>', 'a: tab\tq"' },
  { "a: <%= `git rev-parse HEAD`.strip %>", "a: abc123" },
  { "a: <%= %x(git rev-parse HEAD).chomp[0] %>", "a: a" },
  { "a: <%= `echo #{ENV['NAME']}`.strip.upcase %>", "a: SHOP" },
  { 'a: <%= File.read("VERSION").strip %>', "a: 1.2.3" },
  { 'a: <%= File.exist?("nope") ? 1 : 2 %>', "a: 2" },
  { '<% require "dotenv"; Dotenv.load(".env") %>a: <%= ENV["TOKEN"] %> <%= ENV["NAME"] %>', "a: t1 shop" },
  { 'a: <%= Kamal::Utils.docker_arch %>', "a: arm64" },
  { "a\n<% if ENV['NAME'] == 'shop' %>\nb\n<% else %>\nc\n<% end %>\nd", "a\n\nb\n\nd" },
  { "a\n<% if ENV['NAME'] == 'shop' -%>\nb\n<% else -%>\nc\n<% end -%>\nd", "a\nb\nd" },
  { "a\n  <%- unless false -%>\nb\n  <%- end -%>\nd", "a\nb\nd" },
  { "<% if false %>a<% elsif true %>b<% else %>c<% end %>", "b" },
  { "<% %w[a b].each do |h| %>- <%= h %>\n<% end %>", "- a\n- b\n" },
  { "<% ENV['HOSTS'].split(',').each_with_index do |h, i| %><%= i %>=<%= h %> <% end %>", "0=a 1=b " },
  { '<% data = JSON.parse(File.read("tf.json")) %><%= data["hosts"].map { |h| "#{h}:22" }.join(", ") %>',
    "10.0.0.1:22, 10.0.0.2:22" },
  { '<% JSON.parse(File.read("tf.json")).each do |key, list| %><%= key %>=<%= list.size %><% end %>', "hosts=2" },
  { "<% x = 1\n   x += 2 %><%= x %>", "3" },
  { "<% x ||= 'd' %><%= x %>", "d" },
  { "<%= 'yes' if ENV['NAME'] %>", "yes" },
  { "<%= 'no' unless ENV['NAME'] %>", "" },
  { "<%= [1, nil, 'x'].compact.inspect %>", '[1, "x"]' },
  { "<%= { a: 1, 'b' => 2 }[:a] %>", "1" },
  { "<%= ENV['MISSING']&.strip || 'safe' %>", "safe" },
  { "<%= (ENV['MISSING'] or 'low') %>", "low" },
  { "<%= not true %>", "false" },
  { "<%= ENV['NAME'].start_with?('sh') ? 'a' : 'b' %>", "a" },
  { "<%= ENV['NAME']\n  .upcase\n  .downcase %>", "shop" },
  { "<%= %w[b a].sort.first %>-<%= ['x'] + ['y'] %>", 'a-["x", "y"]' },
  { "<%= 7 / 2 %> <%= 2 * 3 - 1 %> <%= 'ab' * 2 %>", "3 5 abab" },
  { "<%= 1.5 %> <%= 3.0 %>", "1.5 3.0" },
  { "<%= Integer('5') > 4 %>", "true" },
  { "a <%% b %>", "a <% b %>" },
  { "<%# a comment <%= nothing %>a", "a" },
  { "<%= ['a'].map(&:upcase).first %>", "A" },
  { '<% ENV["SET"] = "here" %><%= ENV["SET"] %>', "here" },
  { "<%= ENV['NAME'] ? 'a': 'b' %>", "a" },
  { "<%= ENV['HOSTS'].split(',').to_json %>", '["a","b"]' },
  { "<%= 'a.b'.gsub('.', '-') %>", "a-b" },
  { "<%= 'x' \"y\" %>", "xy" },
}

test.it("evaluates the Ruby of configuration files", function()
  for _, vector in ipairs(VECTORS) do
    local rendered = render(vector[1], { env = ENV, files = FILES, commands = COMMANDS })
    test.equal({ vector[1], rendered }, { vector[1], vector[2] })
  end
end)

test.it("leaves out what it cannot evaluate in a comment", function()
  test.equal(
    render('a: 1\n# v: <%= RUBY_VERSION %>\nb: 2 # <%= ENV["X"] || "#{RUBY_ENGINE}-#{RUBY_ENGINE_VERSION}" %>\n'),
    "a: 1\n# v: \nb: 2 # \n")
  test.equal(render("# <%= 1 +* %>\na: 1"), "# \na: 1")
  test.equal(render("# <%= ENV.fetch('MISSING') %>\na: 1"), "# \na: 1")
end)

test.it("takes a # in a quoted text for what it is", function()
  local err = test.raises("kamal.erb", function() render('a: "x # <%= ENV.fetch("MISSING") %>"') end)
  test.contains(err.message, "key not found")
end)

-- A ruby may be installed where these run: what is not known here is then its to say.
local UNKNOWN = { "<%= Nope::Thing.new %>", "<%= 5.nope! %>", "<% while true %><% end %>", "<% case 1 %><% end %>" }

test.it("names the line of what it does not know", function()
  for _, code in ipairs(UNKNOWN) do
    local err = test.raises("kamal.erb", function() render("a: 1\nb: 2\n" .. code .. "\n") end)
    test.contains(err.message .. (err.where or ""), "deploy.yml")
  end
  local err = test.raises("kamal.erb", function() render('a: 1\nb: <%= ENV.fetch("DB_HOST") %>') end)
  test.equal(err.message, 'deploy.yml:2: key not found: "DB_HOST"')
  test.contains(err.hint, "DB_HOST")
  err = test.raises("kamal.erb", function() render("a: 1\n\nb: <%= 1") end)
  test.contains(err.message, "deploy.yml:3:")
end)

test.it("keeps the template's lines for the places of values", function()
  local text, lines = render("a: 1\n<% %w[x y].each do |h| %>\n<%= h %>: 2\n<% end %>\nz: [\n", {})
  test.equal(text, "a: 1\n\nx: 2\n\ny: 2\n\nz: [\n")
  test.equal({ lines[1], lines[3], lines[5], lines[7] }, { 1, 3, 3, 5 })
  local err = test.raises("yaml.parse", function() document.read(text, "deploy.yml", lines) end)
  test.ok(err.line >= 5, err.message)
end)

test.it("asks the shell, the environment and the disk for real", function()
  local env = environment.new()
  env:set("FROM_TEST", "v")
  local rendered = erb.render("<%= `printf %s \"$FROM_TEST\"` %>|<%= File.exist?('/nonexistent') %>",
    { file = "deploy.yml", environment = env })
  test.equal(rendered, "v|false")
end)

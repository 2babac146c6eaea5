#include "bindings/value.hpp"

#include "vm.hpp"

using namespace deployrun;
using bindings::test::Vm;

TEST_CASE("JSON goes through Lua unchanged") {
  Vm vm;
  vm.run(R"(
    local json = require "native.json"
    for _, text in ipairs {
      '{"a":[1,2.5,"x",true,{}],"b":{},"c":[]}', '[]', '{}', '"text"', 'true', '-7', '[[],[[]],{"x":[]}]',
      '[1,null,3]', '9007199254740992',
    } do
      local again = json.encode(json.decode(text))
      assert(again == text, again)
    end
    assert(json.encode(json.decode('null')) == 'null')
  )");
}

TEST_CASE("null members are left out, unless they are asked for") {
  Vm vm;
  vm.run(R"(
    local json = require "native.json"
    local value = json.decode '{"a":null,"b":[null]}'
    assert(value.a == nil and next(value) == "b")
    assert(value.b[1] == json.null and #value.b == 1)
    assert(json.decode('{"a":null}', { null = true }).a == json.null)
  )");
}

TEST_CASE("tables find their shape") {
  Vm vm;
  vm.run(R"(
    local json = require "native.json"
    assert(json.encode {} == "{}")
    assert(json.encode(json.array()) == "[]")
    assert(json.encode(json.array {}) == "[]")
    assert(json.encode { 1, "a", { b = 2 } } == '[1,"a",{"b":2}]')
    local list = json.decode "[1]"
    table.remove(list)
    assert(json.encode(list) == "[]")  -- emptied, it is still an array
    local shared = { 1 }
    assert(json.encode { shared, shared } == "[[1],[1]]")
    assert(json.encode({ a = 1 }, { pretty = true }) == '{\n  "a": 1\n}')
    assert(json.encode "\255" == '"\239\191\189"')
    assert(json.encode(1e300):find "e%+300")
    assert(json.encode(0.1) == "0.1")
  )");
}

TEST_CASE("what JSON cannot hold is named by its place") {
  Vm vm;
  const std::pair<const char*, const char*> cases[] = {
      {"{ a = { { run = print } } }", "value.a[1].run: a function cannot be written as JSON"},
      {"{ 0/0 }", "value[1]: not a finite number"},
      {"{ big = math.huge }", "value.big: not a finite number"},
      {"{ 1, 2, x = 3 }", "value: positions with gaps, or mixed with names"},
      {"{ [1] = 1, [3] = 3, [7] = 1 }", "value: positions with gaps, or mixed with names"},
      {"{ [true] = 1 }", "value: a boolean as key"},
      {"{ f = io.stdout }", "value.f: a userdata cannot be written as JSON"},
      {"{ t = coroutine.create(print) }", "value.t: a thread cannot be written as JSON"},
      {"(function() local t = { a = {} } t.a.b = t return t end)()", "value.a.b: the table contains itself"},
  };
  for (const auto& [expression, message] : cases) {
    INFO(expression);
    const core::Error error = vm.fails(std::string("require('native.json').encode(") + expression + ")");
    CHECK(error.kind == "usage");
    CHECK(error.message == message);
  }
  CHECK(vm.fails("local t = {} for _ = 1, 70 do t = { t } end require('native.json').encode(t)")
            .message.find("deeper than 64") != std::string::npos);
}

TEST_CASE("decoding errors keep their place; options are checked") {
  Vm vm;
  const core::Error error = vm.fails(R"(require("native.json").decode("{\n x", { source = "a.json" }))");
  CHECK(error.kind == "json.parse");
  CHECK(error.message.starts_with("a.json:2:2: "));
  CHECK(vm.fails(R"(require("native.json").decode("1", { sauce = "a" }))").hint.find("source") != std::string::npos);
  CHECK(vm.fails(R"(require("native.json").decode(1))").kind == "usage");
}

TEST_CASE("YAML gives a value and the places of its parts") {
  Vm vm;
  vm.run(R"(
    local yaml = require "native.yaml"
    local value, places = yaml.decode("servers:\n  web:\n    - 10.99.0.1\n  x.y: no\n", { file = "deploy.yml" })
    assert(value.servers.web[1] == "10.99.0.1" and value.servers["x.y"] == "no")
    assert(places["servers.web[1]"] == "deploy.yml:3:7", places["servers.web[1]"])
    assert(places["servers"] == "deploy.yml:2:3")
    assert(places['servers["x.y"]'] == "deploy.yml:4:8")
    assert(places[""] == "deploy.yml:1:1")
  )");
  const core::Error error = vm.fails(R"(require("native.yaml").decode("a: 1\na: 2", { file = "d.yml" }))");
  CHECK(error.kind == "yaml.duplicate");
  CHECK(std::get<std::int64_t>(error.details.at("first_line")) == 1);
}

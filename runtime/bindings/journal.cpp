// `native.journal.raw`: the runs' journal of this project.
#include "journal/journal.hpp"

#include "bindings/context.hpp"
#include "bindings/value.hpp"
#include "core/redactor.hpp"
#include "journal/local.hpp"
#include "lua/guard.hpp"
#include "lua/module.hpp"
#include "lua/object.hpp"
#include "lua/operation.hpp"
#include "lua/options.hpp"
#include "lua/stack.hpp"

namespace deployrun::bindings {

namespace {

using journal::Journal;

void push_record(lua_State* L, const journal::Record& record) { push_json(L, journal::to_json(record)); }

void push_maybe_record(lua_State* L, const std::optional<journal::Record>& record) {
  if (!record) return lua_pushnil(L);
  push_record(L, *record);
}

void push_records(lua_State* L, const std::vector<journal::Record>& records) {
  lua_createtable(L, static_cast<int>(records.size()), 0);
  int position = 0;
  for (const auto& record : records) {
    push_record(L, record);
    lua_rawseti(L, -2, ++position);
  }
}

/// The value of `key`, if there is one.
std::optional<Json> json_option(lua_State* L, lua::Options& options, const char* key, const std::string& what) {
  const bool there = options.push(key);
  std::optional<Json> value = there ? std::optional<Json>(to_json(L, lua_gettop(L), what)) : std::nullopt;
  lua_pop(L, 1);
  return value;
}

template <class State>
State check_state(const std::optional<State>& state, const std::string& text) {
  if (!state) throw core::Failure(core::usage("journal: there is no state `" + text + "`"));
  return *state;
}

int begin(lua_State* L) {
  return lua::guard(L, [L] {
    const auto self = lua::check_object<Journal>(L, 1);
    lua::Options options(L, 2, "journal.begin");
    journal::RunInfo info{.recipe = options.require_string("recipe"),
                          .command = options.require_string("command"),
                          .parameters = json_option(L, options, "parameters", "parameters").value_or(Json::object()),
                          .recipe_hash = options.string("recipe_hash").value_or(""),
                          .version = options.string("version").value_or(""),
                          .user = options.string("user").value_or(""),
                          .host = options.string("host").value_or(""),
                          .actor = options.string("actor").value_or(""),
                          .revision = options.string("revision").value_or("")};
    options.finish();
    return lua::push_operation(L, self->begin(std::move(info)),
                               [](lua_State* state, const std::string& id) { lua::push_string(state, id); });
  });
}

int take_over(lua_State* L) {
  return lua::guard(L, [L] {
    const auto self = lua::check_object<Journal>(L, 1);
    lua::Options options(L, 2, "journal.take_over");
    journal::Takeover takeover{.run = options.require_string("run"),
                               .mode = options.require_string("mode"),
                               .version = options.string("version").value_or(""),
                               .user = options.string("user").value_or(""),
                               .host = options.string("host").value_or(""),
                               .actor = options.string("actor").value_or("")};
    options.finish();
    return lua::push_operation(L, self->take_over(std::move(takeover)), push_record);
  });
}

journal::Row task_row(lua_State* L, lua::Options& options, std::string run) {
  journal::Task task{
      .run = std::move(run), .host = options.require_string("host"), .result = {}, .error = {}, .ms = {}};
  const auto state = options.require_string("state");
  task.state = check_state(journal::parse_task_state(state), state);
  task.step = options.integer("step").value_or(0);
  task.result = json_option(L, options, "result", "result");
  task.error = json_option(L, options, "error", "error");
  task.attempt = options.integer("attempt").value_or(1);
  task.ms = options.integer("ms");
  return task;
}

journal::Row release_row(lua_State* L, lua::Options& options, std::string run) {
  journal::Release release{.run = std::move(run),
                           .host = options.require_string("host"),
                           .service = options.require_string("service"),
                           .version = options.require_string("version")};
  release.facts = json_option(L, options, "facts", "facts").value_or(Json::object());
  if (!release.facts.is_object())
    throw core::Failure(core::usage("journal: facts of a release are a table with names"));
  return release;
}

/// The row described by the table at 2.
journal::Row check_row(lua_State* L, const char* what) {
  lua::Options options(L, 2, what);
  std::string run = options.require_string("run");
  const std::string type = options.require_string("type");
  journal::Row row;
  if (type == "once") {
    std::string name = options.require_string("name");
    row = journal::Once{std::move(run), std::move(name), json_option(L, options, "value", "value").value_or(Json())};
  } else if (type == "step") {
    const std::int64_t ordinal = options.integer("ordinal").value_or(0);
    row = journal::Step{std::move(run), ordinal, options.require_string("name")};
  } else if (type == "task") {
    row = task_row(L, options, std::move(run));
  } else if (type == "release") {
    row = release_row(L, options, std::move(run));
  } else {
    throw core::Failure(core::usage(std::string(what) + ": there is no row of type `" + type + "`"));
  }
  options.finish();
  return row;
}

int append(lua_State* L) {
  return lua::guard(L, [L] {
    const auto self = lua::check_object<Journal>(L, 1);
    return lua::push_operation(L, self->append(check_row(L, "journal.append")), lua::push_unit);
  });
}

int post(lua_State* L) {
  return lua::guard(L, [L] {
    const auto self = lua::check_object<Journal>(L, 1);
    if (auto posted = self->post(check_row(L, "journal.post")); !posted) {
      throw core::Failure(std::move(posted).error());
    }
    return 0;
  });
}

int finish(lua_State* L) {
  return lua::guard(L, [L] {
    const auto self = lua::check_object<Journal>(L, 1);
    lua::Options options(L, 2, "journal.finish");
    journal::Finish end{.run = options.require_string("run")};
    const auto state = options.require_string("state");
    end.state = check_state(journal::parse_run_state(state), state);
    end.summary = json_option(L, options, "summary", "summary").value_or(Json::object());
    options.finish();
    return lua::push_operation(L, self->finish(std::move(end)), lua::push_unit);
  });
}

int unfinished(lua_State* L) {
  return lua::guard(
      L, [L] { return lua::push_operation(L, lua::check_object<Journal>(L, 1)->unfinished(), push_maybe_record); });
}

int history(lua_State* L) {
  return lua::guard(L, [L] {
    const auto self = lua::check_object<Journal>(L, 1);
    return lua::push_operation(L, self->history(lua::check_integer(L, 2)), push_records);
  });
}

int record(lua_State* L) {
  return lua::guard(L, [L] {
    const auto self = lua::check_object<Journal>(L, 1);
    return lua::push_operation(L, self->record(lua::check_string(L, 2)), push_record);
  });
}

int verify(lua_State* L) {
  return lua::guard(L, [L] {
    return lua::push_operation(
        L, lua::check_object<Journal>(L, 1)->verify(),
        [](lua_State* state, const std::int64_t& rows) { lua_pushnumber(state, static_cast<lua_Number>(rows)); });
  });
}

/// copy(run, after): rows as tables, with their body as JSON text.
int copy(lua_State* L) {
  return lua::guard(L, [L] {
    const auto self = lua::check_object<Journal>(L, 1);
    return lua::push_operation(L, self->copy(lua::check_string(L, 2), lua::check_integer(L, 3)),
                               [](lua_State* state, const std::vector<journal::CopiedRow>& rows) {
                                 Json all = Json::array();
                                 for (const auto& each : rows) all.push_back(journal::to_json(each));
                                 push_json(state, all);
                               });
  });
}

std::vector<journal::CopiedRow> check_rows(lua_State* L, const std::string& run, int index) {
  auto rows = journal::copied_rows(run, to_json(L, index, "rows"));
  if (!rows) throw core::Failure(std::move(rows).error());
  return std::move(*rows);
}

/// restore(run, rows)
int restore(lua_State* L) {
  return lua::guard(L, [L] {
    const auto self = lua::check_object<Journal>(L, 1);
    const std::string run = lua::check_string(L, 2);
    return lua::push_operation(L, self->restore(run, check_rows(L, run, 3)), lua::push_unit);
  });
}

/// record_of(run, rows): what rows of a copy say.
int record_of(lua_State* L) {
  return lua::guard(L, [L] {
    auto record = journal::record_of(check_rows(L, lua::check_string(L, 1), 2));
    if (!record) throw core::Failure(std::move(record).error());
    push_record(L, *record);
    return 1;
  });
}

/// releases(service, host, limit)
int releases(lua_State* L) {
  return lua::guard(L, [L] {
    const auto self = lua::check_object<Journal>(L, 1);
    return lua::push_operation(
        L, self->releases(lua::check_string(L, 2), lua::check_string(L, 3), lua::check_integer(L, 4)),
        [](lua_State* state, const std::vector<journal::Released>& found) {
          Json all = Json::array();
          for (const auto& each : found) all.push_back(journal::to_json(each));
          push_json(state, all);
        });
  });
}

/// Gives up this process's run, if it owns one: for others it is then an unfinished one.
int close(lua_State* L) { return lua::close_object<Journal>(L); }

}  // namespace

}  // namespace deployrun::bindings

namespace deployrun::lua {

template <>
struct ObjectType<journal::Journal> {
  static constexpr const char* kName = "journal";
  static constexpr luaL_Reg kMethods[] = {{"begin", bindings::begin},       {"take_over", bindings::take_over},
                                          {"append", bindings::append},     {"post", bindings::post},
                                          {"finish", bindings::finish},     {"unfinished", bindings::unfinished},
                                          {"history", bindings::history},   {"record", bindings::record},
                                          {"copy", bindings::copy},         {"restore", bindings::restore},
                                          {"releases", bindings::releases}, {"verify", bindings::verify},
                                          {"close", bindings::close},       {nullptr, nullptr}};
};

}  // namespace deployrun::lua

namespace deployrun::bindings {

namespace {

/// open(create)
int open(lua_State* L) {
  return lua::guard(L, [L] {
    Context& shared = context(L);
    journal::Options options{
        .redact = [&redactor = shared.redactor](std::string text) { return redactor.redact(text); },
        .now = {},
        .on_row = shared.on_journal_row,
        .create = lua::check_boolean(L, 1)};
    auto operation = journal::open_local(shared.loop, (shared.project / ".deployrun").string(), std::move(options));
    return lua::push_operation(L, std::move(operation), [](lua_State* state, const std::shared_ptr<Journal>& opened) {
      lua::push_object(state, opened);
    });
  });
}

constexpr luaL_Reg kFunctions[] = {{"open", open}, {"record_of", record_of}, {nullptr, nullptr}};

}  // namespace

int open_journal(lua_State* L) { return lua::export_table(L, kFunctions); }

}  // namespace deployrun::bindings

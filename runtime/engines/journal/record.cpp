#include "journal/record.hpp"

#include <algorithm>
#include <array>
#include <stdexcept>
#include <utility>

namespace deployrun::journal {

namespace {

constexpr std::array<std::pair<RunState, const char*>, 6> kRunStates{{{RunState::running, "running"},
                                                                      {RunState::done, "done"},
                                                                      {RunState::failed_undone, "failed_undone"},
                                                                      {RunState::aborted, "aborted"},
                                                                      {RunState::needs_person, "needs_person"},
                                                                      {RunState::cancelled, "cancelled"}}};
constexpr std::array<std::pair<TaskState, const char*>, 6> kTaskStates{{{TaskState::started, "started"},
                                                                        {TaskState::done, "done"},
                                                                        {TaskState::failed, "failed"},
                                                                        {TaskState::undo_started, "undo_started"},
                                                                        {TaskState::undone, "undone"},
                                                                        {TaskState::undo_failed, "undo_failed"}}};

template <class State, std::size_t N>
const char* name_of(const std::array<std::pair<State, const char*>, N>& names, State state) {
  for (const auto& [value, name] : names) {
    if (value == state) return name;
  }
  return "";
}

template <class State, std::size_t N>
std::optional<State> state_of(const std::array<std::pair<State, const char*>, N>& names, const std::string& text) {
  for (const auto& [value, name] : names) {
    if (text == name) return value;
  }
  return std::nullopt;
}

core::Error corrupt(const StoredRow& row, const std::string& why) {
  return {.kind = "journal.corrupt", .message = "row " + std::to_string(row.number) + " of the journal: " + why};
}

std::optional<Json> optional_field(const Json& body, const char* key) {
  const auto found = body.find(key);
  return found == body.end() ? std::nullopt : std::optional<Json>(*found);
}

/// A field that those who read it index.
const Json& structured(const Json& body, const char* key) {
  const Json& found = body.at(key);
  if (!found.is_structured()) throw std::invalid_argument(std::string(key) + " is no table");
  return found;
}

RunInfo run_info_of(const Json& body) {
  return {.recipe = body.at("recipe").get<std::string>(),
          .command = body.at("command").get<std::string>(),
          .parameters = structured(body, "parameters"),
          .recipe_hash = body.at("recipe_hash").get<std::string>(),
          .version = body.at("version").get<std::string>(),
          .user = body.at("user").get<std::string>(),
          .host = body.at("host").get<std::string>(),
          .actor = body.at("actor").get<std::string>(),
          .revision = body.at("revision").get<std::string>()};
}

StepRecord& step_at(Record& record, std::int64_t ordinal) {
  auto place = std::lower_bound(record.steps.begin(), record.steps.end(), ordinal,
                                [](const StepRecord& step, std::int64_t wanted) { return step.ordinal < wanted; });
  if (place == record.steps.end() || place->ordinal != ordinal) {
    place = record.steps.insert(place, StepRecord{.ordinal = ordinal, .name = {}, .tasks = {}});
  }
  return *place;
}

void apply_task(Record& record, const Json& body, const StoredRow& row, TaskState state) {
  StepRecord& step = step_at(record, body.at("step").get<std::int64_t>());
  const auto host = body.at("host").get<std::string>();
  auto task =
      std::find_if(step.tasks.begin(), step.tasks.end(), [&](const TaskRecord& each) { return each.host == host; });
  if (task == step.tasks.end()) {
    step.tasks.push_back(TaskRecord{.host = host, .result = {}, .error = {}, .started = row.time});
    task = std::prev(step.tasks.end());
  }
  task->state = state;
  task->attempt = body.at("attempt").get<std::int64_t>();
  if (state == TaskState::started) {
    task->order = row.number;
    task->result.reset();
    task->error.reset();
  }
  if (state != TaskState::started && state != TaskState::undo_started) task->ended = row.time;
  task->ms = body.value("ms", task->ms);
  if (auto result = optional_field(body, "result")) task->result = std::move(result);
  if (body.contains("error")) task->error = structured(body, "error");
}

void apply_known(Record& record, const Json& body, const StoredRow& row) {
  if (row.type == "restored") {
    record = Record{};  // what follows is the run from its beginning, as the primary host knows it
  } else if (row.type == "run") {
    record.id = row.run;
    record.info = run_info_of(body);
    record.started = row.time;
  } else if (row.type == "takeover") {
    record.takeovers.push_back({.run = row.run,
                                .mode = body.at("mode").get<std::string>(),
                                .version = body.at("version").get<std::string>(),
                                .user = body.at("user").get<std::string>(),
                                .host = body.at("host").get<std::string>(),
                                .actor = body.at("actor").get<std::string>()});
    record.state = RunState::running;
    record.ended = 0;
  } else if (row.type == "once") {
    record.once[body.at("name").get<std::string>()] = body.at("value");
  } else if (row.type == "step") {
    step_at(record, body.at("ordinal").get<std::int64_t>()).name = body.at("name").get<std::string>();
  } else if (row.type == "task") {
    const auto state = parse_task_state(body.at("state").get<std::string>());
    if (!state) throw std::invalid_argument("unknown state of a task");
    apply_task(record, body, row, *state);
  } else if (row.type == "release") {
    record.releases.push_back(body);
  } else if (row.type == "finish") {
    const auto state = parse_run_state(body.at("state").get<std::string>());
    if (!state) throw std::invalid_argument("unknown state of a run");
    record.state = *state;
    record.summary = structured(body, "summary");
    record.ended = row.time;
  } else {
    throw std::invalid_argument("unknown type " + row.type);
  }
}

Json task_json(const TaskRecord& task) {
  Json json{{"host", task.host},       {"state", to_string(task.state)},
            {"attempt", task.attempt}, {"started", task.started},
            {"order", task.order},     {"ms", task.ms}};
  if (task.ended != 0) json["ended"] = task.ended;
  if (task.result) json["result"] = *task.result;
  if (task.error) json["error"] = *task.error;
  return json;
}

}  // namespace

const char* to_string(RunState state) { return name_of(kRunStates, state); }
const char* to_string(TaskState state) { return name_of(kTaskStates, state); }
std::optional<RunState> parse_run_state(const std::string& text) { return state_of(kRunStates, text); }
std::optional<TaskState> parse_task_state(const std::string& text) { return state_of(kTaskStates, text); }

core::Result<core::Unit> apply(Record& record, const StoredRow& row) {
  auto body = json::parse(row.body);
  if (!body) return core::wrap(corrupt(row, "no JSON"), std::move(body).error());
  try {
    if (record.id.empty() && row.type != "run" && row.type != "restored")
      throw std::invalid_argument("a run that never began");
    apply_known(record, *body, row);
  } catch (const std::exception& failure) {  // a field that is missing or of another type
    return corrupt(row, failure.what());
  }
  return core::Unit{};
}

std::string type_of(const Row& row) {
  if (std::holds_alternative<Once>(row)) return "once";
  if (std::holds_alternative<Step>(row)) return "step";
  if (std::holds_alternative<Release>(row)) return "release";
  return "task";
}

const std::string& run_of(const Row& row) {
  return std::visit([](const auto& each) -> const std::string& { return each.run; }, row);
}

Json body_of(const Row& row) {
  if (const auto* once = std::get_if<Once>(&row)) return {{"name", once->name}, {"value", once->value}};
  if (const auto* step = std::get_if<Step>(&row)) return {{"ordinal", step->ordinal}, {"name", step->name}};
  if (const auto* release = std::get_if<Release>(&row)) {
    Json body = release->facts;
    body["host"] = release->host;
    body["service"] = release->service;
    body["version"] = release->version;
    return body;
  }
  const Task& task = std::get<Task>(row);
  Json body{{"step", task.step}, {"host", task.host}, {"state", to_string(task.state)}, {"attempt", task.attempt}};
  if (task.result) body["result"] = *task.result;
  if (task.error) body["error"] = *task.error;
  if (task.ms) body["ms"] = *task.ms;
  return body;
}

Json body_of(const RunInfo& info) {
  return {{"recipe", info.recipe},
          {"command", info.command},
          {"parameters", info.parameters},
          {"recipe_hash", info.recipe_hash},
          {"version", info.version},
          {"user", info.user},
          {"host", info.host},
          {"actor", info.actor},
          {"revision", info.revision}};
}

Json body_of(const Takeover& takeover) {
  return {{"mode", takeover.mode},
          {"version", takeover.version},
          {"user", takeover.user},
          {"host", takeover.host},
          {"actor", takeover.actor}};
}

Json body_of(const Finish& finish) { return {{"state", to_string(finish.state)}, {"summary", finish.summary}}; }

Json to_json(const Released& released) {
  Json json = released.body;
  json["time"] = released.time;
  return json;
}

Json to_json(const Record& record) {
  Json json = body_of(record.info);
  json["id"] = record.id;
  json["state"] = to_string(record.state);
  json["started"] = record.started;
  if (record.ended != 0) json["ended"] = record.ended;
  json["once"] = Json::object();
  for (const auto& [name, value] : record.once) json["once"][name] = value;
  json["steps"] = Json::array();
  for (const StepRecord& step : record.steps) {
    Json tasks = Json::array();
    for (const TaskRecord& task : step.tasks) tasks.push_back(task_json(task));
    json["steps"].push_back({{"ordinal", step.ordinal}, {"name", step.name}, {"tasks", std::move(tasks)}});
  }
  json["takeovers"] = Json::array();
  for (const Takeover& takeover : record.takeovers) json["takeovers"].push_back(body_of(takeover));
  json["releases"] = record.releases;
  json["summary"] = record.summary;
  json["owner"] = {{"alive", record.owner.alive}, {"pid", record.owner.pid}, {"host", record.owner.host}};
  return json;
}

}  // namespace deployrun::journal

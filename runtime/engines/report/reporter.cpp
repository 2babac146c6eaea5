#include "report/reporter.hpp"

#include <array>
#include <cstdio>
#include <ctime>

namespace deployrun::report {

namespace {

constexpr core::Milliseconds kTick{1000};
constexpr int kDeepest = 64;

/// RFC 3339 in UTC with milliseconds.
std::string rfc3339(std::chrono::system_clock::time_point time) {
  const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(time.time_since_epoch()).count();
  const auto seconds = static_cast<std::time_t>(ms / 1000);
  std::tm utc{};
  ::gmtime_r(&seconds, &utc);
  std::array<char, 24> day{};
  std::strftime(day.data(), day.size(), "%Y-%m-%dT%H:%M:%S", &utc);
  std::array<char, 40> text{};
  std::snprintf(text.data(), text.size(), "%s.%03dZ", day.data(), static_cast<int>(ms % 1000));
  return text.data();
}

class Ready final : public core::Operation<core::Unit> {
 public:
  void start(Done done) override { done(core::Unit{}); }
  void cancel() noexcept override {}
};

}  // namespace

Reporter::Reporter(core::Loop& loop, ReporterOptions options) : options_(std::move(options)), tick_(loop) {
  if (!options_.now) options_.now = [] { return std::chrono::system_clock::now(); };
}

void Reporter::clean(Json& value, int depth) const {
  if (value.is_string()) {
    auto text = value.get<std::string>();
    if (options_.clean) text = options_.clean(std::move(text));
    if (options_.redact) text = options_.redact(std::move(text));
    value = std::move(text);
  } else if (value.is_structured() && depth == kDeepest) {
    value = "[too deep]";
  } else if (value.is_array()) {
    for (Json& each : value) clean(each, depth + 1);
  } else if (value.is_object()) {
    Json result = Json::object();
    for (auto& [key, each] : value.items()) {
      clean(each, depth + 1);
      Json name = key;
      clean(name, depth + 1);
      result[name.get<std::string>()] = std::move(each);
    }
    value = std::move(result);
  }
}

void Reporter::complete(Json& event) {
  if (!event.is_object() || !event.contains("type") || !event["type"].is_string()) {
    event = {{"type", "log"}, {"level", "error"}, {"message", "an event without a type was reported"}};
  }
  if (event["type"] == "error" && !event.contains("error")) {
    // Written flat, `{ type = "error", kind = …, message = … }`: the same error, in the place where every reader looks.
    Json error = event;
    error.erase("type");
    event = {{"type", "error"}, {"error", std::move(error)}};
  }
  if (event["type"] == "run.started" && event.contains("run") && event["run"].is_string())
    run_ = event["run"].get<std::string>();
  if (event.contains("level") && event["level"] == "warning") event["level"] = "warn";
  event["v"] = 1;
  event["time"] = rfc3339(options_.now());
  if (!run_.empty() && !event.contains("run")) event["run"] = run_;
}

void Reporter::watch(const Json& event) {
  if (event["type"] == "task.started") ++running_;
  if (event["type"] == "task.finished" && running_ > 0) --running_;
  if (event["type"] == "run.finished") running_ = 0;
  if (running_ == 0) {
    tick_.cancel();  // an armed timer would keep the loop alive
  } else if (!tick_.active()) {
    arm();
  }
}

void Reporter::arm() {
  tick_.start(kTick, [this] {
    for (const auto& sink : sinks_) sink->tick(core::Loop::now());
    if (running_ > 0 && !tick_.active()) arm();
  });
}

void Reporter::emit(Json event) {
  complete(event);
  clean(event, 0);
  watch(event);
  for (const auto& sink : sinks_) sink->event(event);
}

std::unique_ptr<core::Operation<core::Unit>> Reporter::drained() {
  if (data_ == nullptr) return std::make_unique<Ready>();
  return std::make_unique<Output::Drained>(*data_);
}

}  // namespace deployrun::report

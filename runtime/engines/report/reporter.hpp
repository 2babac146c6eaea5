// The one way out for what happens: completes an event, cleans and redacts every text in it, and hands it to the sinks.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "report/output.hpp"
#include "report/sink.hpp"

namespace deployrun::report {

struct ReporterOptions {
  std::function<std::string(std::string)>
      clean;  ///< strips control sequences; before `redact`, or they could hide a secret
  std::function<std::string(std::string)> redact;  ///< masks secrets
  std::function<std::chrono::system_clock::time_point()> now;
};

/// Lives on the loop's thread.
class Reporter {
 public:
  Reporter(core::Loop& loop, ReporterOptions options);

  void add(std::unique_ptr<Sink> sink) { sinks_.push_back(std::move(sink)); }
  /// Whose reader `print` waits for: the one that gets the data.
  void data_goes_to(Output& output) { data_ = &output; }

  /// An event needs a `type`; `v`, `time` and `run` are put in here. Never fails: what is no event becomes a `log` of
  /// level `error` that says so.
  void emit(Json event);

  /// Whether the reader of the data lags so far behind that its producer should wait.
  bool full() const noexcept { return data_ != nullptr && data_->full(); }
  /// Completes when the reader of the data can take more; at once without one.
  std::unique_ptr<core::Operation<core::Unit>> drained();

 private:
  void complete(Json& event);
  void watch(const Json& event);
  void clean(Json& value, int depth) const;
  void arm();

  ReporterOptions options_;
  std::vector<std::unique_ptr<Sink>> sinks_;
  Output* data_ = nullptr;
  std::string run_;
  int running_ = 0;  // tasks, while any runs the sinks get their ticks
  core::Timer tick_;
};

}  // namespace deployrun::report

// The one Context of the process and what it is built from, in the order in which it has to die.
#pragma once

#include <memory>

#include "bindings/context.hpp"
#include "cli/options.hpp"
#include "core/redactor.hpp"
#include "http/client.hpp"
#include "report/board.hpp"
#include "report/collector.hpp"
#include "report/log_file.hpp"
#include "report/output.hpp"
#include "report/reporter.hpp"

namespace deployrun::cli {

class World {
 public:
  explicit World(const Options& options);
  ~World();

  bindings::Context& context() noexcept { return *context_; }
  core::Loop& loop() noexcept { return loop_; }
  /// At the end: whatever the readers still take, within two seconds.
  void flush();
  /// An error that happened before or outside a run, in the form the user asked for.
  void report_error(const core::Error& error);

 private:
  void add_sinks(const Options& options);
  void watch_continue(report::Board& board);

  core::Loop loop_;
  core::Redactor redactor_;
  report::Output out_;
  report::Output err_;
  report::LogFile* log_ = nullptr;          // owned by the reporter
  report::Collector* collector_ = nullptr;  // as well
  uv_signal_t* continued_ = nullptr;
  report::Reporter reporter_;
  http::Client http_;
  std::unique_ptr<bindings::Context> context_;
};

}  // namespace deployrun::cli

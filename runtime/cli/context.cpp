#include "cli/context.hpp"

#include <unistd.h>

#include <cstdlib>

#include "cli/faults.hpp"
#include "core/text.hpp"
#include "json/error.hpp"
#include "report/json_lines.hpp"
#include "report/lines.hpp"

namespace deployrun::cli {

namespace {

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : "";
}

report::ReporterOptions reporter_options(const core::Redactor& redactor) {
  report::ReporterOptions options;
  options.clean = [](std::string text) { return core::clean(text); };
  options.redact = [&redactor](std::string text) { return redactor.empty() ? text : redactor.redact(text); };
  options.now = [] { return std::chrono::system_clock::now(); };
  return options;
}

report::LinesOptions lines_options(const Options& options) {
  report::LinesOptions lines;
  lines.verbosity = options.verbosity;
  const auto choice = options.color == "always"  ? report::ColorChoice::always
                      : options.color == "never" ? report::ColorChoice::never
                                                 : report::ColorChoice::automatic;
  lines.color = report::wants_color(choice, isatty(options.json ? STDERR_FILENO : STDOUT_FILENO) != 0, environment);
  lines.github = environment("GITHUB_ACTIONS") == "true";
  lines.data = !options.json;
  return lines;
}

}  // namespace

World::World(const Options& options)
    : out_(loop_, STDOUT_FILENO),
      err_(loop_, STDERR_FILENO),
      reporter_(loop_, reporter_options(redactor_)),
      http_(loop_) {
  // With --json the events are the data on standard output and people read standard error.
  if (options.json) reporter_.add(std::make_unique<report::JsonLines>(out_));
  reporter_.add(std::make_unique<report::Lines>(options.json ? err_ : out_, lines_options(options)));
  reporter_.data_goes_to(out_);
  context_ = std::make_unique<bindings::Context>(bindings::Context{.loop = loop_,
                                                                   .redactor = redactor_,
                                                                   .http = http_,
                                                                   .reporter = reporter_,
                                                                   .project = options.project,
                                                                   .on_journal_row = fault_from_environment()});
}

World::~World() = default;

void World::flush() {
  constexpr core::Milliseconds kDeadline{2000};
  out_.flush(kDeadline);
  err_.flush(kDeadline);
}

void World::report_error(const core::Error& error) {
  reporter_.emit({{"type", "error"}, {"error", json::to_json(error)}});
  flush();
}

}  // namespace deployrun::cli

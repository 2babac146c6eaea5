#include "cli/context.hpp"

#include <signal.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdlib>

#include "cli/faults.hpp"
#include "cli/identity.hpp"
#include "core/text.hpp"
#include "json/error.hpp"
#include "report/ci.hpp"
#include "report/collector.hpp"
#include "report/json_lines.hpp"
#include "report/lines.hpp"
#include "report/summary.hpp"

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

report::LinesOptions lines_options(const Options& options, bool terminal) {
  report::LinesOptions lines;
  lines.verbosity = options.verbosity;
  const auto choice = options.color == "always"  ? report::ColorChoice::always
                      : options.color == "never" ? report::ColorChoice::never
                                                 : report::ColorChoice::automatic;
  lines.color = report::wants_color(choice, terminal, environment);
  lines.ci = report::ci_of(environment);
  lines.root = environment("GITHUB_WORKSPACE");
  lines.data = !options.json;
  return lines;
}

report::Board::Size terminal_size(int fd) {
  winsize found{};
  if (::ioctl(fd, TIOCGWINSZ, &found) != 0 || found.ws_col == 0 || found.ws_row == 0) return {};
  return {.columns = found.ws_col, .rows = found.ws_row};
}

/// The log's first line: which program this is, who runs it and where.
std::string log_head() {
  const Identity who = identity();
  std::string head = "deployrun " DEPLOYRUN_VERSION ", " + who.user + "@" + who.host;
  if (!who.actor.empty()) head += " for " + who.actor;
  std::error_code error;
  return core::clean(head + ", in " + std::filesystem::current_path(error).string());
}

}  // namespace

World::World(const Options& options)
    : out_(loop_, STDOUT_FILENO),
      err_(loop_, STDERR_FILENO),
      reporter_(loop_, reporter_options(redactor_)),
      http_(loop_) {
  add_sinks(options);
  context_ = std::make_unique<bindings::Context>(bindings::Context{.loop = loop_,
                                                                   .redactor = redactor_,
                                                                   .http = http_,
                                                                   .reporter = reporter_,
                                                                   .project = options.project,
                                                                   .on_journal_row = fault_from_environment(),
                                                                   .collector = collector_});
}

World::~World() {
  if (continued_ != nullptr) core::close_handle(continued_);
}

void World::add_sinks(const Options& options) {
  // With --json the events are the data on standard output and people read standard error.
  report::Output& people = options.json ? err_ : out_;
  const int fd = options.json ? STDERR_FILENO : STDOUT_FILENO;
  const bool terminal = isatty(fd) != 0;
  report::LinesOptions lines = lines_options(options, terminal);
  if (lines.ci == report::Ci::github) {
    // Past the reporter, which would mask them; a runner masks such a line in its log as well.
    redactor_.on_form([&people](std::string_view form) { people.write(report::mask_line(form), true); });
  }
  if (options.json) reporter_.add(std::make_unique<report::JsonLines>(out_));
  if (options.command != nullptr && options.command->entry == Entry::recipe) {
    // Warned of on a turn of its own: the reporter is handing round the event that opens the file.
    const auto failed = [this](const core::Error& error) {
      loop_.defer([this, message = error.message] {
        reporter_.emit({{"type", "log"}, {"level", "warn"}, {"message", message}});
      });
    };
    auto log = std::make_unique<report::LogFile>(
        loop_, report::LogFileOptions{.folder = (options.project / ".deployrun" / "log").lexically_normal(),
                                      .head = log_head(),
                                      .failed = failed});
    log_ = log.get();
    lines.log = [this] { return log_->path(); };
    reporter_.add(std::move(log));
  }
  if (!options.report.empty()) {
    auto collector = std::make_unique<report::Collector>();
    collector_ = collector.get();
    reporter_.add(std::move(collector));
  }
  if (const std::string path = environment("GITHUB_STEP_SUMMARY"); !path.empty() && lines.ci == report::Ci::github)
    reporter_.add(std::make_unique<report::Summary>(path));
  if (options.verbosity >= 0 && report::wants_board(options.progress, terminal, environment)) {
    auto board = std::make_unique<report::Board>(loop_, people, std::move(lines), [fd] { return terminal_size(fd); });
    watch_continue(*board);
    reporter_.add(std::move(board));
  } else {
    reporter_.add(std::make_unique<report::Lines>(people, std::move(lines)));
  }
  reporter_.data_goes_to(out_);
}

/// After Ctrl-Z and `fg` the shell's lines stand where ours did. Not counted as work: the loop ends without it.
void World::watch_continue(report::Board& board) {
  continued_ = new uv_signal_t;
  uv_signal_init(loop_.raw(), continued_);
  continued_->data = &board;
  uv_signal_start(
      continued_, [](uv_signal_t* handle, int) { static_cast<report::Board*>(handle->data)->forget(); }, SIGCONT);
  uv_unref(reinterpret_cast<uv_handle_t*>(continued_));
}

void World::flush() {
  constexpr core::Milliseconds kDeadline{2000};
  out_.flush(kDeadline);
  err_.flush(kDeadline);
  if (log_ != nullptr) log_->flush();
}

void World::report_error(const core::Error& error) {
  reporter_.emit({{"type", "error"}, {"error", json::to_json(error)}});
  flush();
}

}  // namespace deployrun::cli

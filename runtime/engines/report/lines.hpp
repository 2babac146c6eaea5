// Events for people: plain lines, in the order in which things end. Calm on purpose: a heading per step, one line per
// task, an error told once and whole, a last line that says how it went. docs/events.md shows a sample.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <string_view>

#include "report/ci.hpp"
#include "report/output.hpp"
#include "report/sink.hpp"
#include "report/style.hpp"

namespace deployrun::report {

struct LinesOptions {
  /// -1: data, warnings, errors and the end only; 0: steps and tasks; 1: also what starts, probes, progress and debug
  /// messages; 2: also the output of what runs on the hosts; 3: also trace messages.
  int verbosity = 0;
  bool color = false;
  Ci ci = Ci::none;                  ///< whose marks fold steps; GitHub also gets annotations
  std::filesystem::path root;        ///< of the repository, for the places in annotations; empty: where we are
  bool data = true;                  ///< false: `print` events go elsewhere (with --json)
  std::function<std::string()> log;  ///< the run's log file, shown when it fails; may be empty, or give an empty text
};

class Lines final : public Sink {
 public:
  /// Takes whole lines; `keep`: data, which must not be dropped.
  using Write = std::function<void(std::string_view text, bool keep)>;

  /// `output` outlives the sink.
  Lines(Output& output, LinesOptions options);
  Lines(Write write, LinesOptions options);
  void event(const Json& event) override;
  /// Names what is still running when nothing was said for a while.
  void tick(core::Instant now) override;

 private:
  void run_started(const Json& event);
  void run_finished(const Json& event);
  void step_started(const Json& event);
  void step_finished(const Json& event);
  void task_started(const Json& event);
  void task_finished(const Json& event);
  void task_output(const Json& event);
  void progress(const Json& event);
  void waiting(const Json& event);
  void probe_failed(const Json& event);
  void engine_call(const Json& event);
  void command_ended(const Json& event);
  void ssh_connected(const Json& event);
  void ssh_closed(const Json& event);
  void log(const Json& event);
  void print(const Json& event);
  void error(const Json& event);
  void shipped(const Json& event);
  void observed(const Json& event);
  void plan_step(const Json& event);
  void plan_finished(const Json& event);
  void finding(const Json& event);

  /// "  web1  done          4.2 s  note"
  void task_line(const std::string& host, const std::string& word, Ink ink, std::int64_t ms, const std::string& note);
  /// "  web1   text", where so much was asked for.
  void detail(const Json& event, int needed, const std::string& text);
  void say(const std::string& text);
  void gap();  // one empty line, never two
  void start_group(const std::string& title);
  void end_group();
  /// A mark at the recipe's line for the error and for each of those beside it.
  void annotate(const Json& error, int depth = 0);

  struct Running {
    core::Instant since;
    std::string progress;
  };

  Write write_;
  LinesOptions options_;
  std::size_t width_ = 5;  // of the host column: grows, never shrinks
  std::map<std::string, Running> running_;
  std::map<std::string, int> counts_;  // state of a task → how many ended so
  core::Instant said_;
  bool group_ = false;
  int groups_ = 0;
  bool blank_ = true;
};

}  // namespace deployrun::report

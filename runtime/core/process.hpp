// Child processes of this machine: argv only, never a shell. A child leads its own process group, so that ending it
// ends whatever it started; none outlives its operation.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/loop.hpp"
#include "core/operation.hpp"
#include "core/stream.hpp"

namespace deployrun::core {

class Child;  // core/child.hpp

/// Which of a child's two outputs.
enum class Output { out, err };

struct ProcessOptions {
  std::vector<std::string> argv;           ///< argv[0] without a slash is looked up in PATH
  std::string input;                       ///< its whole stdin; empty: stdin is at its end at once
  std::map<std::string, std::string> env;  ///< added to our own environment, or all of it
  bool clear_env = false;                  ///< `env` replaces our environment (PATH is then not inherited either)
  std::string cwd;                         ///< empty: ours
  std::size_t output_limit =
      16U << 20U;              ///< bytes, both outputs together; more ends the child with `process.output_limit`
  bool secret_output = false;  ///< stdout holds secrets: no copy of it stays in our memory but the result's
  bool keep_output = true;     ///< false: only `on_output` sees it, without a limit
  Milliseconds grace{2000};    ///< between TERM and KILL
  /// Pieces as they arrive, at no particular boundary, on the loop's thread. Must not destroy the operation.
  std::function<void(Output, std::string_view)> on_output;
};

struct ProcessResult {
  std::string out;
  std::string err;
  int code = 0;              ///< exit status; 128 + signal where a signal ended it
  int signal = 0;            ///< the signal that ended it, or 0
  Milliseconds duration{0};  ///< from the start to its end
};

/// Runs a program to its end. An exit code other than 0 is a result, not an error.
/// Kinds: `process.spawn` (details `program`, `errno`), `process.output_limit`, `cancelled`.
/// Completes after the program has ended *and* its outputs are closed; an output that a survivor in the background
/// keeps open is given up `grace` after the program's end. Cancelled: TERM to the group, KILL after `grace`, then
/// `cancelled`.
class Process final : public Operation<ProcessResult> {
 public:
  Process(Loop& loop, ProcessOptions options);
  /// Before completion: KILL to the group, nothing is waited for.
  ~Process() override;
  void start(Done done) override;
  void cancel() noexcept override;

 private:
  void received(Output which, std::string_view bytes);
  void exited(int code, int signal);
  void fail(Error reason);
  void complete();

  Loop& loop_;
  ProcessOptions options_;
  Done done_;
  std::shared_ptr<Child> child_;
  ProcessResult result_;
  Instant started_{};
  std::size_t received_ = 0;
  int open_ = 2;  // outputs whose end has not come
  bool exited_ = false;
  std::optional<Error> failure_;  // why the child is being ended
  Timer survivors_;
};

/// A child's stdin and stdout as one stream (`docker system dial-stdio`, a proxy command). Reads `input`,
/// `output_limit` and `keep_output` of the options not at all; stderr goes to `on_output`. Closing or destroying it
/// ends the group (TERM, KILL after `grace`). The end of its output with an exit code other than 0 is an error of kind
/// `process.exit` (details `code`, `stderr`: its last 4 KiB).
Result<std::unique_ptr<Stream>> open_process_stream(Loop& loop, ProcessOptions options);

}  // namespace deployrun::core

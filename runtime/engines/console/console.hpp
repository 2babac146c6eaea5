// Lines that a person types: with libedit's editing, history and completion where a terminal is at both ends, as they
// come from standard input elsewhere. Reads only while somebody waits for a line; the loop never blocks.
#pragma once

#include <uv.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/loop.hpp"
#include "core/operation.hpp"

namespace deployrun::console {

/// nullopt: the end of the input.
using Line = std::optional<std::string>;

struct Options {
  bool terminal = false;  ///< editing: the caller knows that both ends are a terminal
  std::string history;    ///< the file that keeps what was typed (0600); empty: none. With a terminal only
  /// What may stand where a word begins with `text`, for the tab key.
  std::function<std::vector<std::string>(const std::string& text)> complete;
};

/// Owns standard input while it lives; one at a time, for libedit's state is the process's.
class Console {
 public:
  Console(core::Loop& loop, Options options);
  ~Console();
  Console(const Console&) = delete;
  Console& operator=(const Console&) = delete;

  /// The next line without its newline. One at a time. Errors: `console.io`, `console.interrupted`, `cancelled`.
  std::unique_ptr<core::Operation<Line>> line(std::string prompt);
  /// Ctrl-C: what is being typed at a terminal is left, as `console.interrupted`. False where nobody is typing.
  bool interrupt();

 private:
  class Reader;

  void begin(Reader& reader);
  void leave() noexcept;
  void ready();
  void read_some();
  void settle();
  void finish(core::Result<Line> result);
  void typed(char* text);

  core::Loop& loop_;
  Options options_;
  uv_poll_t* poll_ = nullptr;  // where standard input can be watched; a regular file is read at once
  Reader* waiting_ = nullptr;
  std::string buffer_;
  bool ended_ = false;
  std::optional<core::Result<Line>> typed_;  // what libedit's callback brought
};

}  // namespace deployrun::console

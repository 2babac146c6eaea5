// The one error shape of the whole program, from an engine to Lua to the terminal (STYLE.md §5).
// A layer that adds meaning wraps and keeps the original as `cause`; only the printer flattens.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <variant>
#include <vector>

namespace deployrun::core {

/// What a kind carries beside its message: `code`, `stderr`, `status`, `holder` …
using Detail = std::variant<bool, std::int64_t, double, std::string>;

/// One failure. `kind` is `room.what` from that room's closed list (docs/errors.md), or bare `timeout`, `cancelled`,
/// `usage`.
struct Error {
  std::string kind;
  std::string message;  ///< what was tried, on what, what came back, in one line
  std::string hint;     ///< what to do next; may be empty
  std::string host;     ///< set once, by the engine that knows it
  std::string step;     ///< set once, by the run
  std::map<std::string, Detail> details;
  std::shared_ptr<const Error> cause;
  std::vector<Error> also;  ///< failures while cleaning up, beside the first, never in its place

  bool is(const char* wanted) const { return kind == wanted; }
};

/// `outer` with `cause` kept below it; host and step are inherited where `outer` has none.
Error wrap(Error outer, Error cause);

/// The message and every cause's message, one line each, for logs and tests. No details, no colour.
std::string describe(const Error& error);

inline Error cancelled(std::string message = "cancelled") {
  return {.kind = "cancelled", .message = std::move(message)};
}
inline Error usage(std::string message) { return {.kind = "usage", .message = std::move(message)}; }

/// Thrown for misuse (a defect or a wrong argument), never for what the world does. lua::guard turns it into a Lua
/// error.
class Failure : public std::exception {
 public:
  explicit Failure(Error error) : error_(std::move(error)) {}
  const Error& error() const noexcept { return error_; }
  const char* what() const noexcept override { return error_.message.c_str(); }

 private:
  Error error_;
};

}  // namespace deployrun::core

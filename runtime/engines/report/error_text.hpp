// An error as people read it at 3 a.m.: what failed and where, what came before it, what to do next.
#pragma once

#include <string>

#include "json/json.hpp"

namespace deployrun::report {

using json::Json;

/// `error` is an error as a table (docs/errors.md): kind, message, host, step, hint, cause, also, and what the kind
/// carries. Several lines, each ended; nothing is left out but `kind`'s own bookkeeping.
std::string error_text(const Json& error, bool color);

/// The message in one line, for a place that has room for no more.
std::string error_line_text(const Json& error);

}  // namespace deployrun::report

// A program of this machine, run to its end: `docker`. Blocks.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/result.hpp"
#include "core/time.hpp"
#include "sqlite/backup.hpp"

namespace deployrun::backup {

using sqlite::Stop;

struct ToolEnd {
  int code = 0;     ///< 128 and its signal's number where one ended it; 127 where there is no such program
  std::string out;  ///< at most 1 MiB
  std::string err;  ///< its last 4 KiB
};

/// Looked up in PATH. Stopped, it is ended, and the result is `cancelled`.
core::Result<ToolEnd> run_tool(const std::vector<std::string>& argv, std::string_view input, const Stop& stop);
/// Whether there is such a program in PATH.
bool has_tool(const std::string& name);

}  // namespace deployrun::backup

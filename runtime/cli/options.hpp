// The command line of the program itself. What follows RECIPE and is none of these is the recipe's
// (deploy/command.lua).
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "core/result.hpp"

namespace deployrun::cli {

enum class Command { recipe, history, test, version, help };
enum class Mode { run, resume, abort };

struct Options {
  Command command = Command::help;
  std::filesystem::path recipe;
  std::vector<std::string> words;  ///< of the recipe's command, or the test files
  Mode mode = Mode::run;
  bool help = false;       ///< of the recipe
  bool plan = false;       ///< record changes instead of making them
  bool exit_code = false;  ///< of a plan: 6 when changes are pending
  std::string record;      ///< of a plan: where the facts that it saw are written
  bool force = false;
  bool unsafe = false;
  bool json = false;
  int verbosity = 0;  ///< -1 quiet, 0, 1, 2
  std::string color = "auto";
  std::filesystem::path stdlib;  ///< a folder used instead of the embedded one
  std::filesystem::path project = ".";
  int limit = 20;  ///< of history
};

/// Errors are `usage`. `help_text` is what --help prints.
core::Result<Options> parse_options(int argc, char** argv);
std::string help_text();

}  // namespace deployrun::cli

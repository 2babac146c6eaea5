// The command line of the program itself. What follows RECIPE and is none of these is the recipe's
// (deploy/command.lua).
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "cli/table.hpp"
#include "core/result.hpp"

namespace deployrun::cli {

enum class Mode { run, resume, abort };

struct Options {
  const CommandRow* command = nullptr;
  std::filesystem::path recipe;              ///< where a recipe is run, or is the word of a command
  std::vector<std::string> words;            ///< of the recipe's command, or of ours
  std::map<std::string, std::string> given;  ///< every option on the line, by name; a flag has an empty value
  Mode mode = Mode::run;
  bool help = false;
  bool plan = false;       ///< record changes instead of making them
  bool exit_code = false;  ///< of a plan: 6 when changes are pending
  std::string record;      ///< of a plan: where the facts that it saw are written
  std::string report;      ///< the page that a run leaves
  bool force = false;
  std::string lock_wait;  ///< how long a deploy lock that somebody else has is waited for
  bool unsafe = false;
  bool json = false;
  int verbosity = 0;  ///< -1 quiet, 0, 1, 2, 3
  std::string color = "auto";
  std::string progress = "auto";
  std::filesystem::path stdlib;  ///< a folder used instead of the embedded one
  std::filesystem::path project = ".";
};

/// Errors are `usage`.
core::Result<Options> parse_options(int argc, char** argv);

}  // namespace deployrun::cli

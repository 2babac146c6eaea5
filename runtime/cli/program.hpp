// The program: reads the command line, builds the one Context, runs one command, turns its outcome into an exit code.
#pragma once

namespace deployrun::cli {

/// Exit codes are DESIGN §3's: 0 done, 1 failed and undone, 2 usage, 3 lock held, 4 host unreachable, 5 needs a person,
/// 130/143.
int run_program(int argc, char** argv);

}  // namespace deployrun::cli

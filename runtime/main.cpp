// argv in, exit code out.
#include "cli/program.hpp"

int main(int argc, char** argv) { return deployrun::cli::run_program(argc, argv); }

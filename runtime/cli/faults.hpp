// The fault tests' seam (tests/fault): DEPLOYRUN_FAULT=before:N or after:N ends the process with SIGKILL around the Nth
// journal row, as a power cut would. Unset, nothing is installed.
#pragma once

#include <functional>

#include "journal/journal.hpp"

namespace deployrun::cli {

std::function<void(journal::Point, int)> fault_from_environment();

}  // namespace deployrun::cli

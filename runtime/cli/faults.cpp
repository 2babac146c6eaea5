#include "cli/faults.hpp"

#include <signal.h>
#include <unistd.h>

#include <cstdlib>
#include <string>

namespace deployrun::cli {

std::function<void(journal::Point, int)> fault_from_environment() {
  const char* text = std::getenv("DEPLOYRUN_FAULT");
  if (text == nullptr) return {};
  const std::string fault = text;
  const auto colon = fault.find(':');
  if (colon == std::string::npos) return {};
  const journal::Point where = fault.substr(0, colon) == "before" ? journal::Point::before : journal::Point::after;
  const int wanted = std::atoi(fault.c_str() + colon + 1);
  return [where, wanted](journal::Point point, int row) {
    if (point == where && row == wanted) kill(getpid(), SIGKILL);
  };
}

}  // namespace deployrun::cli

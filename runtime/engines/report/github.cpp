#include "report/github.hpp"

namespace deployrun::report {

std::string escape_command(std::string_view text, bool property) {
  std::string result;
  for (const char each : text) {
    switch (each) {
      case '%': result += "%25"; break;
      case '\r': result += "%0D"; break;
      case '\n': result += "%0A"; break;
      case ':': result += property ? "%3A" : ":"; break;
      case ',': result += property ? "%2C" : ","; break;
      default: result += each;
    }
  }
  return result;
}

}  // namespace deployrun::report

#include "core/lines.hpp"

#include <algorithm>
#include <utility>

namespace deployrun::core {

void LineSplitter::feed(std::string_view bytes, const Each& each) {
  while (!bytes.empty()) {
    const std::size_t end = bytes.find('\n');
    const std::size_t room = kLongest - line_.size();
    const std::size_t take = std::min({end, bytes.size(), room});
    line_ += bytes.substr(0, take);
    bytes.remove_prefix(take);
    if (!bytes.empty() && bytes.front() == '\n') {
      bytes.remove_prefix(1);
      if (!line_.empty() && line_.back() == '\r') line_.pop_back();
      give(each);
    } else if (line_.size() == kLongest) {
      give(each);
    }
  }
}

void LineSplitter::finish(const Each& each) {
  if (!line_.empty()) give(each);
}

void LineSplitter::give(const Each& each) { each(std::exchange(line_, {})); }

}  // namespace deployrun::core

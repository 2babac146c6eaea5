#include "report/collector.hpp"

#include <algorithm>
#include <array>
#include <string>
#include <string_view>

#include "report/event.hpp"

namespace deployrun::report {

namespace {

// What moves on a board, and what was asked for as data, is no part of a story.
constexpr std::array<std::string_view, 4> kNever{"task.progress", "pull.progress", "task.waiting", "print"};
// What comes by the thousand.
constexpr std::array<std::string_view, 5> kMany{"task.output", "engine.call", "command.ended", "probe.failed", "log"};

template <std::size_t size>
bool contains(const std::array<std::string_view, size>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

}  // namespace

void Collector::event(const Json& event) {
  const std::string type = text_of(event, "type");
  if (contains(kNever, type)) return;
  if (contains(kMany, type)) {
    const std::size_t size = json::dump(event).size();
    if (bytes_ + size > limit_) {
      ++left_out_;
      return;
    }
    bytes_ += size;
  }
  events_.push_back(event);
}

}  // namespace deployrun::report

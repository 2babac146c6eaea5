#include "report/json_lines.hpp"

namespace deployrun::report {

JsonLines::JsonLines(Output& output) : output_(output) {
  output_.on_dropped([](std::size_t lines) {
    return json::dump({{"v", 1}, {"type", "dropped"}, {"events", lines}}) + "\n";
  });
}

void JsonLines::event(const Json& event) {
  output_.write(json::dump(event) + "\n", event.value("type", "") == "print");
}

}  // namespace deployrun::report

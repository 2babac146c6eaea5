#include "report/error_text.hpp"

#include <algorithm>
#include <array>
#include <set>
#include <string_view>
#include <utility>
#include <vector>

#include "report/style.hpp"

namespace deployrun::report {

namespace {

constexpr std::size_t kLabel = 11;       // "  because  "
constexpr std::size_t kShownLines = 20;  // of a log: its end
// Written elsewhere in the block, or of no use to people.
constexpr std::array<std::string_view, 18> kTold{"kind",  "message", "host",   "step",   "hint",      "cause",
                                                 "also",  "history", "probes", "logs",   "stderr",    "stdout",
                                                 "where", "lines",   "source", "column", "traceback", "token"};

constexpr std::array<std::string_view, 5> kInHistory{"attempts", "first", "last", "ms", "status"};

std::string text_of(const Json& error, const char* key) {
  const auto found = error.find(key);
  return found != error.end() && found->is_string() ? found->get<std::string>() : std::string();
}

class Block {
 public:
  Block(std::size_t indent, bool color) : indent_(indent), color_(color) {}

  /// A layer that repeats what the one above it told is not heard twice.
  void row(std::string label, std::string_view text, Ink ink = Ink::plain) {
    if (text.empty() || !told_.emplace(label, text).second) return;
    label.resize(std::max(label.size() + 1, kLabel - 2), ' ');
    const std::size_t left = indent_ + 2 + label.size();
    out_ += std::string(indent_ + 2, ' ') + paint(label, Ink::dim, color_) +
            paint(indent_rest(text, left), ink, color_) + "\n";
  }
  void raw(std::string_view text) { out_ += text; }
  std::string take() { return std::move(out_); }

 private:
  std::size_t indent_;
  bool color_;
  std::string out_;
  std::set<std::pair<std::string, std::string>> told_;
};

std::string scalar_text(const Json& value) { return value.is_string() ? value.get<std::string>() : json::dump(value); }

/// A probe's story has a line per change of what it saw (http/history.hpp).
std::string history_text(const Json& history) {
  if (!history.is_array()) return scalar_text(history);
  std::string text;
  for (const Json& line : history) text += (text.empty() ? "" : "\n") + scalar_text(line);
  return text;
}

std::string log_text(const Json& log) {
  std::vector<std::string> lines;
  if (log.is_array()) {
    for (const Json& line : log) lines.push_back(line.is_object() ? text_of(line, "line") : scalar_text(line));
  } else {
    std::string line;
    for (const char each : scalar_text(log) + "\n") {
      if (each != '\n') {
        line += each;
      } else if (!line.empty() || !lines.empty()) {
        lines.push_back(std::exchange(line, {}));
      }
    }
    while (!lines.empty() && lines.back().empty()) lines.pop_back();
  }
  std::string text;
  const std::size_t from = lines.size() > kShownLines ? lines.size() - kShownLines : 0;
  if (from != 0) text = "(the last " + std::to_string(kShownLines) + " of " + std::to_string(lines.size()) + " lines)";
  for (std::size_t i = from; i < lines.size(); ++i) {
    if (!text.empty()) text += "\n";
    text += "| " + lines[i];
  }
  return text;
}

void add_details(Block& block, const Json& error) {
  for (const char* key : {"history", "probes"}) {
    if (error.contains(key)) block.row("probes", history_text(error[key]));
  }
  for (const auto& [key, label] :
       {std::pair{"logs", "log"}, std::pair{"stderr", "stderr"}, std::pair{"stdout", "stdout"}}) {
    if (error.contains(key) && (error[key].is_array() || error[key].is_string()))
      block.row(label, log_text(error[key]));
  }
  for (const auto& [key, value] : error.items()) {
    bool told = value.is_null() || value.is_structured() || value == false;
    if (error.contains("history")) {  // the story has these in it
      for (const auto each : kInHistory) told = told || key == each;
    }
    for (const auto each : kTold) told = told || key == each;
    if (told) continue;
    std::string label = key;
    std::replace(label.begin(), label.end(), '_', ' ');
    block.row(std::move(label), scalar_text(value));
  }
}

void add(std::string& out, const Json& error, std::size_t indent, const char* title, bool color) {
  const std::string head = std::string(title) + ": ";
  out += std::string(indent, ' ') + paint(head, Ink::red, color) +
         paint(indent_rest(text_of(error, "message"), indent + 2), Ink::bold, color) + "\n";
  Block block(indent, color);
  std::string place = text_of(error, "host");
  if (const auto step = text_of(error, "step"); !step.empty()) place += (place.empty() ? "" : ", ") + step;
  block.row("in", place);
  block.row("at", text_of(error, "where"));
  // Every cause tells its message; what its kind carries (probes, logs, an exit code) belongs to the same story.
  const Json* cause = &error;
  for (int depth = 0; depth < 16; ++depth) {
    add_details(block, *cause);
    const auto next = cause->find("cause");
    if (next == cause->end() || !next->is_object()) break;
    cause = &*next;
    block.row("because", text_of(*cause, "message"));
  }
  block.row("traceback", text_of(error, "traceback"), Ink::dim);
  block.row("kind", text_of(error, "kind"), Ink::dim);
  for (const Json* each = &error; each != nullptr;) {
    if (const auto hint = text_of(*each, "hint"); !hint.empty()) {
      block.row("try", hint, Ink::yellow);
      break;  // the outermost hint knows most
    }
    const auto next = each->find("cause");
    each = next != each->end() && next->is_object() ? &*next : nullptr;
  }
  out += block.take();
  if (const auto also = error.find("also"); also != error.end() && also->is_array() && indent < 8) {
    for (const Json& each : *also) {
      if (each.is_object()) add(out, each, indent + 2, "also", color);
    }
  }
}

}  // namespace

std::string error_text(const Json& error, bool color) {
  std::string out;
  add(out, error, 0, "error", color);
  return out;
}

std::string error_line_text(const Json& error) {
  if (!error.is_object()) return error.is_string() ? error.get<std::string>() : std::string();
  const std::string message = text_of(error, "message");
  return message.substr(0, message.find('\n'));
}

}  // namespace deployrun::report

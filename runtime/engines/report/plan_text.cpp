#include "report/plan_text.hpp"

#include <vector>

#include "report/style.hpp"

namespace deployrun::report {

namespace {

using json::Json;

std::string text_at(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

const Json& list_at(const Json& object, const char* key) {
  static const Json kNone = Json::array();
  const auto found = object.find(key);
  return found != object.end() && found->is_array() ? *found : kNone;
}

std::string diff_text(const std::string& diff, bool color) {
  std::string text;
  std::size_t from = 0;
  while (from <= diff.size()) {
    const std::size_t to = std::min(diff.find('\n', from), diff.size());
    const std::string line = diff.substr(from, to - from);
    const Ink ink = line.rfind('+', 0) == 0 ? Ink::green : line.rfind('-', 0) == 0 ? Ink::red : Ink::dim;
    text += "      " + paint(line, ink, color) + "\n";
    from = to + 1;
  }
  return text;
}

std::string file_text(const Json& change, bool color) {
  std::string text =
      "    " + paint((text_at(change, "state") == "new" ? "+ " : "~ ") + text_at(change, "path"), Ink::bold, color);
  std::string about;
  if (const auto mode = text_at(change, "mode"); !mode.empty()) about += " mode " + mode;
  if (const auto owner = text_at(change, "owner"); !owner.empty()) about += " owner " + owner;
  if (const auto content = text_at(change, "content"); !content.empty()) about += " " + content;
  const auto bytes = change.find("bytes");
  if (!change.contains("diff") && bytes != change.end() && bytes->is_number())
    about += " " + std::to_string(static_cast<long long>(bytes->get<double>())) + " bytes";
  text += paint(about, Ink::dim, color) + "\n";
  if (const auto diff = text_at(change, "diff"); !diff.empty()) text += diff_text(diff, color);
  return text;
}

std::string change_text(const Json& change, bool color) {
  if (text_at(change, "kind") == "file") return file_text(change, color);
  std::string text = "    " + indent_rest(text_at(change, "command"), 4);
  if (const auto note = text_at(change, "note"); !note.empty()) text += paint("  # " + note, Ink::dim, color);
  return text + "\n";
}

/// What would happen on a host, its name left out.
std::string host_text(const Json& host, bool color) {
  std::string text;
  for (const Json& change : list_at(host, "changes")) text += change_text(change, color);
  for (const Json& words : list_at(host, "waits")) {
    if (words.is_string()) text += "    " + paint("wait " + words.get<std::string>(), Ink::dim, color) + "\n";
  }
  return text;
}

}  // namespace

std::string plan_step_text(const Json& event, bool color) {
  std::vector<std::pair<std::string, std::string>> groups;  // the hosts' names, what would happen there
  std::string idle;
  for (const Json& host : list_at(event, "hosts")) {
    const std::string text = host_text(host, color);
    const std::string name = text_at(host, "host");
    if (text.empty()) {
      idle += (idle.empty() ? "" : ", ") + name;
      continue;
    }
    bool known = false;
    for (auto& [names, what] : groups) {
      if (what != text) continue;
      names += ", " + name;
      known = true;
    }
    if (!known) groups.emplace_back(name, text);
  }
  std::string title = text_at(event, "step");
  if (title.empty()) title = "outside of steps";
  const auto reads = event.find("reads");
  const bool reading = reads != event.end() && reads->is_boolean() && reads->get<bool>();
  if (groups.empty()) {
    return paint(title, Ink::bold, color) + paint(reading ? "  reads\n" : "  nothing to change\n", Ink::dim, color);
  }
  std::string text = paint(title, Ink::bold, color) + "\n";
  for (const auto& [names, what] : groups) text += "  " + names + "\n" + what;
  if (!idle.empty()) text += "  " + idle + paint("  nothing to change\n", Ink::dim, color);
  return text;
}

std::string plan_finished_text(const Json& event, bool color) {
  const auto changes = event.find("changes");
  const auto pending =
      changes != event.end() && changes->is_number() ? static_cast<long long>(changes->get<double>()) : 0;
  if (text_at(event, "state") != "done")
    return paint("the plan ends here; nothing was changed", Ink::red, color) + "\n";
  if (pending == 0) return paint("no changes", Ink::green, color) + "\n";
  return paint(count(pending, "change") + " pending; nothing was changed", Ink::yellow, color) + "\n";
}

}  // namespace deployrun::report

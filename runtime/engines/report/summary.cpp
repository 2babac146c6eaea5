#include "report/summary.hpp"

#include <algorithm>
#include <fstream>

#include "core/text.hpp"
#include "report/error_text.hpp"
#include "report/event.hpp"
#include "report/style.hpp"

namespace deployrun::report {

namespace {

constexpr std::size_t kLargestError = 65536;  // GitHub takes 1 MiB per step

/// A fence that nothing in `text` can close.
std::string fenced(const std::string& text) {
  std::size_t run = 0;
  std::size_t longest = 2;
  for (const char each : text) {
    run = each == '`' ? run + 1 : 0;
    longest = std::max(longest, run);
  }
  const std::string fence(longest + 1, '`');
  return fence + "text\n" + text + (text.ends_with('\n') ? "" : "\n") + fence + "\n";
}

}  // namespace

std::string markdown_text(std::string_view text) {
  std::string result;
  for (const char each : text) {
    if (each == '\n' || each == '\t') {
      result += ' ';
    } else if (std::string_view("\\`*_{}[]<>()#+-!|&~@:").find(each) != std::string_view::npos) {
      // A character reference is text in every place (CommonMark §2.5); a backslash is not, inside a table's cell.
      result += "&#" + std::to_string(static_cast<int>(each)) + ";";
    } else {
      result += each;
    }
  }
  return result;
}

void Summary::event(const Json& event) {
  const std::string type = text_of(event, "type");
  if (type == "run.started") {
    head_ = markdown_text(text_of(event, "command")) + ", " + markdown_text(text_of(event, "recipe"));
  } else if (type == "step.started") {
    const std::string name = (flag_of(event, "undo") ? "undo: " : "") + text_of(event, "step");
    steps_.push_back({.name = name, .hosts = integer_of(event, "hosts"), .state = {}, .ms = 0});
  } else if (type == "step.finished") {
    const auto name = text_of(event, "step");
    const auto found =
        std::find_if(steps_.rbegin(), steps_.rend(), [&](const Step& step) { return step.name == name; });
    if (found == steps_.rend()) {
      steps_.push_back({.name = name, .hosts = 0, .state = text_of(event, "state"), .ms = integer_of(event, "ms")});
    } else {
      found->state = text_of(event, "state");
      found->ms = integer_of(event, "ms");
    }
  } else if (type == "error" && event["error"].is_object() && error_.empty()) {
    error_ = core::to_utf8(error_text(event["error"], false).substr(0, kLargestError));
  } else if (type == "shipped") {
    notes_.push_back("shipped " + markdown_text(text_of(event, "app") + " " + text_of(event, "version")));
  } else if (type == "observer.summary") {
    notes_.push_back("observed " + markdown_text(text_of(event, "url")) + ": " +
                     count(integer_of(event, "requests"), "request") + ", " +
                     std::to_string(integer_of(event, "failed")) + " failed, longest gap " +
                     std::to_string(integer_of(event, "longest_gap_ms")) + " ms");
  } else if (type == "run.finished") {
    std::ofstream file(path_, std::ios::app | std::ios::binary);
    file << page(event);
  }
}

std::string Summary::page(const Json& finished) const {
  std::string text = "### " + std::string(text_of(finished, "state") == "done" ? "✅" : "❌") + " " + head_ + ": " +
                     markdown_text(text_of(finished, "state")) + " after " + duration(integer_of(finished, "ms")) +
                     "\n\n";
  for (const std::string& note : notes_) text += "* " + note + "\n";
  if (!notes_.empty()) text += "\n";
  if (!steps_.empty()) text += "| step | hosts | | time |\n|---|--:|---|--:|\n";
  for (const Step& step : steps_) {
    text += "| " + markdown_text(step.name) + " | " + (step.hosts != 0 ? std::to_string(step.hosts) : "") + " | " +
            markdown_text(step.state) + " | " + (step.ms != 0 ? duration(step.ms) : "") + " |\n";
  }
  if (!error_.empty()) text += "\n" + fenced(error_);
  return text + "\nrun " + markdown_text(text_of(finished, "run")) + "\n\n";
}

}  // namespace deployrun::report

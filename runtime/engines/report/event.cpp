#include "report/event.hpp"

namespace deployrun::report {

namespace {

std::string bytes_text(std::int64_t bytes) {
  if (bytes < 1'000'000) return std::to_string((bytes + 999) / 1000) + " kB";
  return std::to_string(bytes / 1'000'000) + " MB";
}

}  // namespace

std::string progress_text(const Json& event) {
  const auto total = integer_of(event, "total");
  const auto bytes = integer_of(event, "bytes");
  std::string text;
  if (total > 0) {
    text = bytes_text(bytes) + " of " + bytes_text(total);
  } else if (bytes > 0) {
    text = bytes_text(bytes);
  }
  if (const auto note = text_of(event, "note"); !note.empty()) text += (text.empty() ? "" : ", ") + note;
  return text;
}

std::string waiting_text(const Json& event) {
  std::string text = text_of(event, "what");
  if (const auto seen = text_of(event, "note"); !seen.empty()) text += ": " + seen;
  return text;
}

std::string where_of(const Json& error) {
  const Json* each = &error;
  for (int depth = 0; depth < 16 && each->is_object(); ++depth) {
    if (const auto where = text_of(*each, "where"); !where.empty()) return where;
    const auto cause = each->find("cause");
    if (cause == each->end()) break;
    each = &*cause;
  }
  return {};
}

}  // namespace deployrun::report

#include "http/history.hpp"

#include <cstdio>

namespace deployrun::http {

namespace {

std::string seconds(double ms) {
  char text[32];
  std::snprintf(text, sizeof text, "+%.1f s", ms / 1000.0);
  return text;
}

}  // namespace

bool History::Entry::again(double at_ms, const std::string& other) {
  if (count == 0 || text != other) return false;
  until_ms = at_ms;
  ++count;
  return true;
}

std::string History::Entry::line() const {
  std::string line = seconds(from_ms) + " " + text;
  if (count > 1) line += " (×" + std::to_string(count) + ", until " + seconds(until_ms) + ")";
  return line;
}

void History::add(double at_ms, std::string text) {
  ++attempts_;
  Entry& latest = last_.empty() ? first_ : last_.back();
  if (latest.again(at_ms, text)) return;
  Entry entry{at_ms, at_ms, 1, std::move(text)};
  if (first_.count == 0) {
    first_ = std::move(entry);
    return;
  }
  last_.push_back(std::move(entry));
  if (last_.size() > kLast) {
    left_out_ += last_.front().count;
    last_.pop_front();
  }
}

std::string History::text() const {
  if (first_.count == 0) return {};
  std::string text = first_.line();
  if (left_out_ > 0) text += "\n… " + std::to_string(left_out_) + " attempts left out";
  for (const Entry& entry : last_) text += "\n" + entry.line();
  return text;
}

}  // namespace deployrun::http

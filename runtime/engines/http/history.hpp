// The story of many attempts in a few lines: the first outcome and the latest ones, repetitions counted.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string>

namespace deployrun::http {

class History {
 public:
  static constexpr std::size_t kLast = 20;

  /// `at_ms` since the start; `text` is one line, already fit to be shown.
  void add(double at_ms, std::string text);
  /// One line each, oldest first: "+0.1 s connection refused (×12, until +4.2 s)".
  std::string text() const;
  const std::string& first() const noexcept { return first_.text; }
  const std::string& last() const noexcept { return last_.empty() ? first_.text : last_.back().text; }
  std::uint64_t attempts() const noexcept { return attempts_; }

 private:
  struct Entry {
    double from_ms = 0;
    double until_ms = 0;
    std::uint64_t count = 0;
    std::string text;
    bool again(double at_ms, const std::string& other);
    std::string line() const;
  };
  Entry first_;
  std::deque<Entry> last_;
  std::uint64_t left_out_ = 0;
  std::uint64_t attempts_ = 0;
};

}  // namespace deployrun::http

// Lines out of pieces.
#pragma once

#include <functional>
#include <string>
#include <string_view>

namespace deployrun::core {

/// Hands out whole lines, without \n or \r\n. A line longer than kLongest is handed out in parts.
class LineSplitter {
 public:
  static constexpr std::size_t kLongest = 64 * 1024;
  using Each = std::function<void(std::string)>;

  void feed(std::string_view bytes, const Each& each);
  /// A last line that had no end.
  void finish(const Each& each);

 private:
  void give(const Each& each);
  std::string line_;
};

}  // namespace deployrun::core

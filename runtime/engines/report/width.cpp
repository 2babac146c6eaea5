#include "report/width.hpp"

#include <clocale>
#include <cwchar>

#include "core/text.hpp"

namespace deployrun::report {

namespace {

/// wcwidth(3) knows the tables of Unicode, but asks the locale, and ours stays "C": this thread's is lent to it.
class Utf8 {
 public:
  Utf8() : locale_(::newlocale(LC_CTYPE_MASK, "C.UTF-8", nullptr)) {
    if (locale_ != nullptr) before_ = ::uselocale(locale_);
  }
  ~Utf8() {
    if (locale_ == nullptr) return;
    ::uselocale(before_);
    ::freelocale(locale_);
  }
  Utf8(const Utf8&) = delete;
  Utf8& operator=(const Utf8&) = delete;
  std::size_t width(char32_t point) const {
    if (point < 0x80 || locale_ == nullptr) return 1;
    const int columns = ::wcwidth(static_cast<wchar_t>(point));
    return columns < 0 ? 1 : static_cast<std::size_t>(columns);
  }

 private:
  locale_t locale_;
  locale_t before_ = nullptr;
};

std::size_t next(std::string_view text, char32_t& point) {
  const int length = core::utf8_sequence(text, point);
  if (length > 0) return static_cast<std::size_t>(length);
  point = 0xFFFD;
  return 1;
}

}  // namespace

std::size_t display_width(std::string_view text) {
  const Utf8 utf8;
  std::size_t columns = 0;
  char32_t point = 0;
  while (!text.empty()) {
    text.remove_prefix(next(text, point));
    columns += utf8.width(point);
  }
  return columns;
}

std::string fit(std::string_view text, std::size_t columns) {
  const Utf8 utf8;
  std::size_t used = 0;
  std::size_t kept = 0;  // bytes that leave a column for the mark
  char32_t point = 0;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t size = next(text.substr(at), point);
    used += utf8.width(point);
    if (used > columns) return columns == 0 ? std::string() : std::string(text.substr(0, kept)) + "…";
    at += size;
    if (used < columns) kept = at;
  }
  return std::string(text);
}

}  // namespace deployrun::report

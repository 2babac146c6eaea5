#include "core/text.hpp"

#include <algorithm>
#include <utility>

namespace deployrun::core {

namespace {

constexpr char32_t kReplacement = 0xFFFD;
constexpr char32_t kEscape = 0x1B;

bool between(char32_t point, char32_t first, char32_t last) { return point >= first && point <= last; }

/// Has no shape of its own, but changes how other text is seen or found.
bool invisible(char32_t point) {
  return point == 0xAD || point == 0x61C || point == 0x180E || between(point, 0x200B, 0x200F) ||
         between(point, 0x2028, 0x202E) || between(point, 0x2060, 0x206F) || point == 0xFEFF ||
         between(point, 0xFFF9, 0xFFFB) || between(point, 0xE0000, 0xE007F);
}

/// What a runner trims from the start of a line before it looks for a command.
bool space(char32_t point) {
  return point == ' ' || point == '\t' || point == 0xA0 || point == 0x1680 || between(point, 0x2000, 0x200A) ||
         point == 0x202F || point == 0x205F || point == 0x3000;
}

bool opens_string(char32_t point) {  // DCS, SOS, OSC, PM, APC as C1 controls (ECMA-48 §5.6)
  return point == 0x90 || point == 0x98 || between(point, 0x9D, 0x9F);
}

bool unreserved(char byte) {
  return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') || (byte >= '0' && byte <= '9') || byte == '-' ||
         byte == '.' || byte == '_' || byte == '~';
}

char lower_char(char byte) { return byte >= 'A' && byte <= 'Z' ? static_cast<char>(byte - 'A' + 'a') : byte; }

}  // namespace

int utf8_sequence(std::string_view bytes, char32_t& point) {
  const auto at = [&](std::size_t i) { return static_cast<unsigned char>(bytes[i]); };
  const unsigned char first = at(0);
  if (first < 0x80) {
    point = first;
    return 1;
  }
  // The second byte's range excludes overlong forms, surrogates and what lies beyond U+10FFFF (Unicode 15 table 3-7).
  int length = 0;
  unsigned char low = 0x80;
  unsigned char high = 0xBF;
  if (first >= 0xC2 && first <= 0xDF) {
    length = 2;
    point = first & 0x1FU;
  } else if (first >= 0xE0 && first <= 0xEF) {
    length = 3;
    point = first & 0x0FU;
    if (first == 0xE0) low = 0xA0;
    if (first == 0xED) high = 0x9F;
  } else if (first >= 0xF0 && first <= 0xF4) {
    length = 4;
    point = first & 0x07U;
    if (first == 0xF0) low = 0x90;
    if (first == 0xF4) high = 0x8F;
  } else {
    return 0;
  }
  for (std::size_t i = 1; i < static_cast<std::size_t>(length); ++i) {
    if (i == bytes.size()) return -1;
    if (at(i) < low || at(i) > high) return 0;
    point = (point << 6U) | (at(i) & 0x3FU);
    low = 0x80;
    high = 0xBF;
  }
  return length;
}

void append_utf8(std::string& text, char32_t point) {
  const auto put = [&](char32_t byte) { text += static_cast<char>(static_cast<unsigned char>(byte)); };
  if (point < 0x80) {
    put(point);
  } else if (point < 0x800) {
    put(0xC0U | (point >> 6U));
    put(0x80U | (point & 0x3FU));
  } else if (point < 0x10000) {
    put(0xE0U | (point >> 12U));
    put(0x80U | ((point >> 6U) & 0x3FU));
    put(0x80U | (point & 0x3FU));
  } else {
    put(0xF0U | (point >> 18U));
    put(0x80U | ((point >> 12U) & 0x3FU));
    put(0x80U | ((point >> 6U) & 0x3FU));
    put(0x80U | (point & 0x3FU));
  }
}

std::string OutputCleaner::feed(std::string_view bytes) {
  out_.reserve(bytes.size() + 8);
  std::size_t i = 0;
  while (i < bytes.size()) {
    // Most output is printable ASCII in the middle of a line: taken in one go.
    if (state_ == State::text && partial_.empty() && !carriage_ && !blank_ && !first_colon_) {
      const std::size_t begin = i;
      while (i < bytes.size() && bytes[i] >= ' ' && bytes[i] <= '~' && bytes[i] != '#' && bytes[i] != '[') ++i;
      if (i > begin) {
        out_.append(bytes.substr(begin, i - begin));
        hashes_ = 0;
        continue;
      }
    }
    byte(bytes[i++]);
  }
  return std::exchange(out_, {});
}

std::string OutputCleaner::finish() {
  if (!partial_.empty()) code_point(kReplacement);
  std::string rest = std::move(out_);
  *this = OutputCleaner();
  return rest;
}

void OutputCleaner::byte(char next) {
  partial_ += next;
  char32_t point = 0;
  const int length = utf8_sequence(partial_, point);
  if (length < 0) return;
  if (length > 0) {
    partial_.clear();
    code_point(point);
    return;
  }
  const bool again = partial_.size() > 1;  // the new byte broke a sequence: it may begin another
  partial_.clear();
  code_point(kReplacement);
  if (again) byte(next);
}

void OutputCleaner::code_point(char32_t point) {
  switch (state_) {
    case State::text: return text(point);
    case State::escape:
      if (point == kEscape) return;
      if (point == '[') {
        state_ = State::csi;
      } else if (point == ']' || point == 'P' || point == 'X' || point == '^' || point == '_') {
        state_ = State::string;
      } else if (between(point, 0x20, 0x2F)) {
        state_ = State::escape_more;
      } else {
        state_ = State::text;
        if (!between(point, 0x30, 0x7E)) text(point);
      }
      return;
    case State::escape_more:
    case State::csi: {
      const bool more = state_ == State::csi ? between(point, 0x20, 0x3F) : between(point, 0x20, 0x2F);
      const bool last = state_ == State::csi ? between(point, 0x40, 0x7E) : between(point, 0x30, 0x7E);
      if (more || (point < 0x20 && point != '\n' && point != 0x18 && point != 0x1A && point != kEscape)) return;
      state_ = State::text;
      if (!last) text(point);
      return;
    }
    case State::string:
    case State::string_escape:
      if (state_ == State::string_escape && point != '\\') {
        state_ = State::escape;
        return code_point(point);
      }
      if (point == '\\' && state_ == State::string) return;
      if (point == kEscape) {
        state_ = State::string_escape;
      } else if (point == '\\' || point == 0x07 || point == 0x9C || point == 0x18 || point == 0x1A) {
        state_ = State::text;
      } else if (point == '\n') {  // a terminal would go on swallowing; a log that swallows its rest helps nobody
        state_ = State::text;
        text(point);
      }
      return;
  }
}

void OutputCleaner::newline() {
  out_ += '\n';
  carriage_ = false;
  column_zero_ = true;
  blank_ = true;
  first_colon_ = false;
  hashes_ = 0;
}

void OutputCleaner::text(char32_t point) {
  if (point == kEscape) {
    state_ = State::escape;
    return;
  }
  if (point == 0x9B) {
    state_ = State::csi;
    return;
  }
  if (opens_string(point)) {
    state_ = State::string;
    return;
  }
  if (point == '\n') return newline();
  if (point == '\r') {
    carriage_ = true;
    return;
  }
  if ((point < 0x20 && point != '\t') || between(point, 0x7F, 0x9F) || invisible(point)) return;
  if (carriage_) {
    carriage_ = false;
    if (!column_zero_) newline();
  }
  column_zero_ = false;
  const bool command = (point == ':' && first_colon_) || (point == '[' && hashes_ >= 2);
  first_colon_ = point == ':' && blank_;
  hashes_ = point == '#' ? hashes_ + 1 : 0;
  if (!space(point)) blank_ = false;
  if (command) out_ += ' ';
  append_utf8(out_, point);
}

std::string clean(std::string_view bytes) {
  OutputCleaner cleaner;
  std::string text = cleaner.feed(bytes);
  text += cleaner.finish();
  return text;
}

std::string to_utf8(std::string_view bytes) {
  std::string text;
  text.reserve(bytes.size());
  while (!bytes.empty()) {
    char32_t point = 0;
    int length = utf8_sequence(bytes, point);
    if (length > 0) {
      text.append(bytes.substr(0, static_cast<std::size_t>(length)));
      bytes.remove_prefix(static_cast<std::size_t>(length));
      continue;
    }
    append_utf8(text, kReplacement);
    std::size_t bad = 1;  // as many bytes as were a valid beginning
    while (bad < bytes.size() && utf8_sequence(bytes.substr(0, bad + 1), point) < 0) ++bad;
    if (length < 0) bad = bytes.size();
    bytes.remove_prefix(bad);
  }
  return text;
}

bool is_utf8(std::string_view bytes) {
  while (!bytes.empty()) {
    char32_t point = 0;
    const int length = utf8_sequence(bytes, point);
    if (length <= 0) return false;
    bytes.remove_prefix(static_cast<std::size_t>(length));
  }
  return true;
}

std::string_view trim(std::string_view text) {
  constexpr std::string_view kSpaces = " \t\r\n";
  const std::size_t first = text.find_first_not_of(kSpaces);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kSpaces) - first + 1);
}

std::vector<std::string_view> lines(std::string_view text) {
  std::vector<std::string_view> found;
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    std::string_view line = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
    found.push_back(line);
  }
  return found;
}

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> found;
  for (;;) {
    const std::size_t end = text.find(separator);
    found.push_back(text.substr(0, end));
    if (end == std::string_view::npos) return found;
    text.remove_prefix(end + 1);
  }
}

std::string lower(std::string_view text) {
  std::string result(text);
  std::transform(result.begin(), result.end(), result.begin(), lower_char);
  return result;
}

bool equals_ignoring_case(std::string_view left, std::string_view right) {
  return std::equal(left.begin(), left.end(), right.begin(), right.end(),
                    [](char a, char b) { return lower_char(a) == lower_char(b); });
}

std::string_view tail(std::string_view text, std::size_t limit) {
  if (text.size() <= limit) return text;
  std::string_view rest = text.substr(text.size() - limit);
  const std::size_t line = rest.find('\n');
  if (line != std::string_view::npos && line < limit / 2) return rest.substr(line + 1);
  while (!rest.empty() && (static_cast<unsigned char>(rest.front()) & 0xC0U) == 0x80U) rest.remove_prefix(1);
  return rest;
}

std::string percent_encode(std::string_view bytes, std::string_view keep) {
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  std::string text;
  text.reserve(bytes.size());
  for (const char byte : bytes) {
    if (unreserved(byte) || keep.find(byte) != std::string_view::npos) {
      text += byte;
    } else {
      const auto value = static_cast<unsigned char>(byte);
      text += '%';
      text += kDigits[value >> 4U];
      text += kDigits[value & 0x0FU];
    }
  }
  return text;
}

}  // namespace deployrun::core

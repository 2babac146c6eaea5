// Text that came from elsewhere, made fit for a terminal and a log. Remote output is data: it may neither steer the
// terminal (CWE-150) nor the CI runner that reads our lines.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace deployrun::core {

/// Cleans output that arrives in pieces; what it returns for the pieces is what `clean` returns for the whole.
/// Removed: C0 and C1 controls except \n and \t, CSI/OSC/DCS/SOS/PM/APC sequences (one that does not end ends with its
/// line), DEL, bidi controls, zero-width marks, line and paragraph separators, tag characters. Changed: invalid UTF-8 →
/// U+FFFD; \r\n and a lone \r → \n. Workflow commands are broken up: `::` opening a line → `: :`, `##[` → `## [`.
class OutputCleaner {
 public:
  std::string feed(std::string_view bytes);
  /// What the last piece left open (half a character becomes U+FFFD). The cleaner is then as new.
  std::string finish();

 private:
  enum class State { text, escape, escape_more, csi, string, string_escape };
  void byte(char next);
  void code_point(char32_t point);
  void text(char32_t point);
  void newline();

  std::string out_;
  State state_ = State::text;
  std::string partial_;       // an unfinished UTF-8 sequence
  bool carriage_ = false;     // a \r whose successor is not known
  bool column_zero_ = true;   // nothing of this line was put out
  bool blank_ = true;         // nothing but white space in this line
  bool first_colon_ = false;  // the line so far is white space and one ':'
  unsigned hashes_ = 0;       // '#' directly before this place
};

/// The whole of `bytes` cleaned (see OutputCleaner).
std::string clean(std::string_view bytes);

/// Invalid UTF-8 replaced by U+FFFD (one for each maximal subpart, Unicode 15 §3.9), nothing else changed.
std::string to_utf8(std::string_view bytes);
bool is_utf8(std::string_view bytes);

/// Length in bytes of the UTF-8 sequence at the start of `bytes` (not empty), `point` then holds its code point; 0 when
/// it is invalid; -1 when it is a valid beginning that needs more bytes.
int utf8_sequence(std::string_view bytes, char32_t& point);
void append_utf8(std::string& text, char32_t point);

/// Without space, \t, \r, \n at both ends; a view into `text`.
std::string_view trim(std::string_view text);
/// Views into `text` without the \n or \r\n; a last line without \n counts, an empty text has none.
std::vector<std::string_view> lines(std::string_view text);
/// The pieces between `separator`; always at least one.
std::vector<std::string_view> split(std::string_view text, char separator);
/// ASCII letters only.
std::string lower(std::string_view text);
bool equals_ignoring_case(std::string_view left, std::string_view right);

/// At most `limit` bytes of the end of `text`: from the start of a line where one is near, never from inside a
/// character.
std::string_view tail(std::string_view text, std::size_t limit);

/// RFC 3986: everything but unreserved characters (and those in `keep`) as %XX.
std::string percent_encode(std::string_view bytes, std::string_view keep = {});

}  // namespace deployrun::core

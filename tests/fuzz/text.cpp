// Remote output on its way to a terminal and a log: cleaned and redacted, in whatever pieces it comes.
#include "core/text.hpp"
#include "core/base64.hpp"
#include "core/duration.hpp"
#include "core/redactor.hpp"
#include "fuzz.hpp"

namespace deployrun::fuzz {

void try_input(std::string_view bytes) {
  const std::string cleaned = core::clean(bytes);
  for (const char byte : cleaned) {
    const auto code = static_cast<unsigned char>(byte);
    check(code >= 0x20 || byte == '\n' || byte == '\t');
    check(code != 0x7f);
  }
  check(core::is_utf8(cleaned));
  core::OutputCleaner cleaner;
  std::string joined;
  for (const std::string_view piece : pieces(bytes)) joined += cleaner.feed(piece);
  check(joined + cleaner.finish() == cleaned);
  check(core::is_utf8(core::to_utf8(bytes)));
  check(core::is_utf8(core::to_utf8(core::tail(core::to_utf8(bytes), 16))));

  // The last line is the secret, the rest the text that may hold it.
  const std::size_t line = bytes.rfind('\n');
  core::Redactor redactor;
  const std::string value(line == std::string_view::npos ? "correct horse" : bytes.substr(line + 1));
  const bool masked = redactor.add(core::Secret("S", std::string(value)));
  const std::string redacted = redactor.redact(bytes);
  if (masked && value.find("secret:S") == std::string::npos &&
      std::string_view("[secret:S]").find(value) == std::string::npos) {
    std::string without = redacted;
    for (std::size_t at; (at = without.find("[secret:S]")) != std::string::npos;) without.replace(at, 10, "\0", 1);
    check(value.find('\0') != std::string::npos || without.find(value) == std::string::npos);
  }
  core::Redactor::Stream stream(redactor);
  std::string streamed;
  for (const std::string_view piece : pieces(bytes)) streamed += stream.feed(piece);
  check(streamed + stream.finish() == redacted);

  for (const auto alphabet : {core::Base64::standard, core::Base64::url}) {
    if (const auto decoded = core::base64_decode(bytes, alphabet))
      check(core::base64_decode(core::base64_encode(*decoded, alphabet), alphabet) == decoded);
  }
  (void)core::hex_decode(bytes);
  if (const auto duration = core::parse_duration(bytes)) (void)core::format_duration(*duration);
}

}  // namespace deployrun::fuzz

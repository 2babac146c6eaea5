#include "core/secret_forms.hpp"

#include <algorithm>

#include "core/base64.hpp"
#include "core/secret.hpp"
#include "core/text.hpp"

namespace deployrun::core {

namespace {

class Forms {
 public:
  explicit Forms(std::size_t shortest) : shortest_(shortest) {}

  void add(std::string form) {
    if (form.size() >= shortest_ && std::find(found_.begin(), found_.end(), form) == found_.end()) {
      found_.push_back(std::move(form));
    } else {
      wipe(form);
    }
  }
  std::vector<std::string> take() { return std::move(found_); }

 private:
  std::size_t shortest_;
  std::vector<std::string> found_;
};

/// The characters that depend on the value alone when `before` bytes stand in front of it, and anything behind.
std::string base64_core(std::string_view value, std::size_t before, Base64 alphabet) {
  std::string shifted(before, '\0');
  shifted += value;
  std::string text = base64_encode(shifted, alphabet, false);
  wipe(shifted);
  const std::size_t first = (8 * before + 5) / 6;
  const std::size_t last = 8 * (before + value.size()) / 6;
  std::string core = text.substr(first, last - first);
  wipe(text);
  return core;
}

void add_base64(Forms& forms, std::string_view value) {
  for (const Base64 alphabet : {Base64::standard, Base64::url}) {
    for (std::size_t before = 0; before < 3; ++before) forms.add(base64_core(value, before, alphabet));
  }
  // base64(1) breaks lines at 76 characters, PEM at 64: each full line is a form of its own.
  for (const std::size_t line : {std::size_t{57}, std::size_t{48}}) {
    for (std::size_t i = 0; value.size() > line && i < value.size(); i += line) {
      forms.add(base64_core(value.substr(i, line), 0, Base64::standard));
    }
  }
}

void add_percent(Forms& forms, std::string_view value) {
  // RFC 3986 strictly; JavaScript's encodeURIComponent and encodeURI; Go's and curl's idea of user information.
  for (const std::string_view keep : {"", "!'()*", ";/?:@&=+$,#!'()*", "$&+,;=", "/"}) {
    std::string upper = percent_encode(value, keep);
    std::string low = upper;
    for (std::size_t i = 0; i + 2 < low.size(); ++i) {
      if (low[i] != '%') continue;
      for (std::size_t k = i + 1; k < i + 3; ++k) {
        if (low[k] >= 'A' && low[k] <= 'F') low[k] = static_cast<char>(low[k] - 'A' + 'a');
      }
    }
    if (value.find(' ') != std::string_view::npos) {  // application/x-www-form-urlencoded
      std::string form = upper;
      for (std::size_t at = form.find("%20"); at != std::string::npos; at = form.find("%20", at))
        form.replace(at, 3, "+");
      forms.add(std::move(form));
    }
    forms.add(std::move(upper));
    forms.add(std::move(low));
  }
}

enum class JsonStyle { minimal, slashes, html, ascii };

void append_u(std::string& text, char32_t unit) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  text += "\\u";
  for (unsigned shift = 16; shift > 0; shift -= 4) text += kDigits[(unit >> (shift - 4)) & 0x0FU];
}

std::string json_inside(std::string_view value, JsonStyle style) {
  std::string text;
  while (!value.empty()) {
    char32_t point = 0;
    const int length = utf8_sequence(value, point);
    const std::size_t size = length > 0 ? static_cast<std::size_t>(length) : 1;
    const char byte = value[0];
    constexpr std::string_view kShort = "\"\\\n\t\r\b\f";
    constexpr std::string_view kLetters = "\"\\ntrbf";
    if (const std::size_t at = kShort.find(byte); at != std::string_view::npos) {
      text += '\\';
      text += kLetters[at];
    } else if (length == 1 && (point < 0x20 || (style == JsonStyle::ascii && point == 0x7F))) {
      append_u(text, point);
    } else if (style == JsonStyle::slashes && byte == '/') {
      text += "\\/";
    } else if (style == JsonStyle::html && (byte == '&' || byte == '<' || byte == '>')) {
      append_u(text, point);
    } else if (style == JsonStyle::ascii && length > 1) {
      if (point >= 0x10000) {
        append_u(text, 0xD800U + ((point - 0x10000U) >> 10U));
        append_u(text, 0xDC00U + ((point - 0x10000U) & 0x3FFU));
      } else {
        append_u(text, point);
      }
    } else {
      text += value.substr(0, size);
    }
    value.remove_prefix(size);
  }
  return text;
}

/// Every character of `which` with `before` put in front of it.
std::string prefixed(std::string_view value, std::string_view which, std::string_view before) {
  std::string text;
  for (const char byte : value) {
    if (which.find(byte) != std::string_view::npos) text += before;
    text += byte;
  }
  return text;
}

std::string replaced(std::string_view value, char which, std::string_view with) {
  std::string text;
  for (const char byte : value) {
    if (byte == which) {
      text += with;
    } else {
      text += byte;
    }
  }
  return text;
}

void add_quoted(Forms& forms, std::string_view value) {
  for (const JsonStyle style : {JsonStyle::minimal, JsonStyle::slashes, JsonStyle::html, JsonStyle::ascii}) {
    forms.add(json_inside(value, style));  // minimal is the inside of a YAML "…" as well
  }
  forms.add(prefixed(value, "'", "'"));         // YAML '…'
  forms.add(replaced(value, '\'', "'\\''"));    // sh '…' with '\''
  forms.add(replaced(value, '\'', "'\"'\"'"));  // sh '…' with '"'"'
  forms.add(prefixed(value, "\"$`\\", "\\"));   // sh "…"
  forms.add(prefixed(value, "'", "\\"));        // $'…', and languages with '…'
  // printf %q, Ruby's Shellwords: every character that is special gets a backslash.
  forms.add(prefixed(value, " \t!\"#$&'()*,:;<=>?@[\\]^`{|}~%", "\\"));
  forms.add(prefixed(value, " \t!\"#$&'()*;<>?[\\]^`{|}", "\\"));
}

void add_all(Forms& forms, std::string_view value) {
  forms.add(std::string(value));
  add_base64(forms, value);
  std::string hex = hex_encode(value);
  std::string upper = hex;
  std::transform(upper.begin(), upper.end(), upper.begin(),
                 [](char c) { return c >= 'a' ? static_cast<char>(c - 32) : c; });
  forms.add(std::move(hex));
  forms.add(std::move(upper));
  add_percent(forms, value);
  add_quoted(forms, value);
}

}  // namespace

std::vector<std::string> secret_forms(std::string_view value, std::size_t shortest) {
  Forms forms(shortest);
  if (value.size() < shortest) return {};
  add_all(forms, value);
  const std::string_view trimmed = trim(value);
  if (trimmed.size() >= shortest && trimmed.size() < value.size()) add_all(forms, trimmed);
  const auto pieces = lines(value);
  if (pieces.size() > 1) {
    for (const std::string_view line : pieces) {
      const std::string_view piece = trim(line);
      // The frame of a PEM file is no secret and stands in many logs.
      if (!piece.starts_with("-----")) forms.add(std::string(piece));
    }
  }
  return forms.take();
}

}  // namespace deployrun::core

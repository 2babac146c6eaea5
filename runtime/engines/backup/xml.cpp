#include "backup/xml.hpp"

#include <array>
#include <cstdint>
#include <utility>

#include "core/text.hpp"

namespace deployrun::backup {

namespace {

constexpr std::array<std::pair<std::string_view, char>, 5> kEntities = {
    {{"amp", '&'}, {"lt", '<'}, {"gt", '>'}, {"quot", '"'}, {"apos", '\''}}};

/// What `&entity;` stands for; nothing for what nobody knows.
std::string resolve(std::string_view entity) {
  for (const auto& [name, letter] : kEntities) {
    if (entity == name) return {letter};
  }
  if (entity.size() < 2 || entity.size() > 9 || entity.front() != '#') return {};
  const bool hexadecimal = entity[1] == 'x';
  const std::string_view digits = entity.substr(hexadecimal ? 2 : 1);
  char32_t point = 0;
  for (const char digit : digits) {
    int value = -1;
    if (digit >= '0' && digit <= '9') value = digit - '0';
    if (hexadecimal && digit >= 'a' && digit <= 'f') value = digit - 'a' + 10;
    if (hexadecimal && digit >= 'A' && digit <= 'F') value = digit - 'A' + 10;
    if (value < 0) return {};
    point = point * (hexadecimal ? 16 : 10) + static_cast<char32_t>(value);
  }
  if (digits.empty() || point == 0 || point > 0x10FFFF || (point >= 0xD800 && point < 0xE000)) return {};
  std::string text;
  core::append_utf8(text, point);
  return text;
}

/// Where `<name>` or `<name …>` begins from `at` on, and where its content does.
bool find_open(std::string_view text, std::string_view name, std::size_t& at, std::size_t& content) {
  for (at = text.find('<', at); at != std::string_view::npos; at = text.find('<', at + 1)) {
    if (text.substr(at + 1, name.size()) != name) continue;
    const std::size_t behind = at + 1 + name.size();
    if (behind >= text.size()) return false;
    if (text[behind] != '>' && text[behind] != ' ' && text[behind] != '\n') continue;
    const std::size_t end = text.find('>', behind);
    if (end == std::string_view::npos) return false;
    if (text[end - 1] == '/') continue;  // an empty element
    content = end + 1;
    return true;
  }
  return false;
}

}  // namespace

std::vector<std::string_view> xml_elements(std::string_view text, std::string_view name) {
  std::vector<std::string_view> found;
  const std::string closing = "</" + std::string(name) + ">";
  std::size_t at = 0, content = 0;
  while (find_open(text, name, at, content)) {
    const std::size_t end = text.find(closing, content);
    if (end == std::string_view::npos) break;
    found.push_back(text.substr(content, end - content));
    at = end + closing.size();
  }
  return found;
}

std::string xml_text(std::string_view text, std::string_view name) {
  const std::string closing = "</" + std::string(name) + ">";
  std::size_t at = 0, content = 0;
  if (!find_open(text, name, at, content)) return {};
  const std::size_t end = text.find(closing, content);
  if (end == std::string_view::npos) return {};
  const std::string_view raw = text.substr(content, end - content);
  std::string resolved;
  for (std::size_t place = 0; place < raw.size(); ++place) {
    const std::size_t semicolon = raw[place] == '&' ? raw.find(';', place) : std::string_view::npos;
    if (semicolon == std::string_view::npos) {
      resolved += raw[place];
      continue;
    }
    resolved += resolve(raw.substr(place + 1, semicolon - place - 1));
    place = semicolon;
  }
  return resolved;
}

std::string xml_escape(std::string_view text) {
  std::string escaped;
  for (const char letter : text) {
    bool known = false;
    for (const auto& [name, stands_for] : kEntities) {
      if (letter != stands_for) continue;
      escaped += "&" + std::string(name) + ";";
      known = true;
    }
    if (!known) escaped += letter;
  }
  return escaped;
}

}  // namespace deployrun::backup

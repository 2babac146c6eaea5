#include "core/secret_file.hpp"

#include <algorithm>
#include <cstdlib>
#include <map>

#include "core/files.hpp"
#include "core/nearest.hpp"

namespace deployrun::core {

namespace {

constexpr std::size_t kMaxBytes = 1U << 20U;

bool name_start(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
bool name_part(char c) { return name_start(c) || (c >= '0' && c <= '9'); }

class Parser {
 public:
  Parser(std::string_view text, const std::string& source, const Lookup& lookup)
      : text_(text), source_(source), lookup_(lookup) {}
  ~Parser() {
    for (auto& [name, value] : values_) wipe(value);
  }
  Parser(const Parser&) = delete;
  Parser& operator=(const Parser&) = delete;

  Result<std::vector<Secret>> run() {
    if (text_.starts_with("\xef\xbb\xbf")) at_ = 3;
    while (at_ < text_.size() && !error_) line();
    if (error_) return std::move(*error_);
    std::vector<Secret> secrets;
    for (const std::string& name : order_) secrets.emplace_back(name, std::string(values_[name]));
    return secrets;
  }

 private:
  char peek() const { return at_ < text_.size() ? text_[at_] : '\n'; }
  bool end() const { return at_ >= text_.size(); }
  void skip_blanks() {
    while (peek() == ' ' || peek() == '\t' || (peek() == '\r' && !end())) ++at_;
  }

  void fail(const char* kind, std::string why, std::size_t offset, std::string hint = {}) {
    if (error_) return;
    const auto [line, column] = place(offset);
    const std::string where = source_ + ":" + std::to_string(line) + ":" + std::to_string(column);
    error_ = Error{.kind = kind, .message = where + ": " + why, .hint = std::move(hint)};
    error_->details = {{"source", source_},
                       {"line", static_cast<std::int64_t>(line)},
                       {"column", static_cast<std::int64_t>(column)},
                       {"where", where}};
  }

  std::pair<std::size_t, std::size_t> place(std::size_t offset) const {
    const std::string_view before = text_.substr(0, offset);
    const std::size_t newline = before.rfind('\n');
    return {1 + static_cast<std::size_t>(std::count(before.begin(), before.end(), '\n')),
            1 + (newline == std::string_view::npos ? before.size() : before.size() - newline - 1)};
  }

  void line() {
    skip_blanks();
    if (peek() == '#') skip_line();
    if (peek() == '\n') {
      ++at_;
      return;
    }
    if (text_.substr(at_).starts_with("export ")) {
      at_ += 7;
      skip_blanks();
    }
    const std::size_t start = at_;
    while (name_part(peek())) ++at_;
    const std::string name(text_.substr(start, at_ - start));
    if (name.empty() || !name_start(name[0])) return fail("secret.file", "expected NAME=VALUE", start);
    skip_blanks();
    if (peek() != '=') return fail("secret.file", "expected NAME=VALUE", start);
    ++at_;
    skip_blanks();
    if (const auto known = lines_.find(name); known != lines_.end()) {
      return fail("secret.file", name + " stands here and in line " + std::to_string(known->second), start);
    }
    lines_[name] = place(start).first;
    std::string value = this->value();
    if (error_) return wipe(value);
    values_[name] = std::move(value);
    order_.push_back(name);
  }

  void skip_line() {
    while (!end() && peek() != '\n') ++at_;
  }

  std::string value() {
    const char quote = peek();
    if (quote != '\'' && quote != '"') return bare();
    const std::size_t start = at_++;
    std::string value;
    while (!end() && text_[at_] != quote) {
      if (quote == '"' && text_[at_] == '\\' && at_ + 1 < text_.size()) {
        value += escaped(text_[at_ + 1]);
        at_ += 2;
      } else if (quote == '"' && text_[at_] == '$') {
        value += expansion();
        if (error_) return value;
      } else {
        value += text_[at_++];
      }
    }
    if (end()) {
      fail("secret.file", "the quote is never closed", start);
      return value;
    }
    ++at_;
    skip_blanks();
    if (peek() == '#') skip_line();
    if (peek() != '\n') fail("secret.file", "text after the closing quote", at_);
    return value;
  }

  static std::string escaped(char next) {
    if (next == 'n') return "\n";
    if (next == 't') return "\t";
    if (next == '"' || next == '\\' || next == '$') return std::string(1, next);
    return std::string("\\") + next;
  }

  std::string bare() {
    std::string value;
    while (peek() != '\n') {
      const char next = text_[at_];
      if (next == '#' && (value.empty() || value.back() == ' ' || value.back() == '\t')) {
        skip_line();
        break;
      }
      if (next == '$') {
        value += expansion();
        if (error_) break;
      } else {
        value += next;
        ++at_;
      }
    }
    // Blanks in front were skipped before; those behind go now.
    value.resize(value.find_last_not_of(" \t\r") + 1);
    return value;
  }

  std::string expansion() {
    const std::size_t start = at_++;
    if (peek() == '(') {
      fail("secret.file", "commands are not run", start,
           "write the value, or set it in the environment and name it as $NAME; in single quotes it is plain text");
      return {};
    }
    const bool braces = peek() == '{';
    if (braces) ++at_;
    const std::size_t name_at = at_;
    if (name_start(peek())) {
      while (name_part(peek())) ++at_;
    }
    const std::string name(text_.substr(name_at, at_ - name_at));
    if (name.empty() && !braces) return "$";
    if (braces && (name.empty() || peek() != '}')) {
      fail("secret.file", "expected ${NAME}", start, "in single quotes it is plain text");
      return {};
    }
    if (braces) ++at_;
    if (const auto known = values_.find(name); known != values_.end()) return known->second;
    if (auto found = lookup_(name)) return std::move(*found);
    const auto near = nearest(name, order_);
    fail("secret.missing", "$" + name + " is neither above in this file nor in the environment", start,
         near ? "did you mean '$" + *near + "'?" : "set it, or put the value in single quotes if it is plain text");
    if (error_) error_->details["name"] = name;
    return {};
  }

  std::string_view text_;
  const std::string& source_;
  const Lookup& lookup_;
  std::size_t at_ = 0;
  std::map<std::string, std::string> values_;
  std::map<std::string, std::size_t> lines_;
  std::vector<std::string> order_;
  std::optional<Error> error_;
};

std::optional<std::string> from_environment(const std::string& name) {
  const char* value = std::getenv(name.c_str());
  if (value == nullptr) return std::nullopt;
  return std::string(value);
}

}  // namespace

Result<std::vector<Secret>> parse_secrets(std::string_view text, const std::string& source, const Lookup& lookup) {
  return Parser(text, source, lookup).run();
}

Result<SecretFile> read_secret_file(const std::string& path) {
  const auto unreadable = [&path](Error cause) {
    Error error{.kind = "secret.file", .message = "secrets " + path + ": cannot be read"};
    error.details["source"] = path;
    if (cause.is("files.not_found")) {
      error.message = "secrets " + path + ": not found";
      error.hint = "create it with NAME=VALUE lines, readable by you alone (chmod 600)";
    }
    return wrap(std::move(error), std::move(cause));
  };
  auto text = read_file_now(path, kMaxBytes);
  if (!text) return unreadable(std::move(text).error());
  auto secrets = parse_secrets(*text, path, from_environment);
  wipe(*text);
  if (!secrets) return std::move(secrets).error();
  SecretFile file{std::move(secrets).value(), {}};
  const auto stat = stat_file_now(path);
  if (stat.ok() && stat->has_value() && (*stat)->type == FileType::file && ((*stat)->mode & 077U) != 0) {
    file.warning = path + ": others may read this file of secrets; chmod 600 " + path;
  }
  return file;
}

}  // namespace deployrun::core

#include "json/json.hpp"

#include <algorithm>
#include <iterator>
#include <set>
#include <vector>

#include "core/text.hpp"

namespace deployrun::json {

namespace {

/// Walks the text and leaves behind how far the parser has read: its events carry no position.
class Cursor {
 public:
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  Cursor(const char* at, const char** seen) : at_(at), seen_(seen) {}
  reference operator*() const { return *at_; }
  Cursor& operator++() {
    *seen_ = ++at_;
    return *this;
  }
  Cursor operator++(int) {
    Cursor before = *this;
    ++*this;
    return before;
  }
  bool operator==(const Cursor& other) const { return at_ == other.at_; }
  bool operator!=(const Cursor& other) const { return at_ != other.at_; }

 private:
  const char* at_;
  const char** seen_;
};

/// Builds the value and stops at the first limit. The names are nlohmann's (json_sax).
class Builder {
 public:
  using number_integer_t = Json::number_integer_t;
  using number_unsigned_t = Json::number_unsigned_t;
  using number_float_t = Json::number_float_t;
  using string_t = Json::string_t;
  using binary_t = Json::binary_t;

  Builder(std::string_view text, const char* const* seen, const Limits& limits)
      : text_(text), seen_(seen), limits_(limits) {}

  bool null() { return put(nullptr); }
  bool boolean(bool value) { return put(value); }
  bool number_integer(number_integer_t value) { return put(value); }
  bool number_unsigned(number_unsigned_t value) { return put(value); }
  bool number_float(number_float_t value, const string_t&) { return put(value); }
  bool string(string_t& value) { return put(std::move(value)); }
  bool binary(binary_t&) { return stop("binary value", offset()); }
  bool start_object(std::size_t) { return open(Json::object()); }
  bool start_array(std::size_t) { return open(Json::array()); }
  bool end_object() { return close(); }
  bool end_array() { return close(); }

  bool key(string_t& name) {
    Json& object = *open_.back();
    const auto [place, fresh] = object.get_ref<Json::object_t&>().emplace(name, nullptr);
    if (!fresh)
      return stop("key '" + core::clean(name.substr(0, 80)) + "' stands twice in one object", start_of_string());
    member_ = &place->second;
    return true;
  }

  bool parse_error(std::size_t position, const std::string&, const nlohmann::detail::exception& failure) {
    // "[json.exception.parse_error.101] parse error at line 1, column 2: syntax error while …": the last part.
    const std::string whole = failure.what();
    const std::size_t colon = whole.find(": ");
    return stop(core::clean(colon == std::string::npos ? whole : whole.substr(colon + 2)),
                position > 0 ? position - 1 : 0);
  }

  bool stop(std::string why, std::size_t offset) {
    why_ = std::move(why);
    stopped_at_ = std::min(offset, text_.size());
    return false;
  }

  Json take() { return std::move(root_); }
  const std::string& why() const { return why_; }
  std::size_t stopped_at() const { return stopped_at_; }

 private:
  std::size_t offset() const { return static_cast<std::size_t>(*seen_ - text_.data()); }

  /// The parser stands behind the closing quote; the opening one has no odd run of backslashes in front.
  std::size_t start_of_string() const {
    std::size_t at = std::max<std::size_t>(offset(), 2) - 2;
    for (; at > 0; --at) {
      if (text_[at] != '"') continue;
      std::size_t slashes = 0;
      while (slashes < at && text_[at - 1 - slashes] == '\\') ++slashes;
      if (slashes % 2 == 0) break;
    }
    return at;
  }

  Json* place(Json&& value) {
    if (open_.empty()) {
      root_ = std::move(value);
      return &root_;
    }
    Json& parent = *open_.back();
    if (parent.is_array()) {
      parent.push_back(std::move(value));
      return &parent.back();
    }
    *member_ = std::move(value);
    return member_;
  }

  bool count() {
    if (++nodes_ > limits_.nodes) return stop("more than " + std::to_string(limits_.nodes) + " values", offset());
    return true;
  }
  bool put(Json&& value) {
    if (!count()) return false;
    place(std::move(value));
    return true;
  }
  bool open(Json&& value) {
    if (!count()) return false;
    if (open_.size() == limits_.depth) return stop("nested deeper than " + std::to_string(limits_.depth), offset());
    open_.push_back(place(std::move(value)));
    return true;
  }
  bool close() {
    open_.pop_back();
    return true;
  }

  std::string_view text_;
  const char* const* seen_;
  const Limits& limits_;
  Json root_;
  std::vector<Json*> open_;  // an open container is the last element of its parent: pushing does not move it
  Json* member_ = nullptr;
  std::size_t nodes_ = 0;
  std::string why_;
  std::size_t stopped_at_ = 0;
};

core::Error failed(std::string_view source, std::string_view text, std::size_t offset, const std::string& why) {
  const std::string_view before = text.substr(0, offset);
  const std::size_t line = 1 + static_cast<std::size_t>(std::count(before.begin(), before.end(), '\n'));
  const std::size_t start = before.rfind('\n');
  const std::size_t column = 1 + (start == std::string_view::npos ? before.size() : before.size() - start - 1);
  core::Error error{.kind = "json.parse"};
  error.message = (source.empty() ? std::string("json") : std::string(source)) + ":" + std::to_string(line) + ":" +
                  std::to_string(column) + ": " + why;
  error.details = {{"line", static_cast<std::int64_t>(line)}, {"column", static_cast<std::int64_t>(column)}};
  if (!source.empty()) error.details.emplace("source", std::string(source));
  return error;
}

}  // namespace

core::Result<Json> parse(std::string_view text, const Limits& limits, std::string_view source) {
  if (text.size() > limits.bytes)
    return failed(source, {}, 0, "larger than " + std::to_string(limits.bytes) + " bytes");
  const char* seen = text.data();
  Builder builder(text, &seen, limits);
  const Cursor begin(text.data(), &seen);
  const Cursor end(text.data() + text.size(), &seen);
  if (!Json::sax_parse(begin, end, &builder)) return failed(source, text, builder.stopped_at(), builder.why());
  return builder.take();
}

std::string dump(const Json& value, bool pretty) {
  return value.dump(pretty ? 2 : -1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace deployrun::json

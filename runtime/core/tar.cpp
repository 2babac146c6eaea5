#include "core/tar.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <optional>

namespace deployrun::core {

namespace {

constexpr std::uint64_t kOctalLimit = 1ULL << 33U;  // what 11 octal digits hold

/// A field up to its first NUL.
std::string text_field(std::string_view block, std::size_t at, std::size_t length) {
  const std::string_view field = block.substr(at, length);
  return std::string(field.substr(0, field.find('\0')));
}

/// Octal digits, or GNU's base 256 for what needs more.
std::optional<std::uint64_t> number_field(std::string_view block, std::size_t at, std::size_t length) {
  std::string_view field = block.substr(at, length);
  if ((static_cast<unsigned char>(field[0]) & 0x80U) != 0) {
    std::uint64_t value = static_cast<unsigned char>(field[0]) & 0x7fU;
    for (const char byte : field.substr(1)) {
      if ((value >> 55U) != 0) return {};
      value = (value << 8U) | static_cast<unsigned char>(byte);
    }
    return value;
  }
  while (!field.empty() && field.front() == ' ') field.remove_prefix(1);
  field = field.substr(0, field.find_first_of(std::string_view(" \0", 2)));
  std::uint64_t value = 0;
  const auto [end, wrong] = std::from_chars(field.data(), field.data() + field.size(), value, 8);
  if (!field.empty() && (wrong != std::errc{} || end != field.data() + field.size())) return {};
  return value;
}

unsigned checksum(std::string_view block) {
  unsigned sum = 0;
  for (std::size_t at = 0; at < block.size(); ++at)
    sum += at >= 148 && at < 156 ? static_cast<unsigned>(' ') : static_cast<unsigned char>(block[at]);
  return sum;
}

void put_number(std::string& block, std::size_t at, int digits, std::uint64_t value) {
  std::array<char, 24> text{};
  std::snprintf(text.data(), text.size(), "%0*llo", digits, static_cast<unsigned long long>(value));
  block.replace(at, static_cast<std::size_t>(digits), text.data(), static_cast<std::size_t>(digits));
}

std::string header_block(const TarMember& member) {
  std::string block(512, '\0');
  member.name.copy(block.data(), std::min<std::size_t>(member.name.size(), 100));
  put_number(block, 100, 7, member.mode & 07777U);
  put_number(block, 108, 7, member.uid);
  put_number(block, 116, 7, member.gid);
  put_number(block, 124, 11, member.size < kOctalLimit ? member.size : 0);
  put_number(block, 136, 11,
             static_cast<std::uint64_t>(std::clamp<std::int64_t>(member.modified, 0, (1LL << 33U) - 1)));
  block[156] = member.type;
  member.target.copy(block.data() + 157, std::min<std::size_t>(member.target.size(), 100));
  block.replace(257, 8,
                std::string("ustar\0"
                            "00",
                            8));
  put_number(block, 148, 6, checksum(block));
  block[155] = ' ';
  return block;
}

/// "<length> path=<value>\n", the length counting itself.
std::string pax_record(const std::string& key, const std::string& value) {
  const std::string rest = " " + key + "=" + value + "\n";
  std::size_t length = rest.size() + 1;
  while (std::to_string(length).size() + rest.size() != length) ++length;
  return std::to_string(length) + rest;
}

}  // namespace

std::size_t tar_padding(std::uint64_t size) noexcept { return static_cast<std::size_t>((512 - size % 512) % 512); }

Error TarReader::broken(const std::string& why) const {
  return {.kind = kind_of_errors_, .message = "the archive cannot be read: " + why};
}

Result<Unit> TarReader::feed(std::string_view bytes) {
  while (!bytes.empty()) {
    if (state_ == State::ended) return Unit{};  // padding to the record's size
    if (state_ == State::header) {
      const std::size_t count = std::min(bytes.size(), kBlock - block_.size());
      block_ += bytes.substr(0, count);
      bytes.remove_prefix(count);
      if (block_.size() < kBlock) break;
      if (auto read = header(); !read) return read;
      block_.clear();
      continue;
    }
    const bool in_data = state_ != State::padding;
    const auto count = static_cast<std::size_t>(std::min<std::uint64_t>(bytes.size(), in_data ? left_ : padding_));
    const std::string_view piece = bytes.substr(0, count);
    bytes.remove_prefix(count);
    if (state_ == State::extended) {
      content_ += piece;
    } else if (state_ == State::data && take_.data) {
      take_.data(piece);
    }
    if (kind_ != '0') headers_ += piece;
    (in_data ? left_ : padding_) -= count;
    if (in_data && left_ == 0) {
      if (state_ == State::extended) extended();
      if (state_ == State::data && take_.end) take_.end();
      state_ = padding_ == 0 ? State::header : State::padding;
    } else if (!in_data && padding_ == 0) {
      state_ = State::header;
    }
  }
  return Unit{};
}

Result<Unit> TarReader::header() {
  if (block_.find_first_not_of('\0') == block_.npos) {
    state_ = State::ended;
    return Unit{};
  }
  const auto sum = number_field(block_, 148, 8);
  const auto size = number_field(block_, 124, 12);
  if (!sum || *sum != checksum(block_) || !size) return broken("a header's checksum is wrong");
  const char type = block_[156] == '\0' ? '0' : block_[156];
  headers_ += block_;
  if (type == 'x' || type == 'L' || type == 'K' || type == 'g') {
    if (*size > kLongestHeader || headers_.size() > kLongestHeader) return broken("an extended header is too long");
    kind_ = type;
    content_.clear();
    state_ = State::extended;
    left_ = *size;
    padding_ = tar_padding(*size);
    if (left_ == 0) state_ = State::header;
    return Unit{};
  }
  TarMember member{.name = text_field(block_, 0, 100), .type = type, .target = text_field(block_, 157, 100)};
  const std::string prefix = block_.compare(257, 6, std::string("ustar\0", 6)) == 0 ? text_field(block_, 345, 155) : "";
  if (!prefix.empty()) member.name = prefix + "/" + member.name;
  if (!long_name_.empty()) member.name = long_name_;
  if (!long_target_.empty()) member.target = long_target_;
  const bool holds_data = type == '0' || type == '7';
  member.size = !holds_data ? 0 : has_long_size_ ? long_size_ : *size;
  member.mode = static_cast<unsigned>(number_field(block_, 100, 8).value_or(0)) & 07777U;
  member.uid = number_field(block_, 108, 8).value_or(0);
  member.gid = number_field(block_, 116, 8).value_or(0);
  member.modified = static_cast<std::int64_t>(number_field(block_, 136, 12).value_or(0));
  kind_ = '0';
  if (take_.member) take_.member(member, headers_);
  headers_.clear();
  long_name_.clear();
  long_target_.clear();
  has_long_size_ = false;
  left_ = member.size;
  padding_ = tar_padding(member.size);
  state_ = left_ > 0 ? State::data : State::header;
  if (left_ == 0 && take_.end) take_.end();
  return Unit{};
}

void TarReader::extended() {
  if (kind_ == 'L') long_name_ = content_.substr(0, content_.find('\0'));
  if (kind_ == 'K') long_target_ = content_.substr(0, content_.find('\0'));
  if (kind_ != 'x') return;
  std::string_view rest = content_;
  while (!rest.empty()) {
    std::size_t length = 0;
    const auto [end, wrong] = std::from_chars(rest.data(), rest.data() + rest.size(), length);
    const auto used = static_cast<std::size_t>(end - rest.data());
    if (wrong != std::errc{} || length <= used + 1 || length > rest.size()) return;
    const std::string_view record = rest.substr(used + 1, length - used - 2);
    rest.remove_prefix(length);
    const std::size_t equals = record.find('=');
    if (equals == record.npos) continue;
    const std::string_view key = record.substr(0, equals), value = record.substr(equals + 1);
    if (key == "path") long_name_ = value;
    if (key == "linkpath") long_target_ = value;
    if (key == "size")
      has_long_size_ = std::from_chars(value.data(), value.data() + value.size(), long_size_).ec == std::errc{};
  }
}

TarFilter::TarFilter(std::set<std::string> without, std::function<void(std::string)> pass, std::string kind)
    : without_(std::move(without)),
      pass_(std::move(pass)),
      reader_({.member =
                   [this](const TarMember& member, std::string_view headers) {
                     passing_ = without_.count(member.name) == 0;
                     size_ = member.size;
                     if (passing_) pass_(std::string(headers));
                   },
               .data =
                   [this](std::string_view bytes) {
                     if (passing_) pass_(std::string(bytes));
                   },
               .end =
                   [this] {
                     if (passing_ && tar_padding(size_) > 0) pass_(std::string(tar_padding(size_), '\0'));
                   }},
              std::move(kind)) {}

Result<Unit> TarFilter::finish() {
  if (!reader_.complete()) return reader_.broken("it was cut off");
  pass_(tar_end());
  return Unit{};
}

std::string tar_header(const TarMember& member) {
  std::string records;
  if (member.name.size() > 100) records += pax_record("path", member.name);
  if (member.target.size() > 100) records += pax_record("linkpath", member.target);
  if (member.size >= kOctalLimit) records += pax_record("size", std::to_string(member.size));
  if (records.empty()) return header_block(member);
  std::string bytes = header_block({.name = "pax", .type = 'x', .size = records.size()}) + records;
  bytes.append(tar_padding(records.size()), '\0');
  return bytes + header_block(member);
}

std::string tar_member(TarMember member, std::string_view content) {
  member.size = content.size();
  std::string bytes = tar_header(member);
  bytes += content;
  bytes.append(tar_padding(content.size()), '\0');
  return bytes;
}

std::string tar_end() { return std::string(1024, '\0'); }

}  // namespace deployrun::core

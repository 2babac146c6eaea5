#include "core/redactor.hpp"

#include <algorithm>
#include <cstring>

#include "core/secret_forms.hpp"

namespace deployrun::core {

namespace {

std::uint32_t start_of(std::string_view text) {
  std::uint32_t start = 0;
  std::memcpy(&start, text.data(), sizeof start);
  return start;
}

std::size_t pair_of(char first, char second) {
  return static_cast<std::size_t>(static_cast<unsigned char>(first)) << 8U | static_cast<unsigned char>(second);
}

}  // namespace

bool Redactor::add(const Secret& secret) {
  const std::string_view value = secret.reveal();
  if (value.size() < kShortest) return false;
  names_.push_back(secret.name());
  const std::size_t before = patterns_.size();
  std::vector<std::string> forms = secret_forms(value, kShortest);
  for (std::string& form : forms) {
    add_pattern(form, names_.size() - 1);
    wipe(form);
  }
  if (patterns_.size() == before) names_.pop_back();  // every form is known already
  return true;
}

void Redactor::add_pattern(std::string_view bytes, std::size_t name) {
  if (known_.count(bytes) != 0) return;
  const std::size_t index = patterns_.size();
  const std::string_view stored = patterns_.emplace_back(bytes, name).bytes.view();
  known_.emplace(stored, index);
  auto& same_start = by_start_[start_of(stored)];
  same_start.push_back(index);
  std::sort(same_start.begin(), same_start.end(), [this](std::size_t a, std::size_t b) {
    return patterns_[a].bytes.view().size() > patterns_[b].bytes.view().size();
  });
  if (pairs_.empty()) pairs_.resize(65536 / 64);
  const std::size_t pair = pair_of(stored[0], stored[1]);
  pairs_[pair / 64] |= 1ULL << (pair % 64);
  longest_ = std::max(longest_, stored.size());
  if (heard_) heard_(stored);
}

bool Redactor::begins(std::string_view text) const {
  const std::size_t pair = pair_of(text[0], text[1]);
  return (pairs_[pair / 64] >> (pair % 64) & 1U) != 0;
}

std::vector<Redactor::Range> Redactor::find(std::string_view text, std::size_t masked) const {
  std::vector<Range> ranges;
  if (masked > 0) ranges.push_back({0, masked, 0});
  // Inside a match the search goes on: an overlapping secret must not show its end.
  for (std::size_t i = 0; i + kShortest <= text.size(); ++i) {
    const std::string_view rest = text.substr(i);
    if (!begins(rest)) continue;
    const auto bucket = by_start_.find(start_of(rest));
    if (bucket == by_start_.end()) continue;
    for (const std::size_t index : bucket->second) {
      const Pattern& pattern = patterns_[index];
      if (!rest.starts_with(pattern.bytes.view())) continue;
      const std::size_t end = i + pattern.bytes.view().size();
      if (!ranges.empty() && i < ranges.back().end) {
        ranges.back().end = std::max(ranges.back().end, end);
      } else {
        ranges.push_back({i, end, pattern.name});
      }
      break;
    }
  }
  return ranges;
}

std::size_t Redactor::open_end(std::string_view text) const {
  for (std::size_t i = text.size() - std::min(text.size(), longest_ - 1); i < text.size(); ++i) {
    const std::string_view rest = text.substr(i);
    const auto opens = [&](const Pattern& pattern) {
      return pattern.bytes.view().size() > rest.size() && pattern.bytes.view().starts_with(rest);
    };
    if (rest.size() >= 2 && !begins(rest)) continue;
    if (rest.size() < 4) {
      if (std::any_of(patterns_.begin(), patterns_.end(), opens)) return i;
    } else if (const auto bucket = by_start_.find(start_of(rest)); bucket != by_start_.end()) {
      // Longest first: the first is the only one that needs a look for its length, all for their bytes.
      for (const std::size_t index : bucket->second) {
        if (opens(patterns_[index])) return i;
      }
    }
  }
  return text.size();
}

std::string Redactor::redact(std::string_view text) const {
  if (patterns_.empty()) return std::string(text);
  std::string result;
  std::size_t at = 0;
  for (const Range& range : find(text, 0)) {
    result += text.substr(at, range.begin - at);
    result += "[secret:" + names_[range.name] + "]";
    at = range.end;
  }
  result += text.substr(at);
  return result;
}

std::vector<std::string_view> Redactor::forms() const {
  std::vector<std::string_view> all;
  all.reserve(patterns_.size());
  for (const Pattern& pattern : patterns_) all.push_back(pattern.bytes.view());
  return all;
}

Redactor::Stream::~Stream() { wipe(held_); }

std::string Redactor::Stream::feed(std::string_view piece) { return put_out(piece, false); }

std::string Redactor::Stream::finish() { return put_out({}, true); }

std::string Redactor::Stream::put_out(std::string_view piece, bool all) {
  if (redactor_.empty() && held_.empty()) return std::string(piece);
  held_ += piece;
  const std::string_view text = held_;
  const std::size_t stop = all ? text.size() : redactor_.open_end(text);
  std::string result;
  std::size_t at = 0;
  std::size_t masked_beyond = 0;
  for (const Range& range : redactor_.find(text, masked_)) {
    if (range.begin >= stop) break;
    result += text.substr(at, range.begin - at);
    // A mask that was put out for an earlier piece and goes on here is not put out again.
    if (range.begin > 0 || masked_ == 0) result += "[secret:" + redactor_.names_[range.name] + "]";
    at = range.end;
    if (range.end > stop) masked_beyond = range.end - stop;
  }
  if (at < stop) result += text.substr(at, stop - at);
  masked_ = stop == 0 ? masked_ : masked_beyond;
  held_.erase(0, stop);
  return result;
}

}  // namespace deployrun::core

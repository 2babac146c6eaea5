#include "summary.hpp"

#include <algorithm>

namespace lab_load {
namespace {

constexpr std::size_t kKeptFailures = 20;

std::int64_t longest_gap(std::vector<std::int64_t> times, std::int64_t begin_ms, std::int64_t end_ms) {
  std::sort(times.begin(), times.end());
  std::int64_t gap = 0;
  std::int64_t before = begin_ms;
  for (const std::int64_t at : times) {
    if (at > end_ms) break;  // answers to the last requests, while nothing new was issued
    gap = std::max(gap, at - before);
    before = at;
  }
  return std::max(gap, end_ms - before);
}

std::int64_t percentile(const std::vector<std::int64_t>& sorted, std::size_t percent) {
  return sorted.empty() ? 0 : sorted[std::min(sorted.size() - 1, sorted.size() * percent / 100)];
}

/// `"key":value` pairs with commas, from a map and a function that writes a value.
template <typename Map, typename Write>
std::string object(const Map& map, Write write) {
  std::string out = "{";
  for (const auto& [key, value] : map) {
    if (out.size() > 1) out += ",";
    if constexpr (std::is_same_v<std::decay_t<decltype(key)>, std::string>) {
      out += quoted(key);
    } else {
      out += quoted(std::to_string(key));
    }
    out += ":" + write(value);
  }
  return out + "}";
}

}  // namespace

void Summary::add(const Record& record) {
  const bool failed = !record.error.empty();
  ++requests_;
  PerKind& kind = by_kind_[name(record.kind)];
  ++kind.requests;
  ++by_status_[record.status];
  if (failed) {
    ++failed_;
    ++kind.failed;
    if (failures_.size() < kKeptFailures) failures_.push_back(record);
    return;
  }
  ++by_version_[record.version];
  good_at_[record.url].push_back(record.start_ms + record.duration_ms);
  if (record.kind == Kind::keepalive || record.kind == Kind::fresh) durations_.push_back(record.duration_ms);
}

std::string Summary::to_json(const std::vector<std::string>& urls, std::int64_t begin_ms, std::int64_t end_ms) const {
  const auto number = [](std::int64_t value) { return std::to_string(value); };
  std::map<std::string, std::int64_t> gaps;
  for (std::size_t i = 0; i < urls.size(); ++i) {
    const auto found = good_at_.find(i);
    const std::vector<std::int64_t> none;
    gaps[urls[i]] = longest_gap(found == good_at_.end() ? none : found->second, begin_ms, end_ms);
  }
  std::int64_t longest = 0;
  for (const auto& [url, gap] : gaps) longest = std::max(longest, gap);
  std::vector<std::int64_t> sorted = durations_;
  std::sort(sorted.begin(), sorted.end());

  std::string out = "{\"requests\":" + number(requests_) + ",\"failed\":" + number(failed_);
  out += ",\"begin_ms\":" + number(begin_ms) + ",\"end_ms\":" + number(end_ms);
  out += ",\"by_kind\":" + object(by_kind_, [&](const PerKind& kind) {
           return "{\"requests\":" + number(kind.requests) + ",\"failed\":" + number(kind.failed) + "}";
         });
  out += ",\"by_status\":" + object(by_status_, number);
  out += ",\"by_version\":" + object(by_version_, number);
  out += ",\"longest_gap_ms\":" + number(longest) + ",\"gap_ms\":" + object(gaps, number);
  out += ",\"p50_ms\":" + number(percentile(sorted, 50)) + ",\"p99_ms\":" + number(percentile(sorted, 99));
  out += ",\"failures\":[";
  for (std::size_t i = 0; i < failures_.size(); ++i) out += (i > 0 ? "," : "") + lab_load::to_json(failures_[i]);
  return out + "]}";
}

}  // namespace lab_load

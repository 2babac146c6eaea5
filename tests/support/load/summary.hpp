// The totals of a run: what the one line at the end says.

#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "record.hpp"

namespace lab_load {

class Summary {
 public:
  void add(const Record& record);
  [[nodiscard]] bool any_failed() const { return failed_ > 0; }
  /// One JSON object. A gap is the time between two successive good answers of one url, the begin and the end of the
  /// issuing included; percentiles are of quick requests that succeeded, uploads and slow ones left out.
  [[nodiscard]] std::string to_json(const std::vector<std::string>& urls, std::int64_t begin_ms,
                                    std::int64_t end_ms) const;

 private:
  struct PerKind {
    std::int64_t requests = 0;
    std::int64_t failed = 0;
  };

  std::int64_t requests_ = 0;
  std::int64_t failed_ = 0;
  std::map<std::string, PerKind> by_kind_;
  std::map<long, std::int64_t> by_status_;
  std::map<std::string, std::int64_t> by_version_;
  std::map<std::size_t, std::vector<std::int64_t>> good_at_;  // per url: Unix ms of good answers
  std::vector<std::int64_t> durations_;                       // ms, of good quick requests
  std::vector<Record> failures_;                              // the first of them, whole
};

}  // namespace lab_load

// GitHub's step summary: a run on one page of Markdown, appended to the file that GITHUB_STEP_SUMMARY names.
#pragma once

#include <string>
#include <vector>

#include "report/sink.hpp"

namespace deployrun::report {

class Summary final : public Sink {
 public:
  explicit Summary(std::string path) : path_(std::move(path)) {}
  /// Collects, and writes at `run.finished`. A file that cannot be written is none of the run's business.
  void event(const Json& event) override;

 private:
  struct Step {
    std::string name;
    std::int64_t hosts = 0;
    std::string state;
    std::int64_t ms = 0;
  };
  std::string page(const Json& finished) const;

  std::string path_;
  std::string head_;
  std::vector<Step> steps_;
  std::vector<std::string> notes_;  // what was shipped, what was observed
  std::string error_;
};

/// Text from elsewhere inside a line or a table's cell: it stays text, whatever it contains.
std::string markdown_text(std::string_view text);

}  // namespace deployrun::report

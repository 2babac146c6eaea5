// A running command's output as `task.output` events, line by line while it runs.
#pragma once

#include <string>
#include <string_view>

#include "core/lines.hpp"
#include "core/process.hpp"
#include "report/reporter.hpp"

namespace deployrun::bindings {

/// Lives as long as the command: what has no line end is told when it dies.
class ToldLines {
 public:
  static constexpr std::size_t kMost = 10'000;  // of one command; the result still has all of them

  ToldLines(report::Reporter& reporter, std::string host) : reporter_(reporter), host_(std::move(host)) {}
  ToldLines(const ToldLines&) = delete;
  ToldLines& operator=(const ToldLines&) = delete;
  ~ToldLines() {
    for (const core::Output output : {core::Output::out, core::Output::err}) {
      splitter(output).finish([&](std::string line) { tell(output, std::move(line)); });
    }
  }

  void feed(core::Output output, std::string_view bytes) {
    if (told_ <= kMost) splitter(output).feed(bytes, [&](std::string line) { tell(output, std::move(line)); });
  }

 private:
  core::LineSplitter& splitter(core::Output output) { return output == core::Output::out ? out_ : err_; }
  void tell(core::Output output, std::string line) {
    if (++told_ > kMost + 1) return;
    if (told_ > kMost) line = "(further lines are not shown)";
    reporter_.emit({{"type", "task.output"},
                    {"host", host_},
                    {"stream", output == core::Output::out ? "stdout" : "stderr"},
                    {"line", std::move(line)}});
  }

  report::Reporter& reporter_;
  std::string host_;
  core::LineSplitter out_;
  core::LineSplitter err_;
  std::size_t told_ = 0;
};

}  // namespace deployrun::bindings

// A run's whole story in a file: all that -vvv says, each line with its time. It comes into being with the run, is
// readable by its owner alone, and a bounded number of them is kept. What goes wrong with it is told once and ends no
// run.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "core/error.hpp"
#include "core/result.hpp"
#include "report/lines.hpp"
#include "report/output.hpp"
#include "report/sink.hpp"

namespace deployrun::report {

struct LogFileOptions {
  std::filesystem::path folder;                ///< made when it is missing, 0700
  std::string head;                            ///< the file's first line: which program this is
  std::size_t keep = 20;                       ///< files in the folder, this one included
  std::size_t limit = std::size_t{64} << 20U;  ///< bytes; what comes after is left out, and said to be
  std::function<void(const core::Error&)> failed;
};

class LogFile final : public Sink {
 public:
  LogFile(core::Loop& loop, LogFileOptions options);
  ~LogFile() override;

  /// `run.started` opens `<folder>/<run>.log`; a run that is resumed goes on in its file. Before it, nothing is kept.
  void event(const Json& event) override;
  /// Empty where no file is open.
  std::string path() const { return path_; }
  /// At the end of the program.
  void flush();

 private:
  core::Result<int> open(const std::string& run);
  void prune(const std::string& newest) const;
  void write(std::string_view text);

  core::Loop& loop_;
  LogFileOptions options_;
  Lines lines_;
  std::string path_;
  std::string time_;  // of the event that is being written
  int fd_ = -1;
  std::unique_ptr<Output> output_;
  std::size_t written_ = 0;
};

}  // namespace deployrun::report

// Events for people at a terminal: what Lines says stays and scrolls, and below it stands a live line for each host at
// work: for how long, how far, what it waits for and until when.
// Invariant: the live lines are the last thing on the screen and the cursor stands below them in column 1, so whatever
// ends the program leaves the terminal as it is: no mode is ever changed.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "report/lines.hpp"
#include "report/output.hpp"
#include "report/sink.hpp"

namespace deployrun::report {

/// Whether a live board is wanted: "auto" (a terminal that can move its cursor, and no CI), "live", "plain".
bool wants_board(const std::string& choice, bool terminal, const Environment& environment);

class Board final : public Sink {
 public:
  struct Size {
    std::size_t columns = 80;
    std::size_t rows = 24;
  };

  /// `output` leads to the terminal whose size `size` tells, and outlives the board.
  Board(core::Loop& loop, Output& output, LinesOptions options, std::function<Size()> size);
  ~Board() override;

  void event(const Json& event) override;
  /// Somebody else wrote to the terminal (a shell, while we were stopped): what stands there is left alone.
  void forget() noexcept { painted_.clear(); }

 private:
  struct Work {
    core::Instant since;
    std::string state = "running";
    std::string text;
    std::string seen;  ///< what came back last
    std::optional<core::Instant> until;
  };

  void watch(const Json& event);
  void write(std::string_view text, bool keep);
  void schedule();
  void repaint();
  /// Puts the cursor where the live lines begin, and forgets them.
  std::string up(std::size_t columns);
  std::vector<std::string> rows(Size size) const;
  std::string row(const std::string& host, const Work& work, std::size_t columns) const;
  std::string summary_row() const;

  core::Loop& loop_;
  Output& output_;
  bool color_;
  std::function<Size()> size_;
  Lines lines_;
  std::map<std::string, Work> work_;
  std::int64_t hosts_ = 0;  // of the step
  std::int64_t ended_ = 0;
  std::vector<std::size_t> painted_;  // widths of the live lines that stand on the screen
  std::string shown_;                 // their text
  bool scheduled_ = false;
  core::Timer again_;
  std::shared_ptr<Board*> self_;  // what a deferred call holds; nulled by the destructor
};

}  // namespace deployrun::report

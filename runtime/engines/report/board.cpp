#include "report/board.hpp"

#include <algorithm>

#include "core/text.hpp"
#include "report/event.hpp"
#include "report/width.hpp"

namespace deployrun::report {

namespace {

constexpr core::Milliseconds kRepaint{200};
constexpr std::size_t kNarrowest = 20;
constexpr std::size_t kWidestHost = 32;
constexpr std::size_t kState = 9;      // "running", "waiting"
constexpr std::size_t kDuration = 11;  // as in Lines: the columns line up

std::int64_t ms_between(core::Instant from, core::Instant to) {
  return std::chrono::duration_cast<core::Milliseconds>(to - from).count();
}

}  // namespace

bool wants_board(const std::string& choice, bool terminal, const Environment& environment) {
  if (choice != "auto") return choice == "live";
  const std::string term = environment("TERM");
  const std::string ci = environment("CI");
  return terminal && !term.empty() && term != "dumb" && (ci.empty() || ci == "0" || ci == "false");
}

Board::Board(core::Loop& loop, Output& output, LinesOptions options, std::function<Size()> size)
    : loop_(loop),
      output_(output),
      color_(options.color),
      size_(std::move(size)),
      lines_([this](std::string_view text, bool keep) { write(text, keep); }, std::move(options)),
      again_(loop),
      self_(std::make_shared<Board*>(this)) {
  output_.on_dropped([](std::size_t lines) {
    return "  (" + count(static_cast<std::int64_t>(lines), "line") + " dropped: the terminal was too slow)\n";
  });
}

Board::~Board() { *self_ = nullptr; }

void Board::event(const Json& event) {
  watch(event);
  lines_.event(event);
  schedule();
}

void Board::watch(const Json& event) {
  const std::string type = text_of(event, "type");
  if (type == "step.started") {
    hosts_ = integer_of(event, "hosts");
    ended_ = 0;
  } else if (type == "task.started") {
    work_[host_of(event)] = {.since = core::Loop::now(), .state = "running", .text = {}, .seen = {}, .until = {}};
  } else if (type == "task.finished") {
    work_.erase(host_of(event));
    if (!flag_of(event, "retry")) ++ended_;
  } else if (type == "run.finished") {
    work_.clear();
  }
  const auto found = work_.find(host_of(event));
  if (found == work_.end()) return;
  Work& work = found->second;
  if (type == "task.waiting") {
    work.state = "waiting";
    work.text = text_of(event, "what");
    work.seen = text_of(event, "note");
    work.until.reset();
    if (const auto left = integer_of(event, "left_ms"); left > 0)
      work.until = core::Loop::now() + core::Milliseconds(left);
  } else if (type == "pull.progress" || type == "task.progress") {
    work.state = "running";
    work.text = progress_text(event);
    work.seen.clear();
    work.until.reset();
  } else if (type == "probe.failed" && work.state == "waiting") {
    work.seen = text_of(event, "outcome");
  } else if (type == "task.output" && work.state == "running") {
    work.text = "| " + text_of(event, "line");
  }
}

void Board::write(std::string_view text, bool keep) {
  if (!painted_.empty()) output_.write(up(size_().columns) + "\x1b[J", true);
  output_.write(text, keep);
}

void Board::schedule() {
  if (scheduled_) return;
  scheduled_ = true;
  // Once per turn of the loop: events come in bunches.
  loop_.defer([self = self_] {
    if (*self == nullptr) return;
    (*self)->scheduled_ = false;
    (*self)->repaint();
  });
}

std::string Board::up(std::size_t columns) {
  // A terminal that became narrower has broken the lines anew.
  std::size_t height = 0;
  for (const std::size_t width : painted_)
    height += width == 0 ? 1 : (width + columns - 1) / std::max<std::size_t>(columns, 1);
  painted_.clear();
  shown_.clear();
  return height == 0 ? std::string() : "\r\x1b[" + std::to_string(height) + "A";
}

std::string Board::row(const std::string& host, const Work& work, std::size_t columns) const {
  const auto now = core::Loop::now();
  std::size_t longest = 5;
  for (const auto& [name, each] : work_) longest = std::max(longest, std::min(display_width(name), kWidestHost));
  std::string name = fit(host, longest);
  name.append(longest - std::min(longest, display_width(name)), ' ');
  std::string state = work.state;
  state.append(kState - std::min(kState, state.size()), ' ');
  std::string time = duration(ms_between(work.since, now));
  time.insert(0, kDuration + 2 - std::min(kDuration + 2, time.size()), ' ');
  std::string rest = work.text + (work.seen.empty() ? "" : ": " + work.seen);
  // First, for the end of a line is what a narrow terminal does not show.
  if (work.until) {
    const auto left = std::max<std::int64_t>(0, ms_between(now, *work.until));
    rest = "at most " + duration(left) + " more for " + rest;
  }
  // Clean text still has line ends, where a lone carriage return was for one.
  for (char& each : rest) {
    if (each == '\n' || each == '\t') each = ' ';
  }
  const std::string plain = fit("  " + name + "  " + state + time + "  " + rest, columns);
  const std::size_t head = 2 + name.size() + 2;
  if (plain.size() < head || plain.compare(head, state.size(), state) != 0) return plain;  // cut off before its end
  return plain.substr(0, head) + paint(state, Ink::dim, color_) + plain.substr(head + state.size());
}

std::string Board::summary_row() const {
  const auto at_work = static_cast<std::int64_t>(work_.size());
  std::string text = "  " + std::to_string(at_work) + " at work, " + std::to_string(ended_) + " of " +
                     count(hosts_, "host") + " ended";
  if (const auto left = hosts_ - ended_ - at_work; left > 0) text += ", " + std::to_string(left) + " to come";
  return text;
}

std::vector<std::string> Board::rows(Size size) const {
  std::vector<std::string> result;
  if (work_.empty()) return result;
  // One column stays free: a line that fills the last one wraps on some terminals.
  const std::size_t columns = std::max(kNarrowest, size.columns) - 1;
  const std::size_t room = size.rows > 4 ? size.rows - 3 : 1;
  for (const auto& [host, work] : work_) {
    if (result.size() + 1 == room && work_.size() > room) {
      const auto more = work_.size() - result.size();
      result.push_back(fit("  and " + std::to_string(more) + " more at work", columns));
      break;
    }
    result.push_back(row(host, work, columns));
  }
  if (hosts_ > 1 && size.rows > 4) result.push_back(paint(fit(summary_row(), columns), Ink::dim, color_));
  return result;
}

void Board::repaint() {
  if (work_.empty()) {
    again_.cancel();  // an armed timer would keep the loop alive
  } else if (!again_.active()) {
    again_.start(kRepaint, [this] { repaint(); });
  }
  // A terminal that takes nothing now (Ctrl-S, a slow line) gets the newest picture later, not every one.
  if (output_.pending()) return;
  const Size size = size_();
  const std::vector<std::string> lines = rows(size);
  std::string text;
  for (const std::string& line : lines) text += line + "\n";
  if (text == shown_) return;
  // Written over what stands there, not erased first: nothing flickers.
  std::string frame = up(size.columns);
  for (const std::string& line : lines) {
    frame += line + "\x1b[K\n";
    painted_.push_back(display_width(core::clean(line)));
  }
  shown_ = text;
  output_.write(frame + "\x1b[J", true);
}

}  // namespace deployrun::report

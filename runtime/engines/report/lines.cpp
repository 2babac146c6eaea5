#include "report/lines.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <string_view>
#include <utility>

#include "report/error_text.hpp"
#include "report/event.hpp"
#include "report/plan_text.hpp"

namespace deployrun::report {

namespace {

constexpr core::Milliseconds kSilence{30'000};
constexpr std::size_t kWidestHost = 32;
constexpr int kDeepest = 8;            // of errors beside errors
constexpr std::size_t kStates = 11;    // "undo failed"
constexpr std::size_t kDuration = 11;  // "59 min 59 s"

std::string padded(std::string text, std::size_t width) {
  if (text.size() < width) text.append(width - text.size(), ' ');
  return text;
}

std::string right(const std::string& text, std::size_t width) {
  return text.size() < width ? std::string(width - text.size(), ' ') + text : text;
}

struct Look {
  const char* state;
  const char* word;
  Ink ink;
};
constexpr std::array<Look, 6> kLooks{{{"done", "done", Ink::plain},
                                      {"unchanged", "unchanged", Ink::dim},
                                      {"failed", "failed", Ink::red},
                                      {"cancelled", "cancelled", Ink::dim},
                                      {"undone", "undone", Ink::yellow},
                                      {"undo_failed", "undo failed", Ink::red}}};

struct Ending {
  const char* state;
  const char* before;  // the time comes between the two
  const char* after;
  Ink ink;
};
constexpr std::array<Ending, 7> kEndings{
    {{"done", "done in ", "", Ink::green},
     {"failed_undone", "failed after ", "; all that it changed is undone", Ink::red},
     {"failed", "failed after ", "; nothing was changed", Ink::red},
     {"cancelled", "cancelled after ", "; all that it changed is undone", Ink::yellow},
     {"aborted", "undone in ", "; everything is as it was before the run", Ink::green},
     {"needs_person", "failed after ", " and could not be undone: a person has to look at it", Ink::red},
     {"interrupted", "stopped after ", "; the run is unfinished", Ink::red}}};

std::int64_t unix_seconds() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::seconds>(now).count();
}

}  // namespace

Lines::Lines(Output& output, LinesOptions options)
    : Lines([&output](std::string_view text, bool keep) { output.write(text, keep); }, std::move(options)) {
  output.on_dropped([](std::size_t lines) {
    return "  (" + count(static_cast<std::int64_t>(lines), "line") + " dropped: the reader was too slow)\n";
  });
}

Lines::Lines(Write write, LinesOptions options)
    : write_(std::move(write)), options_(std::move(options)), said_(core::Loop::now()) {}

void Lines::event(const Json& event) {
  using Handler = void (Lines::*)(const Json&);
  static constexpr std::array<std::pair<std::string_view, Handler>, 24> kHandlers{{
      {"run.started", &Lines::run_started},
      {"run.finished", &Lines::run_finished},
      {"step.started", &Lines::step_started},
      {"step.finished", &Lines::step_finished},
      {"task.started", &Lines::task_started},
      {"task.finished", &Lines::task_finished},
      {"task.output", &Lines::task_output},
      {"pull.progress", &Lines::progress},
      {"task.progress", &Lines::progress},
      {"task.waiting", &Lines::waiting},
      {"probe.failed", &Lines::probe_failed},
      {"engine.call", &Lines::engine_call},
      {"command.ended", &Lines::command_ended},
      {"ssh.connected", &Lines::ssh_connected},
      {"ssh.closed", &Lines::ssh_closed},
      {"log", &Lines::log},
      {"print", &Lines::print},
      {"error", &Lines::error},
      {"shipped", &Lines::shipped},
      {"observer.summary", &Lines::observed},
      {"plan.step", &Lines::plan_step},
      {"plan.finished", &Lines::plan_finished},
      {"finding", &Lines::finding},
      {"checks", &Lines::finding},
  }};
  const std::string type = text_of(event, "type");
  for (const auto& [name, handler] : kHandlers) {
    if (name == type) return (this->*handler)(event);
  }
}

void Lines::say(const std::string& text) {
  write_(text, false);
  said_ = core::Loop::now();
  blank_ = text == "\n";
}

void Lines::gap() {
  if (!blank_) say("\n");
}

void Lines::start_group(const std::string& title) {
  if (options_.ci == Ci::none) return say(paint(title, Ink::bold, options_.color) + "\n");
  say(fold_start(options_.ci, title, ++groups_, unix_seconds()));
  group_ = true;
}

void Lines::end_group() {
  if (std::exchange(group_, false)) say(fold_end(options_.ci, groups_, unix_seconds()));
}

void Lines::run_started(const Json& event) {
  if (options_.verbosity < 0) return;
  const std::string mode = text_of(event, "mode");
  std::string head = mode.empty() || mode == "run" ? "" : mode + " ";
  head += text_of(event, "command");
  const std::string recipe = text_of(event, "recipe");
  say(paint(head, Ink::bold, options_.color) + (recipe.empty() ? "" : "  " + recipe) +
      paint("  run " + text_of(event, "run"), Ink::dim, options_.color) + "\n");
  if (const auto parameters = event.find("parameters"); parameters != event.end() && parameters->is_object()) {
    for (const auto& [name, value] : parameters->items()) {
      if (value.is_null()) continue;
      say("  " + name + " = " + (value.is_string() ? value.get<std::string>() : json::dump(value)) + "\n");
    }
  }
}

void Lines::step_started(const Json& event) {
  if (options_.verbosity < 0) return;
  std::string title = text_of(event, "step");
  if (flag_of(event, "undo")) title = "undo: " + title;
  end_group();
  gap();
  start_group(title);
  if (event.contains("hosts") && event["hosts"].is_number() && integer_of(event, "hosts") == 0)
    say("  no host takes part\n");
}

void Lines::step_finished(const Json& event) {
  if (text_of(event, "state") == "recorded" && options_.verbosity >= 0) {
    end_group();
    gap();
    say(paint(text_of(event, "step"), Ink::bold, options_.color) + "\n  was done before\n");
  }
  end_group();
}

void Lines::task_started(const Json& event) {
  const std::string host = host_of(event);
  width_ = std::clamp(host.size(), width_, std::max(width_, kWidestHost));
  running_[host] = {.since = core::Loop::now(), .progress = {}};
  if (options_.verbosity >= 1) say("  " + padded(host, width_) + "  started\n");
}

void Lines::task_finished(const Json& event) {
  const std::string host = host_of(event);
  const std::string state = text_of(event, "state");
  running_.erase(host);
  const bool retry = flag_of(event, "retry");
  if (!retry) ++counts_[state];
  if (options_.verbosity < 0) return;
  const auto* look = std::find_if(kLooks.begin(), kLooks.end(), [&](const Look& each) { return state == each.state; });
  std::string note = text_of(event, "note");
  if (note.empty() && event.contains("error") && state != "cancelled") note = error_line_text(event["error"]);
  if (retry) note += (note.empty() ? "" : "; ") + std::string("trying again");
  width_ = std::clamp(host.size(), width_, std::max(width_, kWidestHost));
  task_line(host, look == kLooks.end() ? state : look->word, look == kLooks.end() ? Ink::plain : look->ink,
            integer_of(event, "ms"), note);
}

void Lines::task_line(const std::string& host, const std::string& word, Ink ink, std::int64_t ms,
                      const std::string& note) {
  const std::size_t left = 2 + width_ + 2 + kStates + kDuration + 2;
  std::string line = "  " + padded(host, width_) + "  " + paint(padded(word, kStates), ink, options_.color) +
                     right(duration(ms), kDuration);
  if (!note.empty()) line += "  " + indent_rest(note, left);
  say(line + "\n");
}

void Lines::task_output(const Json& event) {
  if (options_.verbosity < 2) return;
  const std::string prefix = "  " + padded(host_of(event), width_) + "  | ";
  say(paint(prefix, Ink::dim, options_.color) + indent_rest(text_of(event, "line"), prefix.size()) + "\n");
}

void Lines::progress(const Json& event) {
  const std::string text = progress_text(event);
  if (const auto found = running_.find(host_of(event)); found != running_.end()) found->second.progress = text;
  if (options_.verbosity >= 1 && !text.empty()) say("  " + padded(host_of(event), width_) + "  " + text + "\n");
}

void Lines::waiting(const Json& event) {
  std::string text = "waiting for " + waiting_text(event);
  if (const auto found = running_.find(host_of(event)); found != running_.end()) found->second.progress = text;
  if (options_.verbosity < 1) return;
  if (const auto left = integer_of(event, "left_ms"); left > 0) text += ", at most " + duration(left);
  say("  " + padded(host_of(event), width_) + "  " + text + "\n");
}

void Lines::probe_failed(const Json& event) {
  if (options_.verbosity < 1) return;
  task_line(host_of(event), "probe", Ink::dim, integer_of(event, "ms"), text_of(event, "outcome"));
}

void Lines::detail(const Json& event, int needed, const std::string& text) {
  if (options_.verbosity < needed) return;
  say(paint("  " + padded(host_of(event), width_) + "  " + text, Ink::dim, options_.color) + "\n");
}

/// What only reads comes by the hundred, where something is waited for.
void Lines::engine_call(const Json& event) {
  const std::string method = text_of(event, "method");
  const std::string failure = text_of(event, "failure");
  std::string text = method + " " + text_of(event, "path") + "  ";
  text += failure.empty() ? text_of(event, "status") : failure;
  text += ", " + text_of(event, "ms") + " ms";
  if (failure.empty()) text += ", " + text_of(event, "sent") + " bytes out, " + text_of(event, "received") + " in";
  detail(event, method == "GET" || method == "HEAD" ? 2 : 1, text);
}

void Lines::command_ended(const Json& event) {
  detail(event, 2,
         "exit code " + text_of(event, "code") + ", " + text_of(event, "ms") + " ms, " + text_of(event, "bytes") +
             " bytes of output");
}

void Lines::ssh_connected(const Json& event) {
  detail(event, 1, "SSH to " + text_of(event, "address") + ": connected, " + text_of(event, "ms") + " ms");
}

void Lines::ssh_closed(const Json& event) {
  detail(event, 1,
         "SSH to " + text_of(event, "address") + ": closed after " +
             count(integer_of(event, "round_trips"), "round trip") + ", " + text_of(event, "bytes_out") +
             " bytes out, " + text_of(event, "bytes_in") + " in");
}

void Lines::log(const Json& event) {
  const std::string level = text_of(event, "level");
  const bool warning = level == "warn";
  const bool bad = level == "error";
  const int needed = warning || bad ? -1 : level == "debug" ? 1 : level == "trace" ? 3 : 0;
  if (options_.verbosity < needed) return;
  std::string head;
  if (warning) head = paint("warning: ", Ink::yellow, options_.color);
  if (bad) head = paint("error: ", Ink::red, options_.color);
  const std::string host = text_of(event, "host");
  const std::string message = (host.empty() ? "" : host + ": ") + text_of(event, "message");
  say("  " + head + indent_rest(message, 4) + "\n");
  if (warning && options_.ci == Ci::github) say(annotation("warning", {}, "deployrun", message));
}

void Lines::print(const Json& event) {
  if (!options_.data) return;
  const std::string host = text_of(event, "host");
  std::string text = text_of(event, "text");
  if (!text.empty() && text.back() == '\n') text.pop_back();
  if (!host.empty()) {
    const std::string prefix = padded(host, width_) + "  ";
    std::string prefixed;
    for (const char each : text) {
      prefixed += each;
      if (each == '\n') prefixed += prefix;
    }
    text = prefix + prefixed;
  }
  write_(text + "\n", true);
  blank_ = false;
}

void Lines::error(const Json& event) {
  end_group();
  gap();
  const Json& error = event["error"];
  if (!error.is_object()) return say("error: " + error_line_text(error) + "\n");
  say(error_text(error, options_.color));
  annotate(error);
}

void Lines::annotate(const Json& error, int depth) {
  if (options_.ci != Ci::github) return;
  std::string title = text_of(error, "host");
  if (const auto step = text_of(error, "step"); !step.empty()) title += (title.empty() ? "" : ": ") + step;
  say(annotation("error", place_of(where_of(error), options_.root), title.empty() ? "deployrun" : title,
                 text_of(error, "message")));
  if (const auto also = error.find("also"); also != error.end() && also->is_array() && depth < kDeepest) {
    for (const Json& each : *also) {
      if (each.is_object()) annotate(each, depth + 1);
    }
  }
}

void Lines::shipped(const Json& event) {
  end_group();
  gap();
  std::string what = text_of(event, "app");
  if (const auto version = text_of(event, "version"); !version.empty()) what += " " + version;
  const auto hosts = event.find("hosts");
  if (hosts != event.end() && hosts->is_array())
    what += " on " + count(static_cast<std::int64_t>(hosts->size()), "host");
  say(paint("shipped  ", Ink::green, options_.color) + what + "\n");
}

void Lines::observed(const Json& event) {
  gap();
  say(paint("observed ", Ink::green, options_.color) + text_of(event, "url") + ": " +
      count(integer_of(event, "requests"), "request") + ", " + std::to_string(integer_of(event, "failed")) +
      " failed, longest gap " + std::to_string(integer_of(event, "longest_gap_ms")) + " ms\n");
}

void Lines::plan_step(const Json& event) {
  gap();
  write_(plan_step_text(event, options_.color), true);  // it was asked for, as what `print` says
  blank_ = false;
}

/// What was looked for and found: it comes with its own words.
void Lines::finding(const Json& event) {
  end_group();
  gap();
  write_(text_of(event, "text"), true);
  blank_ = false;
}

void Lines::plan_finished(const Json& event) {
  gap();
  say(plan_finished_text(event, options_.color));
}

void Lines::run_finished(const Json& event) {
  end_group();
  running_.clear();
  gap();
  const std::string state = text_of(event, "state");
  const std::string time = duration(integer_of(event, "ms"));
  const auto* ending =
      std::find_if(kEndings.begin(), kEndings.end(), [&](const Ending& each) { return state == each.state; });
  std::string text = ending == kEndings.end() ? state + " after " + time : ending->before + time + ending->after;
  if (state == "done") {
    std::int64_t tasks = 0;
    for (const auto& [name, number] : counts_) tasks += number;
    text += ": " + count(tasks, "task");
    if (counts_["unchanged"] != 0) text += ", " + std::to_string(counts_["unchanged"]) + " unchanged";
  }
  say(paint(text, ending == kEndings.end() ? Ink::plain : ending->ink, options_.color) + "\n");
  if (const auto left = event.find("left"); left != event.end() && left->is_array()) {
    for (const Json& each : *left)
      say("  left: " + (each.is_string() ? each.get<std::string>() : json::dump(each)) + "\n");
  }
  if (const auto next = event.find("next"); next != event.end() && next->is_array()) {
    for (const Json& each : *next)
      say("  next: " + (each.is_string() ? each.get<std::string>() : json::dump(each)) + "\n");
  }
  if (const std::string log = options_.log && state != "done" ? options_.log() : ""; !log.empty())
    say("  log:  " + log + "\n");
  counts_.clear();
}

void Lines::tick(core::Instant now) {
  if (options_.verbosity < 0 || running_.empty() || now - said_ < kSilence) return;
  std::string names;
  std::size_t shown = 0;
  core::Instant oldest = now;
  for (const auto& [host, task] : running_) {
    oldest = std::min(oldest, task.since);
    if (++shown > 5) continue;
    names += (names.empty() ? "" : ", ") + host + (task.progress.empty() ? "" : " (" + task.progress + ")");
  }
  if (shown > 5) names += " and " + std::to_string(shown - 5) + " more";
  const auto ms = std::chrono::duration_cast<core::Milliseconds>(now - oldest).count();
  say("  still running after " + duration(ms) + ": " + names + "\n");
  said_ = now;
}

}  // namespace deployrun::report

#include "console/console.hpp"

// libedit's interface in the style of readline (3-clause BSD): its callbacks fit a loop.
#include <editline/readline.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <stdexcept>

namespace deployrun::console {

namespace {

constexpr std::size_t kMaxLine = 1 << 20;
constexpr int kHistoryLines = 1000;

Console* g_console = nullptr;  // libedit's callbacks carry no pointer of ours

char* copy_of(const std::string& text) {
  auto* copy = static_cast<char*>(std::malloc(text.size() + 1));
  if (copy != nullptr) std::memcpy(copy, text.c_str(), text.size() + 1);
  return copy;
}

std::vector<std::string> g_found;  // between the calls of one completion

}  // namespace

class Console::Reader final : public core::Operation<Line> {
 public:
  Reader(Console& console, std::string prompt) : console_(&console), prompt_(std::move(prompt)) {}
  ~Reader() override {
    if (started_ && done_) console_->leave();
  }

  void start(Done done) override {
    done_ = std::move(done);
    started_ = true;
    console_->begin(*this);
  }
  void cancel() noexcept override {
    if (!done_) return;
    console_->leave();
    finish(core::cancelled("the prompt was left"));
  }
  void finish(core::Result<Line> result) {
    auto done = std::move(done_);
    done_ = nullptr;
    done(std::move(result));
  }
  const std::string& prompt() const noexcept { return prompt_; }

 private:
  Console* console_;
  std::string prompt_;
  Done done_;
  bool started_ = false;
};

Console::Console(core::Loop& loop, Options options) : loop_(loop), options_(std::move(options)) {
  if (g_console != nullptr) throw std::runtime_error("console: there is one already");
  g_console = this;
  auto* poll = new uv_poll_t;
  if (uv_poll_init(loop_.raw(), poll, STDIN_FILENO) == 0) {
    poll_ = poll;
    poll_->data = this;
  } else {
    delete poll;  // a regular file: reading it never waits
  }
  if (!options_.terminal) return;
  rl_readline_name = "deployrun";
  using_history();
  stifle_history(kHistoryLines);
  if (!options_.history.empty()) read_history(options_.history.c_str());
  rl_completion_append_character = '\0';
  rl_basic_word_break_characters = " \t\n\"'`=(){}[]<>,;+-*/%^#~";
  rl_attempted_completion_function = [](const char* text, int, int) -> char** {
    if (g_console == nullptr || !g_console->options_.complete) return nullptr;
    g_found = g_console->options_.complete(text);
    return rl_completion_matches(text, [](const char*, int state) -> char* {
      const auto index = static_cast<std::size_t>(state);
      return index < g_found.size() ? copy_of(g_found[index]) : nullptr;
    });
  };
}

Console::~Console() {
  leave();
  if (poll_ != nullptr) core::close_handle(poll_);
  if (options_.terminal && !options_.history.empty()) {
    const mode_t before = umask(077);
    write_history(options_.history.c_str());
    umask(before);
  }
  g_console = nullptr;
}

std::unique_ptr<core::Operation<Line>> Console::line(std::string prompt) {
  return std::make_unique<Reader>(*this, std::move(prompt));
}

void Console::begin(Reader& reader) {
  if (waiting_ != nullptr) {
    reader.finish(core::usage("somebody waits for a line already"));
    return;
  }
  waiting_ = &reader;
  if (options_.terminal) {
    rl_callback_handler_install(reader.prompt().c_str(), [](char* text) {
      if (g_console != nullptr) g_console->typed(text);
    });
  } else {
    settle();
    if (waiting_ == nullptr) return;
  }
  if (poll_ == nullptr) {
    while (waiting_ != nullptr) read_some();
    return;
  }
  uv_poll_start(poll_, UV_READABLE, [](uv_poll_t* handle, int, int) { static_cast<Console*>(handle->data)->ready(); });
}

void Console::leave() noexcept {
  if (waiting_ == nullptr) return;
  waiting_ = nullptr;
  if (poll_ != nullptr) uv_poll_stop(poll_);
  if (options_.terminal) rl_callback_handler_remove();
}

bool Console::interrupt() {
  if (waiting_ == nullptr || !options_.terminal) return false;
  typed_.reset();
  Reader* reader = waiting_;
  leave();  // the line that is begun next is empty
  [[maybe_unused]] const ssize_t shown = ::write(STDOUT_FILENO, "^C\n", 3);
  reader->finish(core::Error{.kind = "console.interrupted", .message = "interrupted (SIGINT)"});
  return true;
}

void Console::ready() {
  if (!options_.terminal) {
    read_some();
    return;
  }
  rl_callback_read_char();
  if (!typed_) return;
  core::Result<Line> result = std::move(*typed_);
  typed_.reset();
  finish(std::move(result));
}

void Console::typed(char* text) {
  if (text == nullptr) {
    typed_.emplace(Line{});
    return;
  }
  std::string line = text;
  std::free(text);
  if (line.find_first_not_of(" \t") != std::string::npos) add_history(line.c_str());
  typed_.emplace(Line{std::move(line)});
}

void Console::read_some() {
  std::array<char, 16384> bytes;
  const ssize_t count = ::read(STDIN_FILENO, bytes.data(), bytes.size());
  if (count < 0) {
    if (errno == EAGAIN || errno == EINTR) return;
    finish(core::Error{.kind = "console.io", .message = std::string("standard input: ") + std::strerror(errno)});
    return;
  }
  if (count == 0) ended_ = true;
  buffer_.append(bytes.data(), static_cast<std::size_t>(count));
  settle();
}

void Console::settle() {
  const auto newline = buffer_.find('\n');
  if (newline != std::string::npos) {
    std::string line = buffer_.substr(0, newline);
    buffer_.erase(0, newline + 1);
    finish(Line{std::move(line)});
  } else if (buffer_.size() > kMaxLine) {
    finish(core::Error{.kind = "console.io", .message = "standard input: a line is longer than 1 MiB"});
  } else if (ended_) {
    Line last = buffer_.empty() ? Line{} : Line{std::move(buffer_)};
    buffer_.clear();
    finish(std::move(last));
  }
}

void Console::finish(core::Result<Line> result) {
  Reader* reader = waiting_;
  leave();
  if (reader != nullptr) reader->finish(std::move(result));
}

}  // namespace deployrun::console

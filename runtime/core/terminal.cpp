#include "core/terminal.hpp"

#include <signal.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdlib>
#include <utility>

namespace deployrun::core {
/// Lives until libuv has called back.
struct Terminal::Writing {
  uv_write_t request{};
  std::string bytes;
  std::function<void()> written;
  std::weak_ptr<bool> alive;
};

bool Terminal::present() noexcept { return ::isatty(STDIN_FILENO) == 1 && ::isatty(STDOUT_FILENO) == 1; }

Result<std::unique_ptr<Terminal>> Terminal::open(Loop& loop) {
  if (!present()) {
    return Error{.kind = "terminal.missing",
                 .message = "standard input and output are no terminal",
                 .hint = "this needs somebody who types: start it in a terminal"};
  }
  std::unique_ptr<Terminal> terminal(new Terminal(loop));
  const auto start = [&loop](uv_tty_t*& tty, int fd) {
    tty = new uv_tty_t;
    const int status = uv_tty_init(loop.raw(), tty, fd, 0);
    if (status == 0) return true;
    delete std::exchange(tty, nullptr);
    return false;
  };
  if (!start(terminal->in_, STDIN_FILENO) || !start(terminal->out_, STDOUT_FILENO)) {
    return Error{.kind = "terminal.missing", .message = "the terminal cannot be opened"};
  }
  terminal->in_->data = terminal.get();
  return terminal;
}

Terminal::Terminal(Loop& loop) : loop_(loop) {}

Terminal::~Terminal() {
  stop();
  if (in_ != nullptr) close_handle(in_);
  if (out_ != nullptr) close_handle(out_);
}

Console::Size Terminal::size() const {
  winsize now{};
  if (::ioctl(STDOUT_FILENO, TIOCGWINSZ, &now) != 0 || now.ws_col == 0 || now.ws_row == 0) return {};
  return {now.ws_col, now.ws_row};
}

std::string Terminal::type() const {
  const char* term = std::getenv("TERM");
  return term == nullptr || *term == '\0' ? "dumb" : term;
}

void Terminal::start_raw(Events events) {
  events_ = std::move(events);
  uv_tty_set_mode(in_, UV_TTY_MODE_IO);
  winch_ = new uv_signal_t;
  uv_signal_init(loop_.raw(), winch_);
  winch_->data = this;
  uv_signal_start(
      winch_,
      [](uv_signal_t* handle, int) {
        const auto resized = static_cast<Terminal*>(handle->data)->events_.resized;
        if (resized) resized();
      },
      SIGWINCH);
  started_ = true;
  read();
}

void Terminal::read() {
  if (!started_ || held_) return;
  uv_read_start(
      reinterpret_cast<uv_stream_t*>(in_),
      [](uv_handle_t* handle, std::size_t, uv_buf_t* buffer) {
        auto* self = static_cast<Terminal*>(handle->data);
        *buffer = uv_buf_init(self->buffer_.data(), static_cast<unsigned>(self->buffer_.size()));
      },
      [](uv_stream_t* stream, ssize_t count, const uv_buf_t* buffer) {
        auto* self = static_cast<Terminal*>(stream->data);
        if (count == 0) return;
        if (count < 0) uv_read_stop(stream);
        const auto keys = self->events_.keys;  // it may end this terminal
        if (keys) keys({buffer->base, static_cast<std::size_t>(count > 0 ? count : 0)});
      });
}

void Terminal::hold(bool held) {
  if (held_ == held) return;
  held_ = held;
  if (!started_) return;
  if (held) {
    uv_read_stop(reinterpret_cast<uv_stream_t*>(in_));
  } else {
    read();
  }
}

void Terminal::stop() noexcept {
  if (!started_) return;
  started_ = false;
  uv_read_stop(reinterpret_cast<uv_stream_t*>(in_));
  if (winch_ != nullptr) {
    uv_tty_set_mode(in_, UV_TTY_MODE_NORMAL);
    uv_signal_stop(winch_);
    close_handle(std::exchange(winch_, nullptr));
  }
  events_ = {};
}

void Terminal::write(std::string bytes, std::function<void()> written) {
  auto* writing = new Writing;
  writing->bytes = std::move(bytes);
  writing->written = std::move(written);
  writing->alive = alive_;
  writing->request.data = writing;
  const uv_buf_t buffer = uv_buf_init(writing->bytes.data(), static_cast<unsigned>(writing->bytes.size()));
  const int status =
      uv_write(&writing->request, reinterpret_cast<uv_stream_t*>(out_), &buffer, 1, [](uv_write_t* request, int) {
        const std::unique_ptr<Writing> done(static_cast<Writing*>(request->data));
        if (!done->alive.expired() && done->written) done->written();
      });
  if (status == 0) return;
  loop_.defer([writing] {
    const std::unique_ptr<Writing> done(writing);
    if (!done->alive.expired() && done->written) done->written();
  });
}

}  // namespace deployrun::core

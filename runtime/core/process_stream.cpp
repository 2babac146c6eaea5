// A child's stdin and stdout as a core::Stream.
#include "core/child.hpp"
#include "core/text.hpp"

namespace deployrun::core {

namespace {

constexpr std::size_t kStderrKept = 4096;

class ProcessStream final : public Stream {
 public:
  ProcessStream(Loop& loop, ProcessOptions options) : options_(std::move(options)), late_exit_(loop) {}
  ~ProcessStream() override { close(); }

  Result<Unit> open(Loop& loop) {
    ChildEvents events;
    events.data = [this](Output which, std::string_view bytes) { received(which, bytes); };
    events.eof = [this](Output which) {
      if (which == Output::err) return;
      output_ended_ = true;
      // Its exit code tells a proper end from a failure; one that has only closed its output says nothing more.
      if (!exited_) late_exit_.start(options_.grace, [this] { give_end(); });
      give_end_if_known();
    };
    events.exit = [this](int code, int signal) {
      exited_ = true;
      code_ = signal == 0 ? code : 128 + signal;
      give_end_if_known();
    };
    auto child = Child::spawn(loop, options_, true, std::move(events));
    if (!child) return std::move(child).error();
    child_ = std::move(child).value();
    child_->read(Output::err);
    return Unit{};
  }

  void read(Read done) override {
    if (closed()) return done(cancelled());
    read_ = std::move(done);
    if (output_ended_) {
      give_end_if_known();
    } else {
      child_->read(Output::out);
    }
  }

  void write(std::string bytes, Written done) override {
    if (closed()) return done(cancelled());
    written_ = std::make_shared<Written>(std::move(done));
    child_->write(
        std::move(bytes), [waiting = std::weak_ptr<Written>(written_), program = options_.argv[0], this](int status) {
          const auto alive = waiting.lock();  // gone when the stream was closed: its callback has had its answer
          if (!alive) return;
          written_.reset();
          if (status == 0) return (*alive)(Unit{});
          (*alive)(Error{.kind = "process.io", .message = "write to " + program + ": " + uv_strerror(status)});
        });
  }

  void end_write() override {
    if (!closed()) child_->end_input();
  }

  void close() noexcept override {
    if (closed()) return;
    late_exit_.cancel();
    std::exchange(child_, nullptr)->abandon(options_.grace);
    const auto reading = std::exchange(read_, nullptr);
    const auto writing = std::exchange(written_, nullptr);
    // The callbacks may destroy this stream: no member is touched below.
    if (reading) reading(cancelled());
    if (writing) (*writing)(cancelled());
  }

 private:
  bool closed() const noexcept { return child_ == nullptr; }

  void received(Output which, std::string_view bytes) {
    if (which == Output::err) {
      stderr_ += bytes;
      if (stderr_.size() > 2 * kStderrKept) stderr_ = std::string(tail(stderr_, kStderrKept));
      if (options_.on_output) options_.on_output(which, bytes);
      return;
    }
    child_->pause(Output::out);  // until it is asked for more: the back-pressure
    const auto done = std::exchange(read_, nullptr);
    if (done) done(std::string(bytes));
  }

  void give_end_if_known() {
    if (output_ended_ && (exited_ || !late_exit_.active())) give_end();
  }

  void give_end() {
    late_exit_.cancel();
    const auto done = std::exchange(read_, nullptr);
    if (!done) return;
    if (code_ == 0) return done(std::string());
    Error error{.kind = "process.exit", .message = "run " + options_.argv[0] + ": exit code " + std::to_string(code_)};
    error.details = {{"code", static_cast<std::int64_t>(code_)}, {"stderr", clean(tail(stderr_, kStderrKept))}};
    done(std::move(error));
  }

  ProcessOptions options_;
  std::shared_ptr<Child> child_;
  Read read_;
  std::shared_ptr<Written> written_;
  std::string stderr_;
  bool output_ended_ = false;
  bool exited_ = false;
  int code_ = 0;
  Timer late_exit_;
};

}  // namespace

Result<std::unique_ptr<Stream>> open_process_stream(Loop& loop, ProcessOptions options) {
  auto stream = std::make_unique<ProcessStream>(loop, std::move(options));
  if (auto open = stream->open(loop); !open) return std::move(open).error();
  return std::unique_ptr<Stream>(std::move(stream));
}

}  // namespace deployrun::core

#include "core/process.hpp"

#include "core/child.hpp"
#include "core/secret.hpp"

namespace deployrun::core {

Process::Process(Loop& loop, ProcessOptions options) : loop_(loop), options_(std::move(options)), survivors_(loop) {}

Process::~Process() {
  if (child_) child_->abandon(Milliseconds{0});
  if (options_.secret_output) wipe(result_.out);
}

void Process::start(Done done) {
  started_ = Loop::now();
  ChildEvents events;
  events.data = [this](Output which, std::string_view bytes) { received(which, bytes); };
  events.eof = [this](Output) {
    --open_;
    if (exited_ && open_ == 0 && !failure_) complete();
  };
  events.exit = [this](int code, int signal) { exited(code, signal); };
  events.ended = [this] { complete(); };
  auto child = Child::spawn(loop_, options_, !options_.input.empty(), std::move(events));
  if (!child) return done(std::move(child).error());
  done_ = std::move(done);
  if (options_.secret_output) result_.out.reserve(options_.output_limit);  // never moved while it grows
  child_ = std::move(child).value();
  child_->read(Output::out);
  child_->read(Output::err);
  if (!options_.input.empty()) {
    // A program that ends before it has read everything is its own business: its exit code says what it thought of it.
    child_->write(std::move(options_.input), [](int) {});
    child_->end_input();
  }
}

void Process::cancel() noexcept {
  if (child_) fail(core::cancelled("run " + options_.argv[0] + ": cancelled"));
}

void Process::fail(Error reason) {
  if (failure_) return;
  failure_ = std::move(reason);
  survivors_.cancel();
  child_->end(options_.grace);
}

void Process::received(Output which, std::string_view bytes) {
  if (failure_) return;
  if (options_.on_output) options_.on_output(which, bytes);
  if (!options_.keep_output) return;
  received_ += bytes.size();
  if (received_ > options_.output_limit) {
    Error error{.kind = "process.output_limit",
                .message = "run " + options_.argv[0] + ": more than " + std::to_string(options_.output_limit) +
                           " bytes of output"};
    error.hint = "write the output to a file, or raise the limit";
    error.details = {{"program", options_.argv[0]}, {"limit", static_cast<std::int64_t>(options_.output_limit)}};
    return fail(std::move(error));
  }
  (which == Output::out ? result_.out : result_.err) += bytes;
}

void Process::exited(int code, int signal) {
  exited_ = true;
  result_.code = signal == 0 ? code : 128 + signal;
  result_.signal = signal;
  result_.duration = std::chrono::duration_cast<Milliseconds>(Loop::now() - started_);
  if (open_ == 0) return complete();
  survivors_.start(options_.grace, [this] { complete(); });
}

void Process::complete() {
  const auto child = std::move(child_);  // it may be calling us
  child->close_outputs();
  const auto done = std::move(done_);
  survivors_.cancel();
  if (failure_) {
    if (options_.secret_output) wipe(result_.out);
    done(std::move(*failure_));
  } else {
    done(std::move(result_));
  }
}

}  // namespace deployrun::core

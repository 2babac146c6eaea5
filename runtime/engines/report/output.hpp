// Bytes to a descriptor that somebody else reads, slowly or not at all. A deploy never waits for its audience: what the
// reader does not take is kept, past a limit dropped and counted, and a reader that went away is forgotten.
// The program ignores SIGPIPE (cli/): between the look and the write a pipe can lose its reader.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "core/loop.hpp"
#include "core/operation.hpp"

namespace deployrun::report {

/// Lives on the loop's thread. The descriptor stays its caller's, in the mode it was in: it may be shared with others,
/// so it is not made non-blocking.
class Output {
 public:
  static constexpr std::size_t kLimit = 4U << 20U;

  Output(core::Loop& loop, int fd, std::size_t limit = kLimit);
  ~Output();
  Output(const Output&) = delete;
  Output& operator=(const Output&) = delete;

  /// Takes one or more whole lines and writes them in this turn of the loop or later. Past the limit they are dropped,
  /// unless `keep` says that they are data whose producer waits (see Drained).
  void write(std::string_view lines, bool keep = false);

  /// Makes the line that tells how many lines were dropped.
  void on_dropped(std::function<std::string(std::size_t)> note) { note_ = std::move(note); }

  /// True while data's producer should wait.
  bool full() const noexcept { return buffer_.size() > limit_ / 2 && !closed_; }
  /// True while the reader has not taken all that was written in earlier turns of the loop.
  bool pending() const noexcept { return retry_.active(); }
  /// True once the reader is gone; everything is dropped from then on.
  bool closed() const noexcept { return closed_; }

  /// Completes when the reader has caught up or is gone.
  class Drained final : public core::Operation<core::Unit> {
   public:
    explicit Drained(Output& output) : output_(output) {}
    ~Drained() override { leave(); }
    void start(Done done) override;
    void cancel() noexcept override;

   private:
    friend class Output;
    void leave() noexcept;
    Output& output_;
    Done done_;
  };

  /// At the end of the program: writes on for at most `limit`, blocking. True when all of it went out.
  bool flush(core::Milliseconds limit);

 private:
  void pump();
  bool write_some();  // false when the reader takes nothing now
  void wake();

  core::Loop& loop_;
  int fd_;
  std::size_t limit_;
  std::string buffer_;
  std::size_t dropped_ = 0;
  std::function<std::string(std::size_t)> note_;
  bool closed_ = false;
  bool scheduled_ = false;
  core::Timer retry_;
  std::deque<Drained*> waiting_;
  std::shared_ptr<Output*> self_;  // what a deferred call holds; nulled by the destructor
};

}  // namespace deployrun::report

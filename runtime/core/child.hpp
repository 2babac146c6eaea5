// A spawned program with its pipes: what Process and the process stream have in common. For core/ alone.
#pragma once

#include <array>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "core/process.hpp"

namespace deployrun::core {

/// Who hears of what. Any of them may drop the last reference to the child.
struct ChildEvents {
  std::function<void(Output, std::string_view)> data;
  std::function<void(Output)> eof;
  std::function<void(int code, int signal)> exit;  ///< reaped; not called once `end` was
  std::function<void()> ended;                     ///< after `end`: the group is gone
};

/// Invariant: whoever lets go of a child calls `abandon` first, and the child then keeps itself until it is reaped.
class Child final : public std::enable_shared_from_this<Child> {
 public:
  /// `piped`: stdin is a pipe; else it is /dev/null. Kinds: `process.spawn`, `usage`.
  static Result<std::shared_ptr<Child>> spawn(Loop& loop, const ProcessOptions& options, bool piped,
                                              ChildEvents events);
  explicit Child(Loop& loop);
  ~Child();
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  void read(Output which);
  void pause(Output which);
  /// `done` gets 0 or a libuv error.
  void write(std::string bytes, std::function<void(int)> done);
  /// Closes stdin after what is being written.
  void end_input();
  void close_outputs();

  /// TERM to the group, KILL after `grace`; then `ended`.
  void end(Milliseconds grace);
  /// No more events; the outputs are closed and the group is ended, with KILL at once when `grace` is 0.
  void abandon(Milliseconds grace);

 private:
  struct Pipe;  // a uv_pipe_t that finds its child
  Result<Unit> run(const ProcessOptions& options, bool piped);
  void on_exit(int code, int signal);
  void on_read(Output which, ssize_t count);
  void signal_group(int signal) noexcept;
  void check_group();
  void finish();
  void release(Pipe*& pipe) noexcept;
  Pipe*& output(Output which) { return which == Output::out ? out_ : err_; }

  Loop& loop_;
  ChildEvents events_;
  uv_process_t* process_ = nullptr;
  int pid_ = 0;
  Pipe* in_ = nullptr;
  Pipe* out_ = nullptr;
  Pipe* err_ = nullptr;
  bool exited_ = false;
  bool ending_ = false;
  bool killed_ = false;
  std::size_t writing_ = 0;
  bool end_input_ = false;
  Timer grace_;
  Timer poll_;
  std::shared_ptr<Child> self_;  // while ending
  std::array<char, 65536> buffer_;
};

}  // namespace deployrun::core

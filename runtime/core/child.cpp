#include "core/child.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>

extern char** environ;

namespace deployrun::core {

namespace {

constexpr Milliseconds kPoll{20};  // how often a group is asked whether it is gone; its end is no event

/// Both ends of a pipe that no other program inherits. Real pipes, not libuv's socket pairs: a program that opens
/// /dev/stdin or /dev/stderr cannot open a socket there.
struct PipeEnds {
  int read = -1;
  int write = -1;
  PipeEnds() = default;
  PipeEnds(const PipeEnds&) = delete;
  PipeEnds& operator=(const PipeEnds&) = delete;
  ~PipeEnds() {
    if (read >= 0) ::close(read);
    if (write >= 0) ::close(write);
  }
  int open() noexcept {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) return errno;
    read = ends[0];
    write = ends[1];
    return 0;
  }
};

/// Whether a member of the group still runs. A zombie does not: where process 1 is no init that reaps (as in many
/// containers), orphans stay in that state for long, and answer to signals.
bool group_runs(int group) {
  if (::kill(-group, 0) != 0) return false;
  const std::unique_ptr<DIR, int (*)(DIR*)> processes(::opendir("/proc"), ::closedir);
  if (!processes) return true;
  while (const dirent* entry = ::readdir(processes.get())) {
    if (entry->d_name[0] < '1' || entry->d_name[0] > '9') continue;
    const int fd = ::open((std::string("/proc/") + entry->d_name + "/stat").c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) continue;
    char text[512];
    const ssize_t size = ::read(fd, text, sizeof text - 1);
    ::close(fd);
    if (size <= 0) continue;
    text[size] = '\0';
    // proc(5): pid (name) state ppid pgrp …; the name may hold anything.
    const char* rest = std::strrchr(text, ')');
    char state = 0;
    int member_of = 0;
    if (rest == nullptr || std::sscanf(rest + 1, " %c %*d %d", &state, &member_of) != 2) continue;
    if (member_of == group && state != 'Z' && state != 'X') return true;
  }
  return false;
}

std::vector<std::string> environment_of(const ProcessOptions& options) {
  std::map<std::string, std::string> all;
  for (char** entry = options.clear_env ? nullptr : environ; entry != nullptr && *entry != nullptr; ++entry) {
    const char* equals = std::strchr(*entry, '=');
    if (equals != nullptr) all[std::string(static_cast<const char*>(*entry), equals)] = equals + 1;
  }
  for (const auto& [name, value] : options.env) all[name] = value;
  std::vector<std::string> entries;
  entries.reserve(all.size());
  for (const auto& [name, value] : all) entries.push_back(name + "=" + value);
  return entries;
}

std::vector<char*> pointers_to(std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  pointers.reserve(texts.size() + 1);
  for (std::string& text : texts) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

std::optional<Error> check(const ProcessOptions& options) {
  if (options.argv.empty() || options.argv[0].empty()) return usage("process: no program is named");
  for (const std::string& word : options.argv) {
    if (word.find('\0') != std::string::npos)
      return usage("process " + options.argv[0] + ": an argument holds a NUL byte");
  }
  for (const auto& [name, value] : options.env) {
    const std::string where = "process " + options.argv[0] + ": environment '" + name + "': ";
    if (name.empty() || name.find('=') != std::string::npos) return usage(where + "not a name");
    if (name.find('\0') != std::string::npos || value.find('\0') != std::string::npos)
      return usage(where + "holds a NUL byte");
  }
  return std::nullopt;
}

Error spawn_error(const ProcessOptions& options, int code) {
  const std::string& program = options.argv[0];
  Error error{.kind = "process.spawn", .message = "run " + program + ": " + uv_strerror(code)};
  error.details = {{"program", program}, {"errno", static_cast<std::int64_t>(-code)}};
  struct stat found {};
  if (!options.cwd.empty() && (::stat(options.cwd.c_str(), &found) != 0 || !S_ISDIR(found.st_mode))) {
    error.message = "run " + program + ": its working folder " + options.cwd + " is not there";
  } else if (code == UV_ENOENT) {
    error.message = "run " + program + ": not found";
    error.hint = program.find('/') == std::string::npos
                     ? "install " + program + ", or add its folder to PATH"
                     : "check the path, and the interpreter in the script's first line";
  } else if (code == UV_EACCES) {
    error.hint = "is the file executable (chmod +x)?";
  }
  return error;
}

}  // namespace

/// Lives until its close callback. `child` is null once it was released.
struct Child::Pipe {
  uv_pipe_t handle;
  Child* child;
  Output which;
};

Child::Child(Loop& loop) : loop_(loop), grace_(loop), poll_(loop) {}

Child::~Child() {
  release(in_);
  close_outputs();
  explicit_bzero(buffer_.data(), buffer_.size());   // it may have held what a program said in confidence
  if (process_ != nullptr) close_handle(process_);  // only where it was never spawned: see the invariant
}

Result<std::shared_ptr<Child>> Child::spawn(Loop& loop, const ProcessOptions& options, bool piped, ChildEvents events) {
  if (auto wrong = check(options)) return std::move(*wrong);
  auto child = std::make_shared<Child>(loop);
  if (auto running = child->run(options, piped); !running) return std::move(running).error();
  child->events_ = std::move(events);
  return child;
}

Result<Unit> Child::run(const ProcessOptions& options, bool piped) {
  PipeEnds in;
  PipeEnds out;
  PipeEnds err;
  for (PipeEnds* ends : {&out, &err, &in}) {
    if (ends == &in && !piped) continue;
    if (const int code = ends->open(); code != 0) return spawn_error(options, -code);
  }
  std::vector<std::string> argv = options.argv;
  std::vector<std::string> env = environment_of(options);
  std::vector<char*> argv_pointers = pointers_to(argv);
  std::vector<char*> env_pointers = pointers_to(env);
  uv_stdio_container_t stdio[3] = {};
  stdio[0].flags = piped ? UV_INHERIT_FD : UV_IGNORE;
  stdio[0].data.fd = in.read;
  stdio[1].flags = UV_INHERIT_FD;
  stdio[1].data.fd = out.write;
  stdio[2].flags = UV_INHERIT_FD;
  stdio[2].data.fd = err.write;

  uv_process_options_t how{};
  how.file = argv_pointers[0];
  how.args = argv_pointers.data();
  how.env = env_pointers.data();
  how.cwd = options.cwd.empty() ? nullptr : options.cwd.c_str();
  how.flags = UV_PROCESS_DETACHED;  // setsid: it leads a group of its own
  how.stdio = stdio;
  how.stdio_count = 3;
  how.exit_cb = [](uv_process_t* handle, std::int64_t code, int signal) {
    static_cast<Child*>(handle->data)->on_exit(static_cast<int>(code), signal);
  };
  process_ = new uv_process_t{};
  process_->data = this;
  const int code = uv_spawn(loop_.raw(), process_, &how);
  if (code != 0) return spawn_error(options, code);
  pid_ = process_->pid;

  const auto adopt = [this](int& fd, Output which) {
    auto* pipe = new Pipe{{}, this, which};
    uv_pipe_init(loop_.raw(), &pipe->handle, 0);
    pipe->handle.data = pipe;
    uv_pipe_open(&pipe->handle, fd);
    fd = -1;
    return pipe;
  };
  if (piped) in_ = adopt(in.write, Output::out);
  out_ = adopt(out.read, Output::out);
  err_ = adopt(err.read, Output::err);
  return Unit{};
}

void Child::release(Pipe*& pipe) noexcept {
  if (pipe == nullptr) return;
  pipe->child = nullptr;
  uv_close(reinterpret_cast<uv_handle_t*>(&pipe->handle),
           [](uv_handle_t* closed) { delete static_cast<Pipe*>(closed->data); });
  pipe = nullptr;
}

void Child::read(Output which) {
  if (output(which) == nullptr) return;
  uv_read_start(
      reinterpret_cast<uv_stream_t*>(&output(which)->handle),
      [](uv_handle_t* handle, std::size_t, uv_buf_t* room) {
        Child* child = static_cast<Pipe*>(handle->data)->child;
        *room = uv_buf_init(child->buffer_.data(), static_cast<unsigned>(child->buffer_.size()));
      },
      [](uv_stream_t* stream, ssize_t count, const uv_buf_t*) {
        auto* pipe = static_cast<Pipe*>(stream->data);
        if (count != 0) pipe->child->on_read(pipe->which, count);
      });
}

void Child::pause(Output which) {
  if (output(which) != nullptr) uv_read_stop(reinterpret_cast<uv_stream_t*>(&output(which)->handle));
}

void Child::on_read(Output which, ssize_t count) {
  const auto keep = shared_from_this();
  if (count > 0) {
    if (events_.data) events_.data(which, {buffer_.data(), static_cast<std::size_t>(count)});
    return;
  }
  release(output(which));  // an error while reading is its end as well
  if (events_.eof) events_.eof(which);
}

void Child::write(std::string bytes, std::function<void(int)> done) {
  struct Writing {
    uv_write_t request;
    std::string bytes;
    std::function<void(int)> done;
    std::weak_ptr<Child> child;
  };
  if (in_ == nullptr) return done(UV_EPIPE);
  auto* writing = new Writing{{}, std::move(bytes), std::move(done), weak_from_this()};
  writing->request.data = writing;
  const uv_buf_t buffer = uv_buf_init(writing->bytes.data(), static_cast<unsigned>(writing->bytes.size()));
  ++writing_;
  const auto finished = [](uv_write_t* request, int status) {
    const std::unique_ptr<Writing> owned(static_cast<Writing*>(request->data));
    if (const auto child = owned->child.lock()) {
      if (--child->writing_ == 0 && child->end_input_) child->release(child->in_);
    }
    owned->done(status);
  };
  const int code = uv_write(&writing->request, reinterpret_cast<uv_stream_t*>(&in_->handle), &buffer, 1, finished);
  if (code != 0) finished(&writing->request, code);
}

void Child::end_input() {
  end_input_ = true;
  if (writing_ == 0) release(in_);
}

void Child::close_outputs() {
  release(out_);
  release(err_);
}

void Child::on_exit(int code, int signal) {
  const auto keep = shared_from_this();
  exited_ = true;
  close_handle(std::exchange(process_, nullptr));
  if (!ending_) {
    if (events_.exit) events_.exit(code, signal);
  } else if (killed_) {
    finish();
  } else {
    check_group();
  }
}

void Child::signal_group(int signal) noexcept { ::kill(-pid_, signal); }

void Child::end(Milliseconds grace) {
  if (ending_) return;
  ending_ = true;
  self_ = shared_from_this();
  if (grace.count() > 0) {
    signal_group(SIGTERM);
    grace_.start(grace, [this] {
      killed_ = true;
      signal_group(SIGKILL);
      if (exited_) finish();
    });
    if (exited_) check_group();
  } else {
    killed_ = true;
    signal_group(SIGKILL);
    if (exited_) finish();
  }
}

void Child::check_group() {
  if (!group_runs(pid_)) return finish();
  poll_.start(kPoll, [this] { check_group(); });
}

void Child::finish() {
  const auto keep = std::move(self_);
  grace_.cancel();
  poll_.cancel();
  release(in_);
  close_outputs();
  if (events_.ended) {
    const auto ended = std::move(events_.ended);
    ended();
  }
}

void Child::abandon(Milliseconds grace) {
  events_ = {};
  close_outputs();
  release(in_);
  if (grace.count() == 0 && ending_ && !killed_) {
    killed_ = true;
    signal_group(SIGKILL);
    return;  // `finish` comes with its exit, or with the grace timer where it has exited
  }
  // Reaped and nothing left to signal.
  if (exited_ && !group_runs(pid_)) return;
  end(grace);
}

}  // namespace deployrun::core

#include "ssh/transfer.hpp"

#include <charconv>

#include "core/quote.hpp"
#include "core/text.hpp"
#include "ssh/remote_command.hpp"

namespace deployrun::ssh {
namespace {

// What the scripts below end with, apart from what cat, mv and the rest say themselves.
constexpr int kNotFound = 94;
constexpr int kDirectory = 95;
constexpr int kSizeDiffers = 97;

/// $1 path, $2 size, $3 mode or "", $4 owner or "", $5 pattern of the temporary name, $6 folder to make or "".
constexpr const char* kPut = R"sh(p=$1
umask 022
if [ -n "$6" ]; then mkdir -p "$6" || exit 98; fi
umask 077
[ ! -d "$p" ] || exit 95
t=$(mktemp "$5") || exit 98
trap 'rm -f "$t"' EXIT
trap 'exit 143' HUP INT TERM PIPE
m=$3
o=$4
[ -n "$m" ] || m=$(stat -Lc %a "$p" 2>/dev/null) || m=644
cat >"$t" || exit 98
[ "$(wc -c <"$t")" -eq "$2" ] || exit 97
if [ -n "$o" ]; then
  chown "$o" "$t" || exit 98
elif o=$(stat -Lc %u:%g "$p" 2>/dev/null); then
  chown "$o" "$t" 2>/dev/null || :
fi
chmod "$m" "$t" || exit 98
mv -f "$t" "$p" || exit 98
trap - EXIT
echo "$m")sh";

/// $1 path; the size and the mode come first, then the bytes.
constexpr const char* kGet = R"sh([ -e "$1" ] || exit 94
[ ! -d "$1" ] || exit 95
exec <"$1" || exit 98
s=$(stat -Lc '%s %a' "$1") || exit 98
echo "$s"
exec cat)sh";

constexpr const char* kRead = R"sh([ -e "$1" ] || exit 94
[ ! -d "$1" ] || exit 95
exec cat <"$1")sh";

/// No remote path begins with '-': half of the tools would take it for an option.
std::string safe_path(std::string path) {
  if (path.empty() || path.find('\0') != std::string::npos)
    throw core::Failure(core::usage("a remote path is empty or holds a NUL byte"));
  return path.front() == '-' ? "./" + path : path;
}

std::string folder_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  return slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
}

std::vector<std::string> script(const char* text, std::vector<std::string> arguments) {
  std::vector<std::string> argv = {"sh", "-c", text, "sh"};
  argv.insert(argv.end(), std::make_move_iterator(arguments.begin()), std::make_move_iterator(arguments.end()));
  return argv;
}

mode_t parse_mode(std::string_view text) {
  unsigned mode = 0;
  std::from_chars(text.data(), text.data() + text.size(), mode, 8);
  return static_cast<mode_t>(mode & 07777U);
}

core::Error failure(const std::string& what, const std::string& host, int code, const std::string& err) {
  core::Error error{.kind = "ssh.transfer", .host = host};
  const std::string said(core::trim(core::clean(core::tail(err, 2048))));
  switch (code) {
    case kNotFound:
      error.kind = "ssh.not_found";
      error.message = what + ": no such file (or a folder above it may not be entered)";
      break;
    case kDirectory:
      error.kind = "ssh.directory";
      error.message = what + ": it is a directory";
      break;
    case kSizeDiffers: error.message = what + ": not all bytes arrived"; break;
    default: error.message = what + ": " + (said.empty() ? "failed with code " + std::to_string(code) : said);
  }
  error.details["code"] = std::int64_t{code};
  error.details["stderr"] = said;
  return error;
}

}  // namespace

Upload::Upload(std::shared_ptr<Session> session, FromFile from, std::string path, PutOptions options)
    : session_(std::move(session)),
      from_(std::move(from.path)),
      path_(safe_path(std::move(path))),
      options_(std::move(options)) {}

Upload::Upload(std::shared_ptr<Session> session, std::string bytes, std::string path, PutOptions options)
    : session_(std::move(session)),
      bytes_(std::move(bytes)),
      path_(safe_path(std::move(path))),
      options_(std::move(options)) {}

Upload::~Upload() { core::wipe(bytes_); }

void Upload::start(Done done) {
  done_ = std::move(done);
  if (!from_) {
    ExecOptions exec;
    const std::uint64_t size = bytes_.size();
    exec.input = std::move(bytes_);
    return send(std::move(exec), size);
  }
  open_ = open_local_file(session_->loop(), *from_);
  open_->start([this](core::Result<OpenedFile> opened) {
    if (!opened) return finish(opened.error());
    ExecOptions exec;
    const std::uint64_t size = opened->size;
    exec.input_stream = std::make_unique<FileSource>(session_->loop(), std::move(opened).value(), *from_);
    send(std::move(exec), size);
  });
}

void Upload::send(ExecOptions exec, std::uint64_t size) {
  const std::string folder = folder_of(path_);
  char mode[16] = "";
  if (options_.mode) std::snprintf(mode, sizeof mode, "%o", static_cast<unsigned>(*options_.mode & 07777U));
  if (!options_.owner.empty() && options_.owner.front() == '-') {
    return finish(core::usage("\"" + options_.owner + "\" is not an owner"));
  }
  exec.command.argv =
      script(kPut, {path_, std::to_string(size), mode, options_.owner,
                    (folder == "/" ? "" : folder) + "/.deployrun.XXXXXXXXXX", options_.make_parents ? folder : ""});
  exec_ = std::make_unique<Exec>(session_, std::move(exec));
  exec_->start([this, size](core::Result<ExecResult> ran) {
    if (!ran) return finish(ran.error());
    if (ran->code != 0)
      return finish(failure("write " + path_ + " on " + session_->host(), session_->host(), ran->code, ran->err));
    finish(Transferred{size, parse_mode(ran->out), ran->duration});
  });
}

void Upload::cancel() noexcept {
  if (!done_) return;
  if (exec_) {
    exec_->cancel();
  } else if (open_) {
    open_->cancel();
  }
}

void Upload::finish(core::Result<Transferred> result) {
  if (const auto done = std::exchange(done_, nullptr)) done(std::move(result));
}

/// Bytes go command → pending_ → file; the command is held while too much is pending.
class Download::Run {
 public:
  Run(std::shared_ptr<Session> session, std::string path, std::string to)
      : session_(std::move(session)), path_(safe_path(std::move(path))), sink_(session_->loop(), std::move(to)) {
    std::string nonce = RemoteCommand::make_nonce();
    Command command;
    command.argv = script(kGet, {path_});
    CommandLine line = command_line(command, nonce);
    command_.emplace(session_, std::move(line), std::move(nonce));
  }

  void start(Done done) {
    done_ = std::move(done);
    begun_ = core::Loop::now();
    busy_ = true;
    sink_.open([this](core::Result<core::Unit> opened) { written(std::move(opened)); });
    command_->start({.output = [this](core::Output output, std::string_view bytes) { take(output, bytes); },
                     .ended = [this](core::Result<Exit> exit) { ended(std::move(exit)); }});
    command_->end_input();
  }

  void stop(core::Error reason) {
    if (!done_ || error_) return;
    error_ = std::move(reason);
    command_->stop();
    settle();
  }

 private:
  static constexpr std::size_t kHoldAt = 2U << 20U;
  static constexpr std::size_t kHeaderLimit = 64;

  void take(core::Output output, std::string_view bytes) {
    if (error_) return;
    if (output == core::Output::err) {
      if (stderr_.size() < 4096) stderr_ += bytes;
      return;
    }
    pending_ += bytes;
    if (!size_ && !read_header()) return;
    if (pending_.size() >= kHoldAt) command_->hold(true);
    pump();
  }

  bool read_header() {
    const std::size_t end = pending_.find('\n');
    if (end == std::string::npos) {
      if (pending_.size() > kHeaderLimit)
        stop(failure("read " + path_, session_->host(), 1, "unexpected output (does a shell start-up file print?)"));
      return false;
    }
    std::uint64_t size = 0;
    const auto [rest, wrong] = std::from_chars(pending_.data(), pending_.data() + end, size);
    if (wrong != std::errc{} || *rest != ' ') {
      stop(failure("read " + path_, session_->host(), 1, "unexpected output (does a shell start-up file print?)"));
      return false;
    }
    mode_ = parse_mode({rest + 1, static_cast<std::size_t>(pending_.data() + end - rest - 1)});
    size_ = size;
    pending_.erase(0, end + 1);
    return true;
  }

  void pump() {
    if (busy_ || pending_.empty() || error_ || !size_) return;
    if (pending_.size() > *size_ - put_) pending_.resize(*size_ - put_);
    if (pending_.empty()) return;
    busy_ = true;
    put_ += pending_.size();
    std::string piece = std::exchange(pending_, {});
    sink_.write(std::move(piece), [this](core::Result<core::Unit> result) { written(std::move(result)); });
    command_->hold(false);
  }

  void written(core::Result<core::Unit> result) {
    busy_ = false;
    if (!result) stop(result.error());
    pump();
    settle();
  }

  void ended(core::Result<Exit> exit) {
    ended_ = true;
    if (!error_) {
      const std::string what = "read " + path_ + " on " + session_->host();
      if (!exit) {
        error_ = exit.error();
      } else if (exit->code != 0) {
        error_ = failure(what, session_->host(), exit->code, stderr_);
      } else if (!size_ || put_ + pending_.size() < *size_) {
        error_ = failure(what, session_->host(), kSizeDiffers, {});
      }
    }
    settle();
  }

  /// Completes when both sides are at rest.
  void settle() {
    if (!ended_ || busy_ || !done_) return;
    if (error_) return finish(std::move(*error_));
    pump();
    if (busy_) return;
    if (committed_)
      return finish(
          Transferred{put_, mode_, std::chrono::duration_cast<core::Milliseconds>(core::Loop::now() - begun_)});
    committed_ = true;
    busy_ = true;
    sink_.commit(mode_, [this](core::Result<core::Unit> result) {
      busy_ = false;
      if (!result) return finish(result.error());
      settle();
    });
  }

  void finish(core::Result<Transferred> result) {
    const auto done = std::exchange(done_, nullptr);
    done(std::move(result));
  }

  std::shared_ptr<Session> session_;
  std::string path_;
  FileSink sink_;
  Done done_;
  core::Instant begun_{};
  std::string pending_;
  std::string stderr_;
  std::optional<std::uint64_t> size_;
  mode_t mode_ = 0;
  std::uint64_t put_ = 0;
  bool busy_ = false;
  bool ended_ = false;
  bool committed_ = false;
  std::optional<core::Error> error_;
  std::optional<RemoteCommand> command_;
};

Download::Download(std::shared_ptr<Session> session, std::string path, std::string to)
    : run_(std::make_unique<Run>(std::move(session), std::move(path), std::move(to))) {}
Download::~Download() = default;
void Download::start(Done done) { run_->start(std::move(done)); }
void Download::cancel() noexcept { run_->stop(core::cancelled()); }

ReadFile::ReadFile(std::shared_ptr<Session> session, std::string path, std::size_t limit)
    : path_(safe_path(std::move(path))), host_(session->host()) {
  ExecOptions options;
  options.command.argv = script(kRead, {path_});
  options.output_limit = limit;
  exec_ = std::make_unique<Exec>(std::move(session), std::move(options));
}

void ReadFile::start(Done done) {
  exec_->start([this, done = std::move(done)](core::Result<ExecResult> ran) {
    if (!ran) return done(ran.error());
    if (ran->code != 0) return done(failure("read " + path_ + " on " + host_, host_, ran->code, ran->err));
    done(std::move(ran->out));
  });
}

}  // namespace deployrun::ssh

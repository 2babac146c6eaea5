#include "ssh/transfer.hpp"

#include <charconv>

#include "core/quote.hpp"
#include "core/text.hpp"
#include "ssh/bulk_upload.hpp"
#include "ssh/remote_command.hpp"

namespace deployrun::ssh {
namespace {

/// $1 path, $2 size, $3 mode or "", $4 owner or "", $5 pattern of the temporary name, $6 folder to make or "",
/// $7 its sum or "".
constexpr const char* kPut = R"sh(need mktemp cat wc chmod mv rm
read -r _
p=$1
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
if [ -n "$7" ]; then
  s=$(sum <"$t" | head -n 1 | cut -c1-64)
  [ "$s" = "$7" ] || [ "$s" = - ] || exit 97
fi
give "$o" "$t" "$p"
chmod "$m" "$t" || exit 98
mv -f "$t" "$p" || exit 98
trap - EXIT
echo "$m")sh";

/// $1 path, $2 how many bytes are there already, $3 their sum; the size, the mode and where it begins come first, then
/// the bytes from there on. The sum of the whole comes beside them on stderr, as its last line.
constexpr const char* kGet = R"sh(need stat head tail cut
[ -e "$1" ] || exit 94
[ ! -d "$1" ] || exit 95
exec <"$1" || exit 98
s=$(stat -Lc '%s %a' "$1") || exit 98
n=${s% *}
b=0
if [ "$2" -gt 0 ] && [ "$2" -le "$n" ] && [ "$(head -c "$2" <"$1" | sum | cut -c1-64)" = "$3" ]; then b=$2; fi
echo "$s $b"
if [ "$(sum </dev/null | cut -c1)" = - ]; then exec head -c "$n"; fi
(h=$(head -c "$n" <"$1" | sum | cut -c1-64) && echo "sum $h" >&2) &
if [ "$b" -gt 0 ]; then tail -c "+$((b + 1))" | head -c "$((n - b))" || exit 98
else head -c "$n" || exit 98
fi
wait)sh";

constexpr const char* kRead = R"sh(need cat
[ -e "$1" ] || exit 94
[ ! -d "$1" ] || exit 95
exec cat <"$1")sh";

}  // namespace

Upload::Upload(std::shared_ptr<Session> session, FromFile from, std::string path, PutOptions options)
    : session_(std::move(session)),
      from_(std::move(from.path)),
      path_(safe_path(std::move(path))),
      options_(std::move(options)),
      progress_(options_.on_progress) {}

Upload::Upload(std::shared_ptr<Session> session, std::string bytes, std::string path, PutOptions options)
    : session_(std::move(session)),
      bytes_(std::move(bytes)),
      path_(safe_path(std::move(path))),
      options_(std::move(options)),
      progress_({}) {}

Upload::~Upload() { core::wipe(bytes_); }

void Upload::start(Done done) {
  done_ = std::move(done);
  if (!options_.owner.empty() && options_.owner.front() == '-') {
    return finish(core::usage("\"" + options_.owner + "\" is not an owner"));
  }
  if (!from_) {
    ExecOptions exec;
    const std::uint64_t size = bytes_.size();
    exec.input = kInputGuard + bytes_;
    core::wipe(bytes_);
    return send(std::move(exec), size, {});
  }
  open_ = open_local_file(session_->loop(), *from_);
  open_->start([this](core::Result<OpenedFile> file) {
    if (!file) return finish(file.error());
    opened(std::move(file).value());
  });
}

void Upload::opened(OpenedFile file) {
  if (file.size > BulkUpload::kFrom) {
    bulk_ = std::make_unique<BulkUpload>(session_, std::move(file), *from_, path_, options_);
    return bulk_->start([this](core::Result<Transferred> result) { finish(std::move(result)); });
  }
  progress_.begin(file.size);
  hash_ = hash_of_range(session_->loop(), file, *from_, 0, file.size);
  hash_->start([this, file](core::Result<std::string> sum) {
    if (!sum) return finish(sum.error());
    ExecOptions exec;
    auto source = std::make_unique<FileSource>(session_->loop(), file, *from_);
    source->on_read = [this](std::size_t bytes) { progress_.add(bytes); };
    exec.input = kInputGuard;
    exec.input_stream = std::move(source);
    send(std::move(exec), file.size, *sum);
  });
}

void Upload::send(ExecOptions exec, std::uint64_t size, const std::string& sum) {
  const std::string folder = folder_of(path_);
  exec.command.argv =
      script(std::string(kNeedFunction) + kSumFunction + kGiveFunction + kPut,
             {path_, std::to_string(size), mode_text(options_.mode), options_.owner,
              (folder == "/" ? "" : folder) + "/.deployrun.XXXXXXXXXX", options_.make_parents ? folder : "", sum});
  exec_ = std::make_unique<Exec>(session_, std::move(exec));
  exec_->start([this, size](core::Result<ExecResult> ran) {
    if (!ran) return finish(ran.error());
    if (ran->code != 0)
      return finish(
          transfer_failure("write " + path_ + " on " + session_->host(), session_->host(), ran->code, ran->err));
    finish(Transferred{size, parse_mode(ran->out), ran->duration});
  });
}

void Upload::cancel() noexcept {
  if (!done_) return;
  if (exec_) {
    exec_->cancel();
  } else if (bulk_) {
    bulk_->cancel();
  } else if (hash_) {
    hash_->cancel();
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
  Run(std::shared_ptr<Session> session, std::string path, std::string to, OnProgress on_progress)
      : session_(std::move(session)),
        path_(safe_path(std::move(path))),
        sink_(session_->loop(), std::move(to), session_->host() + '\0' + path_),
        progress_(std::move(on_progress)) {}

  void start(Done done) {
    done_ = std::move(done);
    begun_ = core::Loop::now();
    busy_ = true;
    sink_.open([this](core::Result<core::Unit> opened) {
      busy_ = false;
      if (!opened && !error_) error_ = opened.error();
      if (!error_) return ask();
      ended_ = true;
      settle();
    });
  }

  void stop(core::Error reason) {
    if (!done_ || error_) return;
    error_ = std::move(reason);
    if (command_) command_->stop();
    settle();
  }

 private:
  static constexpr std::size_t kHoldAt = 2U << 20U;
  static constexpr std::size_t kHeaderLimit = 64;

  void ask() {
    std::string nonce = RemoteCommand::make_nonce();
    Command command;
    command.argv = script(std::string(kNeedFunction) + kSumFunction + kGet,
                          {path_, std::to_string(sink_.kept()), sink_.kept_sum()});
    CommandLine line = command_line(command, nonce);
    command_.emplace(session_, std::move(line), std::move(nonce));
    command_->start({.output = [this](core::Output output, std::string_view bytes) { take(output, bytes); },
                     .ended = [this](core::Result<Exit> exit) { ended(std::move(exit)); }});
    command_->end_input();
  }

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

  static bool number(std::string_view text, std::uint64_t& value) {
    const auto [end, wrong] = std::from_chars(text.data(), text.data() + text.size(), value);
    return wrong == std::errc{} && end == text.data() + text.size();
  }

  bool read_header() {
    const std::size_t end = pending_.find('\n');
    if (end == std::string::npos) {
      if (pending_.size() > kHeaderLimit) stop(unexpected());
      return false;
    }
    const auto words = core::split(std::string_view(pending_).substr(0, end), ' ');
    std::uint64_t size = 0, begin = 0;
    if (words.size() != 3 || !number(words[0], size) || !number(words[2], begin) || begin > size ||
        (begin != 0 && begin != sink_.kept())) {
      stop(unexpected());
      return false;
    }
    mode_ = parse_mode(words[1]);
    size_ = size;
    put_ = begin;
    from_start_ = begin == 0;
    progress_.begin(size);
    if (begin > 0) progress_.add(begin);
    pending_.erase(0, end + 1);
    return true;
  }

  core::Error unexpected() const { return unexpected_output(*command_, "read " + path_, session_->host(), pending_); }

  void pump() {
    if (busy_ || pending_.empty() || error_ || !size_) return;
    if (pending_.size() > *size_ - put_) pending_.resize(*size_ - put_);
    if (pending_.empty()) return;
    busy_ = true;
    put_ += pending_.size();
    progress_.add(pending_.size());
    std::string piece = std::exchange(pending_, {});
    sink_.write(std::move(piece), std::exchange(from_start_, false),
                [this](core::Result<core::Unit> result) { written(std::move(result)); });
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
      } else if (!exit->begun) {
        error_ = not_begun(session_->host(), exit->code, stderr_);
      } else if (exit->code != 0) {
        error_ = transfer_failure(what, session_->host(), exit->code, stderr_);
      } else if (!size_ || put_ + pending_.size() < *size_) {
        error_ = transfer_failure(what, session_->host(), kFileDiffers, {});
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
    if (from_start_ && sink_.kept() > 0) {  // an empty file, where there was something once
      busy_ = true;
      return sink_.write({}, std::exchange(from_start_, false),
                         [this](core::Result<core::Unit> result) { written(std::move(result)); });
    }
    if (!same()) {
      sink_.drop();
      return finish(transfer_failure("read " + path_ + " on " + session_->host(), session_->host(), kFileDiffers, {}));
    }
    committed_ = true;
    busy_ = true;
    sink_.commit(mode_, [this](core::Result<core::Unit> result) {
      busy_ = false;
      if (!result) return finish(result.error());
      settle();
    });
  }

  /// Whether what was written is what the host read, as far as it could say.
  bool same() {
    const std::size_t at = stderr_.rfind("sum ");
    if (at == std::string::npos || stderr_.size() < at + 68) return true;
    return stderr_.compare(at + 4, 64, sink_.sum()) == 0;
  }

  void finish(core::Result<Transferred> result) {
    const auto done = std::exchange(done_, nullptr);
    done(std::move(result));
  }

  std::shared_ptr<Session> session_;
  std::string path_;
  FileSink sink_;
  ProgressMeter progress_;
  Done done_;
  core::Instant begun_{};
  std::string pending_;
  std::string stderr_;
  std::optional<std::uint64_t> size_;
  mode_t mode_ = 0;
  std::uint64_t put_ = 0;
  bool from_start_ = true;
  bool busy_ = false;
  bool ended_ = false;
  bool committed_ = false;
  std::optional<core::Error> error_;
  std::optional<RemoteCommand> command_;
};

Download::Download(std::shared_ptr<Session> session, std::string path, std::string to, OnProgress on_progress)
    : run_(std::make_unique<Run>(std::move(session), std::move(path), std::move(to), std::move(on_progress))) {}
Download::~Download() = default;
void Download::start(Done done) { run_->start(std::move(done)); }
void Download::cancel() noexcept { run_->stop(core::cancelled()); }

ReadFile::ReadFile(std::shared_ptr<Session> session, std::string path, std::size_t limit)
    : path_(safe_path(std::move(path))), host_(session->host()) {
  ExecOptions options;
  options.command.argv = script(std::string(kNeedFunction) + kRead, {path_});
  options.output_limit = limit;
  exec_ = std::make_unique<Exec>(std::move(session), std::move(options));
}

void ReadFile::start(Done done) {
  exec_->start([this, done = std::move(done)](core::Result<ExecResult> ran) {
    if (!ran) return done(ran.error());
    if (ran->code != 0) return done(transfer_failure("read " + path_ + " on " + host_, host_, ran->code, ran->err));
    done(std::move(ran->out));
  });
}

}  // namespace deployrun::ssh

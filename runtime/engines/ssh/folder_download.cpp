#include "ssh/folder_download.hpp"

#include <charconv>

#include "core/pool.hpp"
#include "ssh/remote_command.hpp"

namespace deployrun::ssh {
namespace {

/// $1 path. How many bytes are in its files comes first, then the archive.
constexpr const char* kPack = R"sh([ -e "$1" ] || exit 94
[ -d "$1" ] || exit 93
need tar find stat
cd "$1" || exit 98
find . -type f -exec stat -c %s {} + | { s=0; while read -r x; do s=$((s + x)); done; echo "$s"; }
exec tar -cf - .)sh";

}  // namespace

/// Bytes go command → pending_ → Unpacker, on the pool; the command is held while too much is pending.
class FolderDownload::Run {
 public:
  Run(std::shared_ptr<Session> session, std::string path, std::string to, UnpackOptions options, OnProgress on_progress)
      : session_(std::move(session)),
        path_(safe_path(std::move(path))),
        unpacker_(std::make_shared<Unpacker>(std::move(to), options)),
        progress_(std::move(on_progress)) {}

  void start(Done done) {
    done_ = std::move(done);
    begun_ = core::Loop::now();
    work([](Unpacker& unpacker) { return unpacker.open(); },
         [this] {
           if (error_) ended_ = true;
           error_ ? settle() : ask();
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
  static constexpr std::size_t kHeaderLimit = 32;

  template <class Work, class Then>
  void work(Work job, Then then) {
    busy_ = true;
    job_ = std::make_unique<core::PoolJob<core::Unit>>(
        session_->loop(), [unpacker = unpacker_, job = std::move(job)] { return job(*unpacker); });
    job_->start([this, then = std::move(then)](core::Result<core::Unit> result) {
      busy_ = false;
      if (!result && !error_) {
        error_ = result.error();
        if (command_ && !ended_) command_->stop();
      }
      then();
    });
  }

  void ask() {
    std::string nonce = RemoteCommand::make_nonce();
    Command command;
    command.argv = script(std::string(kNeedFunction) + kPack, {path_});
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
    if (!total_ && !read_header()) return;
    if (pending_.size() >= kHoldAt) command_->hold(true);
    pump();
  }

  bool read_header() {
    const std::size_t end = pending_.find('\n');
    if (end == std::string::npos && pending_.size() <= kHeaderLimit) return false;
    std::uint64_t total = 0;
    const char* last = pending_.data() + std::min(end, pending_.size());
    const auto [rest, wrong] = std::from_chars(pending_.data(), last, total);
    if (wrong != std::errc{} || rest != last) {
      stop(unexpected_output(*command_, "read folder " + path_, session_->host(), pending_));
      return false;
    }
    total_ = total;
    progress_.begin(total);
    pending_.erase(0, end + 1);
    work([total](Unpacker& unpacker) { return unpacker.expect(total); }, [this] { go_on(); });
    return true;
  }

  void pump() {
    if (busy_ || pending_.empty() || error_) return;
    std::string piece = std::exchange(pending_, {});
    work([piece = std::move(piece)](Unpacker& unpacker) { return unpacker.feed(piece); },
         [this] {
           progress_.add(unpacker_->bytes() - progress_.bytes());
           go_on();
         });
    command_->hold(false);
  }

  void go_on() {
    pump();
    settle();
  }

  void ended(core::Result<Exit> exit) {
    ended_ = true;
    if (!error_ && !exit) error_ = exit.error();
    if (!error_ && !exit->begun) error_ = not_begun(session_->host(), exit->code, stderr_);
    if (!error_ && exit->code != 0) {
      error_ =
          transfer_failure("read folder " + path_ + " on " + session_->host(), session_->host(), exit->code, stderr_);
    }
    settle();
  }

  /// Completes when both sides are at rest, and nothing is left of what failed.
  void settle() {
    if (!ended_ || busy_ || !done_) return;
    if (!error_ && !pending_.empty()) return pump();
    const bool worked = !error_ && !committed_;
    if (worked) {
      committed_ = true;
      return work([](Unpacker& unpacker) { return unpacker.commit(); }, [this] { settle(); });
    }
    work(
        [](Unpacker& unpacker) -> core::Result<core::Unit> {
          unpacker.discard();
          return core::Unit{};
        },
        [this] { finish(); });
  }

  void finish() {
    const auto done = std::exchange(done_, nullptr);
    if (!done) return;
    if (error_) return done(std::move(*error_));
    done(TransferredFolder{unpacker_->files(), unpacker_->bytes(),
                           std::chrono::duration_cast<core::Milliseconds>(core::Loop::now() - begun_)});
  }

  std::shared_ptr<Session> session_;
  std::string path_;
  std::shared_ptr<Unpacker> unpacker_;
  ProgressMeter progress_;
  Done done_;
  core::Instant begun_{};
  std::string pending_;
  std::string stderr_;
  std::optional<std::uint64_t> total_;
  bool busy_ = false;
  bool ended_ = false;
  bool committed_ = false;
  std::optional<core::Error> error_;
  std::unique_ptr<core::PoolJob<core::Unit>> job_;
  std::optional<RemoteCommand> command_;
};

FolderDownload::FolderDownload(std::shared_ptr<Session> session, std::string path, std::string to,
                               UnpackOptions options, OnProgress on_progress)
    : run_(std::make_unique<Run>(std::move(session), std::move(path), std::move(to), options, std::move(on_progress))) {
}
FolderDownload::~FolderDownload() = default;
void FolderDownload::start(Done done) { run_->start(std::move(done)); }
void FolderDownload::cancel() noexcept { run_->stop(core::cancelled()); }

}  // namespace deployrun::ssh

#include "ssh/bulk_upload.hpp"

#include <algorithm>

#include "core/pool.hpp"
#include "core/text.hpp"
#include "ssh/sha256.hpp"

namespace deployrun::ssh {
namespace {

constexpr std::uint64_t kBlock = 1U << 20U;  // dd counts in these
constexpr int kTries = 2;

/// $1 path, $2 part, $3 folder to make or "". Prints the part's inode, then the sum of each chunk that it has already.
/// A part that is not ours, or no plain file, was put there by somebody else. Parts that nobody went on with for two
/// days are taken away.
constexpr const char* kPrepare = R"sh(need find rm stat wc dd cut chmod mv
umask 022
if [ -n "$3" ]; then mkdir -p "$3" || exit 98; fi
umask 077
[ ! -d "$1" ] || exit 95
find "${2%/*}/" -maxdepth 1 -type f -user "$(id -u)" -name '.deployrun-*.part' -mtime +1 -exec rm -f {} \; 2>/dev/null
if [ -L "$2" ] || { [ -e "$2" ] && ! { [ -f "$2" ] && [ -O "$2" ]; }; }; then rm -f "$2" || exit 98; fi
[ -e "$2" ] || (set -C; : >"$2") || exit 98
stat -c %i "$2" || exit 98
n=$((($(wc -c <"$2") + 16777215) / 16777216))
i=0
[ "$(sum </dev/null | cut -c1)" != - ] || i=$n
while [ "$i" -lt "$n" ]; do
  dd if="$2" bs=1048576 skip=$((i * 16)) count=16 2>/dev/null | sum | cut -c1-64
  i=$((i + 1))
done)sh";

/// $1 part, $2 where in it (MiB), $3 how many MiB, $4 its inode.
constexpr const char* kChunkScript = R"sh(umask 077
e=$(dd of="$1" bs=1048576 seek="$2" conv=notrunc 2>&1) || { echo "$e" >&2; exit 98; }
[ "$(stat -c %i "$1" 2>/dev/null)" = "$4" ] || exit 96
dd if="$1" bs=1048576 skip="$2" count="$3" 2>/dev/null | sum)sh";

/// $1 path, $2 part, $3 size, $4 inode, $5 mode or "", $6 owner or "".
constexpr const char* kCommit = R"sh([ ! -d "$1" ] || exit 95
[ "$(stat -c '%i %s' "$2" 2>/dev/null)" = "$4 $3" ] || exit 96
m=$5
[ -n "$m" ] || m=$(stat -Lc %a "$1" 2>/dev/null) || m=644
give "$6" "$2" "$1"
chmod "$m" "$2" && mv -f "$2" "$1" || exit 98
echo "$m")sh";

}  // namespace

/// One chunk at a time over a channel of its own.
struct BulkUpload::Worker {
  std::size_t chunk = 0;
  std::shared_ptr<Sha256> sum;
  std::uint64_t read = 0;      // what is in it; a job of the pool may be at it until all is
  std::string said;            // the answer's first bytes
  std::optional<Sha256> back;  // of the bytes that came back from a host without any tool
  std::unique_ptr<core::Operation<std::string>> compare;
  std::unique_ptr<Exec> exec;
  bool busy = false;
};

BulkUpload::BulkUpload(std::shared_ptr<Session> session, OpenedFile file, std::string from, std::string path,
                       PutOptions options)
    : session_(std::move(session)),
      file_(std::move(file)),
      from_(std::move(from)),
      path_(std::move(path)),
      options_(std::move(options)),
      progress_(options_.on_progress) {
  // The part belongs to this very file of this machine: one that changed meanwhile begins a new one.
  const std::string key = Sha256::of(path_ + '\0' + from_ + '\0' + file_.identity);
  const std::string folder = folder_of(path_);
  part_ = (folder == "/" ? "" : folder) + "/.deployrun-" + key.substr(0, 32) + ".part";
  chunks_.resize((file_.size + kChunk - 1) / kChunk);
  left_ = chunks_.size();
  progress_.begin(file_.size);
}

BulkUpload::~BulkUpload() = default;

std::uint64_t BulkUpload::size_of(std::size_t chunk) const { return std::min(kChunk, file_.size - chunk * kChunk); }

core::Error BulkUpload::refusal(const ExecResult& ran) const {
  return transfer_failure("write " + path_ + " on " + session_->host(), session_->host(), ran.code, ran.err);
}

void BulkUpload::start(Done done) {
  done_ = std::move(done);
  begun_ = core::Loop::now();
  ExecOptions exec;
  exec.command.argv = script(std::string(kNeedFunction) + kSumFunction + kPrepare,
                             {path_, part_, options_.make_parents ? folder_of(path_) : std::string()});
  exec_ = std::make_unique<Exec>(session_, std::move(exec));
  exec_->start([this](core::Result<ExecResult> ran) {
    if (!ran) return fail(ran.error());
    if (ran->code != 0) return fail(refusal(*ran));
    prepared(*ran);
  });
}

void BulkUpload::prepared(const ExecResult& ran) {
  const auto lines = core::lines(ran.out);
  if (lines.empty() || lines[0].empty()) return fail(transfer_failure("write " + path_, session_->host(), 98, ran.err));
  inode_ = lines[0];
  for (std::size_t i = 0; i + 1 < lines.size() && i < chunks_.size(); ++i) {
    if (lines[i + 1].size() == 64) chunks_[i].there = lines[i + 1];
  }
  const std::size_t count = std::min(kChannels, chunks_.size());
  for (std::size_t i = 0; i < count; ++i) workers_.push_back(std::make_unique<Worker>());
  for (std::size_t i = 0; i < count && !error_; ++i) next(*workers_[i]);
}

void BulkUpload::next(Worker& worker) {
  worker.busy = false;
  if (error_) return settle();
  if (left_ == 0) return commit();
  if (next_ >= chunks_.size()) return;  // the others are still at it
  worker.busy = true;
  worker.chunk = next_++;
  if (chunks_[worker.chunk].there.empty()) {
    send(worker);
  } else {
    compare(worker);
  }
}

void BulkUpload::compare(Worker& worker) {
  worker.compare = hash_of_range(session_->loop(), file_, from_, worker.chunk * kChunk, size_of(worker.chunk));
  worker.compare->start([this, &worker](core::Result<std::string> sum) {
    if (error_ || !sum) {
      worker.busy = false;
      return error_ ? settle() : fail(sum.error());
    }
    if (*sum != chunks_[worker.chunk].there) return send(worker);
    progress_.add(size_of(worker.chunk));
    chunk_done(worker);
  });
}

void BulkUpload::send(Worker& worker) {
  const std::uint64_t size = size_of(worker.chunk);
  worker.sum = std::make_shared<Sha256>();
  worker.read = 0;
  worker.said.clear();
  worker.back.reset();
  ExecOptions exec;
  exec.command.argv = script(
      std::string(kSumFunction) + kChunkScript,
      {part_, std::to_string(worker.chunk * kChunk / kBlock), std::to_string((size + kBlock - 1) / kBlock), inode_});
  auto source = std::make_unique<FileSource>(session_->loop(), file_, from_, worker.chunk * kChunk, size, worker.sum);
  source->on_read = [this, &worker](std::size_t bytes) {
    worker.read += bytes;
    progress_.add(bytes);
  };
  exec.input_stream = std::move(source);
  exec.keep_output = false;
  auto err = std::make_shared<std::string>();
  exec.on_output = [&worker, err](core::Output output, std::string_view bytes) {
    if (output == core::Output::err) {
      if (err->size() < 4096) *err += bytes;
    } else if (worker.back) {
      worker.back->add(bytes);
    } else if (worker.said += bytes; worker.said.rfind("-\n", 0) == 0) {
      worker.back.emplace();
      worker.back->add(std::string_view(worker.said).substr(2));
    }
  };
  worker.exec = std::make_unique<Exec>(session_, std::move(exec));
  worker.exec->start([this, &worker, err](core::Result<ExecResult> ran) {
    if (ran) ran->err = *err;
    sent(worker, std::move(ran));
  });
}

void BulkUpload::sent(Worker& worker, core::Result<ExecResult> ran) {
  if (error_) {
    worker.busy = false;
    return settle();
  }
  if (!ran || ran->code != 0) {
    worker.busy = false;
    // A full disk must not stay full of what nobody may ever go on with.
    return ran ? fail(refusal(*ran), true) : fail(ran.error());
  }
  const std::string there = worker.back ? worker.back->hex() : worker.said.substr(0, 64);
  if (worker.read == size_of(worker.chunk) && there == worker.sum->hex()) return chunk_done(worker);
  if (++chunks_[worker.chunk].tries >= kTries) {
    worker.busy = false;
    return fail(transfer_failure("write " + path_ + " on " + session_->host(), session_->host(), kFileDiffers, {}),
                true);
  }
  send(worker);
}

void BulkUpload::chunk_done(Worker& worker) {
  --left_;
  next(worker);
}

void BulkUpload::commit() {
  // What was compared is what was read; what was read must be one state of the file.
  check_ = unchanged(session_->loop(), file_, from_);
  check_->start([this](core::Result<core::Unit> same) {
    if (error_) return settle();
    if (!same) return fail(same.error(), same.error().kind == "ssh.file");
    ExecOptions exec;
    exec.command.argv = script(std::string(kGiveFunction) + kCommit, {path_, part_, std::to_string(file_.size), inode_,
                                                                      mode_text(options_.mode), options_.owner});
    exec_ = std::make_unique<Exec>(session_, std::move(exec));
    exec_->start([this](core::Result<ExecResult> ran) {
      if (!ran) return finish(ran.error());
      if (error_) return finish(std::move(*error_));
      if (ran->code != 0) return finish(refusal(*ran));
      finish(Transferred{file_.size, parse_mode(ran->out),
                         std::chrono::duration_cast<core::Milliseconds>(core::Loop::now() - begun_)});
    });
  });
}

void BulkUpload::fail(core::Error error, bool drop) {
  if (!error_) {
    error_ = std::move(error);
    drop_ = drop;
    for (const auto& worker : workers_) {
      if (!worker->busy) continue;
      if (worker->exec) worker->exec->cancel();
      if (worker->compare) worker->compare->cancel();
    }
  }
  settle();
}

/// Completes with the error once nobody is at work any more.
void BulkUpload::settle() {
  if (!error_ || !done_) return;
  for (const auto& worker : workers_) {
    if (worker->busy) return;
  }
  if (!drop_ || !session_->alive()) return finish(std::move(*error_));
  drop_ = false;
  ExecOptions exec;
  exec.command.argv = {"rm", "-f", part_};
  exec_ = std::make_unique<Exec>(session_, std::move(exec));
  exec_->start([this](const core::Result<ExecResult>&) { finish(std::move(*error_)); });
}

void BulkUpload::cancel() noexcept {
  if (!done_ || error_) return;
  const bool working = std::any_of(workers_.begin(), workers_.end(), [](const auto& worker) { return worker->busy; });
  if (working) return fail(core::cancelled());
  if (exec_) exec_->cancel();
  if (check_) check_->cancel();
}

void BulkUpload::finish(core::Result<Transferred> result) {
  if (const auto done = std::exchange(done_, nullptr)) done(std::move(result));
}

}  // namespace deployrun::ssh

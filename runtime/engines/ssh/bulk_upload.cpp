#include "ssh/bulk_upload.hpp"

#include <algorithm>
#include <array>

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
constexpr const char* kPrepare = R"sh(need find rm stat wc dd cut chmod mv id
umask 022
if [ -n "$3" ]; then mkdir -p "$3" || exit 98; fi
umask 077
[ ! -d "$1" ] || exit 95
find "${2%/*}/" -maxdepth 1 -type f -user "$(id -u)" -name '.deployrun-*.part' -mtime +1 -exec rm -f {} \; 2>/dev/null
if [ -L "$2" ] || { [ -e "$2" ] && ! { [ -f "$2" ] && [ -O "$2" ]; }; }; then rm -f "$2" || exit 98; fi
[ -e "$2" ] || (set -C; : >"$2") || exit 98
stat -c %i "$2" || exit 98
n=$((($(wc -c <"$2") + 4194303) / 4194304))
i=0
[ "$(sum </dev/null | cut -c1)" != - ] || i=$n
while [ "$i" -lt "$n" ]; do
  dd if="$2" bs=1048576 skip=$((i * 4)) count=4 2>/dev/null | sum | cut -c1-64
  i=$((i + 1))
done)sh";

/// $1 part, $2 where in it (MiB).
constexpr const char* kRunScript = R"sh(umask 077
exec dd of="$1" bs=1048576 seek="$2" conv=notrunc)sh";

/// $1 part, $2 where its second half begins (MiB). The halves' sums after "1 " and "2 ", or without any tool for that
/// "-" and all its bytes. The second one's program reads from where `dd` has moved the file's place to.
constexpr const char* kVerify = R"sh(if [ "$(sum </dev/null | cut -c1)" = - ]; then sum <"$1"; exit; fi
(h=$(head -c $(($2 * 1048576)) <"$1" | sum) && echo "1 $h") & a=$!
(h=$({ dd bs=1048576 skip="$2" count=0 2>/dev/null && sum; } <"$1") && echo "2 $h") & b=$!
wait "$a" && wait "$b" || exit 98)sh";

/// $1 path, $2 part, $3 size, $4 inode, $5 mode or "", $6 owner or "".
constexpr const char* kCommit = R"sh([ ! -d "$1" ] || exit 95
[ "$(stat -c '%i %s' "$2" 2>/dev/null)" = "$4 $3" ] || exit 96
m=$5
[ -n "$m" ] || m=$(stat -Lc %a "$1" 2>/dev/null) || m=644
give "$6" "$2" "$1"
chmod "$m" "$2" && mv -f "$2" "$1" || exit 98
echo "$m")sh";

}  // namespace

/// What kVerify prints, piece by piece.
class BulkUpload::SumsThere {
 public:
  explicit SumsThere(std::uint64_t half) : half_(half) {}

  void take(std::string_view bytes) {
    if (plain_) return add(bytes);
    said_ += bytes;
    if (said_.rfind("-\n", 0) != 0) return;
    plain_ = true;
    add(std::string_view(said_).substr(2));
  }

  Sums result() {
    if (plain_) return {.first = sums_[0].hex(), .second = sums_[1].hex()};
    Sums sums;
    for (const std::string_view line : core::lines(said_)) {
      if (line.rfind("1 ", 0) == 0) sums.first = line.substr(2, 64);
      if (line.rfind("2 ", 0) == 0) sums.second = line.substr(2, 64);
    }
    return sums;
  }

 private:
  void add(std::string_view bytes) {
    const auto first = static_cast<std::size_t>(std::min<std::uint64_t>(bytes.size(), half_ - std::min(half_, seen_)));
    sums_[0].add(bytes.substr(0, first));
    sums_[1].add(bytes.substr(first));
    seen_ += bytes.size();
  }

  std::uint64_t half_;
  std::string said_;
  bool plain_ = false;  // a host without any tool: its bytes come back
  std::uint64_t seen_ = 0;
  std::array<Sha256, 2> sums_;
};

/// A run of chunks over a channel of its own.
struct BulkUpload::Worker {
  std::uint64_t offset = 0;
  std::uint64_t size = 0;
  std::uint64_t read = 0;
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
  prepare();
}

void BulkUpload::prepare() {
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
  there_.assign((file_.size + kChunk - 1) / kChunk, {});
  for (std::size_t i = 0; i + 1 < lines.size() && i < there_.size(); ++i) {
    if (lines[i + 1].size() == 64) there_[i] = lines[i + 1];
  }
  missing_.clear();
  compare(0);
}

/// Goes through the chunks that the part has, one after the other, then sends the rest.
void BulkUpload::compare(std::size_t chunk) {
  while (chunk < there_.size() && there_[chunk].empty()) missing_.push_back(chunk++);
  if (chunk == there_.size()) return send_missing();
  hashing_ = true;
  hash_ = hash_of_range(session_->loop(), file_, from_, chunk * kChunk, size_of(chunk));
  hash_->start([this, chunk](core::Result<std::string> sum) {
    hashing_ = false;
    if (error_) return settle();
    if (!sum) return fail(sum.error());
    if (*sum != there_[chunk]) {
      missing_.push_back(chunk);
    } else if (tries_ == 0) {
      progress_.add(size_of(chunk));
    }
    compare(chunk + 1);
  });
}

void BulkUpload::send_missing() {
  if (missing_.empty()) return hash();
  // Consecutive ones travel together: a run takes two processes there. Its end, if the connection is lost in the
  // middle, is what has to be sent again.
  const bool is_near = session_->transport().round_trip_time() < Transport::kNear;
  const std::size_t channels = is_near ? 1 : kChannels;
  const std::size_t longest = is_near ? missing_.size() : (missing_.size() + 2 * kChannels - 1) / (2 * kChannels);
  workers_.clear();
  std::size_t length = 0;
  for (std::size_t i = 0; i < missing_.size(); ++i) {
    if (i == 0 || missing_[i] != missing_[i - 1] + 1 || length == longest) {
      workers_.push_back(std::make_unique<Worker>());
      workers_.back()->offset = missing_[i] * kChunk;
      length = 0;
    }
    workers_.back()->size += size_of(missing_[i]);
    ++length;
  }
  const std::size_t first = std::min(channels, workers_.size());
  for (std::size_t i = 0; i < first && !error_; ++i) send(*workers_[i]);
  if (!error_) hash();
}

void BulkUpload::send(Worker& worker) {
  worker.busy = true;
  worker.read = 0;
  ExecOptions exec;
  exec.command.argv = script(kRunScript, {part_, std::to_string(worker.offset / kBlock)});
  auto source = std::make_unique<FileSource>(session_->loop(), file_, from_, worker.offset, worker.size);
  source->on_read = [this, &worker](std::size_t bytes) {
    worker.read += bytes;
    if (tries_ == 0) progress_.add(bytes);
  };
  exec.input_stream = std::move(source);
  worker.exec = std::make_unique<Exec>(session_, std::move(exec));
  worker.exec->start([this, &worker](core::Result<ExecResult> ran) { sent(worker, std::move(ran)); });
}

void BulkUpload::sent(Worker& worker, core::Result<ExecResult> ran) {
  worker.busy = false;
  if (error_) return settle();
  if (!ran) return fail(ran.error());
  // A full disk must not stay full of what nobody may ever go on with.
  if (ran->code != 0) return fail(refusal(*ran), true);
  const auto next =
      std::find_if(workers_.begin(), workers_.end(), [](const auto& one) { return one->exec == nullptr; });
  if (next != workers_.end()) return send(**next);
  if (std::any_of(workers_.begin(), workers_.end(), [](const auto& one) { return one->busy; })) return;
  waiting_ = !sums_.known();
  if (!waiting_) verify();
}

/// The whole file here, while it is sent.
void BulkUpload::hash() {
  const bool sending = std::any_of(workers_.begin(), workers_.end(), [](const auto& one) { return one->busy; });
  if (sums_.known()) return sending ? void() : verify();
  waiting_ = !sending;
  hash_on(std::make_shared<Sha256>(), 0);
}

/// Chunk by chunk, so that it can be given up.
void BulkUpload::hash_on(const std::shared_ptr<Sha256>& sum, std::size_t chunk) {
  hashing_ = true;
  adding_ = add_range(session_->loop(), file_, from_, chunk * kChunk, size_of(chunk), sum);
  adding_->start([this, sum, chunk](core::Result<core::Unit> added) {
    hashing_ = false;
    if (error_) return settle();
    if (!added) return fail(added.error());
    hashed(sum, chunk);
  });
}

void BulkUpload::hashed(const std::shared_ptr<Sha256>& sum, std::size_t chunk) {
  if (chunk + 1 == half()) {
    sums_.first = sum->hex();
    return hash_on(std::make_shared<Sha256>(), chunk + 1);
  }
  if (chunk + 1 < there_.size()) return hash_on(sum, chunk + 1);
  sums_.second = sum->hex();
  if (waiting_) verify();
}

void BulkUpload::verify() {
  waiting_ = false;
  ExecOptions exec;
  exec.command.argv = script(std::string(kSumFunction) + kVerify, {part_, std::to_string(half() * (kChunk / kBlock))});
  exec.keep_output = false;
  auto there = std::make_shared<SumsThere>(half() * kChunk);
  exec.on_output = [there](core::Output output, std::string_view bytes) {
    if (output == core::Output::out) there->take(bytes);
  };
  exec_ = std::make_unique<Exec>(session_, std::move(exec));
  exec_->start([this, there](core::Result<ExecResult> ran) {
    if (!ran) return fail(ran.error());
    if (ran->code != 0) return fail(refusal(*ran));
    verified(there->result());
  });
}

void BulkUpload::verified(const Sums& there) {
  // What was compared is what was read; what was read must be one state of the file.
  check_ = unchanged(session_->loop(), file_, from_);
  check_->start([this, good = there == sums_](core::Result<core::Unit> same) {
    if (error_) return settle();
    if (!same) return fail(same.error(), same.error().kind == "ssh.file");
    if (good) return commit();
    // Once more, for those chunks that are not as they should be.
    if (++tries_ < kTries) return prepare();
    fail(transfer_failure("write " + path_ + " on " + session_->host(), session_->host(), kFileDiffers, {}), true);
  });
}

void BulkUpload::commit() {
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
}

void BulkUpload::fail(core::Error error, bool drop) {
  if (!error_) {
    error_ = std::move(error);
    drop_ = drop;
    for (const auto& worker : workers_) {
      if (worker->busy) worker->exec->cancel();
    }
  }
  settle();
}

/// Completes with the error once nobody is at work any more.
void BulkUpload::settle() {
  if (!error_ || !done_ || hashing_) return;
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
  const bool sending = std::any_of(workers_.begin(), workers_.end(), [](const auto& worker) { return worker->busy; });
  if (sending || hashing_) return fail(core::cancelled());
  if (exec_) exec_->cancel();
  if (check_) check_->cancel();
}

void BulkUpload::finish(core::Result<Transferred> result) {
  if (const auto done = std::exchange(done_, nullptr)) done(std::move(result));
}

}  // namespace deployrun::ssh

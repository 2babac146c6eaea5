#include <sys/stat.h>

#include <utility>

#include "ssh/sftp_folders.hpp"

namespace deployrun::ssh {
namespace {

constexpr std::size_t kAhead = 32;                   // entries begun before the one whose turn it is
constexpr std::uint64_t kAheadWindow = 256U << 10U;  // of a file's bytes
constexpr std::size_t kArchiveLimit = 2U << 20U;     // not yet unpacked

core::TarMember member_of(const sftp::Name& entry) {
  const mode_t mode = entry.attributes.mode.value_or(0);
  core::TarMember member{.name = entry.name,
                         .mode = static_cast<unsigned>(mode & 07777U),
                         .modified = entry.attributes.modified.value_or(0)};
  if (S_ISREG(mode)) {
    member.size = entry.attributes.size.value_or(0);
  } else {
    member.type = S_ISDIR(mode) ? '5' : S_ISLNK(mode) ? '2' : '3';  // what is none of these is refused by the unpacker
  }
  return member;
}

}  // namespace

struct SftpFolderDownload::Entry {
  core::TarMember member;
  bool begun = false;   // asked for
  bool ready = false;   // its header can be written
  bool headed = false;  // and was
  bool ended = false;   // all its bytes are there
  std::string bytes;    // not yet in the archive
  std::unique_ptr<SftpReader> reader;
};

SftpFolderDownload::SftpFolderDownload(std::shared_ptr<Session> session, std::string path, std::string to,
                                       UnpackOptions options, OnProgress on_progress)
    : SftpWork(session, "read folder " + path + " on " + session->host()),
      path_(std::move(path)),
      unpacker_(std::make_shared<Unpacker>(std::move(to), options)),
      progress_(std::move(on_progress)) {}

SftpFolderDownload::~SftpFolderDownload() = default;

void SftpFolderDownload::work(std::function<core::Result<core::Unit>(Unpacker&)> job, std::function<void()> then) {
  begin_job();
  job_ = std::make_unique<core::PoolJob<core::Unit>>(
      session().loop(), [unpacker = unpacker_, job = std::move(job)] { return job(*unpacker); });
  job_->start([this, then = std::move(then)](core::Result<core::Unit> result) {
    if (!result) {
      fail(result.error());
    } else if (!failed()) {
      then();
    }
    end_job();
  });
}

void SftpFolderDownload::start(Done done) {
  done_ = std::move(done);
  begun_ = core::Loop::now();
  work([](Unpacker& unpacker) { return unpacker.open(); },
       [this] {
         connect([this] {
           ask(sftp::on_path(sftp::Type::stat, path_), [this](const sftp::Answer& answer) {
             if (!is_folder(answer.attributes)) return fail(kFileExists);
             walk(path_, [this](Listing listing) { listed(std::move(listing)); });
           });
         });
       });
}

void SftpFolderDownload::listed(Listing listing) {
  std::uint64_t total = 0;
  for (const sftp::Name& found : listing) {
    auto entry = std::make_shared<Entry>();
    entry->member = member_of(found);
    total += entry->member.size;
    entries_.push_back(std::move(entry));
  }
  progress_.begin(total);
  work([total](Unpacker& unpacker) { return unpacker.expect(total); },
       [this] {
         read_ahead();
         pass();
       });
}

void SftpFolderDownload::read_ahead() {
  for (std::size_t i = 0; i < entries_.size() && i < kAhead; ++i) {
    if (!std::exchange(entries_[i]->begun, true)) open(entries_[i]);
  }
}

void SftpFolderDownload::open(const std::shared_ptr<Entry>& entry) {
  const std::string place = path_ + "/" + entry->member.name;
  if (entry->member.type == '2') {
    return ask(sftp::on_path(sftp::Type::readlink, place), [this, entry](const sftp::Answer& answer) {
      entry->member.target = answer.names.empty() ? "" : answer.names[0].name;
      entry->ready = entry->ended = true;
      pass();
    });
  }
  if (entry->member.type != '0') {
    entry->ready = entry->ended = true;
    return;
  }
  ask(sftp::open_file(place, sftp::kRead), [this, entry](const sftp::Answer& answer) {
    const std::string handle = answer.text;
    entry->ready = true;
    const auto take = [this, entry = entry.get()](const std::string& bytes) {
      entry->bytes += bytes;
      pass();
    };
    entry->reader = reader(
        handle, entry->member.size, take,
        [this, entry = entry.get(), handle] {
          entry->ended = true;  // seen by whoever consumed the last bytes
          ask(sftp::close(handle));
        },
        kAheadWindow);
    entry->reader->start();
    pass();
  });
}

/// Entries → archive, in their order → unpacker.
void SftpFolderDownload::pass() {
  while (!entries_.empty() && archive_.size() < kArchiveLimit && !failed()) {
    const auto entry = entries_.front();
    if (!entry->ready) break;
    if (!std::exchange(entry->headed, true)) archive_ += core::tar_header(entry->member);
    if (!entry->bytes.empty()) {
      const std::size_t count = entry->bytes.size();
      archive_ += std::exchange(entry->bytes, {});
      entry->reader->consumed(count);
    }
    if (!entry->ended) {
      entry->reader->widen(SftpReader::kWindow);
      break;
    }
    archive_.append(core::tar_padding(entry->member.size), '\0');
    entries_.pop_front();
    session().loop().defer([entry] {});  // its reader may be the one that called
    read_ahead();
  }
  if (entries_.empty() && !std::exchange(ended_, true)) archive_ += core::tar_end();
  if (unpacking_ || failed()) return;
  if (archive_.empty()) {
    if (ended_) commit();
    return;
  }
  unpacking_ = true;
  work([piece = std::exchange(archive_, {})](Unpacker& unpacker) { return unpacker.feed(piece); },
       [this] {
         unpacking_ = false;
         progress_.add(unpacker_->bytes() - progress_.bytes());
         pass();
       });
}

void SftpFolderDownload::commit() {
  unpacking_ = true;
  work([](Unpacker& unpacker) { return unpacker.commit(); }, [this] { complete(); });
}

void SftpFolderDownload::over(std::optional<core::Error> error) {
  // What is left of it is taken away on the pool, as it was made.
  job_ = std::make_unique<core::PoolJob<core::Unit>>(session().loop(), [unpacker = unpacker_] {
    unpacker->discard();
    return core::Result<core::Unit>(core::Unit{});
  });
  job_->start([this, error = std::move(error)](const core::Result<core::Unit>&) {
    const auto done = std::exchange(done_, nullptr);
    if (error) return done(*error);
    done(TransferredFolder{unpacker_->files(), unpacker_->bytes(),
                           std::chrono::duration_cast<core::Milliseconds>(core::Loop::now() - begun_)});
  });
}

void SftpFolderDownload::cancel() noexcept { stop(); }

}  // namespace deployrun::ssh

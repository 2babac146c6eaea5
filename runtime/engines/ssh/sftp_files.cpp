#include "ssh/sftp_files.hpp"

#include <sys/stat.h>

#include <utility>

#include "core/secret.hpp"
#include "ssh/sha256.hpp"

namespace deployrun::ssh {
namespace {

constexpr std::uint64_t kUnwritten = 4U << 20U;  // sent, not yet confirmed

core::Milliseconds since(core::Instant begun) {
  return std::chrono::duration_cast<core::Milliseconds>(core::Loop::now() - begun);
}

}  // namespace

SftpUpload::SftpUpload(std::shared_ptr<Session> session, Upload::FromFile from, std::string path, PutOptions options)
    : SftpWork(session, "write " + path + " on " + session->host()),
      from_(std::move(from.path)),
      path_(std::move(path)),
      options_(std::move(options)),
      progress_(options_.on_progress) {}

SftpUpload::SftpUpload(std::shared_ptr<Session> session, std::string bytes, std::string path, PutOptions options)
    : SftpWork(session, "write " + path + " on " + session->host()),
      bytes_(std::move(bytes)),
      path_(std::move(path)),
      options_(std::move(options)),
      progress_({}) {}

SftpUpload::~SftpUpload() { core::wipe(bytes_); }

void SftpUpload::start(Done done) {
  done_ = std::move(done);
  begun_ = core::Loop::now();
  if (!from_) {
    size_ = bytes_.size();
    sum_->add(bytes_);
    return connect([this] { look(); });
  }
  begin_job();
  open_ = open_local_file(session().loop(), *from_);
  open_->start([this](core::Result<OpenedFile> file) {
    if (!file) {
      fail(file.error());
      return end_job();
    }
    file_ = std::move(file).value();
    size_ = file_.size;
    source_ = std::make_unique<FileSource>(session().loop(), file_, *from_, 0, size_, sum_);
    progress_.begin(size_);
    connect([this] { look(); });
    end_job();
  });
}

void SftpUpload::look() {
  const auto looked = [this](const sftp::Answer& answer) {
    replaces_ = answer.type == sftp::Type::attributes;
    if (replaces_ && is_folder(answer.attributes)) return fail(kFileIsDirectory);
    if (replaces_ && answer.attributes.mode) mode_ = *answer.attributes.mode & 07777U;
    old_owner_ = answer.attributes.owner;
    if (options_.mode) mode_ = *options_.mode;
    if (replaces_ && !client().can("posix-rename@openssh.com"))
      return fail(98, "this server cannot replace a file in one moment; remove it first");
    if (options_.owner.empty()) return create();
    // A bare user's group is the old file's, or that of what we create: it is looked up again there.
    resolve_owner(options_.owner, old_owner_ ? old_owner_->group : 0, [this](sftp::Owner owner) {
      new_owner_ = owner;
      create();
    });
  };
  const auto go = [this, looked] { try_ask(sftp::on_path(sftp::Type::stat, path_), looked); };
  options_.make_parents ? make_parents(path_, go) : go();
}

void SftpUpload::create() {
  temporary_ = unfinished_name(path_);
  const std::uint32_t flags = sftp::kRead | sftp::kWrite | sftp::kCreate | sftp::kExclusive;
  try_ask(sftp::open_file(temporary_, flags, {.mode = 0600}), [this](const sftp::Answer& answer) {
    if (answer.type != sftp::Type::handle) {
      temporary_.clear();
      return fail(98, answer.text);
    }
    handle_ = answer.text;
    send();
  });
}

/// Pieces are read one ahead, and cut to what a server takes.
void SftpUpload::send() {
  const auto put = [this](std::string_view bytes) {
    while (!bytes.empty()) {
      const std::string_view piece = bytes.substr(0, sftp::kPiece);
      bytes.remove_prefix(piece.size());
      unwritten_ += piece.size();
      ask(sftp::write(handle_, offset_, piece), [this, count = piece.size()](const sftp::Answer&) {
        unwritten_ -= count;
        progress_.add(count);
        send();
      });
      offset_ += piece.size();
    }
  };
  if (failed() || reading_ || unwritten_ >= kUnwritten) return;
  if (!source_ && !ended_) {
    ended_ = true;
    put(bytes_);
  }
  if (ended_) return sent();
  reading_ = true;
  begin_job();
  source_->read([this, put](core::Result<std::string> piece) {
    reading_ = false;
    if (!piece) {
      fail(piece.error());
    } else if (!failed()) {
      ended_ = piece->empty();
      put(*piece);
      send();
    }
    end_job();
  });
}

void SftpUpload::sent() {
  if (unwritten_ > 0 || back_) return;
  if (offset_ != size_) return fail(kFileDiffers);
  back_.emplace();
  read_back();
}

void SftpUpload::read_back() {
  const auto take = [this](const std::string& bytes) {
    back_->add(bytes);
    reader_->consumed(bytes.size());
  };
  reader_ = reader(handle_, size_, take, [this] {
    if (back_->hex() != sum_->hex()) return fail(kFileDiffers);
    settle_attributes();
  });
  reader_->start();
}

void SftpUpload::settle_attributes() {
  const auto rest = [this] {
    ask(sftp::set_handle(handle_, {.mode = mode_}));
    if (client().can("fsync@openssh.com")) ask(sftp::sync(handle_));
    ask(sftp::close(handle_), [this](const sftp::Answer&) { check_source(); });
  };
  if (!options_.owner.empty() && options_.owner.find(':') == std::string::npos && !old_owner_) {
    return ask(sftp::on_handle(sftp::Type::fstat, handle_), [this, rest](const sftp::Answer& answer) {
      if (answer.attributes.owner) new_owner_->group = answer.attributes.owner->group;
      ask(sftp::set_handle(handle_, {.owner = *new_owner_}));
      rest();
    });
  }
  if (new_owner_) {
    ask(sftp::set_handle(handle_, {.owner = *new_owner_}));
  } else if (old_owner_) {
    try_ask(sftp::set_handle(handle_, {.owner = *old_owner_}));
  }
  rest();
}

void SftpUpload::check_source() {
  if (!from_) return into_place();
  begin_job();
  check_ = unchanged(session().loop(), file_, *from_);
  check_->start([this](core::Result<core::Unit> same) {
    if (!same) {
      fail(same.error());
    } else if (!failed()) {
      into_place();
    }
    end_job();
  });
}

void SftpUpload::into_place() {
  const auto request =
      client().can("posix-rename@openssh.com") ? sftp::rename_over(temporary_, path_) : sftp::rename(temporary_, path_);
  ask(request, [this](const sftp::Answer&) {
    temporary_.clear();
    complete();
  });
}

void SftpUpload::tidy() {
  if (!temporary_.empty()) try_ask(sftp::on_path(sftp::Type::remove, temporary_));
}

void SftpUpload::over(std::optional<core::Error> error) {
  const auto done = std::exchange(done_, nullptr);
  if (error) return done(std::move(*error));
  done(Transferred{size_, mode_, since(begun_)});
}

void SftpUpload::cancel() noexcept { stop(); }

SftpDownload::SftpDownload(std::shared_ptr<Session> session, std::string path, std::string to, OnProgress on_progress)
    : SftpWork(session, "read " + path + " on " + session->host()),
      path_(std::move(path)),
      sink_(session->loop(), std::move(to), session->host() + '\0' + path_),
      progress_(std::move(on_progress)) {}

SftpDownload::~SftpDownload() = default;

void SftpDownload::start(Done done) {
  done_ = std::move(done);
  begun_ = core::Loop::now();
  begin_job();
  sink_.open([this](core::Result<core::Unit> opened) {
    if (!opened) {
      fail(opened.error());
    } else if (!failed()) {
      connect([this] {
        ask(sftp::on_path(sftp::Type::stat, path_), [this](const sftp::Answer& answer) { fetch(answer.attributes); });
      });
    }
    end_job();
  });
}

void SftpDownload::fetch(const sftp::Attributes& attributes) {
  if (is_folder(attributes)) return fail(kFileIsDirectory);
  mode_ = attributes.mode.value_or(0644) & 07777U;
  size_ = attributes.size.value_or(0);
  progress_.begin(size_);
  ask(sftp::open_file(path_, sftp::kRead), [this](const sftp::Answer& answer) {
    const auto take = [this](const std::string& bytes) {
      progress_.add(bytes.size());
      pending_ += bytes;
      pass();
    };
    reader_ = reader(answer.text, size_, take, [this] {
      ended_ = true;
      pass();
    });
    reader_->start();
  });
}

/// One piece to the disk at a time.
void SftpDownload::pass() {
  if (busy_ || failed()) return;
  if (pending_.empty() && !(ended_ && from_start_)) {
    if (ended_) commit();
    return;
  }
  busy_ = true;
  begin_job();
  const std::size_t count = pending_.size();
  sink_.write(std::exchange(pending_, {}), std::exchange(from_start_, false),
              [this, count](core::Result<core::Unit> written) {
                busy_ = false;
                if (!written) {
                  fail(written.error());
                } else if (!failed()) {
                  reader_->consumed(count);
                  pass();
                }
                end_job();
              });
}

void SftpDownload::commit() {
  busy_ = true;
  begin_job();
  sink_.commit(mode_, [this](core::Result<core::Unit> result) {
    result ? complete() : fail(result.error());
    end_job();
  });
}

void SftpDownload::over(std::optional<core::Error> error) {
  const auto done = std::exchange(done_, nullptr);
  if (error) {
    sink_.drop();  // nobody could tell next time whether it is the same
    return done(std::move(*error));
  }
  done(Transferred{size_, mode_, since(begun_)});
}

void SftpDownload::cancel() noexcept { stop(); }

SftpReadFile::SftpReadFile(std::shared_ptr<Session> session, std::string path, std::size_t limit)
    : SftpWork(session, "read " + path + " on " + session->host()), path_(std::move(path)), limit_(limit) {}

SftpReadFile::~SftpReadFile() { core::wipe(bytes_); }

void SftpReadFile::start(Done done) {
  done_ = std::move(done);
  connect([this] {
    ask(sftp::on_path(sftp::Type::stat, path_), [this](const sftp::Answer& looked) {
      if (is_folder(looked.attributes)) return fail(kFileIsDirectory);
      const std::uint64_t size = looked.attributes.size.value_or(0);
      if (size > limit_) {
        return fail(core::Error{.kind = "ssh.output_limit",
                                .message = what() + ": more than " + std::to_string(limit_) + " bytes",
                                .host = session().host()});
      }
      if (size == 0) {  // of the kernel's own files too, which have no size
        return slurp(path_, [this](std::optional<std::string> bytes) {
          bytes_ = std::move(bytes).value_or("");
          complete();
        });
      }
      ask(sftp::open_file(path_, sftp::kRead), [this, size](const sftp::Answer& answer) {
        const auto take = [this](const std::string& bytes) {
          bytes_ += bytes;
          reader_->consumed(bytes.size());
        };
        reader_ = reader(answer.text, size, take, [this] { complete(); });
        reader_->start();
      });
    });
  });
}

void SftpReadFile::over(std::optional<core::Error> error) {
  const auto done = std::exchange(done_, nullptr);
  if (error) return done(std::move(*error));
  done(std::move(bytes_));
}

void SftpReadFile::cancel() noexcept { stop(); }

}  // namespace deployrun::ssh

#include <sys/stat.h>

#include <algorithm>
#include <utility>

#include "ssh/sftp_folders.hpp"
#include "ssh/tar_source.hpp"

namespace deployrun::ssh {
namespace {

constexpr std::size_t kFilesAtOnce = 64;
constexpr std::uint64_t kUnwritten = 4U << 20U;

sftp::Attributes attributes_of(const core::TarMember& member) {
  return {.mode = member.mode & 07777U, .modified = static_cast<std::uint32_t>(member.modified)};
}

}  // namespace

struct SftpFolderUpload::File {
  core::TarMember member;
  std::string handle;
  std::string pending;  // not yet sent
  std::uint64_t offset = 0;
  bool ended = false;
};

SftpFolderUpload::SftpFolderUpload(std::shared_ptr<Session> session, std::string from, std::string path,
                                   FolderOptions options)
    : SftpWork(session, "write folder " + path + " on " + session->host()),
      from_(std::move(from)),
      path_(std::move(path)),
      options_(std::move(options)),
      progress_(options_.on_progress),
      archive_({.member = [this](const core::TarMember& member, std::string_view) { begin(member); },
                .data = [this](std::string_view bytes) { take(bytes); },
                .end = [this] { end_file(); }},
               "ssh.file") {}

SftpFolderUpload::~SftpFolderUpload() = default;

void SftpFolderUpload::start(Done done) {
  done_ = std::move(done);
  begun_ = core::Loop::now();
  begin_job();
  walk_ = std::make_unique<core::PoolJob<Tree>>(session().loop(), [from = from_] { return read_tree(from); });
  walk_->start([this](core::Result<Tree> tree) {
    if (!tree) {
      fail(tree.error());
    } else if (!failed()) {
      files_ = tree->files;
      progress_.begin(tree->bytes);
      source_ = std::make_unique<TarSource>(session().loop(), std::move(tree).value());
      connect([this] { look(); });
    }
    end_job();
  });
}

void SftpFolderUpload::look() {
  const auto go = [this] {
    try_ask(sftp::on_path(sftp::Type::stat, path_), [this](const sftp::Answer& answer) { looked(answer); });
  };
  options_.make_parents ? make_parents(path_, go) : go();
}

void SftpFolderUpload::looked(const sftp::Answer& answer) {
  exists_ = answer.type == sftp::Type::attributes;
  if (exists_ && !is_folder(answer.attributes)) return fail(kFileExists);
  const std::uint32_t group = answer.attributes.owner ? answer.attributes.owner->group : 0;
  const mode_t mode = answer.attributes.mode.value_or(0755) & 07777U;
  try_ask(sftp::on_path(sftp::Type::lstat, path_), [this, group, mode](const sftp::Answer& itself) {
    symlink_ = itself.attributes.mode && S_ISLNK(*itself.attributes.mode);
    if (exists_ && !symlink_) mode_ = mode;
    if (options_.owner.empty()) return make_room();
    resolve_owner(options_.owner, group, [this](sftp::Owner owner) {
      owner_ = owner;
      make_room();
    });
  });
}

void SftpFolderUpload::make_room() {
  temporary_ = unfinished_name(path_);
  fresh_ = temporary_ + "/new";
  try_ask(sftp::make_folder(temporary_, 0700), [this](const sftp::Answer& answer) {
    if (answer.code == sftp::kOk) return;
    temporary_.clear();
    fail(98, answer.text);
  });
  ask(sftp::make_folder(fresh_, 0755), [this](const sftp::Answer&) { send(); });
}

void SftpFolderUpload::send() {
  if (failed() || reading_) return;
  if (ended_) {
    if (open_ == 0 && waiting_.empty()) sent();
    return;
  }
  if (unwritten_ >= kUnwritten || waiting_.size() >= kFilesAtOnce) return;
  reading_ = true;
  begin_job();
  source_->read([this](core::Result<std::string> piece) {
    reading_ = false;
    if (!piece) {
      fail(piece.error());
    } else if (!failed()) {
      ended_ = piece->empty();
      if (auto fed = archive_.feed(*piece); !fed) fail(fed.error());
      send();
    }
    end_job();
  });
}

void SftpFolderUpload::begin(const core::TarMember& member) {
  if (failed()) return;
  members_.push_back(member);
  const std::string place = fresh_ + "/" + member.name;
  if (member.type == '5') {
    ask(sftp::make_folder(place, 0700));
  } else if (member.type == '2') {
    ask(sftp::symlink(member.target, place));
  } else {
    file_ = std::make_shared<File>();
    file_->member = member;
    waiting_.push_back(file_);
    open_files();
  }
}

void SftpFolderUpload::open_files() {
  while (open_ < kFilesAtOnce && !waiting_.empty()) {
    const auto file = waiting_.front();
    waiting_.pop_front();
    ++open_;
    const std::uint32_t flags = sftp::kWrite | sftp::kCreate | sftp::kExclusive;
    ask(sftp::open_file(fresh_ + "/" + file->member.name, flags, {.mode = 0600}),
        [this, file](const sftp::Answer& answer) {
          file->handle = answer.text;
          write(file);
        });
  }
}

void SftpFolderUpload::take(std::string_view bytes) {
  if (failed() || !file_) return;
  unwritten_ += bytes.size();
  file_->pending += bytes;
  if (!file_->handle.empty()) write(file_);
}

void SftpFolderUpload::end_file() {
  const auto file = std::exchange(file_, nullptr);
  if (failed() || !file) return;
  file->ended = true;
  if (!file->handle.empty()) write(file);
}

/// What there is of it. The server does one request after the other, so that the last ones need not wait for the bytes.
void SftpFolderUpload::write(const std::shared_ptr<File>& file) {
  std::string_view rest = file->pending;
  while (rest.size() >= sftp::kPiece || (file->ended && !rest.empty())) {
    const std::string_view piece = rest.substr(0, sftp::kPiece);
    rest.remove_prefix(piece.size());
    ask(sftp::write(file->handle, file->offset, piece), [this, count = piece.size()](const sftp::Answer&) {
      unwritten_ -= count;
      progress_.add(count);
      send();
    });
    file->offset += piece.size();
  }
  file->pending.erase(0, file->pending.size() - rest.size());
  if (file->ended) finish_file(file);
}

void SftpFolderUpload::finish_file(const std::shared_ptr<File>& file) {
  ask(sftp::on_handle(sftp::Type::fstat, file->handle), [this, file](const sftp::Answer& answer) {
    if (answer.attributes.size != file->member.size) fail(kFileDiffers);
  });
  if (owner_) ask(sftp::set_handle(file->handle, {.owner = *owner_}));
  ask(sftp::set_handle(file->handle, attributes_of(file->member)));
  ask(sftp::close(file->handle), [this](const sftp::Answer&) {
    --open_;
    open_files();
    send();
  });
}

/// Folders get their modes when nothing more is put into them.
void SftpFolderUpload::sent() {
  if (std::exchange(reading_, true)) return;  // once: nothing is read any more
  std::vector<sftp::Request> requests;
  for (auto at = members_.rbegin(); at != members_.rend(); ++at) {
    const std::string place = fresh_ + "/" + at->name;
    if (at->type == '2' && owner_ && client().can("lsetstat@openssh.com"))
      requests.push_back(sftp::set_link(place, {.owner = *owner_}));
    if (at->type != '5') continue;
    if (owner_) requests.push_back(sftp::set(place, {.owner = *owner_}));
    requests.push_back(sftp::set(place, attributes_of(*at)));
  }
  if (owner_) requests.push_back(sftp::set(fresh_, {.owner = *owner_}));
  requests.push_back(sftp::set(fresh_, {.mode = mode_}));
  ask_all(std::move(requests), true, [this] { options_.replace || !exists_ ? replace() : merge(); });
}

void SftpFolderUpload::replace() {
  const std::string old = temporary_ + "/old";
  auto moved = std::make_shared<bool>(false);
  if (exists_ || symlink_)
    try_ask(sftp::rename(path_, old), [moved](const sftp::Answer& answer) { *moved = answer.code == sftp::kOk; });
  // Right behind it, so that there is hardly a moment without either.
  try_ask(sftp::rename(fresh_, path_), [this, old, moved](const sftp::Answer& answer) {
    if (answer.code == sftp::kOk) return leave();
    if (!*moved) return fail(refusal(answer));
    try_ask(sftp::rename(old, path_), [this, answer](const sftp::Answer& back) {
      if (back.code != sftp::kOk) temporary_.clear();  // the old one is in it
      fail(refusal(answer));
    });
  });
}

void SftpFolderUpload::merge() {
  auto left = std::make_shared<std::size_t>(1);
  const auto one_less = [this, left] {
    if (--*left == 0) merge_files();
  };
  for (const core::TarMember& member : members_) {
    if (member.type != '5') continue;
    ++*left;
    const std::string place = path_ + "/" + member.name;
    try_ask(sftp::make_folder(place, 0755), [this, place, one_less](const sftp::Answer& answer) {
      if (answer.code == sftp::kOk) return one_less();
      ask(sftp::on_path(sftp::Type::lstat, place), [this, one_less](const sftp::Answer& there) {
        is_folder(there.attributes) ? one_less() : fail(kFileExists);
      });
    });
  }
  one_less();
}

void SftpFolderUpload::merge_files() {
  const bool over = client().can("posix-rename@openssh.com");
  std::vector<sftp::Request> requests;
  for (const core::TarMember& member : members_) {
    if (member.type == '5') continue;
    const std::string from = fresh_ + "/" + member.name, to = path_ + "/" + member.name;
    requests.push_back(over ? sftp::rename_over(from, to) : sftp::rename(from, to));
  }
  for (auto at = members_.rbegin(); at != members_.rend(); ++at) {
    if (at->type != '5') continue;
    if (owner_) requests.push_back(sftp::set(path_ + "/" + at->name, {.owner = *owner_}));
    requests.push_back(sftp::set(path_ + "/" + at->name, attributes_of(*at)));
  }
  ask_all(std::move(requests), true, [this] { leave(); });
}

void SftpFolderUpload::leave() {
  remove_tree(std::exchange(temporary_, {}), [this] { complete(); });
}

void SftpFolderUpload::tidy() {
  if (!temporary_.empty()) remove_tree(std::exchange(temporary_, {}), [] {});
}

void SftpFolderUpload::over(std::optional<core::Error> error) {
  const auto done = std::exchange(done_, nullptr);
  if (error) return done(std::move(*error));
  done(TransferredFolder{files_, progress_.bytes(),
                         std::chrono::duration_cast<core::Milliseconds>(core::Loop::now() - begun_)});
}

void SftpFolderUpload::cancel() noexcept { stop(); }

}  // namespace deployrun::ssh

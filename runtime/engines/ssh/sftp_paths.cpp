#include "ssh/sftp_paths.hpp"

#include <sys/stat.h>

#include <utility>

#include "ssh/remote_file.hpp"

namespace deployrun::ssh {
namespace {

PathInfo::Type type_of(mode_t mode) {
  if (S_ISREG(mode)) return PathInfo::Type::file;
  if (S_ISDIR(mode)) return PathInfo::Type::folder;
  return S_ISLNK(mode) ? PathInfo::Type::symlink : PathInfo::Type::other;
}

}  // namespace

SftpStat::SftpStat(std::shared_ptr<Session> session, const std::string& path)
    : SftpWork(session, "stat " + path + " on " + session->host()), path_(safe_path(path)) {}

void SftpStat::start(Done done) {
  done_ = std::move(done);
  connect([this] {
    try_ask(sftp::on_path(sftp::Type::lstat, path_), [this](const sftp::Answer& answer) {
      if (answer.type != sftp::Type::attributes)
        return answer.code == sftp::kNoSuchFile ? complete() : fail(refusal(answer));
      const sftp::Attributes& is = answer.attributes;
      const sftp::Owner owner = is.owner.value_or(sftp::Owner{});
      found_ = PathInfo{type_of(is.mode.value_or(0)), is.size.value_or(0), is.mode.value_or(0) & 07777U, {}, {}};
      name_owner(owner, [this](std::string user, std::string group) {
        found_->user = std::move(user);
        found_->group = std::move(group);
        complete();
      });
    });
  });
}

void SftpStat::over(std::optional<core::Error> error) {
  const auto done = std::exchange(done_, nullptr);
  if (error) return done(std::move(*error));
  done(std::move(found_));
}

SftpRemove::SftpRemove(std::shared_ptr<Session> session, const std::string& path, bool recursive)
    : SftpWork(session, "remove " + path + " on " + session->host()), path_(safe_path(path)), recursive_(recursive) {}

void SftpRemove::start(Done done) {
  done_ = std::move(done);
  connect([this] {
    try_ask(sftp::on_path(sftp::Type::lstat, path_), [this](const sftp::Answer& answer) { looked(answer); });
  });
}

void SftpRemove::looked(const sftp::Answer& answer) {
  if (answer.type != sftp::Type::attributes)
    return answer.code == sftp::kNoSuchFile ? complete() : fail(refusal(answer));
  removed_ = true;
  const auto last = [this](sftp::Type type) {
    ask(sftp::on_path(type, path_), [this](const sftp::Answer&) { complete(); });
  };
  if (!is_folder(answer.attributes)) return last(sftp::Type::remove);
  if (!recursive_) return last(sftp::Type::rmdir);
  remove_tree(path_, [this] {
    try_ask(sftp::on_path(sftp::Type::lstat, path_), [this](const sftp::Answer& left) {
      left.type == sftp::Type::attributes ? fail(98, "not all in it could be removed") : complete();
    });
  });
}

void SftpRemove::over(std::optional<core::Error> error) {
  const auto done = std::exchange(done_, nullptr);
  if (error) return done(std::move(*error));
  done(removed_);
}

}  // namespace deployrun::ssh

// What transfers over SFTP share: a client of their own for as long as they last, the first error, and an end that
// comes when nothing is under way any more. They are for servers whose shell has not the tools that the other way
// takes, or that give no shell at all. For ssh/ alone.
//
// Invariant: whatever fails, `tidy` has its turn while the connection lasts, and `over` comes once, last.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/operation.hpp"
#include "ssh/session.hpp"
#include "ssh/sftp.hpp"
#include "ssh/sftp_reader.hpp"

namespace deployrun::ssh {

class SftpWork {
 public:
  SftpWork(const SftpWork&) = delete;
  SftpWork& operator=(const SftpWork&) = delete;

 protected:
  using Then = std::function<void(sftp::Answer)>;
  /// An entry of a folder, by its name below it.
  using Listing = std::vector<sftp::Name>;

  /// A work that is stopped has so long to tidy up.
  static constexpr core::Milliseconds kGrace{4000};
  /// Requests in flight at once, apart from those that carry bytes.
  static constexpr std::size_t kAtOnce = 256;
  static constexpr std::size_t kFoldersAtOnce = 16;

  /// `what` is "write /etc/x on web-1".
  SftpWork(std::shared_ptr<Session> session, std::string what);
  virtual ~SftpWork();

  /// Once. Kinds: those of OpenSubsystem and Sftp::begin.
  void connect(std::function<void()> then);
  /// A status other than OK fails the work. Nothing comes after a failure, except in `tidy`.
  void ask(
      const sftp::Request& request, Then then = [](const sftp::Answer&) {});
  /// Whatever the answer.
  void try_ask(
      const sftp::Request& request, Then then = [](const sftp::Answer&) {});
  /// Many, some at a time; `strict`: as `ask`.
  void ask_all(std::vector<sftp::Request> requests, bool strict, std::function<void()> then);
  /// All that is below a folder, a folder before what is in it. Fails the work for more than kTreeEntriesLimit.
  void walk(const std::string& folder, std::function<void(Listing)> then);
  /// As far as it can.
  void remove_tree(const std::string& folder, std::function<void()> then);
  /// Missing folders above a path; those that are there are left alone.
  void make_parents(const std::string& path, std::function<void()> then);
  /// The numbers of "user" or "user:group", digits or as the server's /etc/passwd and /etc/group have them. The group
  /// of a bare user is the one given.
  void resolve_owner(const std::string& owner, std::uint32_t group, std::function<void(sftp::Owner)> then);
  /// The other way round; a number where no name is to be seen.
  void name_owner(sftp::Owner owner, std::function<void(std::string user, std::string group)> then);
  /// An open file's bytes, from the beginning; one that became shorter fails the work. To be started.
  std::unique_ptr<SftpReader> reader(const std::string& handle, std::uint64_t size,
                                     std::function<void(std::string)> bytes, std::function<void()> end,
                                     std::uint64_t window = SftpReader::kWindow);
  /// A small file's bytes.
  void slurp(const std::string& path, std::function<void(std::optional<std::string>)> then);

  /// Something outside of the server is under way.
  void begin_job() noexcept { ++busy_; }
  void end_job();
  /// The work ends with this once all is at rest; only the first counts.
  void fail(core::Error error);
  void fail(int code, const std::string& said = {});
  /// It ends well once all is at rest.
  void complete();
  /// As a cancelled operation.
  void stop();

  bool failed() const noexcept { return error_.has_value(); }
  Session& session() noexcept { return *session_; }
  Sftp& client() noexcept { return *client_; }
  const std::string& what() const noexcept { return what_; }
  core::Error refusal(const sftp::Answer& answer) const;
  static bool is_folder(const sftp::Attributes& attributes);

  /// After a failure: what was begun there is taken away again, by the same calls.
  virtual void tidy() {}
  /// The end; may destroy the work.
  virtual void over(std::optional<core::Error> error) = 0;

 private:
  struct Batch;
  struct Walk;
  void pass(const std::shared_ptr<Batch>& batch);
  void step(const std::shared_ptr<Walk>& walk);
  void list(const std::shared_ptr<Walk>& walk, const std::string& below, const std::string& handle);
  void settle();
  void settle_later();

  std::shared_ptr<Session> session_;
  std::string what_;
  std::unique_ptr<core::Operation<std::unique_ptr<core::Stream>>> opening_;
  std::shared_ptr<Sftp> client_;
  std::size_t busy_ = 0;
  bool complete_ = false;
  bool tidying_ = false;
  bool over_ = false;
  std::optional<core::Error> error_;
  core::Timer grace_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

/// A name for something unfinished in the folder of a path.
std::string unfinished_name(const std::string& path);

}  // namespace deployrun::ssh

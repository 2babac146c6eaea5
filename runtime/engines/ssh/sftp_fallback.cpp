#include "ssh/sftp_fallback.hpp"

#include <functional>
#include <optional>
#include <utility>

#include "core/secret.hpp"
#include "ssh/sftp_files.hpp"
#include "ssh/sftp_folders.hpp"

namespace deployrun::ssh {
namespace {

constexpr std::int64_t kCannotExecute = 126, kNoShell = 127;

std::int64_t code_of(const core::Error& error) {
  const auto found = error.details.find("code");
  const auto* code = found == error.details.end() ? nullptr : std::get_if<std::int64_t>(&found->second);
  return error.is("ssh.transfer") && code != nullptr ? *code : 0;
}

// Both before anything was begun.
bool lacks_shell(const core::Error& error) {
  return error.is("ssh.exec") || code_of(error) == kCannotExecute || code_of(error) == kNoShell;
}
bool lacks_programs(const core::Error& error) { return code_of(error) == kNoTool; }

template <class T>
class WithFallback final : public core::Operation<T> {
 public:
  using Done = typename core::Operation<T>::Done;
  using Make = std::function<std::unique_ptr<core::Operation<T>>()>;

  WithFallback(std::shared_ptr<Session> session, std::unique_ptr<core::Operation<T>> first, Make other)
      : session_(std::move(session)), first_(std::move(first)), make_other_(std::move(other)) {}

  void start(Done done) override {
    done_ = std::move(done);
    if (session_->without_shell()) return go_other();
    first_->start([this](core::Result<T> result) {
      if (cancelled_ || result.ok() || !(lacks_shell(result.error()) || lacks_programs(result.error())))
        return finish(std::move(result));
      if (lacks_shell(result.error())) session_->know_without_shell();
      why_ = result.error();
      go_other();
    });
  }

  void cancel() noexcept override {
    if (!done_) return;
    cancelled_ = true;
    other_ ? other_->cancel() : first_->cancel();
  }

 private:
  void go_other() {
    other_ = make_other_();
    other_->start([this](core::Result<T> result) {
      if (!result.ok() && result.error().is("ssh.sftp") && why_) return finish(std::move(*why_));
      finish(std::move(result));
    });
  }

  void finish(core::Result<T> result) {
    const auto done = std::exchange(done_, nullptr);
    done(std::move(result));
  }

  std::shared_ptr<Session> session_;
  std::unique_ptr<core::Operation<T>> first_;
  Make make_other_;
  std::unique_ptr<core::Operation<T>> other_;
  std::optional<core::Error> why_;
  bool cancelled_ = false;
  Done done_;
};

template <class First, class Other, class T, class... Inputs>
std::unique_ptr<core::Operation<T>> with_fallback(std::shared_ptr<Session> session, Inputs... inputs) {
  auto first = std::make_unique<First>(session, inputs...);
  auto other = [session, inputs...]() -> std::unique_ptr<core::Operation<T>> {
    return std::make_unique<Other>(session, inputs...);
  };
  return std::make_unique<WithFallback<T>>(std::move(session), std::move(first), std::move(other));
}

}  // namespace

std::unique_ptr<core::Operation<Transferred>> upload(std::shared_ptr<Session> session, Upload::FromFile from,
                                                     std::string path, PutOptions options) {
  return with_fallback<Upload, SftpUpload, Transferred>(std::move(session), std::move(from), safe_path(std::move(path)),
                                                        std::move(options));
}

std::unique_ptr<core::Operation<Transferred>> upload(std::shared_ptr<Session> session, std::string bytes,
                                                     std::string path, PutOptions options) {
  path = safe_path(std::move(path));
  // Kept until it is known which way they go, and wiped: they may be a secret.
  const std::shared_ptr<std::string> kept(new std::string(std::move(bytes)), [](std::string* text) {
    core::wipe(*text);
    delete text;
  });
  auto first = std::make_unique<Upload>(session, *kept, path, options);
  auto other = [session, kept, path, options]() -> std::unique_ptr<core::Operation<Transferred>> {
    return std::make_unique<SftpUpload>(session, *kept, path, options);
  };
  return std::make_unique<WithFallback<Transferred>>(std::move(session), std::move(first), std::move(other));
}

std::unique_ptr<core::Operation<Transferred>> download(std::shared_ptr<Session> session, std::string path,
                                                       std::string to, OnProgress on_progress) {
  return with_fallback<Download, SftpDownload, Transferred>(std::move(session), safe_path(std::move(path)),
                                                            std::move(to), std::move(on_progress));
}

std::unique_ptr<core::Operation<std::string>> read_file(std::shared_ptr<Session> session, std::string path,
                                                        std::size_t limit) {
  return with_fallback<ReadFile, SftpReadFile, std::string>(std::move(session), safe_path(std::move(path)), limit);
}

std::unique_ptr<core::Operation<TransferredFolder>> upload_folder(std::shared_ptr<Session> session, std::string from,
                                                                  std::string path, FolderOptions options) {
  return with_fallback<FolderUpload, SftpFolderUpload, TransferredFolder>(
      std::move(session), std::move(from), safe_folder(std::move(path)), std::move(options));
}

std::unique_ptr<core::Operation<TransferredFolder>> download_folder(std::shared_ptr<Session> session, std::string path,
                                                                    std::string to, UnpackOptions options,
                                                                    OnProgress on_progress) {
  return with_fallback<FolderDownload, SftpFolderDownload, TransferredFolder>(
      std::move(session), safe_path(std::move(path)), std::move(to), options, std::move(on_progress));
}

}  // namespace deployrun::ssh

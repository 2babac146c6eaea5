#include "ssh/connect.hpp"

#include "core/text.hpp"
#include "ssh/login.hpp"

namespace deployrun::ssh {

Connect::Connect(core::Loop& loop, std::shared_ptr<KeyStore> keys, ConnectOptions options)
    : loop_(loop), keys_(std::move(keys)), options_(std::move(options)) {}

void Connect::start(Done done) {
  done_ = std::move(done);
  auto parsed = parse_destination(std::move(options_));
  if (!parsed) return finish(parsed.error());
  options_ = std::move(parsed).value();
  if (!options_.ssh_config) return log_in({});
  process_ = std::make_unique<core::Process>(loop_, core::ProcessOptions{.argv = ssh_g_command(options_)});
  process_->start([this](core::Result<core::ProcessResult> ran) {
    if (cancelled_) return finish(core::cancelled());
    if (!ran) {
      if (ran.error().is("process.spawn")) return log_in({});  // no OpenSSH here: defaults
      return finish(ran.error());
    }
    if (ran->code != 0) {
      return finish(
          core::Error{.kind = "ssh.config",
                      .message = "ssh -G " + options_.host + ": " + core::clean(core::trim(core::tail(ran->err, 1024))),
                      .hint = "ssh_config = false leaves OpenSSH's configuration aside",
                      .host = options_.host});
    }
    log_in(ran->out);
  });
}

void Connect::log_in(std::string_view configuration) {
  auto target = resolve(options_, parse_ssh_g(configuration), surroundings());
  if (!target) return finish(target.error());
  login_ = std::make_unique<Login>(loop_, *keys_, std::move(target).value());
  login_->start([this](core::Result<std::shared_ptr<Session>> result) { finish(std::move(result)); });
}

void Connect::cancel() noexcept {
  if (!done_) return;
  cancelled_ = true;
  if (login_) {
    login_->cancel();
  } else if (process_) {
    process_->cancel();
  }
}

void Connect::finish(core::Result<std::shared_ptr<Session>> result) {
  if (const auto done = std::exchange(done_, nullptr)) done(std::move(result));
}

}  // namespace deployrun::ssh

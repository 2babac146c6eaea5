#include "ssh/connect.hpp"

#include <openssl/rand.h>

#include <algorithm>

#include "core/text.hpp"
#include "ssh/login.hpp"

namespace deployrun::ssh {

Connect::Connect(core::Loop& loop, std::shared_ptr<Client> client, ConnectOptions options)
    : loop_(loop), client_(std::move(client)), options_(std::move(options)), pause_(loop) {}

void Connect::start(Done done) {
  done_ = std::move(done);
  auto parsed = parse_destination(std::move(options_));
  if (!parsed) return finish(parsed.error());
  options_ = std::move(parsed).value();
  if (!options_.ssh_config) return log_in({});
  process_ = std::make_unique<core::Process>(loop_, core::ProcessOptions{.argv = ssh_g_command(options_)});
  process_->start([this](core::Result<core::ProcessResult> ran) {
    if (cancelled_) return finish(core::cancelled());
    auto configuration = ssh_g_output(options_, ran);
    if (!configuration) return finish(configuration.error());
    log_in(*configuration);
  });
}

void Connect::log_in(std::string_view configuration) {
  auto target = resolve(options_, parse_ssh_g(configuration), surroundings());
  if (!target) return finish(target.error());
  target_ = std::move(target).value();
  begun_ = core::Loop::now();
  attempt();
}

void Connect::attempt() {
  ++attempts_;
  login_ = std::make_unique<Login>(loop_, client_, *target_);
  login_->start([this](core::Result<std::shared_ptr<Session>> result) {
    if (!result && again(result.error())) return;
    if (!result && attempts_ > 1) result.error().message += " (attempt " + std::to_string(attempts_) + ")";
    finish(std::move(result));
  });
}

/// A server that drops connections at random (MaxStartups) lets one in later.
bool Connect::again(const core::Error& error) {
  const auto dropped = error.details.find("dropped");
  if (cancelled_ || dropped == error.details.end()) return false;
  unsigned char random = 0;
  RAND_bytes(&random, 1);
  const int step = 200 << std::min(attempts_ - 1, 4);
  const core::Milliseconds wait{step / 2 + step * random / 256};
  if (core::Loop::now() + wait - begun_ >= target_->connect_timeout) return false;
  pause_.start(wait, [this] { attempt(); });
  return true;
}

void Connect::cancel() noexcept {
  if (!done_) return;
  cancelled_ = true;
  if (pause_.active()) {
    pause_.cancel();
    finish(core::cancelled());
  } else if (login_) {
    login_->cancel();
  } else if (process_) {
    process_->cancel();
  }
}

void Connect::finish(core::Result<std::shared_ptr<Session>> result) {
  if (const auto done = std::exchange(done_, nullptr)) done(std::move(result));
}

}  // namespace deployrun::ssh

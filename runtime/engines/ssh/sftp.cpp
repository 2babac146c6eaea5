#include "ssh/sftp.hpp"

#include <utility>

namespace deployrun::ssh {

Sftp::Sftp(core::Loop& loop, std::unique_ptr<core::Stream> stream, std::string host)
    : loop_(loop), stream_(std::move(stream)), host_(std::move(host)) {}

void Sftp::begin(std::function<void(core::Result<core::Unit>)> ready) {
  ready_ = std::move(ready);
  out_ = sftp::init_packet();
  send();
  receive();
}

void Sftp::ask(const sftp::Request& request, Done done) {
  if (!alive()) {
    core::Error error = over_.value_or(core::Error{.kind = "ssh.closed", .message = "closed", .host = host_});
    loop_.defer([weak = weak_from_this(), done = std::move(done), error = std::move(error)] {
      if (!weak.expired()) done(error);
    });
    return;
  }
  const std::uint32_t id = next_++;
  out_ += sftp::packet(request, id);
  unanswered_.emplace(id, std::move(done));
  send();
}

void Sftp::close() noexcept {
  unanswered_.clear();
  ready_ = nullptr;
  if (stream_ == nullptr) return;
  // Maybe called from inside the stream's own callback.
  loop_.defer([stream = std::shared_ptr<core::Stream>(std::move(stream_))] { stream->close(); });
}

void Sftp::send() {
  if (sending_ || out_.empty() || !alive()) return;
  sending_ = true;
  stream_->write(std::exchange(out_, {}), [weak = weak_from_this()](const core::Result<core::Unit>& written) {
    const auto self = weak.lock();
    if (!self) return;
    self->sending_ = false;
    if (!written) return self->fail(written.error());
    self->send();
  });
}

void Sftp::receive() {
  if (!alive()) return;
  stream_->read([weak = weak_from_this()](core::Result<std::string> bytes) {
    if (const auto self = weak.lock()) self->take(std::move(bytes));
  });
}

void Sftp::take(core::Result<std::string> bytes) {
  if (!alive()) return;
  if (!bytes) return fail(bytes.error());
  if (bytes->empty()) return fail(nonsense("it ended"));
  packets_.feed(*bytes);
  while (alive()) {
    const auto packet = packets_.next();
    if (!packet) break;
    answer(*packet);
  }
  if (packets_.broken()) return fail(nonsense("it sent something else (does a shell start-up file print?)"));
  receive();
}

void Sftp::answer(std::string_view packet) {
  if (ready_) {
    const auto version = sftp::parse_version(packet);
    if (!version) return fail(nonsense("it sent something else"));
    if (version->number != 3) return fail(nonsense("it speaks version " + std::to_string(version->number) + " alone"));
    extensions_ = version->extensions;
    return std::exchange(ready_, nullptr)(core::Unit{});
  }
  auto answer = sftp::parse_answer(packet);
  const auto found = answer ? unanswered_.find(answer->id) : unanswered_.end();
  if (found == unanswered_.end()) return fail(nonsense("it answered what nobody asked"));
  const Done done = std::move(found->second);
  unanswered_.erase(found);
  done(std::move(*answer));
}

core::Error Sftp::nonsense(const std::string& why) const {
  return {.kind = "ssh.sftp", .message = "the SFTP server of " + host_ + ": " + why, .host = host_};
}

void Sftp::fail(core::Error error) {
  if (over_) return;
  over_ = std::move(error);
  const auto self = weak_from_this().lock();
  if (ready_) return std::exchange(ready_, nullptr)(*over_);
  while (!unanswered_.empty()) {
    const Done done = std::move(unanswered_.begin()->second);
    unanswered_.erase(unanswered_.begin());
    done(*over_);
  }
}

}  // namespace deployrun::ssh

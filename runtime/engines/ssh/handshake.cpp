#include "ssh/handshake.hpp"

#include <algorithm>

#include "core/text.hpp"
#include "ssh/carrier.hpp"
#include "ssh/methods.hpp"

namespace deployrun::ssh {
namespace {

std::string join(const std::vector<std::string>& list) {
  std::string text;
  for (const std::string& one : list) text += (text.empty() ? "" : ", ") + one;
  return text;
}

bool any_of_list(std::string_view list, const std::vector<std::string>& offered) {
  const auto wanted = core::split(list, ',');
  return std::any_of(wanted.begin(), wanted.end(), [&offered](std::string_view one) {
    return std::find(offered.begin(), offered.end(), one) != offered.end();
  });
}

}  // namespace

Handshake::Handshake(core::Loop& loop, std::shared_ptr<Client> client, const Target& target)
    : loop_(loop), client_(std::move(client)), target_(target), limit_(loop) {}

Handshake::~Handshake() {
  if (!transport_) return;
  transport_->remove(this);
  transport_->fail(core::cancelled());
}

void Handshake::start(Done done) {
  done_ = std::move(done);
  const std::string way = target_.jump ? " " + target_.jump->host : target_.proxy_command;
  door_ = client_->doors.enter(target_.hostname + ":" + std::to_string(target_.port) + way, [this] {
    if (done_) connect();
  });
  if (!done_) door_.reset();  // it has failed meanwhile
}

void Handshake::cancel() noexcept {
  if (done_) finish(core::cancelled());
}

void Handshake::connect() {
  if (target_.jump) {
    connector_ = std::make_unique<JumpConnector>(client_, *target_.jump, target_.hostname, target_.port,
                                                 target_.connect_timeout);
  } else if (!target_.proxy_command.empty()) {
    connector_ = std::make_unique<ProxyCommand>(loop_, target_.proxy_command);
  } else {
    connector_ = std::make_unique<Connector>(loop_, target_.hostname, target_.port, target_.connect_timeout);
  }
  connector_->start([this](core::Result<Connected> connected) {
    if (!done_) return;
    if (!connected) {
      core::Error error = connected.error();
      error.host = target_.name;
      return finish(std::move(error));
    }
    connected_ = std::move(connected).value();
    exchange();
  });
}

void Handshake::prefer(std::string types) {
  types_ = std::move(types);
  exchange();
}

void Handshake::exchange() {
  if (!connected_ || types_.empty() || transport_ || !done_) return;
  address_ = connected_->address;
  transport_ =
      std::make_shared<Transport>(loop_, std::move(connected_->socket), target_.name, std::move(connected_->carrier));
  offer_methods(transport_->raw(), types_);
  limit_.start(target_.connect_timeout, [this] {
    finish(core::Error{.kind = "ssh.connect",
                       .message = "connect " + address_ + ": connected, but no SSH answer within " +
                                  std::to_string(target_.connect_timeout.count()) + " ms",
                       .hint = "is it sshd that listens there, and is the host overloaded?",
                       .host = target_.name});
  });
  transport_->add(this);
  transport_->pump();
}

bool Handshake::progress() {
  const int code = transport_->shake_hands();
  if (code == LIBSSH2_ERROR_EAGAIN) return false;
  if (code != 0) {
    finish(no_common_method());
    return true;
  }
  std::size_t length = 0;
  int type = 0;
  const char* key = libssh2_session_hostkey(transport_->raw(), &length, &type);
  transport_->remove(this);
  Greeted greeted;
  greeted.address = address_;
  greeted.key.assign(key == nullptr ? "" : key, key == nullptr ? 0 : length);
  greeted.hello = parse_hello(transport_->greeting());
  greeted.door = std::move(door_);
  greeted.transport = std::exchange(transport_, nullptr);
  finish(std::move(greeted));
  return true;
}

core::Error Handshake::no_common_method() const {
  const ServerHello hello = parse_hello(transport_->greeting());
  if (!transport_->refusal().empty()) {
    return {.kind = "ssh.handshake",
            .message = "exchange keys with " + address_ + ": the server is refused: " + transport_->refusal(),
            .hint = "no SSH server does that by itself: is something else on the way?",
            .host = target_.name};
  }
  core::Error error = transport_->last_error("ssh.handshake", "exchange keys with " + address_);
  error.hint = "the server and libssh2 1.11.1 may have no method in common (post-quantum key exchange only, for one)";
  if (!hello.host_keys.empty() && !any_of_list(types_, hello.host_keys)) {
    error.message += "; the server's host keys are " + join(hello.host_keys) + ", asked for was " + types_;
    error.details["host_keys"] = join(hello.host_keys);
  } else if (!hello.key_exchanges.empty()) {
    error.message += "; the server takes " + join(hello.key_exchanges) + "; ciphers " + join(hello.ciphers) +
                     "; integrity " + join(hello.macs);
  }
  if (!hello.version.empty()) error.details["server"] = hello.version;
  return error;
}

void Handshake::lost(const core::Error& error) {
  const ServerHello hello = parse_hello(transport_->greeting());
  core::Error failed{.kind = "ssh.handshake",
                     .message = "exchange keys with " + address_ + ": " + error.message,
                     .hint = "the server may be refusing connections at the moment (MaxStartups) or us for good",
                     .host = target_.name};
  if (!hello.before.empty()) failed.message += "; it said: " + hello.before;
  if (!hello.version.empty()) failed.details["server"] = hello.version;
  // Not where a program or a jump host ends: they say why.
  if (hello.version.empty() && !error.cause) failed.details["dropped"] = true;
  failed.cause = error.cause;
  finish(std::move(failed));
}

void Handshake::finish(core::Result<Greeted> result) {
  const auto done = std::exchange(done_, nullptr);
  limit_.cancel();
  door_.reset();
  if (connector_) connector_->cancel();
  if (transport_) {
    transport_->remove(this);
    const auto transport = std::exchange(transport_, nullptr);
    transport->fail(core::cancelled());
  }
  if (done) done(std::move(result));
}

}  // namespace deployrun::ssh

#include "ssh/gateways.hpp"

#include <utility>

#include "ssh/carrier.hpp"
#include "ssh/client.hpp"
#include "ssh/connect.hpp"
#include "ssh/streams.hpp"

namespace deployrun::ssh {
namespace {

/// Two recipes' hosts share a gateway where all that decides about it is equal.
std::string key_of(const ConnectOptions& jump) {
  std::string key = jump.user.value_or("") + "\n" + jump.host + "\n" + std::to_string(jump.port.value_or(0)) + "\n" +
                    jump.jump.value_or("\t") + "\n" + jump.agent.value_or("\t") + "\n" + jump.ssh_config_file + "\n" +
                    (jump.ssh_config ? "config" : "") + (jump.identities_only.value_or(false) ? " only" : "");
  for (const auto* list : {&jump.identity_files, &jump.known_hosts}) {
    for (const std::string& path : *list) key += "\n" + path;
    key += "\n\t";
  }
  if (jump.host_keys) key += *jump.host_keys == HostKeys::strict ? "strict" : "accept-new";
  return key;
}

}  // namespace

struct Gateways::Gateway {
  struct Waiting {
    Reached reached;
  };
  std::weak_ptr<Session> session;
  std::unique_ptr<core::Operation<std::shared_ptr<Session>>> connecting;
  std::vector<std::weak_ptr<Waiting>> waiting;
};

Gateways::Gateways(core::Loop& loop) : loop_(loop) {}
Gateways::~Gateways() = default;

std::shared_ptr<void> Gateways::reach(const std::shared_ptr<Client>& client, const ConnectOptions& jump,
                                      Reached reached) {
  const std::string key = key_of(jump);
  auto& gateway = gateways_[key];
  if (!gateway) gateway = std::make_shared<Gateway>();
  auto waiting = std::make_shared<Gateway::Waiting>();
  waiting->reached = std::move(reached);
  if (auto session = gateway->session.lock(); session && session->alive()) {
    loop_.defer([session, weak = std::weak_ptr<Gateway::Waiting>(waiting)] {
      const auto live = weak.lock();
      if (live) std::exchange(live->reached, nullptr)(session);
    });
    return waiting;
  }
  gateway->waiting.push_back(waiting);
  if (!gateway->connecting) {
    // Not owning: the client owns this connect.
    gateway->connecting =
        std::make_unique<Connect>(loop_, std::shared_ptr<Client>(std::shared_ptr<void>(), client.get()), jump);
    gateway->connecting->start([this, key, raw = gateway.get()](core::Result<std::shared_ptr<Session>> result) {
      // On the next turn: it may have ended inside its start, and it is destroyed then.
      loop_.defer([this, key, raw, result = std::move(result), alive = std::weak_ptr<bool>(alive_)] {
        if (!alive.expired()) connected(key, raw, result);
      });
    });
  }
  return waiting;
}

void Gateways::connected(const std::string& key, Gateway* raw, const core::Result<std::shared_ptr<Session>>& result) {
  const auto found = gateways_.find(key);
  if (found == gateways_.end() || found->second.get() != raw) return;
  const auto gateway = found->second;
  gateway->connecting.reset();
  if (result) gateway->session = *result;
  const auto waiting = std::exchange(gateway->waiting, {});
  const std::weak_ptr<bool> alive = alive_;
  for (const auto& one : waiting) {
    const auto live = one.lock();
    if (live) std::exchange(live->reached, nullptr)(result);
    if (alive.expired()) return;
  }
}

bool Gateways::current(const ConnectOptions& jump, const std::shared_ptr<Session>& session) const {
  const auto found = gateways_.find(key_of(jump));
  return found != gateways_.end() && found->second->session.lock() == session;
}

void Gateways::leave(const ConnectOptions& jump, const std::shared_ptr<Session>& session) {
  const auto found = gateways_.find(key_of(jump));
  if (found != gateways_.end() && found->second->session.lock() == session) found->second->session.reset();
}

JumpConnector::JumpConnector(std::shared_ptr<Client> client, ConnectOptions jump, std::string host, unsigned port,
                             core::Milliseconds timeout)
    : client_(std::move(client)),
      jump_(std::move(jump)),
      host_(std::move(host)),
      port_(port),
      timeout_(timeout),
      stall_(client_->gateways.loop()),
      limit_(client_->gateways.loop()) {}

std::string JumpConnector::address() const {
  const bool six = host_.find(':') != std::string::npos;
  return (six ? "[" + host_ + "]" : host_) + ":" + std::to_string(port_) + " through " + jump_.host;
}

void JumpConnector::start(Done done) {
  done_ = std::move(done);
  reach();
}

void JumpConnector::reach() {
  reaching_ = client_->gateways.reach(client_, jump_, [this](core::Result<std::shared_ptr<Session>> session) {
    if (session) return open(std::move(session).value());
    core::Error error = session.error();
    error.message = "jump host " + jump_.host + ": " + error.message;
    finish(std::move(error));
  });
}

void JumpConnector::open(std::shared_ptr<Session> session) {
  reaching_.reset();
  session_ = std::move(session);
  opening_ = session_->open_channel(
      {Destination::Kind::tcp, host_, port_}, [this](core::Result<std::unique_ptr<Channel>> opened) {
        if (!opened) {
          core::Error error{.kind = "ssh.connect",
                            .message = "connect " + address() + ": the jump host does not reach it",
                            .hint =
                                "is the host up, and may the jump host connect to it (AllowTcpForwarding, "
                                "PermitOpen, a firewall)?",
                            .host = host_};
          return finish(core::wrap(std::move(error), opened.error()));
        }
        auto stream = std::make_unique<ChannelStream>(std::move(opened).value());
        finish(Carrier::join(client_->gateways.loop(), std::move(stream), address()));
      });
  if (!limit_.active()) {
    limit_.start(timeout_, [this] {
      client_->gateways.leave(jump_, session_);
      finish(core::Error{
          .kind = "ssh.connect",
          .message = "connect " + address() + ": no answer within " + std::to_string(timeout_.count()) + " ms",
          .hint = "is the host up, and does a firewall drop the port?",
          .host = host_});
    });
  }
  watch();
}

void JumpConnector::watch() {
  stall_.start(Gateways::kStall, [this] {
    if (session_->opening(opening_)) return client_->gateways.leave(jump_, session_);
    if (client_->gateways.current(jump_, session_)) return watch();  // a long queue, but it moves
    opening_.reset();
    session_.reset();
    reach();
  });
}

void JumpConnector::cancel() noexcept {
  if (done_) finish(core::cancelled());
}

void JumpConnector::finish(core::Result<Connected> result) {
  stall_.cancel();
  limit_.cancel();
  reaching_.reset();
  opening_.reset();
  const auto done = std::exchange(done_, nullptr);
  const auto session = std::exchange(session_, nullptr);
  if (done) done(std::move(result));
}

}  // namespace deployrun::ssh

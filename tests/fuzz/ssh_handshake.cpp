// A server's first bytes, before anything is encrypted: banner, key exchange, and whatever else it cares to send.
#include <sys/socket.h>
#include <unistd.h>

#include <optional>

#include "fuzz.hpp"
#include "ssh/methods.hpp"
#include "ssh/transport.hpp"

namespace deployrun::fuzz {
namespace {

class Handshake final : public ssh::Waiter {
 public:
  explicit Handshake(ssh::Transport& transport) : transport_(transport) {
    ssh::offer_methods(transport_.raw(), "ssh-ed25519,rsa-sha2-512");
    transport_.add(this);
  }
  ~Handshake() { transport_.remove(this); }
  bool over() const { return over_; }

 private:
  bool progress() override {
    if (over_) return false;
    const int code = transport_.shake_hands();
    if (code == LIBSSH2_ERROR_EAGAIN) return false;
    over_ = true;
    (void)transport_.last_error("ssh.handshake", "exchange keys");
    return true;
  }
  void lost(const core::Error&) override { over_ = true; }

  ssh::Transport& transport_;
  bool over_ = false;
};

}  // namespace

void try_input(std::string_view bytes) {
  static core::Loop loop;
  int ends[2];
  if (bytes.size() > 100'000 || ::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) != 0) return;
  {
    auto transport = std::make_shared<ssh::Transport>(loop, ssh::Descriptor(ends[0]), "h");
    Handshake handshake(*transport);
    check(::send(ends[1], bytes.data(), bytes.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(bytes.size()) ||
          bytes.empty());
    ::shutdown(ends[1], SHUT_WR);
    core::Timer limit(loop);
    bool late = false;
    limit.start(core::Milliseconds(5000), [&] { late = true; });
    transport->pump();
    while (!handshake.over() && !transport->over() && !late) uv_run(loop.raw(), UV_RUN_ONCE);
    check(!late);
  }
  ::close(ends[1]);
  uv_run(loop.raw(), UV_RUN_NOWAIT);
}

}  // namespace deployrun::fuzz

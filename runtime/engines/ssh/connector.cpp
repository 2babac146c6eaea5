#include "ssh/connector.hpp"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

namespace deployrun::ssh {
namespace {

constexpr core::Milliseconds kStagger{250};

std::string reason(int error) {
  std::string text = std::strerror(error);
  if (!text.empty() && text[0] >= 'A' && text[0] <= 'Z' && error != EIO)
    text[0] = static_cast<char>(text[0] + ('a' - 'A'));
  return text;
}

std::string address_text(const addrinfo& info) {
  std::array<char, INET6_ADDRSTRLEN> text{};
  if (info.ai_family == AF_INET6) {
    const auto* address = reinterpret_cast<const sockaddr_in6*>(info.ai_addr);
    inet_ntop(AF_INET6, &address->sin6_addr, text.data(), text.size());
    return "[" + std::string(text.data()) + "]:" + std::to_string(ntohs(address->sin6_port));
  }
  const auto* address = reinterpret_cast<const sockaddr_in*>(info.ai_addr);
  inet_ntop(AF_INET, &address->sin_addr, text.data(), text.size());
  return std::string(text.data()) + ":" + std::to_string(ntohs(address->sin_port));
}

}  // namespace

/// Lives until libuv has called back, whatever becomes of the operation.
struct Connector::Lookup {
  uv_getaddrinfo_t request{};
  Connector* owner = nullptr;
};

struct Connector::Attempt {
  Attempt(Connector& connector, Descriptor fd, std::size_t index)
      : owner(connector), socket(std::move(fd)), address(index), poll(new uv_poll_t) {
    uv_poll_init(owner.loop_.raw(), poll, socket.get());
    poll->data = this;
    uv_poll_start(poll, UV_WRITABLE, [](uv_poll_t* handle, int, int) {
      auto* self = static_cast<Attempt*>(handle->data);
      self->owner.attempt_ready(self);
    });
  }
  ~Attempt() { core::close_handle(poll); }
  Attempt(const Attempt&) = delete;
  Attempt& operator=(const Attempt&) = delete;

  Connector& owner;
  Descriptor socket;  // closed after the poll handle has been stopped (members die after the body)
  std::size_t address;
  uv_poll_t* poll;
};

Connector::Connector(core::Loop& loop, std::string host, unsigned port, core::Milliseconds timeout)
    : loop_(loop), host_(std::move(host)), port_(port), timeout_(timeout), stagger_(loop), limit_(loop) {}

Connector::~Connector() {
  if (lookup_ != nullptr) {
    lookup_->owner = nullptr;
    uv_cancel(reinterpret_cast<uv_req_t*>(&lookup_->request));
  }
}

void Connector::start(Done done) {
  done_ = std::move(done);
  lookup_ = new Lookup;
  lookup_->owner = this;
  lookup_->request.data = lookup_;
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_ADDRCONFIG;
  const std::string service = std::to_string(port_);
  const int refused = uv_getaddrinfo(
      loop_.raw(), &lookup_->request,
      [](uv_getaddrinfo_t* request, int status, addrinfo* list) {
        const std::unique_ptr<Lookup> lookup(static_cast<Lookup*>(request->data));
        if (lookup->owner != nullptr) {
          lookup->owner->lookup_ = nullptr;
          lookup->owner->resolved(status, list);
        }
        uv_freeaddrinfo(list);
      },
      host_.c_str(), service.c_str(), &hints);
  if (refused != 0) {
    delete lookup_;
    lookup_ = nullptr;
    resolved(refused, nullptr);
  }
}

void Connector::cancel() noexcept {
  if (done_) finish(core::cancelled());
}

void Connector::resolved(int status, const addrinfo* list) {
  if (status != 0 || list == nullptr) {
    return finish(core::Error{.kind = "ssh.resolve",
                              .message = "look up " + host_ + ": " + (status == 0 ? "no address" : uv_strerror(status)),
                              .hint = "check the host's name, and that this machine's resolver works",
                              .host = host_});
  }
  for (const addrinfo* info = list; info != nullptr; info = info->ai_next) {
    if (info->ai_family != AF_INET && info->ai_family != AF_INET6) continue;
    Address address;
    address.length = static_cast<socklen_t>(info->ai_addrlen);
    std::memcpy(&address.bytes, info->ai_addr, info->ai_addrlen);
    address.text = address_text(*info);
    addresses_.push_back(std::move(address));
  }
  limit_.start(timeout_, [this] {
    const std::string tried = addresses_.empty() ? host_ : addresses_[next_ == 0 ? 0 : next_ - 1].text;
    finish(core::Error{.kind = "ssh.connect",
                       .message = (failures_.empty() ? "" : failures_ + "; ") + "connect " + tried +
                                  ": no answer within " + std::to_string(timeout_.count()) + " ms",
                       .hint = "is the host up, and does a firewall drop the port?",
                       .host = host_});
  });
  next_attempt();
}

void Connector::next_attempt() {
  while (next_ < addresses_.size()) {
    const std::size_t index = next_++;
    const Address& address = addresses_[index];
    Descriptor fd(::socket(address.bytes.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (fd.get() < 0) {
      failures_ += (failures_.empty() ? "connect " : "; connect ") + address.text + ": " + reason(errno);
      continue;
    }
    if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address.bytes), address.length) == 0 ||
        errno == EINPROGRESS) {
      attempts_.push_back(std::make_unique<Attempt>(*this, std::move(fd), index));
      if (next_ < addresses_.size()) stagger_.start(kStagger, [this] { next_attempt(); });
      return;
    }
    failures_ += (failures_.empty() ? "connect " : "; connect ") + address.text + ": " + reason(errno);
  }
  if (attempts_.empty()) {
    finish(core::Error{.kind = "ssh.connect",
                       .message = failures_.empty() ? "connect " + host_ + ": no usable address" : failures_,
                       .hint = "is sshd running there, and is the port right?",
                       .host = host_});
  }
}

void Connector::attempt_ready(Attempt* attempt) {
  int error = 0;
  socklen_t size = sizeof error;
  if (::getsockopt(attempt->socket.get(), SOL_SOCKET, SO_ERROR, &error, &size) != 0) error = errno;
  const std::string text = addresses_[attempt->address].text;
  const auto mine =
      std::find_if(attempts_.begin(), attempts_.end(), [&](const auto& one) { return one.get() == attempt; });
  // The poll handle must let go of the descriptor before somebody else polls it.
  uv_poll_stop(attempt->poll);
  Descriptor fd = std::move(attempt->socket);
  attempts_.erase(mine);
  if (error == 0) {
    // Small messages each way: with Nagle's algorithm every command waits 40 ms for a delayed acknowledgement.
    const int on = 1;
    ::setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return finish(Connected{std::move(fd), text});
  }
  failures_ += (failures_.empty() ? "connect " : "; connect ") + text + ": " + reason(error);
  stagger_.cancel();
  next_attempt();
}

void Connector::finish(core::Result<Connected> result) {
  if (lookup_ != nullptr) {
    lookup_->owner = nullptr;
    uv_cancel(reinterpret_cast<uv_req_t*>(&lookup_->request));
    lookup_ = nullptr;
  }
  attempts_.clear();
  stagger_.cancel();
  limit_.cancel();
  auto done = std::move(done_);
  done_ = nullptr;
  done(std::move(result));
}

}  // namespace deployrun::ssh

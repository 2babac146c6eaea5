#include "ssh/forward.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>

#include "core/text.hpp"
#include "ssh/listeners.hpp"
#include "ssh/streams.hpp"

namespace deployrun::ssh {
namespace {

constexpr core::Milliseconds kConnectTimeout{15000};

core::Error refused(const Endpoint& listen, const std::string& why) {
  return {.kind = "ssh.forward_listen", .message = "listen on " + listen.text() + " of this machine: " + why};
}

bool unix_address(const std::string& path, sockaddr_un& address) {
  address = {};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) return false;
  std::memcpy(address.sun_path, path.data(), path.size());
  return true;
}

/// Numbers, and the one name that everybody means alike: a name that has to be looked up first would make us wait.
bool tcp_address(const Endpoint& at, sockaddr_storage& address, socklen_t& length) {
  address = {};
  auto* four = reinterpret_cast<sockaddr_in*>(&address);
  auto* six = reinterpret_cast<sockaddr_in6*>(&address);
  const std::string host = at.host == "localhost" ? "127.0.0.1" : at.host == "*" ? "0.0.0.0" : at.host;
  if (::inet_pton(AF_INET, host.c_str(), &four->sin_addr) == 1) {
    four->sin_family = AF_INET;
    four->sin_port = htons(static_cast<std::uint16_t>(at.port));
    length = sizeof *four;
    return true;
  }
  if (::inet_pton(AF_INET6, host.c_str(), &six->sin6_addr) == 1) {
    six->sin6_family = AF_INET6;
    six->sin6_port = htons(static_cast<std::uint16_t>(at.port));
    length = sizeof *six;
    return true;
  }
  return false;
}

unsigned bound_port(int fd) {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  ::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size);
  return address.ss_family == AF_INET6 ? ntohs(reinterpret_cast<sockaddr_in6*>(&address)->sin6_port)
                                       : ntohs(reinterpret_cast<sockaddr_in*>(&address)->sin_port);
}

core::Result<Descriptor> listen_here(Endpoint& at) {
  const bool file = !at.path.empty();
  sockaddr_storage address{};
  socklen_t length = sizeof(sockaddr_un);
  if (file) {
    if (!unix_address(at.path, reinterpret_cast<sockaddr_un&>(address))) return refused(at, "the path is too long");
  } else if (!tcp_address(at, address, length)) {
    return core::usage("listen on " + at.text() + ": an address of this machine is needed, such as 127.0.0.1");
  }
  Descriptor fd(::socket(address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (fd.get() < 0) return refused(at, std::strerror(errno));
  const int on = 1;
  if (!file) ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  // Nobody else may connect, not even between bind and chmod: the file gets the mode that the socket has.
  if (file) ::fchmod(fd.get(), 0600);
  if (::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), length) != 0) return refused(at, std::strerror(errno));
  if (file) ::chmod(at.path.c_str(), 0600);
  if (::listen(fd.get(), 128) != 0) return refused(at, std::strerror(errno));
  if (!file) at.port = bound_port(fd.get());
  return fd;
}

class LocalForward final : public Forward {
 public:
  LocalForward(std::shared_ptr<Session> session, Endpoint listens, Descriptor socket, const Destination& to)
      : Forward(std::move(session), std::move(listens)),
        socket_(std::move(socket)),
        dial_(session_->dial(to)),
        poll_(new uv_poll_t) {
    uv_poll_init(session_->loop().raw(), poll_, socket_.get());
    poll_->data = this;
    uv_poll_start(poll_, UV_READABLE,
                  [](uv_poll_t* handle, int, int) { static_cast<LocalForward*>(handle->data)->accept(); });
  }
  ~LocalForward() override { LocalForward::close(); }

  void close() override {
    if (poll_ != nullptr) {
      uv_poll_stop(poll_);
      core::close_handle(std::exchange(poll_, nullptr));
      socket_ = Descriptor();
      if (!listens_.path.empty()) ::unlink(listens_.path.c_str());
    }
    Forward::close();
  }

 private:
  void accept() {
    for (;;) {
      const int fd = ::accept4(socket_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
      if (fd < 0) return;
      const int on = 1;
      ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
      carry(fd, [this](core::Bridge& bridge) { bridge.dial(dial_); });
    }
  }

  Descriptor socket_;
  core::Dial dial_;
  uv_poll_t* poll_;
};

class RemoteForward final : public Forward {
 public:
  RemoteForward(std::shared_ptr<Session> session, Endpoint listens, Endpoint to)
      : Forward(std::move(session), std::move(listens)), to_(std::move(to)) {}
  ~RemoteForward() override { RemoteForward::close(); }

  void listen(std::function<void(core::Result<core::Unit>)> done) {
    token_ = session_->listeners().open(
        listens_.host, listens_.port,
        [this, done = std::move(done)](core::Result<unsigned> port) {
          if (!port) return done(port.error());
          listens_.port = *port;
          done(core::Unit{});
        },
        [this](std::unique_ptr<Channel> channel) { accept(std::move(channel)); });
  }

  void close() override {
    token_.reset();
    connecting_.clear();
    Forward::close();
  }

 private:
  struct Connecting {
    std::unique_ptr<Connector> connector;
    std::unique_ptr<Channel> channel;
  };

  void accept(std::unique_ptr<Channel> channel) {
    if (!to_.path.empty()) return join(connect_file(), std::move(channel));
    auto& entry = connecting_.emplace_back();
    entry.channel = std::move(channel);
    entry.connector = std::make_unique<Connector>(session_->loop(), to_.host, to_.port, kConnectTimeout);
    Connector* raw = entry.connector.get();
    raw->start([this, raw](core::Result<Connected> connected) {
      // Its owner is not destroyed from inside its own call.
      auto shared = std::make_shared<core::Result<Connected>>(std::move(connected));
      session_->loop().defer([this, raw, shared, alive = std::weak_ptr<bool>(alive_)] {
        if (alive.expired()) return;
        const auto mine = std::find_if(connecting_.begin(), connecting_.end(),
                                       [raw](const Connecting& one) { return one.connector.get() == raw; });
        if (mine == connecting_.end()) return;
        auto taken = std::move(mine->channel);
        connecting_.erase(mine);
        if (!*shared) return join(shared->error(), std::move(taken));
        join(std::move((*shared)->socket), std::move(taken));
      });
    });
  }

  core::Result<Descriptor> connect_file() const {
    sockaddr_un address{};
    Descriptor fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (!unix_address(to_.path, address)) {
      errno = ENAMETOOLONG;
    } else if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) {
      return fd;
    }
    return core::Error{.kind = "ssh.forward_connect",
                       .message = "connect to " + to_.path + " on this machine: " + std::strerror(errno),
                       .host = host()};
  }

  void join(core::Result<Descriptor> fd, std::unique_ptr<Channel> channel) {
    if (!fd) {
      ++stats_.connections;
      return failed(fd.error());  // the channel is closed: who connected there sees the end
    }
    auto stream = std::make_shared<std::unique_ptr<core::Stream>>(std::make_unique<ChannelStream>(std::move(channel)));
    carry(fd->release(), [stream](core::Bridge& bridge) { bridge.join(std::move(*stream)); });
  }

  Endpoint to_;
  std::shared_ptr<void> token_;
  std::list<Connecting> connecting_;
};

}  // namespace

std::string Endpoint::text() const {
  if (!path.empty()) return path;
  return (host.find(':') == std::string::npos ? host : "[" + host + "]") + ":" + std::to_string(port);
}

core::Result<Endpoint> parse_endpoint(std::string_view text, bool any_port) {
  const auto wrong = [&] {
    core::Error error = core::usage("\"" + core::clean(text) + "\" is no address to forward");
    error.hint = "expected HOST:PORT, PORT or the path of a socket";
    return error;
  };
  Endpoint at;
  if (text.find('\0') != std::string_view::npos) return wrong();
  if (!text.empty() && text.front() == '/') {
    at.path = text;
    return at;
  }
  std::string_view port = text;
  at.host = "127.0.0.1";
  if (const std::size_t colon = text.rfind(':'); colon != std::string_view::npos) {
    std::string_view host = text.substr(0, colon);
    port = text.substr(colon + 1);
    const bool bracketed = host.size() > 2 && host.front() == '[' && host.back() == ']';
    if (bracketed) host = host.substr(1, host.size() - 2);
    if (!bracketed && host.find(':') != std::string_view::npos) return wrong();
    if (host.find_first_of(" \t\r\n/\\'\"[]") != std::string_view::npos) return wrong();
    if (!host.empty()) at.host = host;
  }
  const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), at.port);
  if (error != std::errc{} || end != port.data() + port.size() || at.port > 65535) return wrong();
  if (at.port == 0 && !any_port) return wrong();
  return at;
}

ForwardStats Forward::stats() const {
  ForwardStats stats = stats_;
  stats.open = bridges_.size();
  return stats;
}

void Forward::close() {
  alive_.reset();
  bridges_.clear();
}

void Forward::failed(const core::Error& error) {
  ++stats_.failed;
  stats_.last_error = error;
}

void Forward::carry(int fd, const std::function<void(core::Bridge&)>& join) {
  ++stats_.connections;
  bridges_.push_back(
      std::make_unique<core::Bridge>(session_->loop(), core::Bridge::Ends::both,
                                     [this](core::Bridge& over, const std::optional<core::Error>& error, bool) {
                                       if (error) failed(*error);
                                       // The bridge calls from inside its own work, or its stream's: it dies on the
                                       // next turn.
                                       session_->loop().defer([this, &over, alive = std::weak_ptr<bool>(alive_)] {
                                         if (!alive.expired())
                                           bridges_.remove_if([&over](const auto& one) { return one.get() == &over; });
                                       });
                                     }));
  bridges_.back()->attach(fd);
  join(*bridges_.back());
}

core::Result<std::shared_ptr<Forward>> forward_local(std::shared_ptr<Session> session, Endpoint listen,
                                                     Destination to) {
  auto socket = listen_here(listen);
  if (!socket) return socket.error();
  return std::shared_ptr<Forward>(
      std::make_shared<LocalForward>(std::move(session), std::move(listen), std::move(socket).value(), to));
}

void ForwardRemote::start(Done done) {
  done_ = std::move(done);
  if (!listen_.path.empty()) {
    const auto finished = std::exchange(done_, nullptr);
    return finished(core::usage("forward " + listen_.path + " of " + session_->host() +
                                ": a server can be asked for a port only, not for a Unix socket"));
  }
  auto forward = std::make_shared<RemoteForward>(session_, listen_, to_);
  forward_ = forward;
  forward->listen([this](core::Result<core::Unit> listening) {
    const auto finished = std::exchange(done_, nullptr);
    if (!finished) return;
    const auto made = std::exchange(forward_, nullptr);
    if (!listening) return finished(listening.error());
    finished(made);
  });
}

void ForwardRemote::cancel() noexcept {
  if (!done_) return;
  forward_.reset();
  const auto finished = std::exchange(done_, nullptr);
  finished(core::cancelled());
}

}  // namespace deployrun::ssh

#include "distance.hpp"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <deque>
#include <stdexcept>
#include <string>

namespace live {
namespace {

using Clock = std::chrono::steady_clock;

sockaddr_in loopback(unsigned port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  return address;
}

struct Way {
  int from;
  int to;
  std::deque<std::pair<Clock::time_point, std::string>> held;
};

}  // namespace

Distance::Distance(unsigned port, std::chrono::milliseconds each_way) {
  listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address = loopback(0);
  socklen_t size = sizeof address;
  if (::bind(listener_, reinterpret_cast<sockaddr*>(&address), size) != 0 || ::listen(listener_, 1) != 0) {
    throw std::runtime_error("no port");
  }
  ::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size);
  port_ = ntohs(address.sin_port);
  thread_ = std::thread([this, port, each_way] { run(port, each_way); });
}

Distance::~Distance() {
  stop_ = true;
  ::shutdown(listener_, SHUT_RDWR);
  thread_.join();
  ::close(listener_);
}

void Distance::run(unsigned to, std::chrono::milliseconds each_way) {
  const int near = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
  if (near < 0) return;
  const int far = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const sockaddr_in address = loopback(to);
  const int on = 1;
  for (const int fd : {near, far}) ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  bool open = ::connect(far, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
  Way ways[] = {{near, far, {}}, {far, near, {}}};
  while (open && !stop_) {
    int wait = 50;
    for (const Way& way : ways) {
      if (way.held.empty()) continue;
      const auto left = std::chrono::ceil<std::chrono::milliseconds>(way.held.front().first - Clock::now()).count();
      wait = std::min(wait, static_cast<int>(std::max<std::int64_t>(left, 0)));
    }
    pollfd fds[] = {{near, POLLIN, 0}, {far, POLLIN, 0}};
    ::poll(fds, 2, wait);
    for (int i = 0; i < 2; ++i) {
      if (fds[i].revents != 0) {
        char piece[65536];
        const ssize_t count = ::recv(ways[i].from, piece, sizeof piece, 0);
        if (count <= 0) {
          open = false;
          break;
        }
        // Acknowledged at once, as our own client does: the delay stands for the line, not for a lazy peer.
        ::setsockopt(ways[i].from, IPPROTO_TCP, TCP_QUICKACK, &on, sizeof on);
        ways[i].held.emplace_back(Clock::now() + each_way, std::string(piece, static_cast<std::size_t>(count)));
      }
      while (!ways[i].held.empty() && ways[i].held.front().first <= Clock::now()) {
        const std::string& bytes = ways[i].held.front().second;
        std::size_t sent = 0;
        while (sent < bytes.size()) {
          const ssize_t count = ::send(ways[i].to, bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
          if (count <= 0) break;
          sent += static_cast<std::size_t>(count);
        }
        ways[i].held.pop_front();
      }
    }
  }
  ::close(near);
  ::close(far);
}

}  // namespace live

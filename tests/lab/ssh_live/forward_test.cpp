// Forwards, both ways, over TCP and Unix sockets.
#include <arpa/inet.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <cstring>
#include <filesystem>
#include <thread>

#include "server.hpp"
#include "ssh/forward.hpp"
#include "ssh/transport.hpp"

using namespace live;
using Catch::Matchers::ContainsSubstring;

namespace {

int connect_to(const ssh::Endpoint& at) {
  sockaddr_storage address{};
  socklen_t length = 0;
  if (at.path.empty()) {
    auto& tcp = reinterpret_cast<sockaddr_in&>(address);
    tcp.sin_family = AF_INET;
    tcp.sin_port = htons(static_cast<std::uint16_t>(at.port));
    tcp.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    length = sizeof tcp;
  } else {
    auto& file = reinterpret_cast<sockaddr_un&>(address);
    file.sun_family = AF_UNIX;
    std::strncpy(file.sun_path, at.path.c_str(), sizeof file.sun_path - 1);
    length = sizeof file;
  }
  const int fd = ::socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const timeval limit{30, 0};
  ::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  if (::connect(fd, reinterpret_cast<sockaddr*>(&address), length) != 0) {
    ::close(fd);
    return -1;
  }
  return fd;
}

/// Waits for one connection after the other, reads each to its end and only then answers with what it read, upper case:
/// both directions, and the half-close in between, have to get through.
class Upper {
 public:
  explicit Upper(ssh::Endpoint at)
      : at_(std::move(at)), fd_(::socket(at_.path.empty() ? AF_INET : AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_storage address{};
    socklen_t length = sizeof(sockaddr_un);
    if (at_.path.empty()) {
      auto& tcp = reinterpret_cast<sockaddr_in&>(address);
      tcp.sin_family = AF_INET;
      tcp.sin_port = htons(static_cast<std::uint16_t>(at_.port));
      tcp.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
      length = sizeof tcp;
    } else {
      auto& file = reinterpret_cast<sockaddr_un&>(address);
      file.sun_family = AF_UNIX;
      std::strncpy(file.sun_path, at_.path.c_str(), sizeof file.sun_path - 1);
    }
    if (::bind(fd_, reinterpret_cast<sockaddr*>(&address), length) != 0 || ::listen(fd_, 64) != 0) {
      throw std::runtime_error("cannot listen");
    }
    thread_ = std::thread([this] { serve(); });
  }
  ~Upper() {
    ::shutdown(fd_, SHUT_RDWR);
    thread_.join();
    ::close(fd_);
  }

 private:
  void serve() {
    for (int fd; (fd = ::accept(fd_, nullptr, nullptr)) >= 0;) {
      std::string all;
      char piece[65536];
      for (ssize_t count; (count = ::read(fd, piece, sizeof piece)) > 0;)
        all.append(piece, static_cast<std::size_t>(count));
      for (char& one : all) one = static_cast<char>(std::toupper(one));
      for (std::size_t sent = 0; sent < all.size();) {
        const ssize_t count = ::send(fd, all.data() + sent, all.size() - sent, MSG_NOSIGNAL);
        if (count <= 0) break;
        sent += static_cast<std::size_t>(count);
      }
      ::close(fd);
    }
  }

  ssh::Endpoint at_;
  int fd_;
  std::thread thread_;
};

/// Sends, half-closes, reads to the end, while the loop runs.
std::string ask(core::Loop& loop, const ssh::Endpoint& at, const std::string& text) {
  std::string answer;
  std::atomic<bool> done = false;
  uv_async_t* wake = new uv_async_t;
  uv_async_init(loop.raw(), wake, [](uv_async_t* handle) { static_cast<core::Loop*>(handle->data)->stop(); });
  wake->data = &loop;
  std::thread client([&] {
    const int fd = connect_to(at);
    if (fd >= 0) {
      for (std::size_t sent = 0; sent < text.size();) {
        const ssize_t count = ::send(fd, text.data() + sent, text.size() - sent, MSG_NOSIGNAL);
        if (count <= 0) break;
        sent += static_cast<std::size_t>(count);
      }
      ::shutdown(fd, SHUT_WR);
      char piece[65536];
      for (ssize_t count; (count = ::read(fd, piece, sizeof piece)) > 0;)
        answer.append(piece, static_cast<std::size_t>(count));
      ::close(fd);
    } else {
      answer = "not connected";
    }
    done = true;
    uv_async_send(wake);
  });
  while (!done) loop.run();
  client.join();
  core::close_handle(wake);
  return answer;
}

core::Result<std::shared_ptr<ssh::Forward>> remote(core::Loop& loop, const std::shared_ptr<ssh::Session>& host,
                                                   const std::string& listen, const ssh::Endpoint& to) {
  ssh::ForwardRemote operation(host, *ssh::parse_endpoint(listen, true), to);
  return wait(loop, operation);
}

ssh::Endpoint a_place(const std::string& kind, const Server& server, const std::string& name) {
  if (kind == "unix") return {"", 0, server.folder / name};
  return {"127.0.0.1", free_port(), ""};
}

const std::string kLong(3U << 20U, 'x');

}  // namespace

TEST_CASE("a local forward, from and to a port or a socket") {
  const std::string from = GENERATE("tcp", "unix");
  const std::string to = GENERATE("tcp", "unix");
  INFO(from << " to " << to);
  core::Loop loop;
  Server server;
  const auto host = session(loop, server);
  const ssh::Endpoint there = a_place(to, server, "there");
  Upper upper(there);
  ssh::Endpoint listen = a_place(from, server, "here");
  if (from == "tcp") listen.port = 0;
  const ssh::Destination destination = to == "tcp"
                                           ? ssh::Destination{ssh::Destination::Kind::tcp, there.host, there.port}
                                           : ssh::Destination{ssh::Destination::Kind::streamlocal, there.path, 0};
  auto forward = ssh::forward_local(host, listen, destination);
  INFO((forward ? "" : core::describe(forward.error())));
  REQUIRE(forward.ok());
  CHECK(ask(loop, (*forward)->listens(), "hello") == "HELLO");
  CHECK(ask(loop, (*forward)->listens(), kLong) == std::string(kLong.size(), 'X'));
  CHECK((*forward)->stats().connections == 2);
  CHECK((*forward)->stats().failed == 0);
  if (from == "unix") {
    struct stat status {};
    REQUIRE(::stat(listen.path.c_str(), &status) == 0);
    CHECK((status.st_mode & 0777U) == 0600);
    CHECK(ssh::forward_local(host, listen, destination).error().kind == "ssh.forward_listen");  // in use
  }
  const ssh::Endpoint at = (*forward)->listens();
  (*forward)->close();
  CHECK(connect_to(at) == -1);
  CHECK(!std::filesystem::exists(listen.path));
}

TEST_CASE("a local forward to where nobody listens: the connection ends, the forward lasts") {
  core::Loop loop;
  Server server;
  const auto host = session(loop, server);
  const unsigned port = free_port();
  auto forward =
      ssh::forward_local(host, *ssh::parse_endpoint("0", true), {ssh::Destination::Kind::tcp, "127.0.0.1", port});
  REQUIRE(forward.ok());
  CHECK(ask(loop, (*forward)->listens(), "hello").empty());
  CHECK((*forward)->stats().failed == 1);
  REQUIRE((*forward)->stats().last_error);
  CHECK((*forward)->stats().last_error->kind == "ssh.forward_connect");
  Upper upper({"127.0.0.1", port, ""});
  CHECK(ask(loop, (*forward)->listens(), "hello") == "HELLO");
}

TEST_CASE("a remote forward, to a port or a socket of this machine") {
  const std::string to = GENERATE("tcp", "unix");
  INFO(to);
  core::Loop loop;
  Server server;
  const auto host = session(loop, server);
  const ssh::Endpoint here = a_place(to, server, "here");
  Upper upper(here);
  auto forward = remote(loop, host, "127.0.0.1:0", here);
  INFO((forward ? "" : core::describe(forward.error())));
  REQUIRE(forward.ok());
  const ssh::Endpoint there = (*forward)->listens();
  CHECK(there.port != 0);
  CHECK(ask(loop, there, "hello") == "HELLO");
  CHECK(ask(loop, there, kLong) == std::string(kLong.size(), 'X'));
  CHECK((*forward)->stats().connections == 2);

  // A second one beside it; the port of the first is taken.
  CHECK(remote(loop, host, there.text(), here).error().kind == "ssh.forward_listen");
  const unsigned port = free_port();
  auto second = remote(loop, host, std::to_string(port), here);
  REQUIRE(second.ok());
  CHECK((*second)->listens().port == port);
  CHECK(ask(loop, (*second)->listens(), "two") == "TWO");

  (*forward)->close();
  CHECK(exec(loop, host, {"true"}).ok());  // the server has heard of it by now
  CHECK(connect_to(there) == -1);
  CHECK(ask(loop, (*second)->listens(), "still") == "STILL");
}

TEST_CASE("a remote forward to where nobody listens") {
  const std::string to = GENERATE("tcp", "unix");
  core::Loop loop;
  Server server;
  const auto host = session(loop, server);
  auto forward = remote(loop, host, "0", a_place(to, server, "absent"));
  REQUIRE(forward.ok());
  CHECK(ask(loop, (*forward)->listens(), "hello").empty());
  CHECK((*forward)->stats().failed == 1);
}

TEST_CASE("a server that forbids forwarding says so") {
  core::Loop loop;
  Server server({"AllowTcpForwarding no"});
  const auto host = session(loop, server);
  const auto forward = remote(loop, host, "0", {"127.0.0.1", 1, ""});
  REQUIRE(!forward.ok());
  CHECK(forward.error().kind == "ssh.forward_listen");
  CHECK_THAT(forward.error().hint, ContainsSubstring("AllowTcpForwarding"));
  CHECK(exec(loop, host, {"true"}).ok());
}

TEST_CASE("forwards end with their session, in the middle of everything") {
  core::Loop loop;
  Server server;
  const auto host = session(loop, server);
  Upper upper({"127.0.0.1", free_port(), ""});
  auto out = ssh::forward_local(host, *ssh::parse_endpoint("0", true), {ssh::Destination::Kind::tcp, "127.0.0.1", 1});
  auto back = remote(loop, host, "0", {"127.0.0.1", 1, ""});
  REQUIRE(out.ok());
  REQUIRE(back.ok());
  server.kill_all();
  while (host->alive()) uv_run(loop.raw(), UV_RUN_ONCE);
  CHECK(ask(loop, (*out)->listens(), "hello").empty());
  CHECK(remote(loop, host, "0", {"127.0.0.1", 1, ""}).error().kind == "ssh.lost");
}

TEST_CASE("a port is asked for although the answers to many probes lie about", "[.slow]") {
  core::Loop loop;
  Server server;
  const auto host = session(loop, server);
  bool done = false;
  core::Timer timer(loop);
  timer.start(std::chrono::seconds(50), [&] {
    done = true;
    loop.stop();
  });
  run_until(loop, done, std::chrono::seconds(60));
  REQUIRE(host->transport().unread_replies() >= 2);
  const ssh::Endpoint here{"127.0.0.1", free_port(), ""};
  Upper upper(here);
  for (const std::string& listen : {std::string("0"), std::to_string(free_port())}) {
    auto forward = remote(loop, host, listen, here);
    INFO((forward ? "" : core::describe(forward.error())));
    REQUIRE(forward.ok());
    CHECK(ask(loop, (*forward)->listens(), "hello") == "HELLO");
  }
}

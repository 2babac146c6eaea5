// Files there and back, and streams to sockets, ports and commands.
#include <arpa/inet.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <filesystem>

#include "server.hpp"
#include "ssh/streams.hpp"
#include "ssh/transfer.hpp"

using namespace live;
using Catch::Matchers::ContainsSubstring;

namespace {

std::string noise(std::size_t size) {
  std::string bytes(size, '\0');
  for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<char>((i * 2654435761U) >> 15U);
  return bytes;
}

unsigned mode_of(const std::string& path) {
  struct stat status {};
  return ::stat(path.c_str(), &status) == 0 ? status.st_mode & 07777U : 0;
}

std::size_t files_in(const std::string& folder) {
  std::size_t count = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(folder)) ++count;
  return count;
}

core::Result<ssh::Transferred> put(core::Loop& loop, const std::shared_ptr<ssh::Session>& host, std::string bytes,
                                   const std::string& path, ssh::PutOptions options = {}) {
  ssh::Upload upload(host, std::move(bytes), path, std::move(options));
  return wait(loop, upload);
}

/// A server on loopback that answers each connection with `reply` once it has read something.
class Responder {
 public:
  Responder(std::string reply, const std::string& path) : reply_(std::move(reply)) {
    if (path.empty()) {
      listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
      sockaddr_in address{};
      address.sin_family = AF_INET;
      address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
      socklen_t size = sizeof address;
      ::bind(listener_, reinterpret_cast<sockaddr*>(&address), size);
      ::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size);
      port = ntohs(address.sin_port);
    } else {
      listener_ = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
      sockaddr_un address{};
      address.sun_family = AF_UNIX;
      path.copy(address.sun_path, sizeof address.sun_path - 1);
      ::bind(listener_, reinterpret_cast<sockaddr*>(&address), sizeof address);
    }
    ::listen(listener_, 8);
    thread_ = std::thread([this] {
      for (int fd; (fd = ::accept(listener_, nullptr, nullptr)) >= 0; ::close(fd)) {
        char piece[4096];
        if (::read(fd, piece, sizeof piece) > 0) [[maybe_unused]]
          const ssize_t sent = ::send(fd, reply_.data(), reply_.size(), MSG_NOSIGNAL);
      }
    });
  }
  ~Responder() {
    ::shutdown(listener_, SHUT_RDWR);
    thread_.join();
    ::close(listener_);
  }
  unsigned port = 0;

 private:
  std::string reply_;
  int listener_ = -1;
  std::thread thread_;
};

core::Result<std::unique_ptr<core::Stream>> open(core::Loop& loop, const core::Dial& dial) {
  std::optional<core::Result<std::unique_ptr<core::Stream>>> result;
  bool done = false;
  const auto token = dial([&](core::Result<std::unique_ptr<core::Stream>> opened) {
    result.emplace(std::move(opened));
    done = true;
    loop.stop();
  });
  run_until(loop, done);
  return std::move(*result);
}

/// Writes `request` and reads to the end.
core::Result<std::string> converse(core::Loop& loop, core::Stream& stream, const std::string& request,
                                   bool end = false) {
  core::Result<std::string> all = std::string{};
  bool done = false;
  std::function<void()> more = [&] {
    stream.read([&](core::Result<std::string> piece) {
      if (piece && !piece->empty()) {
        all->append(*piece);
        return more();
      }
      if (!piece) all = piece.error();
      done = true;
      loop.stop();
    });
  };
  stream.write(request, [&](core::Result<core::Unit> written) {
    if (!written) all = written.error();
    if (end) stream.end_write();
  });
  more();
  run_until(loop, done);
  return all;
}

}  // namespace

TEST_CASE("bytes to a file, atomically") {
  core::Loop loop;
  Server server;
  const auto host = session(loop, server);
  const Folder folder;
  const std::string path = folder / "it's a $file; \"x\"\n-";
  REQUIRE(put(loop, host, "one", path).ok());
  CHECK(slurp(path) == "one");
  CHECK(mode_of(path) == 0644);
  REQUIRE(put(loop, host, "", path, {.mode = 0600}).ok());
  CHECK(slurp(path).empty());
  CHECK(mode_of(path) == 0600);
  // Another's file stays another's, with its mode.
  REQUIRE(::chown(path.c_str(), 65534, 65534) == 0);
  const auto kept = put(loop, host, "three", path);
  REQUIRE(kept.ok());
  CHECK(kept->mode == 0600);
  struct stat status {};
  REQUIRE(::stat(path.c_str(), &status) == 0);
  CHECK(status.st_uid == 65534);
  REQUIRE(put(loop, host, "four", path, {.mode = 0640, .owner = "root:root"}).ok());
  REQUIRE(::stat(path.c_str(), &status) == 0);
  CHECK(status.st_uid == 0);
  CHECK(files_in(folder.path()) == 1);

  CHECK(put(loop, host, "x", folder / "a/b/c").error().kind == "ssh.transfer");
  CHECK(put(loop, host, "x", folder / "a/b/c", {.make_parents = true}).ok());
  CHECK(slurp(folder / "a/b/c") == "x");
  CHECK(put(loop, host, "x", folder / "a").error().kind == "ssh.directory");
  CHECK(put(loop, host, "x", folder / "y", {.owner = "no-such-user"}).error().kind == "ssh.transfer");
  CHECK(files_in(folder.path()) == 2);
}

TEST_CASE("a large file there and back") {
  core::Loop loop;
  Server server;
  const auto host = session(loop, server);
  const Folder folder;
  const std::string bytes = noise((48U << 20U) + 17);
  spill(folder / "from", bytes);
  ssh::Upload upload(host, ssh::Upload::FromFile{folder / "from"}, folder / "there", {.mode = 0751});
  const auto sent = wait(loop, upload);
  INFO((sent ? "" : core::describe(sent.error())));
  REQUIRE(sent.ok());
  CHECK(sent->bytes == bytes.size());
  CHECK(slurp(folder / "there") == bytes);

  ssh::Download download(host, folder / "there", folder / "back");
  const auto got = wait(loop, download);
  INFO((got ? "" : core::describe(got.error())));
  REQUIRE(got.ok());
  CHECK(got->bytes == bytes.size());
  CHECK(slurp(folder / "back") == bytes);
  CHECK(mode_of(folder / "back") == 0751);
  CHECK(files_in(folder.path()) == 3);
}

TEST_CASE("transfers that cannot be") {
  core::Loop loop;
  Server server;
  const auto host = session(loop, server);
  const Folder folder;
  const auto get = [&](const std::string& from, const std::string& to) {
    ssh::Download download(host, from, to);
    const auto result = wait(loop, download);
    return result ? std::string("ok") : result.error().kind;
  };
  CHECK(get(folder / "absent", folder / "to") == "ssh.not_found");
  CHECK(get(folder.path(), folder / "to") == "ssh.directory");
  spill(folder / "empty", "");
  CHECK(get(folder / "empty", folder / "no/such/folder") == "ssh.file");
  CHECK(get(folder / "empty", folder / "to") == "ok");
  const auto read = [&](const std::string& path, std::size_t limit) {
    ssh::ReadFile operation(host, path, limit);
    return wait(loop, operation);
  };
  spill(folder / "small", "12345");
  CHECK(read(folder / "small", 5).value() == "12345");
  CHECK(read(folder / "small", 4).error().kind == "ssh.output_limit");
  CHECK(read(folder / "absent", 5).error().kind == "ssh.not_found");
  ssh::Upload upload(host, ssh::Upload::FromFile{folder / "absent"}, folder / "x", {});
  CHECK(wait(loop, upload).error().kind == "ssh.file");
}

TEST_CASE("a cancelled upload leaves the old file and nothing else") {
  core::Loop loop;
  Server server;
  const auto host = session(loop, server);
  const Folder folder;
  const Folder source;
  spill(folder / "file", "old");
  spill(source / "from", noise(16U << 20U));
  ssh::Upload upload(host, ssh::Upload::FromFile{source / "from"}, folder / "file", {});
  bool done = false;
  std::string kind;
  upload.start([&](core::Result<ssh::Transferred> result) {
    kind = result ? "ok" : result.error().kind;
    done = true;
    loop.stop();
  });
  while (files_in(folder.path()) < 2 && !done) uv_run(loop.raw(), UV_RUN_ONCE);
  upload.cancel();
  run_until(loop, done);
  CHECK(kind == "cancelled");
  CHECK(slurp(folder / "file") == "old");
  CHECK(files_in(folder.path()) == 1);
}

TEST_CASE("a large upload that was cancelled leaves a private part, and the next one takes it") {
  core::Loop loop;
  Server server;
  const auto host = session(loop, server);
  const Folder folder;
  const Folder source;
  spill(folder / "file", "old");
  const std::string bytes = noise(64U << 20U);
  spill(source / "from", bytes);
  ssh::Upload upload(host, ssh::Upload::FromFile{source / "from"}, folder / "file", {});
  bool done = false;
  std::string kind;
  upload.start([&](core::Result<ssh::Transferred> result) {
    kind = result ? "ok" : result.error().kind;
    done = true;
    loop.stop();
  });
  while (files_in(folder.path()) < 2 && !done) uv_run(loop.raw(), UV_RUN_ONCE);
  upload.cancel();
  run_until(loop, done);
  CHECK(kind == "cancelled");
  CHECK(slurp(folder / "file") == "old");
  for (const auto& entry : std::filesystem::directory_iterator(folder.path())) {
    if (entry.path().filename() != "file") CHECK(mode_of(entry.path()) == 0600);
  }
  ssh::Upload again(host, ssh::Upload::FromFile{source / "from"}, folder / "file", {});
  REQUIRE(wait(loop, again).ok());
  CHECK(slurp(folder / "file") == bytes);
  CHECK(files_in(folder.path()) == 1);
}

TEST_CASE("streams to a socket and to a port of the host") {
  core::Loop loop;
  Server server;
  const auto host = session(loop, server);
  const Folder folder;
  const std::string reply = noise(3U << 20U);
  Responder on_socket(reply, folder / "socket");
  Responder on_port(reply, "");
  for (const auto& destination : {ssh::Destination{ssh::Destination::Kind::streamlocal, folder / "socket", 0},
                                  ssh::Destination{ssh::Destination::Kind::tcp, "127.0.0.1", on_port.port}}) {
    auto stream = open(loop, host->dial(destination));
    INFO((stream ? "" : core::describe(stream.error())));
    REQUIRE(stream.ok());
    const auto answer = converse(loop, **stream, "hello");
    REQUIRE(answer.ok());
    CHECK(*answer == reply);
    (*stream)->close();
    (*stream)->close();
  }
}

TEST_CASE("Docker's engine through the session") {
  if (!std::filesystem::is_socket("/var/run/docker.sock")) SKIP("no Docker engine on this machine");
  core::Loop loop;
  Server server;
  const auto host = session(loop, server);
  auto stream = open(loop, host->dial({ssh::Destination::Kind::streamlocal, "/var/run/docker.sock", 0}));
  REQUIRE(stream.ok());
  const auto answer = converse(loop, **stream, "GET /_ping HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n\r\n");
  REQUIRE(answer.ok());
  CHECK_THAT(*answer, ContainsSubstring("200 OK"));
}

TEST_CASE("a forbidden forwarding, and one to nowhere") {
  core::Loop loop;
  Server closed({"AllowStreamLocalForwarding no", "AllowTcpForwarding no"});
  auto host = session(loop, closed);
  const Folder folder;
  Responder there("x", folder / "socket");
  CHECK(open(loop, host->dial({ssh::Destination::Kind::streamlocal, folder / "socket", 0})).error().kind ==
        "ssh.forwarding_refused");
  CHECK(open(loop, host->dial({ssh::Destination::Kind::tcp, "127.0.0.1", 1})).error().kind == "ssh.forwarding_refused");
  CHECK(exec(loop, host, {"true"}).ok());

  Server server;
  host = session(loop, server);
  CHECK(open(loop, host->dial({ssh::Destination::Kind::streamlocal, folder / "absent", 0})).error().kind ==
        "ssh.forwarding_refused");
  CHECK(open(loop, host->dial({ssh::Destination::Kind::tcp, "127.0.0.1", free_port()})).error().kind ==
        "ssh.forward_connect");
  CHECK(exec(loop, host, {"true"}).ok());
}

TEST_CASE("a command as a stream") {
  core::Loop loop;
  Server server;
  const auto host = session(loop, server);
  ssh::Command command;
  command.argv = {"cat"};
  auto stream = open(loop, host->dial_exec(command));
  REQUIRE(stream.ok());
  const std::string bytes = noise(2U << 20U);
  const auto echoed = converse(loop, **stream, bytes, true);
  REQUIRE(echoed.ok());
  CHECK(*echoed == bytes);

  command.argv = {"sh", "-c", "echo no engine here >&2; exit 3"};
  stream = open(loop, host->dial_exec(command));
  const auto failed = converse(loop, **stream, "x");
  REQUIRE(!failed.ok());
  CHECK(failed.error().kind == "ssh.exec");
  CHECK(std::get<std::int64_t>(failed.error().details.at("code")) == 3);
  CHECK_THAT(failed.error().message, ContainsSubstring("no engine here"));
}

TEST_CASE("streams are dropped, closed and lost without harm") {
  core::Loop loop;
  Server server;
  const auto host = session(loop, server);
  const Folder folder;
  Responder there(noise(8U << 20U), folder / "socket");
  const ssh::Destination to{ssh::Destination::Kind::streamlocal, folder / "socket", 0};
  for (int turns = 0; turns < 8; ++turns) {
    auto token = host->dial(to)([](core::Result<std::unique_ptr<core::Stream>>) {});
    for (int i = 0; i < turns; ++i) uv_run(loop.raw(), UV_RUN_NOWAIT);
    token.reset();
  }
  auto stream = open(loop, host->dial(to));
  REQUIRE(stream.ok());
  std::string kind;
  (*stream)->read([&](core::Result<std::string> piece) { kind = piece ? "bytes" : piece.error().kind; });
  (*stream)->close();
  CHECK(kind == "cancelled");

  stream = open(loop, host->dial(to));
  REQUIRE(stream.ok());
  bool done = false;
  (*stream)->read([&](core::Result<std::string> piece) {
    kind = piece ? "bytes" : piece.error().kind;
    done = true;
    loop.stop();
  });
  server.kill_all();
  run_until(loop, done);
  CHECK(kind == "ssh.lost");
}

TEST_CASE("how fast a large file goes", "[.speed]") {
  core::Loop loop;
  Server server;
  const auto host = session(loop, server);
  const Folder folder;
  spill(folder / "from", std::string(256U << 20U, 'x'));
  ssh::Upload upload(host, ssh::Upload::FromFile{folder / "from"}, folder / "there", {});
  const auto sent = wait(loop, upload);
  REQUIRE(sent.ok());
  ssh::Download download(host, folder / "there", folder / "back");
  const auto got = wait(loop, download);
  REQUIRE(got.ok());
  WARN("256 MiB: up " << sent->duration.count() << " ms, down " << got->duration.count() << " ms");
}

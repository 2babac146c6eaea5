// Who is there, and who are we: host keys, identities, agents, configuration.
#include <arpa/inet.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <cstdlib>
#include <filesystem>
#include <thread>

#include "server.hpp"
#include "ssh/handles.hpp"
#include "ssh/transport.hpp"
#include "ssh/wire.hpp"

using namespace live;
using Catch::Matchers::ContainsSubstring;

namespace {

/// An ssh-agent of our own.
class AgentProcess {
 public:
  explicit AgentProcess(const Folder& folder) : path_(folder / "agent.sock") {
    run_program({"ssh-agent", "-s", "-a", path_}, folder / "agent.env");
    const std::string text = slurp(folder / "agent.env");
    const std::size_t at = text.find("SSH_AGENT_PID=");
    if (at != std::string::npos) pid_ = static_cast<pid_t>(std::stol(text.substr(at + 14)));
  }
  ~AgentProcess() {
    if (pid_ > 0) ::kill(pid_, SIGKILL);
  }
  void add(const std::string& key) const { run_program({"env", "SSH_AUTH_SOCK=" + path_, "ssh-add", "-q", key}); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  pid_t pid_ = -1;
};

void make_key(const std::string& file, const std::string& type, const std::string& passphrase = "",
              const std::vector<std::string>& more = {}) {
  std::vector<std::string> argv = {"ssh-keygen", "-q", "-t", type, "-N", passphrase, "-f", file};
  argv.insert(argv.end(), more.begin(), more.end());
  REQUIRE(run_program(argv) == 0);
}

/// Takes one connection, says something, and waits until the other side hangs up.
class Listener {
 public:
  Listener() : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in at{};
    at.sin_family = AF_INET;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    REQUIRE(::bind(fd_.get(), reinterpret_cast<sockaddr*>(&at), sizeof at) == 0);
    REQUIRE(::listen(fd_.get(), 1) == 0);
    socklen_t size = sizeof at;
    REQUIRE(::getsockname(fd_.get(), reinterpret_cast<sockaddr*>(&at), &size) == 0);
    port_ = ntohs(at.sin_port);
  }
  std::uint16_t port() const { return port_; }
  void answer(const std::string& text) {
    const ssh::Descriptor taken(::accept(fd_.get(), nullptr, nullptr));
    (void)::send(taken.get(), text.data(), text.size(), MSG_NOSIGNAL);
    char piece[4096];
    while (::read(taken.get(), piece, sizeof piece) > 0) continue;
  }

 private:
  ssh::Descriptor fd_;
  std::uint16_t port_ = 0;
};

std::string echo(core::Loop& loop, const std::shared_ptr<ssh::Session>& host) {
  const auto ran = exec(loop, host, {"echo", "in"});
  return ran ? ran->out : core::describe(ran.error());
}

}  // namespace

TEST_CASE("every kind of key logs in") {
  const std::string type = GENERATE("ed25519", "ecdsa", "rsa");
  const bool pem = GENERATE(false, true);
  if (pem && type == "ed25519") return;
  core::Loop loop;
  Server server;
  const std::string file = server.folder / "key";
  make_key(file, type, "", pem ? std::vector<std::string>{"-m", "PEM"} : std::vector<std::string>{});
  server.authorize(file + ".pub");
  auto options = server.options();
  options.identity_files = {file};
  const auto host = connect(loop, options);
  INFO(type << (pem ? " PEM" : "") << (host ? "" : core::describe(host.error())));
  REQUIRE(host.ok());
  CHECK(echo(loop, *host) == "in\n");
}

TEST_CASE("larger curves and RSA through the agent") {
  const std::string bits = GENERATE("384", "521");
  core::Loop loop;
  Server server;
  const std::string file = server.folder / "key";
  make_key(file, "ecdsa", "", {"-b", bits});
  server.authorize(file + ".pub");
  auto options = server.options();
  options.identity_files = {file};
  CHECK(connect(loop, options).ok());
}

TEST_CASE("encrypted keys want their passphrase") {
  const std::string type = GENERATE("ed25519", "rsa", "ecdsa");
  const std::string format = GENERATE("RFC4716", "PEM", "PKCS8");
  if (format != "RFC4716" && type == "ed25519") return;
  core::Loop loop;
  Server server;
  const std::string file = server.folder / "key";
  make_key(file, type, "open sesame", {"-m", format});
  server.authorize(file + ".pub");
  auto options = server.options();
  options.identity_files = {file};

  const auto without = connect(loop, options);
  REQUIRE(!without.ok());
  CHECK(without.error().kind == "ssh.auth");
  CHECK_THAT(without.error().message, ContainsSubstring("encrypted, and no passphrase was given"));

  options.passphrase = core::Secret("key", std::string("open sesam"));
  const auto wrong = connect(loop, options);
  REQUIRE(!wrong.ok());
  CHECK_THAT(wrong.error().message, ContainsSubstring("wrong passphrase"));
  CHECK(core::describe(wrong.error()).find("open sesam") == std::string::npos);

  options.passphrase = core::Secret("key", std::string("open sesame"));
  const auto right = connect(loop, options);
  INFO(type << " " << format << (right ? "" : core::describe(right.error())));
  REQUIRE(right.ok());
  CHECK(echo(loop, *right) == "in\n");
}

TEST_CASE("an agent signs") {
  const std::string type = GENERATE("ed25519", "ecdsa", "rsa");
  core::Loop loop;
  Server server;
  AgentProcess agent(server.folder);
  for (int i = 0; i < 3; ++i) {
    make_key(server.folder / ("other" + std::to_string(i)), "ed25519");
    agent.add(server.folder / ("other" + std::to_string(i)));
  }
  const std::string file = server.folder / "key";
  make_key(file, type);
  agent.add(file);
  server.authorize(file + ".pub");
  auto options = server.options();
  options.agent = agent.path();
  options.identity_files = {server.folder / "absent"};
  const auto host = connect(loop, options);
  INFO(type << (host ? "" : core::describe(host.error())));
  REQUIRE(host.ok());
  CHECK(echo(loop, *host) == "in\n");

  // Only the named one: its public half is enough to find it.
  std::filesystem::remove(file);
  options.identity_files = {file + ".pub"};
  options.identities_only = true;
  CHECK(connect(loop, options).ok());
}

TEST_CASE("no key that is accepted: the error names what was tried") {
  core::Loop loop;
  Server server;
  make_key(server.folder / "stranger", "ed25519");
  auto options = server.options();
  options.identity_files = {server.folder / "stranger", server.folder / "absent"};
  options.agent = server.folder / "no-agent";
  const auto host = connect(loop, options);
  REQUIRE(!host.ok());
  CHECK(host.error().kind == "ssh.auth");
  CHECK_THAT(host.error().message, ContainsSubstring("stranger (ssh-ed25519 SHA256:"));
  CHECK_THAT(host.error().message, ContainsSubstring("absent"));
  CHECK_THAT(host.error().message, ContainsSubstring("publickey"));
  CHECK(std::get<std::string>(host.error().details.at("methods")) == "publickey");
}

TEST_CASE("a host that nobody knows") {
  core::Loop loop;
  Server server;
  auto options = server.options();
  options.known_hosts = {server.folder / "new/known_hosts"};
  const auto strict = connect(loop, options);
  REQUIRE(!strict.ok());
  CHECK(strict.error().kind == "ssh.host_unknown");
  CHECK_THAT(strict.error().message, ContainsSubstring("SHA256:"));
  CHECK_THAT(strict.error().hint, ContainsSubstring("deployrun host trust 127.0.0.1:" + std::to_string(server.port)));
  CHECK(!std::filesystem::exists(options.known_hosts[0]));

  options.host_keys = ssh::HostKeys::accept_new;
  REQUIRE(connect(loop, options).ok());
  CHECK_THAT(slurp(options.known_hosts[0]),
             ContainsSubstring("[127.0.0.1]:" + std::to_string(server.port) + " ssh-ed25519 "));
  struct stat status {};
  REQUIRE(::stat(options.known_hosts[0].c_str(), &status) == 0);
  CHECK((status.st_mode & 0777U) == 0600);

  options.host_keys = ssh::HostKeys::strict;
  const std::string once = slurp(options.known_hosts[0]);
  CHECK(connect(loop, options).ok());
  CHECK(slurp(options.known_hosts[0]) == once);
}

TEST_CASE("known by each type of key") {
  const std::string type = GENERATE("ed25519", "ecdsa", "rsa");
  core::Loop loop;
  Server server;
  auto options = server.options();
  options.known_hosts = {server.folder / "one"};
  server.know_host(options.known_hosts[0], type);
  CHECK(connect(loop, options).ok());
}

TEST_CASE("a host with another key is refused, accept-new or not") {
  const auto mode = GENERATE(ssh::HostKeys::strict, ssh::HostKeys::accept_new);
  core::Loop loop;
  Server server;
  Server impostor({"HostKeyAlgorithms ssh-ed25519"});
  auto options = impostor.options();
  options.host_keys = mode;
  make_key(impostor.folder / "old", "ed25519");
  const std::string name = "[127.0.0.1]:" + std::to_string(impostor.port) + " ";
  SECTION("of the same type") {
    spill(options.known_hosts[0], "# a comment\n" + name + slurp(impostor.folder / "old.pub"));
  }
  SECTION("known by another type only") {
    spill(options.known_hosts[0], "# a comment\n" + name + slurp(impostor.folder / "host_ecdsa.pub"));
  }
  const std::string before = slurp(options.known_hosts[0]);
  const auto host = connect(loop, options);
  REQUIRE(!host.ok());
  CHECK(host.error().kind == "ssh.host_changed");
  CHECK_THAT(host.error().message, ContainsSubstring(options.known_hosts[0] + ":2"));
  CHECK_THAT(host.error().hint, ContainsSubstring("ssh-keygen -R"));
  CHECK(std::get<std::int64_t>(host.error().details.at("line")) == 2);
  CHECK(slurp(options.known_hosts[0]) == before);
}

TEST_CASE("a revoked key is refused") {
  core::Loop loop;
  Server server;
  auto options = server.options();
  spill(options.known_hosts[0],
        slurp(options.known_hosts[0]) + "@revoked * " + slurp(server.folder / "host_ed25519.pub"));
  const auto host = connect(loop, options);
  REQUIRE(!host.ok());
  CHECK(host.error().kind == "ssh.host_revoked");
}

TEST_CASE("~/.ssh/config is asked through ssh -G") {
  core::Loop loop;
  Server server;
  auto options = server.options();
  options.host = "web";
  options.ssh_config = true;
  options.ssh_config_file = server.folder / "ssh_config";
  options.identity_files.clear();
  options.known_hosts.clear();
  options.agent.reset();
  const std::string base = "Host web\n HostName 127.0.0.1\n Port " + std::to_string(server.port) +
                           "\n User root\n IdentityFile " + (server.folder / "user_ed25519") +
                           "\n UserKnownHostsFile " + (server.folder / "known_hosts") + "\n IdentityAgent none\n";
  spill(options.ssh_config_file, base);
  const auto host = connect(loop, options);
  INFO((host ? "" : core::describe(host.error())));
  REQUIRE(host.ok());
  CHECK((*host)->host() == "web");
  CHECK(echo(loop, *host) == "in\n");
}

TEST_CASE("nobody there, and somebody else there") {
  core::Loop loop;
  Folder folder;
  ssh::ConnectOptions options;
  options.host = "127.0.0.1:" + std::to_string(free_port());
  options.ssh_config = false;
  options.agent = "";
  const auto refused = connect(loop, options);
  REQUIRE(!refused.ok());
  CHECK(refused.error().kind == "ssh.connect");
  CHECK(refused.error().message == "connect " + options.host + ": connection refused");

  options.host = "no-such-host.invalid";
  const auto unknown = connect(loop, options);
  REQUIRE(!unknown.ok());
  CHECK(unknown.error().kind == "ssh.resolve");
}

TEST_CASE("a server whose only key exchange is a client's marker is refused and not fallen over") {
  std::string methods = "\x14" + std::string(16, 'c');
  const std::string cipher = "aes128-gcm@openssh.com", mac = "hmac-sha2-256";
  for (const std::string& list :
       {std::string("kex-strict-c-v00@openssh.com"), std::string("ssh-ed25519"), cipher, cipher, mac, mac,
        std::string("none"), std::string("none"), std::string(), std::string()})
    ssh::put_string(methods, list);
  methods += std::string(5, '\0');
  const std::size_t padding = 8 + (8 - (5 + methods.size() + 8) % 8) % 8;
  std::string packet = "SSH-2.0-OpenSSH_9.2\r\n";
  ssh::put_u32(packet, static_cast<std::uint32_t>(1 + methods.size() + padding));
  packet += static_cast<char>(padding) + methods + std::string(padding, '\0');

  core::Loop loop;
  Listener listener;
  std::thread server([&] { listener.answer(packet); });
  ssh::ConnectOptions options;
  options.host = "127.0.0.1:" + std::to_string(listener.port());
  options.ssh_config = false;
  options.agent = "";
  const auto refused = connect(loop, options);
  server.join();
  REQUIRE(!refused.ok());
  CHECK(refused.error().kind == "ssh.handshake");
  CHECK_THAT(refused.error().message, ContainsSubstring("refused: it names a key exchange that is none"));
}

TEST_CASE("a login is cancelled at every moment") {
  core::Loop loop;
  Server server;
  for (int turns = 0; turns < 40; ++turns) {
    ssh::Connect operation(loop, std::make_shared<ssh::Client>(loop), server.options());
    bool done = false;
    bool cancelled = false;
    operation.start([&](core::Result<std::shared_ptr<ssh::Session>> result) {
      cancelled = !result.ok() && result.error().is("cancelled");
      done = true;
      loop.stop();
    });
    for (int i = 0; i < turns && !done; ++i) uv_run(loop.raw(), UV_RUN_ONCE);
    if (done) break;
    operation.cancel();
    run_until(loop, done);
    CHECK(cancelled);
  }
  CHECK(echo(loop, session(loop, server)) == "in\n");
}

TEST_CASE("fifty hosts at once") {
  core::Loop loop;
  Server server;
  const auto keys = std::make_shared<ssh::Client>(loop);
  std::vector<std::unique_ptr<ssh::Connect>> all;
  std::vector<std::shared_ptr<ssh::Session>> sessions;
  std::size_t ended = 0;
  bool done = false;
  for (int i = 0; i < 50; ++i) {
    all.push_back(std::make_unique<ssh::Connect>(loop, keys, server.options()));
    all.back()->start([&](core::Result<std::shared_ptr<ssh::Session>> result) {
      if (result) sessions.push_back(*result);
      done = ++ended == 50;
      if (done) loop.stop();
    });
  }
  run_until(loop, done);
  CHECK(sessions.size() == 50);
}

#include "ssh/config.hpp"

#include <catch2/catch_test_macros.hpp>

using namespace deployrun;
using namespace deployrun::ssh;

namespace {

const Surroundings kHere{.home = "/home/me", .user = "me", .agent = "/run/agent"};

core::Result<ConnectOptions> destination(const std::string& text) {
  ConnectOptions options;
  options.host = text;
  return parse_destination(std::move(options));
}

Target decide(const std::string& config, const std::string& host = "web", ConnectOptions options = {}) {
  options.host = host;
  return resolve(options, parse_ssh_g(config), kHere).value();
}

}  // namespace

TEST_CASE("destinations") {
  const auto whole = destination("deploy@web-1:2222").value();
  CHECK(whole.host == "web-1");
  CHECK(whole.user == "deploy");
  CHECK(whole.port == 2222U);
  CHECK(destination("web").value().host == "web");
  CHECK(!destination("web").value().port);
  CHECK(destination("[::1]:22").value().host == "::1");
  CHECK(destination("[::1]:22").value().port == 22U);
  CHECK(destination("me@[fe80::1]").value().host == "fe80::1");
  CHECK(destination("fe80::1").value().host == "fe80::1");
  CHECK(destination("a@b@web").value().user == "a@b");
  for (const char* bad : {"", "web:0", "web:65536", "web:", "web:x", "-oProxyCommand=x", "we b", "web;ls", "web`x`",
                          "[::1", "[::1]x", "$(x)@web", "@web", "web/x", "user@", "-l@web"}) {
    INFO(bad);
    CHECK(destination(bad).error().kind == "usage");
  }
  ConnectOptions options;
  options.host = "deploy@web:2222";
  options.user = "root";
  options.port = 22;
  const auto explicit_wins = parse_destination(options).value();
  CHECK(explicit_wins.user == "root");
  CHECK(explicit_wins.port == 22U);
}

TEST_CASE("the ssh -G command") {
  ConnectOptions options;
  options.host = "web";
  CHECK(ssh_g_command(options) == std::vector<std::string>{"ssh", "-G", "--", "web"});
  options.user = "deploy";
  options.port = 22;
  options.ssh_config_file = "/c";
  CHECK(ssh_g_command(options) ==
        std::vector<std::string>{"ssh", "-G", "-F", "/c", "-l", "deploy", "-p", "22", "--", "web"});
}

TEST_CASE("ssh -G's lines") {
  const auto config = parse_ssh_g("hostname 10.0.0.7\nIdentityFile a\nidentityfile b c\nempty \nnovalue\n x y\n");
  CHECK(config.at("hostname").front() == "10.0.0.7");
  CHECK(config.at("identityfile") == std::vector<std::string>{"a", "b c"});
  CHECK(config.at("empty").front().empty());
  CHECK(config.count("novalue") == 0);
  CHECK(config.count("") == 0);
  CHECK(parse_ssh_g("long " + std::string(10000, 'x')).empty());
  std::string many;
  for (int i = 0; i < 1000; ++i) many += "identityfile f\n";
  CHECK(parse_ssh_g(many).at("identityfile").size() == 256);
}

TEST_CASE("defaults where there is no OpenSSH") {
  const Target target = decide("");
  CHECK(target.hostname == "web");
  CHECK(target.key_name == "web");
  CHECK(target.port == 22);
  CHECK(target.user == "me");
  CHECK(target.agent == "/run/agent");
  CHECK(target.host_keys == HostKeys::strict);
  CHECK(target.connect_timeout == core::Milliseconds(15000));
  REQUIRE(target.identity_files.size() == 3);
  CHECK(target.identity_files[0].path == "/home/me/.ssh/id_ed25519");
  CHECK(!target.identity_files[0].wanted);
  CHECK(target.known_hosts.front() == "/home/me/.ssh/known_hosts");
  CHECK(target.known_hosts.back() == "/etc/ssh/ssh_known_hosts2");
}

TEST_CASE("what OpenSSH says") {
  const Target target = decide(
      "hostname 10.0.0.7\nport 2222\nuser deploy\nidentityfile ~/.ssh/id_rsa\nidentityfile "
      "/keys/%r@%h-%n\nidentitiesonly yes\n"
      "identityagent ~/agent\nuserknownhostsfile /u1 ~/u2\nglobalknownhostsfile /g\nstricthostkeychecking accept-new\n"
      "connecttimeout 7\nproxyjump none\n");
  CHECK(target.name == "web");
  CHECK(target.hostname == "10.0.0.7");
  CHECK(target.key_name == "10.0.0.7");
  CHECK(target.port == 2222);
  CHECK(target.user == "deploy");
  REQUIRE(target.identity_files.size() == 2);
  CHECK(target.identity_files[0].path == "/home/me/.ssh/id_rsa");
  CHECK(!target.identity_files[0].wanted);
  CHECK(target.identity_files[1].path == "/keys/deploy@10.0.0.7-web");
  CHECK(target.identity_files[1].wanted);
  CHECK(target.identities_only);
  CHECK(target.agent == "/home/me/agent");
  CHECK(target.known_hosts == std::vector<std::string>{"/u1", "/home/me/u2", "/g"});
  CHECK(target.host_keys == HostKeys::accept_new);
  CHECK(target.connect_timeout == core::Milliseconds(7000));
}

TEST_CASE("the recipe wins") {
  ConnectOptions options;
  options.port = 22;
  options.user = "root";
  options.identity_files = {"~/k"};
  options.identities_only = false;
  options.agent = "";
  options.known_hosts = {"/mine"};
  options.host_keys = HostKeys::strict;
  options.connect_timeout = core::Milliseconds(5);
  const Target target = decide(
      "port 2222\nuser deploy\nidentityfile /k\nidentitiesonly yes\nuserknownhostsfile /u\nstricthostkeychecking "
      "accept-new\n"
      "connecttimeout 7\n",
      "web", options);
  CHECK(target.port == 22);
  CHECK(target.user == "root");
  REQUIRE(target.identity_files.size() == 1);
  CHECK(target.identity_files[0].path == "/home/me/k");
  CHECK(target.identity_files[0].wanted);
  CHECK(!target.identities_only);
  CHECK(target.agent.empty());
  CHECK(target.known_hosts == std::vector<std::string>{"/mine"});
  CHECK(target.host_keys == HostKeys::strict);
  CHECK(target.connect_timeout == core::Milliseconds(5));
}

TEST_CASE("the check cannot be switched off, and aliases stand alone") {
  CHECK(decide("stricthostkeychecking false\n").host_keys == HostKeys::strict);
  CHECK(decide("stricthostkeychecking ask\n").host_keys == HostKeys::strict);
  const Target target = decide("hostname 10.0.0.7\nport 2222\nhostkeyalias prod\n");
  CHECK(target.key_name == "prod");
  CHECK(target.key_alias);
  CHECK(decide("identityagent none\n").agent.empty());
  CHECK(decide("identityagent SSH_AUTH_SOCK\n").agent == "/run/agent");
}

TEST_CASE("what is not available is refused, never ignored") {
  ConnectOptions options;
  options.host = "web";
  const auto target = resolve(options, parse_ssh_g("revokedhostkeys /etc/revoked\n"), kHere);
  REQUIRE(!target.ok());
  CHECK(target.error().kind == "ssh.config");
  CHECK(!target.error().hint.empty());
  CHECK(target.error().host == "web");
}

TEST_CASE("jump hosts: one after the other, with the same keys and files, users and ports of their own") {
  ConnectOptions options;
  options.host = "web";
  options.user = "deploy";
  options.port = 2222;
  options.known_hosts = {"/pins"};
  options.identity_files = {"/key"};
  options.jump = "first,joe@second:2200";
  const auto target = resolve(options, parse_ssh_g("proxyjump other\n"), kHere);
  REQUIRE(target.ok());
  REQUIRE(target->jump);
  CHECK(target->jump->host == "second");
  CHECK(target->jump->user == "joe");
  CHECK(target->jump->port == 2200);
  CHECK(target->jump->jump == "first");
  CHECK(target->jump->known_hosts == std::vector<std::string>{"/pins"});
  CHECK(target->jump->identity_files == std::vector<std::string>{"/key"});
  const auto second = resolve(*target->jump, {}, kHere);
  REQUIRE(second.ok());
  REQUIRE(second->jump);
  CHECK(second->jump->host == "first");
  CHECK(!second->jump->user);
  CHECK(!second->jump->port);
  CHECK(!second->jump->jump);

  options.jump = "[::1]:22";
  CHECK(resolve(options, {}, kHere)->jump->host == "::1");
  options.jump = "none";
  CHECK(!resolve(options, parse_ssh_g("proxyjump other\n"), kHere)->jump);
  options.jump = "bad host";
  CHECK(resolve(options, {}, kHere).error().kind == "usage");
}

TEST_CASE("jump hosts of the configuration, and their ends") {
  CHECK(decide("proxyjump joe@[10.0.0.1]:2200\n").jump->port == 2200);
  CHECK(!decide("proxyjump none\n").jump);
  CHECK(!decide("hostname bastion\nproxyjump bastion\n").jump);  // "Host *" reaches the jump host itself directly
  ConnectOptions options;
  options.host = "web";
  options.hops = 8;
  const auto circle = resolve(options, parse_ssh_g("proxyjump bastion\n"), kHere);
  REQUIRE(!circle.ok());
  CHECK(circle.error().kind == "ssh.config");
}

TEST_CASE("a proxy command gets its tokens, and no shell words by them") {
  CHECK(decide("hostname 10.0.0.7\nport 2222\nuser joe\nproxycommand nc -X 5 %h %p %r %%\n").proxy_command ==
        "nc -X 5 10.0.0.7 2222 joe %");
  CHECK(decide("proxycommand none\n").proxy_command.empty());
  ConnectOptions options;
  options.host = "web";
  const auto evil = resolve(options, parse_ssh_g("hostname $(reboot)\nproxycommand nc %h %p\n"), kHere);
  REQUIRE(!evil.ok());
  CHECK(evil.error().kind == "ssh.config");
  options.proxy_command = "mine %h";
  CHECK(resolve(options, parse_ssh_g("proxyjump bastion\n"), kHere)->proxy_command == "mine web");
}

#include "ssh/hello.hpp"

#include <catch2/catch_test_macros.hpp>

#include "ssh/methods.hpp"
#include "ssh/wire.hpp"

using namespace deployrun::ssh;

namespace {

std::string kexinit(const std::vector<std::string>& lists) {
  std::string payload = "\x14" + std::string(16, 'c');
  for (const std::string& list : lists) put_string(payload, list);
  std::string packet;
  put_u32(packet, static_cast<std::uint32_t>(1 + payload.size() + 4));
  return packet + '\x04' + payload + std::string(4, '\0');
}

const std::string kLists = kexinit({"curve25519-sha256,ecdh-sha2-nistp256", "ssh-ed25519,rsa-sha2-512", "aes128-ctr",
                                    "aes256-gcm@openssh.com", "hmac-1", "hmac-2", "none", "none", "", ""});

}  // namespace

TEST_CASE("hello: version and methods") {
  const ServerHello hello = parse_hello("Welcome\r\nSSH-2.0-Test_1\r\n" + kLists + "more");
  CHECK(hello.before == "Welcome");
  CHECK(hello.version == "SSH-2.0-Test_1");
  CHECK(hello.key_exchanges == std::vector<std::string>{"curve25519-sha256", "ecdh-sha2-nistp256"});
  CHECK(hello.host_keys == std::vector<std::string>{"ssh-ed25519", "rsa-sha2-512"});
  CHECK(hello.ciphers == std::vector<std::string>{"aes256-gcm@openssh.com"});
  CHECK(hello.macs == std::vector<std::string>{"hmac-2"});
}

TEST_CASE("hello: what says nothing may come before the methods") {
  const std::string ignored = std::string("\0\0\0\x0c\x05\x02", 6) + std::string(10, '\0');
  CHECK(parse_hello("SSH-2.0-x\n" + ignored + kLists).ciphers_in == std::vector<std::string>{"aes128-ctr"});
  std::string other = ignored;
  other[5] = 33;
  CHECK(parse_hello("SSH-2.0-x\n" + other + kLists).ciphers_in == std::vector<std::string>{"aes128-ctr"});
}

TEST_CASE("hello: packets that are none are told from those that have not come yet") {
  ServerHello hello;
  CHECK(parse_methods(kLists, hello) == First::methods);
  for (std::size_t length = 0; length < kLists.size(); ++length)
    CHECK(parse_methods(kLists.substr(0, length), hello) == First::incomplete);
  CHECK(parse_methods(std::string("\0\0\0\x01\0", 5), hello) == First::broken);    // nothing in it
  CHECK(parse_methods(std::string("\0\0\0\x0c\x0b", 5), hello) == First::broken);  // padding alone
  CHECK(parse_methods(std::string("\0\1\0\0\x04", 5), hello) == First::broken);    // 64 KiB
  CHECK(parse_methods(std::string("\0\0\0\x0c\x04\x14", 6) + std::string(10, 'c'), hello) == First::broken);
}

TEST_CASE("methods: what libssh2 would fall over is refused") {
  const std::string gcm = "aes128-gcm@openssh.com", chacha = "chacha20-poly1305@openssh.com", both = gcm + "," + chacha;
  const auto why = [](const std::string& key_exchange, const std::string& in, const std::string& out) {
    return why_refused(
        parse_hello("SSH-2.0-x\n" + kexinit({key_exchange, "ssh-ed25519", in, out, "", "", "", "", "", ""})));
  };
  for (const auto& [in, out] : {std::pair(gcm, gcm), std::pair(chacha, chacha), std::pair(both, both)})
    CHECK(why("curve25519-sha256,kex-strict-s-v00@openssh.com", in, out).empty());
  CHECK(why("curve25519-sha256", "aes128-ctr", gcm).empty());
  CHECK(why("curve25519-sha256", chacha, gcm).find("different") != std::string::npos);
  CHECK(why("curve25519-sha256", gcm, chacha).find("different") != std::string::npos);
  CHECK(why("curve25519-sha256", chacha, "aes256-ctr").find("different") != std::string::npos);
  CHECK(why("kex-strict-c-v00@openssh.com", gcm, gcm).find("none") != std::string::npos);
  CHECK(why("curve25519-sha256,ext-info-c", gcm, gcm).find("none") != std::string::npos);
  CHECK(why_refused({}).empty());
}

TEST_CASE("hello: a server that only says why it hangs up") {
  const ServerHello hello = parse_hello("Exceeded MaxStartups\r\n");
  CHECK(hello.before == "Exceeded MaxStartups");
  CHECK(hello.version.empty());
  CHECK(parse_hello("").version.empty());
  CHECK(parse_hello("\x1b[31mred\n").before.find('\x1b') == std::string::npos);
}

TEST_CASE("hello: whatever is cut off or wrong is left out") {
  const std::string whole = "SSH-2.0-Test_1\n" + kLists;
  for (std::size_t length = 0; length < whole.size(); ++length) {
    const ServerHello hello = parse_hello(std::string_view(whole).substr(0, length));
    CHECK(hello.host_keys.empty());
    CHECK(hello.version == (length >= 15 ? "SSH-2.0-Test_1" : ""));
  }
  CHECK(parse_hello("SSH-2.0-x\n" + std::string(4, '\xff') + "\x01\x14").host_keys.empty());
  CHECK(parse_hello("SSH-2.0-x\n" + std::string(64, '\0')).host_keys.empty());
}

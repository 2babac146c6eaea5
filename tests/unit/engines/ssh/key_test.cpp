#include "ssh/key.hpp"

#include <catch2/catch_test_macros.hpp>
#include <string>

#include "core/base64.hpp"
#include "ssh/agent.hpp"
#include "ssh/bcrypt.hpp"
#include "ssh/identities.hpp"
#include "ssh/wire.hpp"

using namespace deployrun;
using namespace deployrun::ssh;

namespace {

/// ed25519 of RFC 8032 §7.1, test 1: secret and public key.
const std::string kSeed = core::hex_decode("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60").value();
const std::string kPoint = core::hex_decode("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a").value();

std::string public_blob() {
  std::string blob;
  put_string(blob, "ssh-ed25519");
  put_string(blob, kPoint);
  return blob;
}

/// An unencrypted openssh-key-v1 file.
std::string key_file(const std::string& blob, std::uint32_t check, std::uint32_t check_again, const std::string& pair) {
  std::string section;
  put_u32(section, check);
  put_u32(section, check_again);
  put_string(section, "ssh-ed25519");
  put_string(section, kPoint);
  put_string(section, pair);
  put_string(section, "a comment");
  for (char pad = 1; section.size() % 8 != 0; ++pad) section += pad;
  std::string content("openssh-key-v1\0", 15);
  put_string(content, "none");
  put_string(content, "none");
  put_string(content, "");
  put_u32(content, 1);
  put_string(content, blob);
  put_string(content, section);
  return "-----BEGIN OPENSSH PRIVATE KEY-----\n" + core::base64_encode(content) +
         "\n-----END OPENSSH PRIVATE KEY-----\n";
}

}  // namespace

TEST_CASE("bcrypt_pbkdf of published vectors") {
  // From the test vectors that accompany OpenBSD's function in its ports: password, salt, rounds.
  CHECK(core::hex_encode(bcrypt_pbkdf("password", "salt", 4, 32)) ==
        "5bbf0cc293587f1c3635555c27796598d47e579071bf427e9d8fbe842aba34d9");
  CHECK(core::hex_encode(bcrypt_pbkdf("password", "salt", 8, 64)) ==
        "e1367ec5151a33faac4cc1c144cd23fa15d5548493ecc99b9b5d9c0d3b27bec76227ea66088b849b20ab7aa478010246e74bba51723fef"
        "a9f9474d6508845e8d");
  CHECK(bcrypt_pbkdf("", "salt", 4, 32).empty());
  CHECK(bcrypt_pbkdf("password", "", 4, 32).empty());
  CHECK(bcrypt_pbkdf("password", "salt", 0, 32).empty());
  CHECK(bcrypt_pbkdf("password", "salt", kBcryptRoundsLimit + 1, 32).empty());
}

TEST_CASE("a key is read and signs") {
  const auto file = parse_key("leading text\n" + key_file(public_blob(), 7, 7, kSeed + kPoint), "");
  REQUIRE(file.ok());
  REQUIRE(file->key);
  CHECK(!file->encrypted);
  CHECK(file->public_blob == public_blob());
  CHECK(core::hex_encode(file->key->sign("ssh-ed25519", "")) ==
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe"
        "24655141438e7a100b");
  CHECK(file->key->sign("rsa-sha2-256", "x").empty());
  CHECK(file->key->sign("ssh-rsa", "x").empty());
}

TEST_CASE("damaged keys are refused, whatever the damage") {
  const auto kind = [](const std::string& text) {
    const auto file = parse_key(text, "");
    return file ? std::string("ok") : file.error().kind;
  };
  CHECK(kind("") == "ssh.key");
  CHECK(kind("no key at all") == "ssh.key");
  CHECK(kind("-----BEGIN OPENSSH PRIVATE KEY-----\n") == "ssh.key");
  CHECK(kind("-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----\n") == "ssh.key");
  CHECK(kind(key_file(public_blob(), 7, 8, kSeed + kPoint)) == "ssh.key");
  CHECK(kind(key_file(public_blob(), 7, 7, kSeed + kSeed)) == "ssh.key");
  CHECK(kind(key_file(public_blob(), 7, 7, kSeed)) == "ssh.key");
  CHECK(kind(key_file("another", 7, 7, kSeed + kPoint)) == "ssh.key");
  const std::string good = key_file(public_blob(), 7, 7, kSeed + kPoint);
  for (std::size_t cut = 40; cut + 36 < good.size(); cut += 4) {
    CHECK(kind(good.substr(0, cut) + "\n-----END OPENSSH PRIVATE KEY-----\n") == "ssh.key");
  }
  for (std::size_t at = 36; at + 40 < good.size(); ++at) {
    std::string flipped = good;
    flipped[at] = flipped[at] == 'A' ? 'B' : 'A';
    parse_key(flipped, "").ok();  // any answer, no crash
  }
}

TEST_CASE("public keys") {
  CHECK(parse_public_key("ssh-ed25519 " + core::base64_encode(public_blob()) + " me@here\nmore") == public_blob());
  CHECK(parse_public_key("ssh-rsa " + core::base64_encode(public_blob())).empty());
  CHECK(parse_public_key("ssh-ed25519").empty());
  CHECK(parse_public_key("").empty());
}

TEST_CASE("the agent's answers") {
  std::string answer(1, 12);
  put_u32(answer, 2);
  put_string(answer, "blob1");
  put_string(answer, "one\x1b[31m");
  put_string(answer, "blob2");
  put_string(answer, "two");
  const auto keys = parse_agent_keys(answer);
  REQUIRE(keys.ok());
  REQUIRE(keys->size() == 2);
  CHECK((*keys)[0].comment == "one");
  CHECK((*keys)[1].blob == "blob2");
  for (std::size_t cut = 0; cut < answer.size(); ++cut) CHECK(!parse_agent_keys(answer.substr(0, cut)).ok());
  CHECK(!parse_agent_keys(std::string("\x0c\xff\xff\xff\xff", 5)).ok());

  std::string inner;
  put_string(inner, "ssh-ed25519");
  put_string(inner, "signature");
  std::string signature(1, 14);
  put_string(signature, inner);
  CHECK(parse_agent_signature(signature).value() == "signature");
  for (std::size_t cut = 0; cut < signature.size(); ++cut) CHECK(!parse_agent_signature(signature.substr(0, cut)).ok());
  CHECK(parse_agent_signature("\x05").error().kind == "ssh.agent");
}

TEST_CASE("the order in which keys are offered") {
  const auto blob = [](const std::string& name) {
    std::string bytes;
    put_string(bytes, name);
    return bytes;
  };
  const auto loaded = [&](const std::string& name, bool wanted) {
    return LoadedFile{{"/" + name, wanted},
                      KeyFile{std::make_shared<const PrivateKey>(PKey(), blob(name)), blob(name), false}};
  };
  const auto names = [](const Identities& all) {
    std::string text;
    for (const Identity& one : all.offered) text += std::string(blob_type(one.blob)) + (one.key ? " " : "* ");
    return text;
  };
  const std::vector<LoadedFile> files = {
      loaded("default", false),
      loaded("both", false),
      loaded("named", true),
      {{"/locked", true}, KeyFile{nullptr, blob("locked"), true}},
      {{"/absent", false}, core::Error{.kind = "files.not_found", .message = "/absent: no such file"}},
      {{"/gone", true}, core::Error{.kind = "files.not_found", .message = "/gone: no such file"}}};
  const std::vector<AgentKey> agent = {{blob("other"), "o"}, {blob("both"), "b"}};
  const Identities all = order_identities(files, agent, false);
  CHECK(names(all) == "both* named other* default ");
  REQUIRE(all.skipped.size() == 2);
  CHECK(all.skipped[0] == "/locked: encrypted, and no passphrase was given");
  CHECK(all.skipped[1] == "/gone: no such file");
  CHECK(names(order_identities(files, agent, true)) == "both* named default ");
  CHECK(names(order_identities({}, agent, true)).empty());
}

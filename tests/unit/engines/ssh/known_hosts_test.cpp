#include "ssh/known_hosts.hpp"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <sys/stat.h>

#include <array>
#include <catch2/catch_test_macros.hpp>
#include <filesystem>
#include <fstream>

#include "core/base64.hpp"
#include "ssh/wire.hpp"

using namespace deployrun;
using namespace deployrun::ssh;

namespace {

std::string blob(const std::string& type, const std::string& body) {
  std::string bytes;
  put_string(bytes, type);
  put_string(bytes, body);
  return bytes;
}
const std::string kEd = blob("ssh-ed25519", std::string(32, 'a'));
const std::string kEdOther = blob("ssh-ed25519", std::string(32, 'b'));
const std::string kRsa = blob("ssh-rsa", std::string(256, 'r'));
const std::string kEcdsa = blob("ecdsa-sha2-nistp256", std::string(65, 'e'));

std::string key(const std::string& bytes) { return std::string(blob_type(bytes)) + " " + core::base64_encode(bytes); }
std::string line(const std::string& names, const std::string& bytes = kEd) { return names + " " + key(bytes) + "\n"; }

std::string hashed(const std::string& name) {
  const std::string salt(20, 's');
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned size = 0;
  HMAC(EVP_sha1(), salt.data(), static_cast<int>(salt.size()), reinterpret_cast<const unsigned char*>(name.data()),
       name.size(), digest.data(), &size);
  return "|1|" + core::base64_encode(salt) + "|" +
         core::base64_encode({reinterpret_cast<const char*>(digest.data()), size});
}

std::size_t found(const std::string& text, const std::string& host, unsigned port = 22) {
  return known_keys(text, host, port, "f").size();
}

HostVerdict verdict(const std::string& text, const std::string& offered, const std::string& host = "web",
                    unsigned port = 22) {
  return check_host(known_keys(text, host, port, "f"), offered).verdict;
}

}  // namespace

TEST_CASE("known_hosts: names") {
  CHECK(known_host_name("Web.Example", 22) == "web.example");
  CHECK(known_host_name("10.0.0.7", 2222) == "[10.0.0.7]:2222");
  CHECK(known_host_name("::1", 22) == "::1");
}

TEST_CASE("known_hosts: which lines match") {
  CHECK(found(line("web"), "web") == 1);
  CHECK(found(line("web"), "WEB") == 1);
  CHECK(found(line("WEB"), "web") == 1);
  CHECK(found(line("web"), "webb") == 0);
  CHECK(found(line("web,10.0.0.7"), "10.0.0.7") == 1);
  CHECK(found(line("db,web,10.0.0.7"), "web") == 1);
  CHECK(found(line("*.example"), "a.example") == 1);
  CHECK(found(line("*.example"), "example") == 0);
  CHECK(found(line("web?"), "web1") == 1);
  CHECK(found(line("web?"), "web") == 0);
  CHECK(found(line("web?"), "web12") == 0);
  CHECK(found(line("*"), "anything") == 1);
  CHECK(found(line("*a*a*a*b"), "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaac") == 0);
  CHECK(found(line("*.example,!db.example"), "web.example") == 1);
  CHECK(found(line("*.example,!db.example"), "db.example") == 0);
  CHECK(found(line("!db.example,*.example"), "db.example") == 0);
  CHECK(found(line("!db.example"), "web.example") == 0);
  CHECK(found(line("[web]:2222"), "web", 2222) == 1);
  CHECK(found(line("[web]:2222"), "web") == 0);
  CHECK(found(line("[web]:2222"), "web", 2223) == 0);
  CHECK(found(line("[*.example]:2222"), "a.example", 2222) == 1);
  CHECK(found(line(hashed("web")), "web") == 1);
  CHECK(found(line(hashed("web")), "Web") == 1);
  CHECK(found(line(hashed("web")), "db") == 0);
  CHECK(found(line(hashed("[web]:2222")), "web", 2222) == 1);
  CHECK(found(line(hashed("[web]:2222")), "web") == 0);
  CHECK(found("  \t" + line("web"), "web") == 1);
  CHECK(found(line("web") + line("web", kRsa) + line("db"), "web") == 2);
}

TEST_CASE("known_hosts: what is skipped") {
  CHECK(found("# web " + key(kEd) + "\n\n   \n", "web") == 0);
  CHECK(found("web " + key(kEd) + " a comment # more\n", "web") == 1);
  CHECK(found("web\t" + key(kEd), "web") == 1);
  CHECK(found("web " + key(kEd) + "\r\n", "web") == 1);
  CHECK(found("web ssh-ed25519\n", "web") == 0);
  CHECK(found("web ssh-ed25519 not*base64\n", "web") == 0);
  CHECK(found("web ssh-rsa " + core::base64_encode(kEd) + "\n", "web") == 0);
  CHECK(found("web 1024 35 12345678901234567890\n", "web") == 0);
  CHECK(found("@unknown " + line("web"), "web") == 0);
  CHECK(found("@revoked\n", "web") == 0);
  CHECK(found("|1|c2FsdA==|\n" + line("|1||x") + line("|2|c2FsdA==|c2FsdA==") + line("|1|c2FsdA=="), "web") == 0);
  CHECK(found(std::string(kKnownHostsLineLimit + 1, 'x') + "\n" + line("web"), "web") == 1);
  CHECK(found(std::string("web\0 ", 5) + key(kEd) + "\n", "web") == 0);
}

TEST_CASE("known_hosts: places are remembered") {
  const auto keys = known_keys("# first\n" + line("web") + line("db") + line("web", kRsa), "web", 22, "/etc/known");
  REQUIRE(keys.size() == 2);
  CHECK(keys[0].line == 2);
  CHECK(keys[1].line == 4);
  CHECK(keys[1].type == "ssh-rsa");
  CHECK(keys[1].file == "/etc/known");
}

TEST_CASE("known_hosts: verdicts") {
  CHECK(verdict(line("web"), kEd) == HostVerdict::match);
  CHECK(verdict("", kEd) == HostVerdict::unknown);
  CHECK(verdict(line("db"), kEd) == HostVerdict::unknown);
  CHECK(verdict(line("web", kEdOther), kEd) == HostVerdict::changed);
  CHECK(verdict(line("w*", kEdOther), kEd) == HostVerdict::changed);
  CHECK(verdict(line("web", kEdOther) + line("web"), kEd) == HostVerdict::match);
  CHECK(verdict(line("web", kRsa), kEd) == HostVerdict::changed_type);
  CHECK(verdict(line("web", kRsa) + line("web", kEdOther), kEd) == HostVerdict::changed);
  CHECK(verdict(line("web", kRsa) + line("web"), kEd) == HostVerdict::match);
  CHECK(verdict(line("web") + "@revoked " + line("web"), kEd) == HostVerdict::revoked);
  CHECK(verdict(line("web") + "@revoked " + line("*"), kEd) == HostVerdict::revoked);
  CHECK(verdict(line("web") + "@revoked " + line("*", kEdOther), kEd) == HostVerdict::match);
  CHECK(verdict("@revoked " + line("web", kEdOther), kEd) == HostVerdict::unknown);
  CHECK(verdict("@revoked " + line("db"), kEd) == HostVerdict::unknown);
}

TEST_CASE("known_hosts: certificate authorities vouch for nothing here") {
  const auto check = check_host(known_keys("@cert-authority " + line("*.example"), "web.example", 22, "f"), kEd);
  CHECK(check.verdict == HostVerdict::unknown);
  REQUIRE(check.authorities.size() == 1);
  CHECK(check.authorities[0].line == 1);
  CHECK(verdict("@cert-authority " + line("web"), kEd) == HostVerdict::unknown);
}

TEST_CASE("known_hosts: a name without its port") {
  CHECK(verdict(line("web"), kEd, "web", 2222) == HostVerdict::match);
  CHECK(verdict(line("web", kEdOther), kEd, "web", 2222) == HostVerdict::unknown);
  CHECK(verdict(line("web") + line("[web]:2222", kEdOther), kEd, "web", 2222) == HostVerdict::changed);
  CHECK(verdict(line("web", kEdOther) + line("[web]:2222"), kEd, "web", 2222) == HostVerdict::match);
  CHECK(verdict("@revoked " + line("web"), kEd, "web", 2222) == HostVerdict::revoked);
}

TEST_CASE("known_hosts: only known types are asked for") {
  const auto preference = [](const std::string& text) { return host_key_preference(known_keys(text, "web", 22, "f")); };
  CHECK(preference("").substr(0, 12) == "ssh-ed25519,");
  CHECK(preference(line("web", kEcdsa)) == "ecdsa-sha2-nistp256");
  CHECK(preference(line("web", kRsa)) == "rsa-sha2-512,rsa-sha2-256");
  CHECK(preference(line("web", kRsa) + line("web")) == "ssh-ed25519,rsa-sha2-512,rsa-sha2-256");
  CHECK(preference("@cert-authority " + line("web", kRsa)).substr(0, 12) == "ssh-ed25519,");
  // OpenSSH orders by the lines that name the port alone.
  CHECK(host_key_preference(known_keys(line("web", kRsa), "web", 2222, "f")).substr(0, 12) == "ssh-ed25519,");
  CHECK(knows_type(known_keys(line("web", kRsa), "web", 22, "f")));
  CHECK(!knows_type(known_keys(line("web", kRsa), "web", 2222, "f")));
  CHECK(preference("@revoked " + line("web", kRsa)).substr(0, 12) == "ssh-ed25519,");
  CHECK(preference("").find("ssh-rsa") == std::string::npos);
}

TEST_CASE("known_hosts: lines are added once, whole, for us alone") {
  std::string folder = (std::filesystem::temp_directory_path() / "known.XXXXXX").string();
  REQUIRE(::mkdtemp(folder.data()) != nullptr);
  const std::string file = folder + "/new/known_hosts";
  REQUIRE(append_known_host(file, "Web", 2222, kEd).ok());
  REQUIRE(append_known_host(file, "web", 2222, kEd).ok());
  std::ofstream(file, std::ios::app) << "db " << key(kRsa);  // no newline at its end
  REQUIRE(append_known_host(file, "web", 22, kEcdsa).ok());
  std::ifstream in(file);
  const std::string text{std::istreambuf_iterator<char>(in), {}};
  CHECK(text == line("[web]:2222") + line("db", kRsa) + line("web", kEcdsa));
  struct stat status {};
  REQUIRE(::stat(file.c_str(), &status) == 0);
  CHECK((status.st_mode & 0777U) == 0600);
  CHECK(read_known_keys({folder + "/absent", file}, "web", 22).value().size() == 1);
  CHECK(read_known_keys({folder}, "web", 22).error().kind == "ssh.config");
  std::filesystem::remove_all(folder);
}

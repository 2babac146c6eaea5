#include "ssh/hello.hpp"

#include "core/text.hpp"
#include "ssh/wire.hpp"

namespace deployrun::ssh {
namespace {

constexpr std::uint8_t kKexInit = 20;
constexpr std::uint32_t kLongestPacket = 40'000;  // libssh2's limit
constexpr std::size_t kTextLimit = 512;

std::vector<std::string> names(std::string_view list) {
  std::vector<std::string> all;
  for (const std::string_view name : core::split(list, ',')) {
    if (!name.empty()) all.push_back(core::clean(name.substr(0, 100)));
  }
  return all;
}

}  // namespace

First parse_methods(std::string_view packets, ServerHello& hello) {
  WireReader reader(packets);
  while (true) {
    const auto length = reader.u32();
    const auto padding = reader.byte();
    if (!length || !padding) return First::incomplete;
    if (*length > kLongestPacket || *length <= *padding + 1U) return First::broken;
    const auto body = reader.bytes(*length - 1U);
    if (!body) return First::incomplete;
    WireReader message(body->substr(0, *length - *padding - 1U));
    if (*message.byte() != kKexInit) continue;
    if (!message.bytes(16)) return First::broken;
    const auto key_exchanges = message.string();
    const auto host_keys = message.string();
    const auto ciphers_in = message.string();
    const auto ciphers = message.string();
    message.string();
    const auto macs = message.string();
    if (!macs) return First::broken;
    hello.key_exchanges = names(*key_exchanges);
    hello.host_keys = names(*host_keys);
    hello.ciphers = names(*ciphers);
    hello.ciphers_in = names(*ciphers_in);
    hello.macs = names(*macs);
    return First::methods;
  }
}

ServerHello parse_hello(std::string_view bytes) {
  ServerHello hello;
  while (hello.version.empty()) {
    const std::size_t end = bytes.find('\n');
    const std::string_view line = core::trim(bytes.substr(0, end));
    if (line.substr(0, 4) == "SSH-") {
      if (end == std::string_view::npos) return hello;
      hello.version = core::clean(line.substr(0, kTextLimit));
    } else if (hello.before.size() < kTextLimit && !line.empty()) {
      hello.before += (hello.before.empty() ? "" : " ") + core::clean(line.substr(0, kTextLimit));
    }
    if (end == std::string_view::npos) return hello;
    bytes.remove_prefix(end + 1);
  }
  parse_methods(bytes, hello);
  return hello;
}

}  // namespace deployrun::ssh

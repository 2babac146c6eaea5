#include "ssh/hello.hpp"

#include <optional>

#include "core/text.hpp"
#include "ssh/wire.hpp"

namespace deployrun::ssh {
namespace {

constexpr std::uint8_t kIgnore = 2;
constexpr std::uint8_t kDebug = 4;
constexpr std::uint8_t kKexInit = 20;
constexpr std::size_t kTextLimit = 512;

std::vector<std::string> names(std::string_view list) {
  std::vector<std::string> all;
  for (const std::string_view name : core::split(list, ',')) {
    if (!name.empty()) all.push_back(core::clean(name.substr(0, 100)));
  }
  return all;
}

/// What follows the message number of the first SSH_MSG_KEXINIT; others may come before it that say nothing.
std::optional<std::string_view> kexinit(std::string_view bytes) {
  WireReader packets(bytes);
  while (true) {
    const auto length = packets.u32();
    const auto padding = packets.byte();
    if (!length || !padding || *length <= *padding + 1U) return std::nullopt;
    const auto body = packets.bytes(*length - 1U);
    if (!body) return std::nullopt;
    WireReader message(body->substr(0, *length - *padding - 1U));
    const auto kind = message.byte();
    if (!kind || (*kind != kKexInit && *kind != kIgnore && *kind != kDebug)) return std::nullopt;
    if (*kind == kKexInit) return message.rest();
  }
}

}  // namespace

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
  const auto methods = kexinit(bytes);
  if (!methods) return hello;
  WireReader message(*methods);
  if (!message.bytes(16)) return hello;
  const auto key_exchanges = message.string();
  const auto host_keys = message.string();
  const auto ciphers_in = message.string();
  const auto ciphers = message.string();
  message.string();
  const auto macs = message.string();
  if (!macs) return hello;
  hello.key_exchanges = names(*key_exchanges);
  hello.host_keys = names(*host_keys);
  hello.ciphers = names(*ciphers);
  hello.ciphers_in = names(*ciphers_in);
  hello.macs = names(*macs);
  return hello;
}

}  // namespace deployrun::ssh

#include "docker/publish.hpp"

#include <charconv>
#include <optional>
#include <string_view>

namespace deployrun::docker {

namespace {

struct Range {
  unsigned first = 0, last = 0;
  unsigned count() const { return last - first + 1; }
};

std::optional<unsigned> parse_port(std::string_view text) {
  unsigned value = 0;
  const auto [end, wrong] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (wrong != std::errc{} || end != text.data() + text.size() || value == 0 || value > 65535) return {};
  return value;
}

std::optional<Range> parse_range(std::string_view text) {
  const std::size_t dash = text.find('-');
  const auto first = parse_port(text.substr(0, dash));
  const auto last = dash == text.npos ? first : parse_port(text.substr(dash + 1));
  if (!first || !last || *last < *first) return {};
  return Range{*first, *last};
}

/// Takes "/udp" off the end; false for another protocol than the three.
bool take_protocol(std::string_view& text, std::string& protocol) {
  const std::size_t slash = text.rfind('/');
  if (slash == text.npos) return true;
  protocol = text.substr(slash + 1);
  text = text.substr(0, slash);
  return protocol == "tcp" || protocol == "udp" || protocol == "sctp";
}

/// Without the brackets of an IPv6 one.
std::optional<std::string> parse_address(std::string_view text) {
  const bool brackets = text.size() > 2 && text.front() == '[' && text.back() == ']';
  if (brackets) text = text.substr(1, text.size() - 2);
  if (text.empty() || (text.find(':') != text.npos && !brackets) ||
      text.find_first_not_of("0123456789abcdefABCDEF.:") != text.npos) {
    return {};
  }
  return std::string(text);
}

/// The host's port for each of the container's: none, as many as those, or one range for a single one.
std::optional<std::string> host_port(std::optional<Range> host, Range container, unsigned index) {
  if (!host) return std::string();
  if (host->count() == container.count()) return std::to_string(host->first + index);
  if (container.count() != 1) return {};
  return std::to_string(host->first) + "-" + std::to_string(host->last);
}

}  // namespace

core::Result<std::vector<Publish>> parse_publish(const std::string& text) {
  const auto refuse = [&] { return core::usage("`" + text + "` is not [address:][port:]port[/protocol]"); };
  Publish publish;
  std::string_view rest = text;
  if (!take_protocol(rest, publish.protocol)) return refuse();
  std::size_t colon = rest.rfind(':');
  const auto container = parse_range(rest.substr(colon == rest.npos ? 0 : colon + 1));
  if (!container) return refuse();
  std::optional<Range> host;
  if (colon != rest.npos) {
    rest = rest.substr(0, colon);
    colon = rest.rfind(':');
    const bool has_address = colon != rest.npos;
    const std::string_view ports = rest.substr(has_address ? colon + 1 : 0);
    if (!(ports.empty() && has_address) && !(host = parse_range(ports))) return refuse();
    if (has_address) {
      const auto address = parse_address(rest.substr(0, colon));
      if (!address) return refuse();
      publish.ip = *address;
    }
  }
  std::vector<Publish> all;
  for (unsigned index = 0; index < container->count(); ++index) {
    const auto port = host_port(host, *container, index);
    if (!port) return refuse();
    publish.host_port = *port;
    publish.container_port = std::to_string(container->first + index);
    all.push_back(publish);
  }
  return all;
}

core::Result<std::vector<std::string>> parse_expose(const std::string& text) {
  std::string_view rest = text;
  std::string protocol = "tcp";
  const bool known = take_protocol(rest, protocol);
  const auto range = parse_range(rest);
  if (!known || !range) return core::usage("`" + text + "` is not port[-port][/protocol]");
  std::vector<std::string> all;
  for (unsigned port = range->first; port <= range->last; ++port) all.push_back(std::to_string(port) + "/" + protocol);
  return all;
}

std::string publish_text(const Publish& publish) {
  std::string text;
  if (!publish.ip.empty())
    text += (publish.ip.find(':') != publish.ip.npos ? "[" + publish.ip + "]" : publish.ip) + ":";
  if (!publish.ip.empty() || !publish.host_port.empty()) text += publish.host_port + ":";
  text += publish.container_port;
  if (publish.protocol != "tcp") text += "/" + publish.protocol;
  return text;
}

}  // namespace deployrun::docker

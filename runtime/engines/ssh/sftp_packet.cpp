#include "ssh/sftp_packet.hpp"

#include "ssh/wire.hpp"

namespace deployrun::ssh::sftp {
namespace {

constexpr std::uint32_t kHasSize = 1;
constexpr std::uint32_t kHasOwner = 2;
constexpr std::uint32_t kHasMode = 4;
constexpr std::uint32_t kHasTimes = 8;
constexpr std::uint32_t kHasExtended = 0x80000000U;

void put_u64(std::string& to, std::uint64_t value) {
  put_u32(to, static_cast<std::uint32_t>(value >> 32U));
  put_u32(to, static_cast<std::uint32_t>(value & 0xffffffffU));
}

std::optional<std::uint64_t> take_u64(WireReader& from) {
  const auto high = from.u32();
  const auto low = from.u32();
  if (!high || !low) return {};
  return (std::uint64_t{*high} << 32U) | *low;
}

void put_attributes(std::string& to, const Attributes& attributes) {
  put_u32(to, (attributes.size ? kHasSize : 0) | (attributes.owner ? kHasOwner : 0) | (attributes.mode ? kHasMode : 0) |
                  (attributes.modified ? kHasTimes : 0));
  if (attributes.size) put_u64(to, *attributes.size);
  if (attributes.owner) {
    put_u32(to, attributes.owner->user);
    put_u32(to, attributes.owner->group);
  }
  if (attributes.mode) put_u32(to, static_cast<std::uint32_t>(*attributes.mode));
  if (attributes.modified) {
    put_u32(to, *attributes.modified);  // accessed
    put_u32(to, *attributes.modified);
  }
}

std::optional<Attributes> take_attributes(WireReader& from) {
  const auto flags = from.u32();
  if (!flags) return {};
  Attributes attributes;
  if ((*flags & kHasSize) != 0) {
    attributes.size = take_u64(from);
    if (!attributes.size) return {};
  }
  if ((*flags & kHasOwner) != 0) {
    const auto user = from.u32();
    const auto group = from.u32();
    if (!user || !group) return {};
    attributes.owner = Owner{*user, *group};
  }
  if ((*flags & kHasMode) != 0) {
    const auto mode = from.u32();
    if (!mode) return {};
    attributes.mode = static_cast<mode_t>(*mode);
  }
  if ((*flags & kHasTimes) != 0) {
    from.u32();
    attributes.modified = from.u32();
    if (!attributes.modified) return {};
  }
  if ((*flags & kHasExtended) != 0) {
    const auto count = from.u32();
    for (std::uint32_t i = 0; count && i < *count; ++i) {
      if (!from.string() || !from.string()) return {};
    }
    if (!count) return {};
  }
  return attributes;
}

Request extended(std::string_view name) {
  Request request{Type::extended, {}};
  put_string(request.body, name);
  return request;
}

bool take_names(WireReader& from, std::vector<Name>& names) {
  const auto count = from.u32();
  if (!count) return false;
  for (std::uint32_t i = 0; i < *count; ++i) {
    const auto name = from.string();
    if (!name || !from.string()) return false;
    const auto attributes = take_attributes(from);
    if (!attributes) return false;
    names.push_back({std::string(*name), *attributes});
  }
  return true;
}

}  // namespace

Request open_file(std::string_view path, std::uint32_t flags, const Attributes& attributes) {
  Request request{Type::open, {}};
  put_string(request.body, path);
  put_u32(request.body, flags);
  put_attributes(request.body, attributes);
  return request;
}

Request close(std::string_view handle) { return on_handle(Type::close, handle); }

Request read(std::string_view handle, std::uint64_t offset, std::uint32_t count) {
  Request request = on_handle(Type::read, handle);
  put_u64(request.body, offset);
  put_u32(request.body, count);
  return request;
}

Request write(std::string_view handle, std::uint64_t offset, std::string_view bytes) {
  Request request{Type::write, {}};
  request.body.reserve(handle.size() + bytes.size() + 16);
  put_string(request.body, handle);
  put_u64(request.body, offset);
  put_string(request.body, bytes);
  return request;
}

Request on_path(Type type, std::string_view path) {
  Request request{type, {}};
  put_string(request.body, path);
  return request;
}

Request on_handle(Type type, std::string_view handle) { return on_path(type, handle); }

Request set(std::string_view path, const Attributes& attributes) {
  Request request = on_path(Type::setstat, path);
  put_attributes(request.body, attributes);
  return request;
}

Request set_handle(std::string_view handle, const Attributes& attributes) {
  Request request = on_handle(Type::fsetstat, handle);
  put_attributes(request.body, attributes);
  return request;
}

Request set_link(std::string_view path, const Attributes& attributes) {
  Request request = extended("lsetstat@openssh.com");
  put_string(request.body, path);
  put_attributes(request.body, attributes);
  return request;
}

Request make_folder(std::string_view path, mode_t mode) {
  Request request = on_path(Type::mkdir, path);
  put_attributes(request.body, {.mode = mode});
  return request;
}

Request rename(std::string_view from, std::string_view to) {
  Request request = on_path(Type::rename, from);
  put_string(request.body, to);
  return request;
}

Request rename_over(std::string_view from, std::string_view to) {
  Request request = extended("posix-rename@openssh.com");
  put_string(request.body, from);
  put_string(request.body, to);
  return request;
}

Request sync(std::string_view handle) {
  Request request = extended("fsync@openssh.com");
  put_string(request.body, handle);
  return request;
}

Request symlink(std::string_view target, std::string_view path) {
  Request request = on_path(Type::symlink, target);
  put_string(request.body, path);
  return request;
}

std::string packet(const Request& request, std::uint32_t id) {
  std::string out;
  out.reserve(request.body.size() + 9);
  put_u32(out, static_cast<std::uint32_t>(request.body.size() + 5));
  out += static_cast<char>(request.type);
  put_u32(out, id);
  out += request.body;
  return out;
}

std::string init_packet() {
  std::string out;
  put_u32(out, 5);
  out += static_cast<char>(Type::init);
  put_u32(out, 3);
  return out;
}

std::optional<Answer> parse_answer(std::string_view packet) {
  WireReader from(packet);
  const auto type = from.byte();
  const auto id = from.u32();
  if (!type || !id) return {};
  Answer answer{.type = static_cast<Type>(*type), .id = *id};
  switch (answer.type) {
    case Type::status: {
      const auto code = from.u32();
      if (!code) return {};
      answer.code = *code;
      answer.text = from.string().value_or(std::string_view{});
      return answer;
    }
    case Type::handle:
    case Type::data: {
      const auto text = from.string();
      if (!text) return {};
      answer.text = *text;
      return answer;
    }
    case Type::name:
      if (!take_names(from, answer.names)) return {};
      return answer;
    case Type::attributes: {
      const auto attributes = take_attributes(from);
      if (!attributes) return {};
      answer.attributes = *attributes;
      return answer;
    }
    default: return {};
  }
}

std::optional<Version> parse_version(std::string_view packet) {
  WireReader from(packet);
  const auto type = from.byte();
  const auto number = from.u32();
  if (!type || static_cast<Type>(*type) != Type::version || !number) return {};
  Version version{.number = *number, .extensions = {}};
  while (!from.empty()) {
    const auto name = from.string();
    const auto value = from.string();
    if (!name || !value) return {};
    version.extensions.emplace(*name);
  }
  return version;
}

std::optional<std::string_view> Packets::next() {
  if (taken_ == bytes_.size() || taken_ > (1U << 20U)) {
    bytes_.erase(0, taken_);
    taken_ = 0;
  }
  const std::string_view rest = std::string_view(bytes_).substr(taken_);
  if (broken_ || rest.size() < 4) return {};
  const std::size_t length = *WireReader(rest).u32();
  if (length == 0 || length > kPacketLimit) {
    broken_ = true;
    return {};
  }
  if (rest.size() < 4 + length) return {};
  taken_ += 4 + length;
  return rest.substr(4, length);
}

}  // namespace deployrun::ssh::sftp

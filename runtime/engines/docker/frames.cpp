#include "docker/frames.hpp"

#include <algorithm>

#include "core/text.hpp"

namespace deployrun::docker {

void Demultiplexer::feed(std::string_view bytes) {
  while (!bytes.empty()) {
    if (raw_) return take_(Source::out, bytes);
    if (left_ > 0) {
      const auto piece = bytes.substr(0, left_);
      left_ -= piece.size();
      bytes.remove_prefix(piece.size());
      take_(source_, piece);
      continue;
    }
    header_[have_++] = static_cast<unsigned char>(bytes.front());
    bytes.remove_prefix(1);
    const bool fits = header_[0] <= 2 && (have_ < 2 || header_[1] == 0) && (have_ < 3 || header_[2] == 0) &&
                      (have_ < 4 || header_[3] == 0);
    if (!fits && !begun_) {
      raw_ = true;
      const std::string held(reinterpret_cast<const char*>(header_.data()), have_);
      take_(Source::out, held);
      continue;
    }
    if (have_ < header_.size()) continue;
    begun_ = true;
    have_ = 0;
    source_ = header_[0] == 2 ? Source::err : Source::out;
    left_ = (std::size_t{header_[4]} << 24U) | (std::size_t{header_[5]} << 16U) | (std::size_t{header_[6]} << 8U) |
            header_[7];
  }
}

void Lines::feed(Source source, std::string_view bytes) {
  std::string& open = open_[source == Source::err ? 1 : 0];
  while (!bytes.empty()) {
    const std::size_t end = bytes.find('\n');
    open += bytes.substr(0, end);
    if (end == bytes.npos) {
      while (open.size() > kLongest) {
        take_(source, open.substr(0, kLongest));
        open.erase(0, kLongest);
      }
      return;
    }
    bytes.remove_prefix(end + 1);
    if (!open.empty() && open.back() == '\r') open.pop_back();
    take_(source, std::exchange(open, {}));
  }
}

void Lines::finish() {
  for (const Source source : {Source::out, Source::err}) {
    std::string& open = open_[source == Source::err ? 1 : 0];
    if (!open.empty()) take_(source, std::exchange(open, {}));
  }
}

core::Result<core::Unit> JsonLines::feed(std::string_view bytes) {
  while (!bytes.empty()) {
    const std::size_t end = bytes.find('\n');
    if (open_.size() + std::min(end, bytes.size()) > kLongest) {
      return core::Error{.kind = "docker.protocol", .message = "a line of the stream is longer than 1 MiB"};
    }
    open_ += bytes.substr(0, end);
    if (end == bytes.npos) break;
    bytes.remove_prefix(end + 1);
    if (auto taken = line(std::exchange(open_, {})); !taken) return taken;
  }
  return core::Unit{};
}

core::Result<core::Unit> JsonLines::finish() { return line(std::exchange(open_, {})); }

core::Result<core::Unit> JsonLines::line(std::string_view text) {
  text = core::trim(text);
  if (text.empty()) return core::Unit{};
  auto value = json::parse(text);
  if (!value) return std::move(value).error();
  take_(std::move(*value));
  return core::Unit{};
}

}  // namespace deployrun::docker

// What an image archive says of itself, read while it passes by. Pure.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "docker/tar.hpp"
#include "json/json.hpp"

namespace deployrun::docker {

class ImageArchive {
 public:
  ImageArchive();

  /// Kind `docker.protocol` for what is no archive. A compressed one is let through unread.
  core::Result<core::Unit> feed(std::string_view bytes);
  bool compressed() const noexcept { return compressed_; }
  /// Whether nothing is missing at its end, as far as that can be seen.
  bool complete() const noexcept { return begun_ && (compressed_ || reader_.complete()); }

  struct Image {
    std::vector<std::string> names;
    json::Json config;  ///< null where the archive is laid out in another way
  };
  /// In the archive's order; empty where there is no list that is known.
  std::vector<Image> images() const;

 private:
  static constexpr std::uint64_t kLargestText = 1U << 20U;
  static constexpr std::uint64_t kMostText = 16U << 20U;

  std::map<std::string, std::string> texts_;  // small files by name: the list, the settings of the images
  std::uint64_t kept_ = 0;
  std::string* open_ = nullptr;
  std::string first_;  // bytes, until it shows what they are
  bool begun_ = false;
  bool compressed_ = false;
  TarReader reader_;
};

/// Whether an engine's answer to `inspect image` is of the image with these settings.
bool is_image(const json::Json& inspected, const json::Json& config);

}  // namespace deployrun::docker

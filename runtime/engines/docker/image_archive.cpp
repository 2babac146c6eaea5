#include "docker/image_archive.hpp"

#include "docker/shape.hpp"

namespace deployrun::docker {

namespace {

using json::Json;

constexpr std::size_t kMagic = 6;

bool is_compressed(std::string_view first) {
  using namespace std::string_view_literals;
  for (const auto magic : {"\x1f\x8b"sv, "BZh"sv,
                           "\xfd"
                           "7zXZ\0"sv,
                           "\x28\xb5\x2f\xfd"sv}) {
    if (first.substr(0, magic.size()) == magic) return true;
  }
  return false;
}

/// The list, and what the list may name: "<digest>.json" (docker save before 25), "blobs/sha256/<digest>".
bool is_text(const std::string& name) {
  const auto ends_with = [&](std::string_view end) {
    return name.size() >= end.size() && name.compare(name.size() - end.size(), end.size(), end) == 0;
  };
  return ends_with(".json") || name.rfind("blobs/", 0) == 0;
}

/// Missing, null and empty are one.
Json plain(const Json& object, const char* key) {
  const auto found = object.is_object() ? object.find(key) : object.end();
  if (!object.is_object() || found == object.end() || found->empty()) return {};
  return *found == "" ? Json() : *found;
}

}  // namespace

ImageArchive::ImageArchive()
    : reader_({.member =
                   [this](const TarMember& member, std::string_view) {
                     open_ = nullptr;
                     const bool kept = member.type == '0' && is_text(member.name) && member.size <= kLargestText &&
                                       kept_ + member.size <= kMostText;
                     if (!kept) return;
                     kept_ += member.size;
                     open_ = &texts_[member.name];
                     open_->clear();
                   },
               .data =
                   [this](std::string_view bytes) {
                     if (open_ != nullptr) *open_ += bytes;
                   }}) {}

core::Result<core::Unit> ImageArchive::feed(std::string_view bytes) {
  if (begun_) return compressed_ ? core::Result<core::Unit>(core::Unit{}) : reader_.feed(bytes);
  first_ += bytes;
  if (first_.size() < kMagic) return core::Unit{};
  begun_ = true;
  compressed_ = is_compressed(first_);
  return compressed_ ? core::Result<core::Unit>(core::Unit{}) : reader_.feed(std::exchange(first_, {}));
}

std::vector<ImageArchive::Image> ImageArchive::images() const {
  std::vector<Image> all;
  const auto found = texts_.find("manifest.json");
  const auto list = json::parse(found == texts_.end() ? std::string() : found->second);
  if (!list || !list->is_array()) return all;
  for (const Json& entry : *list) {
    Image image;
    if (const auto tags = entry.is_object() ? entry.find("RepoTags") : entry.end();
        entry.is_object() && tags != entry.end() && tags->is_array()) {
      for (const Json& tag : *tags) {
        if (tag.is_string()) image.names.push_back(tag.get<std::string>());
      }
    }
    if (const auto text = texts_.find(text_at(entry, "Config")); text != texts_.end()) {
      if (auto config = json::parse(text->second); config && config->is_object()) image.config = std::move(*config);
    }
    all.push_back(std::move(image));
  }
  return all;
}

bool is_image(const Json& inspected, const Json& config) {
  if (plain(plain(inspected, "RootFS"), "Layers") != plain(plain(config, "rootfs"), "diff_ids")) return false;
  const Json have = plain(inspected, "Config"), wanted = plain(config, "config");
  for (const char* key : {"Cmd", "Entrypoint", "Env", "Labels", "User", "WorkingDir"}) {
    if (plain(have, key) != plain(wanted, key)) return false;
  }
  return true;
}

}  // namespace deployrun::docker

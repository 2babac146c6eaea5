#include <utility>

#include "backup/store.hpp"
#include "core/file_pieces.hpp"
#include "core/files.hpp"

namespace deployrun::backup {

namespace {

constexpr std::size_t kPiece = 1U << 20U;

core::Result<core::Unit> copy_file(const std::string& from, const std::string& to, const Stop& stop) {
  auto reader = core::FileReader::open(from);
  if (!reader) return std::move(reader).error();
  auto file = core::NewFile::create(to);
  if (!file) return std::move(file).error();
  for (;;) {
    if (stop) return core::cancelled("copy of " + from + ": cancelled");
    auto piece = (*reader)->read(kPiece);
    if (!piece) return std::move(piece).error();
    if (piece->empty()) break;
    if (auto written = (*file)->write(*piece); !written) return written;
  }
  return (*file)->commit(0600);
}

class Folder final : public Store {
 public:
  Folder(std::string plan, std::string folder) : plan_(std::move(plan)), folder_(std::move(folder)) {}

  std::string title() const override { return "folder " + folder_; }

  core::Result<std::vector<Stored>> list(const Stop&) override {
    std::vector<Stored> found;
    auto entries = core::list_directory_now(folder_);
    if (!entries) {
      if (entries.error().is("files.not_found")) return found;
      return std::move(entries).error();
    }
    for (const auto& entry : *entries) {
      const auto name = parse_name(plan_, entry.name);
      if (!name || entry.type != core::FileType::file) continue;
      auto stat = core::stat_file_now(path_of(*name));
      if (!stat) return std::move(stat).error();
      if (*stat) found.push_back({.name = *name, .bytes = static_cast<std::int64_t>((*stat)->size)});
    }
    return found;
  }

  core::Result<core::Unit> put(const std::string& from, const Stored& what, const Stop& stop) override {
    if (auto made = core::make_directories_now(folder_, 0700); !made) return std::move(made).error();
    return copy_file(from, path_of(what.name), stop);
  }

  core::Result<core::Unit> get(const Name& what, const std::string& to, const Stop& stop) override {
    return copy_file(path_of(what), to, stop);
  }

  core::Result<core::Unit> remove(const Name& what, const Stop&) override {
    auto removed = core::remove_file_now(path_of(what));
    if (!removed) return std::move(removed).error();
    return core::Unit{};
  }

  core::Result<core::Unit> tidy(const Stop&) override {
    auto entries = core::list_directory_now(folder_);
    if (!entries) return core::Unit{};
    for (const auto& entry : *entries) {
      // As NewFile calls what is not complete: the name with something behind it.
      const std::size_t end = entry.name.find(".zst.");
      if (end == std::string::npos || !parse_name(plan_, entry.name.substr(0, end + 4))) continue;
      if (auto removed = core::remove_file_now(folder_ + "/" + entry.name); !removed) return std::move(removed).error();
    }
    return core::Unit{};
  }

 private:
  std::string path_of(const Name& name) const { return folder_ + "/" + file_of(plan_, name); }

  std::string plan_;
  std::string folder_;
};

}  // namespace

std::unique_ptr<Store> open_folder(std::string plan, std::string folder) {
  return std::make_unique<Folder>(std::move(plan), std::move(folder));
}

}  // namespace deployrun::backup

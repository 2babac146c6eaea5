// Streams of the engine, cut anywhere: frames of output, lines of progress, archives of images.
#include "docker/frames.hpp"
#include "docker/image_archive.hpp"
#include "fuzz.hpp"

namespace deployrun::fuzz {
namespace {

struct Taken {
  std::string out, err;
  std::vector<std::string> lines;
  bool incomplete = false;
};

Taken take(const std::vector<std::string_view>& all) {
  Taken taken;
  docker::Lines lines([&](docker::Source, std::string line) { taken.lines.push_back(std::move(line)); });
  docker::Demultiplexer frames([&](docker::Source source, std::string_view bytes) {
    (source == docker::Source::err ? taken.err : taken.out) += bytes;
    lines.feed(source, bytes);
  });
  for (const std::string_view piece : all) frames.feed(piece);
  lines.finish();
  taken.incomplete = frames.incomplete();
  return taken;
}

std::pair<std::size_t, bool> values(const std::vector<std::string_view>& all) {
  std::size_t count = 0;
  docker::JsonLines lines([&](const json::Json&) { ++count; });
  for (const std::string_view piece : all) {
    if (!lines.feed(piece)) return {count, false};
  }
  const bool whole = lines.finish().ok();
  return {count, whole};
}

std::vector<std::string> images(const std::vector<std::string_view>& all) {
  docker::ImageArchive archive;
  std::vector<std::string> told;
  for (const std::string_view piece : all) {
    if (!archive.feed(piece)) return {"refused"};
  }
  for (const auto& image : archive.images()) {
    told.insert(told.end(), image.names.begin(), image.names.end());
    told.push_back(image.config.is_null() ? "" : "known");
  }
  told.push_back(archive.complete() ? "complete" : "cut");
  return told;
}

}  // namespace

void try_input(std::string_view bytes) {
  const Taken whole = take({bytes});
  const Taken parts = take(pieces(bytes));
  check(whole.out == parts.out && whole.err == parts.err && whole.incomplete == parts.incomplete);
  check(whole.lines == parts.lines);
  check(images({bytes}) == images(pieces(bytes)));
  check(values({bytes}) == values(pieces(bytes)));
}

}  // namespace deployrun::fuzz

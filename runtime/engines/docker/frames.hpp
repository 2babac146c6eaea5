// The engine's stream formats, taken apart as they arrive, wherever the pieces are cut.
#pragma once

#include <array>
#include <functional>
#include <string>
#include <string_view>

#include "core/result.hpp"
#include "json/json.hpp"

namespace deployrun::docker {

enum class Source { out, err };

/// Output of a container without a terminal: frames of 8 header bytes (stream, 3 zeros, length big-endian) and payload
/// (Engine API v1.41, "Attach to a container", Stream format). What does not begin like a frame comes from a container
/// with a terminal and is passed on as it is.
class Demultiplexer {
 public:
  using Take = std::function<void(Source, std::string_view)>;
  explicit Demultiplexer(Take take) : take_(std::move(take)) {}
  void feed(std::string_view bytes);
  /// In the middle of a frame: the stream was cut.
  bool incomplete() const noexcept { return !raw_ && (have_ != 0 || left_ != 0); }

 private:
  Take take_;
  std::array<unsigned char, 8> header_{};
  std::size_t have_ = 0;
  std::size_t left_ = 0;
  Source source_ = Source::out;
  bool raw_ = false;
  bool begun_ = false;
};

/// Joins pieces to lines, per source; a line longer than 64 KiB comes in parts. Without the line's end.
class Lines {
 public:
  using Take = std::function<void(Source, std::string)>;
  explicit Lines(Take take) : take_(std::move(take)) {}
  void feed(Source source, std::string_view bytes);
  void finish();

 private:
  static constexpr std::size_t kLongest = 64U << 10U;
  Take take_;
  std::array<std::string, 2> open_;
};

/// One JSON value per line (progress streams, events).
class JsonLines {
 public:
  using Take = std::function<void(json::Json)>;
  explicit JsonLines(Take take) : take_(std::move(take)) {}
  /// An error for a line that is not JSON or longer than 1 MiB; nothing is taken after that.
  core::Result<core::Unit> feed(std::string_view bytes);
  core::Result<core::Unit> finish();

 private:
  core::Result<core::Unit> line(std::string_view text);
  static constexpr std::size_t kLongest = 1U << 20U;
  Take take_;
  std::string open_;
};

}  // namespace deployrun::docker

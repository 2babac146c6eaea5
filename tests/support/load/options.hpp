// What a load run is asked to do, read from the command line.

#pragma once

#include <chrono>
#include <cstddef>
#include <optional>
#include <string>
#include <vector>

namespace lab_load {

using Milliseconds = std::chrono::milliseconds;

struct Options {
  std::vector<std::string> urls;         // without path, used in turn
  std::vector<std::string> headers;      // sent with every request, `Name: value`
  double rate = 200;                     // requests per second, uploads and slow ones not counted
  std::optional<Milliseconds> duration;  // without: until SIGTERM
  Milliseconds uploads_every{0};         // 0: none
  std::size_t upload_bytes = 20 * 1024 * 1024;
  long upload_speed = 8 * 1024 * 1024;  // bytes per second and upload, so that uploads last; 0: unlimited
  Milliseconds slow_every{0};           // 0: none
  Milliseconds slow{10'000};            // how long a slow request is asked to take
  Milliseconds timeout{30'000};         // of one quick request; slow ones and uploads get theirs on top
  double keepalive_share = 0.5;         // of the quick requests; the rest open a connection each
  std::string path = "/";               // of the quick requests
  bool all_bodies = false;              // records keep the answers of good requests too
  std::string record;                   // file for one line per request; empty: none
};

/// Reads the command line; on a mistake fills `error` and returns nothing.
std::optional<Options> parse_options(int argc, char** argv, std::string& error);

/// What the program prints for --help.
extern const char* const kUsage;

}  // namespace lab_load

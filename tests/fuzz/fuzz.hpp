// What the fuzzers share. Each defines `try_input`: it must neither crash nor hang nor break what it checks, whatever
// the bytes are. libFuzzer limits time and memory from outside (tests/fuzz/run).
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>
#include <vector>

namespace deployrun::fuzz {

void try_input(std::string_view bytes);

/// A property of the code under test; a violation is a finding like a crash.
inline void check(bool holds) {
  if (!holds) std::abort();
}

/// The same bytes cut into pieces, whose sizes follow from the first byte: parsers of streams must not care.
inline std::vector<std::string_view> pieces(std::string_view bytes) {
  std::vector<std::string_view> all;
  if (bytes.empty()) return all;
  std::size_t size = static_cast<unsigned char>(bytes.front()) % 61 + 1;
  for (std::size_t at = 0; at < bytes.size(); at += all.back().size()) {
    all.push_back(bytes.substr(at, size));
    size = (size * 7 + 3) % 61 + 1;
  }
  return all;
}

}  // namespace deployrun::fuzz

extern "C" __attribute__((used)) inline int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  deployrun::fuzz::try_input({reinterpret_cast<const char*>(data), size});
  return 0;
}

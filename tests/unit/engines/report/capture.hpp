// An Output into memory, and what came out of it.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <string>

#include "report/output.hpp"

namespace deployrun::test {

class Capture {
 public:
  explicit Capture(core::Loop& loop) : fd_(::memfd_create("capture", MFD_CLOEXEC)), output(loop, fd_) {}
  ~Capture() { ::close(fd_); }
  Capture(const Capture&) = delete;
  Capture& operator=(const Capture&) = delete;

  std::string text() {
    output.flush(core::Milliseconds(0));
    std::string all(static_cast<std::size_t>(::lseek(fd_, 0, SEEK_END)), '\0');
    all.resize(static_cast<std::size_t>(::pread(fd_, all.data(), all.size(), 0)));
    return all;
  }

 private:
  int fd_;

 public:
  report::Output output;
};

}  // namespace deployrun::test

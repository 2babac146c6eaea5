// The archives that an engine gives and takes. Uncompressed only: unpacking a compressed one, some engines run programs
// of the container (GHSA-x86f-5xw2-fm2r).
#pragma once

#include <utility>

#include "core/tar.hpp"

namespace deployrun::docker {

using core::tar_end;
using core::tar_member;
using core::TarMember;

/// Fails with `docker.protocol`.
class TarReader : public core::TarReader {
 public:
  explicit TarReader(Take take) : core::TarReader(std::move(take), "docker.protocol") {}
};

}  // namespace deployrun::docker

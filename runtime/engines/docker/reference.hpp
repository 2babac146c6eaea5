// Names of images: [registry/]repository[:tag][@digest].
#pragma once

#include <string>

#include "core/result.hpp"

namespace deployrun::docker {

struct Reference {
  std::string name;    ///< with the registry, without tag and digest
  std::string tag;     ///< "latest" where neither tag nor digest was given; may be empty with a digest
  std::string digest;  ///< "sha256:…" or empty
  /// "registry:5000", or empty where the name begins with none (the engine then asks Docker Hub).
  std::string registry() const;
};

/// Kind `usage`.
core::Result<Reference> parse_reference(const std::string& text);

/// The reference, or an image's ID, as part of a path. Throws Failure (`usage`).
std::string image_part(const std::string& text);

}  // namespace deployrun::docker

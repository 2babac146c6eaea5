#include "docker/reference.hpp"

#include <algorithm>

#include "core/text.hpp"
#include "http/expect.hpp"

namespace deployrun::docker {

std::string Reference::registry() const {
  const std::size_t slash = name.find('/');
  if (slash == name.npos) return {};
  const std::string first = name.substr(0, slash);
  // What distinguishes a host from a part of a repository's name (distribution's reference grammar).
  return first == "localhost" || first.find_first_of(".:[") != first.npos ? first : std::string();
}

core::Result<Reference> parse_reference(const std::string& text) {
  const auto refuse = [&] {
    return core::usage("`" + http::excerpt(text, 80) + "` is not an image: registry/name:tag or name@sha256:…");
  };
  Reference reference{.name = text, .tag = {}, .digest = {}};
  if (const std::size_t at = reference.name.find('@'); at != text.npos) {
    reference.digest = reference.name.substr(at + 1);
    reference.name.erase(at);
    const auto hex = [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); };
    if (reference.digest.rfind("sha256:", 0) != 0 || reference.digest.size() != 71 ||
        !std::all_of(reference.digest.begin() + 7, reference.digest.end(), hex)) {
      return refuse();
    }
  }
  const std::size_t colon = reference.name.rfind(':');
  const std::size_t slash = reference.name.rfind('/');
  if (colon != text.npos && (slash == text.npos || colon > slash)) {
    reference.tag = reference.name.substr(colon + 1);
    reference.name.erase(colon);
    if (reference.tag.empty() || reference.tag.size() > 128) return refuse();
  } else if (reference.digest.empty()) {
    reference.tag = "latest";
  }
  const auto word = [](unsigned char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '.' ||
           c == '-';
  };
  if (!std::all_of(reference.tag.begin(), reference.tag.end(), word)) return refuse();
  for (const std::string_view part : core::split(reference.name, '/')) {
    const bool host = part.data() == reference.name.data();
    if (part.empty() || part.front() == '.' || part.front() == '-') return refuse();
    for (const char c : part) {
      if (!word(static_cast<unsigned char>(c)) && !(host && (c == ':' || c == '[' || c == ']'))) return refuse();
    }
  }
  return reference;
}

std::string image_part(const std::string& text) {
  // An ID ("sha256:…" or its beginning) reads as a name too, but for the colon's side.
  if (text.rfind("sha256:", 0) != 0) {
    if (auto reference = parse_reference(text); !reference) throw core::Failure(reference.error());
  }
  return core::percent_encode(text, "/:@");
}

}  // namespace deployrun::docker

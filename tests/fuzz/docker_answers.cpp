// The engine's JSON answers, a recipe's container table and image names.
#include "core/error.hpp"
#include "docker/reference.hpp"
#include "docker/shape.hpp"
#include "docker/spec.hpp"
#include "fuzz.hpp"

namespace deployrun::fuzz {

void try_input(std::string_view bytes) {
  const std::string text(bytes);
  if (const auto reference = docker::parse_reference(text)) (void)reference->registry();
  (void)docker::parse_publish(text);
  (void)docker::parse_bytes(text);
  const auto value = json::parse(bytes, {.bytes = 1U << 20U, .depth = 64, .nodes = 20'000});
  if (!value) return;
  for (const auto shape :
       {docker::image_shape, docker::image_list_shape, docker::container_shape, docker::container_list_shape,
        docker::exec_shape, docker::network_shape, docker::volume_shape}) {
    (void)json::dump(shape(*value));
  }
  if (const auto spec = docker::parse_spec(*value)) {
    (void)json::dump(docker::create_body(*spec));
    (void)docker::run_argv(*spec);
  }
}

}  // namespace deployrun::fuzz

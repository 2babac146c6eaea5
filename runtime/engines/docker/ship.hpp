// An image from one engine to another, without a registry in between: streamed, and only the layers that the other one
// lacks.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "docker/images.hpp"

namespace deployrun::docker {

struct Shipped {
  std::string id;
  int layers = 0;
  int sent = 0;             ///< layers that had to travel
  std::uint64_t bytes = 0;  ///< of the archive that went over
  bool changed = false;     ///< false: it was there, under that name
};

/// How many of the first layers of `wanted` each of `there` shares with it: the most.
std::size_t shared_layers(const std::vector<std::string>& wanted, const std::vector<std::vector<std::string>>& there);

/// Makes `image` of engine `from` known to engine `to` under the same name. An engine that cannot do without the layers
/// that it has (the containerd image store) is sent all of them. What arrived is compared: its layers by what they
/// hold, its settings. Fails with `docker.not_found` where `from` has no such image, `docker.ship` where what arrived
/// is not what was sent. `on_progress` is called from inside the operation: layers are those that travel.
Op<Shipped> ship(ClientPtr from, ClientPtr to, const std::string& image,
                 std::function<void(const Progress&)> on_progress = {});

}  // namespace deployrun::docker

// Networks and volumes.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "docker/client.hpp"

namespace deployrun::docker {

struct NetworkOptions {
  std::string driver = "bridge";
  bool internal = false;
  std::map<std::string, std::string> labels;
};

/// The new network's id; `docker.conflict` where one of that name exists.
Op<std::string> create_network(ClientPtr client, const std::string& name, const NetworkOptions& options = {});
/// { id, name, driver, internal, labels{}, containers[{ id, name }] }
Op<Json> inspect_network(ClientPtr client, const std::string& name);
/// As inspect, containers left out by the engine.
Op<Json> list_networks(ClientPtr client, const std::vector<std::string>& labels = {}, const std::string& name = {});
Op<core::Unit> remove_network(ClientPtr client, const std::string& name);
Op<core::Unit> connect_network(ClientPtr client, const std::string& network, const std::string& container,
                               const std::vector<std::string>& aliases = {});
Op<core::Unit> disconnect_network(ClientPtr client, const std::string& network, const std::string& container,
                                  bool force = false);

struct VolumeOptions {
  std::string driver = "local";
  std::map<std::string, std::string> labels;
};

/// { name, driver, mountpoint, labels{} }; one that exists is given as it is.
Op<Json> create_volume(ClientPtr client, const std::string& name, const VolumeOptions& options = {});
Op<Json> inspect_volume(ClientPtr client, const std::string& name);
Op<Json> list_volumes(ClientPtr client, const std::vector<std::string>& labels = {});
Op<core::Unit> remove_volume(ClientPtr client, const std::string& name, bool force = false);

}  // namespace deployrun::docker

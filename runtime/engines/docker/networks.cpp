#include "docker/networks.hpp"

#include "docker/shape.hpp"

namespace deployrun::docker {

Op<std::string> create_network(ClientPtr client, const std::string& name, const NetworkOptions& options) {
  Ask ask{.what = "create network " + name_part(name), .method = "POST", .path = "/networks/create"};
  ask.body = Json{{"Name", name},
                  {"Driver", options.driver},
                  {"Internal", options.internal},
                  {"Labels", options.labels},
                  {"CheckDuplicate", true}};
  return chain<std::string>([client, ask](Chain<std::string>& steps) {
    steps.then<Json>(ask_json(client, ask), [&steps](const Json& made) { steps.finish(text_at(made, "Id")); });
  });
}

Op<Json> inspect_network(ClientPtr client, const std::string& name) {
  return reshaped(
      ask_json(std::move(client), {.what = "inspect network " + name, .path = "/networks/" + name_part(name)}),
      network_shape);
}

Op<Json> list_networks(ClientPtr client, const std::vector<std::string>& labels, const std::string& name) {
  Ask ask{.what = "list networks", .path = "/networks"};
  // The engine's filter finds parts of names.
  std::vector<std::string> names;
  if (!name.empty()) names.push_back("^" + name_part(name) + "$");
  ask.query = {{"filters", filters({{"label", labels}, {"name", names}})}};
  return reshaped(ask_json(std::move(client), std::move(ask)), each(network_shape));
}

Op<core::Unit> remove_network(ClientPtr client, const std::string& name) {
  return ask_unit(std::move(client),
                  {.what = "remove network " + name, .method = "DELETE", .path = "/networks/" + name_part(name)});
}

Op<core::Unit> connect_network(ClientPtr client, const std::string& network, const std::string& container,
                               const std::vector<std::string>& aliases) {
  Ask ask{.what = "connect " + name_part(container) + " to network " + network,
          .method = "POST",
          .path = "/networks/" + name_part(network) + "/connect"};
  ask.body = Json{{"Container", container}, {"EndpointConfig", {{"Aliases", aliases}}}};
  return ask_unit(std::move(client), std::move(ask));
}

Op<core::Unit> disconnect_network(ClientPtr client, const std::string& network, const std::string& container,
                                  bool force) {
  Ask ask{.what = "disconnect " + name_part(container) + " from network " + network,
          .method = "POST",
          .path = "/networks/" + name_part(network) + "/disconnect"};
  ask.body = Json{{"Container", container}, {"Force", force}};
  return ask_unit(std::move(client), std::move(ask));
}

Op<Json> create_volume(ClientPtr client, const std::string& name, const VolumeOptions& options) {
  Ask ask{.what = "create volume " + name_part(name), .method = "POST", .path = "/volumes/create"};
  ask.body = Json{{"Name", name}, {"Driver", options.driver}, {"Labels", options.labels}};
  return reshaped(ask_json(std::move(client), std::move(ask)), volume_shape);
}

Op<Json> inspect_volume(ClientPtr client, const std::string& name) {
  return reshaped(
      ask_json(std::move(client), {.what = "inspect volume " + name, .path = "/volumes/" + name_part(name)}),
      volume_shape);
}

Op<Json> list_volumes(ClientPtr client, const std::vector<std::string>& labels) {
  Ask ask{.what = "list volumes", .path = "/volumes"};
  ask.query = {{"filters", filters({{"label", labels}})}};
  return reshaped(ask_json(std::move(client), std::move(ask)), [](const Json& raw) {
    const auto found = raw.find("Volumes");
    return each(volume_shape)(found != raw.end() ? *found : Json::array());
  });
}

Op<core::Unit> remove_volume(ClientPtr client, const std::string& name, bool force) {
  Ask ask{.what = "remove volume " + name, .method = "DELETE", .path = "/volumes/" + name_part(name)};
  if (force) ask.query = {{"force", "1"}};
  return ask_unit(std::move(client), std::move(ask));
}

}  // namespace deployrun::docker

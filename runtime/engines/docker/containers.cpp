#include "docker/containers.hpp"

#include "docker/networks.hpp"
#include "docker/podman.hpp"
#include "docker/reference.hpp"
#include "docker/shape.hpp"

namespace deployrun::docker {

namespace {

Ask about(const char* verb, const std::string& name, const char* method, const std::string& action) {
  return {.what = std::string(verb) + " " + name, .method = method, .path = "/containers/" + name_part(name) + action};
}

void add_grace(Ask& ask, std::optional<std::chrono::seconds> grace) {
  if (grace) ask.query.emplace_back("t", std::to_string(grace->count()));
}

}  // namespace

namespace {

Created created_shape(const Json& made) {
  Created created{.id = text_at(made, "Id"), .warnings = {}};
  if (const auto warnings = made.find("Warnings"); warnings != made.end() && warnings->is_array()) {
    for (const Json& one : *warnings) {
      if (one.is_string()) created.warnings.push_back(one.get<std::string>());
    }
  }
  return created;
}

using Endpoints = std::vector<NetworkEndpoint>;

/// Joins the further networks one after the other; where one fails, the container goes again.
void join_networks(Chain<Created>& steps, const ClientPtr& client, Created created, const Endpoints& left) {
  if (left.empty()) return steps.finish(std::move(created));
  const NetworkEndpoint& next = left.front();
  Ask ask{.what = "connect to network " + next.network,
          .method = "POST",
          .path = "/networks/" + name_part(next.network) + "/connect",
          .body = connect_body(created.id, next)};
  if (next.gateway_priority) ask.least_api = 48;
  // 20.10 takes a network that it does not know and fails when the container is started.
  auto join = chain<core::Unit>([client, ask, network = next.network](Chain<core::Unit>& both) {
    both.then<Json>(inspect_network(client, network), [&both, client, ask](const Json&) {
      both.then<core::Unit>(ask_unit(client, ask), [&both](core::Unit) { both.finish(core::Unit{}); });
    });
  });
  steps.any<core::Unit>(std::move(join), [&steps, client, created, left](core::Result<core::Unit> joined) {
    if (joined) return join_networks(steps, client, created, Endpoints(left.begin() + 1, left.end()));
    auto gone = remove_container(client, created.id, true, true);
    steps.any<core::Unit>(std::move(gone),
                          [&steps, error = joined.error()](const core::Result<core::Unit>&) { steps.finish(error); });
  });
}

}  // namespace

Op<Created> create_container(ClientPtr client, const ContainerSpec& spec) {
  Ask ask{.what = "create container " + (spec.name.empty() ? spec.image : spec.name),
          .method = "POST",
          .path = "/containers/create"};
  if (!spec.name.empty()) ask.query = {{"name", name_part(spec.name)}};
  if (!spec.platform.empty()) ask.query.emplace_back("platform", spec.platform);
  ask.body = create_body(spec);
  if (client->podman()) allow_low_ports(*ask.body);
  ask.least_api = least_api(spec);
  return chain<Created>([client, ask, further = spec.endpoints](Chain<Created>& steps) {
    steps.then<Json>(ask_json(client, ask), [&steps, client, further](const Json& made) {
      join_networks(steps, client, created_shape(made), further);
    });
  });
}

Op<bool> start_container(ClientPtr client, const std::string& name) {
  return ask_changed(std::move(client), about("start", name, "POST", "/start"));
}

Op<bool> stop_container(ClientPtr client, const std::string& name, std::optional<std::chrono::seconds> grace) {
  Ask ask = about("stop", name, "POST", "/stop");
  add_grace(ask, grace);
  return ask_changed(std::move(client), std::move(ask));
}

Op<core::Unit> kill_container(ClientPtr client, const std::string& name, const std::string& signal) {
  Ask ask = about("kill", name, "POST", "/kill");
  ask.query = {{"signal", signal}};
  return ask_unit(std::move(client), std::move(ask));
}

Op<core::Unit> pause_container(ClientPtr client, const std::string& name) {
  return ask_unit(std::move(client), about("pause", name, "POST", "/pause"));
}

Op<core::Unit> unpause_container(ClientPtr client, const std::string& name) {
  return ask_unit(std::move(client), about("unpause", name, "POST", "/unpause"));
}

Op<core::Unit> restart_container(ClientPtr client, const std::string& name, std::optional<std::chrono::seconds> grace) {
  Ask ask = about("restart", name, "POST", "/restart");
  add_grace(ask, grace);
  return ask_unit(std::move(client), std::move(ask));
}

Op<core::Unit> rename_container(ClientPtr client, const std::string& name, const std::string& new_name) {
  Ask ask = about("rename", name, "POST", "/rename");
  ask.what += " to " + new_name;
  ask.query = {{"name", name_part(new_name)}};
  return ask_unit(std::move(client), std::move(ask));
}

Op<core::Unit> remove_container(ClientPtr client, const std::string& name, bool force, bool volumes) {
  Ask ask = about("remove container", name, "DELETE", "");
  if (force) ask.query.emplace_back("force", "1");
  if (volumes) ask.query.emplace_back("v", "1");
  return ask_unit(std::move(client), std::move(ask));
}

Op<Json> inspect_container(ClientPtr client, const std::string& name) {
  return reshaped(ask_json(std::move(client), about("inspect container", name, "GET", "/json")), container_shape);
}

Op<Json> list_containers(ClientPtr client, const ListOptions& options) {
  Ask ask{.what = "list containers", .path = "/containers/json"};
  if (options.all) ask.query.emplace_back("all", "1");
  std::vector<std::string> names;
  if (!options.name.empty()) names.push_back("^/?" + name_part(options.name) + "$");
  ask.query.emplace_back("filters", filters({{"label", options.labels}, {"name", names}, {"status", options.states}}));
  return reshaped(ask_json(std::move(client), std::move(ask)), container_list_shape);
}

Op<int> wait_container(ClientPtr client, const std::string& name, const std::string& condition) {
  Ask ask = about("wait for", name, "POST", "/wait");
  ask.query = {{"condition", condition}};
  return chain<int>([client, ask](Chain<int>& steps) {
    steps.then<Json>(ask_json(client, ask), [&steps, client, ask](const Json& ended) {
      const auto code = ended.find("StatusCode");
      if (code == ended.end() || !code->is_number_integer())
        return steps.finish(client->misunderstood(ask, "no exit code"));
      steps.finish(code->get<int>());
    });
  });
}

}  // namespace deployrun::docker

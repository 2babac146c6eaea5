#include "docker/shape.hpp"

#include "core/text.hpp"

namespace deployrun::docker {

namespace {

const Json& at(const Json& object, const char* key) {
  static const Json kNothing;
  if (!object.is_object()) return kNothing;
  const auto found = object.find(key);
  return found == object.end() ? kNothing : *found;
}

// References, not values: `items()` of a temporary would outlive it.
const Json& array_at(const Json& object, const char* key) {
  static const Json kEmpty = Json::array();
  const Json& value = at(object, key);
  return value.is_array() ? value : kEmpty;
}

const Json& object_at(const Json& object, const char* key) {
  static const Json kEmpty = Json::object();
  const Json& value = at(object, key);
  return value.is_object() ? value : kEmpty;
}

Json keys_at(const Json& object, const char* key) {
  Json keys = Json::array();
  for (const auto& [name, value] : object_at(object, key).items()) keys.push_back(name);
  return keys;
}

/// ["A=1"] → { A = "1" }
Json env_map(const Json& list) {
  Json env = Json::object();
  for (const Json& pair : list) {
    const std::string text = pair.is_string() ? pair.get<std::string>() : std::string();
    const std::size_t equals = text.find('=');
    if (equals != text.npos) env[text.substr(0, equals)] = text.substr(equals + 1);
  }
  return env;
}

/// "/web-1" → "web-1"
std::string plain_name(const std::string& name) { return name.rfind('/', 0) == 0 ? name.substr(1) : name; }

/// The engine writes «never» as the first instant of the year 1.
std::string time_at(const Json& object, const char* key) {
  std::string time = text_at(object, key);
  return time.rfind("0001-", 0) == 0 ? std::string() : time;
}

void copy_number(Json& shape, const char* to, const Json& object, const char* key) {
  const Json& value = at(object, key);
  if (value.is_number()) shape[to] = value;
}

Json networks_shape(const Json& raw) {
  Json networks = Json::object();
  for (const auto& [name, one] : object_at(raw, "Networks").items()) {
    networks[name] = {{"ip", text_at(one, "IPAddress")}, {"aliases", array_at(one, "Aliases")}};
  }
  return networks;
}

Json published_shape(const Json& ports) {
  Json list = Json::array();
  for (const auto& [container, bindings] : ports.items()) {
    if (!bindings.is_array()) continue;
    for (const Json& one : bindings) {
      list.push_back({{"container", container}, {"ip", text_at(one, "HostIp")}, {"port", text_at(one, "HostPort")}});
    }
  }
  return list;
}

}  // namespace

std::string text_at(const Json& object, const char* key) {
  const Json& value = at(object, key);
  return value.is_string() ? value.get<std::string>() : std::string();
}

Json image_shape(const Json& raw) {
  const Json& config = at(raw, "Config");
  Json shape = {{"id", text_at(raw, "Id")},
                {"tags", array_at(raw, "RepoTags")},
                {"digests", array_at(raw, "RepoDigests")},
                {"created", text_at(raw, "Created")},
                {"os", text_at(raw, "Os")},
                {"architecture", text_at(raw, "Architecture")},
                {"labels", object_at(config, "Labels")},
                {"env", env_map(array_at(config, "Env"))},
                {"cmd", array_at(config, "Cmd")},
                {"entrypoint", array_at(config, "Entrypoint")},
                {"user", text_at(config, "User")},
                {"workdir", text_at(config, "WorkingDir")},
                {"ports", keys_at(config, "ExposedPorts")},
                {"stop_signal", text_at(config, "StopSignal")},
                {"healthcheck", at(config, "Healthcheck").is_object()},
                {"raw", raw}};
  copy_number(shape, "bytes", raw, "Size");
  return shape;
}

Json image_list_shape(const Json& raw) {
  Json list = Json::array();
  for (const Json& one : raw) {
    Json tags = Json::array(), digests = Json::array();
    for (const Json& tag : array_at(one, "RepoTags")) {
      if (tag != "<none>:<none>") tags.push_back(tag);
    }
    for (const Json& digest : array_at(one, "RepoDigests")) {
      if (digest != "<none>@<none>") digests.push_back(digest);
    }
    Json shape = {{"id", text_at(one, "Id")},
                  {"tags", std::move(tags)},
                  {"digests", std::move(digests)},
                  {"labels", object_at(one, "Labels")}};
    copy_number(shape, "created", one, "Created");
    copy_number(shape, "bytes", one, "Size");
    list.push_back(std::move(shape));
  }
  return list;
}

Json container_shape(const Json& raw) {
  const Json& state = at(raw, "State");
  const Json& config = at(raw, "Config");
  const Json& host = at(raw, "HostConfig");
  const Json& network = at(raw, "NetworkSettings");
  Json mounts = Json::array();
  for (const Json& one : array_at(raw, "Mounts")) {
    mounts.push_back({{"type", text_at(one, "Type")},
                      {"name", text_at(one, "Name")},
                      {"source", text_at(one, "Source")},
                      {"target", text_at(one, "Destination")},
                      {"read_only", at(one, "RW") == false}});
  }
  Json shape = {{"id", text_at(raw, "Id")},
                {"name", plain_name(text_at(raw, "Name"))},
                {"image", text_at(config, "Image")},
                {"image_id", text_at(raw, "Image")},
                {"created", text_at(raw, "Created")},
                {"state", text_at(state, "Status")},
                {"running", at(state, "Running") == true},
                {"health", text_at(at(state, "Health"), "Status")},
                {"error", text_at(state, "Error")},
                {"oom_killed", at(state, "OOMKilled") == true},
                {"started_at", time_at(state, "StartedAt")},
                {"finished_at", time_at(state, "FinishedAt")},
                {"labels", object_at(config, "Labels")},
                {"env", env_map(array_at(config, "Env"))},
                {"cmd", array_at(config, "Cmd")},
                {"entrypoint", array_at(config, "Entrypoint")},
                {"restart", text_at(at(host, "RestartPolicy"), "Name")},
                {"networks", networks_shape(network)},
                {"published", published_shape(object_at(network, "Ports"))},
                {"mounts", std::move(mounts)},
                {"raw", raw}};
  copy_number(shape, "exit_code", state, "ExitCode");
  copy_number(shape, "pid", state, "Pid");
  copy_number(shape, "restart_count", raw, "RestartCount");
  return shape;
}

Json container_list_shape(const Json& raw) {
  Json list = Json::array();
  for (const Json& one : raw) {
    const Json names = array_at(one, "Names");
    Json shape = {{"id", text_at(one, "Id")},
                  {"name", names.empty() ? std::string() : plain_name(names.front().get<std::string>())},
                  {"image", text_at(one, "Image")},
                  {"image_id", text_at(one, "ImageID")},
                  {"state", text_at(one, "State")},
                  {"status", text_at(one, "Status")},
                  {"labels", object_at(one, "Labels")},
                  {"networks", networks_shape(at(one, "NetworkSettings"))}};
    copy_number(shape, "created", one, "Created");
    list.push_back(std::move(shape));
  }
  return list;
}

Json exec_shape(const Json& raw) {
  const Json& process = at(raw, "ProcessConfig");
  Json argv = Json::array({text_at(process, "entrypoint")});
  for (const Json& one : array_at(process, "arguments")) argv.push_back(one);
  Json shape = {{"id", text_at(raw, "ID")}, {"argv", std::move(argv)}, {"running", at(raw, "Running") == true}};
  copy_number(shape, "code", raw, "ExitCode");
  return shape;
}

Json network_shape(const Json& raw) {
  Json containers = Json::array();
  for (const auto& [id, one] : object_at(raw, "Containers").items())
    containers.push_back({{"id", id}, {"name", text_at(one, "Name")}});
  return {{"id", text_at(raw, "Id")},           {"name", text_at(raw, "Name")},
          {"driver", text_at(raw, "Driver")},   {"internal", at(raw, "Internal") == true},
          {"labels", object_at(raw, "Labels")}, {"containers", std::move(containers)}};
}

Json volume_shape(const Json& raw) {
  return {{"name", text_at(raw, "Name")},
          {"driver", text_at(raw, "Driver")},
          {"mountpoint", text_at(raw, "Mountpoint")},
          {"labels", object_at(raw, "Labels")}};
}

std::function<Json(const Json&)> each(Json (*shape)(const Json&)) {
  return [shape](const Json& raw) {
    Json list = Json::array();
    if (raw.is_array()) {
      for (const Json& one : raw) list.push_back(shape(one));
    }
    return list;
  };
}

}  // namespace deployrun::docker

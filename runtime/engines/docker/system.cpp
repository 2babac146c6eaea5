#include "docker/system.hpp"

#include <algorithm>

#include "docker/frames.hpp"
#include "docker/shape.hpp"

namespace deployrun::docker {

namespace {

const Json& at(const Json& object, std::initializer_list<const char*> path) {
  static const Json kNothing;
  const Json* here = &object;
  for (const char* key : path) {
    if (!here->is_object()) return kNothing;
    const auto found = here->find(key);
    if (found == here->end()) return kNothing;
    here = &*found;
  }
  return *here;
}

double number(const Json& object, std::initializer_list<const char*> path) {
  const Json& value = at(object, path);
  return value.is_number() ? value.get<double>() : 0;
}

/// Share of one processor between the two looks (as `docker stats` counts it).
double cpu_share(const Json& raw) {
  const double used = number(raw, {"cpu_stats", "cpu_usage", "total_usage"}) -
                      number(raw, {"precpu_stats", "cpu_usage", "total_usage"});
  const double system =
      number(raw, {"cpu_stats", "system_cpu_usage"}) - number(raw, {"precpu_stats", "system_cpu_usage"});
  double processors = number(raw, {"cpu_stats", "online_cpus"});
  const Json& each = at(raw, {"cpu_stats", "cpu_usage", "percpu_usage"});
  if (processors == 0 && each.is_array()) processors = static_cast<double>(each.size());
  return used > 0 && system > 0 ? used / system * std::max(processors, 1.0) : 0;
}

/// Without the files that are only kept in memory: what the container could not give back.
double memory_used(const Json& raw) {
  const double usage = number(raw, {"memory_stats", "usage"});
  double cache = number(raw, {"memory_stats", "stats", "total_inactive_file"});  // cgroup v1
  if (cache == 0) cache = number(raw, {"memory_stats", "stats", "inactive_file"});
  return cache < usage ? usage - cache : usage;
}

Json stats_shape(const Json& raw) {
  double received = 0, sent = 0, read = 0, written = 0;
  if (const Json& networks = at(raw, {"networks"}); networks.is_object()) {
    for (const auto& [name, one] : networks.items()) {
      received += number(one, {"rx_bytes"});
      sent += number(one, {"tx_bytes"});
    }
  }
  if (const Json& disks = at(raw, {"blkio_stats", "io_service_bytes_recursive"}); disks.is_array()) {
    for (const Json& one : disks) {
      std::string op = text_at(one, "op");
      if (op == "Read" || op == "read") read += number(one, {"value"});
      if (op == "Write" || op == "write") written += number(one, {"value"});
    }
  }
  return {{"cpu", cpu_share(raw)},
          {"memory_bytes", memory_used(raw)},
          {"memory_limit_bytes", number(raw, {"memory_stats", "limit"})},
          {"pids", number(raw, {"pids_stats", "current"})},
          {"received_bytes", received},
          {"sent_bytes", sent},
          {"read_bytes", read},
          {"written_bytes", written}};
}

/// How many there are, how large they are, and how much of that nothing uses.
Json share(const Json& list, const char* size, const std::function<bool(const Json&)>& used) {
  double bytes = 0, unused = 0;
  std::size_t count = 0;
  if (list.is_array()) {
    for (const Json& one : list) {
      const double here = std::max(0.0, number(one, {size}));
      ++count;
      bytes += here;
      if (!used(one)) unused += here;
    }
  }
  return {{"count", count}, {"bytes", bytes}, {"unused_bytes", unused}};
}

Json usage_shape(const Json& raw) {
  Json volumes = Json::array();
  if (const Json& list = at(raw, {"Volumes"}); list.is_array()) {
    for (const Json& one : list) volumes.push_back(at(one, {"UsageData"}));
  }
  Json images = share(at(raw, {"Images"}), "Size", [](const Json& one) { return number(one, {"Containers"}) > 0; });
  // Layers are shared: the engine's own sum counts each once.
  if (const double layers = number(raw, {"LayersSize"}); layers > 0) images["bytes"] = layers;
  return {{"images", std::move(images)},
          {"containers", share(at(raw, {"Containers"}), "SizeRw",
                               [](const Json& one) { return text_at(one, "State") == "running"; })},
          {"volumes", share(volumes, "Size", [](const Json& one) { return number(one, {"RefCount"}) > 0; })},
          {"build_cache", share(at(raw, {"BuildCache"}), "Size", [](const Json& one) {
             return at(one, {"InUse"}) == true || at(one, {"Shared"}) == true;
           })}};
}

Json prune_shape(const Json& raw) {
  Json removed = Json::array();
  for (const char* key : {"ContainersDeleted", "NetworksDeleted", "VolumesDeleted", "CachesDeleted", "ImagesDeleted"}) {
    const Json& list = at(raw, {key});
    if (!list.is_array()) continue;
    for (const Json& one : list) {
      const std::string name = one.is_string()           ? one.get<std::string>()
                               : one.contains("Deleted") ? text_at(one, "Deleted")
                                                         : text_at(one, "Untagged");
      if (!name.empty()) removed.push_back(name);
    }
  }
  return {{"removed", std::move(removed)}, {"bytes", number(raw, {"SpaceReclaimed"})}};
}

Event event_of(const Json& raw) {
  Event event{.type = text_at(raw, "Type"), .action = text_at(raw, "Action")};
  event.id = text_at(at(raw, {"Actor"}), "ID");
  if (const Json& attributes = at(raw, {"Actor", "Attributes"}); attributes.is_object()) {
    for (const auto& [key, value] : attributes.items()) {
      if (value.is_string()) event.attributes[key] = value.get<std::string>();
    }
    event.name = text_at(attributes, "name");
  }
  event.time = number(raw, {"timeNano"}) / 1e9;
  return event;
}

std::string filter_text(const std::map<std::string, std::vector<std::string>>& only) {
  return filters({only.begin(), only.end()});
}

}  // namespace

Op<Json> stats(ClientPtr client, const std::string& name) {
  Ask ask{.what = "stats of " + name, .path = "/containers/" + name_part(name) + "/stats"};
  ask.query = {{"stream", "0"}};
  return reshaped(ask_json(std::move(client), std::move(ask)), stats_shape);
}

Op<Json> disk_usage(ClientPtr client) {
  return reshaped(ask_json(std::move(client), {.what = "disk usage", .path = "/system/df"}), usage_shape);
}

Op<Json> prune(ClientPtr client, const std::string& what, const std::map<std::string, std::vector<std::string>>& only) {
  static constexpr const char* kKinds[] = {"containers", "images", "networks", "volumes", "build"};
  if (std::find(std::begin(kKinds), std::end(kKinds), what) == std::end(kKinds)) {
    throw core::Failure(
        core::usage("docker.prune: `" + what + "` is not containers, images, networks, volumes or build"));
  }
  Ask ask{.what = "prune " + what, .method = "POST", .path = "/" + what + "/prune"};
  if (!only.empty()) ask.query = {{"filters", filter_text(only)}};
  return reshaped(ask_json(std::move(client), std::move(ask)), prune_shape);
}

Events::Events(ClientPtr client, const std::map<std::string, std::vector<std::string>>& only, const std::string& since,
               const std::string& until)
    : queue_(std::make_shared<core::Queue<Event>>()) {
  Ask ask{.what = "events", .path = "/events"};
  if (!only.empty()) ask.query.emplace_back("filters", filter_text(only));
  if (!since.empty()) ask.query.emplace_back("since", since);
  if (!until.empty()) ask.query.emplace_back("until", until);
  auto unreadable = std::make_shared<std::optional<core::Error>>();
  auto lines = std::make_shared<JsonLines>([queue = queue_](const Json& event) { queue->push(event_of(event)); });
  ask.on_body = [queue = queue_, lines, unreadable](const http::Reply&, std::string_view bytes) {
    if (queue->full()) return http::Flow::pause;
    if (!*unreadable) {
      if (auto fed = lines->feed(bytes); !fed) *unreadable = std::move(fed).error();
    }
    return http::Flow::taken;
  };
  answer_ = std::make_unique<Answer>(client, ask);
  queue_->on_room = [this] {
    if (answer_) answer_->resume();
  };
  answer_->start([queue = queue_, unreadable, client, what = ask.what](core::Result<http::Reply> reply) {
    if (!reply) return queue->close(std::move(reply).error());
    if (*unreadable) return queue->close(core::wrap(client->misunderstood({.what = what}, "no JSON"), **unreadable));
    queue->close();
  });
}

Events::~Events() { close(); }

void Events::close() {
  queue_->on_room = nullptr;
  answer_.reset();
  queue_->close();
}

}  // namespace deployrun::docker

// What an engine tells of itself and of what it holds: events, use of memory and disk, and tidying up.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/queue.hpp"
#include "docker/client.hpp"

namespace deployrun::docker {

/// One look, over about a second: { cpu (1.0: one whole), memory_bytes, memory_limit_bytes, pids, received_bytes,
/// sent_bytes, read_bytes, written_bytes }. A stopped container uses nothing.
Op<Json> stats(ClientPtr client, const std::string& name);

/// { images{count, bytes, unused_bytes}, containers{…}, volumes{…}, build_cache{…} }
Op<Json> disk_usage(ClientPtr client);

/// "containers" (stopped ones), "images" (nameless ones, with the filter dangling=false all unused), "networks" and
/// "volumes" (unused ones), "build" (its cache). `filters` as the engine has them: label, label!, until, dangling, all.
/// { removed[], bytes }.
Op<Json> prune(ClientPtr client, const std::string& what, const std::map<std::string, std::vector<std::string>>& only);

struct Event {
  std::string type, action;  ///< "container", "start"
  std::string id, name;
  std::map<std::string, std::string> attributes;
  double time = 0;  ///< seconds since 1970, the engine's clock
};

/// Events as they happen. Begins when made, ends with `close` or its destruction.
class Events {
 public:
  Events(ClientPtr client, const std::map<std::string, std::vector<std::string>>& only, const std::string& since,
         const std::string& until);
  ~Events();
  Events(const Events&) = delete;
  Events& operator=(const Events&) = delete;

  const std::shared_ptr<core::Queue<Event>>& queue() const noexcept { return queue_; }
  void close();

 private:
  std::shared_ptr<core::Queue<Event>> queue_;
  std::unique_ptr<Answer> answer_;
};

}  // namespace deployrun::docker

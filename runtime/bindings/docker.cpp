// `native.docker.raw`: one engine's client and its calls. Each call gives an operation; the face awaits it.
#include "bindings/context.hpp"
#include "bindings/dial.hpp"
#include "bindings/secret.hpp"
#include "bindings/value.hpp"
#include "core/queue.hpp"
#include "docker/containers.hpp"
#include "docker/images.hpp"
#include "docker/networks.hpp"
#include "docker/registry.hpp"
#include "lua/guard.hpp"
#include "lua/module.hpp"
#include "lua/object.hpp"
#include "lua/operation.hpp"
#include "lua/options.hpp"
#include "lua/stack.hpp"

namespace deployrun::bindings {

namespace {

/// Where a pull's progress waits for whoever reads it: at most one value every 100 ms, and the last.
class PullProgress {
 public:
  using Queue = core::Queue<docker::Progress>;
  const std::shared_ptr<Queue>& queue() const { return queue_; }
  void push(const docker::Progress& progress) {
    const auto now = core::Loop::now();
    if (last_ && now - *last_ < core::Milliseconds(100) && progress.done < progress.layers) return;
    last_ = now;
    queue_->push(progress);
  }
  void close() { queue_->close(); }

 private:
  std::shared_ptr<Queue> queue_ = std::make_shared<Queue>();
  std::optional<core::Instant> last_;
};

/// A pull whose progress comes to an end with it, however it ends.
class ProgressingPull final : public core::Operation<docker::Pulled> {
 public:
  ProgressingPull(docker::Op<docker::Pulled> pull, std::shared_ptr<PullProgress> progress)
      : pull_(std::move(pull)), progress_(std::move(progress)) {}
  ~ProgressingPull() override { progress_->close(); }
  void start(Done done) override {
    pull_->start([progress = progress_, done = std::move(done)](core::Result<docker::Pulled> result) {
      progress->close();
      done(std::move(result));
    });
  }
  void cancel() noexcept override { pull_->cancel(); }

 private:
  docker::Op<docker::Pulled> pull_;
  std::shared_ptr<PullProgress> progress_;
};

// Defined below the methods it lists.
extern const luaL_Reg kClientMethods[];
int next_progress(lua_State* L);
int next_log(lua_State* L);
int close_follow(lua_State* L);

}  // namespace

}  // namespace deployrun::bindings

namespace deployrun::lua {

template <>
struct ObjectType<docker::Client> {
  static constexpr const char* kName = "docker.client";
  static constexpr const luaL_Reg* kMethods = bindings::kClientMethods;
};
template <>
struct ObjectType<bindings::PullProgress> {
  static constexpr const char* kName = "docker.progress";
  static constexpr luaL_Reg kMethods[] = {{"next", bindings::next_progress}, {nullptr, nullptr}};
};
template <>
struct ObjectType<docker::Follow> {
  static constexpr const char* kName = "docker.follow";
  static constexpr luaL_Reg kMethods[] = {
      {"next", bindings::next_log}, {"close", bindings::close_follow}, {nullptr, nullptr}};
};

}  // namespace deployrun::lua

namespace deployrun::bindings {

namespace {

docker::ClientPtr self(lua_State* L) { return lua::check_object<docker::Client>(L, 1); }

void push_json_value(lua_State* L, const Json& value) { push_json(L, value); }
void push_bool(lua_State* L, bool value) { lua_pushboolean(L, value ? 1 : 0); }

int push_op(lua_State* L, docker::Op<Json> operation) {
  return lua::push_operation(L, std::move(operation), push_json_value);
}
int push_op(lua_State* L, docker::Op<core::Unit> operation) {
  return lua::push_operation(L, std::move(operation), lua::push_unit);
}
int push_op(lua_State* L, docker::Op<bool> operation) {
  return lua::push_operation(L, std::move(operation), push_bool);
}
int push_op(lua_State* L, docker::Op<std::string> operation) {
  return lua::push_operation(L, std::move(operation),
                             [](lua_State* state, const std::string& text) { lua::push_string(state, text); });
}

std::optional<std::chrono::seconds> seconds(std::optional<core::Milliseconds> duration) {
  if (!duration) return {};
  return std::chrono::ceil<std::chrono::seconds>(*duration);
}

// The engine itself.

int ping(lua_State* L) {
  return lua::guard(L, [L] { return push_op(L, docker::ping(self(L))); });
}
int version(lua_State* L) {
  return lua::guard(L, [L] { return push_op(L, docker::version(self(L))); });
}
int info(lua_State* L) {
  return lua::guard(L, [L] { return push_op(L, docker::info(self(L))); });
}
int requests(lua_State* L) {
  return lua::guard(L, [L] {
    lua_pushnumber(L, static_cast<double>(self(L)->requests()));
    return 1;
  });
}
int close_client(lua_State* L) {
  return lua::guard(L, [L] {
    if (!lua::is_object<docker::Client>(L, 1)) lua::wrong_argument(L, 1, "a docker.client");
    static_cast<docker::ClientPtr*>(lua_touserdata(L, 1))->reset();
    return 0;
  });
}

// Images.

/// Leaves { image, digest, changed }.
void push_pulled(lua_State* L, const docker::Pulled& pulled) {
  lua_createtable(L, 0, 3);
  lua::set_field(L, "image", pulled.image);
  if (!pulled.digest.empty()) lua::set_field(L, "digest", pulled.digest);
  lua::set_flag(L, "changed", pulled.changed);
}

/// The option `credentials`.
std::optional<docker::Credentials> check_credentials(lua_State* L, lua::Options& options, const std::string& what) {
  std::optional<docker::Credentials> credentials;
  if (options.push("credentials")) {
    lua::Options given(L, -1, what + ": credentials");
    credentials.emplace();
    credentials->username = secret_or_string(L, given, "username").value_or("");
    credentials->password = secret_or_string(L, given, "password").value_or("");
    credentials->registry = given.string("registry").value_or("");
    given.finish();
  }
  lua_pop(L, 1);
  return credentials;
}

int inspect_remote_image(lua_State* L) {
  return lua::guard(L, [L] {
    const std::string image = lua::check_string(L, 2);
    lua::Options options(L, 3, "docker.inspect_remote_image");
    auto credentials = check_credentials(L, options, "docker.inspect_remote_image");
    options.finish();
    return push_op(L, docker::inspect_remote_image(self(L), image, std::move(credentials)));
  });
}

int pull(lua_State* L) {
  return lua::guard(L, [L] {
    const auto client = self(L);
    const std::string image = lua::check_string(L, 2);
    lua::Options options(L, 3, "docker.pull");
    auto credentials = check_credentials(L, options, "docker.pull");
    std::shared_ptr<PullProgress> progress;
    if (options.push("progress")) progress = lua::check_object<PullProgress>(L, -1);
    lua_pop(L, 1);
    options.finish();
    if (!progress) return lua::push_operation(L, docker::pull(client, image, std::move(credentials)), push_pulled);
    auto plain = docker::pull(client, image, std::move(credentials),
                              [progress](const docker::Progress& now) { progress->push(now); });
    docker::Op<docker::Pulled> whole = std::make_unique<ProgressingPull>(std::move(plain), progress);
    return lua::push_operation(L, std::move(whole), push_pulled);
  });
}

int progress(lua_State* L) {
  return lua::guard(L, [L] {
    lua::push_object(L, std::make_shared<PullProgress>());
    return 1;
  });
}

/// Leaves an operation for { layers, done, bytes, total_bytes, status }, or nil at the end.
int next_progress(lua_State* L) {
  return lua::guard(L, [L] {
    docker::Op<std::optional<docker::Progress>> next =
        std::make_unique<PullProgress::Queue::Next>(lua::check_object<PullProgress>(L, 1)->queue());
    return lua::push_operation(L, std::move(next), [](lua_State* state, const std::optional<docker::Progress>& now) {
      if (!now) return lua_pushnil(state);
      lua_createtable(state, 0, 5);
      lua::set_field(state, "layers", static_cast<double>(now->layers));
      lua::set_field(state, "done", static_cast<double>(now->done));
      lua::set_field(state, "bytes", static_cast<double>(now->bytes));
      lua::set_field(state, "total_bytes", static_cast<double>(now->total_bytes));
      lua::set_field(state, "status", now->status);
    });
  });
}

int inspect_image(lua_State* L) {
  return lua::guard(L, [L] { return push_op(L, docker::inspect_image(self(L), lua::check_string(L, 2))); });
}
int list_images(lua_State* L) {
  return lua::guard(L, [L] {
    lua::Options options(L, 2, "docker.list_images");
    const std::string reference = options.string("reference").value_or("");
    const auto labels = options.strings("labels").value_or(std::vector<std::string>());
    const bool nameless = options.boolean("nameless").value_or(false);
    options.finish();
    return push_op(L, docker::list_images(self(L), reference, labels, nameless));
  });
}
int tag_image(lua_State* L) {
  return lua::guard(
      L, [L] { return push_op(L, docker::tag_image(self(L), lua::check_string(L, 2), lua::check_string(L, 3))); });
}
int remove_image(lua_State* L) {
  return lua::guard(L, [L] {
    lua::Options options(L, 3, "docker.remove_image");
    const bool force = options.boolean("force").value_or(false);
    options.finish();
    return push_op(L, docker::remove_image(self(L), lua::check_string(L, 2), force));
  });
}

// Containers.

docker::ContainerSpec check_spec(lua_State* L, int index, bool reveal) {
  Json table = to_json(L, index, "container");
  if (reveal) {
    lua::Options options(L, index, "docker.create");
    if (auto env = secret_map(L, options, "env")) table["env"] = std::move(*env);
  }
  auto spec = docker::parse_spec(table);
  if (!spec) throw core::Failure(spec.error());
  return std::move(*spec);
}

int create(lua_State* L) {
  return lua::guard(L, [L] {
    return lua::push_operation(L, docker::create_container(self(L), check_spec(L, 2, true)),
                               [](lua_State* state, const docker::Created& created) {
                                 lua_createtable(state, 0, 2);
                                 lua::set_field(state, "id", created.id);
                                 lua::push_strings(state, created.warnings);
                                 lua_setfield(state, -2, "warnings");
                               });
  });
}
int start(lua_State* L) {
  return lua::guard(L, [L] { return push_op(L, docker::start_container(self(L), lua::check_string(L, 2))); });
}
int stop(lua_State* L) {
  return lua::guard(L, [L] {
    lua::Options options(L, 3, "docker.stop");
    const auto grace = options.milliseconds("grace");
    options.finish();
    return push_op(L, docker::stop_container(self(L), lua::check_string(L, 2), seconds(grace)));
  });
}
int kill(lua_State* L) {
  return lua::guard(L, [L] {
    return push_op(L, docker::kill_container(self(L), lua::check_string(L, 2), lua::opt_string(L, 3, "KILL")));
  });
}
int restart(lua_State* L) {
  return lua::guard(L, [L] {
    lua::Options options(L, 3, "docker.restart");
    const auto grace = options.milliseconds("grace");
    options.finish();
    return push_op(L, docker::restart_container(self(L), lua::check_string(L, 2), seconds(grace)));
  });
}
int rename(lua_State* L) {
  return lua::guard(L, [L] {
    return push_op(L, docker::rename_container(self(L), lua::check_string(L, 2), lua::check_string(L, 3)));
  });
}
int remove(lua_State* L) {
  return lua::guard(L, [L] {
    lua::Options options(L, 3, "docker.remove");
    const bool force = options.boolean("force").value_or(false);
    const bool volumes = options.boolean("volumes").value_or(false);
    options.finish();
    return push_op(L, docker::remove_container(self(L), lua::check_string(L, 2), force, volumes));
  });
}
int inspect(lua_State* L) {
  return lua::guard(L, [L] { return push_op(L, docker::inspect_container(self(L), lua::check_string(L, 2))); });
}
int list(lua_State* L) {
  return lua::guard(L, [L] {
    lua::Options options(L, 2, "docker.list");
    docker::ListOptions wanted;
    wanted.all = options.boolean("all").value_or(false);
    wanted.labels = options.strings("labels").value_or(wanted.labels);
    wanted.name = options.string("name").value_or("");
    wanted.states = options.strings("states").value_or(wanted.states);
    options.finish();
    return push_op(L, docker::list_containers(self(L), wanted));
  });
}
int wait(lua_State* L) {
  return lua::guard(L, [L] {
    return lua::push_operation(
        L, docker::wait_container(self(L), lua::check_string(L, 2), lua::opt_string(L, 3, "not-running")),
        [](lua_State* state, int code) { lua_pushnumber(state, code); });
  });
}

docker::LogOptions log_options(lua::Options& options) {
  docker::LogOptions wanted;
  if (options.boolean("all").value_or(false)) wanted.tail.reset();
  if (const auto tail = options.integer("tail"))
    wanted.tail = static_cast<int>(std::clamp<std::int64_t>(*tail, 0, 1'000'000));
  wanted.since = options.string("since").value_or("");
  wanted.timestamps = options.boolean("timestamps").value_or(false);
  return wanted;
}

int logs(lua_State* L) {
  return lua::guard(L, [L] {
    lua::Options options(L, 3, "docker.logs");
    const auto wanted = log_options(options);
    options.finish();
    return lua::push_operation(L, docker::logs(self(L), lua::check_string(L, 2), wanted),
                               [](lua_State* state, const docker::Logs& logs) {
                                 lua_createtable(state, 0, 4);
                                 lua::set_field(state, "text", logs.text);
                                 lua::set_field(state, "stdout", logs.out);
                                 lua::set_field(state, "stderr", logs.err);
                                 lua::set_flag(state, "truncated", logs.truncated);
                               });
  });
}
int follow(lua_State* L) {
  return lua::guard(L, [L] {
    lua::Options options(L, 3, "docker.follow");
    const auto wanted = log_options(options);
    options.finish();
    lua::push_object(L, std::make_shared<docker::Follow>(self(L), lua::check_string(L, 2), wanted));
    return 1;
  });
}
/// Leaves an operation for { output, text }, or nil at the end.
int next_log(lua_State* L) {
  return lua::guard(L, [L] {
    docker::Op<std::optional<docker::LogLine>> next =
        std::make_unique<core::Queue<docker::LogLine>::Next>(lua::check_object<docker::Follow>(L, 1)->lines());
    return lua::push_operation(L, std::move(next), [](lua_State* state, const std::optional<docker::LogLine>& line) {
      if (!line) return lua_pushnil(state);
      lua_createtable(state, 0, 2);
      lua::set_field(state, "output", line->source == docker::Source::out ? "stdout" : "stderr");
      lua::set_field(state, "text", line->text);
    });
  });
}
int close_follow(lua_State* L) {
  return lua::guard(L, [L] {
    lua::check_object<docker::Follow>(L, 1)->close();
    return 0;
  });
}

int exec(lua_State* L) {
  return lua::guard(L, [L] {
    lua::Options options(L, 4, "docker.exec");
    docker::ExecOptions wanted;
    wanted.env = secret_map(L, options, "env").value_or(wanted.env);
    wanted.user = options.string("user").value_or("");
    wanted.workdir = options.string("workdir").value_or("");
    options.finish();
    return lua::push_operation(L, docker::exec(self(L), lua::check_string(L, 2), lua::check_strings(L, 3), wanted),
                               [](lua_State* state, const docker::ExecResult& result) {
                                 lua_createtable(state, 0, 5);
                                 lua::set_field(state, "stdout", result.out);
                                 lua::set_field(state, "stderr", result.err);
                                 lua::set_field(state, "code", static_cast<double>(result.code));
                                 lua::set_field(state, "ms", result.ms);
                                 lua::set_flag(state, "truncated", result.truncated);
                               });
  });
}
int execs(lua_State* L) {
  return lua::guard(L, [L] { return push_op(L, docker::list_execs(self(L), lua::check_string(L, 2))); });
}

// Networks and volumes.

int create_network(lua_State* L) {
  return lua::guard(L, [L] {
    lua::Options options(L, 3, "docker.create_network");
    docker::NetworkOptions wanted;
    wanted.driver = options.string("driver").value_or(wanted.driver);
    wanted.internal = options.boolean("internal").value_or(false);
    wanted.labels = options.string_map("labels").value_or(wanted.labels);
    options.finish();
    return push_op(L, docker::create_network(self(L), lua::check_string(L, 2), wanted));
  });
}
int inspect_network(lua_State* L) {
  return lua::guard(L, [L] { return push_op(L, docker::inspect_network(self(L), lua::check_string(L, 2))); });
}
int list_networks(lua_State* L) {
  return lua::guard(L, [L] {
    lua::Options options(L, 2, "docker.list_networks");
    const auto labels = options.strings("labels").value_or(std::vector<std::string>());
    const std::string name = options.string("name").value_or("");
    options.finish();
    return push_op(L, docker::list_networks(self(L), labels, name));
  });
}
int remove_network(lua_State* L) {
  return lua::guard(L, [L] { return push_op(L, docker::remove_network(self(L), lua::check_string(L, 2))); });
}
int connect_network(lua_State* L) {
  return lua::guard(L, [L] {
    lua::Options options(L, 4, "docker.connect_network");
    const auto aliases = options.strings("aliases").value_or(std::vector<std::string>());
    options.finish();
    return push_op(L, docker::connect_network(self(L), lua::check_string(L, 2), lua::check_string(L, 3), aliases));
  });
}
int disconnect_network(lua_State* L) {
  return lua::guard(L, [L] {
    lua::Options options(L, 4, "docker.disconnect_network");
    const bool force = options.boolean("force").value_or(false);
    options.finish();
    return push_op(L, docker::disconnect_network(self(L), lua::check_string(L, 2), lua::check_string(L, 3), force));
  });
}
int create_volume(lua_State* L) {
  return lua::guard(L, [L] {
    lua::Options options(L, 3, "docker.create_volume");
    docker::VolumeOptions wanted;
    wanted.driver = options.string("driver").value_or(wanted.driver);
    wanted.labels = options.string_map("labels").value_or(wanted.labels);
    options.finish();
    return push_op(L, docker::create_volume(self(L), lua::check_string(L, 2), wanted));
  });
}
int inspect_volume(lua_State* L) {
  return lua::guard(L, [L] { return push_op(L, docker::inspect_volume(self(L), lua::check_string(L, 2))); });
}
int list_volumes(lua_State* L) {
  return lua::guard(L, [L] {
    lua::Options options(L, 2, "docker.list_volumes");
    const auto labels = options.strings("labels").value_or(std::vector<std::string>());
    options.finish();
    return push_op(L, docker::list_volumes(self(L), labels));
  });
}
int remove_volume(lua_State* L) {
  return lua::guard(L, [L] {
    lua::Options options(L, 3, "docker.remove_volume");
    const bool force = options.boolean("force").value_or(false);
    options.finish();
    return push_op(L, docker::remove_volume(self(L), lua::check_string(L, 2), force));
  });
}

constexpr luaL_Reg kClientMethods[] = {
    {"ping", ping},
    {"version", version},
    {"info", info},
    {"requests", requests},
    {"close", close_client},
    {"pull", pull},
    {"inspect_image", inspect_image},
    {"inspect_remote_image", inspect_remote_image},
    {"list_images", list_images},
    {"tag_image", tag_image},
    {"remove_image", remove_image},
    {"create", create},
    {"start", start},
    {"stop", stop},
    {"kill", kill},
    {"restart", restart},
    {"rename", rename},
    {"remove", remove},
    {"inspect", inspect},
    {"list", list},
    {"wait", wait},
    {"logs", logs},
    {"follow", follow},
    {"exec", exec},
    {"execs", execs},
    {"create_network", create_network},
    {"inspect_network", inspect_network},
    {"list_networks", list_networks},
    {"remove_network", remove_network},
    {"connect_network", connect_network},
    {"disconnect_network", disconnect_network},
    {"create_volume", create_volume},
    {"inspect_volume", inspect_volume},
    {"list_volumes", list_volumes},
    {"remove_volume", remove_volume},
    {nullptr, nullptr},
};

int client(lua_State* L) {
  return lua::guard(L, [L] {
    lua::Options options(L, 1, "docker.client");
    docker::Endpoint endpoint;
    endpoint.unix_socket = options.string("socket").value_or(endpoint.unix_socket);
    if (const auto dialer = dialer_option(L, options, "dial")) {
      endpoint.dial = dialer->dial;
      endpoint.host = dialer->host;
    }
    endpoint.spare = options.boolean("spare").value_or(false);
    if (auto host = options.string("host")) endpoint.host = std::move(*host);
    options.finish();
    lua::push_object(L, std::make_shared<docker::Client>(context(L).http, std::move(endpoint)));
    return 1;
  });
}

int check(lua_State* L) {
  return lua::guard(L, [L] {
    check_spec(L, 1, false);
    return 0;
  });
}

/// The equivalent `docker run`; secrets in the environment appear by name.
int run_argv(lua_State* L) {
  return lua::guard(L, [L] {
    lua::push_strings(L, docker::run_argv(check_spec(L, 1, false)));
    return 1;
  });
}

constexpr luaL_Reg kFunctions[] = {
    {"client", client}, {"progress", progress}, {"check", check}, {"run_argv", run_argv}, {nullptr, nullptr}};

}  // namespace

int open_docker(lua_State* L) { return lua::export_table(L, kFunctions); }

}  // namespace deployrun::bindings

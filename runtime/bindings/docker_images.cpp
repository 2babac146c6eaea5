// Images: pull and ship with progress, inspect, list, tag, remove.
#include <optional>

#include "bindings/docker_calls.hpp"
#include "bindings/secret.hpp"
#include "core/queue.hpp"
#include "docker/image_files.hpp"
#include "docker/registry.hpp"
#include "docker/ship.hpp"
#include "lua/guard.hpp"
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

/// An operation whose progress comes to an end with it, however it ends.
template <class T>
class Progressing final : public core::Operation<T> {
 public:
  using Done = typename core::Operation<T>::Done;
  Progressing(docker::Op<T> operation, std::shared_ptr<PullProgress> progress)
      : operation_(std::move(operation)), progress_(std::move(progress)) {}
  ~Progressing() override { progress_->close(); }
  void start(Done done) override {
    operation_->start([progress = progress_, done = std::move(done)](core::Result<T> result) {
      progress->close();
      done(std::move(result));
    });
  }
  void cancel() noexcept override { operation_->cancel(); }

 private:
  docker::Op<T> operation_;
  std::shared_ptr<PullProgress> progress_;
};

// Defined below.
int next_progress(lua_State* L);

}  // namespace

}  // namespace deployrun::bindings

namespace deployrun::lua {

template <>
struct ObjectType<bindings::PullProgress> {
  static constexpr const char* kName = "docker.progress";
  static constexpr luaL_Reg kMethods[] = {{"next", bindings::next_progress}, {nullptr, nullptr}};
};

}  // namespace deployrun::lua

namespace deployrun::bindings {

namespace {

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
    return push_op(L, docker::inspect_remote_image(docker_self(L), image, std::move(credentials)));
  });
}

/// The option `progress`, or nothing.
std::shared_ptr<PullProgress> progress_option(lua_State* L, lua::Options& options) {
  std::shared_ptr<PullProgress> progress;
  if (options.push("progress")) progress = lua::check_object<PullProgress>(L, -1);
  lua_pop(L, 1);
  return progress;
}

std::function<void(const docker::Progress&)> teller(const std::shared_ptr<PullProgress>& progress) {
  if (!progress) return {};
  return [progress](const docker::Progress& now) { progress->push(now); };
}

template <class T>
int push_progressing(lua_State* L, docker::Op<T> operation, const std::shared_ptr<PullProgress>& progress,
                     void (*push)(lua_State*, const T&)) {
  if (!progress) return lua::push_operation(L, std::move(operation), push);
  docker::Op<T> whole = std::make_unique<Progressing<T>>(std::move(operation), progress);
  return lua::push_operation(L, std::move(whole), push);
}

int pull(lua_State* L) {
  return lua::guard(L, [L] {
    const auto client = docker_self(L);
    const std::string image = lua::check_string(L, 2);
    lua::Options options(L, 3, "docker.pull");
    auto credentials = check_credentials(L, options, "docker.pull");
    const auto progress = progress_option(L, options);
    options.finish();
    auto pulled = docker::pull(client, image, std::move(credentials), teller(progress));
    return push_progressing(L, std::move(pulled), progress, push_pulled);
  });
}

/// Leaves { id, layers, sent, bytes, changed }.
void push_shipped(lua_State* L, const docker::Shipped& shipped) {
  lua_createtable(L, 0, 5);
  lua::set_field(L, "id", shipped.id);
  lua::set_field(L, "layers", static_cast<double>(shipped.layers));
  lua::set_field(L, "sent", static_cast<double>(shipped.sent));
  lua::set_field(L, "bytes", static_cast<double>(shipped.bytes));
  lua::set_flag(L, "changed", shipped.changed);
}

/// to, image, { from = client, progress? }
int ship(lua_State* L) {
  return lua::guard(L, [L] {
    const auto to = docker_self(L);
    const std::string image = lua::check_string(L, 2);
    lua::Options options(L, 3, "docker.ship");
    if (!options.push("from")) throw core::Failure(core::usage("docker.ship: from is missing: the engine that has it"));
    const auto from = lua::check_object<docker::Client>(L, -1);
    lua_pop(L, 1);
    const auto progress = progress_option(L, options);
    options.finish();
    auto shipped = docker::ship(from, to, image, teller(progress));
    return push_progressing(L, std::move(shipped), progress, push_shipped);
  });
}

/// Leaves { images = { { name, id }… }, bytes }.
void push_image_file(lua_State* L, const docker::ImageFile& file) {
  lua_createtable(L, 0, 2);
  lua_createtable(L, static_cast<int>(file.images.size()), 0);
  int index = 0;
  for (const docker::KeptImage& image : file.images) {
    lua_createtable(L, 0, 2);
    lua::set_field(L, "name", image.name);
    lua::set_field(L, "id", image.id);
    lua_rawseti(L, -2, ++index);
  }
  lua_setfield(L, -2, "images");
  lua::set_field(L, "bytes", static_cast<double>(file.bytes));
}

/// { images = names, path, progress? }
int save_images(lua_State* L) {
  return lua::guard(L, [L] {
    lua::Options options(L, 2, "docker.save_images");
    const auto images = options.strings("images").value_or(std::vector<std::string>());
    const std::string path = options.string("path").value_or("");
    const auto progress = progress_option(L, options);
    options.finish();
    auto saved = docker::save_images(docker_self(L), images, path, teller(progress));
    return push_progressing(L, std::move(saved), progress, push_image_file);
  });
}

/// { path, progress? }
int load_images(lua_State* L) {
  return lua::guard(L, [L] {
    lua::Options options(L, 2, "docker.load_images");
    const std::string path = options.string("path").value_or("");
    const auto progress = progress_option(L, options);
    options.finish();
    auto loaded = docker::load_image_file(docker_self(L), path, teller(progress));
    return push_progressing(L, std::move(loaded), progress, push_image_file);
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
  return lua::guard(L, [L] { return push_op(L, docker::inspect_image(docker_self(L), lua::check_string(L, 2))); });
}
int list_images(lua_State* L) {
  return lua::guard(L, [L] {
    lua::Options options(L, 2, "docker.list_images");
    const std::string reference = options.string("reference").value_or("");
    const auto labels = options.strings("labels").value_or(std::vector<std::string>());
    const bool nameless = options.boolean("nameless").value_or(false);
    options.finish();
    return push_op(L, docker::list_images(docker_self(L), reference, labels, nameless));
  });
}
int tag_image(lua_State* L) {
  return lua::guard(L, [L] {
    return push_op(L, docker::tag_image(docker_self(L), lua::check_string(L, 2), lua::check_string(L, 3)));
  });
}
int remove_image(lua_State* L) {
  return lua::guard(L, [L] {
    lua::Options options(L, 3, "docker.remove_image");
    const bool force = options.boolean("force").value_or(false);
    options.finish();
    return push_op(L, docker::remove_image(docker_self(L), lua::check_string(L, 2), force));
  });
}

}  // namespace

const luaL_Reg kImageCalls[] = {
    {"pull", pull},
    {"ship", ship},
    {"save_images", save_images},
    {"load_images", load_images},
    {"inspect_image", inspect_image},
    {"inspect_remote_image", inspect_remote_image},
    {"list_images", list_images},
    {"tag_image", tag_image},
    {"remove_image", remove_image},
    {nullptr, nullptr},
};

const luaL_Reg kImageFunctions[] = {{"progress", progress}, {nullptr, nullptr}};

}  // namespace deployrun::bindings

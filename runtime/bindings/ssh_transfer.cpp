#include "bindings/ssh_transfer.hpp"

#include <array>
#include <charconv>
#include <optional>

#include "bindings/secret.hpp"
#include "core/queue.hpp"
#include "lua/guard.hpp"
#include "lua/object.hpp"
#include "lua/operation.hpp"
#include "lua/options.hpp"
#include "lua/stack.hpp"
#include "ssh/sftp_fallback.hpp"
#include "ssh/sftp_paths.hpp"

namespace deployrun::bindings {
namespace {

struct Progress {
  std::uint64_t bytes = 0;
  std::uint64_t total = 0;
};

/// Where a transfer's progress waits for whoever reads it.
class TransferProgress {
 public:
  using Queue = core::Queue<Progress>;
  const std::shared_ptr<Queue>& queue() const { return queue_; }

 private:
  std::shared_ptr<Queue> queue_ = std::make_shared<Queue>();
};

int next_progress(lua_State* L);

}  // namespace
}  // namespace deployrun::bindings

namespace deployrun::lua {

template <>
struct ObjectType<bindings::TransferProgress> {
  static constexpr const char* kName = "ssh.progress";
  static constexpr luaL_Reg kMethods[] = {{"next", bindings::next_progress}, {nullptr, nullptr}};
};

}  // namespace deployrun::lua

namespace deployrun::bindings {
namespace {

/// A transfer whose progress comes to an end with it, however it ends.
template <class T>
class Progressing final : public core::Operation<T> {
 public:
  using Done = typename core::Operation<T>::Done;
  Progressing(std::unique_ptr<core::Operation<T>> transfer, std::shared_ptr<TransferProgress::Queue> queue)
      : transfer_(std::move(transfer)), queue_(std::move(queue)) {}
  ~Progressing() override { queue_->close(); }
  void start(Done done) override {
    transfer_->start([queue = queue_, done = std::move(done)](core::Result<T> result) {
      queue->close();
      done(std::move(result));
    });
  }
  void cancel() noexcept override { transfer_->cancel(); }

 private:
  std::unique_ptr<core::Operation<T>> transfer_;
  std::shared_ptr<TransferProgress::Queue> queue_;
};

/// "0644".
std::array<char, 8> mode_digits(mode_t mode) {
  std::array<char, 8> digits{};
  std::snprintf(digits.data(), digits.size(), "%04o", static_cast<unsigned>(mode & 07777U));
  return digits;
}

/// Leaves { bytes, mode = "0644", ms }.
void push_transferred(lua_State* L, const ssh::Transferred& done) {
  lua_createtable(L, 0, 3);
  lua::set_field(L, "bytes", static_cast<double>(done.bytes));
  lua::set_field(L, "mode", mode_digits(done.mode).data());
  lua::set_field(L, "ms", static_cast<double>(done.duration.count()));
}

/// Leaves { files, bytes, ms }.
void push_transferred_folder(lua_State* L, const ssh::TransferredFolder& done) {
  lua_createtable(L, 0, 3);
  lua::set_field(L, "files", static_cast<double>(done.files));
  lua::set_field(L, "bytes", static_cast<double>(done.bytes));
  lua::set_field(L, "ms", static_cast<double>(done.duration.count()));
}

std::shared_ptr<TransferProgress::Queue> take_progress(lua_State* L, lua::Options& options) {
  std::shared_ptr<TransferProgress::Queue> queue;
  if (options.push("progress")) queue = lua::check_object<TransferProgress>(L, lua_gettop(L))->queue();
  lua_pop(L, 1);
  return queue;
}

ssh::OnProgress tell(const std::shared_ptr<TransferProgress::Queue>& queue) {
  if (!queue) return {};
  return [queue](std::uint64_t bytes, std::uint64_t total) { queue->push({bytes, total}); };
}

template <class T, class Push>
int push_transfer(lua_State* L, std::unique_ptr<core::Operation<T>> transfer,
                  std::shared_ptr<TransferProgress::Queue> queue, Push push) {
  if (queue) transfer = std::make_unique<Progressing<T>>(std::move(transfer), std::move(queue));
  return lua::push_operation(L, std::move(transfer), push);
}

ssh::PutOptions check_put(lua::Options& options, const std::string& what) {
  ssh::PutOptions put;
  if (const auto mode = options.string("mode")) {
    unsigned value = 0;
    const auto [end, wrong] = std::from_chars(mode->data(), mode->data() + mode->size(), value, 8);
    if (wrong != std::errc{} || end != mode->data() + mode->size() || value > 07777U) {
      throw core::Failure(core::usage(what + ": option `mode` must be octal, such as \"0644\", got \"" + *mode + "\""));
    }
    put.mode = static_cast<mode_t>(value);
  }
  put.owner = options.string("owner").value_or("");
  put.make_parents = options.boolean("make_parents").value_or(false);
  return put;
}

int next_progress(lua_State* L) {
  return lua::guard(L, [L] {
    std::unique_ptr<core::Operation<std::optional<Progress>>> next =
        std::make_unique<TransferProgress::Queue::Next>(lua::check_object<TransferProgress>(L, 1)->queue());
    return lua::push_operation(L, std::move(next), [](lua_State* state, const std::optional<Progress>& now) {
      if (!now) return lua_pushnil(state);
      lua_createtable(state, 0, 2);
      lua::set_field(state, "bytes", static_cast<double>(now->bytes));
      lua::set_field(state, "total_bytes", static_cast<double>(now->total));
    });
  });
}

}  // namespace

int push_upload(lua_State* L, std::shared_ptr<ssh::Session> session) {
  std::string from = lua::check_string(L, 2);
  std::string to = lua::check_string(L, 3);
  lua::Options options(L, 4, "ssh.upload");
  ssh::PutOptions put = check_put(options, "ssh.upload");
  const auto queue = take_progress(L, options);
  options.finish();
  put.on_progress = tell(queue);
  auto operation =
      ssh::upload(std::move(session), ssh::Upload::FromFile{std::move(from)}, std::move(to), std::move(put));
  return push_transfer(L, std::move(operation), queue, push_transferred);
}

int push_upload_folder(lua_State* L, std::shared_ptr<ssh::Session> session) {
  std::string from = lua::check_string(L, 2);
  std::string to = lua::check_string(L, 3);
  lua::Options options(L, 4, "ssh.upload_folder");
  ssh::FolderOptions folder;
  folder.owner = options.string("owner").value_or("");
  folder.make_parents = options.boolean("make_parents").value_or(false);
  folder.replace = options.boolean("replace").value_or(false);
  const auto queue = take_progress(L, options);
  options.finish();
  folder.on_progress = tell(queue);
  auto operation = ssh::upload_folder(std::move(session), std::move(from), std::move(to), std::move(folder));
  return push_transfer(L, std::move(operation), queue, push_transferred_folder);
}

int push_write(lua_State* L, std::shared_ptr<ssh::Session> session) {
  std::string bytes = check_secret_or_string(L, 2);
  std::string to = lua::check_string(L, 3);
  lua::Options options(L, 4, "ssh.write");
  ssh::PutOptions put = check_put(options, "ssh.write");
  options.finish();
  auto operation = ssh::upload(std::move(session), std::move(bytes), std::move(to), std::move(put));
  return lua::push_operation(L, std::move(operation), push_transferred);
}

int push_download(lua_State* L, std::shared_ptr<ssh::Session> session) {
  std::string from = lua::check_string(L, 2);
  std::string to = lua::check_string(L, 3);
  lua::Options options(L, 4, "ssh.download");
  const auto queue = take_progress(L, options);
  options.finish();
  auto operation = ssh::download(std::move(session), std::move(from), std::move(to), tell(queue));
  return push_transfer(L, std::move(operation), queue, push_transferred);
}

int push_download_folder(lua_State* L, std::shared_ptr<ssh::Session> session) {
  std::string from = lua::check_string(L, 2);
  std::string to = lua::check_string(L, 3);
  lua::Options options(L, 4, "ssh.download_folder");
  ssh::UnpackOptions unpack;
  unpack.replace = options.boolean("replace").value_or(false);
  const std::int64_t limit = options.integer("limit").value_or(std::int64_t{16} << 30U);
  unpack.limit = static_cast<std::uint64_t>(std::max<std::int64_t>(limit, 0));
  const auto queue = take_progress(L, options);
  options.finish();
  auto operation = ssh::download_folder(std::move(session), std::move(from), std::move(to), unpack, tell(queue));
  return push_transfer(L, std::move(operation), queue, push_transferred_folder);
}

int push_read(lua_State* L, std::shared_ptr<ssh::Session> session) {
  std::string path = lua::check_string(L, 2);
  lua::Options options(L, 3, "ssh.read");
  const std::int64_t limit = options.integer("limit").value_or(std::int64_t{8} << 20U);
  options.finish();
  auto operation =
      ssh::read_file(std::move(session), std::move(path), static_cast<std::size_t>(std::max<std::int64_t>(limit, 0)));
  return lua::push_operation(L, std::move(operation),
                             [](lua_State* state, const std::string& bytes) { lua::push_string(state, bytes); });
}

int push_sftp_stat(lua_State* L, std::shared_ptr<ssh::Session> session) {
  std::unique_ptr<core::Operation<std::optional<ssh::PathInfo>>> operation =
      std::make_unique<ssh::SftpStat>(std::move(session), lua::check_string(L, 2));
  return lua::push_operation(L, std::move(operation), [](lua_State* state, const std::optional<ssh::PathInfo>& found) {
    if (!found) return lua_pushnil(state);
    static constexpr std::array<const char*, 4> kTypes = {"file", "directory", "symlink", "other"};
    lua_createtable(state, 0, 5);
    lua::set_field(state, "type", kTypes[static_cast<std::size_t>(found->type)]);
    lua::set_field(state, "size", static_cast<double>(found->size));
    lua::set_field(state, "mode", mode_digits(found->mode).data());
    lua::set_field(state, "user", found->user.c_str());
    lua::set_field(state, "group", found->group.c_str());
  });
}

int push_sftp_remove(lua_State* L, std::shared_ptr<ssh::Session> session) {
  std::unique_ptr<core::Operation<bool>> operation =
      std::make_unique<ssh::SftpRemove>(std::move(session), lua::check_string(L, 2), lua_toboolean(L, 3) != 0);
  return lua::push_operation(L, std::move(operation),
                             [](lua_State* state, bool removed) { lua_pushboolean(state, removed ? 1 : 0); });
}

int transfer_progress(lua_State* L) {
  return lua::guard(L, [L] {
    lua::push_object(L, std::make_shared<TransferProgress>());
    return 1;
  });
}

}  // namespace deployrun::bindings

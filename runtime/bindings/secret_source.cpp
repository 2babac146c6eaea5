// `native.secret_source.raw`: secrets from programs, from standard input and from whole files. The bytes go from the
// pipe into secrets; Lua never holds them.
#include <unistd.h>

#include "bindings/context.hpp"
#include "bindings/secret.hpp"
#include "core/files.hpp"
#include "core/pool.hpp"
#include "core/process.hpp"
#include "core/quote.hpp"
#include "core/read_input.hpp"
#include "core/redactor.hpp"
#include "core/secret_file.hpp"
#include "core/text.hpp"
#include "json/json.hpp"
#include "lua/guard.hpp"
#include "lua/module.hpp"
#include "lua/operation.hpp"
#include "lua/options.hpp"
#include "lua/stack.hpp"

namespace deployrun::bindings {

namespace {

constexpr std::size_t kMaxBytes = 1U << 20U;
constexpr std::size_t kStderrShown = 4096;

/// How bytes become secrets.
struct Shape {
  std::string format;             ///< "value", "dotenv", "json"
  std::string name;               ///< of a "value"
  std::vector<std::string> path;  ///< of "json": the members that lead to the object, from the root
  std::string source;             ///< for messages: "op", "standard input"
};

using Secrets = std::vector<core::Secret>;

core::Error unreadable(const Shape& shape, const std::string& why) {
  core::Error error{.kind = "secret.source", .message = "secrets from " + shape.source + ": " + why};
  error.details["source"] = shape.source;
  return error;
}

/// One line end after a value is not part of it: programs print it for people. Everything else is.
std::string_view without_line_end(std::string_view text) {
  if (text.ends_with('\n')) text.remove_suffix(1);
  if (text.ends_with('\r')) text.remove_suffix(1);
  return text;
}

void wipe_json(json::Json& value) {
  if (value.is_string()) core::wipe(value.get_ref<std::string&>());
  if (value.is_structured()) {
    for (json::Json& each : value) wipe_json(each);
  }
}

core::Result<Secrets> from_json(std::string_view text, const Shape& shape) {
  // The parser's message quotes the text around the mistake: only the place is told.
  auto parsed = json::parse(text, {.bytes = kMaxBytes}, shape.source);
  if (!parsed.ok()) return unreadable(shape, "what came is not JSON");
  json::Json* at = &*parsed;
  for (const std::string& member : shape.path) {
    const auto found = at->is_object() ? at->find(member) : at->end();
    if (!at->is_object() || found == at->end()) {
      wipe_json(*parsed);
      return unreadable(shape, "the JSON has no member `" + member + "`");
    }
    at = &*found;
  }
  Secrets secrets;
  std::string wrong = at->is_object() ? "" : "the JSON is no object of NAME: VALUE";
  if (wrong.empty()) {
    for (auto& [name, value] : at->items()) {
      if (value.is_string()) {
        secrets.emplace_back(name, std::string(value.get_ref<const std::string&>()));
      } else if (value.is_number() || value.is_boolean()) {
        secrets.emplace_back(name, value.dump());
      } else if (!value.is_null()) {
        wrong = "the JSON's member `" + name + "` is neither text nor a number";
      }
    }
  }
  wipe_json(*parsed);
  if (!wrong.empty()) return unreadable(shape, wrong);
  return secrets;
}

std::optional<std::string> from_environment(const std::string& name) {
  const char* value = std::getenv(name.c_str());
  return value == nullptr ? std::nullopt : std::optional<std::string>(value);
}

/// Wipes `bytes`.
core::Result<Secrets> shaped(std::string&& bytes, const Shape& shape) {
  core::Result<Secrets> secrets = Secrets{};
  if (shape.format == "value") {
    const std::string_view value = without_line_end(bytes);
    if (value.empty()) {
      secrets = unreadable(shape, "nothing came");
    } else {
      secrets = Secrets{core::Secret(shape.name, std::string(value))};
    }
  } else if (shape.format == "dotenv") {
    secrets = core::parse_secrets(bytes, shape.source, from_environment);
  } else {
    secrets = from_json(bytes, shape);
  }
  core::wipe(bytes);
  return secrets;
}

/// Another operation's bytes as secrets.
template <class From>
class Shaped final : public core::Operation<Secrets> {
 public:
  using Read = std::function<core::Result<std::string>(typename From::Value&&)>;
  Shaped(std::unique_ptr<core::Operation<typename From::Value>> from, Shape shape, Read read)
      : from_(std::move(from)), shape_(std::move(shape)), read_(std::move(read)) {}
  void start(Done done) override {
    from_->start([this, done = std::move(done)](core::Result<typename From::Value> result) {
      if (!result.ok()) return done(std::move(result).error());
      auto bytes = read_(std::move(result).value());
      if (!bytes.ok()) return done(std::move(bytes).error());
      done(shaped(std::move(bytes).value(), shape_));
    });
  }
  void cancel() noexcept override { from_->cancel(); }

 private:
  std::unique_ptr<core::Operation<typename From::Value>> from_;
  Shape shape_;
  Read read_;
};

Shape check_shape(lua::Options& options, std::string source) {
  Shape shape{.format = options.require_string("format"),
              .name = options.string("name").value_or(""),
              .path = options.strings("path").value_or(std::vector<std::string>{}),
              .source = std::move(source)};
  if (shape.format != "value" && shape.format != "dotenv" && shape.format != "json")
    throw core::Failure(core::usage("secrets: option `format` must be \"value\", \"dotenv\" or \"json\""));
  if ((shape.format == "value") == shape.name.empty())
    throw core::Failure(core::usage("secrets: a value needs a `name`, and only a value has one"));
  if (!shape.path.empty() && shape.format != "json")
    throw core::Failure(core::usage("secrets: `path` belongs to the format \"json\""));
  return shape;
}

core::Result<std::string> output_of(core::ProcessResult&& result, const Shape& shape, const std::string& command) {
  if (result.code == 0) return std::move(result.out);
  core::wipe(result.out);  // whatever it is, it is no message
  const std::string said = core::clean(core::tail(result.err, kStderrShown));
  const auto lines = core::lines(core::trim(said));
  std::string why = result.signal != 0 ? "ended by signal " + std::to_string(result.signal)
                                       : "exit code " + std::to_string(result.code);
  if (!lines.empty()) why += ": " + std::string(lines.back());
  core::Error error = unreadable(shape, why);
  error.details["code"] = std::int64_t{result.code};
  error.details["command"] = command;
  error.details["stderr"] = said;
  return error;
}

/// command(argv, { format, name?, path?, env?, cwd? })
int command(lua_State* L) {
  return lua::guard(L, [L] {
    core::ProcessOptions process;
    process.argv = lua::check_strings(L, 1);
    if (process.argv.empty()) throw core::Failure(core::usage("secrets: a command needs a program"));
    process.output_limit = kMaxBytes;
    process.secret_output = true;
    lua::Options options(L, 2, "secrets");
    Shape shape = check_shape(options, process.argv[0]);
    if (auto env = secret_map(L, options, "env")) process.env = std::move(*env);
    process.cwd = options.string("cwd").value_or("");
    options.finish();
    const auto read = [shape, shown = core::shell_join(process.argv)](core::ProcessResult&& result) {
      return output_of(std::move(result), shape, shown);
    };
    std::unique_ptr<core::Operation<Secrets>> secrets = std::make_unique<Shaped<core::Process>>(
        std::make_unique<core::Process>(context(L).loop, std::move(process)), shape, read);
    return lua::push_operation(L, std::move(secrets), push_secrets);
  });
}

/// input({ format, name?, path? })
int input(lua_State* L) {
  return lua::guard(L, [L] {
    lua::Options options(L, 1, "secrets");
    Shape shape = check_shape(options, "standard input");
    options.finish();
    std::unique_ptr<core::Operation<Secrets>> secrets = std::make_unique<Shaped<core::ReadInput>>(
        std::make_unique<core::ReadInput>(context(L).loop, STDIN_FILENO, kMaxBytes), std::move(shape),
        [](std::string&& bytes) -> core::Result<std::string> { return std::move(bytes); });
    return lua::push_operation(L, std::move(secrets), push_secrets);
  });
}

/// file(path, { format, name?, path? })
int file(lua_State* L) {
  return lua::guard(L, [L] {
    const std::string path = lua::check_string(L, 1);
    lua::Options options(L, 2, "secrets");
    Shape shape = check_shape(options, path);
    options.finish();
    using Read = core::PoolJob<std::string>;
    std::unique_ptr<core::Operation<Secrets>> secrets = std::make_unique<Shaped<Read>>(
        std::make_unique<Read>(context(L).loop, [path] { return core::read_file_now(path, kMaxBytes); }),
        std::move(shape), [](std::string&& bytes) -> core::Result<std::string> { return std::move(bytes); });
    return lua::push_operation(L, std::move(secrets), push_secrets);
  });
}

constexpr luaL_Reg kFunctions[] = {{"command", command}, {"input", input}, {"file", file}, {nullptr, nullptr}};

}  // namespace

int open_secret_source(lua_State* L) { return lua::export_table(L, kFunctions); }

}  // namespace deployrun::bindings

// What containers and commands inside them say: logs, following them, exec.
#include <algorithm>

#include "docker/containers.hpp"
#include "docker/shape.hpp"

namespace deployrun::docker {

namespace {

constexpr std::size_t kMostOutput = 16U << 20U;

Ask ask_logs(const std::string& name, const LogOptions& options, bool follow) {
  Ask ask{.what = "logs of " + name, .path = "/containers/" + name_part(name) + "/logs"};
  ask.query = {{"stdout", "1"}, {"stderr", "1"}, {"tail", options.tail ? std::to_string(*options.tail) : "all"}};
  if (!options.since.empty()) ask.query.emplace_back("since", options.since);
  if (options.timestamps) ask.query.emplace_back("timestamps", "1");
  if (follow) ask.query.emplace_back("follow", "1");
  return ask;
}

/// Keeps the beginning of what comes, up to a limit over both streams.
struct Collected {
  std::string text, out, err;
  bool truncated = false;
  bool both = false;  // whether `text` is wanted
  Demultiplexer frames{[this](Source source, std::string_view bytes) {
    const std::size_t room = kMostOutput - std::min(kMostOutput, out.size() + err.size());
    if (bytes.size() > room) truncated = true;
    bytes = bytes.substr(0, room);
    (source == Source::err ? err : out) += bytes;
    if (both) text += bytes;
  }};
};

void collect(Ask& ask, const std::shared_ptr<Collected>& into) {
  ask.on_body = [into](const http::Reply&, std::string_view bytes) {
    into->frames.feed(bytes);
    return http::Flow::taken;
  };
}

}  // namespace

Op<Logs> logs(ClientPtr client, const std::string& name, const LogOptions& options) {
  auto output = std::make_shared<Collected>();
  output->both = true;
  Ask ask = ask_logs(name, options, false);
  collect(ask, output);
  return chain<Logs>([client, ask, output](Chain<Logs>& steps) {
    steps.then<http::Reply>(std::make_unique<Answer>(client, ask), [&steps, output](const http::Reply&) {
      steps.finish(Logs{std::move(output->text), std::move(output->out), std::move(output->err), output->truncated});
    });
  });
}

Follow::Follow(ClientPtr client, const std::string& name, const LogOptions& options)
    : lines_(std::make_shared<core::Queue<LogLine>>()) {
  auto joined = std::make_shared<Lines>([lines = lines_](Source source, std::string text) {
    lines->push({source, std::move(text)});
  });
  auto frames =
      std::make_shared<Demultiplexer>([joined](Source source, std::string_view bytes) { joined->feed(source, bytes); });
  Ask ask = ask_logs(name, options, true);
  ask.on_body = [lines = lines_, frames](const http::Reply&, std::string_view bytes) {
    if (lines->full()) return http::Flow::pause;
    frames->feed(bytes);
    return http::Flow::taken;
  };
  answer_ = std::make_unique<Answer>(std::move(client), std::move(ask));
  lines_->on_room = [this] {
    if (answer_) answer_->resume();
  };
  answer_->start([lines = lines_, joined](core::Result<http::Reply> reply) {
    joined->finish();
    lines->close(reply ? std::optional<core::Error>() : std::optional<core::Error>(std::move(reply).error()));
  });
}

Follow::~Follow() { close(); }

void Follow::close() {
  lines_->on_room = nullptr;
  answer_.reset();
  lines_->close();
}

namespace {

bool is_exec_id(const std::string& id) {
  return !id.empty() && id.find_first_not_of("0123456789abcdef") == std::string::npos;
}

Op<int> ask_code_of(const ClientPtr& client, const std::string& id, const std::string& what) {
  return chain<int>([client, id, what](Chain<int>& steps) {
    const Ask inspect{.what = what, .path = "/exec/" + id + "/json"};
    steps.then<Json>(ask_json(client, inspect), [&steps, client, what](const Json& state) {
      const auto code = state.find("ExitCode");
      // Still running or without a code: the stream was cut, not ended.
      if (code == state.end() || !code->is_number_integer() ||
          (state.contains("Running") && state["Running"] == true)) {
        return steps.finish(core::Error{
            .kind = "docker.lost", .message = what + ": the output ended before the command", .host = client->host()});
      }
      steps.finish(code->get<int>());
    });
  });
}

Ask ask_exec(const std::string& name, const std::vector<std::string>& argv, const ExecOptions& options) {
  if (argv.empty()) throw core::Failure(core::usage("exec in " + name + ": an empty command"));
  Json env = Json::array();
  for (const auto& [key, value] : options.env) env.push_back(key + "=" + value);
  Ask create{.what = "exec " + argv.front() + " in " + name,
             .method = "POST",
             .path = "/containers/" + name_part(name) + "/exec"};
  create.body = Json{{"AttachStdout", true}, {"AttachStderr", true}, {"Tty", false}, {"Cmd", argv}, {"Env", env}};
  if (!options.user.empty()) (*create.body)["User"] = options.user;
  if (!options.workdir.empty()) (*create.body)["WorkingDir"] = options.workdir;
  return create;
}

/// One command inside a container on its way.
struct Execution {
  ClientPtr client;
  std::string what;
  bool ask_code;
  core::Instant begun{};
  std::shared_ptr<Collected> output = std::make_shared<Collected>();
};

void start_exec(Chain<ExecResult>& steps, const std::shared_ptr<Execution>& run, const std::string& id) {
  Ask start{.what = run->what,
            .method = "POST",
            .path = "/exec/" + id + "/start",
            .body = Json{{"Detach", false}, {"Tty", false}}};
  collect(start, run->output);
  steps.then<http::Reply>(std::make_unique<Answer>(run->client, start), [&steps, run, id](const http::Reply&) {
    const auto finish = [&steps, run, id](std::optional<int> code) {
      const double ms = std::chrono::duration<double, std::milli>(core::Loop::now() - run->begun).count();
      Collected& output = *run->output;
      steps.finish(ExecResult{id, std::move(output.out), std::move(output.err), code, ms, output.truncated});
    };
    if (!run->ask_code) return finish({});
    steps.then<int>(ask_code_of(run->client, id, run->what), finish);
  });
}

}  // namespace

Op<std::string> prepare_exec(ClientPtr client, const std::string& name, const std::vector<std::string>& argv,
                             const ExecOptions& options) {
  const Ask create = ask_exec(name, argv, options);
  return chain<std::string>([client, create](Chain<std::string>& steps) {
    steps.then<Json>(ask_json(client, create), [&steps, client, create](const Json& made) {
      std::string id = text_at(made, "Id");
      if (!is_exec_id(id)) return steps.finish(client->misunderstood(create, "no exec id"));
      steps.finish(std::move(id));
    });
  });
}

Op<ExecResult> exec(ClientPtr client, const std::string& name, const std::vector<std::string>& argv,
                    const ExecOptions& options) {
  const Ask create = ask_exec(name, argv, options);
  if (!options.prepared.empty() && !is_exec_id(options.prepared))
    throw core::Failure(core::usage("exec in " + name + ": `" + options.prepared + "` is no exec's id"));
  auto run = std::make_shared<Execution>(Execution{client, create.what, options.ask_code});
  return chain<ExecResult>([client, create, run, prepared = options.prepared](Chain<ExecResult>& steps) {
    run->begun = core::Loop::now();
    if (!prepared.empty()) return start_exec(steps, run, prepared);
    steps.then<Json>(ask_json(client, create), [&steps, client, create, run](const Json& made) {
      const std::string id = text_at(made, "Id");
      if (!is_exec_id(id)) return steps.finish(client->misunderstood(create, "no exec id"));
      start_exec(steps, run, id);
    });
  });
}

Op<int> exec_code(ClientPtr client, const std::string& id) {
  if (!is_exec_id(id)) throw core::Failure(core::usage("exec_code: `" + id + "` is no exec's id"));
  return ask_code_of(std::move(client), id, "the exit code of exec " + id);
}

namespace {

/// Asks about one exec after the other: there are few, and the next look comes soon.
void ask_execs(Chain<Json>& steps, const ClientPtr& client, const std::string& name, std::vector<std::string> left,
               Json found) {
  if (left.empty()) return steps.finish(std::move(found));
  const std::string id = left.back();
  left.pop_back();
  const Ask ask{.what = "inspect an exec in " + name, .path = "/exec/" + id + "/json"};
  steps.any<Json>(ask_json(client, ask), [&steps, client, name, left, found, id](core::Result<Json> state) mutable {
    // The engine forgets those that ended.
    if (!state && !state.error().is("docker.not_found")) return steps.finish(std::move(state).error());
    if (state) found.push_back(exec_shape(*state));
    ask_execs(steps, client, name, std::move(left), std::move(found));
  });
}

}  // namespace

Op<Json> list_execs(ClientPtr client, const std::string& name) {
  const Ask ask{.what = "list execs of " + name, .path = "/containers/" + name_part(name) + "/json"};
  return chain<Json>([client, ask, name](Chain<Json>& steps) {
    steps.then<Json>(ask_json(client, ask), [&steps, client, name](const Json& raw) {
      std::vector<std::string> ids;
      if (const auto found = raw.find("ExecIDs"); found != raw.end() && found->is_array()) {
        for (const Json& id : *found) {
          if (id.is_string()) ids.push_back(id.get<std::string>());
        }
      }
      ask_execs(steps, client, name, std::move(ids), Json::array());
    });
  });
}

}  // namespace deployrun::docker

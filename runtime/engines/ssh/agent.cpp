#include "ssh/agent.hpp"

#include <sys/socket.h>
#include <sys/un.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "core/text.hpp"
#include "ssh/handles.hpp"
#include "ssh/wire.hpp"

namespace deployrun::ssh {
namespace {

constexpr char kRequestIdentities = 11;
constexpr char kIdentitiesAnswer = 12;
constexpr char kSignRequest = 13;
constexpr char kSignResponse = 14;
constexpr std::size_t kAnswerLimit = 256U << 10U;
constexpr std::size_t kKeysLimit = 1024;

core::Error agent_error(std::string message) { return {.kind = "ssh.agent", .message = std::move(message)}; }

}  // namespace

core::Result<std::vector<AgentKey>> parse_agent_keys(std::string_view answer) {
  if (answer.empty() || answer[0] != kIdentitiesAnswer) return agent_error("the agent did not list its keys");
  WireReader reader(answer.substr(1));
  const auto count = reader.u32();
  if (!count || *count > kKeysLimit) return agent_error("the agent's list of keys is damaged");
  std::vector<AgentKey> keys;
  for (std::uint32_t i = 0; i < *count; ++i) {
    const auto blob = reader.string();
    const auto comment = reader.string();
    if (!comment) return agent_error("the agent's list of keys is damaged");
    keys.push_back({std::string(*blob), core::clean(*comment)});
  }
  return keys;
}

core::Result<std::string> parse_agent_signature(std::string_view answer) {
  if (answer.empty() || answer[0] != kSignResponse) return agent_error("the agent refused to sign");
  WireReader reader(answer.substr(1));
  const auto signature = reader.string();
  if (!signature) return agent_error("the agent's signature is damaged");
  WireReader inner(*signature);
  const auto algorithm = inner.string();
  const auto bytes = inner.string();
  if (!bytes || algorithm->empty()) return agent_error("the agent's signature is damaged");
  return std::string(*bytes);
}

/// Outlives the Agent while a callback of the poll handle runs.
struct Agent::Link : std::enable_shared_from_this<Agent::Link> {
  Link(core::Loop& on, std::string where) : loop(on), path(std::move(where)) {}
  ~Link() {
    if (poll != nullptr) core::close_handle(poll);
  }

  void open() {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.size() >= sizeof address.sun_path) return fail("its path is too long");
    std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
    socket = Descriptor(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    // A local socket connects at once or (its queue being full) not at all.
    if (socket.get() < 0 || ::connect(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
      return fail(std::strerror(errno));
    }
    poll = new uv_poll_t;
    uv_poll_init(loop.raw(), poll, socket.get());
    poll->data = this;
  }

  void ask(std::string_view body, Answer answer) {
    answers.push_back(std::move(answer));
    if (!opened) {
      opened = true;
      open();
    }
    if (broken) {
      loop.defer([weak = weak_from_this()] {
        if (const auto self = weak.lock()) self->fail("it went away");
      });
      return;
    }
    put_string(out, body);
    work();
  }

  void work() {
    const auto self = shared_from_this();
    while (!out.empty()) {
      const ssize_t count = ::send(socket.get(), out.data(), out.size(), MSG_NOSIGNAL);
      if (count < 0 && errno == EINTR) continue;
      if (count < 0 && errno == EAGAIN) break;
      if (count < 0) return fail(std::strerror(errno));
      out.erase(0, static_cast<std::size_t>(count));
    }
    std::array<char, 16U << 10U> piece;
    for (;;) {
      const ssize_t count = ::recv(socket.get(), piece.data(), piece.size(), 0);
      if (count < 0 && errno == EINTR) continue;
      if (count < 0 && errno == EAGAIN) break;
      if (count <= 0) return fail(count == 0 ? "it closed the connection" : std::strerror(errno));
      in.append(piece.data(), static_cast<std::size_t>(count));
      if (in.size() > kAnswerLimit) return fail("its answer is too long");
    }
    uv_poll_start(poll, UV_READABLE | (out.empty() ? 0 : UV_WRITABLE), [](uv_poll_t* handle, int, int) {
      const auto link = static_cast<Link*>(handle->data)->shared_from_this();
      link->work();
    });
    for (;;) {
      WireReader reader(in);
      const auto answer = reader.string();
      if (!answer || answers.empty()) return;
      std::string body(*answer);
      in.erase(0, 4 + body.size());
      const auto take = std::move(answers.front());
      answers.pop_front();
      if (!abandoned) take(std::move(body));
      if (broken || abandoned) return;
    }
  }

  void fail(const std::string& why) {
    broken = true;
    if (poll != nullptr) core::close_handle(poll);
    poll = nullptr;
    const auto self = weak_from_this().lock();
    while (!answers.empty()) {
      const auto answer = std::move(answers.front());
      answers.pop_front();
      if (!abandoned) answer(agent_error("agent " + path + ": " + why));
    }
  }

  core::Loop& loop;
  std::string path;
  Descriptor socket;
  uv_poll_t* poll = nullptr;
  bool opened = false;
  bool broken = false;
  bool abandoned = false;
  std::string out;
  std::string in;
  std::deque<Answer> answers;
};

Agent::Agent(core::Loop& loop, std::string path) : link_(std::make_shared<Link>(loop, std::move(path))) {}

Agent::~Agent() {
  link_->abandoned = true;
  link_->answers.clear();
}

void Agent::request(const std::string& body, Answer answer) { link_->ask(body, std::move(answer)); }

void Agent::list(std::function<void(core::Result<std::vector<AgentKey>>)> done) {
  request(std::string(1, kRequestIdentities), [done = std::move(done)](core::Result<std::string> answer) {
    if (!answer) return done(answer.error());
    done(parse_agent_keys(*answer));
  });
}

void Agent::sign(const std::string& blob, const std::string& data, std::uint32_t flags,
                 std::function<void(core::Result<std::string>)> done) {
  std::string body(1, kSignRequest);
  put_string(body, blob);
  put_string(body, data);
  put_u32(body, flags);
  request(body, [done = std::move(done)](core::Result<std::string> answer) {
    if (!answer) return done(answer.error());
    done(parse_agent_signature(*answer));
  });
}

}  // namespace deployrun::ssh

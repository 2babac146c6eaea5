// The agent's life, from outside: a process that talks through pipes.
#include "agent_program/server.hpp"

#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <chrono>

#include "../scratch.hpp"

using namespace deployrun;
using agent::Json;
using test::Scratch;

namespace {

class Process {
 public:
  explicit Process(core::Milliseconds lease = core::Milliseconds(30'000)) {
    int in[2], out[2];
    REQUIRE(::pipe(in) == 0);
    REQUIRE(::pipe(out) == 0);
    pid_ = ::fork();
    REQUIRE(pid_ >= 0);
    if (pid_ == 0) {
      ::dup2(in[0], STDIN_FILENO);
      ::dup2(out[1], STDOUT_FILENO);
      for (const int fd : {in[0], in[1], out[0], out[1]}) ::close(fd);
      ::signal(SIGPIPE, SIG_IGN);
      agent::Server server(lease);
      ::_exit(server.run());
    }
    ::close(in[0]);
    ::close(out[1]);
    in_ = in[1];
    out_ = out[0];
  }
  ~Process() {
    shut();
    if (pid_ > 0) {
      ::kill(pid_, SIGKILL);
      ::waitpid(pid_, nullptr, 0);
    }
    ::close(out_);
  }
  void send(const std::string& line) { REQUIRE(::write(in_, (line + "\n").data(), line.size() + 1) > 0); }
  void send(const Json& line) { send(line.dump()); }
  void shut() {
    if (in_ >= 0) ::close(in_);
    in_ = -1;
  }
  /// The next line; null at the end, and where none comes for a minute.
  Json next() {
    for (std::size_t end = 0; (end = buffer_.find('\n')) == std::string::npos;) {
      pollfd readable{out_, POLLIN, 0};
      if (::poll(&readable, 1, 60'000) <= 0) return nullptr;
      char piece[65536];
      const ssize_t size = ::read(out_, piece, sizeof piece);
      if (size <= 0) return nullptr;
      buffer_.append(piece, static_cast<std::size_t>(size));
    }
    const std::size_t end = buffer_.find('\n');
    const std::string line = buffer_.substr(0, end);
    buffer_.erase(0, end + 1);
    return Json::parse(line);
  }
  int wait() {
    int status = 0;
    REQUIRE(::waitpid(pid_, &status, 0) == pid_);
    pid_ = 0;
    REQUIRE(WIFEXITED(status));
    return WEXITSTATUS(status);
  }
  pid_t pid() const { return pid_; }

 private:
  pid_t pid_ = 0;
  int in_ = -1, out_ = -1;
  std::string buffer_;
};

std::string kind(const Json& answer) {
  return answer.is_object() && answer.contains("error") ? answer["error"]["kind"].get<std::string>() : "none";
}

Json open_line(int id, const std::string& path) {
  return Json{{"id", id}, {"method", "open"}, {"params", {{"path", path}, {"create", true}, {"patience_ms", 100}}}};
}

}  // namespace

TEST_CASE("greets its own version alone, answers heartbeats, and ends with its input") {
  Process agent;
  agent.send(Json{{"id", 1}, {"method", "hello"}, {"params", {{"protocol", agent::kProtocol}}}});
  const Json hello = agent.next();
  CHECK(hello["id"] == 1);
  CHECK(hello["result"]["pid"] == agent.pid());
  CHECK(hello["result"]["lease_ms"] == 30'000);
  agent.send(Json{{"id", 2}, {"method", "hello"}, {"params", {{"protocol", 99}}}});
  CHECK(kind(agent.next()) == "agent.protocol");
  agent.send(Json{{"beat", 7}});
  CHECK(agent.next() == Json{{"beat", 7}});
  agent.shut();
  CHECK(agent.wait() == agent::Server::kEnded);
}

TEST_CASE("lines that are none of the protocol are refused, and the next one counts") {
  Process agent;
  const std::string lines[] = {
      "no json",
      "[]",
      "{}",
      R"({"id": "x", "method": "hello"})",
      R"({"id": 1})",
      R"({"id": 1, "method": 5})",
      R"({"id": 1, "method": "space", "timeout_ms": -1})",
      R"({"id": 1, "method": "space", "timeout_ms": "10"})",
      R"({"id": 1, "id": 2, "method": "space"})",
      std::string(60, '[') + std::string(60, ']'),
      "\xff\xfe",
  };
  for (const auto& line : lines) {
    INFO(line);
    agent.send(line);
    const std::string found = kind(agent.next());
    CHECK((found == "agent.protocol" || found == "json.parse"));
  }
  agent.send(std::string(R"({"id": 1, "method": "dance"})"));
  CHECK(kind(agent.next()) == "agent.method");
  agent.send(std::string(agent::kLongestRequest + 10, 'x'));
  CHECK(kind(agent.next()) == "agent.protocol");
  agent.send(Json{{"beat", 1}});
  CHECK(agent.next() == Json{{"beat", 1}});
}

TEST_CASE("requests are worked on at a time, each with its own time, and can be called off") {
  Scratch scratch;
  Process agent;
  agent.send(open_line(1, scratch.path("a.sqlite3")));
  agent.send(open_line(2, scratch.path("a.sqlite3")));
  Json one = agent.next(), two = agent.next();
  if (one["id"] != 1) std::swap(one, two);
  agent.send(Json{
      {"id", 3}, {"method", "begin"}, {"params", {{"connection", one["result"]["connection"]}, {"patience_ms", 0}}}});
  CHECK(agent.next()["id"] == 3);
  const Json waits{{"connection", two["result"]["connection"]}, {"patience_ms", 60'000}};
  agent.send(Json{{"id", 4}, {"method", "begin"}, {"params", waits}, {"timeout_ms", 50}});
  Json late = agent.next();
  CHECK(late["id"] == 4);
  CHECK(kind(late) == "timeout");
  agent.send(Json{{"id", 5}, {"method", "begin"}, {"params", waits}});
  agent.send(Json{{"id", 5}, {"method", "space"}, {"params", {{"path", "/"}}}});
  CHECK(kind(agent.next()) == "agent.protocol");  // a number that is in use
  agent.send(Json{{"id", 6}, {"method", "cancel"}, {"params", {{"id", 5}}}});
  std::map<int, Json> said;
  for (int count = 0; count < 2; ++count) {
    const Json next = agent.next();
    REQUIRE(next.is_object());
    said[next["id"].get<int>()] = next;
  }
  CHECK(said[6]["result"] == true);
  CHECK(kind(said[5]) == "cancelled");
}

TEST_CASE("too many requests at a time are refused") {
  Scratch scratch;
  Process agent;
  agent.send(Json{{"id", 1},
                  {"method", "lock"},
                  {"params", {{"path", scratch.path("m.lock")}, {"says", "x"}, {"patience_ms", 0}}}});
  CHECK(agent.next()["id"] == 1);
  for (int id = 100; id < 100 + agent::kMostRequests; ++id) {
    agent.send(Json{{"id", id},
                    {"method", "lock"},
                    {"params", {{"path", scratch.path("m.lock")}, {"says", "x"}, {"patience_ms", 60'000}}}});
  }
  agent.send(Json{{"id", 2}, {"method", "space"}, {"params", {{"path", "/tmp/x"}}}});
  const Json refused = agent.next();
  // The first one may still count: its answer goes out before it does.
  CHECK((refused["id"] == 2 || refused["id"] == 99 + agent::kMostRequests));
  CHECK(kind(refused) == "agent.protocol");
  agent.shut();  // what waits is cancelled, and the process ends in good order
  CHECK(agent.wait() == agent::Server::kEnded);
}

TEST_CASE("with its input its transactions end: they are rolled back, the lock is free") {
  Scratch scratch;
  {
    Process agent;
    agent.send(open_line(1, scratch.path("a.sqlite3")));
    const Json connection = agent.next()["result"]["connection"];
    agent.send(Json{
        {"id", 2}, {"method", "execute"}, {"params", {{"connection", connection}, {"sql", "CREATE TABLE t (n)"}}}});
    agent.next();
    agent.send(Json{{"id", 3}, {"method", "begin"}, {"params", {{"connection", connection}, {"patience_ms", 0}}}});
    agent.next();
    agent.send(Json{
        {"id", 4}, {"method", "run"}, {"params", {{"connection", connection}, {"sql", "INSERT INTO t VALUES (1)"}}}});
    CHECK(agent.next()["result"]["changes"] == 1);
    agent.shut();
    CHECK(agent.wait() == agent::Server::kEnded);
  }
  auto database = sqlite::Database::open(scratch.path("a.sqlite3"), {.busy_timeout = core::Milliseconds(0)});
  REQUIRE(database);
  CHECK(std::get<std::int64_t>(*database->scalar("SELECT count(*) FROM t")) == 0);
  CHECK(database->execute("BEGIN IMMEDIATE; ROLLBACK"));
}

TEST_CASE("an agent that hears nothing for its lease ends, also one that was frozen") {
  Process silent{core::Milliseconds(150)};
  CHECK(silent.wait() == agent::Server::kLeaseOver);

  Process frozen{core::Milliseconds(2000)};
  frozen.send(Json{{"beat", 1}});
  CHECK(frozen.next()["beat"] == 1);
  ::kill(frozen.pid(), SIGSTOP);
  ::usleep(2'200'000);
  frozen.send(Json{{"beat", 2}});  // waits for it in the pipe: it must not go on all the same
  ::kill(frozen.pid(), SIGCONT);
  CHECK(frozen.wait() == agent::Server::kLeaseOver);
}

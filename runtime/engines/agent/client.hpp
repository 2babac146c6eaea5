// deployrun's end of the line to one agent (protocol.hpp), whatever carries it: an SSH channel, a container, a process.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "agent/protocol.hpp"
#include "core/loop.hpp"
#include "core/operation.hpp"
#include "core/stream.hpp"

namespace deployrun::agent {

template <class T>
using Op = std::unique_ptr<core::Operation<T>>;

struct Request {
  std::string method;
  Json params;
};

struct ClientOptions {
  std::string host;                  ///< whose errors these are
  core::Milliseconds lease{kLease};  ///< an agent that is not heard for this long is lost
  std::optional<Request> first;      ///< asked right behind the hello, which saves a round trip; `first` has the answer
};

/// What a request that was sent ahead comes to. Any number may wait, now or later.
class Answer {
 public:
  virtual ~Answer() = default;
  virtual Op<Json> wait() = 0;
  /// Whether a wait would end at once.
  virtual bool ready() const noexcept = 0;
};

/// Several requests may be in flight. With the client (its `close`, its destruction) the agent ends, its transactions
/// are rolled back and its locks are free.
///
/// Kinds: the agent's (sqlite.*, `usage`, `timeout`), `agent.lost` (it ended or is not heard any more; the cause says
/// more), `agent.protocol`, `cancelled`.
class Client : public std::enable_shared_from_this<Client> {
 public:
  /// Dials and says hello. Where that fails, what the dial says: `ssh.exec` with the code of what was to start it.
  static Op<std::shared_ptr<Client>> connect(core::Loop& loop, core::Dial dial, ClientOptions options);
  ~Client();

  /// The request is sent when the operation starts. Cancelled, the agent is told to stop, and what it made meanwhile (a
  /// connection, a lock) is given back.
  Op<Json> call(std::string method, Json params);
  /// The answer to the request that came with the hello, once. Kinds: also `usage`, where there was none.
  Op<Json> first();
  /// Completes once the request is on its way: what is sent over the same carrier after that comes after it. Nobody
  /// calls it off any more.
  Op<std::shared_ptr<Answer>> send(std::string method, Json params);
  /// `query` or `run` on a connection.
  Op<sqlite::Rows> rows(std::string method, std::int64_t connection, std::string sql, const sqlite::Values& values);

  /// What it said of itself: `version`, `arch`, `sqlite`, `pid`, `lease_ms`, `now_ms` (its clock at that moment).
  const Json& hello() const noexcept { return hello_; }
  bool alive() const noexcept { return stream_ != nullptr && !lost_; }
  /// Why it is lost, where it is.
  const std::shared_ptr<const core::Error>& lost() const noexcept { return lost_; }
  void close() noexcept;

 private:
  class Call;
  class Connect;
  class First;
  class RowsCall;
  class Send;
  class Sent;
  using Done = std::function<void(core::Result<Json>)>;
  /// A request whose answer may come before anybody asks for it.
  struct Early {
    std::int64_t id = 0;
    std::optional<core::Result<Json>> answer;
    Done waiting;
  };

  Client(core::Loop& loop, ClientOptions options);
  void adopt(std::unique_ptr<core::Stream> stream);
  void ask_first();
  /// The number of a request whose answer `done` gets.
  std::int64_t expect(Done done);
  void forget(std::int64_t id);
  void push(const Json& message);
  void write_next();
  void when_written(std::function<void()> fn);
  void read_next();
  void take(std::string_view bytes);
  void take_line(std::string_view line);
  void give_back(const Json& result);
  void beat();
  void fail(core::Error why);

  ClientOptions options_;
  std::unique_ptr<core::Stream> stream_;
  Json hello_;
  std::shared_ptr<Early> first_;
  std::shared_ptr<const core::Error> lost_;
  std::int64_t last_ = 0;
  std::map<std::int64_t, Done> waiting_;  // an empty one: nobody waits any more
  std::deque<std::string> outgoing_;
  bool writing_ = false;
  std::vector<std::function<void()>> unwritten_;  // told once nothing waits to be written any more
  std::string open_;                              // a line whose end has not come
  core::Instant heard_{};
  core::Timer heartbeat_;
  std::int64_t beats_ = 0;
};

}  // namespace deployrun::agent

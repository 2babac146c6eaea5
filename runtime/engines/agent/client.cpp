#include "agent/client.hpp"

#include <optional>
#include <utility>
#include <vector>

namespace deployrun::agent {

class Client::Call final : public core::Operation<Json> {
 public:
  Call(std::shared_ptr<Client> client, std::string method, Json params)
      : client_(std::move(client)), method_(std::move(method)), params_(std::move(params)) {}
  ~Call() override {
    if (done_) client_->forget(id_);
  }
  void start(Done done) override {
    if (client_->lost_) return done(*client_->lost_);
    done_ = std::move(done);
    id_ = client_->expect([this](core::Result<Json> result) {
      const auto finished = std::exchange(done_, nullptr);
      finished(std::move(result));
    });
    const auto client = client_;  // a line that breaks while it is written to may end this call
    client->push(Json{{"id", id_}, {"method", std::move(method_)}, {"params", std::move(params_)}});
  }
  void cancel() noexcept override {
    if (!done_) return;
    client_->forget(id_);
    const auto finished = std::exchange(done_, nullptr);
    finished(core::cancelled());
  }

 private:
  std::shared_ptr<Client> client_;
  std::string method_;
  Json params_;
  std::int64_t id_ = 0;
  Done done_;
};

class Client::Sent final : public Answer, public std::enable_shared_from_this<Client::Sent> {
 public:
  Op<Json> wait() override { return std::make_unique<Wait>(shared_from_this()); }
  bool ready() const noexcept override { return result_.has_value(); }
  void take(core::Result<Json> result) {
    result_.emplace(std::move(result));
    while (!waiting_.empty()) {
      Wait* next = waiting_.back();
      waiting_.pop_back();
      next->tell(*result_);
    }
  }

 private:
  class Wait final : public core::Operation<Json> {
   public:
    explicit Wait(std::shared_ptr<Sent> sent) : sent_(std::move(sent)) {}
    ~Wait() override { leave(); }
    void start(Done done) override {
      if (sent_->result_) return done(*sent_->result_);
      done_ = std::move(done);
      sent_->waiting_.push_back(this);
    }
    void cancel() noexcept override {
      if (!done_) return;
      leave();
      tell(core::cancelled());
    }
    void tell(core::Result<Json> result) {
      const auto finished = std::exchange(done_, nullptr);
      if (finished) finished(std::move(result));
    }

   private:
    void leave() noexcept { std::erase(sent_->waiting_, this); }
    std::shared_ptr<Sent> sent_;
    Done done_;
  };

  std::optional<core::Result<Json>> result_;
  std::vector<Wait*> waiting_;
};

class Client::Send final : public core::Operation<std::shared_ptr<Answer>> {
 public:
  Send(std::shared_ptr<Client> client, std::string method, Json params)
      : client_(std::move(client)), method_(std::move(method)), params_(std::move(params)) {}
  ~Send() override { *alive_ = false; }
  void start(Done done) override {
    if (client_->lost_) return done(*client_->lost_);
    done_ = std::move(done);
    const auto sent = std::make_shared<Sent>();
    const auto id = client_->expect([sent](core::Result<Json> result) { sent->take(std::move(result)); });
    const auto client = client_;
    client->push(Json{{"id", id}, {"method", std::move(method_)}, {"params", std::move(params_)}});
    client->when_written([this, alive = alive_, sent] {
      if (!*alive || !done_) return;
      const auto finished = std::exchange(done_, nullptr);
      finished(std::shared_ptr<Answer>(sent));
    });
  }
  void cancel() noexcept override {
    const auto finished = std::exchange(done_, nullptr);
    if (finished) finished(core::cancelled());
  }

 private:
  std::shared_ptr<Client> client_;
  std::string method_;
  Json params_;
  Done done_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

class Client::RowsCall final : public core::Operation<sqlite::Rows> {
 public:
  explicit RowsCall(Op<Json> call) : call_(std::move(call)) {}
  void start(Done done) override {
    call_->start([done = std::move(done)](core::Result<Json> result) {
      if (!result) return done(std::move(result).error());
      done(rows_of(*result));
    });
  }
  void cancel() noexcept override { call_->cancel(); }

 private:
  Op<Json> call_;
};

class Client::First final : public core::Operation<Json> {
 public:
  First(std::shared_ptr<Client> client, std::shared_ptr<Early> early)
      : client_(std::move(client)), early_(std::move(early)) {}
  ~First() override { forget(); }
  void start(Done done) override {
    if (!early_) return done(core::usage("agent: nothing was asked with the hello"));
    if (early_->answer) return done(std::move(*std::exchange(early_, nullptr)->answer));
    early_->waiting = std::move(done);
  }
  void cancel() noexcept override {
    const auto finished = forget();
    if (finished) finished(core::cancelled());
  }

 private:
  Done forget() {
    const auto early = std::exchange(early_, nullptr);
    if (!early || early->answer) return nullptr;
    client_->forget(early->id);
    return std::exchange(early->waiting, nullptr);
  }

  std::shared_ptr<Client> client_;
  std::shared_ptr<Early> early_;
};

class Client::Connect final : public core::Operation<std::shared_ptr<Client>> {
 public:
  Connect(core::Loop& loop, core::Dial dial, ClientOptions options)
      : dial_(std::move(dial)), client_(new Client(loop, std::move(options))) {}

  void start(Done done) override {
    done_ = std::move(done);
    auto token = dial_([this](core::Result<std::unique_ptr<core::Stream>> stream) { dialled(std::move(stream)); });
    if (done_ && !hello_) dialling_ = std::move(token);
  }
  void cancel() noexcept override {
    if (!done_) return;
    dialling_.reset();
    hello_.reset();
    client_->close();
    finish(core::cancelled());
  }

 private:
  void dialled(core::Result<std::unique_ptr<core::Stream>> stream) {
    if (!stream) return finish(std::move(stream).error());
    client_->adopt(std::move(*stream));
    hello_ = client_->call("hello", Json{{"protocol", kProtocol}});
    hello_->start([this](core::Result<Json> said) {
      if (said) {
        client_->hello_ = std::move(*said);
        return finish(client_);
      }
      // It never was there: what the dial says counts, not that a line was lost.
      core::Error why = std::move(said).error();
      finish(why.is("agent.lost") && why.cause ? core::Error(*why.cause) : std::move(why));
    });
    client_->ask_first();
  }
  void finish(core::Result<std::shared_ptr<Client>> result) {
    const auto finished = std::exchange(done_, nullptr);
    if (finished) finished(std::move(result));
  }

  core::Dial dial_;
  std::shared_ptr<Client> client_;
  std::shared_ptr<void> dialling_;
  Op<Json> hello_;
  Done done_;
};

Op<std::shared_ptr<Client>> Client::connect(core::Loop& loop, core::Dial dial, ClientOptions options) {
  return std::make_unique<Connect>(loop, std::move(dial), std::move(options));
}

Client::Client(core::Loop& loop, ClientOptions options) : options_(std::move(options)), heartbeat_(loop) {}

Client::~Client() {
  waiting_.clear();
  close();
}

Op<Json> Client::call(std::string method, Json params) {
  return std::make_unique<Call>(shared_from_this(), std::move(method), std::move(params));
}

Op<std::shared_ptr<Answer>> Client::send(std::string method, Json params) {
  return std::make_unique<Send>(shared_from_this(), std::move(method), std::move(params));
}

Op<sqlite::Rows> Client::rows(std::string method, std::int64_t connection, std::string sql,
                              const sqlite::Values& values) {
  Json params{{"connection", connection}, {"sql", std::move(sql)}, {"values", to_json(values)}};
  return std::make_unique<RowsCall>(call(std::move(method), std::move(params)));
}

void Client::close() noexcept {
  heartbeat_.cancel();
  if (!lost_) {
    lost_ = std::make_shared<core::Error>(
        core::Error{.kind = "agent.lost", .message = "deployrun-agent: it was let go", .host = options_.host});
  }
  const auto stream = std::exchange(stream_, nullptr);
  if (stream) stream->close();
  for (auto& [id, done] : std::exchange(waiting_, {})) {
    if (done) done(*lost_);
  }
  for (const auto& each : std::exchange(unwritten_, {})) each();
}

void Client::adopt(std::unique_ptr<core::Stream> stream) {
  stream_ = std::move(stream);
  heard_ = core::Loop::now();
  beat();
  read_next();
}

void Client::ask_first() {
  if (!options_.first || !alive()) return;
  first_ = std::make_shared<Early>();
  first_->id = expect([early = first_](core::Result<Json> result) {
    if (const auto done = std::exchange(early->waiting, nullptr)) return done(std::move(result));
    early->answer = std::move(result);
  });
  push(Json{{"id", first_->id}, {"method", options_.first->method}, {"params", std::move(options_.first->params)}});
}

Op<Json> Client::first() { return std::make_unique<First>(shared_from_this(), std::exchange(first_, nullptr)); }

std::int64_t Client::expect(Done done) {
  waiting_[++last_] = std::move(done);
  return last_;
}

/// Nobody waits for it any more: the agent is told, and its answer is only looked through for what is to be given back.
void Client::forget(std::int64_t id) {
  const auto found = waiting_.find(id);
  if (found == waiting_.end()) return;
  found->second = nullptr;
  if (alive()) push(Json{{"id", ++last_}, {"method", "cancel"}, {"params", {{"id", id}}}});
}

void Client::push(const Json& message) {
  if (!alive()) return;
  std::string line = json::dump(message);
  if (line.size() > kLongestRequest) {
    auto request = waiting_.extract(message.value("id", std::int64_t{0}));
    if (!request || !request.mapped()) return;
    return request.mapped()(
        core::Error{.kind = "sqlite.too_large", .message = "the request has more than 8 MiB", .host = options_.host});
  }
  outgoing_.push_back(std::move(line) + "\n");
  write_next();
}

void Client::when_written(std::function<void()> fn) {
  if (!writing_ || !alive()) return fn();
  unwritten_.push_back(std::move(fn));
}

void Client::write_next() {
  if (!writing_ && outgoing_.empty()) {
    for (const auto& each : std::exchange(unwritten_, {})) each();
    return;
  }
  if (writing_ || !alive()) return;
  writing_ = true;
  std::string all;
  for (std::string& line : outgoing_) all += line;
  outgoing_.clear();
  stream_->write(std::move(all), [weak = weak_from_this()](core::Result<core::Unit> written) {
    const auto self = weak.lock();
    if (!self) return;
    self->writing_ = false;
    // Why it broke is what the reading end tells.
    if (written) self->write_next();
  });
}

void Client::read_next() {
  if (!alive()) return;
  stream_->read([weak = weak_from_this()](core::Result<std::string> bytes) {
    const auto self = weak.lock();
    if (!self) return;
    if (!bytes) return self->fail(std::move(bytes).error());
    if (bytes->empty()) return self->fail({.kind = "agent.ended", .message = "its output ended"});
    self->heard_ = core::Loop::now();
    self->take(*bytes);
    self->read_next();
  });
}

void Client::take(std::string_view bytes) {
  while (!bytes.empty() && alive()) {
    const std::size_t end = bytes.find('\n');
    open_ += bytes.substr(0, end);
    if (open_.size() > kLongestAnswer) return fail(protocol_error("a line is longer than 64 MiB"));
    if (end == std::string_view::npos) return;
    take_line(std::exchange(open_, {}));
    bytes.remove_prefix(end + 1);
  }
}

void Client::take_line(std::string_view line) {
  auto message = parse_answer(line);
  if (!message || !message->is_object()) return fail(protocol_error("its answer is no JSON object"));
  const auto id = message->find("id");
  const auto result = message->find("result");
  const auto error = message->find("error");
  if (message->contains("beat")) return;
  if (id == message->end() || !id->is_number_integer()) {
    return fail(error == message->end() ? protocol_error("an answer without an id") : error_of(*error));
  }
  const auto found = waiting_.find(id->get<std::int64_t>());
  if (found == waiting_.end()) return;  // to a `cancel`
  const auto done = std::move(found->second);
  waiting_.erase(found);
  if (result != message->end()) {
    if (done) return done(std::move(*result));
    return give_back(*result);
  }
  core::Error why = error == message->end() ? protocol_error("an answer without a result") : error_of(*error);
  why.host = options_.host;
  if (done) done(std::move(why));
}

void Client::give_back(const Json& result) {
  if (!result.is_object()) return;
  for (const auto& [name, method] :
       {std::pair{"connection", "close"}, std::pair{"lock", "unlock"}, std::pair{"claim", "lock.release"}}) {
    const auto number = result.find(name);
    if (number != result.end()) push(Json{{"id", ++last_}, {"method", method}, {"params", {{name, *number}}}});
  }
}

void Client::beat() {
  if (core::Loop::now() - heard_ >= options_.lease) {
    return fail({.kind = "timeout", .message = "nothing was heard of it any more"});
  }
  push(Json{{"beat", ++beats_}});
  heartbeat_.start(options_.lease / 3, [weak = weak_from_this()] {
    if (const auto self = weak.lock()) self->beat();
  });
}

void Client::fail(core::Error why) {
  if (lost_) return;
  core::Error error{.kind = "agent.lost",
                    .message = "deployrun-agent is lost: " + why.message,
                    .hint = "its transactions are rolled back and its locks are free",
                    .host = options_.host};
  lost_ = std::make_shared<core::Error>(core::wrap(std::move(error), std::move(why)));
  const auto self = shared_from_this();  // somebody's answer may let go of us
  close();
}

}  // namespace deployrun::agent

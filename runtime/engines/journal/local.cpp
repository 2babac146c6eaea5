#include "journal/local.hpp"

#include <algorithm>
#include <mutex>
#include <utility>

#include "journal/store.hpp"
#include "sqlite/serial.hpp"

namespace deployrun::journal {

namespace {

using core::Operation;
using core::Result;
using core::Unit;

constexpr std::size_t kLargestBody = 1U << 20U;
constexpr int kDeepestBody = 64;

/// Redacts every text in `value`, keys included. False where it is nested too deep.
bool redact(Json& value, const std::function<std::string(std::string)>& mask, int depth = 0) {
  if (depth > kDeepestBody) return false;
  if (value.is_string()) {
    value = mask(value.get<std::string>());
  } else if (value.is_array()) {
    return std::all_of(value.begin(), value.end(), [&](Json& each) { return redact(each, mask, depth + 1); });
  } else if (value.is_object()) {
    Json clean = Json::object();
    for (auto& [key, each] : value.items()) {
      if (!redact(each, mask, depth + 1)) return false;
      clean[mask(key)] = std::move(each);
    }
    value = std::move(clean);
  }
  return true;
}

/// A row on its way. Pool jobs of the journal touch it, one at a time.
struct Waiting {
  Entry entry;
  std::optional<Result<Unit>> outcome;
};

/// Rows that were started and not yet committed. What waits while a commit runs goes into the next one together: two
/// hundred hosts cost a few syncs of the disk, not two hundred.
class Batch {
 public:
  void add(std::shared_ptr<Waiting> row) {
    const std::lock_guard hold(mutex_);
    rows_.push_back(std::move(row));
  }
  void withdraw(const std::shared_ptr<Waiting>& row) noexcept {
    const std::lock_guard hold(mutex_);
    rows_.erase(std::remove(rows_.begin(), rows_.end(), row), rows_.end());
  }
  /// Commits what waits, unless an earlier commit took `row` along; gives the outcome of `row`.
  Result<Unit> commit(Store& store, const std::shared_ptr<Waiting>& row) {
    if (!row->outcome) {
      const auto taken = take();
      std::vector<Entry> entries;
      for (const auto& each : taken) entries.push_back(each->entry);
      auto outcomes = store.append(entries);
      for (std::size_t i = 0; i < taken.size(); ++i) taken[i]->outcome.emplace(std::move(outcomes[i]));
    }
    return row->outcome ? *row->outcome : Result<Unit>(core::cancelled());
  }

 private:
  /// Up to and with the first `finish`: what comes after it belongs to nobody's run.
  std::vector<std::shared_ptr<Waiting>> take() {
    const std::lock_guard hold(mutex_);
    auto end = std::find_if(rows_.begin(), rows_.end(), [](const auto& row) { return row->entry.type == "finish"; });
    if (end != rows_.end()) ++end;
    std::vector<std::shared_ptr<Waiting>> taken(rows_.begin(), end);
    rows_.erase(rows_.begin(), end);
    return taken;
  }

  std::mutex mutex_;
  std::vector<std::shared_ptr<Waiting>> rows_;
};

class Append final : public Operation<Unit> {
 public:
  Append(sqlite::Serial& serial, std::shared_ptr<Store> store, std::shared_ptr<Batch> batch, Entry entry)
      : batch_(std::move(batch)), row_(std::make_shared<Waiting>()) {
    row_->entry = std::move(entry);
    turn_ =
        serial.run<Unit>([store = std::move(store), batch = batch_, row = row_] { return batch->commit(*store, row); });
  }
  ~Append() override { batch_->withdraw(row_); }
  void start(Done done) override {
    batch_->add(row_);
    turn_->start(std::move(done));
  }
  void cancel() noexcept override {
    batch_->withdraw(row_);
    turn_->cancel();
  }

 private:
  std::shared_ptr<Batch> batch_;
  std::shared_ptr<Waiting> row_;
  std::unique_ptr<Operation<Unit>> turn_;
};

class LocalJournal final : public Journal {
 public:
  LocalJournal(core::Loop& loop, std::shared_ptr<Store> store, std::function<std::string(std::string)> mask)
      : serial_(std::make_shared<sqlite::Serial>(loop)), store_(std::move(store)), mask_(std::move(mask)) {}

  std::unique_ptr<Operation<std::string>> begin(RunInfo info) override {
    return on_store<std::string>([entry = entry_of({}, "run", body_of(info))](Store& store) -> Result<std::string> {
      return entry ? store.begin(*entry) : Result<std::string>(entry.error());
    });
  }
  std::unique_ptr<Operation<Record>> take_over(Takeover takeover) override {
    return on_store<Record>(
        [entry = entry_of(takeover.run, "takeover", body_of(takeover))](Store& store) -> Result<Record> {
          return entry ? store.take_over(*entry) : Result<Record>(entry.error());
        });
  }
  std::unique_ptr<Operation<std::optional<Record>>> unfinished() override {
    return on_store<std::optional<Record>>([](Store& store) { return store.unfinished(); });
  }
  std::unique_ptr<Operation<Unit>> append(Row row) override {
    return write(entry_of(run_of(row), type_of(row), body_of(row)));
  }
  Result<Unit> post(Row row) override {
    auto entry = entry_of(run_of(row), type_of(row), body_of(row));
    if (!entry) return std::move(entry).error();
    batch_->add(std::make_shared<Waiting>(Waiting{.entry = std::move(*entry), .outcome = {}}));
    return Unit{};
  }
  std::unique_ptr<Operation<Unit>> finish(Finish finish) override {
    if (finish.state == RunState::running) throw core::Failure(core::usage("a run cannot end as running"));
    return write(entry_of(finish.run, "finish", body_of(finish)));
  }
  std::unique_ptr<Operation<std::vector<Record>>> history(std::int64_t limit) override {
    return on_store<std::vector<Record>>([limit](Store& store) { return store.history(limit); });
  }
  std::unique_ptr<Operation<Record>> record(std::string run) override {
    return on_store<Record>([run = std::move(run)](Store& store) { return store.record(run); });
  }
  std::unique_ptr<Operation<std::vector<CopiedRow>>> copy(std::string run, std::int64_t after) override {
    return on_store<std::vector<CopiedRow>>(
        [run = std::move(run), after](Store& store) { return store.copy(run, after); });
  }
  std::unique_ptr<Operation<Unit>> restore(std::string run, std::vector<CopiedRow> rows) override {
    return on_store<Unit>(
        [run = std::move(run), rows = std::move(rows)](Store& store) { return store.restore(run, rows); });
  }
  std::unique_ptr<Operation<std::vector<Released>>> releases(std::string service, std::string host,
                                                             std::int64_t limit) override {
    return on_store<std::vector<Released>>([service = std::move(service), host = std::move(host), limit](Store& store) {
      return store.releases(service, host, limit);
    });
  }
  std::unique_ptr<Operation<std::int64_t>> verify() override {
    return on_store<std::int64_t>([](Store& store) { return store.verify(); });
  }

 private:
  template <class T>
  std::unique_ptr<Operation<T>> on_store(std::function<Result<T>(Store&)> work) {
    return serial_->run<T>([store = store_, work = std::move(work)] { return work(*store); });
  }

  Result<Entry> entry_of(std::string run, std::string type, Json body) const {
    const char* excess = nullptr;
    std::string text;
    if (!redact(body, mask_)) {
      excess = "nested more than 64 deep";
    } else if (text = json::dump(body); text.size() > kLargestBody) {
      excess = "larger than 1 MiB";
    }
    if (excess != nullptr) {
      return core::Error{.kind = "journal.too_large",
                         .message = "a row of type " + type + " is " + excess,
                         .hint = "return less from the step: a name or an id, not a document"};
    }
    return Entry{.run = std::move(run), .type = std::move(type), .body = std::move(text)};
  }

  std::unique_ptr<Operation<Unit>> write(Result<Entry> entry) {
    if (!entry) {
      return serial_->run<Unit>([error = std::move(entry).error()]() -> Result<Unit> { return error; });
    }
    return std::make_unique<Append>(*serial_, store_, batch_, std::move(*entry));
  }

  std::shared_ptr<sqlite::Serial> serial_;
  std::shared_ptr<Store> store_;
  std::shared_ptr<Batch> batch_ = std::make_shared<Batch>();
  std::function<std::string(std::string)> mask_;
};

class Open final : public Operation<std::shared_ptr<Journal>> {
 public:
  Open(core::Loop& loop, std::string folder, Options options)
      : loop_(loop), mask_(options.redact), job_(loop, [folder = std::move(folder), options = std::move(options)] {
          return share(Store::open(folder, options));
        }) {}
  void start(Done done) override {
    job_.start([this, done = std::move(done)](Result<std::shared_ptr<Store>> store) {
      if (!store) return done(std::move(store).error());
      done(std::shared_ptr<Journal>(std::make_shared<LocalJournal>(loop_, std::move(*store), mask_)));
    });
  }
  void cancel() noexcept override { job_.cancel(); }

 private:
  static Result<std::shared_ptr<Store>> share(Result<std::unique_ptr<Store>> store) {
    if (!store) return std::move(store).error();
    return std::shared_ptr<Store>(std::move(*store));
  }

  core::Loop& loop_;
  std::function<std::string(std::string)> mask_;
  core::PoolJob<std::shared_ptr<Store>> job_;
};

}  // namespace

std::unique_ptr<Operation<std::shared_ptr<Journal>>> open_local(core::Loop& loop, std::string folder, Options options) {
  if (!options.redact) options.redact = [](std::string text) { return text; };
  if (!options.now) options.now = [] { return std::chrono::system_clock::now(); };
  return std::make_unique<Open>(loop, std::move(folder), std::move(options));
}

}  // namespace deployrun::journal

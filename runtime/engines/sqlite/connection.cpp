#include "sqlite/connection.hpp"

#include <utility>

#include "sqlite/once.hpp"
#include "sqlite/patient.hpp"

namespace deployrun::sqlite {

namespace {

/// A pool job that looks at a flag between its steps.
template <class T>
class Stoppable final : public core::Operation<T> {
 public:
  Stoppable(core::Loop& loop, std::function<core::Result<T>(const Stop&)> work)
      : job_(loop, [stop = stop_, work = std::move(work)] { return work(*stop); }) {}
  ~Stoppable() override { *stop_ = true; }
  void start(typename core::Operation<T>::Done done) override { job_.start(std::move(done)); }
  void cancel() noexcept override {
    *stop_ = true;
    job_.cancel();
  }

 private:
  std::shared_ptr<Stop> stop_ = std::make_shared<Stop>(false);
  core::PoolJob<T> job_;
};

template <class T>
Op<T> patient_job(core::Loop& loop, const std::string& path, core::Milliseconds patience,
                  std::function<core::Result<T>(const Stop&)> work) {
  return std::make_unique<Patient<T>>(
      loop, path, patience, [&loop, work = std::move(work)] { return std::make_unique<Stoppable<T>>(loop, work); },
      [path](core::Error error) { return name_holders(path, std::move(error)); });
}

}  // namespace

Connection::Connection(core::Loop& loop, std::string path, core::Milliseconds patience, Database database)
    : loop_(loop),
      path_(std::move(path)),
      patience_(patience),
      serial_(std::make_shared<Serial>(loop)),
      database_(std::make_shared<Database>(std::move(database))) {}

Op<std::shared_ptr<Connection>> Connection::open(core::Loop& loop, std::string path, ConnectionOptions options) {
  const auto work = [&loop, path, options](const Stop&) -> core::Result<std::shared_ptr<Connection>> {
    auto real = check_place(path);
    if (!real) return std::move(real).error();
    auto database = Database::open(*real, {.create = options.create,
                                           .read_only = options.read_only,
                                           .busy_timeout = core::Milliseconds(0),
                                           .foreign = true});
    if (!database) return std::move(database).error();
    return std::shared_ptr<Connection>(new Connection(loop, std::move(*real), options.patience, std::move(*database)));
  };
  return patient_job<std::shared_ptr<Connection>>(loop, path, options.patience, work);
}

template <class T>
Op<T> Connection::patiently(core::Milliseconds patience, std::function<core::Result<T>(Database&)> work) {
  return std::make_unique<Patient<T>>(
      loop_, path_, patience,
      [serial = serial_, database = database_, work = std::move(work)] {
        return serial->run<T>([database, work] { return work(*database); });
      },
      [path = path_](core::Error error) { return name_holders(path, std::move(error)); });
}

Op<Rows> Connection::query(std::string sql, Values values) {
  return patiently<Rows>(patience_, [sql = std::move(sql), values = std::move(values)](Database& database) {
    return run_statement(database, sql, values, Wish::read);
  });
}

Op<Rows> Connection::run(std::string sql, Values values) {
  return patiently<Rows>(patience_, [sql = std::move(sql), values = std::move(values)](Database& database) {
    return run_statement(database, sql, values, Wish::change);
  });
}

Op<core::Unit> Connection::execute(std::string sql) {
  return patiently<core::Unit>(patience_, [sql = std::move(sql)](Database& database) { return database.execute(sql); });
}

Op<core::Unit> Connection::begin(Mode mode, core::Milliseconds patience) {
  return patiently<core::Unit>(patience, [mode](Database& database) {
    return database.execute(mode == Mode::exclusive ? "BEGIN EXCLUSIVE" : "BEGIN IMMEDIATE");
  });
}

Op<core::Unit> Connection::commit() {
  return patiently<core::Unit>(patience_, [](Database& database) { return database.execute("COMMIT"); });
}

Op<core::Unit> Connection::rollback() {
  return serial_->run<core::Unit>([database = database_]() -> core::Result<core::Unit> {
    if (sqlite3_get_autocommit(database->raw()) != 0) return core::Unit{};
    return database->execute("ROLLBACK");
  });
}

Op<bool> Connection::was_done(std::string key) {
  return patiently<bool>(patience_,
                         [key = std::move(key)](Database& database) { return sqlite::was_done(database, key); });
}

Op<core::Unit> Connection::mark_done(std::string key) {
  return patiently<core::Unit>(patience_,
                               [key = std::move(key)](Database& database) { return sqlite::mark_done(database, key); });
}

Op<Copied> take_snapshot(core::Loop& loop, std::string from, std::string to, bool check, core::Milliseconds patience) {
  return patient_job<Copied>(loop, from, patience,
                             [from, to = std::move(to), check](const Stop& stop) -> core::Result<Copied> {
                               auto real = check_place(from);
                               if (!real) return std::move(real).error();
                               return snapshot(*real, to, check, stop);
                             });
}

Op<Copied> restore_snapshot(core::Loop& loop, std::string from, std::string to, core::Milliseconds patience) {
  return patient_job<Copied>(loop, to, patience,
                             [from = std::move(from), to](const Stop& stop) -> core::Result<Copied> {
                               auto real = check_place(to);
                               if (!real) return std::move(real).error();
                               auto source = check_place(from);
                               if (!source) return std::move(source).error();
                               return restore(*source, *real, stop);
                             });
}

Op<std::vector<std::string>> check_database(core::Loop& loop, std::string path, core::Milliseconds patience) {
  return patient_job<std::vector<std::string>>(loop, path, patience,
                                               [path](const Stop& stop) -> core::Result<std::vector<std::string>> {
                                                 auto real = check_place(path);
                                                 if (!real) return std::move(real).error();
                                                 return problems(*real, stop);
                                               });
}

Op<std::vector<Holder>> list_holders(core::Loop& loop, std::string path) {
  return std::make_unique<core::PoolJob<std::vector<Holder>>>(
      loop, [path = std::move(path)]() -> core::Result<std::vector<Holder>> {
        auto real = check_place(path);
        if (!real) return std::move(real).error();
        return find_holders(*real);
      });
}

Op<Space> look_at_space(core::Loop& loop, std::string path) {
  return std::make_unique<core::PoolJob<Space>>(loop, [path = std::move(path)] { return space_of(path); });
}

}  // namespace deployrun::sqlite

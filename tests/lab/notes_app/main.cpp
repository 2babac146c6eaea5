// The app of the SQLite tests, as small as a real one can be: it keeps notes in a SQLite database in write-ahead mode,
// answers over HTTP, and migrates its schema in a command of its own, or, as many apps do, when it starts.
//
//   app serve     /up /version; /write adds a note and answers with its number
//   app migrate   applies what the version needs and the database has not
//   app pending   ends with 0 where there is nothing to apply
//   app search    /up; stands in for a search: keeps how many notes it was told of in /index/rows; /rows says it
//   app reindex   tells the search (SEARCH, "notes-search") how many notes there are; `reindex fail` gives up half way
//
// Environment: VERSION, "r12": the twelfth version, which needs twelve migrations; DATABASE (/data/app.sqlite3);
// OLD_NOTES: how many the first migration makes; MIGRATE_ON_START=1 migrates before it serves; SERVE_FAULT=1 ends
// instead of serving. MIGRATE_FAULT makes a migration go wrong once it has changed the schema and removed rows: fail,
// hang (with the write lock), fill (the disk); half: only the schema; slow: nothing is wrong, it takes SLOW_MS.
// MIGRATE_BEGIN=IMMEDIATE: a migration takes the write lock first, as one beside writers has to.

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sqlite3.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "http.hpp"

namespace {

constexpr int kBusyTimeout = 5000;  // ms, as Rails has it

std::string env(const char* name, const char* fallback) {
  const char* value = std::getenv(name);
  return value != nullptr && *value != '\0' ? value : fallback;
}

const std::string version = env("VERSION", "r1");
const int number = std::atoi(version.c_str() + 1);

void say(const std::string& text) {
  const std::string line = text + "\n";
  if (write(STDOUT_FILENO, line.data(), line.size()) < 0) return;
}

struct Close {
  void operator()(sqlite3* database) const { sqlite3_close(database); }
};

class Database {
 public:
  Database() {
    sqlite3* raw = nullptr;
    sqlite3_open_v2(env("DATABASE", "/data/app.sqlite3").c_str(), &raw, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE,
                    nullptr);
    handle_.reset(raw);
    sqlite3_busy_timeout(raw, kBusyTimeout);
    run("PRAGMA journal_mode = WAL");
    run("PRAGMA synchronous = NORMAL");
  }
  /// The first value of the first row; -1 for none or a failure, which `error` tells.
  long long run(const std::string& sql) {
    sqlite3_stmt* statement = nullptr;
    long long value = -1;
    int code = sqlite3_prepare_v2(handle_.get(), sql.c_str(), -1, &statement, nullptr);
    if (code == SQLITE_OK) {
      code = sqlite3_step(statement);
      if (code == SQLITE_ROW) value = sqlite3_column_int64(statement, 0);
      while (code == SQLITE_ROW) code = sqlite3_step(statement);
    }
    good = code == SQLITE_DONE;
    if (!good) error = std::string(sqlite3_errmsg(handle_.get())) + " (" + sql + ")";
    sqlite3_finalize(statement);
    return good ? value : -1;
  }
  bool good = true;
  std::string error;

 private:
  std::unique_ptr<sqlite3, Close> handle_;
};

bool has_schema(Database& database) {
  return database.run("SELECT count(*) FROM sqlite_schema WHERE name = 'schema_migrations'") > 0;
}

long long applied(Database& database) {
  return has_schema(database) ? database.run("SELECT coalesce(max(version), 0) FROM schema_migrations") : 0;
}

/// One migration, in one transaction that begins with a read, as most frameworks do it, unless told otherwise.
bool apply(Database& database, int step) {
  const std::string column = "c" + std::to_string(step);
  database.run("BEGIN " + env("MIGRATE_BEGIN", "DEFERRED"));
  if (database.run("SELECT count(*) FROM schema_migrations WHERE version = " + std::to_string(step)) != 0) {
    database.run("ROLLBACK");
    return true;
  }
  bool done = database.good;
  const auto then = [&](const std::string& sql) {
    if (!done) return;
    database.run(sql);
    done = database.good;
  };
  if (step == 1) {
    then("CREATE TABLE note (id INTEGER PRIMARY KEY AUTOINCREMENT, body TEXT NOT NULL)");
    then("WITH RECURSIVE old(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM old WHERE n < " + env("OLD_NOTES", "1") +
         ") INSERT INTO note (body) SELECT 'old note ' || n FROM old");
  } else {
    then("SELECT sum(length(body)) FROM note");  // what it is about to change
    then("ALTER TABLE note ADD COLUMN " + column + " INTEGER");
    then("UPDATE note SET " + column + " = length(body)");
  }
  then("INSERT INTO schema_migrations VALUES (" + std::to_string(step) + ")");
  then("COMMIT");
  if (done) return true;
  say("migration " + std::to_string(step) + ": " + database.error);
  database.run("ROLLBACK");
  return false;
}

/// What a bad migration does to rows that were acknowledged long ago, committed.
int go_wrong(Database& database, const std::string& fault) {
  database.run("ALTER TABLE note ADD COLUMN half_done TEXT");
  if (fault != "half") database.run("DELETE FROM note WHERE id % 2 = 0");
  say("half done");
  if (fault == "hang") {
    database.run("BEGIN IMMEDIATE");
    database.run("DELETE FROM note WHERE id % 3 = 0");
    for (;;) pause();
  }
  if (fault == "fill") {
    while (database.good) database.run("INSERT INTO note (body) VALUES (randomblob(200000))");
    say(database.error);
  }
  return 1;
}

int migrate() {
  Database database;
  database.run("CREATE TABLE IF NOT EXISTS schema_migrations (version INTEGER PRIMARY KEY)");
  if (!database.good) {
    say("migrate: " + database.error);
    return 1;
  }
  const long long before = applied(database);
  if (before < 0) {
    say("migrate: " + database.error);
    return 1;
  }
  for (int step = static_cast<int>(before) + 1; step <= number; ++step) {
    if (!apply(database, step)) return 1;
    say("applied " + std::to_string(step));
  }
  const std::string fault = env("MIGRATE_FAULT", "");
  if (fault == "slow") usleep(1000 * static_cast<useconds_t>(std::atoi(env("SLOW_MS", "2000").c_str())));
  return fault.empty() || fault == "slow" ? 0 : go_wrong(database, fault);
}

demo::Response answer(Database& database, const demo::Request& request) {
  if (request.path == "/version") return {200, version + "\n", {}};
  if (request.path == "/up") {
    const long long notes = database.run("SELECT count(*) FROM (SELECT 1 FROM note LIMIT 1)");
    return {notes < 0 ? 500 : 200, notes < 0 ? database.error + "\n" : "ok\n", {}};
  }
  if (request.path == "/slow") {
    usleep(1000 * static_cast<useconds_t>(std::atoi(request.query("ms").c_str())));
    return {200, "slow\n", {}};
  }
  if (request.path != "/write") return {404, "not found\n", {}};
  const std::string column = number > 1 ? ", c" + std::to_string(number) : "";
  const long long id = database.run("INSERT INTO note (body" + column + ") VALUES ('" + version + "'" +
                                    (number > 1 ? ", 2" : "") + ") RETURNING id");
  if (id < 0) {
    say("write: " + database.error);
    return {500, database.error + "\n", {}};
  }
  return {200, std::to_string(id) + "\n", {}};
}

const char* const kIndex = "/index/rows";

demo::Response answer_as_search(const demo::Request& request) {
  if (request.path == "/up") return {200, "ok\n", {}};
  if (request.path == "/fill") std::ofstream(kIndex) << request.query("rows") << std::endl;
  std::string rows;
  std::ifstream(kIndex) >> rows;
  return {200, rows + "\n", {}};
}

bool tell_search(const std::string& rows) {
  addrinfo hints{};
  hints.ai_family = AF_INET;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const std::string host = env("SEARCH", "notes-search");
  if (getaddrinfo(host.c_str(), "80", &hints, &found) != 0) {
    say("reindex: nobody knows " + host);
    return false;
  }
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const bool connected = connect(fd, found->ai_addr, found->ai_addrlen) == 0;
  freeaddrinfo(found);
  const std::string request = "GET /fill?rows=" + rows + " HTTP/1.1\r\nHost: search\r\nConnection: close\r\n\r\n";
  char reply[256] = {};
  const bool told = connected && write(fd, request.data(), request.size()) > 0 &&
                    read(fd, reply, sizeof reply - 1) > 0 && std::string(reply).find(" 200 ") != std::string::npos;
  close(fd);
  if (!told) say("reindex: the search does not answer");
  return told;
}

int reindex(bool fails) {
  if (!tell_search("0")) return 1;
  if (fails) {
    say("reindex: it was told to fail");
    return 1;
  }
  Database database;
  const long long rows = database.run("SELECT count(*) FROM note");
  if (rows < 0) {
    say("reindex: " + database.error);
    return 1;
  }
  if (!tell_search(std::to_string(rows))) return 1;
  say("told of " + std::to_string(rows) + " notes");
  return 0;
}

bool searching = false;
std::atomic<int> busy{0};
std::atomic<bool> stopping{false};

void serve(int fd) {
  demo::Connection connection(fd);
  std::unique_ptr<Database> database;
  if (!searching) database = std::make_unique<Database>();
  bool more = true;
  while (more && connection.wait_for_request()) {
    ++busy;
    demo::Request request;
    const bool read = connection.read_request(request);
    auto response = demo::Response{400, "bad request\n", {}};
    if (read) response = searching ? answer_as_search(request) : answer(*database, request);
    more = read && request.keep_alive && !stopping;
    connection.write_response(response, version, more);
    --busy;
  }
  close(fd);
}

int listen_on(int port) {
  const int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const int on = 1;
  const int off = 0;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
  sockaddr_in6 address{};
  address.sin6_family = AF_INET6;
  address.sin6_port = htons(static_cast<std::uint16_t>(port));
  address.sin6_addr = in6addr_any;
  if (fd < 0 || bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 || listen(fd, 1024) != 0)
    return -1;
  return fd;
}

int run_server() {
  sigset_t mask;
  sigemptyset(&mask);
  sigaddset(&mask, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &mask, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
  const int signals = signalfd(-1, &mask, SFD_CLOEXEC);
  const int listener = listen_on(80);
  if (listener < 0) return 1;
  say("listening");
  for (;;) {
    pollfd ready[] = {{signals, POLLIN, 0}, {listener, POLLIN, 0}};
    poll(ready, 2, -1);
    if ((ready[0].revents & POLLIN) != 0) break;
    const int fd = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
    if (fd < 0) continue;
    const int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    std::thread(serve, fd).detach();
  }
  stopping = true;
  for (int waited = 0; busy > 0 && waited < 5000; ++waited) usleep(1000);
  say("stopped");
  std::_Exit(0);
}

}  // namespace

int main(int argc, char** argv) {
  const std::string command = argc > 1 ? argv[1] : "serve";
  if (command == "migrate") return migrate();
  if (command == "pending") {
    Database database;
    return applied(database) >= number ? 0 : 1;
  }
  if (command == "reindex") return reindex(argc > 2 && std::string(argv[2]) == "fail");
  searching = command == "search";
  if (searching) return run_server();
  if (env("MIGRATE_ON_START", "") == "1" && migrate() != 0) return 1;
  if (env("SERVE_FAULT", "") == "1") return 3;
  return run_server();
}

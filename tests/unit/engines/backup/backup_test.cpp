// What needs no store: names, packing, retention, plans, XML, a folder, and a job from end to end.
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <filesystem>

#include "../../scratch.hpp"
#include "backup/job.hpp"
#include "backup/retention.hpp"
#include "backup/tool.hpp"
#include "backup/work.hpp"
#include "backup/xml.hpp"
#include "core/files.hpp"
#include "sqlite/database.hpp"

using namespace deployrun;
using namespace deployrun::backup;
using test::Scratch;

namespace {

const Stop kGo{false};
constexpr std::int64_t kDay = 24LL * 3600 * 1000;
const std::string kHash(64, 'a');

void write(const std::string& path, const std::string& bytes) { REQUIRE(core::write_file_now(path, bytes)); }
std::string read(const std::string& path) {
  auto bytes = core::read_file_now(path, 1U << 24U);
  REQUIRE(bytes);
  return *bytes;
}

template <class T>
std::string kind(const core::Result<T>& result) {
  return result ? "" : result.error().kind;
}

/// A database of `rows` rows, and a plan for it with a folder as its store.
struct Site {
  Scratch scratch;
  std::string database = scratch.path("app.sqlite3");
  std::string home = scratch.path("plan");

  explicit Site(int rows = 100, const std::string& more = "") {
    REQUIRE(core::make_directories_now(home, 0700));
    write(home + "/plan.json", R"({"name": "shop", "path": ")" + database + R"(", "folder": ")" + scratch.path("kept") +
                                   R"(", "patience": "100ms")" + more + "}");
    auto opened = sqlite::Database::open(database);
    REQUIRE(opened);
    REQUIRE(opened->execute("PRAGMA journal_mode = WAL; CREATE TABLE t (n INTEGER)"));
    add(rows);
  }
  void add(int rows) {
    auto opened = sqlite::Database::open(database);
    REQUIRE(opened);
    REQUIRE(opened->execute("WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT " +
                            std::to_string(rows) + ") INSERT INTO t SELECT x FROM c"));
  }
  std::int64_t count() {
    auto opened = sqlite::Database::open(database);
    REQUIRE(opened);
    return std::get<std::int64_t>(*opened->scalar("SELECT count(*) FROM t"));
  }
  Job job(const Stop& stop = kGo) {
    auto plan = read_plan(home);
    REQUIRE(plan);
    return Job(std::move(*plan), stop);
  }
  Json get(core::Result<Json> outcome) {
    INFO((outcome ? "" : core::describe(outcome.error())));
    REQUIRE(outcome);
    return *outcome;
  }
  std::vector<std::string> files() {
    std::vector<std::string> found;
    const auto entries = core::list_directory_now(scratch.path("kept"));
    REQUIRE(entries);
    for (const auto& entry : *entries) found.push_back(entry.name);
    return found;
  }
};

}  // namespace

TEST_CASE("a name tells what it is of, when it was begun and what is in it, and nothing else is one") {
  const Name name{.made = 1795756651965, .sha256 = kHash};
  CHECK(id_of(name) == "20261127T051731.965Z");
  const std::string file = file_of("shop", name);
  auto back = parse_name("shop", file);
  REQUIRE(back);
  CHECK(back->made == name.made);
  CHECK(back->sha256 == name.sha256);
  CHECK_FALSE(parse_name("sho", file));
  CHECK_FALSE(parse_name("shop2", file));
  const auto other = [&](std::size_t at, char letter) {
    std::string changed = file;
    changed[at] = letter;
    return parse_name("shop", changed).has_value();
  };
  CHECK_FALSE(other(9, '9'));   // a month of 91
  CHECK_FALSE(other(13, 'x'));  // the T
  CHECK_FALSE(other(40, 'A'));  // a capital in the hash
  CHECK_FALSE(other(file.size() - 1, 'x'));
  CHECK_FALSE(parse_name("shop", file + ".tmp"));
  CHECK_FALSE(parse_name("shop", "shop-20260231T051731.965Z-" + kHash + ".sqlite3.zst"));  // another day
  CHECK_FALSE(parse_name("shop", ""));
  CHECK(is_plan_name("shop.db_1-a"));
  for (const char* bad : {"", ".x", "-x", "a/b", "a b", "..", "ä"}) CHECK_FALSE(is_plan_name(bad));
}

TEST_CASE("packed and unpacked it is the same; what is damaged, cut or doubled is found") {
  Scratch scratch;
  for (const std::size_t size : {std::size_t{0}, std::size_t{1}, std::size_t{300'000}, std::size_t{3'000'000}}) {
    std::string bytes(size, '\0');
    for (std::size_t at = 0; at < size; ++at) bytes[at] = static_cast<char>((at * 2654435761U) >> 13U);
    write(scratch.path("a"), bytes);
    auto packed = pack(scratch.path("a"), scratch.path("a.zst"), 3, 0640, kGo);
    REQUIRE(packed);
    CHECK(packed->contents == static_cast<std::int64_t>(size));
    const std::string kept = read(scratch.path("a.zst"));
    CHECK(packed->bytes == static_cast<std::int64_t>(kept.size()));
    CHECK(packed->sha256 == sha256_of(kept));
    auto unpacked = unpack(scratch.path("a.zst"), scratch.path("b"), packed->sha256, kGo);
    REQUIRE(unpacked);
    CHECK(read(scratch.path("b")) == bytes);
    CHECK(kind(unpack(scratch.path("a.zst"), scratch.path("c"), kHash, kGo)) == "backup.corrupt");
    CHECK_FALSE(std::filesystem::exists(scratch.path("c")));
    write(scratch.path("cut"), kept.substr(0, kept.size() - 1));
    CHECK(kind(unpack(scratch.path("cut"), scratch.path("c"), "", kGo)) == "backup.corrupt");
    write(scratch.path("twice"), kept + kept);
    CHECK(kind(unpack(scratch.path("twice"), scratch.path("c"), "", kGo)) == "backup.corrupt");
    std::string flipped = kept;
    flipped[flipped.size() / 2] = static_cast<char>(flipped[flipped.size() / 2] ^ 1);
    write(scratch.path("flipped"), flipped);
    CHECK(kind(unpack(scratch.path("flipped"), scratch.path("c"), packed->sha256, kGo)) == "backup.corrupt");
  }
  write(scratch.path("text"), "no frame at all");
  CHECK(kind(unpack(scratch.path("text"), scratch.path("c"), "", kGo)) == "backup.corrupt");
  write(scratch.path("none"), "");
  CHECK(kind(unpack(scratch.path("none"), scratch.path("c"), "", kGo)) == "backup.corrupt");
  const Stop stopped{true};
  CHECK(kind(pack(scratch.path("a"), scratch.path("d"), 3, 0600, stopped)) == "cancelled");
  CHECK_FALSE(std::filesystem::exists(scratch.path("d")));
}

TEST_CASE("what is older than told goes, the newest few never") {
  std::vector<Stored> stored;
  for (const int age : {5, 40, 1, 31, 29, 400, 0})
    stored.push_back({.name = {.made = (1000 - age) * kDay, .sha256 = kHash}});
  const auto ages = [&](std::int64_t at_least, core::Milliseconds keep, std::int64_t now) {
    std::vector<std::int64_t> found;
    for (const auto& old : outdated(stored, now, keep, at_least)) found.push_back(1000 - old.name.made / kDay);
    return found;
  };
  const core::Milliseconds month(30 * kDay);
  CHECK(ages(1, month, 1000 * kDay) == std::vector<std::int64_t>{31, 40, 400});
  CHECK(ages(6, month, 1000 * kDay) == std::vector<std::int64_t>{400});
  CHECK(ages(7, month, 1000 * kDay).empty());
  CHECK(ages(3, month, 9000 * kDay) == std::vector<std::int64_t>{29, 31, 40, 400});  // a clock years ahead
  CHECK(ages(1, month, 900 * kDay) == std::vector<std::int64_t>{400});
  CHECK(outdated({}, 0, month, 1).empty());
}

TEST_CASE("a plan is read with its limits, and says what is wrong with it") {
  const auto parse = [](const std::string& text) { return parse_plan(text, "/home/deploy/plan"); };
  auto plan = parse(R"({"name": "shop", "path": "db/app.sqlite3", "volume": "shop-data", "keep": "14d", "at_least": 3,
    "s3": {"endpoint": "https://s3.example.com", "bucket": "b", "prefix": "shop/", "region": "eu", "part_bytes": 8388608}})");
  REQUIRE(plan);
  CHECK(plan->keep == core::Milliseconds(14 * kDay));
  CHECK(plan->place.inside());
  CHECK(plan->bucket->region == "eu");
  for (const char* text :
       {"", "[]", R"({"name": "shop", "path": "/a"})", R"({"name": "../x", "path": "/a", "folder": "/b"})",
        R"({"name": "shop", "folder": "/b"})", R"({"name": "shop", "path": "/a", "folder": "b"})",
        R"({"name": "shop", "path": "/a", "folder": "/b", "kep": "1d"})",
        R"({"name": "shop", "path": "/a", "folder": "/b", "keep": "30"})",
        R"({"name": "shop", "path": "/a", "folder": "/b", "at_least": 0})",
        R"({"name": "shop", "path": "/a\n", "folder": "/b"})",
        R"({"name": "shop", "path": "a", "folder": "/b", "volume": "v", "container": "c"})",
        R"({"name": "shop", "path": "/a", "s3": {"endpoint": "ftp://x", "bucket": "b"}})",
        R"({"name": "shop", "path": "/a", "s3": {"endpoint": "https://x"}})",
        R"({"name": "shop", "path": "/a", "s3": {"endpoint": "https://x", "bucket": "b", "part_bytes": 1}})"}) {
    INFO(text);
    CHECK(kind(parse(text)) == "backup.plan");
  }
  Scratch scratch;
  write(scratch.path("plan.json"), R"({"name": "shop", "path": "/a", "s3": {"endpoint": "https://x", "bucket": "b"}})");
  CHECK_FALSE(read_plan(scratch.folder()));
  write(scratch.path("account"), "key\n");
  CHECK(kind(read_plan(scratch.folder())) == "backup.plan");
  write(scratch.path("account"), "key\nsecret\ntoken\n");
  auto whole = read_plan(scratch.folder());
  REQUIRE(whole);
  CHECK(whole->account.secret_key == "secret");
  CHECK(whole->account.session_token == "token");
}

TEST_CASE("the XML of S3") {
  const std::string text =
      "<?xml version=\"1.0\"?>\n<List xmlns=\"http://s3\"><IsTruncated>true</IsTruncated>"
      "<Contents><Key>a&amp;b&#x41;&#66;&lt;</Key><Size>5</Size></Contents>"
      "<Contents><Key/><Size>6</Size></Contents><Contents a=\"1\"><Key>c</Key></Contents><Content>no</Content></List>";
  const auto found = xml_elements(text, "Contents");
  REQUIRE(found.size() == 3);
  CHECK(xml_text(found[0], "Key") == "a&bAB<");
  CHECK(xml_text(found[1], "Key").empty());
  CHECK(xml_text(found[1], "Size") == "6");
  CHECK(xml_text(found[2], "Key") == "c");
  CHECK(xml_text(text, "IsTruncated") == "true");
  CHECK(xml_text(text, "Truncated").empty());
  CHECK(xml_text("<Key>unended", "Key").empty());
  CHECK(xml_text("<Key>&nobody;x&#xD800;y&#9999999999;z & w</Key>", "Key") == "xyz & w");
  CHECK(xml_text("<a>" + xml_escape("<&>\"'x") + "</a>", "a") == "<&>\"'x");
}

TEST_CASE("a backup is taken, listed, checked, fetched and loaded") {
  Site site;
  const Json made = site.get(site.job().now());
  CHECK(site.files() == std::vector<std::string>{made["file"].get<std::string>()});
  site.add(50);
  const Json second = site.get(site.job().now());
  const Json list = site.get(site.job().list());
  REQUIRE(list["backups"].size() == 2);
  CHECK(list["backups"][0]["id"] == second["id"]);
  CHECK(list["last"]["ok"] == true);
  CHECK(site.get(site.job().drill(""))["id"] == second["id"]);
  CHECK(site.get(site.job().drill(made["id"]))["problems"].empty());
  CHECK(kind(site.job().drill("20200101T000000.000Z")) == "backup.missing");

  const Json fetched = site.get(site.job().fetch(made["id"]));
  const Json before = site.get(site.job().keep("run-1"));
  CHECK(site.get(site.job().keep("run-1")) == before);  // done before
  site.get(site.job().load(fetched["file"]));
  CHECK(site.count() == 100);
  site.get(site.job().load(before["file"]));
  CHECK(site.count() == 150);
  CHECK(site.get(site.job().check())["problems"].empty());
  CHECK(site.get(site.job().discard(before["file"])) == true);
  CHECK(site.get(site.job().discard(before["file"])) == false);
  for (const char* bad : {"../plan.json", "/etc/passwd", "", "a/b"}) CHECK(kind(site.job().load(bad)) == "usage");
  CHECK(core::list_directory_now(site.home + "/scratch")->empty());
}

TEST_CASE("a database that is gone comes back, for its folder's owner") {
  Site site;
  site.get(site.job().now());
  const Json fetched = site.get(site.job().fetch(""));
  for (const char* part : {"", "-wal", "-shm"}) ::unlink((site.database + part).c_str());
  CHECK(site.get(site.job().keep("x"))["absent"] == true);
  CHECK(kind(site.job().now()) == "backup.missing");
  CHECK(site.get(site.job().list())["last"]["ok"] == false);
  site.get(site.job().load(fetched["file"]));
  CHECK(site.count() == 100);
}

TEST_CASE("left-overs of a backup that was cut off go, what is not ours stays") {
  Site site;
  const Json made = site.get(site.job().now());
  const std::string cut = made["file"].get<std::string>() + ".0011223344556677.tmp";
  write(site.scratch.path("kept/" + cut), "half");
  write(site.scratch.path("kept/other-" + cut), "somebody else's");
  write(site.scratch.path("kept/notes.txt"), "mine");
  write(site.home + "/scratch/snapshot.sqlite3", "half");
  const Json next = site.get(site.job().now());
  auto files = site.files();
  std::sort(files.begin(), files.end());
  std::vector<std::string> wanted{made["file"], next["file"], "notes.txt", "other-" + cut};
  std::sort(wanted.begin(), wanted.end());
  CHECK(files == wanted);
}

TEST_CASE("a damaged backup is found by a drill, and nothing is loaded of it") {
  Site site;
  const Json made = site.get(site.job().now());
  const std::string path = site.scratch.path("kept/" + made["file"].get<std::string>());
  std::string bytes = read(path);
  bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 4);
  write(path, bytes);
  CHECK(kind(site.job().drill("")) == "backup.corrupt");
  CHECK(kind(site.job().fetch("")) == "backup.corrupt");
  CHECK_FALSE(std::filesystem::exists(site.home + "/restore"));
}

TEST_CASE("one at a time: another waits for as long as the plan says") {
  Site site;
  Job first = site.job();
  site.get(first.now());  // its lock is held for as long as it lives
  auto second = site.job().now();
  REQUIRE(kind(second) == "backup.busy");
  CHECK(second.error().message.find("a backup of shop") != std::string::npos);
  const Stop stopped{true};
  CHECK(kind(site.job(stopped).now()) == "cancelled");
}

TEST_CASE("what is old is removed once the new one is there") {
  Site site(10, R"(, "keep": "30d", "at_least": 1)");
  const std::int64_t now =
      std::chrono::duration_cast<core::Milliseconds>(std::chrono::system_clock::now().time_since_epoch()).count();
  REQUIRE(core::make_directories_now(site.scratch.path("kept"), 0700));
  for (const int age : {10, 31, 60})
    write(site.scratch.path("kept/" + file_of("shop", {.made = now - age * kDay, .sha256 = kHash})), "x");
  const Json made = site.get(site.job().now());
  CHECK(made["stores"][0]["removed"] == 2);
  CHECK(site.get(site.job().list())["backups"].size() == 2);
}

TEST_CASE("a program's output, input and end") {
  auto end = run_tool({"sh", "-c", "cat; echo no >&2; exit 3"}, std::string(300'000, 'x'), kGo);
  REQUIRE(end);
  CHECK(end->code == 3);
  CHECK(end->out == std::string(300'000, 'x'));
  CHECK(end->err == "no\n");
  CHECK(run_tool({"no-such-program-at-all"}, {}, kGo)->code == 127);
  CHECK(run_tool({"sh", "-c", "kill -9 $$"}, {}, kGo)->code == 137);
  CHECK(kind(run_tool({"sh", "-c", "while :; do echo xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx; done"}, {}, kGo)) ==
        "backup.engine");
  const Stop stopped{true};
  CHECK(kind(run_tool({"sleep", "60"}, {}, stopped)) == "cancelled");
  CHECK(has_tool("sh"));
  CHECK_FALSE(has_tool("no-such-program-at-all"));
}

TEST_CASE("work that nobody knows, or without what it needs, is a usage error") {
  CHECK(kind(do_work(Json{{"do", "dance"}}, kGo)) == "usage");
  CHECK(kind(do_work(Json{{"do", "copy"}}, kGo)) == "usage");
  CHECK(kind(do_work(Json::array(), kGo)) == "usage");
}

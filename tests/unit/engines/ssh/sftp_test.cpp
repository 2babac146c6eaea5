#include "ssh/sftp.hpp"

#include <catch2/catch_test_macros.hpp>

#include "../../core/probe.hpp"
#include "../http/scripted.hpp"
#include "ssh/sftp_reader.hpp"
#include "ssh/wire.hpp"

using namespace deployrun;
using namespace deployrun::ssh;
using core::test::run_until;

namespace {

std::string packet(const std::string& body) {
  std::string out;
  put_u32(out, static_cast<std::uint32_t>(body.size()));
  return out + body;
}

std::string version(std::uint32_t number) {
  std::string body(1, '\2');
  put_u32(body, number);
  return packet(body);
}

std::string status(std::uint32_t id, std::uint32_t code) {
  std::string body(1, static_cast<char>(sftp::Type::status));
  put_u32(body, id);
  put_u32(body, code);
  put_string(body, "said");
  put_string(body, "");
  return packet(body);
}

/// A client over a stream whose other end is the test.
struct Rig {
  core::Loop loop;
  std::shared_ptr<test::Wire> wire = std::make_shared<test::Wire>();
  std::shared_ptr<Sftp> client =
      std::make_shared<Sftp>(loop, std::make_unique<test::ScriptedStream>(loop, wire), "web-1");
  std::optional<core::Result<core::Unit>> ready;

  void begin(const std::string& answer) {
    client->begin([this](core::Result<core::Unit> result) { ready.emplace(std::move(result)); });
    wire->push(answer);
    REQUIRE(run_until(loop, [this] { return ready.has_value(); }));
  }
};

}  // namespace

TEST_CASE("sftp: answers come to whoever asked, in whatever order") {
  Rig rig;
  rig.begin(version(3));
  REQUIRE(rig.ready->ok());
  std::string order;
  for (const char name : {'a', 'b', 'c'}) {
    rig.client->ask(sftp::on_path(sftp::Type::stat, "/x"), [&order, name](core::Result<sftp::Answer> answer) {
      order += name;
      CHECK((answer.ok() && answer->code == 4 && answer->text == "said"));
    });
  }
  const std::string all = status(2, 4) + status(3, 4) + status(1, 4);
  for (std::size_t at = 0; at < all.size(); at += 5) rig.wire->push(all.substr(at, 5));
  CHECK(run_until(rig.loop, [&] { return order.size() == 3; }));
  CHECK(order == "bca");
}

TEST_CASE("sftp: what is no SFTP server is told") {
  for (const auto& said : {version(2), packet("\x65hello"), std::string("This service allows nothing\n")}) {
    Rig rig;
    rig.begin(said);
    CHECK((!rig.ready->ok() && rig.ready->error().kind == "ssh.sftp" && rig.ready->error().host == "web-1"));
    CHECK_FALSE(rig.client->alive());
  }
}

TEST_CASE("sftp: the end of the connection is the end of every request, before and after it") {
  Rig rig;
  rig.begin(version(3));
  int failed = 0;
  const auto count = [&](const core::Result<sftp::Answer>& answer) { failed += answer.ok() ? 0 : 1; };
  rig.client->ask(sftp::on_path(sftp::Type::stat, "/x"), count);
  rig.client->ask(sftp::on_path(sftp::Type::stat, "/y"), count);
  SECTION("cut") { rig.wire->fail({.kind = "ssh.lost", .message = "cut"}); }
  SECTION("ended") { rig.wire->end(); }
  SECTION("an answer that nobody waits for") { rig.wire->push(status(9, 0)); }
  SECTION("a packet without end") { rig.wire->push("\x7f\xff\xff\xff"); }
  CHECK(run_until(rig.loop, [&] { return failed == 2; }));
  rig.client->ask(sftp::on_path(sftp::Type::stat, "/z"), count);
  CHECK(failed == 2);  // never before the call returns
  CHECK(run_until(rig.loop, [&] { return failed == 3; }));
}

TEST_CASE("sftp: closed, nothing comes any more") {
  Rig rig;
  rig.begin(version(3));
  bool called = false;
  rig.client->ask(sftp::on_path(sftp::Type::stat, "/x"), [&](const core::Result<sftp::Answer>&) { called = true; });
  rig.client->close();
  rig.wire->push(status(1, 0));
  CHECK(run_until(rig.loop, [&] { return rig.wire->closed; }));
  CHECK_FALSE(called);
}

TEST_CASE("sftp: a file's bytes come in order, within a window, however they are answered") {
  struct Asked {
    std::uint64_t offset;
    std::uint32_t count;
    std::function<void(sftp::Answer)> then;
  };
  std::string content(200'000, ' ');
  for (std::size_t i = 0; i < content.size(); ++i) content[i] = static_cast<char>(i * 31 % 251);
  std::deque<Asked> asked;
  std::string got;
  std::optional<std::uint32_t> refused;
  bool ended = false;
  std::uint64_t taken = 0;
  constexpr std::uint64_t kWindow = 4 * sftp::kPiece;
  std::unique_ptr<SftpReader> reader;
  reader = std::make_unique<SftpReader>(
      [&](const sftp::Request& request, std::function<void(sftp::Answer)> then) {
        WireReader from(request.body);
        from.string();
        const std::uint64_t high = *from.u32();
        asked.push_back({high << 32U | *from.u32(), *from.u32(), std::move(then)});
        CHECK(asked.back().offset < taken + kWindow);
      },
      "handle", content.size(),
      SftpReader::Events{.bytes = [&](std::string bytes) { got += bytes; },
                         .end = [&] { ended = true; },
                         .refused = [&](const sftp::Answer& answer) { refused = answer.code; }},
      kWindow);
  reader->start();
  CHECK(asked.size() == 4);
  const auto serve = [&](std::size_t index, std::size_t most) {
    const Asked one = asked[index];
    asked.erase(asked.begin() + static_cast<std::ptrdiff_t>(index));
    const std::size_t count = std::min<std::size_t>(one.count, most);
    one.then({.type = sftp::Type::data, .text = content.substr(one.offset, count)});
  };
  SECTION("out of order and in short pieces") {
    for (unsigned turn = 0; !asked.empty(); ++turn) {
      serve(turn % asked.size(), turn % 3 == 0 ? 1000 : sftp::kPiece);
      const std::uint64_t more = got.size() - taken;
      taken += more;
      reader->consumed(more);
    }
    CHECK(ended);
    CHECK(got == content);
  }
  SECTION("nothing more is asked for while nobody takes it") {
    while (!asked.empty()) serve(0, sftp::kPiece);
    CHECK((got.size() == kWindow && !ended));
  }
  SECTION("a file that became shorter") {
    asked[0].then({.type = sftp::Type::status, .code = sftp::kEof});
    CHECK((refused == sftp::kEof && !ended));
    asked[1].then({.type = sftp::Type::data, .text = "late"});
    CHECK(got.empty());
  }
  SECTION("more than was asked for") {
    asked[0].then({.type = sftp::Type::data, .text = std::string(sftp::kPiece + 1, 'x')});
    CHECK((refused.has_value() && got.empty()));
  }
}

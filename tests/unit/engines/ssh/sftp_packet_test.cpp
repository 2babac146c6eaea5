#include "ssh/sftp_packet.hpp"

#include <catch2/catch_test_macros.hpp>

#include "ssh/wire.hpp"

using namespace deployrun::ssh;

namespace {

std::string answer(sftp::Type type, std::uint32_t id, const std::string& body) {
  std::string out(1, static_cast<char>(type));
  put_u32(out, id);
  return out + body;
}

std::string text(std::string_view value) {
  std::string out;
  put_string(out, value);
  return out;
}

std::string number(std::uint32_t value) {
  std::string out;
  put_u32(out, value);
  return out;
}

}  // namespace

TEST_CASE("sftp packet: requests are laid out as draft-ietf-secsh-filexfer-02 has them") {
  using namespace std::string_literals;
  CHECK(sftp::init_packet() == "\0\0\0\5\1\0\0\0\3"s);
  CHECK(sftp::packet(sftp::on_path(sftp::Type::remove, "/x"), 7) == "\0\0\0\xb\xd\0\0\0\7\0\0\0\2/x"s);
  CHECK(sftp::packet(sftp::read("h", 0x100000002, 3), 1) == "\0\0\0\x16\5\0\0\0\1\0\0\0\1h\0\0\0\1\0\0\0\2\0\0\0\3"s);
  CHECK(sftp::open_file("/f", sftp::kWrite | sftp::kCreate, {.mode = 0600}).body ==
        "\0\0\0\2/f\0\0\0\xa\0\0\0\4\0\0\1\x80"s);
  CHECK(sftp::set("/f", {.size = 5, .owner = sftp::Owner{1, 2}, .mode = {}, .modified = 9}).body ==
        "\0\0\0\2/f\0\0\0\xb\0\0\0\0\0\0\0\5\0\0\0\1\0\0\0\2\0\0\0\x9\0\0\0\x9"s);
  CHECK(sftp::rename_over("a", "b").body == text("posix-rename@openssh.com") + text("a") + text("b"));
}

TEST_CASE("sftp packet: answers are read, and nothing that is none") {
  const auto status = sftp::parse_answer(answer(sftp::Type::status, 3, number(2) + text("No such file") + text("")));
  REQUIRE(status);
  CHECK((status->id == 3 && status->code == sftp::kNoSuchFile && status->text == "No such file"));
  CHECK(sftp::parse_answer(answer(sftp::Type::status, 3, number(4)))->code == 4);  // some servers leave the words out

  const std::string attributes = number(0x8000000f) + number(0) + number(77) + number(10) + number(20) +
                                 number(0100644) + number(1) + number(1234) + number(1) + text("a@b") + text("c");
  const auto names = sftp::parse_answer(
      answer(sftp::Type::name, 4,
             number(2) + text("one") + text("-rw one") + attributes + text("two") + text("") + number(0)));
  REQUIRE((names && names->names.size() == 2));
  const sftp::Attributes& one = names->names[0].attributes;
  CHECK((one.size == 77 && one.owner->user == 10 && one.owner->group == 20 && one.mode == 0100644));
  CHECK((one.modified == 1234 && names->names[1].name == "two" && !names->names[1].attributes.size));
  CHECK(sftp::parse_answer(answer(sftp::Type::data, 5, text("bytes")))->text == "bytes");

  const std::string whole = answer(sftp::Type::name, 4, number(1) + text("one") + text("") + attributes);
  for (std::size_t length = 0; length < whole.size(); ++length)
    CHECK_FALSE(sftp::parse_answer(std::string_view(whole).substr(0, length)));
  CHECK_FALSE(sftp::parse_answer(answer(static_cast<sftp::Type>(99), 1, "")));
  CHECK_FALSE(sftp::parse_answer(answer(sftp::Type::name, 1, number(0xffffffff))));
  CHECK_FALSE(sftp::parse_answer(answer(sftp::Type::handle, 1, number(100) + "short")));
}

TEST_CASE("sftp packet: a server's version and what it can do beyond it") {
  const auto version = sftp::parse_version(std::string(1, '\2') + number(3) + text("fsync@openssh.com") + text("1"));
  REQUIRE(version);
  CHECK((version->number == 3 && version->extensions.contains("fsync@openssh.com")));
  CHECK_FALSE(sftp::parse_version(std::string(1, '\2') + number(3) + text("fsync@openssh.com")));
  CHECK_FALSE(sftp::parse_version(""));
}

TEST_CASE("sftp packet: a stream is cut into packets wherever its pieces end") {
  const std::string one = sftp::packet({sftp::Type::remove, "body"}, 1), two = sftp::packet({sftp::Type::stat, "x"}, 2);
  sftp::Packets packets;
  std::vector<std::string> found;
  for (const char byte : one + two) {
    packets.feed({&byte, 1});
    while (const auto packet = packets.next()) found.emplace_back(*packet);
  }
  CHECK(found == std::vector<std::string>{one.substr(4), two.substr(4)});
  CHECK_FALSE(packets.broken());
  for (const std::uint32_t length : {0U, 262145U, 0xffffffffU}) {
    sftp::Packets wrong;
    wrong.feed(number(length) + "xxxx");
    CHECK_FALSE(wrong.next());
    CHECK(wrong.broken());
  }
}

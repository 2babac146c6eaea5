#include "docker/client.hpp"

#include <catch2/catch_test_macros.hpp>

#include "../http/scripted.hpp"
#include "core/base64.hpp"
#include "docker/containers.hpp"
#include "docker/images.hpp"
#include "docker/networks.hpp"

using namespace deployrun;
using docker::Json;
using test::http_reply;
using test::run;
using test::Server;

namespace {

std::string frame(char stream, const std::string& payload) {
  std::string bytes = {stream, 0, 0, 0};
  for (const unsigned shift : {24U, 16U, 8U, 0U}) bytes += static_cast<char>((payload.size() >> shift) & 0xffU);
  return bytes + payload;
}

struct Fixture {
  core::Loop loop;
  std::vector<std::string> answers{http_reply(200, "{}")};  // one after the other, the last again and again
  Server server{
      loop,
      [this](const std::string&) { return answers[std::min(server.requests.size() - 1, answers.size() - 1)]; },
      {},
      {},
      {}};
  http::Client http{loop};
  docker::ClientPtr client = std::make_shared<docker::Client>(
      http, docker::Endpoint{.unix_socket = {}, .dial = server.dial(), .host = "web1"});

  template <class T>
  core::Result<T> get(docker::Op<T> operation) {
    return run(loop, *operation);
  }
  template <class T>
  core::Error failure(docker::Op<T> operation) {
    auto result = run(loop, *operation);
    REQUIRE_FALSE(result);
    CHECK(result.error().host == "web1");
    return result.error();
  }
  /// The first line of a request, and its body as JSON.
  std::string asked(std::size_t index = 0) const {
    return server.requests.at(index).substr(0, server.requests[index].find(" HTTP/"));
  }
  Json sent(std::size_t index = 0) const {
    return Json::parse(server.requests.at(index).substr(server.requests[index].find("\r\n\r\n") + 4));
  }
};

}  // namespace

TEST_CASE("the engine's refusals are told apart by status, with its own words") {
  Fixture f;
  const auto kind = [&](int status) {
    f.answers = {http_reply(status, R"({"message":"No such container: web"})")};
    const auto error = f.failure(docker::start_container(f.client, "web"));
    CHECK(error.message == "start web: No such container: web");
    CHECK(std::get<std::int64_t>(error.details.at("status")) == status);
    return error.kind;
  };
  CHECK(kind(400) == "docker.invalid");
  CHECK(kind(401) == "docker.auth");
  CHECK(kind(403) == "docker.auth");
  CHECK(kind(404) == "docker.not_found");
  CHECK(kind(409) == "docker.conflict");
  CHECK(kind(500) == "docker.engine");
  CHECK(kind(503) == "docker.engine");
}

TEST_CASE("each call is told when it has ended, without headers and bodies") {
  Fixture f;
  std::vector<docker::Trip> trips;
  docker::Endpoint endpoint{.unix_socket = {}, .dial = f.server.dial(), .host = "web1"};
  endpoint.told = [&](const docker::Trip& trip) { trips.push_back(trip); };
  f.client = std::make_shared<docker::Client>(f.http, std::move(endpoint));
  f.answers = {http_reply(200, R"({"Id":"4f2c"})"), http_reply(404, R"({"message":"none"})")};
  CHECK(f.get(docker::ask_json(f.client, {.what = "make",
                                          .method = "POST",
                                          .path = "/things/create",
                                          .query = {{"name", "a b"}},
                                          .body = Json{{"Env", {"PASSWORD=hunter2x"}}}})));
  CHECK(f.failure(docker::start_container(f.client, "web")).is("docker.not_found"));
  REQUIRE(trips.size() == 2);
  CHECK(trips[0].method == "POST");
  CHECK(trips[0].path == "/v1.41/things/create?name=a%20b");
  CHECK(trips[0].status == 200);
  CHECK(trips[0].sent == f.sent(0).dump().size());
  CHECK(trips[0].received == 13);
  CHECK(trips[1].status == 404);
  CHECK(trips[1].failure.empty());
}

TEST_CASE("an engine that has given up our version is asked again in its oldest") {
  Fixture f;
  const std::string old =
      R"({"message":"client version 1.41 is too old. Minimum supported API version is 1.44, please upgrade"})";
  f.answers = {http_reply(400, old), http_reply(200, "[]")};
  REQUIRE(f.get(docker::list_containers(f.client, {})));
  CHECK(f.asked(0).rfind("GET /v1.41/containers/json", 0) == 0);
  CHECK(f.asked(1).rfind("GET /v1.44/containers/json", 0) == 0);
  REQUIRE(f.get(docker::list_containers(f.client, {})));
  CHECK(f.asked(2).rfind("GET /v1.44/containers/json", 0) == 0);
}

TEST_CASE("an engine newer or older than anything known is named") {
  Fixture f;
  f.answers = {http_reply(
      400, R"({"message":"client version 1.41 is too old. Minimum supported API version is 1.99, please upgrade"})")};
  CHECK(f.failure(docker::list_containers(f.client, {})).kind == "docker.version");
  const std::string young = R"({"message":"client version 1.44 is too new. Maximum supported API version is 1.41"})";
  f.answers = {http_reply(400, young)};
  docker::ContainerSpec spec;
  spec.image = "a/b:c";
  spec.health = docker::Health{.test = {"CMD-SHELL", "x"}, .start_interval = core::Milliseconds(500)};
  const auto error = f.failure(docker::create_container(f.client, spec));
  CHECK(error.kind == "docker.version");
  CHECK(error.message == "create container a/b:c: needs Engine API 1.44, and the engine's is 1.41");
}

TEST_CASE("an answer that is no JSON is shown cleaned and short") {
  Fixture f;
  f.answers = {http_reply(502, "<html>\x1b[2Jproxy error</html>" + std::string(1000, 'x'))};
  const auto error = f.failure(docker::start_container(f.client, "web"));
  CHECK(error.kind == "docker.engine");
  CHECK(error.message.find("start web: status 502: <html>proxy error</html>xxx") == 0);
  CHECK(error.message.size() < 300);

  f.answers = {http_reply(200, "nonsense")};
  CHECK(f.failure(docker::inspect_container(f.client, "web")).kind == "docker.protocol");
}

TEST_CASE("no connection and a broken one keep their cause") {
  Fixture f;
  f.server.refuse = core::Error{.kind = "ssh.channel", .message = "open channel: connect failed"};
  const auto error = f.failure(docker::ping(f.client));
  CHECK(error.kind == "docker.connect");
  REQUIRE(error.cause);
  REQUIRE(error.cause->cause);
  CHECK(error.cause->cause->kind == "ssh.channel");

  f.server.refuse.reset();
  f.answers = {"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"};
  auto operation = docker::ping(f.client);
  std::optional<core::Result<std::string>> result;
  operation->start([&](auto value) { result.emplace(std::move(value)); });
  test::run_until(f.loop, [&] { return f.server.requests.size() == 1; });
  f.server.wires.back()->end();
  test::run_until(f.loop, [&] { return result.has_value(); });
  REQUIRE_FALSE(*result);
  CHECK(result->error().kind == "docker.lost");
}

TEST_CASE("a socket that refuses the user is docker.denied with advice") {
  const docker::Ask ask{.what = "ping the engine"};
  core::Loop loop;
  http::Client http(loop);
  const docker::Client client(http, {.unix_socket = "/run/docker.sock", .dial = {}, .host = {}});
  core::Error refused{.kind = "http.connect", .message = "GET http://docker/v1.41/_ping: permission denied"};
  refused.details["errno"] = std::int64_t{EACCES};
  const auto denied = client.unreachable(ask, refused);
  CHECK(denied.kind == "docker.denied");
  CHECK(denied.message == "ping the engine: permission denied on /run/docker.sock");
  CHECK(denied.hint.find("group `docker`") != std::string::npos);
  CHECK(client.unreachable(ask, core::cancelled()).kind == "cancelled");
}

TEST_CASE("starting what runs and stopping what is stopped is unchanged, not an error") {
  Fixture f;
  f.answers = {"HTTP/1.1 204 No Content\r\n\r\n", "HTTP/1.1 304 Not Modified\r\n\r\n"};
  CHECK(*f.get(docker::stop_container(f.client, "web", std::chrono::seconds(7))));
  CHECK_FALSE(*f.get(docker::stop_container(f.client, "web")));
  CHECK(f.asked(0) == "POST /v1.41/containers/web/stop?t=7");
  CHECK(f.asked(1) == "POST /v1.41/containers/web/stop");
  CHECK(f.client->requests() == 2);
  CHECK(f.server.wires.size() == 1);
}

TEST_CASE("names and queries cannot leave their place") {
  Fixture f;
  for (const char* wrong : {"", "..", ".hidden", "a/b", "a b", "a?x=1", "a\r\nb", "ä"}) {
    INFO(wrong);
    CHECK_THROWS_AS(docker::inspect_container(f.client, wrong), core::Failure);
    CHECK_THROWS_AS(docker::remove_volume(f.client, wrong), core::Failure);
  }
  for (const char* wrong : {"../containers/x", "a//b", "a b", "a?x", "a@sha256:12", "a:b:c/d:", ""}) {
    INFO(wrong);
    CHECK_THROWS_AS(docker::inspect_image(f.client, wrong), core::Failure);
  }
  CHECK(f.server.requests.empty());
  f.answers = {http_reply(200, "[]")};
  REQUIRE(f.get(
      docker::list_containers(f.client, {.all = true, .labels = {"a=b&c"}, .name = "web.1", .states = {"running"}})));
  CHECK(f.asked() ==
        "GET "
        "/v1.41/containers/"
        "json?all=1&filters=%7B%22label%22%3A%5B%22a%3Db%26c%22%5D%2C%22name%22%3A%5B%22%5E%2F%3Fweb.1%24%22%5D%2C"
        "%22status%22%3A%5B%22running%22%5D%7D");
  f.answers = {http_reply(200, R"({"Id":"sha256:1"})")};
  REQUIRE(f.get(docker::inspect_image(f.client, "127.0.0.1:5000/team/app:v1")));
  CHECK(f.asked(1) == "GET /v1.41/images/127.0.0.1:5000/team/app:v1/json");
}

TEST_CASE("what is listed and inspected has one shape, whatever the engine leaves out") {
  Fixture f;
  f.answers = {
      http_reply(
          200,
          R"([{"Id":"1","Names":["/web"],"Labels":null,"NetworkSettings":{"Networks":{"kamal":{"IPAddress":"172.18.0.2"}}}},{}])"),
      http_reply(200,
                 R"({"Id":"1","Name":"/web","State":{"Status":"exited","Running":false,"ExitCode":137,"OOMKilled":true,
                 "StartedAt":"0001-01-01T00:00:00Z"},"Config":{"Env":["A=b=c","X"]},"NetworkSettings":{"Ports":{"80/tcp":null,
                 "81/tcp":[{"HostIp":"0.0.0.0","HostPort":"8081"}]}}})")};
  const auto list = f.get(docker::list_containers(f.client, {}));
  REQUIRE(list);
  CHECK((*list)[0]["name"] == "web");
  CHECK((*list)[0]["networks"]["kamal"]["ip"] == "172.18.0.2");
  CHECK((*list)[0]["labels"] == Json::object());
  CHECK((*list)[1]["name"] == "");
  const auto one = f.get(docker::inspect_container(f.client, "web"));
  REQUIRE(one);
  CHECK((*one)["exit_code"] == 137);
  CHECK((*one)["oom_killed"] == true);
  CHECK((*one)["started_at"] == "");
  CHECK((*one)["env"] == Json{{"A", "b=c"}});
  CHECK((*one)["published"] == Json::array({{{"container", "81/tcp"}, {"ip", "0.0.0.0"}, {"port", "8081"}}}));
  CHECK((*one)["networks"] == Json::object());
}

TEST_CASE("a container is created from its description") {
  Fixture f;
  f.answers = {http_reply(201, R"({"Id":"abc","Warnings":["no swap"]})")};
  docker::ContainerSpec spec;
  spec.image = "127.0.0.1:5000/app:v1";
  spec.name = "web";
  const auto created = f.get(docker::create_container(f.client, spec));
  REQUIRE(created);
  CHECK(created->id == "abc");
  CHECK(created->warnings == std::vector<std::string>{"no swap"});
  CHECK(f.asked() == "POST /v1.41/containers/create?name=web");
  CHECK(f.sent() == docker::create_body(spec));
}

TEST_CASE("exec is create, start, inspect") {
  Fixture f;
  const std::string output = frame(1, "out\n") + frame(2, "err\n");
  f.answers = {http_reply(201, R"({"Id":"e1"})"), http_reply(200, output),
               http_reply(200, R"({"ExitCode":3,"Running":false})")};
  const auto result =
      f.get(docker::exec(f.client, "web", {"ls", "a b"}, {.env = {{"A", "1"}}, .user = "app", .workdir = "/srv"}));
  REQUIRE(result);
  CHECK(result->out == "out\n");
  CHECK(result->err == "err\n");
  CHECK(result->code == 3);
  CHECK(f.sent()["Cmd"] == Json{"ls", "a b"});
  CHECK(f.sent()["Env"] == Json{"A=1"});
  CHECK(f.sent()["User"] == "app");
  CHECK(f.asked(1) == "POST /v1.41/exec/e1/start");
  CHECK(f.asked(2) == "GET /v1.41/exec/e1/json");
  CHECK_THROWS_AS(docker::exec(f.client, "web", {}), core::Failure);
}

TEST_CASE("an exec whose code never came is a failure") {
  Fixture f;
  f.answers = {http_reply(201, R"({"Id":"e1"})"), http_reply(200, ""),
               http_reply(200, R"({"ExitCode":null,"Running":true})")};
  CHECK(f.failure(docker::exec(f.client, "web", {"ls"})).kind == "docker.lost");
  f.answers = {http_reply(200, "{}")};
  CHECK(f.failure(docker::exec(f.client, "web", {"ls"})).kind == "docker.protocol");
}

TEST_CASE("a chain is cancelled in the middle, destroyed in silence") {
  Fixture f;
  f.answers = {http_reply(201, R"({"Id":"e1"})"), ""};
  auto exec = docker::exec(f.client, "web", {"sleep", "100"});
  std::vector<std::string> kinds;
  exec->start([&](auto result) { kinds.push_back(result ? "ok" : result.error().kind); });
  test::run_until(f.loop, [&] { return f.server.requests.size() == 2; });
  SECTION("cancelled") {
    exec->cancel();
    exec->cancel();
    test::settle(f.loop);
    CHECK(kinds == std::vector<std::string>{"cancelled"});
  }
  SECTION("destroyed") {
    exec.reset();
    test::settle(f.loop);
    CHECK(kinds.empty());
  }
}

TEST_CASE("logs keep the order, the streams and a limit") {
  Fixture f;
  f.answers = {http_reply(200, frame(1, "a\n") + frame(2, "b\n") + frame(1, "c\n"))};
  const auto logs = f.get(docker::logs(f.client, "web", {.tail = 5, .since = {}, .timestamps = true}));
  REQUIRE(logs);
  CHECK(logs->text == "a\nb\nc\n");
  CHECK(logs->out == "a\nc\n");
  CHECK(logs->err == "b\n");
  CHECK(f.asked() == "GET /v1.41/containers/web/logs?stdout=1&stderr=1&tail=5&timestamps=1");
  f.answers = {http_reply(200, frame(1, std::string(17U << 20U, 'x')))};
  const auto much = f.get(docker::logs(f.client, "web"));
  REQUIRE(much);
  CHECK(much->truncated);
  CHECK(much->text.size() == 16U << 20U);
}

TEST_CASE("following logs is slowed down by its reader and ends with the container") {
  Fixture f;
  std::string many;
  for (int line = 0; line < 5000; ++line) many += frame(1, "line " + std::to_string(line) + "\n");
  f.answers = {"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + many};
  docker::Follow follow(f.client, "web", {.tail = {}, .since = {}, .timestamps = false});
  test::run_until(f.loop, [&] { return follow.lines()->full(); });
  test::settle(f.loop, 100);
  int seen = 0;
  bool ended = false;
  while (!ended) {
    core::Queue<docker::LogLine>::Next next(follow.lines());
    std::optional<core::Result<std::optional<docker::LogLine>>> line;
    next.start([&](auto value) { line.emplace(std::move(value)); });
    if (!line && seen == 5000) f.server.wires.back()->end();
    test::run_until(f.loop, [&] { return line.has_value(); });
    REQUIRE(*line);
    if (**line) {
      REQUIRE((**line)->text == "line " + std::to_string(seen++));
    } else {
      ended = true;
    }
  }
  CHECK(seen == 5000);
}

TEST_CASE("following what is not there fails at the first line") {
  Fixture f;
  f.answers = {http_reply(404, R"({"message":"No such container: web"})")};
  docker::Follow follow(f.client, "web", {});
  core::Queue<docker::LogLine>::Next next(follow.lines());
  const auto line = run(f.loop, next);
  REQUIRE_FALSE(line);
  CHECK(line.error().kind == "docker.not_found");
}

TEST_CASE("a pull adds up its progress and sends its credentials for this request only") {
  Fixture f;
  f.answers = {
      http_reply(200,
                 "{\"status\":\"Pulling from team/app\",\"id\":\"v1\"}\r\n"
                 "{\"status\":\"Pulling fs layer\",\"progressDetail\":{},\"id\":\"aa\"}\r\n"
                 "{\"status\":\"Already exists\",\"progressDetail\":{},\"id\":\"bb\"}\r\n"
                 "{\"status\":\"Downloading\",\"progressDetail\":{\"current\":10,\"total\":40},\"id\":\"aa\"}\r\n"
                 "{\"status\":\"Download complete\",\"progressDetail\":{},\"id\":\"aa\"}\r\n"
                 "{\"status\":\"Extracting\",\"progressDetail\":{\"current\":5,\"total\":40},\"id\":\"aa\"}\r\n"
                 "{\"status\":\"Pull complete\",\"progressDetail\":{},\"id\":\"aa\"}\r\n"
                 "{\"status\":\"Digest: sha256:dd\"}\r\n{\"status\":\"Status: Downloaded newer image for x\"}\r\n")};
  std::vector<docker::Progress> seen;
  const docker::Credentials credentials{.username = "robot", .password = "p?ss~word>>", .registry = {}};
  const auto pulled = f.get(docker::pull(f.client, "127.0.0.1:5000/team/app:v1", credentials,
                                         [&](const docker::Progress& now) { seen.push_back(now); }));
  REQUIRE(pulled);
  CHECK(pulled->digest == "sha256:dd");
  CHECK(pulled->changed);
  REQUIRE(seen.size() == 6);
  CHECK(seen[2].bytes == 10);
  CHECK(seen[2].total_bytes == 40);
  CHECK(seen[2].layers == 2);
  CHECK(seen[2].done == 1);
  CHECK(seen.back().bytes == 40);
  CHECK(seen.back().done == 2);
  CHECK(f.asked() == "POST /v1.41/images/create?fromImage=127.0.0.1%3A5000%2Fteam%2Fapp&tag=v1");
  const std::string& request = f.server.requests[0];
  const std::size_t at = request.find("X-Registry-Auth: ") + 17;
  const auto auth = core::base64_decode(request.substr(at, request.find("\r\n", at) - at), core::Base64::url);
  REQUIRE(auth);
  CHECK(Json::parse(*auth) ==
        Json{{"username", "robot"}, {"password", "p?ss~word>>"}, {"serveraddress", "127.0.0.1:5000"}});
}

TEST_CASE("a pull fails by an answer, by an event, or by an end without a result") {
  Fixture f;
  const auto fail = [&](const std::string& answer) {
    f.answers = {answer};
    const auto error =
        f.failure(docker::pull(f.client, "127.0.0.1:5000/app:v1",
                               docker::Credentials{.username = "u", .password = "s3cret!", .registry = {}}));
    CHECK(core::describe(error).find("s3cret!") == std::string::npos);
    CHECK(error.message.find("pull 127.0.0.1:5000/app:v1: ") == 0);
    return error.kind;
  };
  const auto event = [](const std::string& text) {
    return http_reply(200, Json{{"errorDetail", {{"message", text}}}, {"error", text}}.dump() + "\r\n");
  };
  CHECK(fail(http_reply(404, R"({"message":"manifest for app:v1 not found: manifest unknown"})")) ==
        "docker.not_found");
  CHECK(
      fail(http_reply(500, R"({"message":"Get https://127.0.0.1:5000/v2/: unauthorized: authentication required"})")) ==
      "docker.auth");
  CHECK(fail(http_reply(500, R"({"message":"dial tcp 127.0.0.1:5000: connect: connection refused"})")) ==
        "docker.pull");
  CHECK(fail(event("write /var/lib/docker/tmp/x: no space left on device")) == "docker.pull");
  CHECK(fail(event("unauthorized: access token has expired")) == "docker.auth");
  CHECK(fail(http_reply(200, "{\"status\":\"Pulling fs layer\",\"id\":\"aa\"}\r\n")) == "docker.pull");
  CHECK(fail(http_reply(200, "oops\r\n")) == "docker.protocol");
}

TEST_CASE("images are named as people name them") {
  const auto read = [](const char* text) {
    const auto reference = docker::parse_reference(text);
    if (!reference) return std::string("refused");
    return reference->registry() + "|" + reference->name + "|" + reference->tag + "|" + reference->digest.substr(0, 10);
  };
  const std::string digest = "sha256:" + std::string(64, 'a');
  CHECK(read("app") == "|app|latest|");
  CHECK(read("team/app:v1") == "|team/app|v1|");
  CHECK(read("127.0.0.1:5000/app") == "127.0.0.1:5000|127.0.0.1:5000/app|latest|");
  CHECK(read("localhost/app:v1.2_3-4") == "localhost|localhost/app|v1.2_3-4|");
  CHECK(read(("ghcr.io/a/b@" + digest).c_str()) == "ghcr.io|ghcr.io/a/b||sha256:aaa");
  CHECK(read(("a:v1@" + digest).c_str()) == "|a|v1|sha256:aaa");
  for (const char* wrong : {"", "a:", "a@sha256:zz", "a b", "/a", "a/", "-a", "a:ta g", "a/../b"}) {
    INFO(wrong);
    CHECK(read(wrong) == "refused");
  }
}

#include "http/call.hpp"

#include <array>
#include <catch2/catch_test_macros.hpp>

#include "http/upload.hpp"
#include "scripted.hpp"

using namespace deployrun;
using test::http_reply;
using test::run;
using test::Server;

namespace {

struct Fixture {
  core::Loop loop;
  Server server{loop, [](const std::string&) { return http_reply(200, "hello", "X-App: v1\r\n"); }, {}, {}, {}};
  std::unique_ptr<http::Client> client = std::make_unique<http::Client>(loop);
  std::shared_ptr<http::Route> route = client->route(server.dial());

  http::Request request(std::string path = "/up") {
    http::Request wanted;
    wanted.url = "http://app.internal" + path;
    wanted.route = route;
    wanted.host = "web1";
    return wanted;
  }
  core::Result<http::Reply> get(http::Request wanted) {
    http::Call call(*client, std::move(wanted));
    return run(loop, call);
  }
};

}  // namespace

TEST_CASE("a request over a dialled stream gives the whole reply") {
  Fixture f;
  const auto reply = f.get(f.request());
  REQUIRE(reply);
  CHECK(reply->status == 200);
  CHECK(reply->body == "hello");
  REQUIRE(http::find_header(reply->headers, "x-app") != nullptr);
  CHECK(*http::find_header(reply->headers, "x-app") == "v1");
  CHECK_FALSE(reply->reused);
  REQUIRE(f.server.requests.size() == 1);
  CHECK(f.server.requests[0].rfind("GET /up HTTP/1.1\r\nHost: app.internal\r\n", 0) == 0);
}

TEST_CASE("connections of one route are kept and reused, never shared with another route") {
  Fixture f;
  REQUIRE(f.get(f.request()));
  const auto second = f.get(f.request());
  REQUIRE(second);
  CHECK(second->reused);
  CHECK(f.server.wires.size() == 1);
  CHECK(f.route->dials() == 1);

  auto other = f.client->route(f.server.dial());
  http::Request elsewhere = f.request();
  elsewhere.route = other;
  const auto third = f.get(elsewhere);
  REQUIRE(third);
  CHECK_FALSE(third->reused);
  CHECK(other->dials() == 1);

  http::Request fresh = f.request();
  fresh.fresh = true;
  const auto fourth = f.get(fresh);
  REQUIRE(fourth);
  CHECK_FALSE(fourth->reused);
  CHECK(f.route->dials() == 2);
}

TEST_CASE("the last holder of a route closes its streams") {
  Fixture f;
  REQUIRE(f.get(f.request()));
  REQUIRE_FALSE(f.server.wires[0]->closed);
  f.route.reset();
  CHECK(f.server.wires[0]->closed);
}

TEST_CASE("a connection that ended while idle is replaced") {
  Fixture f;
  REQUIRE(f.get(f.request()));
  f.server.wires[0]->end();
  test::settle(f.loop);
  const auto reply = f.get(f.request());
  REQUIRE(reply);
  CHECK_FALSE(reply->reused);
  CHECK(f.server.wires.size() == 2);
}

TEST_CASE("a route with a spare does not wait for a dial when a connection is used up") {
  Fixture f;
  f.server.answer = [](const std::string&) { return http_reply(200, "bye", "Connection: close\r\n"); };
  f.route = f.client->route(f.server.dial(), 1);
  REQUIRE(f.get(f.request()));
  test::settle(f.loop);
  REQUIRE(f.server.wires.size() == 2);
  SECTION("the next request takes it, and another one is dialled") {
    REQUIRE(f.get(f.request()));
    CHECK(f.server.wires[1]->answered == 1);
    test::settle(f.loop);
    CHECK(f.server.wires.size() == 3);
    CHECK(f.server.wires[2]->answered == 0);
  }
  SECTION("one that ended in the meantime is forgotten") {
    f.server.wires[1]->end();
    test::settle(f.loop);
    REQUIRE(f.get(f.request()));
    CHECK(f.server.wires[1]->answered == 0);
    CHECK(f.server.wires[2]->answered == 1);
  }
  SECTION("one that broke is no request's failure") {
    f.server.wires[1]->fail({.kind = "ssh.lost", .message = "gone"});
    test::settle(f.loop);
    CHECK(f.route->connections() == 0);
    CHECK_FALSE(f.route->failure_since(0).has_value());
  }
  SECTION("it goes with the route") {
    f.route.reset();
    CHECK(f.server.wires[1]->closed);
  }
}

TEST_CASE("a route with two spares has one for each of two requests at once") {
  Fixture f;
  f.route = f.client->route(f.server.dial(), 2);
  REQUIRE(f.get(f.request()));
  test::settle(f.loop);
  REQUIRE(f.server.wires.size() == 3);
  std::array<http::Call, 3> calls{{{*f.client, f.request()}, {*f.client, f.request()}, {*f.client, f.request()}}};
  std::size_t answered = 0;
  for (http::Call& call : calls) call.start([&](const auto& reply) { answered += reply ? 1 : 0; });
  test::run_until(f.loop, [&] { return answered == calls.size(); });
  CHECK(f.server.wires[1]->answered == 1);
  CHECK(f.server.wires[2]->answered == 1);
  CHECK(f.route->connections() == 5);
}

TEST_CASE("a dial that fails is http.connect, its own error the cause") {
  Fixture f;
  f.server.refuse =
      core::Error{.kind = "ssh.channel", .message = "open channel: administratively prohibited", .host = "web1"};
  const auto reply = f.get(f.request("/up?token=hidden"));
  REQUIRE_FALSE(reply);
  CHECK(reply.error().kind == "http.connect");
  CHECK(reply.error().message == "GET http://app.internal/up?…: no connection");
  CHECK(reply.error().host == "web1");
  REQUIRE(reply.error().cause);
  CHECK(reply.error().cause->kind == "ssh.channel");
}

TEST_CASE("a stream that breaks in mid-answer is http.lost, its own error the cause") {
  Fixture f;
  f.server.answer = [](const std::string&) {
    return std::string("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf");
  };
  http::Call call(*f.client, f.request());
  std::optional<core::Result<http::Reply>> result;
  call.start([&](auto value) { result.emplace(std::move(value)); });
  test::run_until(f.loop, [&] { return f.server.requests.size() == 1; });
  test::settle(f.loop);
  REQUIRE_FALSE(result);
  f.server.wires[0]->fail({.kind = "ssh.lost", .message = "session lost"});
  test::run_until(f.loop, [&] { return result.has_value(); });
  REQUIRE_FALSE(*result);
  CHECK(result->error().kind == "http.lost");
  REQUIRE(result->error().cause);
  CHECK(result->error().cause->kind == "ssh.lost");
}

TEST_CASE("an answer that ends early is http.lost without a cause") {
  Fixture f;
  f.server.answer = [&](const std::string&) {
    f.loop.defer([&] { f.server.wires.back()->end(); });
    return std::string("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf");
  };
  const auto reply = f.get(f.request());
  REQUIRE_FALSE(reply);
  CHECK(reply.error().kind == "http.lost");
}

TEST_CASE("what is not HTTP is http.protocol") {
  Fixture f;
  f.server.answer = [](const std::string&) { return std::string("SSH-2.0-OpenSSH_9.2\r\n"); };
  const auto reply = f.get(f.request());
  REQUIRE_FALSE(reply);
  CHECK(reply.error().kind == "http.protocol");
}

TEST_CASE("a body over the limit is http.too_large, or cut where the request says so") {
  Fixture f;
  f.server.answer = [](const std::string&) { return http_reply(200, std::string(100'000, 'x')); };
  http::Request small = f.request();
  small.max_body = 99'999;
  const auto refused = f.get(small);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().kind == "http.too_large");

  small.cut_body = true;
  small.max_body = 10;
  const auto cut = f.get(small);
  REQUIRE(cut);
  CHECK(cut->body == "xxxxxxxxxx");

  small.cut_body = false;
  small.max_body = 100'000;
  REQUIRE(f.get(small));
}

TEST_CASE("headers without end are http.too_large") {
  Fixture f;
  f.server.answer = [](const std::string&) {
    std::string reply = "HTTP/1.1 200 OK\r\n";
    for (int line = 0; line < 300; ++line)
      reply += "X-" + std::to_string(line) + ": " + std::string(1000, 'h') + "\r\n";
    return reply + "\r\n";
  };
  const auto reply = f.get(f.request());
  REQUIRE_FALSE(reply);
  CHECK(reply.error().kind == "http.too_large");
}

TEST_CASE("a request that cannot be sent completes inside start with usage") {
  Fixture f;
  const auto kind = [&](auto change) {
    http::Request wanted = f.request();
    change(wanted);
    http::Call call(*f.client, wanted);
    std::optional<core::Result<http::Reply>> result;
    call.start([&](auto value) { result.emplace(std::move(value)); });
    REQUIRE(result);
    REQUIRE_FALSE(*result);
    CHECK(result->error().message.find("s3cret") == std::string::npos);
    return result->error().kind;
  };
  CHECK(kind([](auto& r) { r.url = "ftp://example.org/"; }) == "usage");
  CHECK(kind([](auto& r) { r.url = "file:///etc/passwd"; }) == "usage");
  CHECK(kind([](auto& r) { r.url = "/relative"; }) == "usage");
  CHECK(kind([](auto& r) { r.url = "http://a/\r\nX: y"; }) == "usage");
  CHECK(kind([](auto& r) { r.method = "GET /"; }) == "usage");
  CHECK(kind([](auto& r) { r.headers = {{"X-Token", "s3cret\r\nX: y"}}; }) == "usage");
  CHECK(kind([](auto& r) { r.headers = {{"X Token", "y"}}; }) == "usage");
  CHECK(f.server.requests.empty());
}

TEST_CASE("a request can be cancelled before, during and after") {
  Fixture f;
  SECTION("before the dial is done") {
    http::Call call(*f.client, f.request());
    std::vector<std::string> kinds;
    call.start([&](auto value) { kinds.push_back(value ? "ok" : value.error().kind); });
    call.cancel();
    call.cancel();
    test::settle(f.loop);
    CHECK(kinds == std::vector<std::string>{"cancelled"});
    CHECK(f.server.requests.empty());
  }
  SECTION("while the answer is awaited; the connection is not reused") {
    f.server.answer = [](const std::string&) { return std::string(); };
    http::Call call(*f.client, f.request());
    std::vector<std::string> kinds;
    call.start([&](auto value) { kinds.push_back(value ? "ok" : value.error().kind); });
    test::run_until(f.loop, [&] { return f.server.requests.size() == 1; });
    call.cancel();
    CHECK(kinds == std::vector<std::string>{"cancelled"});
    test::settle(f.loop);
    CHECK(f.server.wires[0]->closed);
    f.server.answer = [](const std::string&) { return http_reply(204, ""); };
    const auto next = f.get(f.request());
    REQUIRE(next);
    CHECK(next->status == 204);
  }
  SECTION("afterwards nothing happens") {
    http::Call call(*f.client, f.request());
    REQUIRE(run(f.loop, call));
    call.cancel();
    test::settle(f.loop);
  }
  SECTION("destroyed early it stops in silence") {
    auto call = std::make_unique<http::Call>(*f.client, f.request());
    bool told = false;
    call->start([&](auto) { told = true; });
    test::settle(f.loop, 2);
    call.reset();
    test::settle(f.loop);
    CHECK_FALSE(told);
  }
}

TEST_CASE("a streamed body is paused, resumed, cancelled and destroyed from inside its callback") {
  Fixture f;
  const std::string half(8000, 'a');
  f.server.answer = [&](const std::string&) {
    return "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1f40\r\n" + half + "\r\n";
  };
  http::Request wanted = f.request();
  std::unique_ptr<http::Call> call;
  std::string got;
  std::vector<std::string> kinds;
  const auto begin = [&] {
    call = std::make_unique<http::Call>(*f.client, wanted);
    call->start([&](auto value) { kinds.push_back(value ? "ok" : value.error().kind); });
  };

  SECTION("pause and resume") {
    bool pause = true;
    int offers = 0;
    wanted.on_body = [&](const http::Reply& head, std::string_view bytes) {
      CHECK(head.status == 200);
      ++offers;
      if (pause) return http::Flow::pause;
      got += bytes;
      return http::Flow::taken;
    };
    begin();
    test::run_until(f.loop, [&] { return offers == 1; });
    test::settle(f.loop);
    CHECK(got.empty());
    pause = false;
    call->resume();
    test::run_until(f.loop, [&] { return got.size() == half.size(); });
    f.server.wires[0]->push("3\r\nend\r\n0\r\n\r\n");
    test::run_until(f.loop, [&] { return !kinds.empty(); });
    CHECK(kinds[0] == "ok");
    CHECK(got == half + "end");
  }
  SECTION("cancel") {
    wanted.on_body = [&](const http::Reply&, std::string_view) {
      call->cancel();
      return http::Flow::taken;
    };
    begin();
    test::run_until(f.loop, [&] { return !kinds.empty(); });
    test::settle(f.loop);
    CHECK(kinds == std::vector<std::string>{"cancelled"});
  }
  SECTION("destroy, and start another") {
    http::Call other(*f.client, f.request("/other"));
    bool answered = false;
    wanted.on_body = [&](const http::Reply&, std::string_view) {
      call.reset();
      other.start([&](auto) { answered = true; });
      return http::Flow::taken;
    };
    begin();
    f.server.answer = [&, first = f.server.answer](const std::string& request) {
      return request.find("/other") == std::string::npos ? first(request) : http_reply(200, "");
    };
    test::run_until(f.loop, [&] { return answered; });
    CHECK(kinds.empty());
  }
}

TEST_CASE("the body of an answer that is no success is kept, not streamed") {
  Fixture f;
  f.server.answer = [](const std::string&) { return http_reply(404, "no such thing"); };
  http::Request wanted = f.request();
  wanted.on_body = [](const http::Reply&, std::string_view) -> http::Flow {
    FAIL("streamed");
    return http::Flow::taken;
  };
  const auto reply = f.get(wanted);
  REQUIRE(reply);
  CHECK(reply->body == "no such thing");
}

TEST_CASE("bodies are sent with their length, without an invented content type") {
  Fixture f;
  http::Request wanted = f.request();
  wanted.method = "POST";
  wanted.body = std::string("a\0b", 3);
  REQUIRE(f.get(wanted));
  const std::string& sent = f.server.requests.back();
  CHECK(sent.find("POST /up HTTP/1.1") == 0);
  CHECK(sent.find("Content-Length: 3\r\n") != std::string::npos);
  CHECK(sent.find("Content-Type") == std::string::npos);
  CHECK(sent.find("Expect") == std::string::npos);
  CHECK(sent.substr(sent.size() - 3) == wanted.body);

  wanted.method = "DELETE";
  wanted.body.clear();
  REQUIRE(f.get(wanted));
  CHECK(f.server.requests.back().find("DELETE /up HTTP/1.1") == 0);
}

TEST_CASE("an upload is streamed in pieces and can fail") {
  Fixture f;
  http::Request wanted = f.request();
  wanted.method = "PUT";
  wanted.upload = std::make_shared<http::Upload>(11);
  http::Call call(*f.client, wanted);
  std::optional<core::Result<http::Reply>> result;
  call.start([&](auto value) { result.emplace(std::move(value)); });
  test::run_until(f.loop, [&] { return !f.server.wires.empty() && !f.server.wires[0]->received.empty(); });
  SECTION("in pieces") {
    wanted.upload->write("hello ");
    test::settle(f.loop);
    CHECK_FALSE(result);
    wanted.upload->write("world");
    wanted.upload->finish();
    test::run_until(f.loop, [&] { return result.has_value(); });
    REQUIRE(*result);
    CHECK(f.server.requests[0].find("\r\n\r\nhello world") != std::string::npos);
  }
  SECTION("its source fails") {
    wanted.upload->fail({.kind = "files.io", .message = "read image.tar: input/output error"});
    test::run_until(f.loop, [&] { return result.has_value(); });
    REQUIRE_FALSE(*result);
    CHECK(result->error().kind == "files.io");
  }
}

TEST_CASE("redirects are shown, and followed only when asked") {
  Fixture f;
  f.server.answer = [](const std::string& request) {
    return request.find("GET /up ") == 0  ? http_reply(301, "", "Location: https://app.internal/up\r\n")
           : request.find("GET /a ") == 0 ? http_reply(302, "", "Location: /b\r\n")
                                          : http_reply(200, "there");
  };
  const auto shown = f.get(f.request());
  REQUIRE(shown);
  CHECK(shown->status == 301);
  CHECK(shown->redirect == "https://app.internal/up");
  http::Request following = f.request("/a");
  following.max_redirects = 2;
  const auto followed = f.get(following);
  REQUIRE(followed);
  CHECK(followed->body == "there");
  CHECK(followed->url == "http://app.internal/b");
}

TEST_CASE("credentials and queries are not shown") {
  CHECK(http::shown_url("https://user:pass@example.org:8443/up?token=x#frag") == "https://example.org:8443/up?…");
  CHECK(http::shown_url("http://127.0.0.1/up") == "http://127.0.0.1/up");
  CHECK(http::shown_url("::::") == "(not an address)");
}

TEST_CASE("a socket that is not there is http.connect with its errno") {
  Fixture f;
  http::Request wanted;
  wanted.url = "http://docker/_ping";
  wanted.unix_socket = "/nonexistent/docker.sock";
  const auto reply = f.get(wanted);
  REQUIRE_FALSE(reply);
  CHECK(reply.error().kind == "http.connect");
  CHECK(std::get<std::int64_t>(reply.error().details.at("errno")) == ENOENT);
}

TEST_CASE("many requests at once share the client") {
  Fixture f;
  std::vector<std::unique_ptr<http::Call>> calls;
  int answered = 0;
  for (int index = 0; index < 200; ++index) {
    calls.push_back(std::make_unique<http::Call>(*f.client, f.request("/" + std::to_string(index))));
    calls.back()->start([&](auto reply) { answered += reply ? 1 : 0; });
  }
  test::run_until(f.loop, [&] { return answered == 200; });
  CHECK(f.client->requests() == 200);
}

--- A run's events as a story and as a page: what happened when and where; hostile text stays text.

local page = require "report.page"
local story = require "report.story"
local test = require "test"

local function at(seconds) return ("2026-11-27T10:00:%06.3fZ"):format(seconds) end

local EVENTS = {
  { type = "run.started", time = at(0), run = "r1", recipe = "recipes/prod.lua", command = "deploy",
    parameters = { version = "v2" } },
  { type = "step.started", time = at(1), step = "start <it>", hosts = 2 },
  { type = "task.started", time = at(1), step = "start <it>", host = "h1", attempt = 1 },
  { type = "task.started", time = at(1), step = "start <it>", host = "h2", attempt = 1 },
  { type = "engine.call", time = at(1.5), host = "h1", method = "POST", status = 201,
    path = "/v1.41/containers/create?name=shop-web-v2" },
  { type = "engine.call", time = at(1.6), host = "h1", method = "GET", status = 200, path = "/v1.41/containers/json" },
  { type = "engine.call", time = at(1.6), host = "h1", method = "POST", status = 304,
    path = "/v1.41/containers/shop-web-v1/start" },
  { type = "probe.failed", time = at(2), host = "h1", url = "http://x/up", outcome = "500" },
  { type = "probe.failed", time = at(3), host = "h1", url = "http://x/up", outcome = "500" },
  { type = "task.finished", time = at(4), step = "start <it>", host = "h1", state = "failed", ms = 3000,
    error = { kind = "app.unready", message = "<b>not ready</b>" } },
  { type = "task.finished", time = at(2), step = "start <it>", host = "h2", state = "done", ms = 1000 },
  { type = "step.finished", time = at(4), step = "start <it>", state = "failed", ms = 3000 },
  { type = "step.started", time = at(5), step = "start <it>", undo = true, hosts = 1 },
  { type = "task.started", time = at(5), step = "start <it>", host = "h1", undo = true },
  { type = "task.finished", time = at(6), step = "start <it>", host = "h1", state = "undone", ms = 1000 },
  { type = "error", time = at(6), error = { kind = "app.unready", message = "<b>not ready</b>", host = "h1" } },
  { type = "run.finished", time = at(7), state = "failed_undone", exit_code = 1, ms = 7000 },
}

test.it("puts a run's events in order", function()
  local told = story.of(EVENTS)
  test.equal(told.hosts, { "h1", "h2" })
  test.equal(#told.steps, 2)
  test.equal(told.steps[1].tasks[1], { host = "h1", from = 1000, to = 4000, state = "failed",
    note = "<b>not ready</b>", attempts = 1 })
  test.equal(told.steps[1].changes, { { host = "h1", what = "create the container shop-web-v2" } })
  test.equal(told.steps[2].undo, true)
  test.equal(told.probes[1].outcomes, { { outcome = "500", count = 2, at = 2000 } })
end)

test.it("makes a page in which text from elsewhere stays text", function()
  local html = page.html(story.of(EVENTS))
  test.equal(html:find("<b>not", 1, true), nil)
  test.ok(html:find("&lt;b&gt;not ready&lt;/b&gt;", 1, true))
  test.ok(html:find("start &lt;it&gt;", 1, true))
  test.equal(html:find("<script", 1, true), nil)
  test.ok(html:find("failed; all that it changed is undone", 1, true))
end)

test.it("says what is left for a person, and what is typed then", function()
  local html = page.html(story.of {
    { type = "run.finished", time = at(7), state = "needs_person", exit_code = 5, ms = 7000,
      left = { "h1: undoing <it> failed" }, next = { "deployrun recipes/prod.lua --abort" } },
  })
  test.contains(html, "left: h1: undoing &lt;it&gt; failed")
  test.contains(html, "next: deployrun recipes/prod.lua --abort")
end)

test.it("makes a page of nothing, too", function()
  test.ok(page.html(story.of({})):find("</html>", 1, true))
end)

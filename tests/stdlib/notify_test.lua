--- What others are told of a run.

local notify = require "deploy.notify"
local test = require "test"

test.it("sends Slack no marks of its own", function()
  local message = notify.message("failure", { recipe = "r.lua", command = "deploy", user = "u", host = "h" },
    { run = "1", state = "failed_undone",
      error = { kind = "app.exited", message = "said <!channel> & <http://evil|ok>" } })
  test.contains(message.text, "<!channel>")
  local text = notify._slack(message).text
  test.contains(text, "&lt;!channel&gt; &amp; &lt;http://evil|ok&gt;")
  test.equal(text:find("[<>]"), nil)
end)

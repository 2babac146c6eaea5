--- Builds: the command that is run, and what is understood of what it says.

local build = require "deploy.build"
local secret = require "native.secret"
local test = require "test"

test.it("makes one command, its secrets in the environment", function()
  local argv, env = build.command {
    context = "app", dockerfile = "app/Dockerfile.prod", tags = { "r/shop:v1", "r/shop:latest" }, target = "run",
    platforms = { "linux/amd64", "linux/arm64" }, args = { B = 2, A = "one two" }, labels = { ["a.b"] = "c" },
    secrets = { ["npm-token"] = secret.value("NPM", "hush-hush-token"), netrc = "conf/netrc" },
    cache_from = "type=registry,ref=r/shop:cache", cache_to = { "type=inline" }, push = true, no_cache = true,
    builder = "big",
  }
  test.equal(argv, { "docker", "buildx", "build", "--builder=big", "--file=app/Dockerfile.prod", "--target=run",
    "--tag=r/shop:v1", "--tag=r/shop:latest", "--platform=linux/amd64,linux/arm64", "--build-arg=A=one two",
    "--build-arg=B=2", "--label=a.b=c", "--secret=id=netrc,src=conf/netrc",
    "--secret=id=npm-token,env=DEPLOYRUN_BUILD_NPM_TOKEN", "--cache-from=type=registry,ref=r/shop:cache",
    "--cache-to=type=inline", "--push", "--no-cache", "--progress=plain", "app" })
  test.ok(env.DEPLOYRUN_BUILD_NPM_TOKEN:equals("hush-hush-token"))
  test.equal(build.command {}, { "docker", "buildx", "build", "--progress=plain", "." })
end)

test.it("refuses what would show a secret or be read as a flag", function()
  local token = secret.value("NPM", "hush-hush-token")
  for _, spec in ipairs {
    { args = { TOKEN = token } }, { labels = { token = token } }, { secrets = { a = 7 } },
    { secrets = { a = "file,env=HOME" } }, { secrets = { ["a,src=/etc/shadow"] = token } },
    { args = { ["--push"] = 1 } },
    { context = "--push" }, { context = "-" }, { context = "" }, { tag = "x" }, { push = "yes" },
  } do
    test.raises("usage", function() build.command(spec) end)
  end
end)

test.it("knows how far a build is, and which step failed with what log", function()
  local seen = {}
  local reader = build.reader(function(progress) seen[#seen + 1] = progress end)
  for _, line in ipairs {
    '#0 building with "default" instance using docker driver', "", "#1 [internal] load build definition",
    "#1 DONE 0.1s", "#4 [base 1/2] COPY a /a", "#4 CACHED", "#5 [base 2/2] RUN make", "#5 0.424 line one",
    "#4 [base 1/2] COPY a /a", "#5 0.430 \27[31mline two", "#5 ERROR: executor failed: exit code: 3",
    "------", " > [base 2/2] RUN make:", "0.424 line one", "------",
    "ERROR: failed to solve: executor failed: exit code: 3",
  } do reader.take(line) end
  test.equal(seen, { { name = "[internal] load build definition" },
    { name = "[base 1/2] COPY a /a", step = 1, steps = 2 }, { name = "[base 2/2] RUN make", step = 2, steps = 2 } })
  test.equal(reader.failure(), { message = "failed to solve: executor failed: exit code: 3",
    at = "[base 2/2] RUN make", logs = "line one\nline two\n" })
  test.equal(build.reader(function() end).failure().message, "it failed")
end)

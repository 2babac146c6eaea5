--- One page that tells a run: what came of it, what failed and what mends it, a timeline of steps and hosts,
--- checks, probes and the measured gap, what changed, what was said. Everything on it is text from a `Story`;
--- nothing is loaded.

local style = require "report.style"
local text = require "native.text"

local M = {}

local ENTITIES = { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ['"'] = "&quot;", ["'"] = "&#39;" }

local function escaped(value) return (tostring(value == nil and "" or value):gsub("[&<>\"']", ENTITIES)) end

local function time(ms) return text.format_duration(math.max(0, ms)) end

-- State → word, colour.
local STATES = {
  done = { "done", "good" }, unchanged = { "unchanged", "" }, failed = { "failed", "bad" },
  cancelled = { "cancelled", "" }, undone = { "undone", "warn" }, undo_failed = { "undo failed", "bad" },
  running = { "not ended", "warn" }, recorded = { "done before", "" }, ok = { "ok", "good" },
  warning = { "warning", "warn" }, error = { "error", "bad" },
}

local function state(name)
  local known = STATES[name] or { name, "" }
  return ('<span class="state %s">%s</span>'):format(known[2], escaped(known[1]))
end

local VERDICTS = {
  done = { "good", "done" }, failed_undone = { "bad", "failed; all that it changed is undone" },
  failed = { "bad", "failed; nothing was changed" }, cancelled = { "bad", "cancelled; all that it changed is undone" },
  aborted = { "good", "undone; everything is as it was before the run" },
  needs_person = { "bad", "failed and could not be undone: a person has to look at it" },
}

local Page = {}
Page.__index = Page

--- More of the page.
function Page:_add(format, ...)
  self[#self + 1] = select("#", ...) > 0 and format:format(...) or format
end

local function head(page, story)
  local verdict = VERDICTS[story.state] or { "bad", story.state }
  local version = type(story.parameters.version) == "string" and " " .. story.parameters.version or ""
  local title = ("%s%s: %s"):format(story.command, version, verdict[2])
  page:_add('<!doctype html><html lang="en"><head><meta charset="utf-8">'
    .. '<meta name="viewport" content="width=device-width, initial-scale=1">'
    .. '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; style-src \'unsafe-inline\'">'
    .. "<title>%s</title><style>%s</style></head><body><main>\n", escaped(title), style)
  page:_add('<section class="card verdict %s"><h1>%s%s</h1><p><strong>%s</strong> after %s</p><dl>', verdict[1],
    escaped(story.command), escaped(version), escaped(verdict[2]), escaped(time(story.ms)))
  local function row(name, value)
    if value and value ~= "" then page:_add("<dt>%s</dt><dd>%s</dd>", escaped(name), escaped(value)) end
  end
  row("recipe", story.recipe)
  local names = {}
  for name, value in pairs(story.parameters) do
    if type(value) ~= "table" and name ~= "version" then names[#names + 1] = name end
  end
  table.sort(names)
  for _, name in ipairs(names) do row(name, tostring(story.parameters[name])) end
  row("hosts", table.concat(story.hosts, ", "))
  row("began", story.began:gsub("T", " "):gsub("%.%d+Z$", " UTC"))
  row("run", story.run .. (story.mode and ", " .. story.mode or ""))
  for _, said in ipairs(story.said) do row("says", said) end
  page:_add("</dl></section>\n")
end

local function lines_of(value)
  if type(value) == "table" then return table.concat(value, "\n") end
  return type(value) == "string" and value or ""
end

local function failure(page, err)
  local place = (err.host or "") .. (err.host and err.step and ", " or "") .. (err.step or "")
  page:_add('<section class="card"><h3>%s</h3><p class="soft">%s</p>', escaped(err.message), escaped(place))
  local cause, causes, depth = err.cause, {}, 0
  while type(cause) == "table" and depth < 16 do
    causes[#causes + 1] = ("<dt>because</dt><dd>%s</dd>"):format(escaped(cause.message))
    cause, depth = cause.cause, depth + 1
  end
  page:_add("<dl>%s<dt>kind</dt><dd>%s</dd>%s</dl>", table.concat(causes), escaped(err.kind),
    err.hint and ("<dt>try</dt><dd>%s</dd>"):format(escaped(err.hint)) or "")
  for _, part in ipairs { { "probes", err.history }, { "log", err.logs }, { "standard error", err.stderr } } do
    local said = lines_of(part[2])
    if said ~= "" then page:_add('<p class="soft">%s</p><pre>%s</pre>', part[1], escaped(said)) end
  end
  page:_add("</section>\n")
  for index, other in ipairs(type(err.also) == "table" and err.also or {}) do
    if index <= 20 then failure(page, other) end
  end
end

local function findings(page, story)
  for _, found in ipairs(story.findings) do
    page:_add('<section class="card">%s <strong>%s%s</strong><dl><dt>cause</dt><dd>%s</dd></dl><pre>%s</pre>',
      state(found.severity), escaped(found.host and found.host .. ": " or ""), escaped(found.title),
      escaped(found.cause), escaped(found.fix))
    local seen = lines_of(found.evidence)
    if seen ~= "" then page:_add("<details><summary>what was seen</summary><pre>%s</pre></details>", escaped(seen)) end
    page:_add("</section>\n")
  end
end

local function lane(page, story, one)
  local total = math.max(story.ms, 1)
  local colour = (STATES[one.state] or { "", "" })[2]
  local left = math.min(one.from / total * 100, 99.5)
  page:_add('<div class="lane"><span class="host">%s</span><span class="track" role="img" aria-label="from %s to %s">'
    .. '<span class="bar %s" style="left:%.2f%%;width:%.2f%%"></span></span>%s<span class="time">%s</span>',
    escaped(one.host), escaped(time(one.from)), escaped(time(one.to)), colour, left,
    math.min((one.to - one.from) / total * 100, 100 - left), state(one.state), escaped(time(one.to - one.from)))
  local note = one.note .. (one.attempts > 1 and (" (%d attempts)"):format(one.attempts) or "")
  if note ~= "" then page:_add('<span class="note">%s</span>', escaped(note)) end
  page:_add("</div>\n")
end

local function timeline(page, story)
  if #story.steps == 0 then return end
  page:_add("<h2>Timeline</h2>\n")
  for _, step in ipairs(story.steps) do
    local ended = step.undo and step.state == "running" and "" or state(step.state)
    page:_add('<section class="card step%s"><header><h3>%s%s</h3>%s<span class="soft">from %s, %s</span></header>\n',
      step.undo and " undo" or "", step.undo and "undo: " or "", escaped(step.name), ended, escaped(time(step.from)),
      escaped(time(step.to - step.from)))
    for _, one in ipairs(step.tasks) do lane(page, story, one) end
    if #step.lines > 0 then
      local more = step.left_out > 0 and ("(%d lines before)\n"):format(step.left_out) or ""
      page:_add("<details%s><summary>log, %d lines</summary><pre>%s</pre></details>",
        step.state == "failed" and " open" or "", #step.lines, escaped(more .. table.concat(step.lines, "\n")))
    end
    page:_add("</section>\n")
  end
end

local function checks(page, story)
  for _, list in ipairs(story.checks) do
    page:_add('<h2>Checks %s</h2><section class="card scroll"><table>'
      .. "<tr><th>check</th><th>outcome</th><th>time</th><th>what was seen</th></tr>\n", escaped(list.title))
    for _, check in ipairs(list.checks or {}) do
      page:_add("<tr><td>%s%s</td><td>%s</td><td>%s</td><td>%s</td></tr>\n", escaped(check.name),
        check.required and "" or ' <span class="soft">(not required)</span>', state(check.state),
        escaped(time(check.ms or 0)), escaped(check.note))
    end
    page:_add("</table></section>\n")
  end
end

local function traffic(page, story)
  if #story.observed == 0 and #story.probes == 0 then return end
  page:_add("<h2>Traffic and probes</h2>\n")
  for _, seen in ipairs(story.observed) do
    page:_add('<section class="card"><p>%s</p><div class="figures"><span><b>%d</b>requests</span><span><b>%d</b>failed'
      .. "</span><span><b>%d ms</b>longest gap</span></div></section>\n", escaped(seen.url), seen.requests or 0,
      seen.failed or 0, math.floor((seen.longest_gap_ms or 0) + 0.5))
    if seen.first_failure then page:_add('<p class="soft">the first failure: %s</p>', escaped(seen.first_failure)) end
  end
  for _, probe in ipairs(story.probes) do
    local lines = {}
    for index, one in ipairs(probe.outcomes) do
      if index <= 50 then lines[index] = ("%+.1f s  %s (×%d)"):format(one.at / 1000, one.outcome, one.count) end
    end
    page:_add('<section class="card"><p>%s <span class="soft">%s</span></p><pre>%s</pre></section>\n',
      escaped(probe.host), escaped(probe.url), escaped(table.concat(lines, "\n")))
  end
end

local function changes(page, story)
  local by_host, any = {}, false
  for _, step in ipairs(story.steps) do
    for _, change in ipairs(step.changes) do
      by_host[change.host] = by_host[change.host] or {}
      table.insert(by_host[change.host], { step = (step.undo and "undo: " or "") .. step.name, what = change.what })
      any = true
    end
  end
  if not any then return end
  page:_add("<h2>What changed</h2>\n")
  for _, host in ipairs(story.hosts) do
    if by_host[host] then
      page:_add('<section class="card scroll"><h3>%s</h3><table>', escaped(host))
      for _, one in ipairs(by_host[host]) do
        page:_add('<tr><td>%s</td><td class="soft">%s</td></tr>\n', escaped(one.what), escaped(one.step))
      end
      page:_add("</table></section>\n")
    end
  end
end

--- The whole page.
--- @param story Story
--- @return string html
function M.html(story)
  local page = setmetatable({}, Page)
  head(page, story)
  if #story.errors > 0 then page:_add("<h2>What failed</h2>\n") end
  for _, err in ipairs(story.errors) do failure(page, err) end
  if #story.findings > 0 then page:_add("<h2>What it means, and what mends it</h2>\n") end
  findings(page, story)
  for _, left in ipairs(story.left) do page:_add('<p class="card">left: %s</p>', escaped(left)) end
  for _, words in ipairs(story.next) do page:_add('<p class="card">next: %s</p>', escaped(words)) end
  timeline(page, story)
  checks(page, story)
  traffic(page, story)
  changes(page, story)
  if #story.warnings > 0 then
    page:_add('<h2>Warnings</h2><section class="card"><pre>%s</pre></section>',
      escaped(table.concat(story.warnings, "\n")))
  end
  if story.left_out > 0 then page:_add('<p class="soft">%d events are left out here.</p>', story.left_out) end
  page:_add("</main></body></html>\n")
  return table.concat(page)
end

return M

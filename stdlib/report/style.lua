--- How a run's page looks: light and dark as the reader's system has it, narrow screens, print. No script, no font and
--- no picture from elsewhere.

return [[
:root { color-scheme: light dark; --page: #f6f7f9; --card: #ffffff; --ink: #1b2430; --soft: #566273; --line: #d9dee6;
  --track: #eaedf2; --good: #14663a; --good-soft: #e3f4ea; --bad: #b42318; --bad-soft: #fdecea; --warn: #8a5a00;
  --warn-soft: #fdf3dc; --idle: #8793a3; --code: #f1f3f6; }
@media (prefers-color-scheme: dark) {
  :root { --page: #12161c; --card: #1a2029; --ink: #e6ebf2; --soft: #a3afbe; --line: #303946; --track: #262e39;
    --good: #5fce8d; --good-soft: #14301f; --bad: #ff8f84; --bad-soft: #3a1a18; --warn: #f0c060; --warn-soft: #33280f;
    --idle: #77859a; --code: #10141a; }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 15px/1.5 system-ui, -apple-system, "Segoe UI",
  Roboto, "DejaVu Sans", sans-serif; }
main { max-width: 1100px; margin: 0 auto; padding: 24px 20px 60px; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: 0 0 4px; overflow-wrap: anywhere; }
h2 { font-size: 1.1rem; margin: 32px 0 10px; }
h3 { font-size: 1rem; margin: 0; font-weight: 600; overflow-wrap: anywhere; }
p { margin: 4px 0; }
.soft { color: var(--soft); }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 14px 16px;
  margin: 10px 0; }
.verdict { border-left: 6px solid var(--idle); }
.verdict.good { border-left-color: var(--good); } .verdict.bad { border-left-color: var(--bad); }
.state { display: inline-block; border-radius: 999px; padding: 1px 10px; font-size: .85rem; font-weight: 600;
  background: var(--track); color: var(--soft); white-space: nowrap; }
.state.good { background: var(--good-soft); color: var(--good); }
.state.bad { background: var(--bad-soft); color: var(--bad); }
.state.warn { background: var(--warn-soft); color: var(--warn); }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 2px 16px; margin: 10px 0 0; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
pre { background: var(--code); border: 1px solid var(--line); border-radius: 6px; padding: 10px 12px; margin: 8px 0 0;
  font: 12.5px/1.5 ui-monospace, "DejaVu Sans Mono", monospace; white-space: pre-wrap; overflow-wrap: anywhere; }
.step header { display: flex; flex-wrap: wrap; gap: 4px 10px; align-items: baseline; margin-bottom: 8px; }
.step header .soft { margin-left: auto; font-size: .85rem; }
.step.undo { border-style: dashed; }
.lane { display: grid; grid-template-columns: 110px 1fr 110px 68px; gap: 4px 12px; align-items: center;
  padding: 3px 0; }
.lane .host { font-weight: 600; overflow-wrap: anywhere; }
.lane .time { text-align: right; font-variant-numeric: tabular-nums; color: var(--soft); }
.lane .note { grid-column: 2 / -1; color: var(--soft); font-size: .88rem; overflow-wrap: anywhere; }
.track { position: relative; height: 12px; border-radius: 6px; background: var(--track); overflow: hidden; }
.bar { position: absolute; top: 0; bottom: 0; min-width: 4px; border-radius: 6px; background: var(--idle); }
.bar.good { background: var(--good); } .bar.bad { background: var(--bad); } .bar.warn { background: var(--warn); }
details { margin-top: 8px; } summary { cursor: pointer; color: var(--soft); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: 5px 12px 5px 0; border-bottom: 1px solid var(--line); vertical-align: top;
  overflow-wrap: anywhere; }
th { color: var(--soft); font-weight: 500; } tr:last-child td { border-bottom: 0; }
.figures { display: flex; flex-wrap: wrap; gap: 8px 32px; } .figures b { display: block; font-size: 1.3rem; }
@media (max-width: 640px) {
  main { padding: 14px 10px 40px; }
  .lane { grid-template-columns: 1fr auto auto; } .lane .track { grid-column: 1 / -1; grid-row: 2; }
  .lane .note { grid-column: 1 / -1; } .step header .soft { margin-left: 0; width: 100%; }
  dl { grid-template-columns: 1fr; gap: 0; } dd { margin-bottom: 6px; }
}
@media print { body { background: #fff; } details > * { display: block; } }
]]

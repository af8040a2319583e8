--- The page that check/html.lua fills with data: no other file, no network.
return [==[
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width">
<title>perilune check</title>
<style>
:root { --ink: #1b1f24; --soft: #667; --paper: #fff; --line: #d8dbe0; --ok: #2b7a4b; --bad: #c0262d;
  --bar: #cfe0f5; --edge: #5b84b8; --kept: #ffe2a8; --unknown: #ece8f6; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e8ec; --soft: #99a; --paper: #16181c; --line: #33373e;
  --ok: #58b97f; --bad: #f0656b; --bar: #2a3f5c; --edge: #7fa6d6; --kept: #6b5320; --unknown: #37324a; } }
* { box-sizing: border-box; }
body { margin: 0; padding: 1rem 1.25rem; color: var(--ink); background: var(--paper);
  font: 14px/1.45 system-ui, sans-serif; }
h1 { font-size: 1.15rem; margin: 0 0 .25rem; }
.no { color: var(--bad); } .yes { color: var(--ok); } .undecided { color: var(--soft); }
p { margin: .25rem 0; } .soft { color: var(--soft); }
.why { font-size: 1rem; margin: .6rem 0; }
select, button { font: inherit; color: inherit; background: var(--paper); border: 1px solid var(--line);
  border-radius: 4px; padding: .15rem .5rem; }
#view { position: relative; overflow: auto; border: 1px solid var(--line); border-radius: 6px; margin-top: .6rem;
  max-height: 75vh; }
#sheet { position: relative; }
.name { position: sticky; left: 0; z-index: 3; width: 110px; padding: 0 .5rem; background: var(--paper);
  border-right: 1px solid var(--line); height: 34px; line-height: 34px; overflow: hidden; text-overflow: ellipsis;
  white-space: nowrap; font-weight: 600; }
.row { position: absolute; left: 0; right: 0; height: 34px; border-bottom: 1px solid var(--line); }
.op { position: absolute; height: 22px; line-height: 20px; padding: 0 4px; border: 1px solid var(--edge);
  border-radius: 4px; background: var(--bar); font-size: 12px; white-space: nowrap; overflow: hidden; cursor: default; }
.op.fail { border-style: dotted; } .op.unknown { background: var(--unknown); border-style: dashed; border-right: 0;
  border-radius: 4px 0 0 4px; }
.op.kept, .op.other { background: var(--kept); } .op.other { border-width: 2px; }
.op.blocked { border: 2px solid var(--bad); color: var(--bad); font-weight: 700; }
.op.faint { opacity: .3; } .op:focus { outline: 2px solid var(--edge); }
.point { position: absolute; width: 2px; height: 30px; background: var(--ok); z-index: 2; pointer-events: none; }
#tip { position: fixed; z-index: 9; display: none; max-width: 32rem; padding: .4rem .6rem; white-space: pre-wrap;
  overflow-wrap: anywhere; background: var(--ink); color: var(--paper); border-radius: 5px; font-size: 12px;
  pointer-events: none; }
.legend span { display: inline-block; margin-right: 1rem; } .legend i { display: inline-block; width: 22px;
  height: 11px; border: 1px solid var(--edge); margin-right: .3rem; vertical-align: -1px; }
</style>
</head>
<body>
<h1 id="title"></h1>
<p id="sum"></p>
<p><label>Key <select id="key"></select></label>
<label id="focus-label"><input type="checkbox" id="focus" checked> fade what does not matter</label>
<button id="jump">go to what is wrong</button></p>
<p class="why" id="why"></p>
<p class="legend soft"><span><i style="background:var(--bar)"></i>an operation, from call to answer</span>
<span><i style="background:var(--unknown);border-style:dashed"></i>outcome unknown</span>
<span><i style="background:var(--kept)"></i>part of what is wrong</span>
<span><i style="border:2px solid var(--bad)"></i>cannot be</span>
<span><i style="width:2px;background:var(--ok);border:0"></i>where it takes effect in the longest order that works</span></p>
<p class="soft" id="limits"></p>
<div id="view" tabindex="0"><div id="sheet"></div></div>
<div id="tip" role="tooltip"></div>
<script>
"use strict";
const data = @DATA@;
const by = id => document.getElementById(id);
const NAME = 118, ROW = 34, GAP = 16;
function text(id, value) { by(id).textContent = value || ""; }
function element(parent, kind, style) {
  const made = document.createElement("div");
  made.className = kind;
  Object.assign(made.style, style);
  parent.appendChild(made);
  return made;
}
// Every event has a column; a bar is at least as wide as its label needs.
function columns(ops) {
  const events = [];
  ops.forEach((op, i) => {
    events.push([op.call, i, 0]);
    if (op.finish !== undefined) events.push([op.finish, i, 1]);
  });
  events.sort((a, b) => a[0] - b[0]);
  let x = NAME;
  const at = new Map();
  for (const [event, i, isEnd] of events) {
    x += GAP;
    if (isEnd) x = Math.max(x, at.get(ops[i].call) + ops[i].label.length * 7 + 12);
    at.set(event, x);
  }
  return { at, width: x + 140, events: events.map(e => e[0]) };
}
function place(at, events, point) {
  let low = 0, high = events.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (events[middle] <= point) low = middle; else high = middle - 1;
  }
  const left = at.get(events[low]), right = low + 1 < events.length ? at.get(events[low + 1]) : left + GAP;
  return left + Math.min(0.9, point - events[low]) * (right - left);
}
function show(key) {
  const sheet = by("sheet"), rows = new Map(), ops = key.operations;
  sheet.replaceChildren();
  const { at, width, events } = columns(ops);
  for (const op of ops) if (!rows.has(op.client)) rows.set(op.client, rows.size);
  sheet.style.width = width + "px";
  sheet.style.height = rows.size * ROW + "px";
  for (const [client, y] of rows) {
    const line = element(sheet, "row", { top: y * ROW + "px" });
    element(line, "name", {}).textContent = client;
  }
  const hasMarks = ops.some(op => op.mark);
  for (const op of ops) {
    const left = at.get(op.call), right = op.finish === undefined ? width : at.get(op.finish);
    const bar = element(sheet, "op " + op.outcome + (op.mark ? " " + op.mark : hasMarks ? " other-op" : ""), {
      left: left + "px", width: Math.max(10, right - left) + "px", top: rows.get(op.client) * ROW + 6 + "px" });
    bar.textContent = op.label;
    bar.tabIndex = 0;
    bar.dataset.detail = op.detail;
    if (op.point !== undefined)
      element(sheet, "point", { left: place(at, events, op.point) + "px", top: rows.get(op.client) * ROW + 2 + "px" });
  }
  text("why", key.why ? key.why + "." : key.verdict === "yes" ? "An order of all operations works." : "");
  by("why").className = "why " + key.verdict;
  text("limits", key.left_out > 0 ? key.left_out + " of " + key.total
    + " operations are not shown: those before, those behind what is wrong, and those that say nothing." : "");
  by("jump").hidden = by("focus-label").hidden = !hasMarks;
  fade();
  jump();
}
function fade() {
  for (const bar of document.querySelectorAll(".other-op")) bar.classList.toggle("faint", by("focus").checked);
}
function jump() {
  const bar = document.querySelector(".blocked");
  if (bar) by("view").scrollLeft = bar.offsetLeft - by("view").clientWidth / 2;
}
function tip(event) {
  const bar = event.target.closest && event.target.closest(".op"), box = by("tip");
  box.style.display = bar ? "block" : "none";
  if (!bar) return;
  box.textContent = bar.dataset.detail;
  const place = bar.getBoundingClientRect(), x = event.clientX || place.left, y = event.clientY || place.bottom;
  box.style.left = Math.min(x + 12, innerWidth - box.offsetWidth - 8) + "px";
  box.style.top = (y + 16 + box.offsetHeight > innerHeight ? y - box.offsetHeight - 10 : y + 16) + "px";
}
const count = (n, noun) => n + " " + noun + (n === 1 ? "" : "s");
const head = data.head;
document.title = head.title + ": " + head.verdict;
text("title", head.title + ": " + head.verdict);
text("sum", count(head.operations, "operation") + ", " + head.unknown + " of unknown outcome, on " + count(data.keys.length
  + head.keys_left_out, "key") + "; " + count(head.steps, "step") + (head.keys_left_out
  ? "; not shown, and fine: " + count(head.keys_left_out, "key") : ""));
data.keys.forEach((key, i) => {
  const option = document.createElement("option");
  option.value = i;
  option.textContent = key.name + (key.verdict === "yes" ? "" : key.verdict === "no" ? ": wrong" : ": undecided");
  by("key").appendChild(option);
});
by("key").addEventListener("change", () => show(data.keys[by("key").value]));
by("focus").addEventListener("change", fade);
by("jump").addEventListener("click", jump);
for (const name of ["mousemove", "focusin"]) by("view").addEventListener(name, tip);
by("view").addEventListener("mouseleave", () => by("tip").style.display = "none");
if (data.keys.length) show(data.keys[0]);
</script>
</body>
</html>
]==]

"""Style and script of the report's page: light and dark, narrow and wide, nothing loaded from anywhere."""

STYLE = """
:root { color-scheme: light dark;
  --page: #f6f7f9; --card: #fff; --ink: #16191d; --soft: #5b6470; --rule: #e2e6eb; --bar: #d9e6f7; --mark: #1f63b5;
  --warn: #fff4dc; --warn-ink: #6b4a00;
  --c0: #2a78d6; --c1: #d88f00; --c2: #159a6b; --c3: #d93a39; --c4: #6a5ac8; --c5: #d6548a; --c6: #d85a22;
  --c7: #008300 }
@media (prefers-color-scheme: dark) { :root {
  --page: #111418; --card: #1a1e24; --ink: #e9ecf0; --soft: #9aa4b1; --rule: #2b323b; --bar: #20406b; --mark: #7fb2f0;
  --warn: #35290f; --warn-ink: #f0d28f;
  --c0: #5a9eec; --c1: #e0a030; --c2: #2fb78a; --c3: #ee6c6b; --c4: #a399f0; --c5: #ec86b0; --c6: #ec8250;
  --c7: #4fb04f } }
* { box-sizing: border-box }
body { margin: 0; background: var(--page); color: var(--ink); font: 15px/1.5 system-ui, "Segoe UI", Roboto, sans-serif }
main { max-width: 1180px; margin: 0 auto; padding: 2.5rem 1.25rem 4rem }
h1 { font-size: 1.75rem; line-height: 1.2; margin: 0; letter-spacing: -.015em }
h2 { font-size: 1.2rem; margin: 2.75rem 0 .8rem; letter-spacing: -.01em }
h3 { font-size: .95rem; margin: 0 0 .5rem }
p, .facts { color: var(--soft); margin: .4rem 0 0; overflow-wrap: anywhere }
.card { background: var(--card); border: 1px solid var(--rule); border-radius: 10px; padding: 1rem 1.1rem;
  margin-top: 1rem }
.warn { background: var(--warn); color: var(--warn-ink); border-color: transparent }
.warn a { color: inherit }
.plots, .clips { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 20rem), 1fr)); gap: 1rem;
  margin-top: 1rem }
.plots .card { margin: 0; min-width: 0 }
.scroll:has(.matrix) { max-height: 34rem }
.scroll { overflow: auto; margin: 0 -.35rem }
table { border-collapse: separate; border-spacing: 0; width: 100%; font-variant-numeric: tabular-nums }
th, td { padding: .42rem .6rem; text-align: right; border-bottom: 1px solid var(--rule); white-space: nowrap }
th:first-child, td:first-child { text-align: left; position: sticky; left: 0; background: var(--card) }
td:first-child { white-space: normal; overflow-wrap: anywhere; min-width: 9rem }
thead th:first-child { z-index: 1 }
tbody tr:last-child td { border-bottom: 0 }
thead th { position: sticky; top: 0; background: var(--card); color: var(--soft); font-weight: 600; font-size: .84rem;
  vertical-align: bottom; max-width: 14rem; white-space: normal; overflow-wrap: break-word }
.matrix { table-layout: fixed; min-width: calc(16rem + var(--n) * 6.5rem) }
.matrix th:first-child { width: 11rem }
.matrix th:nth-child(2) { width: 6.5rem }
th[data-sort] { cursor: pointer }
th[aria-sort]::after { content: " \\2191" }
th[aria-sort=descending]::after { content: " \\2193" }
td.bar { background: linear-gradient(to right, var(--bar) calc(var(--v) * 100%), transparent 0) no-repeat center;
  background-size: calc(100% - 8px) 70% }
td.best { font-weight: 650 }
.badge, small { color: var(--soft); white-space: nowrap }
.badge { display: inline-block; margin-left: .3rem; border: 1px solid var(--rule); border-radius: 99px;
  padding: 0 .55rem; font-size: .8rem }
.badge.published { border-style: dashed }
.badge.measured { color: var(--mark); border-color: currentColor }
tr.published td { color: var(--soft) }
svg { display: block; width: 100%; height: auto }
svg text { fill: var(--soft); font-size: 11px }
svg .axis { font-size: 12px }
.grid { stroke: var(--rule); fill: none }
.line { fill: none; stroke: currentColor; stroke-width: 2; stroke-linejoin: round }
.dashed.line { stroke-dasharray: 5 4 }
.c0 { color: var(--c0) } .c1 { color: var(--c1) } .c2 { color: var(--c2) } .c3 { color: var(--c3) }
.c4 { color: var(--c4) } .c5 { color: var(--c5) } .c6 { color: var(--c6) } .c7 { color: var(--c7) }
.legend { list-style: none; margin: .6rem 0 0; padding: 0; font-size: .88rem }
.legend li { display: flex; gap: .55rem; align-items: baseline; overflow-wrap: anywhere }
.legend b { margin-left: auto; flex: none; font-weight: 600; font-variant-numeric: tabular-nums }
.legend i { flex: none; width: 1.1rem; align-self: center; border-top: 3px solid currentColor }
.legend i.dashed { border-top-style: dashed }
.legend .truth { color: #fff; outline: 1px solid var(--soft) }
.inline { display: flex; flex-wrap: wrap; gap: .2rem 1.1rem }
summary { cursor: pointer; font-weight: 600 }
details ul { margin: .6rem 0 0; padding-left: 1.2rem; font-size: .88rem; overflow-wrap: anywhere }
.clips { grid-template-columns: repeat(auto-fill, minmax(min(100%, 24rem), 1fr)) }
.clips img { display: block; width: 100%; height: auto; border-radius: 6px; margin-top: .6rem }
.clips details { margin: 0 }
footer { margin-top: 3rem; font-size: .85rem; color: var(--soft) }
@media (max-width: 600px) { main { padding: 1.5rem .8rem 3rem } h1 { font-size: 1.4rem } .card { padding: .8rem }
  td:first-child { min-width: 8rem } .matrix th:first-child { width: 8rem }
  .badge { margin-left: 0 } small { white-space: normal } }
@media print { .scroll:has(.matrix) { max-height: none } .card { break-inside: avoid } }
"""

# A click on the head of a column, or Enter, sorts by it; a second one the other way round.
SCRIPT = """
const sort = event => {
  const head = event.target.closest("th[data-sort]");
  if (!head || (event.key ?? "Enter") !== "Enter") return;
  const body = head.closest("table").tBodies[0], up = head.getAttribute("aria-sort") !== "ascending";
  const value = row => row.cells[head.cellIndex].dataset.v ?? row.cells[head.cellIndex].textContent;
  const order = (a, b) => isNaN(a) || isNaN(b) ? a.localeCompare(b, undefined, {numeric: true}) : a - b;
  head.parentNode.querySelectorAll("th").forEach(other => other.removeAttribute("aria-sort"));
  head.setAttribute("aria-sort", up ? "ascending" : "descending");
  body.append(...[...body.rows].sort((a, b) => order(value(a), value(b)) * (up ? 1 : -1)));
};
document.addEventListener("click", sort);
document.addEventListener("keydown", sort);
"""

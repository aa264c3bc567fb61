"""The page's style sheet: light and dark, wide and narrow, on a screen and on paper.

The colors of what is told apart are Okabe's and Ito's, which color-blind people can tell apart too.
"""

from __future__ import annotations

__all__ = ["STYLE"]

_LIGHT = """
  --paper: #ffffff; --ink: #1b1f24; --soft: #5b6470; --line: #d5dae0; --panel: #f5f7f9;
  --c1: #0072b2; --c2: #e69f00; --c3: #cc79a7; --c4: #009e73; --c5: #d55e00; --c6: #56b4e9;
"""
_DARK = """
  --paper: #14181d; --ink: #e6eaee; --soft: #a0a9b4; --line: #39424d; --panel: #1c2229;
  --c1: #56b4e9; --c2: #e69f00; --c3: #cc79a7; --c4: #2cc295; --c5: #f0763a; --c6: #0072b2;
"""

STYLE = (
    f":root {{ color-scheme: light dark; {_LIGHT} }}\n"
    f"@media screen and (prefers-color-scheme: dark) {{ :root {{ {_DARK} }} }}\n"
    """
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 66rem; background: var(--paper);
  color: var(--ink); font: 15px/1.5 system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
h1 { font-size: 1.6rem; line-height: 1.2; margin: .5rem 0 .25rem; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 2.25rem 0 .5rem; padding-top: .5rem;
  border-top: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 0; overflow-wrap: anywhere; }
p { margin: .5rem 0; max-width: 46rem; text-wrap: pretty; }
ul.said { margin: .5rem 0; padding-left: 1.2rem; max-width: 46rem; }
a { color: inherit; text-decoration-color: var(--line); text-underline-offset: .15em; }
code { font: .9em ui-monospace, "DejaVu Sans Mono", monospace; overflow-wrap: anywhere; }
.soft, .source { color: var(--soft); font-size: .85rem; }
.source { overflow-wrap: anywhere; }
.tiles { display: grid; gap: .6rem; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr));
  margin: 1rem 0; }
.tile { background: var(--panel); border: 1px solid var(--line); border-radius: .4rem;
  padding: .5rem .7rem; }
.tile b { display: block; font-size: 1.35rem; line-height: 1.3; }
.tile span { display: block; color: var(--soft); font-size: .82rem; line-height: 1.35; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .82rem; white-space: nowrap; }
th, td { padding: .3rem .45rem; text-align: right; border-bottom: 1px solid var(--line); }
th { color: var(--soft); font-weight: 600; vertical-align: bottom; white-space: normal; }
th:first-child, td:first-child { position: sticky; left: 0; background: var(--paper); }
td.name { max-width: 13rem; overflow: hidden; text-overflow: ellipsis; }
th.text, td.text { text-align: left; }
tfoot td { font-weight: 600; border-bottom: 0; }
figure { margin: 1rem 0; }
figcaption { font-weight: 600; margin-bottom: .35rem; }
.legend { display: flex; flex-wrap: wrap; gap: .15rem 1rem; list-style: none; padding: 0;
  margin: .25rem 0 .5rem; font-size: .82rem; }
.legend svg { width: 16px; height: 12px; margin-right: .35rem; vertical-align: -1px; }
.rows { display: grid; grid-template-columns: minmax(4.5rem, max-content) minmax(0, 1fr) auto;
  column-gap: .6rem; align-items: center; font-size: .8rem; }
.rows .name { max-width: 13rem; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.rows .value { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.rows svg { display: block; width: 100%; overflow: visible; }
svg text { fill: var(--ink); font-size: 11px; }
svg text.soft { fill: var(--soft); }
svg .grid { stroke: var(--line); stroke-width: 1; }
svg .axis { stroke: var(--soft); stroke-width: 1; }
.f1 { fill: var(--c1); } .f2 { fill: var(--c2); } .f3 { fill: var(--c3); }
.f4 { fill: var(--c4); } .f5 { fill: var(--c5); } .f6 { fill: var(--c6); }
.s1 { stroke: var(--c1); } .s5 { stroke: var(--c5); } .s4 { stroke: var(--c4); }
.s1, .s4, .s5 { fill: none; stroke-width: 2; }
.hollow { fill: var(--paper); }
.outline { fill: none; stroke: var(--soft); stroke-width: 1; stroke-dasharray: 3 2; }
.shade { fill: var(--line); opacity: .55; }
.net { position: relative; max-width: 46rem; }
.net > svg { position: absolute; left: 0; top: 0; }
.net .edge { fill: none; stroke: var(--soft); stroke-width: 1.5; }
.net .skip { fill: none; stroke: var(--c5); stroke-width: 1.75; stroke-dasharray: 5 3; }
.net ol { list-style: none; margin: 0; padding: 0; }
.net li { height: 52px; padding: 3px 0; }
.net li > div { height: 46px; border: 1px solid var(--line); border-radius: .35rem;
  background: var(--panel); padding: 2px .6rem; overflow: hidden; position: relative;
  display: grid; grid-template-columns: minmax(0, 1fr) auto; column-gap: .6rem;
  font-size: .8rem; line-height: 1.35; }
.net li span:nth-child(2n) { text-align: right; }
.net li span { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.net li svg { position: absolute; left: 0; bottom: 0; width: 100%; height: 3px; }
.cards { display: grid; gap: .8rem; grid-template-columns: repeat(auto-fit, minmax(19rem, 1fr)); }
.card { border: 1px solid var(--line); border-radius: .4rem; padding: .7rem .8rem; min-width: 0;
  break-inside: avoid; margin-bottom: .9rem; }
.cards .card { margin-bottom: 0; }
.card header { display: flex; flex-wrap: wrap; gap: 0 1rem; align-items: baseline; }
.card svg.plot { display: block; width: 100%; max-width: 25rem; height: auto; }
.card figure { margin: .6rem 0 0; min-width: 0; }
.card figcaption { font-size: .82rem; }
footer { margin-top: 2.5rem; }
@media (max-width: 480px) {
  body { padding: .6rem; }
  .rows { grid-template-columns: minmax(4rem, 6.5rem) minmax(0, 1fr) auto; column-gap: .4rem; }
  .rows .name { max-width: 6.5rem; }
}
@media print {
  body { max-width: none; padding: 0; font-size: 10pt; print-color-adjust: exact;
    -webkit-print-color-adjust: exact; }
  h2 { break-after: avoid; }
  .wide { overflow: visible; }
  table { font-size: 7pt; white-space: normal; }
  figure, tr, .net li { break-inside: avoid; }
}
"""
)
"""No < and no & in it: it stands in the page as it is."""

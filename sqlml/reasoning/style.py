"""What the page looks like: light and dark as the browser is set, and ink only on paper."""

from __future__ import annotations

STYLE = """
:root { color-scheme: light dark; --page: #f7f7f5; --card: #ffffff; --ink: #1f2328; --soft: #646c76; --line: #e2e4e8;
  --accent: #7c3aed; --up: #b45309; --down: #0f766e; --bad: #b42318; --track: #eceef1; --tint: #f4f0fd; }
@media (prefers-color-scheme: dark) { :root { --page: #131517; --card: #1b1e21; --ink: #e7e9eb; --soft: #9aa3ad;
  --line: #2d3237; --accent: #b79bf5; --up: #eda54c; --down: #4fc4b5; --bad: #f2857b; --track: #2a2f34; --tint: #241f33; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 15px/1.55 system-ui, sans-serif; }
main { max-width: 940px; margin: 0 auto; padding: 36px 20px 60px; }
header, section { background: var(--card); border: 1px solid var(--line); border-radius: 14px; padding: 26px 30px;
  margin-bottom: 18px; }
p { margin: 0 0 10px; overflow-wrap: anywhere; } h2 { font-size: 17px; margin: 0 0 10px; letter-spacing: -.01em; }
h3 { font-size: 14px; margin: 0 0 4px; } small, .small { color: var(--soft); font-weight: 400; font-size: 12.5px; }
h4 { font-size: 12px; font-weight: 500; color: var(--soft); margin: 10px 0 4px; }
.kind { font-size: 15px; font-weight: 600; margin: 0; } .kind span { color: var(--soft); font-weight: 400; }
.key span { margin-right: 16px; } .key b { color: var(--soft); font-weight: 400; }
.answer { font-size: 44px; line-height: 1.15; font-weight: 680; letter-spacing: -.025em; margin: 10px 0 14px; }
.answer.bad { color: var(--bad); } .reason { color: var(--bad); font-size: 17px; }
.gauge { position: relative; height: 10px; border-radius: 5px; background: var(--track); margin: 4px 0 8px; }
.gauge div { height: 100%; border-radius: 5px; background: var(--accent); }
.gauge i { position: absolute; top: -5px; width: 2px; height: 20px; margin-left: -1px; background: var(--ink); }
.score { margin-bottom: 4px; } .when, .note, footer { color: var(--soft); } .when { margin: 0; font-size: 13.5px; }
.note { border-left: 3px solid var(--line); padding-left: 12px; margin: 10px 0 0; }
.classes { list-style: none; margin: 10px 0 8px; padding: 0; max-width: 460px; }
.classes li { display: grid; grid-template-columns: 150px 1fr 60px; gap: 10px; align-items: center; font-size: 13.5px; }
.classes span { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; } .classes b { text-align: right; }
.classes i { height: 7px; border-radius: 4px; background: var(--accent); opacity: .75; min-width: 1px; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; width: 100%; font-size: 14px; margin: 6px 0 8px; }
th, td { text-align: left; vertical-align: middle; padding: 7px 18px 7px 0; border-bottom: 1px solid var(--line);
  font-variant-numeric: tabular-nums; overflow-wrap: anywhere; } tbody tr:last-child > * { border-bottom: 0; }
thead th { color: var(--soft); font-weight: 500; font-size: 12.5px; } tbody th { font-weight: 550; }
th.wide { width: 42%; } .unknown, .same { color: var(--soft); } .changed { color: var(--bad); font-weight: 600; }
.part { display: grid; grid-template-columns: 1fr 96px; gap: 12px; align-items: center; } td:last-child { padding-right: 0; }
.bar { position: relative; height: 12px; background: linear-gradient(var(--line), var(--line)) center / 1px 100% no-repeat; }
.bar i { position: absolute; top: 0; height: 100%; min-width: 1px; } i.up { background: var(--up); border-radius: 0 4px 4px 0; }
i.down { background: var(--down); border-radius: 4px 0 0 4px; } b.up { color: var(--up); } b.down { color: var(--down); }
.part b { font-weight: 550; text-align: right; white-space: nowrap; } i.none { display: none; } .sum { margin: 12px 0 0; }
.nearest { background: var(--tint); border-radius: 10px; padding: 12px 16px; font-size: 16px; }
.plain { list-style: none; margin: 6px 0 10px; padding: 0; color: var(--soft); font-size: 13.5px; } .plain b { color: var(--ink); font-weight: 550; }
.chain { list-style: none; margin: 14px 0 0; padding: 0; } .chain > li { position: relative; padding: 0 0 20px 28px; }
.chain > li::before { content: ""; position: absolute; left: 4px; top: 5px; width: 11px; height: 11px; border-radius: 50%;
  background: var(--card); border: 2.5px solid var(--accent); }
.chain > li::after { content: ""; position: absolute; left: 9px; top: 19px; bottom: -3px; width: 1.5px; background: var(--line); }
.chain > li:last-child { padding-bottom: 0; } .chain > li:last-child::after { display: none; }
dl { display: grid; grid-template-columns: 110px 1fr; gap: 1px 14px; margin: 0 0 6px; font-size: 13.5px; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; } code { font: 12.5px ui-monospace, monospace; }
.chips { margin: 0; } .chips span { display: inline-block; border: 1px solid var(--line); border-radius: 7px; padding: 1px 9px;
  margin: 0 6px 6px 0; font-size: 13px; max-width: 100%; overflow-wrap: anywhere; } .chips b { font-weight: 400; color: var(--soft); }
footer { font-size: 12.5px; padding: 4px 30px; }
@media (max-width: 620px) { main { padding: 12px 8px; } header, section { padding: 18px 16px; } .answer { font-size: 34px; } }
@media print { :root { --page: #fff; --card: #fff; --ink: #000; --soft: #444; --line: #ccc; --track: #e6e6e6; --tint: #f2f2f2;
  --accent: #5b21b6; --up: #92400e; --down: #115e59; --bad: #991b1b; color-scheme: light; }
  body { font-size: 11pt; } main { max-width: none; padding: 0; } header, section { border: 0; padding: 0 0 14px; }
  tr, .chain > li, .nearest { break-inside: avoid; } h2 { break-after: avoid; }
  .gauge, .gauge *, .bar, .bar *, .classes i { print-color-adjust: exact; -webkit-print-color-adjust: exact; } }
"""

/** Of the page of a cluster. On a narrow screen a node becomes a card; a matrix scrolls sideways, and its observers stay in sight. */
export const STYLE = `
  section { margin: 1.5rem 0 } section h2 { font-size: 1.05rem; font-weight: 600; color: var(--ink); margin: 0 0 .5rem; overflow-wrap: anywhere }
  .made + .scroll { margin-top: .5rem } a { color: inherit }
  .good { margin: 1.1rem 0; padding: .6rem 1rem; border: 1px solid var(--up); border-radius: .6rem; background: var(--up-soft); color: var(--up); font-weight: 600 }
  ul.wrong, ul.apart { margin: 1.1rem 0; padding: .5rem 1rem .5rem 2rem; border: 1px solid var(--down); border-radius: .6rem; background: var(--down-soft); overflow-wrap: anywhere }
  ul.apart { border-color: var(--line); background: var(--card) } li { margin: .15rem 0 } ul.wrong li::marker { color: var(--down) }
  table { border-collapse: separate; border-spacing: 0; background: var(--card); font-variant-numeric: tabular-nums }
  small { color: var(--soft); font-weight: 400 } code { white-space: nowrap } em { font-size: .75rem; font-style: normal; color: var(--soft); border: 1px solid var(--line); border-radius: .3rem; padding: 0 .3rem }
  .nodes { width: 100%; border: 1px solid var(--line); border-radius: .6rem; overflow: hidden }
  .nodes th, .nodes td { padding: .45rem .8rem; text-align: left; vertical-align: baseline; border-top: 1px solid var(--line) }
  .nodes thead th { border-top: 0; font-size: .82rem; font-weight: 600; color: var(--soft) } .nodes tbody th small { display: inline-block }
  .state b { white-space: nowrap } tr.serving .state b { color: var(--up) } tr.serving .state b::before { content: "\\25B2\\A0" }
  tr.down > * { background: var(--down-soft) } tr.down .state b { color: var(--down) } tr.down .state b::before { content: "\\25BC\\A0" }
  tr.draining .state b::before, tr.leaving .state b::before { content: "\\25C7\\A0" } tr.starting .state b::before { content: "\\25CB\\A0" }
  b.u { color: var(--up) } b.d { color: var(--down) }
  .scroll { overflow-x: auto; border: 1px solid var(--line); border-radius: .6rem; background: var(--card) }
  .grid { min-width: 100% } .grid th { font-size: .82rem; font-weight: 600; padding: .3rem .6rem; text-align: left; white-space: nowrap; vertical-align: bottom }
  .grid thead th { color: var(--soft); text-align: center } .grid thead th:first-child { text-align: left; font-weight: 400 }
  .grid th:first-child { position: sticky; left: 0; z-index: 1; background: var(--card); border-right: 1px solid var(--line) }
  .grid tbody th, .grid td { border-top: 1px solid var(--line) } .grid .upright th + th { padding: .5rem .1rem }
  .upright th + th span { writing-mode: vertical-rl; transform: rotate(180deg); max-height: 14rem; overflow: hidden; text-overflow: ellipsis }
  .grid td { min-width: 1.45rem; height: 1.45rem; padding: 0; text-align: center; font-size: .85rem; border-left: 1px solid var(--card) }
  .grid .fill { width: 100%; min-width: 0; border-left: 0 } .grid thead .fill { border-top: 0 }
  .u, .legend .u { color: var(--up) } .grid td.u, .legend .u { background: var(--up-soft) }
  .grid td.d, .legend .d { background: var(--down); color: var(--card); font-weight: 700 } .grid td.q, .legend .q { color: var(--soft); background: var(--line) }
  .grid td.n { background: repeating-linear-gradient(135deg, var(--line) 0 1px, transparent 1px .35rem) }
  .legend { color: var(--soft); font-size: .85rem } .legend span { white-space: nowrap; margin-right: .8rem }
  .legend i { display: inline-block; min-width: 1.3rem; line-height: 1.3rem; text-align: center; font-style: normal; border: 1px solid var(--line) }
  @media (max-width: 760px) {
    .nodes, .nodes tbody { display: block; background: none; border: 0 } .nodes thead { display: none }
    .nodes tr { display: grid; grid-template-columns: 1fr 1fr; gap: .1rem .8rem; margin-bottom: .6rem; padding: .7rem .9rem; background: var(--card); border: 1px solid var(--line); border-radius: .6rem }
    .nodes th, .nodes td { padding: 0; border: 0; font-size: .9rem } .nodes tbody th { font-size: 1.05rem } .nodes .state { text-align: right; font-size: 1.05rem }
    .nodes tr.down { background: var(--down-soft); border-color: var(--down) } tr.down > * { background: none }
    .nodes td[data-is]::before { content: attr(data-is) " "; color: var(--soft); font-size: .82rem } .nodes td[data-is]:empty { display: none }
  }
`;

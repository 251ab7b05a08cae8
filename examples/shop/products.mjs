// What the shop sells. Prices are in cents; `art` is the inside of a 96 × 96 SVG.

/** @type {ReadonlyMap<string, { name: string, note: string, price: number, tint: string, art: string }>} */
export const PRODUCTS = new Map([
  [
    "lantern",
    {
      name: "Harbour lantern",
      note: "Burns nine hours on one filling",
      price: 5400,
      tint: "#f6e3c1",
      art: `<path d="M38 20a10 10 0 0 1 20 0" fill="none" stroke="#4a3b28" stroke-width="3"/>
        <path d="M36 26h24l4 8H32z" fill="#4a3b28"/><rect x="35" y="34" width="26" height="34" rx="3" fill="#fff8e7"/>
        <path d="M48 41c6 8 8 11 8 15a8 8 0 0 1-16 0c0-4 2-7 8-15z" fill="#e8912d"/>
        <path d="M48 50c3 4 4 5 4 8a4 4 0 0 1-8 0c0-3 1-4 4-8z" fill="#ffd479"/>
        <path d="M31 68h34l3 9H28z" fill="#4a3b28"/>`,
    },
  ],
  [
    "rope",
    {
      name: "Mooring rope, 12 m",
      note: "Three strands, spliced by hand",
      price: 3200,
      tint: "#dfe8dc",
      art: `<g fill="none" stroke-linecap="round"><path d="M48 24c16 0 28 7 28 15S64 54 48 54 20 47 20 39s12-15 28-15z" stroke="#b98f57" stroke-width="9"/>
        <path d="M20 45c0 8 12 15 28 15s28-7 28-15" stroke="#a67c45" stroke-width="9"/>
        <path d="M20 53c0 8 12 15 28 15 8 0 15-1 20-4 6-3 10 2 14 10" stroke="#b98f57" stroke-width="9"/>
        <path d="M33 27l5 6M52 21l4 6M68 29l1 8M26 62l6-4M46 72l4-7M62 70l2-7" stroke="#7d5a2c" stroke-width="2"/></g>`,
    },
  ],
  [
    "mug",
    {
      name: "Enamel mug",
      note: "Survives the deck, and the dishwasher",
      price: 1450,
      tint: "#d8e6ee",
      art: `<path d="M62 40h6a10 10 0 0 1 0 22h-7" fill="none" stroke="#24506b" stroke-width="5"/>
        <path d="M26 32h38l-3 36a6 6 0 0 1-6 5H35a6 6 0 0 1-6-5z" fill="#fdfdfb"/><path d="M26 32h38l-.4 5H26.4z" fill="#24506b"/>
        <path d="M34 55c4-5 7-5 11 0s7 5 11 0" fill="none" stroke="#5b9cc0" stroke-width="3" stroke-linecap="round"/>
        <path d="M38 24c-3-4 3-6 0-10M50 24c-3-4 3-6 0-10" fill="none" stroke="#9fb6c4" stroke-width="3" stroke-linecap="round"/>`,
    },
  ],
  [
    "compass",
    {
      name: "Pocket compass",
      note: "Brass, liquid-damped",
      price: 7800,
      tint: "#efdcd6",
      art: `<circle cx="48" cy="20" r="6" fill="none" stroke="#9a7431" stroke-width="3"/><circle cx="48" cy="54" r="28" fill="#c79a4b"/>
        <circle cx="48" cy="54" r="22" fill="#fffaf0"/><path d="M48 36l6 18h-12z" fill="#c2452d"/><path d="M48 72l-6-18h12z" fill="#33475b"/>
        <circle cx="48" cy="54" r="3" fill="#c79a4b"/><g stroke="#9a7431" stroke-width="2"><path d="M29 54h4M63 54h4"/></g>`,
    },
  ],
  [
    "jumper",
    {
      name: "Fisherman's jumper",
      note: "Undyed wool, knitted in one piece",
      price: 12900,
      tint: "#e3e0ec",
      art: `<path d="M38 20c3 5 17 5 20 0l12 6 10 36-11 4-5-18v28H32V48l-5 18-11-4 10-36z" fill="#2f3f63"/>
        <path d="M38 20c3 5 17 5 20 0l4 2c-5 9-23 9-28 0z" fill="#e9e4d8"/>
        <path d="M32 44l4 4 4-4 4 4 4-4 4 4 4-4 4 4 4-4M32 53l4 4 4-4 4 4 4-4 4 4 4-4 4 4 4-4" fill="none" stroke="#e9e4d8" stroke-width="2"/>
        <path d="M32 72h32v4H32z" fill="#e9e4d8"/>`,
    },
  ],
  [
    "tea",
    {
      name: "Watch-keeper's tea",
      note: "Black, smoky, 200 g",
      price: 950,
      tint: "#dcebdf",
      art: `<rect x="28" y="28" width="40" height="48" rx="4" fill="#35604a"/><path d="M31 16h34v12H31z" rx="3" fill="#274838"/>
        <rect x="34" y="40" width="28" height="24" rx="2" fill="#f7f1df"/>
        <path d="M40 58c0-9 6-13 16-13 0 9-5 14-16 13zm0 0c4-4 7-6 10-8" fill="#7aa874" stroke="#35604a" stroke-width="1.5"/>`,
    },
  ],
]);

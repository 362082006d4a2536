// The plant as its own metadata tells it: a schematic of what serves what, racks as a heat map, limits and setpoints with their source.
"use strict";

const GLYPH = { good: "●", doubtful: "▲", silent: "○" };
const lastOf = (line) => { for (let i = (line || []).length - 1; i >= 0; i--) if (known(line[i])) return line[i]; return null; };
// What all names begin with, up to a letter or digit that differs: "bsc-hq-T01", "bsc-hq-T02" → "bsc-hq-T".
function shared(names) {
  if (names.length < 2) return 0;
  let n = 0;
  while (names.every((s) => s.length > n + 1 && s[n] === names[0][n])) n++;
  while (n > 0 && /[0-9A-Za-z]/.test(names[0][n - 1]) && /[0-9]/.test(names[0][n - 1])) n--;
  return n;
}
function said(v) {
  return v.state_text || (known(v.value) ? `${auto(v.value)} ${v.unit}` : "–");
}

const cutTo = (text, n) => (text.length > n ? text.slice(0, n - 1).trimEnd() + "…" : text);
// "Facility Water Supply" of "Facility water" is its "Supply".
function own(v, o) {
  const name = v.name.toLowerCase().startsWith(o.name.toLowerCase() + " ") ? v.name.slice(o.name.length + 1) : v.name;
  return capital(name);
}

// Columns from the plant room on the left to the racks on the right, with the loops between them.
function schematic(s, topology, overview) {
  if (!topology || !topology.objects.length) return el("p", { class: "quiet" }, t("The plant's equipment is not known yet."));
  const racks = topology.objects.filter((o) => o.column === 0), rest = topology.objects.filter((o) => o.column > 0);
  const columns = [...new Set(rest.map((o) => o.column))].map((c) => rest.filter((o) => o.column === c));
  // A long plant room stands in several rows of boxes side by side.
  const rows = Math.max(5, ...columns.slice(1).map((c) => c.length)), beside = columns.map((c, i) => (i === 0 ? Math.ceil(c.length / rows) : 1));
  const loops = overview ? overview.loops : [];
  const BW = 168, BH = 66, GAP = 10, PIPE = loops.length ? 176 : 40, TOP = 26;
  const across = Math.max(2, Math.min(8, Math.ceil(Math.sqrt(racks.length * 1.5)))), CW = racks.length > 64 ? 30 : 62, CH = racks.length > 64 ? 16 : 34;
  const high = (n) => n * (BH + GAP);
  const height = TOP + Math.max(high(Math.max(1, ...columns.map((c, i) => Math.min(c.length, i === 0 ? rows : c.length)))), Math.ceil(racks.length / across) * (CH + 4) + 8, loops.length * 74) + 6;
  const width = beside.reduce((a, b) => a + b, 0) * (BW + 8) + PIPE + Math.max(0, columns.length - 1) * 44 + 34 + across * (CW + 4);
  const root = svg("svg", { class: "plant", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": t("Schematic of {0}: {1} pieces of equipment, {2} racks", s.name, rest.length, racks.length) });
  const where = new Map();
  let x = 0;
  columns.forEach((column, c) => {
    root.append(svg("text", { x, y: 14, class: "head" }, c === 0 ? t("Plant") : [...new Set(column.map((o) => o.object_type))].join(", ")));
    column.forEach((o, i) => {
      const stacked = c === 0 ? rows : column.length, left = x + Math.floor(i / stacked) * (BW + 8), y = TOP + (i % stacked) * (BH + GAP), g = svg("g", { class: "box " + o.health });
      g.append(svg("title", {}, `${o.object_type} ${o.id}: ${o.values.map((v) => `${v.name} ${said(v)}`).join(", ")}`),
        svg("rect", { x: left + 0.5, y: y + 0.5, width: BW - 1, height: BH - 1, rx: 5 }),
        svg("text", { x: left + 8, y: y + 16, class: "name" }, `${GLYPH[o.health]} ${cutTo(o.name, 23)}`));
      o.values.slice(0, 3).forEach((v, k) => g.append(svg("text", { x: left + 8, y: y + 31 + 14 * k }, cutTo(own(v, o), 17)), svg("text", { x: left + BW - 8, y: y + 31 + 14 * k, "text-anchor": "end", class: v.doubtful ? "old" : "value" }, cutTo(said(v), 12))));
      root.append(g);
      where.set(o.id, { x: left + BW, y: y + BH / 2, from: left });
    });
    x += beside[c] * (BW + 8) - 8;
    if (c === 0) {
      loops.forEach((l, i) => {
        const y = TOP + i * 74, supply = lastOf(l.supply_c), back = lastOf(l.return_c), load = lastOf(l.load_kw), a = x + 14, b = x + PIPE - 14;
        root.append(svg("text", { x: a, y: y + 12, class: "name" }, cutTo(l.name, 23)),
          svg("path", { class: "pipe blue", d: `M${a} ${y + 24}H${b}m-6 -4l6 4l-6 4` }), svg("text", { x: (a + b) / 2, y: y + 20, "text-anchor": "middle", class: "value" }, ""),
          svg("path", { class: "pipe orange", d: `M${b} ${y + 44}H${a}m6 -4l-6 4l6 4` }),
          svg("text", { x: a, y: y + 37 }, `${t("supply")} ${known(supply) ? num(supply, 1) + " °C" : "–"}`),
          svg("text", { x: a, y: y + 58 }, `${t("return")} ${known(back) ? num(back, 1) + " °C" : "–"}`),
          svg("text", { x: b, y: y + 37, "text-anchor": "end", class: "value" }, known(load) ? `${num(load, 0)} kW` : ""));
      });
      x += PIPE;
    } else if (c < columns.length - 1) x += 44;
  });
  if (!columns.length) x = 0;
  x += 34;
  // Lines from what serves to what is served; to racks one to each run of neighbours, since there may be hundreds.
  const rackAt = new Map(racks.map((r, i) => [r.id, { x: x + (i % across) * (CW + 4), y: TOP + Math.floor(i / across) * (CH + 4) + CH / 2 }]));
  for (const o of rest) {
    const a = where.get(o.id), far = o.serves.map((id) => where.get(id)).filter(Boolean);
    for (const b of far) root.append(svg("path", { class: "edge", d: `M${a.x} ${a.y}H${(a.x + b.from) / 2}V${b.y}H${b.from}` }));
    if (o.serves.some((id) => rackAt.has(id))) root.append(svg("path", { class: "edge", d: `M${a.x} ${a.y}H${x - 6}` }));
  }
  root.append(svg("text", { x, y: 14, class: "head" }, t("Racks, kW")));
  const most = Math.max(1, ...racks.map((r) => { const p = r.values.find((v) => v.unit === "kW"); return p && known(p.value) ? p.value : 0; })), cut = shared(racks.map((r) => r.name));
  for (const r of racks) {
    const at = rackAt.get(r.id), power = r.values.find((v) => v.unit === "kW"), g = svg("g", { class: "rack " + r.health });
    const share = power && known(power.value) ? Math.max(0, power.value / most) : 0;
    g.append(svg("title", {}, `${r.name}: ${r.values.map((v) => `${v.name} ${said(v)}`).join(", ")}`), svg("rect", { x: at.x, y: at.y - CH / 2, width: CW, height: CH, rx: 3 }),
      svg("rect", { class: "fill", x: at.x, y: at.y + CH / 2 - 4, width: CW * share, height: 4 }));
    if (CW > 40) g.append(svg("text", { x: at.x + 5, y: at.y - 3 }, `${r.health === "good" ? "" : GLYPH[r.health] + " "}${r.name.slice(cut) || r.name}`), svg("text", { x: at.x + CW - 5, y: at.y + 9, "text-anchor": "end", class: "value" }, power && known(power.value) ? num(power.value, 0) : "–"));
    root.append(g);
  }
  return el("figure", { class: "live" }, el("figcaption", {}, el("span", {}, t("Plant")), el("span", { class: "key" }, ...["good", "doubtful", "silent"].map((h) => el("span", {}, `${GLYPH[h]} ${t(h)}`)))), el("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": t("Schematic") }, root), limitsTable(s, overview));
}

// Read-only, each with where it comes from.
function limitsTable(s, o) {
  if (!o || !(o.limits.length + o.actuators.length)) return null;
  const bound = (lo, hi, unit) => [known(lo) ? `≥ ${auto(lo)}` : "", known(hi) ? `≤ ${auto(hi)}` : ""].filter(Boolean).join(", ") + ` ${unit}`;
  return el("details", { "data-key": s.id + "limits" }, el("summary", {}, t("Limits and setpoints")), el("div", { class: "scroll" }, el("table", {},
    el("thead", {}, el("tr", {}, ["What", "Now", "Bounds", "Source"].map((h, i) => el("th", { scope: "col", class: i === 1 ? "n" : "" }, t(h))))),
    el("tbody", {}, o.limits.map((m) => el("tr", {}, el("td", {}, m.name), el("td", { class: "n" }, `${auto(lastOf(m.value))} ${m.unit}`), el("td", {}, bound(lastOf(m.min), lastOf(m.max), m.unit)), el("td", {}, m.source || t("site file")))),
      o.actuators.map((a) => el("tr", {}, el("td", {}, a.name), el("td", { class: "n" }, `${auto(lastOf(a.in_force))} ${a.unit}`), el("td", {}, bound(a.lo, a.hi, a.unit)), el("td", {}, t("site file; fixed setpoint {0}", `${auto(a.default)} ${a.unit}`))))))));
}

// Racks by name, coloured and numbered by band: 1 = place here first, 5 = no room.
function heatMap(s, h) {
  const racks = [...h.racks].sort((a, b) => a.rack.localeCompare(b.rack, undefined, { numeric: true })), cut = shared(racks.map((r) => r.rack));
  const box = el("div", {}, el("h3", {}, t("{0}: made {1}, valid until {2}", s.name, clock(h.made_at), clock(h.valid_until))));
  box.append(el("ul", { class: "heat", "aria-label": t("Racks of {0} by band", s.name) }, racks.map((r) => el("li", { class: "b" + r.band, title: `${r.rack}: ${r.reason}` },
    el("strong", {}, r.rack.slice(cut) || r.rack), el("span", { class: "band-n" }, String(r.band)), el("span", {}, `${num(r.marginal_kwh_per_gpu_hour, 2)} kWh`), el("span", {}, known(r.power_headroom_kw) ? `${num(r.power_headroom_kw, 0)} kW` : "–")))));
  box.append(el("p", { class: "quiet" }, t("Band 1 to 5 (1 = place here first, 5 = no room); kWh that one more GPU-hour costs; kW that may be added.")));
  for (const shed of h.shed || []) box.append(el("p", { class: "error" }, t("{0} will be passed at {1}: {2} kW must go.", shed.limit, clock(shed.at), num(shed.needed_kw, 0)), el("span", {}, " " + shed.acts.map((a) => `${a.kind} ${a.target} (${num(a.effect_kw, 0)} kW)`).join("; "))));
  box.append(el("details", { "data-key": s.id + "hints" }, el("summary", {}, t("As a table")), el("div", { class: "scroll list" }, el("table", {},
    el("thead", {}, el("tr", {}, ["Rank", "Rack", "Class", "Free GPUs", "Marginal kWh/GPU-h", "Reason"].map((w, i) => el("th", { scope: "col", class: [0, 3, 4].includes(i) ? "n" : "" }, t(w))))),
    el("tbody", {}, h.racks.slice(0, 48).map((r) => el("tr", {}, el("td", { class: "n" }, String(r.rank)), el("td", {}, r.rack), el("td", {}, r.job_class), el("td", { class: "n" }, num(r.gpus_free, 0)), el("td", { class: "n" }, num(r.marginal_kwh_per_gpu_hour, 3)), el("td", {}, r.reason))))))));
  return box;
}

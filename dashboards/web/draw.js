// Elements, numbers, instants and hand-drawn SVG charts.
// Words: a "frame" is a chart's geometry; a "line" is an array over the shared time grid with null for no value.
"use strict";

const $ = (id) => document.getElementById(id);
const api = (path) => "/api/v1" + path;
const MINUS = "\u2212";

// ---- small tools -------------------------------------------------------------------------------------------------
// Text is only ever set as text: names and reasons come from outside.
function el(tag, attributes, ...children) {
  const node = document.createElement(tag);
  for (const [k, v] of Object.entries(attributes || {})) {
    if (v === false || v == null) continue;
    if (k.startsWith("on")) node.addEventListener(k.slice(2), v); else node.setAttribute(k, v === true ? "" : v);
  }
  for (const c of children.flat()) if (c != null && c !== false) node.append(c);
  return node;
}
function svg(tag, attributes, text) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [k, v] of Object.entries(attributes || {})) node.setAttribute(k, v);
  if (text != null) node.textContent = text;
  return node;
}
const capital = (s) => s.charAt(0).toUpperCase() + s.slice(1);
const known = (v) => typeof v === "number" && Number.isFinite(v);
function num(v, digits) {
  if (!known(v)) return "–";
  if (Math.abs(v) < 0.5 * 10 ** -digits) v = 0;
  return v.toLocaleString(LOCALE, { minimumFractionDigits: digits, maximumFractionDigits: digits }).replace("-", MINUS);
}
const digitsFor = (v) => (Math.abs(v) >= 1000 ? 0 : Math.abs(v) >= 100 ? 1 : 2);
const auto = (v) => (known(v) ? num(v, digitsFor(v)) : "–");
const iso = (ms) => (known(ms) ? new Date(ms).toISOString() : "");
const clock = (ms) => iso(ms).slice(11, 16);
const stamp = (ms) => (known(ms) ? iso(ms).slice(0, 10) + " " + iso(ms).slice(11, 19) : "–");
function age(s) {
  if (!known(s)) return "–";
  return s < 120 ? num(s, 0) + " s" : s < 7200 ? num(s / 60, 0) + " min" : s < 172800 ? num(s / 3600, 1) + " h" : num(s / 86400, 1) + " d";
}
async function get(path) {
  const answer = await fetch(api(path), { signal: AbortSignal.timeout(15000), cache: "no-store" });
  const body = await answer.json();
  if (!answer.ok) throw Object.assign(new Error(`${body.detail}; ${body.mend}`), { status: answer.status });
  return body;
}

// ---- charts ------------------------------------------------------------------------------------------------------
function ticks(lo, hi, wanted) {
  const raw = (hi - lo) / wanted, power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= raw * 0.999);
  const out = [];
  for (let v = Math.ceil(lo / step - 1e-9) * step; v <= hi + step * 1e-6; v += step) out.push(v);
  return { at: out, digits: Math.max(0, -Math.floor(Math.log10(step) + 1e-9)) };
}
// lines: [{name, cls, at, v, step?, hidden?}]; band: {at, p10, p90}. `zero` starts the axis at 0. marks: [{at, text}] stand at the foot;
// `onzoom(from, to)` hears of a stretch that was dragged over.
function chart({ title, unit, lines, band, now, wide, zero, marks = [], onzoom, height = 150 }) {
  lines = lines.filter((l) => l.v && l.v.some(known));
  const figure = el("figure", { class: wide ? "wide" : "" });
  const key = el("span", { class: "key" });
  const caption = el("figcaption", {}, el("span", {}, unit ? `${title}, ${unit}` : title), key);
  figure.append(caption);
  if (!lines.length) { figure.append(el("p", { class: "quiet" }, t("No values yet."))); return figure; }
  for (const l of lines) {
    const mark = svg("svg", { viewBox: "0 0 20 8", "aria-hidden": "true" });
    mark.append(svg("line", { x1: 0, x2: 20, y1: 4, y2: 4, class: "l " + l.cls }));
    if (!l.noKey) key.append(el("span", {}, mark, l.name));
  }
  const W = wide ? 620 : 320, H = height, L = 44, R = 8, T = 8, B = 20;
  const times = lines.flatMap((l) => [l.at[0], l.at[l.at.length - 1]]).concat(band ? band.at : []).filter(known);
  const t0 = Math.min(...times), t1 = Math.max(...times, t0 + 1);
  let values = lines.flatMap((l) => l.v.filter(known));
  if (band) values = values.concat(band.p10, band.p90).filter(known);
  let lo = values.reduce((a, b) => Math.min(a, b), Infinity), hi = values.reduce((a, b) => Math.max(a, b), -Infinity);
  if (zero) lo = Math.min(0, lo);
  const pad = Math.max((hi - lo) * 0.06, Math.abs(hi) * 0.002, 0.05);
  if (!(zero && lo === 0)) lo -= pad;
  hi += pad;
  const x = (t) => L + ((t - t0) / (t1 - t0)) * (W - L - R), y = (v) => T + (1 - (v - lo) / (hi - lo)) * (H - T - B);
  const summary = lines.map((l) => { const k = l.v.filter(known); return `${l.name} ${auto(k[k.length - 1])}`; }).join(", ");
  const root = svg("svg", { class: "chart", viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": `${title}, ${unit}: ${summary}` });
  const yt = ticks(lo, hi, 4);
  for (const v of yt.at) {
    root.append(svg("line", { class: "grid", x1: L, x2: W - R, y1: y(v), y2: y(v) }), svg("text", { x: L - 6, y: y(v) + 4, "text-anchor": "end" }, num(v, yt.digits)));
  }
  const span = (t1 - t0) / 3.6e6, most = wide ? 9 : 5;
  const hours = [0.25, 0.5, 1, 2, 3, 6, 12, 24, 48].find((h) => span / h <= most) || 96;
  for (let t = Math.ceil(t0 / (hours * 3.6e6)) * hours * 3.6e6; t <= t1; t += hours * 3.6e6) {
    if (x(t) > W - 16 || x(t) < L + 12) continue;
    root.append(svg("line", { class: "grid", x1: x(t), x2: x(t), y1: T, y2: H - B }), svg("text", { x: x(t), y: H - 5, "text-anchor": "middle" }, hours >= 24 ? iso(t).slice(5, 10) : clock(t)));
  }
  if (band && band.at.length) {
    const up = band.at.map((t, i) => `${x(t).toFixed(1)},${y(band.p90[i]).toFixed(1)}`), down = band.at.map((t, i) => `${x(t).toFixed(1)},${y(band.p10[i]).toFixed(1)}`).reverse();
    root.append(svg("polygon", { class: "band", points: up.concat(down).join(" ") }));
  }
  if (known(now) && now > t0 && now < t1 - 1000) root.append(svg("line", { class: "nowline", x1: x(now), x2: x(now), y1: T, y2: H - B }), svg("text", { x: x(now) - 4, y: T + 9, "text-anchor": "end" }, t("now")));
  for (const l of lines) {
    let d = "", pen = false, last = null;
    l.v.forEach((v, i) => {
      if (!known(v)) { pen = false; return; }
      const px = x(l.at[i]).toFixed(1), py = y(v).toFixed(1);
      d += pen ? (l.step ? `H${px}V${py}` : `L${px} ${py}`) : `M${px} ${py}`;
      if (!pen && !known(l.v[i + 1])) d += "h0.1";
      pen = true; last = v;
    });
    root.append(svg("path", { class: "l " + l.cls, d }));
  }
  for (const m of marks) {
    if (m.at < t0 || m.at > t1) continue;
    const px = x(m.at).toFixed(1), mark = svg("path", { class: "mark", d: `M${px} ${H - B - 8}l4 7h-8z` });
    mark.append(svg("title", {}, m.text));
    root.append(mark);
  }
  if (onzoom) dragged(root, { L, R, T, B, W, H }, (a, b) => onzoom(t0 + a * (t1 - t0), t0 + b * (t1 - t0)));
  const cross = svg("line", { class: "cross", y1: T, y2: H - B, visibility: "hidden" });
  root.append(cross);
  const readout = el("div", { class: "readout", "aria-hidden": "true" });
  root.addEventListener("pointermove", (e) => {
    const box = root.getBoundingClientRect(), t = t0 + ((((e.clientX - box.left) / box.width) * W - L) / (W - L - R)) * (t1 - t0);
    if (t < t0 || t > t1) return;
    cross.setAttribute("x1", x(t)); cross.setAttribute("x2", x(t)); cross.setAttribute("visibility", "visible");
    const parts = lines.map((l) => {
      const i = nearest(l.at, t);
      return Math.abs(l.at[i] - t) < (t1 - t0) / 30 && known(l.v[i]) ? `${l.name} ${auto(l.v[i])}` : null;
    }).filter(Boolean);
    readout.textContent = `${clock(t)}  ${parts.join(" · ")}`;
  });
  root.addEventListener("pointerleave", () => { cross.setAttribute("visibility", "hidden"); readout.textContent = ""; });
  figure.append(root, readout);
  return figure;
}
// Which of some rising instants is nearest.
function nearest(at, t) {
  let a = 0, b = at.length - 1;
  while (b - a > 1) { const m = (a + b) >> 1; if (at[m] < t) a = m; else b = m; }
  return Math.abs(at[a] - t) < Math.abs(at[b] - t) ? a : b;
}
// Hears of a stretch of a chart that a pointer was dragged over, as shares of its width.
function dragged(root, { L, R, T, B, W, H }, told) {
  const area = svg("rect", { class: "select", y: T, height: H - T - B, width: 0, visibility: "hidden" });
  root.append(area);
  const share = (e) => { const box = root.getBoundingClientRect(); return Math.min(1, Math.max(0, (((e.clientX - box.left) / box.width) * W - L) / (W - L - R))); };
  let begun = null;
  root.addEventListener("pointerdown", (e) => { if (e.button === 0) { begun = share(e); root.setPointerCapture(e.pointerId); } });
  root.addEventListener("pointermove", (e) => {
    if (begun == null) return;
    const [a, b] = [begun, share(e)].sort((p, q) => p - q);
    area.setAttribute("x", L + a * (W - L - R)); area.setAttribute("width", (b - a) * (W - L - R)); area.setAttribute("visibility", "visible");
  });
  const end = (e) => {
    if (begun == null) return;
    const [a, b] = [begun, share(e)].sort((p, q) => p - q);
    begun = null;
    area.setAttribute("visibility", "hidden");
    if (e.type === "pointerup" && b - a > 0.02) told(a, b);
  };
  root.addEventListener("pointerup", end);
  root.addEventListener("pointercancel", end);
}

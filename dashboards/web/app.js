// The built-in page. Reads /api/v1, draws SVG by hand, keeps no state but the operator's name.
// Words: a "frame" is a chart's geometry; a "line" is an array over the shared time grid with null for no value.
"use strict";

const $ = (id) => document.getElementById(id);
const api = (path) => "/api/v1" + path;
const MINUS = "\u2212";
let sites = [], overviews = {}, recommendations = {}, hints = {}, lastHeard = 0, wasGone = false, fetching = false, picked = null;

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
  return v.toLocaleString("en-GB", { minimumFractionDigits: digits, maximumFractionDigits: digits }).replace("-", MINUS);
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
// lines: [{name, cls, at, v, step?, hidden?}]; band: {at, p10, p90}. `zero` starts the axis at 0.
function chart({ title, unit, lines, band, now, wide, zero, height = 150 }) {
  lines = lines.filter((l) => l.v && l.v.some(known));
  const figure = el("figure", { class: wide ? "wide" : "" });
  const key = el("span", { class: "key" });
  const caption = el("figcaption", {}, el("span", {}, unit ? `${title}, ${unit}` : title), key);
  figure.append(caption);
  if (!lines.length) { figure.append(el("p", { class: "quiet" }, "No values yet.")); return figure; }
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
  const summary = lines.map((l) => { const k = l.v.filter(known); return `${l.name} now ${auto(k[k.length - 1])}`; }).join(", ");
  const root = svg("svg", { class: "chart", viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": `${title} in ${unit}: ${summary}` });
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
  if (known(now) && now > t0 && now < t1 - 1000) root.append(svg("line", { class: "nowline", x1: x(now), x2: x(now), y1: T, y2: H - B }), svg("text", { x: x(now) - 4, y: T + 9, "text-anchor": "end" }, "now"));
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
  const cross = svg("line", { class: "cross", y1: T, y2: H - B, visibility: "hidden" });
  root.append(cross);
  const readout = el("div", { class: "readout", "aria-hidden": "true" });
  root.addEventListener("pointermove", (e) => {
    const box = root.getBoundingClientRect(), t = t0 + ((((e.clientX - box.left) / box.width) * W - L) / (W - L - R)) * (t1 - t0);
    if (t < t0 || t > t1) return;
    cross.setAttribute("x1", x(t)); cross.setAttribute("x2", x(t)); cross.setAttribute("visibility", "visible");
    const parts = lines.map((l) => {
      const gap = l.at.length > 1 ? l.at[1] - l.at[0] : 1, i = Math.round((t - l.at[0]) / gap);
      return i >= 0 && i < l.at.length && known(l.v[i]) ? `${l.name} ${auto(l.v[i])}` : null;
    }).filter(Boolean);
    readout.textContent = `${clock(t)}  ${parts.join(" · ")}`;
  });
  root.addEventListener("pointerleave", () => { cross.setAttribute("visibility", "hidden"); readout.textContent = ""; });
  figure.append(root, readout);
  return figure;
}

// ---- one site ----------------------------------------------------------------------------------------------------
const figureBox = (name, value, unit, sub) => el("div", {}, el("dt", {}, name), el("dd", {}, value, " ", el("small", {}, unit), el("span", { class: "sub" }, sub || "")));
const modeClass = (m) => (["auto", "advise"].includes(m) ? "ok" : m === "fail-safe" ? "bad" : m === "guarded" ? "warn" : "");
function difference(now, base, unit, digits) {
  return known(now) && known(base) && base !== 0 ? `${num(((now - base) / base) * 100, 1)} % against baseline ${num(base, digits)} ${unit}` : "no baseline known";
}
function siteHead(s) {
  const up = s.link.state === "up";
  return el("div", { class: "head" },
    el("div", {}, el("h2", {}, s.name), el("p", { class: "quiet" }, [s.id, s.label].filter(Boolean).join(" · ")), s.mode_why && el("p", { class: "quiet" }, `${s.mode}: ${s.mode_why}`), s.link.state !== "up" && el("p", { class: "quiet" }, `Link: ${s.link.why} (${s.broker})`), s.held && el("p", { class: "quiet" }, "Held: " + s.held)),
    el("div", { class: "chips" },
      el("span", { class: "chip " + modeClass(s.mode), title: s.mode_why }, "Mode: " + s.mode + (s.held ? ", held" : "")),
      el("span", { class: "chip " + (up ? "ok" : "bad"), title: s.link.why }, `${up ? "●" : "✕"} Link ${s.link.state}`),
      el("span", { class: "chip" + (s.clock_age_s > 60 ? " warn" : "") }, known(s.clock) ? `${stamp(s.clock)} UTC` + (s.clock_age_s > 60 ? `, ${age(s.clock_age_s)} old` : "") : "no clock yet")));
}
function siteFigures(s) {
  return el("dl", { class: "figures live" },
    figureBox("IT power", num(s.it_kw, 0), "kW", known(s.gpus_allocated) ? `${num(s.gpus_allocated, 0)} GPUs allocated` : ""),
    figureBox("Cooling power", num(s.cooling_kw, 0), "kW", difference(s.cooling_kw, s.baseline_cooling_kw, "kW", 0)),
    figureBox("PUE", num(s.pue_now, 3), "", "now"),
    figureBox("Energy now", num(s.kwh_per_gpu_hour_now, 3), "kWh/GPU-h"),
    figureBox("Energy today", num(s.kwh_per_gpu_hour_today, 3), "kWh/GPU-h", difference(s.kwh_per_gpu_hour_today, s.baseline_kwh_per_gpu_hour_today, "", 3)),
    figureBox("Readings in", num(s.readings_in, 0), "", `${num(s.readings_refused, 0)} refused · ${num(s.points, 0)} points`));
}
function siteRecommendation(s) {
  const box = el("section", { class: "rec", "aria-label": `Recommendation for ${s.name}` });
  const r = (recommendations[s.id] || []).find((x) => x.id === s.recommendation) || (recommendations[s.id] || [])[0];
  if (!r) box.append(el("h3", {}, "Recommendation"), el("p", {}, recommendations[s.id] ? "None yet." : "Loading."));
  else {
    const e = r.expects, parts = [];
    if (r.items.length) parts.push(`Expected over ${num(e.horizon_h, 1)} h: saves ${num(e.saves_vs_fixed_kwh, 0)} ± ${num(e.plus_minus_kwh, 0)} kWh against the fixed setpoints, ${num(e.saves_vs_hold_kwh, 0)} kWh against holding`);
    if (known(e.least_margin)) parts.push(`least margin ${num(e.least_margin, 1)} to ${e.least_margin_limit}`);
    if (!e.feasible) parts.push("no plan keeps every limit with its margin: this is the least violating way");
    box.append(el("h3", {}, `Recommendation · ${r.state.replace("_", " ")} · made ${clock(r.made_at)}, valid until ${clock(r.valid_until)}`), el("p", {}, r.explanation));
    if (parts.length) box.append(el("p", {}, el("strong", {}, parts.join("; ") + ".")));
    if (r.items.length) box.append(el("div", { class: "scroll" }, el("table", {}, el("thead", {}, el("tr", {}, ["Setpoint", "From", "Asked now", "Target", "Reason"].map((h, i) => el("th", { scope: "col", class: i > 0 && i < 4 ? "n" : "" }, h)))),
      el("tbody", {}, r.items.map((i) => el("tr", {}, el("td", {}, i.name), [i.from, i.asked, i.target].map((v) => el("td", { class: "n" }, `${auto(v)} ${i.unit}`)), el("td", {}, i.reason)))))));
    if (r.withheld.length) box.append(el("div", { class: "scroll" }, el("table", {}, el("caption", {}, "Withheld by the checker"),
      el("tbody", {}, r.withheld.map((w) => el("tr", {}, el("td", {}, w.name || w.actuator), el("td", { class: "n" }, `${auto(w.asked)} ${w.unit}`), el("td", {}, w.reason)))))));
  }
  const act = (title, what, path, body) => () => ask(title, what, path, body);
  box.append(el("div", { class: "buttons" },
    r && el("button", { class: "primary", type: "button", disabled: !r.can_approve, "data-key": s.id + "approve", onclick: act("Approve", `Send recommendation ${r.id} to ${s.name}.`, `/recommendations/${encodeURIComponent(r.id)}/approve`, {}) }, "Approve"),
    el("button", { type: "button", "data-key": s.id + "hold", onclick: s.held
      ? act("Release the hold", `${s.name}: setpoints may move again.`, `/sites/${s.id}/hold`, { hold: false })
      : act("Hold", `${s.name}: keep the setpoints as they are until released.`, `/sites/${s.id}/hold`, { hold: true }) }, s.held ? "Release hold" : "Hold setpoints"),
    s.mode === "auto" || s.mode === "guarded"
      ? el("button", { type: "button", "data-key": s.id + "mode", onclick: act("Leave auto", `${s.name}: hand back to the operators' setpoints at once and stay in shadow.`, `/sites/${s.id}/mode`, { mode: "leave" }) }, "Leave auto")
      : el("button", { type: "button", "data-key": s.id + "mode", onclick: act("Enter auto", `${s.name}: requests go out by themselves inside the guardrails.`, `/sites/${s.id}/mode`, { mode: "auto" }) }, "Enter auto")));
  return box;
}
function siteCharts(s) {
  const o = overviews[s.id], box = el("div", { class: "charts live" });
  if (!o) return el("p", { class: "quiet" }, "Charts are loading.");
  const f = o.forecast, at = o.at, fl = f ? [{ name: "forecast (p50, band p10–p90)", cls: "blue dash", at: f.at, v: f.p50 }] : [];
  const fallback = f && f.fallback ? el("p", { class: "quiet" }, `Forecast fell back to ${f.model}: ${f.fallback}`) : null;
  const load = chart({ title: "Thermal load", unit: "kW", wide: true, now: o.now, band: f, height: 170, lines: [{ name: "measured", cls: "blue", at, v: o.load_kw }, ...fl] });
  if (fallback) load.append(fallback);
  box.append(load);
  box.append(chart({ title: "Cooling power", unit: "kW", now: o.now, zero: true, lines: [{ name: "baseline", cls: "grey dash", at, v: o.baseline_cooling_kw }, { name: "measured", cls: "green", at, v: o.cooling_kw }] }));
  box.append(chart({ title: "Energy", unit: "kWh per GPU-hour", now: o.now, lines: [{ name: "measured", cls: "purple", at, v: o.kwh_per_gpu_hour }] }));
  for (const l of o.loops) {
    const limits = o.limits.filter((m) => m.loop === l.id);
    box.append(chart({ title: l.name, unit: "°C", now: o.now, lines: [{ name: "supply", cls: "blue", at, v: l.supply_c }, { name: "return", cls: "orange", at, v: l.return_c },
      ...limits.flatMap((m) => [{ name: "highest supply", cls: "limit", at, v: m.max }, { name: "lowest supply", cls: "limit", at, v: m.min }])] }));
  }
  for (const a of o.actuators) box.append(chart({ title: `${a.name}${known(a.pinned) ? ` (pinned ${auto(a.pinned)})` : ""}`, unit: a.unit, now: o.now, lines: [
    { name: "measured", cls: "grey", at, v: a.measured }, { name: "in force", cls: "blue", at, v: a.in_force, step: true }, { name: "asked", cls: "orange dash", at, v: a.asked, step: true }] }));
  for (const m of o.limits.filter((m) => !m.loop)) box.append(chart({ title: m.name, unit: m.unit, now: o.now, lines: [
    { name: "measured", cls: "blue", at, v: m.value }, { name: "limit", cls: "limit", at, v: m.max }, { name: "limit", cls: "limit", at, v: m.min, noKey: m.max.some(known) }] }));
  return box;
}
function siteAlarms(s) {
  const worst = { critical: 0, warning: 1, notice: 2 };
  return s.alarms.length ? el("ul", { class: "alarms", "aria-label": "Alarms" }, [...s.alarms].sort((a, b) => worst[a.severity] - worst[b.severity]).map((a) =>
    el("li", { class: a.severity }, el("strong", {}, `${capital(a.severity)}: ${a.text}.`), `${known(a.since) ? ` Since ${clock(a.since)}. ` : " "}${capital(a.action).replace(/\.$/, "")}. ${a.acknowledged_by ? `Seen by ${a.acknowledged_by}.` : ""} `,
      a.acknowledged_by ? null : el("button", { type: "button", class: "link", "data-key": s.id + a.id, onclick: () => ask("Acknowledge", `${s.name}: ${a.text}.`, `/sites/${s.id}/alarms/${encodeURIComponent(a.id)}/acknowledge`, {}) }, "Acknowledge")))) : null;
}

// ---- drawing -----------------------------------------------------------------------------------------------------
let drawn = {};
function draw() {
  drawOverall();
  const root = $("sites"), focus = document.activeElement && document.activeElement.dataset && document.activeElement.dataset.key;
  for (const s of sites) {
    let parts = drawn[s.id];
    if (!parts) {
      const box = el("article", { class: "site", "aria-label": s.name });
      parts = drawn[s.id] = { box, head: el("div"), alarms: el("div"), figures: el("div"), rec: el("div"), charts: el("div"), shown: null };
      box.append(parts.head, parts.alarms, parts.figures, parts.rec, parts.charts);
      root.append(box);
    }
    parts.box.classList.toggle("stale", s.link.state !== "up" || s.clock_age_s > 300);
    parts.head.replaceChildren(siteHead(s));
    const alarms = siteAlarms(s);
    parts.alarms.hidden = !alarms;
    parts.alarms.replaceChildren(...(alarms ? [alarms] : []));
    parts.figures.replaceChildren(siteFigures(s));
    parts.rec.replaceChildren(siteRecommendation(s));
    // A chart under the pointer stays still until the pointer leaves.
    if (parts.shown !== overviews[s.id] && !parts.charts.matches(":hover")) {
      parts.charts.replaceChildren(siteCharts(s));
      parts.shown = overviews[s.id];
    }
  }
  if (focus) { const again = root.querySelector(`[data-key="${CSS.escape(focus)}"]`); if (again) again.focus(); }
}
function drawOverall() {
  const box = $("overall"), set = (state, mark, word, why) => {
    if (box.dataset.shown === state + word + why) return;
    box.dataset.shown = state + word + why;
    box.className = "overall " + state;
    box.children[0].textContent = mark; box.children[1].textContent = word; box.children[2].textContent = why;
    document.title = `${word} – Tramuntana`;
  };
  if (wasGone) return set("bad", "✕", "Service gone", "What is shown below is old.");
  if ($("login").open) return set("unknown", "○", "Signed out", "Sign in to see the plant.");
  if (!sites.length) return set("unknown", "○", "No sites", "The configuration names none.");
  const alarms = sites.flatMap((s) => s.alarms.map((a) => ({ ...a, site: s.name })));
  const bad = sites.filter((s) => s.link.state === "down" || s.mode === "fail-safe"), critical = alarms.filter((a) => a.severity === "critical");
  if (bad.length || critical.length) return set("bad", "✕", "Act now", bad.map((s) => `${s.name}: ${s.link.state === "down" ? "link down" : "fail-safe"}`).concat(critical.map((a) => `${a.site}: ${a.text}`)).slice(0, 2).join(" · "));
  const warning = alarms.filter((a) => a.severity === "warning"), slow = sites.filter((s) => s.link.state !== "up" || s.mode === "guarded" || s.clock_age_s > 300);
  if (warning.length || slow.length) return set("warn", "▲", "Needs a look", warning.map((a) => `${a.site}: ${a.text}`).concat(slow.map((s) => `${s.name}: ${s.link.state !== "up" ? "link " + s.link.state : s.mode === "guarded" ? "guarded" : "clock stands still"}`)).slice(0, 2).join(" · "));
  set("ok", "●", "All well", `${sites.length} ${sites.length === 1 ? "site" : "sites"} connected`);
}
function drawHints() {
  $("hints").replaceChildren(...sites.map((s) => {
    const h = hints[s.id];
    if (!h || h.error) return el("div", {}, el("h3", {}, s.name), el("p", { class: "quiet" }, h ? h.error : "Loading."));
    return el("div", { class: "scroll list" }, el("table", {}, el("caption", {}, `${s.name}: made ${clock(h.made_at)}, valid until ${clock(h.valid_until)}`),
      el("thead", {}, el("tr", {}, el("th", { scope: "col", class: "n" }, "Rank"), el("th", { scope: "col" }, "Rack"), el("th", { scope: "col" }, "Class"), el("th", { scope: "col", class: "n" }, "Free GPUs"), el("th", { scope: "col", class: "n" }, "Marginal kWh/GPU-h"), el("th", { scope: "col" }, "Reason"))),
      el("tbody", {}, h.racks.slice(0, 12).map((r) => el("tr", {}, el("td", { class: "n" }, String(r.rank)), el("td", {}, r.rack), el("td", {}, r.job_class), el("td", { class: "n" }, num(r.gpus_free, 0)), el("td", { class: "n" }, num(r.marginal_kwh_per_gpu_hour, 3)), el("td", {}, r.reason))))));
  }));
}
function drawDemo(d) {
  const names = Object.entries(d.sites || {}).concat(d.total ? [["total", d.total]] : []), arms = ["baseline", "recommended", "optimum"];
  const columns = [["it_kwh", "IT kWh", 0], ["cooling_kwh", "Cooling kWh", 0], ["loss_kwh", "Losses kWh", 0], ["gpu_hours", "GPU-hours", 0], ["kwh_per_gpu_hour", "kWh/GPU-h", 4], ["pue", "PUE", 4], ["minutes_beyond_limit", "Beyond a limit, min", 0]];
  const rows = names.flatMap(([name, arm]) => arms.filter((a) => arm && arm[a]).map((a) => el("tr", {}, el("td", {}, name), el("td", {}, a), columns.map(([k, , n]) => el("td", { class: "n" }, num(arm[a][k], n))))));
  $("demo").hidden = !rows.length;
  $("demo").querySelector(".scroll").replaceChildren(el("table", {}, el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "Site"), el("th", { scope: "col" }, "Setpoints"), columns.map(([, h]) => el("th", { scope: "col", class: "n" }, h)))), el("tbody", {}, rows)));
}

// ---- acts --------------------------------------------------------------------------------------------------------
let pending = null;
function ask(title, what, path, body) {
  pending = { path, body };
  $("act-h").textContent = title; $("act-what").textContent = what; $("act-error").textContent = ""; $("act-why").value = "";
  $("act-who").value = $("act-who").value || localStorage.getItem("who") || "";
  $("act").showModal();
}
$("act-no").addEventListener("click", () => $("act").close());
$("act").querySelector("form").addEventListener("submit", async (e) => {
  e.preventDefault();
  const who = $("act-who").value.trim();
  if (!who || !pending) return;
  localStorage.setItem("who", who);
  $("act-yes").disabled = true;
  try {
    const answer = await fetch(api(pending.path), { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ ...pending.body, who, why: $("act-why").value.trim() }), signal: AbortSignal.timeout(15000) });
    const body = await answer.json();
    if (!answer.ok) throw new Error(`${body.detail}; ${body.mend}`);
    $("act").close();
    refresh(true);
  } catch (why) { $("act-error").textContent = "Not done: " + why.message; }
  $("act-yes").disabled = false;
});

// ---- who is there -----------------------------------------------------------------------------------------------
async function session() {
  let me;
  try { me = await get("/session"); } catch (why) { return why.status === 401 ? signIn() : undefined; }
  $("me").hidden = $("sign-out").hidden = !me.name;
  $("me").textContent = me.name ? `${me.name} (${me.role})` : "";
  if (me.name) localStorage.setItem("who", me.name);
}
function signIn() {
  if (!$("login").open) $("login").showModal();
}
async function present(token) {
  const answer = await fetch(api("/session"), { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ token }), signal: AbortSignal.timeout(15000) });
  if (!answer.ok) { const body = await answer.json(); throw new Error(`${body.detail}; ${body.mend}`); }
}
$("login").addEventListener("cancel", (e) => e.preventDefault());
$("login").querySelector("form").addEventListener("submit", async (e) => {
  e.preventDefault();
  try { await present($("login-token").value.trim()); location.reload(); } catch (why) { $("login-error").textContent = "Not let in: " + why.message; }
  $("login-token").value = "";
});
$("sign-out").addEventListener("click", async () => { await present(""); location.reload(); });

// ---- what was done ------------------------------------------------------------------------------------------------
function orderText(act) {
  if (act.approve) return `approved ${act.approve}`;
  const { order = "", ...rest } = typeof act === "object" ? act : { order: act };
  return [String(order).replaceAll("_", " "), ...Object.entries(rest).map(([k, v]) => `${k} ${typeof v === "object" ? JSON.stringify(v) : v}`)].join(" ").trim();
}
function drawActs(list) {
  const rows = list.map((e) => el("tr", {}, el("td", {}, stamp(e.at)), el("td", {}, e.site), el("td", {}, e.who), el("td", {}, orderText(e.act)), el("td", {}, e.why)));
  $("acts").replaceChildren(rows.length
    ? el("table", {}, el("thead", {}, el("tr", {}, ...["When", "Site", "Who", "What", "Why"].map((h) => el("th", { scope: "col" }, h)))), el("tbody", {}, rows))
    : el("p", { class: "quiet" }, "Nothing yet."));
}

// ---- any point ---------------------------------------------------------------------------------------------------
async function search() {
  const site = $("t-site").value;
  if (!site) return;
  try {
    const page = await get(`/points?limit=100&site=${encodeURIComponent(site)}&q=${encodeURIComponent($("t-q").value)}`);
    $("t-count").textContent = page.total > page.points.length ? `${num(page.total, 0)} points match; the first ${page.points.length} are shown. More words narrow it.` : `${num(page.total, 0)} points match.`;
    $("t-list").tBodies[0].replaceChildren(...page.points.map((p) => {
      const row = el("tr", { class: picked && picked.site === p.site && picked.id === p.id ? "on" : "" });
      row.append(el("td", {}, el("button", { class: "link", type: "button", onclick: () => { for (const r of $("t-list").tBodies[0].rows) r.className = ""; row.className = "on"; picked = p; trend(); } }, p.path), el("div", { class: "quiet" }, [p.object_name, p.process_area.join(" "), p.is_setpoint ? "setpoint" : ""].filter(Boolean).join(" · "))),
        el("td", { class: "n" }, p.state_text || `${auto(p.last_value)} ${p.unit}`), el("td", { class: "n" }, age(p.age_s)), el("td", {}, p.quality || "no value yet"));
      return row;
    }));
  } catch (why) { $("t-count").textContent = why.message; }
}
async function trend() {
  if (!picked) return;
  const box = $("t-chart"), hours = Number($("t-hours").value), wanted = picked;
  const to = wanted.last_at != null ? wanted.last_at + 1 : null;
  if (to == null) { box.replaceChildren(el("p", { class: "quiet" }, "This point has no value yet.")); return; }
  try {
    const s = await get(`/series?site=${encodeURIComponent(wanted.site)}&point=${wanted.id}&from=${to - hours * 3600000}&to=${to}`);
    if (wanted !== picked) return;
    const at = s.rows.map((r) => r.at), line = (k) => s.rows.map((r) => r[k]);
    const csv = "at,mean,min,max,count,quality\n" + s.rows.map((r) => [iso(r.at), r.mean ?? "", r.min ?? "", r.max ?? "", r.count, `"${r.quality.replaceAll('"', '""')}"`].join(",")).join("\n") + "\n";
    const save = el("button", { type: "button", onclick: () => {
      const url = URL.createObjectURL(new Blob([csv], { type: "text/csv" }));
      el("a", { href: url, download: `${s.site}-${s.path.replace(/[^A-Za-z0-9._-]+/g, "_")}.csv` }).click();
      setTimeout(() => URL.revokeObjectURL(url), 1000);
    } }, "Download CSV");
    box.replaceChildren(chart({ title: s.path, unit: s.unit || "as sent", wide: true, height: 240, lines: [{ name: "max", cls: "grey dot", at, v: line("max") }, { name: "min", cls: "grey dot", at, v: line("min") }, { name: "mean", cls: "blue", at, v: line("mean") }] }),
      el("p", { class: "quiet" }, `${s.rows.length} buckets of ${age(s.step_s)}`), el("div", { class: "buttons" }, save));
  } catch (why) { box.replaceChildren(el("p", { class: "error" }, why.message)); }
}
$("search").addEventListener("submit", (e) => { e.preventDefault(); search(); });
$("t-site").addEventListener("change", search);
$("t-hours").addEventListener("change", trend);
$("hours").addEventListener("change", () => refresh(true));

// ---- keeping up --------------------------------------------------------------------------------------------------
function heard(list) {
  lastHeard = Date.now();
  sites = list;
  if (wasGone) { wasGone = false; $("gone").hidden = true; refresh(true); }
  const picker = $("t-site");
  if (picker.options.length !== sites.length) { picker.replaceChildren(...sites.map((s) => el("option", { value: s.id }, s.name))); search(); }
  draw();
}
let refreshed = 0, queued = false;
// Charts, recommendations and hints, at most every 5 s; one at a time.
async function refresh(now) {
  if (fetching) { queued = queued || now === true; return; }
  if (now !== true && Date.now() - refreshed < 5000) return;
  fetching = true; refreshed = Date.now();
  await Promise.all(sites.map(async (s) => {
    const id = encodeURIComponent(s.id);
    const [o, r, h] = await Promise.allSettled([get(`/sites/${id}/overview?hours=${$("hours").value}`), get(`/recommendations?site=${id}&limit=5`), get(`/placement/hints?site=${id}`)]);
    if (o.status === "fulfilled") overviews[s.id] = o.value;
    if (r.status === "fulfilled") recommendations[s.id] = r.value;
    hints[s.id] = h.status === "fulfilled" ? h.value : { error: h.reason.message };
  }));
  try { drawActs(await get("/audit?limit=20")); } catch { /* shown again with the next change */ }
  try { drawDemo(await get("/demo")); } catch { /* none yet */ }
  fetching = false;
  draw(); drawHints();
  if (queued) { queued = false; refresh(true); }
}
async function poll() {
  try { heard(await get("/sites")); } catch (why) { if (why.status === 401) signIn(); else gone(); }
}
function gone() {
  if (Date.now() - lastHeard < 8000) return;
  wasGone = true;
  $("gone").hidden = false;
  $("gone").textContent = `The service does not answer${lastHeard ? ` since ${new Date(lastHeard).toLocaleTimeString("en-GB")}` : ""}. This page tries again by itself; the plant keeps its own control.`;
  drawOverall();
}
function listen() {
  const source = new EventSource(api("/events"));
  source.addEventListener("sites", (e) => { try { heard(JSON.parse(e.data)); refresh(); } catch { /* the next event comes */ } });
  // Each answer ends after its event, so an error alone means nothing; a closed source is opened again.
  source.addEventListener("error", () => {
    if (source.readyState === EventSource.CLOSED) setTimeout(listen, 3000);
    if (Date.now() - lastHeard > 8000) poll();
  });
}
session();
poll().then(() => refresh(true));
listen();
// The stream answers at least every 15 s; beyond that, ask.
setInterval(() => { if (wasGone || Date.now() - lastHeard > 18000) poll(); }, 3000);

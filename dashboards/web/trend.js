// The history of any points: looked for by words, up to four compared, zoomed, with what is marked about their quality, saved as CSV.
// Words: the "picks" are the points shown, the first one alone with its range; the "window" is the time shown, null = the newest hours.
"use strict";

const COLOURS = ["blue", "orange", "green", "purple"];
let picks = [], zoomed = null, asked = 0;
const pickKey = (p) => `${p.site}/${p.id}`;

async function search() {
  const site = $("t-site").value;
  if (!site) return;
  try {
    const page = await get(`/points?limit=100&site=${encodeURIComponent(site)}&q=${encodeURIComponent($("t-q").value)}`);
    $("t-count").textContent = page.total > page.points.length ? t("{0} points match; the first {1} are shown. More words narrow it.", num(page.total, 0), page.points.length) : t("{0} points match.", num(page.total, 0));
    $("t-list").tBodies[0].replaceChildren(...page.points.map((p) => {
      const row = el("tr", { "data-pick": pickKey(p) });
      row.append(el("td", {}, el("button", { class: "link", type: "button", onclick: () => { picks = [p]; zoomed = null; trend(); } }, p.path), el("div", { class: "quiet" }, [p.object_name, p.process_area.join(" "), p.is_setpoint ? t("setpoint") : ""].filter(Boolean).join(" · "))),
        el("td", { class: "n" }, p.state_text || `${auto(p.last_value)} ${p.unit}`), el("td", { class: "n" }, age(p.age_s)), el("td", {}, p.quality ? t(p.quality) : t("no value yet")),
        el("td", {}, el("button", { class: "link compare", type: "button", "aria-pressed": "false", "aria-label": t("Compare {0}", p.path), onclick: () => compare(p) }, "+")));
      return row;
    }));
    marked();
  } catch (why) { $("t-count").textContent = why.message; }
}
function compare(p) {
  const at = picks.findIndex((x) => pickKey(x) === pickKey(p));
  if (at >= 0) picks.splice(at, 1); else { picks.push(p); if (picks.length > COLOURS.length) picks.shift(); }
  trend();
}
// The rows of the points that are shown.
function marked() {
  for (const row of $("t-list").tBodies[0].rows) {
    const on = picks.some((p) => pickKey(p) === row.dataset.pick), button = row.querySelector(".compare");
    row.className = on ? "on" : "";
    button.setAttribute("aria-pressed", String(on));
    button.textContent = on ? MINUS : "+";
  }
}
function shownWindow() {
  if (zoomed) return zoomed;
  const ends = picks.map((p) => p.last_at).filter((v) => v != null);
  if (!ends.length) return null;
  const to = Math.max(...ends) + 1;
  return { from: to - Number($("t-hours").value) * 3600000, to };
}
const MINUTE = 60000;
function zoom(from, to) {
  const least = 2 * MINUTE;
  if (to - from < least) { const middle = (from + to) / 2; [from, to] = [middle - least / 2, middle + least / 2]; }
  zoomed = { from: Math.max(0, Math.round(from)), to: Math.round(to) };
  trend();
}
async function trend() {
  marked();
  const box = $("t-chart"), mine = ++asked;
  if (!picks.length) { box.replaceChildren(el("p", { class: "quiet" }, t("Pick a point to see its history."))); return; }
  const w = shownWindow();
  if (!w) { box.replaceChildren(el("p", { class: "quiet" }, t("This point has no value yet."))); return; }
  try {
    const all = await Promise.all(picks.map((p) => get(`/series?site=${encodeURIComponent(p.site)}&point=${p.id}&from=${w.from}&to=${w.to}`)));
    if (mine !== asked) return;
    const several = new Set(picks.map((p) => p.site)).size > 1, name = (s) => (several ? `${s.site} ${s.path}` : s.path);
    const focus = document.activeElement && document.activeElement.dataset && document.activeElement.dataset.trend;
    // Points of one unit share a chart; one alone shows its range too.
    const units = [...new Set(all.map((s) => s.unit))];
    const charts = units.map((unit) => {
      const of = all.filter((s) => s.unit === unit);
      const lines = of.flatMap((s) => {
        const at = s.rows.map((r) => r.at), mean = { name: all.length === 1 ? t("mean") : name(s), cls: COLOURS[all.indexOf(s)], at, v: s.rows.map((r) => r.mean) };
        return all.length > 1 ? [mean] : [{ name: t("max"), cls: "grey dot", at, v: s.rows.map((r) => r.max) }, { name: t("min"), cls: "grey dot", at, v: s.rows.map((r) => r.min) }, mean];
      });
      const marks = of.flatMap((s) => s.rows.filter((r) => r.quality !== "good").map((r) => ({ at: r.at, text: `${stamp(r.at)} ${name(s)}: ${r.quality}` })));
      return chart({ title: of.length === 1 ? name(of[0]) : t("{0} points", of.length), unit: unit || t("as sent"), wide: true, height: 240, lines, marks, onzoom: zoom });
    });
    box.replaceChildren(...charts, ...all.map((s) => el("p", { class: "quiet" }, told(s, name(s)))), tools(w, all));
    if (focus) { const again = box.querySelector(`[data-trend="${focus}"]`); if (again) again.focus(); }
  } catch (why) { if (mine === asked) box.replaceChildren(el("p", { class: "error" }, why.message), tools(w, [])); }
}
// How fine it is, and which marks there are.
function told(s, name) {
  const marks = new Map();
  for (const r of s.rows) if (r.quality !== "good") for (const m of r.quality.split(", ")) marks.set(m, (marks.get(m) || 0) + 1);
  const list = [...marks].map(([m, n]) => `${t(m)} ${n}`).join(", ");
  return `${name}: ${t("{0} buckets of {1}", s.rows.length, age(s.step_s))}; ${list ? `▲ ${t("marked")}: ${list}` : t("all good")}`;
}
function tools(w, all) {
  const span = w.to - w.from, b = (key, words, act, off) => el("button", { type: "button", "data-trend": key, disabled: off, onclick: act }, t(words));
  return el("div", { class: "buttons", role: "group", "aria-label": t("Time shown") },
    b("earlier", "Earlier", () => zoom(w.from - span / 2, w.to - span / 2)), b("later", "Later", () => zoom(w.from + span / 2, w.to + span / 2)),
    b("in", "Zoom in", () => zoom(w.from + span / 4, w.to - span / 4)), b("out", "Zoom out", () => zoom(w.from - span / 2, w.to + span / 2)),
    b("newest", "Newest", () => { zoomed = null; trend(); }, !zoomed), b("csv", "Download CSV", () => save(all), !all.length),
    el("p", { class: "quiet" }, `${stamp(w.from)} – ${stamp(w.to)} UTC. ${t("Drag over a chart to zoom.")}`));
}
// A spreadsheet takes no text for a formula.
const cell = (text) => `"${String(text).replace(/^[=+\-@\t\r]/, "'$&").replaceAll('"', '""')}"`;
function save(all) {
  const row = (s) => (r) => [iso(r.at), cell(s.site), cell(s.path), cell(s.unit), r.mean ?? "", r.min ?? "", r.max ?? "", r.count, cell(r.quality)].join(",");
  const csv = ["at,site,point,unit,mean,min,max,count,quality", ...all.flatMap((s) => s.rows.map(row(s)))].join("\n") + "\n";
  const url = URL.createObjectURL(new Blob([csv], { type: "text/csv" })), name = all.length === 1 ? `${all[0].site}-${all[0].path}` : `${all[0].site}-${all.length}-points`;
  el("a", { href: url, download: `${name.replace(/[^A-Za-z0-9._-]+/g, "_")}.csv` }).click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}
$("search").addEventListener("submit", (e) => { e.preventDefault(); search(); });
$("t-site").addEventListener("change", search);
$("t-hours").addEventListener("change", () => { zoomed = null; trend(); });

// The built-in page: what it shows of each site and how it keeps up. Reads /api/v1, keeps no state but the operator's name and language.
// Beside it: words.js (languages), draw.js (elements, numbers, charts), plant.js (schematic, heat map, settings), trend.js (any point's history),
// reports.js (reports made and ordered).
"use strict";

let sites = [], overviews = {}, topologies = {}, recommendations = {}, hints = {}, forecasts = {}, lastHeard = 0, wasGone = false, fetching = false;

// ---- one site ----------------------------------------------------------------------------------------------------
const figureBox = (name, value, unit, sub) => el("div", {}, el("dt", {}, name), el("dd", {}, value, " ", el("small", {}, unit), el("span", { class: "sub" }, sub || "")));
const modeClass = (m) => (["auto", "advise"].includes(m) ? "ok" : m === "fail-safe" ? "bad" : m === "guarded" ? "warn" : "");
function difference(now, base, unit, digits) {
  return known(now) && known(base) && base !== 0 ? t("{0} % against baseline {1} {2}", num(((now - base) / base) * 100, 1), num(base, digits), unit) : t("no baseline known");
}
function siteHead(s) {
  const up = s.link.state === "up";
  return el("div", { class: "head" },
    el("div", {}, el("h2", {}, s.name), el("p", { class: "quiet" }, [s.id, s.label].filter(Boolean).join(" · ")), s.mode_why && el("p", { class: "quiet" }, `${s.mode}: ${s.mode_why}`), s.link.state !== "up" && el("p", { class: "quiet" }, `${t("Link")}: ${s.link.why} (${s.broker})`), s.held && el("p", { class: "quiet" }, `${t("Held")}: ${s.held}`)),
    el("div", { class: "chips" },
      el("span", { class: "chip " + modeClass(s.mode), title: s.mode_why }, `${t("Mode")}: ${t(s.mode)}${s.held ? `, ${t("held")}` : ""}`),
      el("span", { class: "chip " + (up ? "ok" : "bad"), title: s.link.why }, `${up ? "●" : "✕"} ${t("Link")} ${t(s.link.state)}`),
      el("span", { class: "chip" + (s.clock_age_s > 60 ? " warn" : "") }, known(s.clock) ? `${stamp(s.clock)} UTC` + (s.clock_age_s > 60 ? `, ${t("{0} old", age(s.clock_age_s))}` : "") : t("no clock yet"))));
}
function siteFigures(s) {
  return el("dl", { class: "figures live" },
    figureBox(t("IT power"), num(s.it_kw, 0), "kW", known(s.gpus_allocated) ? t("{0} GPUs allocated", num(s.gpus_allocated, 0)) : ""),
    figureBox(t("Cooling power"), num(s.cooling_kw, 0), "kW", difference(s.cooling_kw, s.baseline_cooling_kw, "kW", 0)),
    figureBox("PUE", num(s.pue_now, 3), "", t("now")),
    figureBox(t("Energy now"), num(s.kwh_per_gpu_hour_now, 3), "kWh/GPU-h"),
    figureBox(t("Energy today"), num(s.kwh_per_gpu_hour_today, 3), "kWh/GPU-h", difference(s.kwh_per_gpu_hour_today, s.baseline_kwh_per_gpu_hour_today, "", 3)),
    figureBox(t("Readings in"), num(s.readings_in, 0), "", t("{0} refused · {1} points", num(s.readings_refused, 0), num(s.points, 0))));
}
function siteRecommendation(s) {
  const box = el("section", { class: "rec", "aria-label": t("Recommendation for {0}", s.name) });
  const r = (recommendations[s.id] || []).find((x) => x.id === s.recommendation) || (recommendations[s.id] || [])[0];
  if (!r) box.append(el("h3", {}, t("Recommendation")), el("p", {}, t(recommendations[s.id] ? "None yet." : "Loading.")));
  else {
    const e = r.expects, parts = [];
    if (r.items.length) parts.push(t("Expected over {0} h: saves {1} ± {2} kWh against the fixed setpoints, {3} kWh against holding", num(e.horizon_h, 1), num(e.saves_vs_fixed_kwh, 0), num(e.plus_minus_kwh, 0), num(e.saves_vs_hold_kwh, 0)));
    if (known(e.least_margin)) parts.push(t("least margin {0} to {1}", `${num(e.least_margin, 1)} ${e.least_margin_unit}`.trim(), e.least_margin_limit));
    if (!e.feasible) parts.push(t("no plan keeps every limit with its margin: this is the least violating way"));
    box.append(el("h3", {}, t("Recommendation · {0} · made {1}, valid until {2}", t(r.state.replace("_", " ")), clock(r.made_at), clock(r.valid_until))), el("p", {}, r.explanation));
    if (parts.length) box.append(el("p", {}, el("strong", {}, parts.join("; ") + ".")));
    if (r.items.length) box.append(el("div", { class: "scroll" }, el("table", {}, el("thead", {}, el("tr", {}, ["Setpoint", "From", "Asked now", "Target", "Reason"].map((h, i) => el("th", { scope: "col", class: i > 0 && i < 4 ? "n" : "" }, t(h))))),
      el("tbody", {}, r.items.map((i) => el("tr", {}, el("td", {}, i.name), [i.from, i.asked, i.target].map((v) => el("td", { class: "n" }, `${auto(v)} ${i.unit}`)), el("td", {}, i.reason)))))));
    if (r.withheld.length) box.append(el("div", { class: "scroll" }, el("table", {}, el("caption", {}, t("Withheld by the checker")),
      el("tbody", {}, r.withheld.map((w) => el("tr", {}, el("td", {}, w.name || w.actuator), el("td", { class: "n" }, `${auto(w.asked)} ${w.unit}`), el("td", {}, w.reason)))))));
  }
  const act = (title, what, path, body) => () => ask(title, what, path, body);
  box.append(el("div", { class: "buttons" },
    r && el("button", { class: "primary", type: "button", disabled: !r.can_approve, "data-key": s.id + "approve", onclick: act("Approve", t("Send recommendation {0} to {1}.", r.id, s.name), `/recommendations/${encodeURIComponent(r.id)}/approve`, {}) }, t("Approve")),
    el("button", { type: "button", "data-key": s.id + "hold", onclick: s.held
      ? act("Release the hold", `${s.name}: ${t("setpoints may move again.")}`, `/sites/${s.id}/hold`, { hold: false })
      : act("Hold", `${s.name}: ${t("keep the setpoints as they are until released.")}`, `/sites/${s.id}/hold`, { hold: true }) }, t(s.held ? "Release hold" : "Hold setpoints")),
    pinButton(s),
    s.mode === "auto" || s.mode === "guarded"
      ? el("button", { type: "button", "data-key": s.id + "mode", onclick: act("Leave auto", `${s.name}: ${t("hand back to the operators' setpoints at once and stay in shadow.")}`, `/sites/${s.id}/mode`, { mode: "leave" }) }, t("Leave auto"))
      : el("button", { type: "button", "data-key": s.id + "mode", onclick: act("Enter auto", `${s.name}: ${t("requests go out by themselves inside the guardrails.")}`, `/sites/${s.id}/mode`, { mode: "auto" }) }, t("Enter auto"))));
  if (s.loops.length > 1) box.append(loopOrders(s));
  const past = (recommendations[s.id] || []).filter((x) => x !== r && x.items.length).slice(0, 8);
  if (past.length) box.append(el("details", { "data-key": s.id + "past" }, el("summary", {}, t("Recommendations before")), el("div", { class: "scroll" }, el("table", {},
    el("thead", {}, el("tr", {}, ["Made", "State", "Setpoints", "Expected, kWh"].map((h, i) => el("th", { scope: "col", class: i === 3 ? "n" : "" }, t(h))))),
    el("tbody", {}, past.map((x) => el("tr", {}, el("td", {}, clock(x.made_at)), el("td", {}, t(x.state.replace("_", " "))), el("td", {}, x.items.map((i) => `${i.name} ${auto(i.from)} → ${auto(i.target)} ${i.unit}`).join("; ")),
      el("td", { class: "n" }, `${num(x.expects.saves_vs_fixed_kwh, 0)} ± ${num(x.expects.plus_minus_kwh, 0)}`))))))));
  return box;
}
// What may be done with each loop by itself.
function loopOrders(s) {
  const mode = (l, m) => ask("Mode of a loop", `${s.name}, ${l.name}: ${t(m)}.`, `/sites/${s.id}/mode`, { mode: m, loop: l.id });
  return el("details", { "data-key": s.id + "loops" }, el("summary", {}, t("Loop by loop")), el("div", { class: "scroll" }, el("table", {},
    el("thead", {}, el("tr", {}, ["Loop", "Mode", "Held", "Order"].map((h) => el("th", { scope: "col" }, t(h))))),
    el("tbody", {}, s.loops.map((l) => el("tr", {}, el("td", {}, l.name), el("td", {}, t(l.mode)), el("td", {}, l.held || "–"), el("td", {}, el("div", { class: "buttons" },
      ["shadow", "advise", "auto"].filter((m) => m !== l.mode).map((m) => el("button", { type: "button", "data-key": s.id + l.id + m, onclick: () => mode(l, m) }, t(m))),
      el("button", { type: "button", "data-key": s.id + l.id + "hold", onclick: () => ask(l.held ? "Release the hold" : "Hold", `${s.name}, ${l.name}`, `/sites/${s.id}/hold`, { hold: !l.held, loop: l.id }) }, t(l.held ? "Release hold" : "Hold setpoints"))))))))));
}
function pinButton(s) {
  const o = overviews[s.id];
  if (!o || !o.actuators.length) return null;
  return el("button", { type: "button", "data-key": s.id + "pin", onclick: () => {
    const box = el("select", { id: "act-actuator" }, o.actuators.map((a) => el("option", { value: a.id }, `${a.name} (${auto(a.lo)}–${auto(a.hi)} ${a.unit})`)));
    const value = el("input", { id: "act-value", type: "number", step: "any" });
    ask("Pin a setpoint", `${s.name}: ${t("keep it at a value until released; an empty value releases it.")}`, `/sites/${s.id}/pin`,
      () => ({ actuator: box.value, value: value.value === "" ? null : Number(value.value) }), el("label", {}, t("Setpoint"), box), el("label", {}, t("Value"), value));
  } }, t("Pin a setpoint"));
}
function siteCharts(s) {
  const o = overviews[s.id], box = el("div", { class: "charts live" });
  if (!o) return el("p", { class: "quiet" }, t("Charts are loading."));
  const f = o.forecast, at = o.at, fl = f ? [{ name: t("forecast (p50, band p10–p90)"), cls: "blue dash", at: f.at, v: f.p50 }] : [];
  const fallback = f && f.fallback ? el("p", { class: "quiet" }, t("Forecast fell back to {0}: {1}", f.model, f.fallback)) : null;
  const load = chart({ title: t("Thermal load"), unit: "kW", wide: true, now: o.now, band: f, height: 170, lines: [{ name: t("measured"), cls: "blue", at, v: o.load_kw }, ...fl] });
  if (fallback) load.append(fallback);
  box.append(load);
  box.append(chart({ title: t("Cooling power"), unit: "kW", now: o.now, zero: true, lines: [{ name: t("baseline"), cls: "grey dash", at, v: o.baseline_cooling_kw }, { name: t("measured"), cls: "green", at, v: o.cooling_kw }] }));
  box.append(chart({ title: t("Energy"), unit: t("kWh per GPU-hour"), now: o.now, lines: [{ name: t("measured"), cls: "purple", at, v: o.kwh_per_gpu_hour }] }));
  for (const l of o.loops.length > 1 ? o.loops : []) {
    const fan = loopFan(s, l);
    if (fan) box.append(chart({ title: `${l.name}: ${t("Thermal load")}`, unit: "kW", now: o.now, band: fan, lines: [{ name: t("measured"), cls: "blue", at, v: l.load_kw }, { name: t("forecast (p50, band p10–p90)"), cls: "blue dash", at: fan.at, v: fan.p50 }] }));
  }
  for (const l of o.loops) {
    const limits = o.limits.filter((m) => m.loop === l.id);
    box.append(chart({ title: l.name, unit: "°C", now: o.now, lines: [{ name: t("supply"), cls: "blue", at, v: l.supply_c }, { name: t("return"), cls: "orange", at, v: l.return_c },
      ...limits.flatMap((m) => [{ name: t("highest supply"), cls: "limit", at, v: m.max }, { name: t("lowest supply"), cls: "limit", at, v: m.min }])] }));
  }
  for (const a of o.actuators) box.append(chart({ title: `${a.name}${known(a.pinned) ? ` (${t("pinned {0}", auto(a.pinned))})` : ""}`, unit: a.unit, now: o.now, lines: [
    { name: t("measured"), cls: "grey", at, v: a.measured }, { name: t("in force"), cls: "blue", at, v: a.in_force, step: true }, { name: t("asked"), cls: "orange dash", at, v: a.asked, step: true }] }));
  for (const m of o.limits.filter((m) => !m.loop)) box.append(chart({ title: m.name, unit: m.unit, now: o.now, lines: [
    { name: t("measured"), cls: "blue", at, v: m.value }, { name: t("limit"), cls: "limit", at, v: m.max }, { name: t("limit"), cls: "limit", at, v: m.min, noKey: m.max.some(known) }] }));
  return box;
}
// What is forecast for one loop, in order of time; null where nothing is.
function loopFan(s, l) {
  const rows = (forecasts[s.id] || []).filter((r) => r.loop === l.id).sort((a, b) => a.at - b.at);
  return rows.length > 1 ? { at: rows.map((r) => r.at), p10: rows.map((r) => r.p10_kw), p50: rows.map((r) => r.p50_kw), p90: rows.map((r) => r.p90_kw) } : null;
}
function siteAlarms(s) {
  const worst = { critical: 0, warning: 1, notice: 2 };
  return s.alarms.length ? el("ul", { class: "alarms", "aria-label": t("Alarms") }, [...s.alarms].sort((a, b) => worst[a.severity] - worst[b.severity]).map((a) =>
    el("li", { class: a.severity }, el("strong", {}, `${t(capital(a.severity))}: ${a.text}.`), `${known(a.since) ? ` ${t("Since {0}.", clock(a.since))} ` : " "}${capital(a.action).replace(/\.$/, "")}. ${a.acknowledged_by ? t("Seen by {0}.", a.acknowledged_by) : ""} `,
      a.acknowledged_by ? null : el("button", { type: "button", class: "link", "data-key": s.id + a.id, onclick: () => ask("Acknowledge", `${s.name}: ${a.text}.`, `/sites/${s.id}/alarms/${encodeURIComponent(a.id)}/acknowledge`, {}) }, t("Acknowledge"))))) : null;
}

// ---- drawing -----------------------------------------------------------------------------------------------------
let drawn = {};
// Draws anew what holds details, and leaves those open that were.
function keepOpen(box, redraw) {
  const open = [...box.querySelectorAll("details[open][data-key]")].map((d) => d.dataset.key);
  redraw();
  for (const d of box.querySelectorAll("details[data-key]")) if (open.includes(d.dataset.key)) d.open = true;
}
function draw() {
  drawOverall();
  const root = $("sites"), focus = document.activeElement && document.activeElement.dataset && document.activeElement.dataset.key;
  for (const s of sites) {
    let parts = drawn[s.id];
    if (!parts) {
      const box = el("article", { class: "site", "aria-label": s.name });
      parts = drawn[s.id] = { box, head: el("div"), alarms: el("div"), figures: el("div"), plant: el("div"), rec: el("div"), charts: el("div"), shown: null, drawnPlant: null };
      box.append(parts.head, parts.alarms, parts.figures, parts.rec, parts.plant, parts.charts);
      root.append(box);
    }
    parts.box.classList.toggle("stale", s.link.state !== "up" || s.clock_age_s > 300);
    parts.head.replaceChildren(siteHead(s));
    const alarms = siteAlarms(s);
    parts.alarms.hidden = !alarms;
    parts.alarms.replaceChildren(...(alarms ? [alarms] : []));
    parts.figures.replaceChildren(siteFigures(s));
    keepOpen(parts.rec, () => parts.rec.replaceChildren(siteRecommendation(s)));
    if (parts.drawnPlant !== topologies[s.id] && !parts.plant.matches(":hover, :focus-within")) {
      keepOpen(parts.plant, () => parts.plant.replaceChildren(schematic(s, topologies[s.id], overviews[s.id])));
      parts.drawnPlant = topologies[s.id];
    }
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
  if (wasGone) return set("bad", "✕", t("Service gone"), t("What is shown below is old."));
  if ($("login").open) return set("unknown", "○", t("Signed out"), t("Sign in to see the plant."));
  if (!sites.length) return set("unknown", "○", t("No sites"), t("The configuration names none."));
  const alarms = sites.flatMap((s) => s.alarms.map((a) => ({ ...a, site: s.name })));
  const bad = sites.filter((s) => s.link.state === "down" || s.mode === "fail-safe"), critical = alarms.filter((a) => a.severity === "critical");
  if (bad.length || critical.length) return set("bad", "✕", t("Act now"), bad.map((s) => `${s.name}: ${t(s.link.state === "down" ? "link down" : "fail-safe")}`).concat(critical.map((a) => `${a.site}: ${a.text}`)).slice(0, 2).join(" · "));
  const warning = alarms.filter((a) => a.severity === "warning"), slow = sites.filter((s) => s.link.state !== "up" || s.mode === "guarded" || s.clock_age_s > 300);
  if (warning.length || slow.length) return set("warn", "▲", t("Needs a look"), warning.map((a) => `${a.site}: ${a.text}`).concat(slow.map((s) => `${s.name}: ${s.link.state !== "up" ? `${t("Link")} ${t(s.link.state)}` : t(s.mode === "guarded" ? "guarded" : "clock stands still")}`)).slice(0, 2).join(" · "));
  set("ok", "●", t("All well"), t(sites.length === 1 ? "{0} site connected" : "{0} sites connected", sites.length));
}
function drawHints() {
  keepOpen($("hints"), () => $("hints").replaceChildren(...sites.map((s) => {
    const h = hints[s.id];
    if (!h || h.error) return el("div", {}, el("h3", {}, s.name), el("p", { class: "quiet" }, h ? h.error : t("Loading.")));
    return heatMap(s, h);
  })));
}
function drawDemo(d) {
  const names = Object.entries(d.sites || {}).concat(d.total ? [["total", d.total]] : []), arms = ["baseline", "recommended", "optimum"];
  const columns = [["it_kwh", t("IT kWh"), 0], ["cooling_kwh", t("Cooling kWh"), 0], ["loss_kwh", t("Losses kWh"), 0], ["gpu_hours", t("GPU-hours"), 0], ["kwh_per_gpu_hour", "kWh/GPU-h", 4], ["pue", "PUE", 4], ["minutes_beyond_limit", t("Beyond a limit, min"), 0]];
  const rows = names.flatMap(([name, arm]) => arms.filter((a) => arm && arm[a]).map((a) => el("tr", {}, el("td", {}, t(name)), el("td", {}, t(a)), columns.map(([k, , n]) => el("td", { class: "n" }, num(arm[a][k], n))))));
  $("demo").hidden = !rows.length;
  $("demo").querySelector(".scroll").replaceChildren(el("table", {}, el("thead", {}, el("tr", {}, el("th", { scope: "col" }, t("Site")), el("th", { scope: "col" }, t("Setpoints")), columns.map(([, h]) => el("th", { scope: "col", class: "n" }, h)))), el("tbody", {}, rows)));
}

// ---- acts --------------------------------------------------------------------------------------------------------
let pending = null, heardOf = null;
// `body` is what is sent, or a function that says it; `fields` are asked besides who and why. `heardOf` hears the answer, once.
function ask(title, what, path, body, ...fields) {
  heardOf = null;
  pending = { path, body };
  $("act-fields").replaceChildren(...fields);
  $("act-h").textContent = t(title); $("act-what").textContent = what; $("act-error").textContent = ""; $("act-why").value = "";
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
    const answer = await fetch(api(pending.path), { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ ...(typeof pending.body === "function" ? pending.body() : pending.body), who, why: $("act-why").value.trim() }), signal: AbortSignal.timeout(15000) });
    const body = await answer.json();
    if (!answer.ok) throw new Error(`${body.detail}; ${body.mend}`);
    $("act").close();
    if (heardOf) heardOf(body);
    refresh(true);
  } catch (why) { $("act-error").textContent = `${t("Not done")}: ${why.message}`; }
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
let cleared = false;
async function signIn() {
  if ($("login").open) return;
  if (!cleared) {
    // An old token goes first: a client certificate or a proxy's user may be enough without it.
    cleared = true;
    try { await present(""); await get("/session"); return location.reload(); } catch { /* somebody has to say who it is */ }
  }
  $("login").showModal();
}
async function present(token) {
  const answer = await fetch(api("/session"), { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ token }), signal: AbortSignal.timeout(15000) });
  if (!answer.ok) { const body = await answer.json(); throw new Error(`${body.detail}; ${body.mend}`); }
}
$("login").addEventListener("cancel", (e) => e.preventDefault());
$("login").querySelector("form").addEventListener("submit", async (e) => {
  e.preventDefault();
  try { await present($("login-token").value.trim()); location.reload(); } catch (why) { $("login-error").textContent = `${t("Not let in")}: ${why.message}`; }
  $("login-token").value = "";
});
$("sign-out").addEventListener("click", async () => { await present(""); location.reload(); });

// ---- what was done ------------------------------------------------------------------------------------------------
function orderText(act) {
  if (act.approve) return `approved ${act.approve}`;
  if (act.report) return `report ${act.pack} ${act.period} ${act.lang}, ${act.site || "group"}`;
  const { order = "", ...rest } = typeof act === "object" ? act : { order: act };
  return [String(order).replaceAll("_", " "), ...Object.entries(rest).map(([k, v]) => `${k} ${typeof v === "object" ? JSON.stringify(v) : v}`)].join(" ").trim();
}
function drawActs(list) {
  const rows = list.map((e) => el("tr", {}, el("td", {}, stamp(e.at)), el("td", {}, e.site), el("td", {}, e.who), el("td", {}, orderText(e.act)), el("td", {}, e.why)));
  $("acts").replaceChildren(rows.length
    ? el("table", {}, el("thead", {}, el("tr", {}, ...["When", "Site", "Who", "What", "Why"].map((h) => el("th", { scope: "col" }, t(h))))), el("tbody", {}, rows))
    : el("p", { class: "quiet" }, t("Nothing yet.")));
}

// ---- keeping up --------------------------------------------------------------------------------------------------
$("hours").addEventListener("change", () => refresh(true));
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
  loadReports();
  await Promise.all(sites.map(async (s) => {
    const id = encodeURIComponent(s.id);
    const [o, r, h, p, f] = await Promise.allSettled([get(`/sites/${id}/overview?hours=${$("hours").value}`), get(`/recommendations?site=${id}&limit=12`), get(`/placement/hints?site=${id}`), get(`/sites/${id}/topology`), get(`/forecasts?site=${id}`)]);
    if (o.status === "fulfilled") overviews[s.id] = o.value;
    if (r.status === "fulfilled") recommendations[s.id] = r.value;
    if (p.status === "fulfilled") topologies[s.id] = p.value;
    if (f.status === "fulfilled") forecasts[s.id] = f.value;
    hints[s.id] = h.status === "fulfilled" ? h.value : { error: h.reason.message };
  }));
  try { drawActs(await get("/audit?limit=20")); } catch { /* shown again with the next change */ }
  try { drawDemo((await get("/demo")) || {}); } catch { /* shown with the next refresh */ }
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
  $("gone").textContent = t(lastHeard ? "The service does not answer since {0}. This page tries again by itself; the plant keeps its own control." : "The service does not answer. This page tries again by itself; the plant keeps its own control.", new Date(lastHeard).toLocaleTimeString(LOCALE));
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
speak();
session();
poll().then(() => refresh(true));
listen();
// The stream answers at least every 15 s; beyond that, ask.
setInterval(() => { if (wasGone || Date.now() - lastHeard > 18000) poll(); }, 3000);

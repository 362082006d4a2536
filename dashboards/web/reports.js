// Reports: ordered here, made by the service one at a time, and their files to download.
// Words: a "period" is sent as a year or as A..B with B not part of it; people choose and read the last day instead.
"use strict";

const DAY = 86400000;
let reports = null, reportsShown = "", reportsTimer = 0, ordered = null;

const size = (bytes) => (bytes < 1000 ? `${num(bytes, 0)} B` : bytes < 1e6 ? `${num(bytes / 1e3, 0)} kB` : `${num(bytes / 1e6, 1)} MB`);
const underWay = (r) => r.state === "waiting" || r.state === "making";
const packTitle = (id) => { const p = reports.packs.find((p) => p.id === id); return p ? p.title[LANGUAGE] || p.title.en : id; };
const languageName = (code) => ({ en: "English", es: "Español", ca: "Català" })[code] || code;
// Dates with their last day; instants as they are.
function periodText(period) {
  const days = period.match(/^(\d{4}-\d\d-\d\d)\.\.(\d{4}-\d\d-\d\d)$/);
  if (!days) return period.replace("..", " – ");
  const last = iso(Date.parse(days[2]) - DAY).slice(0, 10);
  return last === days[1] ? last : `${days[1]} – ${last}`;
}
const FILES = { "report.pdf": "PDF", "report.xlsx": "Spreadsheet", "report.html": "Page", "report.json": "JSON" };
function fileLink(r, f, words) {
  return el("a", { href: api(`/reports/${encodeURIComponent(r.id)}/files/${encodeURIComponent(f.name)}`), download: "", class: "file", "data-key": r.id + f.name }, words, " ", el("small", {}, size(f.bytes)));
}
function reportFiles(r) {
  const main = r.files.filter((f) => FILES[f.name]), rest = r.files.filter((f) => !FILES[f.name]);
  return [el("div", { class: "files" }, main.map((f) => fileLink(r, f, t(FILES[f.name])))),
    rest.length ? el("details", { "data-key": `${r.id}rest` }, el("summary", { "data-key": `${r.id}sum` }, t("{0} more files", rest.length)), el("div", { class: "files" }, rest.map((f) => fileLink(r, f, f.name)))) : null];
}
function reportState(r) {
  if (r.state === "made") return [el("div", {}, t("Made {0}", stamp(r.made_at))), el("div", { class: "quiet" }, t("for {0}", r.ordered_by)),
    r.missing ? el("div", { class: "quiet" }, t("figures missing: {0} of {1}", r.missing, r.figures)) : null,
    r.changes ? el("div", { class: "quiet" }, t("figures changed since version {0}: {1}", r.version - 1, r.changes)) : null];
  if (r.state === "failed") return [el("div", { class: "error" }, `${t("Not made")}: ${r.why_not}`), el("div", { class: "quiet" }, `${stamp(r.ordered_at)} ${t("for {0}", r.ordered_by)}`)];
  return [r.state === "waiting" ? el("div", {}, t("Waits for its turn")) : [el("progress", { max: "1", value: String(r.done), "aria-label": t("How far the report is") }), el("div", { class: "quiet" }, r.step)],
    el("div", { class: "quiet" }, t("for {0}", r.ordered_by))];
}
function drawReports() {
  const text = JSON.stringify(reports);
  if (text === reportsShown) return;
  reportsShown = text;
  const box = $("reports"), focus = box.contains(document.activeElement) && document.activeElement.dataset.key;
  const item = (r) => el("li", { "data-pack": r.pack, class: r.state },
    el("div", {}, el("strong", {}, packTitle(r.pack)), el("div", {}, `${periodText(r.period)} · ${r.sites.join(", ")}`), el("div", { class: "quiet" }, [r.pack, languageName(r.lang), r.state === "made" && t("version {0}", r.version)].filter(Boolean).join(" · "))),
    el("div", {}, reportState(r)), el("div", {}, r.state === "made" ? reportFiles(r) : null));
  keepOpen(box, () => box.replaceChildren(reports.reports.length ? el("ul", { class: "reports", "aria-label": t("Reports") }, reports.reports.map(item)) : el("p", { class: "quiet" }, t("No report has been made here yet."))));
  if (focus) { const again = box.querySelector(`[data-key="${CSS.escape(focus)}"]`); if (again) again.focus(); }
}
// What the form offers: filled once packs and sites are known, kept as it was chosen.
function fillOrder() {
  const pack = $("r-pack"), site = $("r-site"), period = $("r-period");
  if (pack.options.length !== reports.packs.length) pack.replaceChildren(...reports.packs.map((p) => el("option", { value: p.id }, packTitle(p.id))));
  if (site.options.length !== sites.length + 1) site.replaceChildren(el("option", { value: "" }, t("All sites as a group")), ...sites.map((s) => el("option", { value: s.id }, s.name)));
  if (!period.options.length && sites.length) {
    const year = new Date(Math.max(...sites.map((s) => s.clock || Date.now()))).getUTCFullYear();
    period.replaceChildren(el("option", { value: String(year) }, t("{0} so far", year)), ...[1, 2].map((n) => el("option", { value: String(year - n) }, String(year - n))), el("option", { value: "" }, t("Other dates")));
    $("r-lang").value = LANGUAGE;
  }
}
async function loadReports() {
  clearTimeout(reportsTimer);
  try {
    reports = await get("/reports?limit=200");
    fillOrder();
    drawReports();
    const mine = ordered && reports.reports.find((r) => r.id === ordered);
    if (mine && !underWay(mine)) {
      $("r-said").textContent = mine.state === "made" ? t("{0}, {1}, is made.", packTitle(mine.pack), periodText(mine.period)) : `${t("Not made")}: ${mine.why_not}`;
      ordered = null;
    }
  } catch { /* shown with the next refresh */ }
  if (reports && reports.reports.some(underWay)) reportsTimer = setTimeout(loadReports, 1000);
}
function orderedPeriod() {
  if ($("r-period").value) return $("r-period").value;
  const first = $("r-first").value, last = $("r-last").value;
  return `${first}..${iso(Date.parse(last) + DAY).slice(0, 10)}`;
}
$("r-period").addEventListener("change", () => {
  const own = !$("r-period").value;
  for (const id of ["r-first", "r-last"]) { $(id).closest("label").hidden = !own; $(id).required = own; }
  if (own) $("r-first").focus();
});
$("order").addEventListener("submit", (e) => {
  e.preventDefault();
  const last = $("r-last"), body = { pack: $("r-pack").value, period: orderedPeriod(), lang: $("r-lang").value };
  last.setCustomValidity(!$("r-period").value && last.value < $("r-first").value ? t("The last day is before the first.") : "");
  if (!last.reportValidity()) return;
  if ($("r-site").value) body.site = $("r-site").value;
  const where = $("r-site").selectedOptions[0].textContent;
  ask("Make a report", `${packTitle(body.pack)}: ${periodText(body.period)}, ${where}, ${languageName(body.lang)}.`, "/reports", body);
  heardOf = (report) => { ordered = report.id; $("r-said").textContent = t("Ordered; it appears below when it is made."); loadReports(); };
});
for (const id of ["r-first", "r-last"]) $(id).addEventListener("input", () => $("r-last").setCustomValidity(""));

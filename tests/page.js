// What tests/page has a browser do; see there. Arguments: address of the service, folder for pictures or "".
// Says `ASK …` where the launcher must act, and reads a line back.
"use strict";
const { chromium } = require("playwright-core");
const axeSource = require("axe-core").source;
const readline = require("readline");

const [, , address, shots] = process.argv;
const answers = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const ask = async (what) => { console.log("ASK " + what); return (await answers.next()).value; };
let failed = 0;
function check(what, ok, more) {
  console.log(`${ok ? "ok    " : "FAILED"} ${what}${ok || !more ? "" : ": " + more}`);
  if (!ok) failed++;
}

const nextDay = (day) => new Date(Date.parse(day) + 86400000).toISOString().slice(0, 10);

(async () => {
  const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"] });
  const open = async (options) => {
    const page = await (await browser.newContext({ viewport: { width: 1600, height: 1200 }, locale: "en-GB", ...options })).newPage();
    page.errors = [];
    // Hints past their time limit are a 503 by design: here two sites have no plant.
    page.on("console", (m) => { if (m.type() === "error" && !/^Failed to load/.test(m.text())) page.errors.push(m.text()); });
    page.on("response", (r) => { if (r.status() >= 400 && !r.url().includes("/placement/hints")) page.errors.push(`${r.status()} ${r.url()}`); });
    page.on("pageerror", (e) => page.errors.push(e.message));
    await page.goto(address);
    await page.waitForSelector("article.site svg.chart");
    await page.waitForSelector("article.site svg.plant");
    return page;
  };
  const picture = async (page, name) => { if (shots) await page.screenshot({ path: `${shots}/${name}.png` }); };
  // A policy without inline scripts keeps axe out of the page; it is put in by the debugger instead.
  const axe = async (page, what) => {
    await page.evaluate(axeSource);
    const found = await page.evaluate(() => axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"] }));
    const told = found.violations.map((v) => `${v.id} (${v.nodes.length}): ${v.nodes[0].html.slice(0, 120)}`).join("; ");
    check(`axe-core, ${what}: ${found.passes.length} rules hold`, !found.violations.length, told);
  };

  const page = await open({});
  const paint = await page.evaluate(() => performance.getEntriesByName("first-contentful-paint")[0].startTime);
  console.log(`first paint ${paint.toFixed(0)} ms`);
  await axe(page, "light");
  await picture(page, "overview-light");
  const dark = await open({ colorScheme: "dark" });
  await axe(dark, "dark");
  await picture(dark, "overview-dark");
  await dark.close();

  // Every view.
  const hq = page.locator('article.site[aria-label="BSC headquarters"]');
  for (const [key, what] of [["bsc-hqlimits", "limits and setpoints"], ["bsc-hqloops", "loop by loop"], ["bsc-hqpast", "recommendations before"], ["bsc-hqhints", "hints as a table"]]) {
    const details = page.locator(`details[data-key="${key}"]`);
    if (key === "bsc-hqpast" && !(await details.count())) continue;
    await details.locator("summary").click();
    check(`view: ${what}`, (await details.locator("tbody tr").count()) > 0);
    if (key !== "bsc-hqloops") await details.locator("summary").click();
  }
  check("view: schematic has racks and plant", (await hq.locator("svg.plant .rack").count()) === 16 && (await hq.locator("svg.plant .box").count()) > 5);
  check("view: heat map has every rack", (await page.locator("ul.heat").first().locator("li").count()) === 16);
  await page.fill("#t-q", "rack power t01");
  await page.click('#search button[type="submit"]');
  await page.waitForFunction(() => /^1 /.test(document.getElementById("t-count").textContent));
  await page.click("#t-list tbody button");
  await page.waitForSelector("#t-chart svg.chart");
  check("view: the trend of a point", true);
  const [download] = await Promise.all([page.waitForEvent("download"), page.click('[data-trend="csv"]')]);
  check("view: its CSV", download.suggestedFilename().endsWith(".csv"));
  await axe(page, "with views open");

  // Keyboard: the first stop skips to the sites, and what has the focus shows it.
  const fresh = await open({});
  await fresh.keyboard.press("Tab");
  check("keyboard: the first stop is the skip link", (await fresh.evaluate(() => document.activeElement.className)) === "skip");
  await fresh.close();

  // Approve: one click, a name, one click; then the request on MQTT, then what the plant says.
  const before = Number(await ask("request"));
  await hq.locator("button", { hasText: "Approve" }).click();
  await page.fill("#act-who", "A. Operator");
  await page.fill("#act-why", "test");
  await picture(page, "approve");
  await page.click("#act-yes");
  const closed = async (what) => {
    await page.waitForFunction(() => !document.getElementById("act").open || document.getElementById("act-error").textContent);
    check(`${what}: taken`, !(await page.evaluate(() => document.getElementById("act").open)), await page.textContent("#act-error"));
    if (await page.evaluate(() => document.getElementById("act").open)) await page.click("#act-no");
  };
  await closed("approve");
  let after = before;
  for (let i = 0; i < 100 && after <= before; i++) { await page.waitForTimeout(200); after = Number(await ask("request")); }
  check("approve: requests go out on MQTT", after > before, `${before} before, ${after} after`);
  await page.waitForFunction(() => [...document.querySelectorAll("#acts tbody tr")].some((r) => /approved/.test(r.textContent) && /A\. Operator/.test(r.textContent)), null, { timeout: 60000 });
  check("approve: it stands among what operators did", true);
  // Asked and in force meet on the same chart data that the page draws.
  await page.waitForFunction(async () => {
    const o = await (await fetch("/api/v1/sites/bsc-hq/overview?hours=1")).json();
    const last = (l) => l.filter((v) => v != null).pop();
    return o.actuators.some((a) => last(a.asked) != null && Math.abs(last(a.asked) - last(a.in_force)) < 0.051);
  }, null, { timeout: 60000, polling: 1000 });
  check("approve: the plant's read-back is shown", true);

  // A pin and an order to one loop.
  await hq.locator("button", { hasText: "Pin a setpoint" }).click();
  await page.fill("#act-value", "24");
  await page.click("#act-yes");
  await closed("pin");
  await page.locator('button[data-key="bsc-hqfwsshadow"]').click();
  await axe(page, "in a dialog");
  await page.click("#act-yes");
  await closed("loop");
  await page.waitForFunction(() => [...document.querySelectorAll('details[data-key="bsc-hqloops"] tbody tr')].some((r) => /Facility water/.test(r.textContent) && /shadow/.test(r.cells[1].textContent)), null, { timeout: 60000 });
  check("loop: one loop is in shadow", true);

  // A second point beside it, a closer look by key and by pointer, and both in one file.
  await page.fill("#t-q", "rack power");
  await page.click('#search button[type="submit"]');
  await page.waitForFunction(() => document.querySelectorAll("#t-list tbody tr").length > 2);
  await page.locator("#t-list tbody tr:not(.on) .compare").first().click();
  await page.waitForFunction(() => document.querySelectorAll("#t-chart path.l").length === 2);
  check("trend: two points in one chart", (await page.locator("#t-list tbody tr.on").count()) === 2 && (await page.locator("#t-chart svg.chart").count()) === 1);
  // The newest hour: the plant has not run for longer than some hours.
  await page.selectOption("#t-hours", "1");
  await page.waitForFunction(() => document.querySelectorAll("#t-chart path.l").length === 2 && document.querySelector('#t-chart [role="group"] p'));
  const shown = () => page.evaluate(() => [...document.querySelector('#t-chart [role="group"] p').textContent.matchAll(/(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d)/g)].slice(0, 2).map((m) => Date.parse(`${m[1]}T${m[2]}Z`)));
  const span = async () => { const [a, b] = await shown(); return b - a; };
  const narrower = async (than) => { await page.waitForFunction((was) => { const m = [...document.querySelector('#t-chart [role="group"] p').textContent.matchAll(/(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d)/g)].map((m) => Date.parse(`${m[1]}T${m[2]}Z`)); return m[1] - m[0] < was; }, than); return span(); };
  const whole = await narrower(2 * 3600e3);
  await page.focus('[data-trend="in"]');
  await page.keyboard.press("Enter");
  const half = await narrower(whole);
  check("trend: a key zooms in, and keeps the focus", Math.abs(half / whole - 0.5) < 0.02 && (await page.evaluate(() => document.activeElement.dataset.trend)) === "in", `${half / whole}`);
  // Back to the newest hour, which has values however short the plant has run.
  await page.click('[data-trend="newest"]');
  await page.waitForFunction(() => document.querySelector('[data-trend="newest"]').disabled && document.querySelectorAll("#t-chart path.l").length === 2);
  await page.locator("#t-chart svg.chart").scrollIntoViewIfNeeded();
  const frame = await page.locator("#t-chart svg.chart").boundingBox();
  await page.mouse.move(frame.x + frame.width * 0.4, frame.y + frame.height / 2);
  await page.mouse.down();
  await page.mouse.move(frame.x + frame.width * 0.6, frame.y + frame.height / 2, { steps: 4 });
  await page.mouse.up();
  const dragged = await narrower(0.9 * whole);
  check("trend: dragging over the chart zooms", dragged / whole < 0.3, `${dragged / whole}`);
  await page.click('[data-trend="newest"]');
  const [both] = await Promise.all([page.waitForEvent("download"), (async () => { await page.waitForFunction(() => document.querySelector('[data-trend="newest"]').disabled); await page.click('[data-trend="csv"]'); })()]);
  const text = require("fs").readFileSync(await both.path(), "utf8").trim().split("\n");
  check("trend: the CSV has both points", text[0] === "at,site,point,unit,mean,min,max,count,quality" && new Set(text.slice(1).map((l) => l.split(",")[2])).size === 2);
  check("trend: the quality is said", /good|▲/.test(await page.textContent("#t-chart")));
  check("view: a forecast fan of each loop", (await hq.locator(".charts polygon.band").count()) >= 3, String(await hq.locator(".charts polygon.band").count()));
  // A report: chosen, ordered with a name, waited for, downloaded.
  const today = await page.evaluate(async () => new Date((await (await fetch("/api/v1/sites")).json())[0].clock).toISOString().slice(0, 10));
  const reports = page.locator('section[aria-labelledby="reports-h"]');
  check("reports: none yet", /No report has been made/.test(await reports.textContent()));
  for (const label of ["Report", "Site", "Period", "Its language"]) check(`reports: a field is labelled ${label}`, (await reports.getByRole("combobox", { name: label, exact: true }).count()) === 1);
  const order = async (pack, language) => {
    await page.selectOption("#r-pack", pack);
    await page.selectOption("#r-site", "bsc-hq");
    await page.selectOption("#r-period", "");
    await page.fill("#r-first", today);
    await page.fill("#r-last", today);
    await page.selectOption("#r-lang", language);
    await page.focus('#order button[type="submit"]');
    await page.keyboard.press("Enter");
    await page.fill("#act-who", "A. Reporter");
    await page.click("#act-yes");
    await closed(`report ${pack}`);
    await page.waitForFunction((p) => [...document.querySelectorAll("#reports li")].some((r) => r.textContent.includes(p) && r.querySelector("a.file")), pack, { timeout: 60000 });
  };
  await page.selectOption("#r-period", "");
  check("reports: other dates ask for days", (await reports.getByLabel("First day").isVisible()) && (await page.evaluate(() => document.activeElement.id)) === "r-first");
  await page.fill("#r-first", today);
  await page.fill("#r-last", "2020-01-01");
  await page.click('#order button[type="submit"]');
  check("reports: a last day before the first is refused", !(await page.evaluate(() => document.getElementById("act").open || document.getElementById("r-last").validity.valid)));
  await order("eu-2024-1364", "ca");
  await page.waitForFunction(() => /is made\.$/.test(document.getElementById("r-said").textContent));
  check("reports: the page says that it is made", true);
  const row = page.locator("#reports li", { hasText: "eu-2024-1364" });
  check("reports: the row says period, language, version and who", (await row.textContent()).includes(today) && /Català.*version 1/.test(await row.textContent()) && /for A\. Reporter/.test(await row.textContent()), await row.textContent());
  for (const [words, name, begins] of [["PDF", "report.pdf", "%PDF-"], ["Spreadsheet", "report.xlsx", "PK\u0003\u0004"], ["JSON", "report.json", "{"], ["Page", "report.html", "<!"]]) {
    const [saved] = await Promise.all([page.waitForEvent("download"), row.locator("a.file", { hasText: words }).first().click()]);
    const bytes = require("fs").readFileSync(await saved.path());
    check(`reports: ${name} downloaded, ${bytes.length} bytes`, saved.suggestedFilename() === `bsc-hq-eu-2024-1364-${today}_${nextDay(today)}-ca-v1-${name}` && bytes.subarray(0, begins.length).toString("latin1") === begins, saved.suggestedFilename());
  }
  await row.locator("summary").focus();
  await page.keyboard.press("Enter");
  const [table] = await Promise.all([page.waitForEvent("download"), row.locator("details a.file", { hasText: "figures.csv" }).click()]);
  check("reports: a table as CSV", require("fs").readFileSync(await table.path(), "utf8").startsWith("key,section,scope,"));
  await order("iso-30134", "es");
  await order("energy-per-gpu-hour", "en");
  check("reports: what was open stays open, the newest stands first", (await row.locator("details").evaluate((d) => d.open)) && /energy-per-gpu-hour/.test(await page.locator("#reports li").first().textContent()));
  await row.locator("summary").click();
  await axe(page, "with reports");

  if (shots) {
    // What is drawn anew every few seconds is cut out of the page's picture.
    const part = async (where, name) => {
      const cut = () => where.evaluate((e) => { e.scrollIntoView(); scrollBy(0, -90); const r = e.getBoundingClientRect(); return { x: r.x, y: Math.max(0, r.y), width: r.width, height: Math.min(r.height, innerHeight - Math.max(0, r.y)) }; });
      let clip = await cut();
      for (let i = 0; i < 10 && !clip.width; i++) { await page.waitForTimeout(200); clip = await cut(); }
      if (clip.width) await page.screenshot({ path: `${shots}/${name}.png`, clip });
    };
    await part(page.locator('section[aria-labelledby="trend-h"]'), "trend");
    await part(page.locator('section[aria-labelledby="hints-h"]'), "hints");
    await part(reports, "reports");
    await part(hq.locator(".rec"), "recommendation");
    await part(hq.locator(".charts"), "charts");
  }
  await axe(page, "with points compared");

  // Gone and back.
  check("no error was logged", !page.errors.length, page.errors.join("; "));
  await ask("kill");
  await page.waitForFunction(() => /Service gone/.test(document.getElementById("overall").textContent), null, { timeout: 40000 });
  check("killed: the page says so", !(await page.evaluate(() => document.getElementById("gone").hidden)));
  await picture(page, "gone");
  await ask("serve");
  await page.waitForFunction(() => !/Service gone/.test(document.getElementById("overall").textContent), null, { timeout: 60000 });
  check("started again: the page comes back by itself", await page.evaluate(() => document.getElementById("gone").hidden));

  // Languages.
  for (const [language, word] of [["es", "Potencia TI"], ["ca", "Potència TI"]]) {
    await Promise.all([page.waitForNavigation(), page.selectOption("#language", language)]);
    await page.waitForFunction((w) => document.body.textContent.includes(w), word);
    check(`language ${language}: ${word}`, (await page.evaluate(() => document.documentElement.lang)) === language);
  }
  await picture(page, "overview-ca");
  await browser.close();
  console.log(failed ? `${failed} failed` : "the page holds");
  process.exit(failed ? 1 : 0);
})().catch((e) => { console.log("FAILED " + e.message.split("\n").slice(0, 4).join(" | ")); process.exit(1); });

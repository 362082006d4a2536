"""Every figure of a report again, from exported raw readings, by pandas; the rules are those that the report states, the code is not.

report_check.py --one DIR YEAR PACK OUT [--files]: makes one pack and nothing else, to be timed (tests/bench/report.py).
report_check.py DIR YEAR REPORT_DIR...: DIR as report_year.py makes it, with DIR/raw-<site>.parquet as `tramuntana store export`
writes it. Compares values to 1e-6 relative (coverage, estimated share and uncertainty too) and prints the largest difference.
"""
import csv
import json
import sys
import time
import tomllib
from datetime import datetime, timedelta, timezone
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

H = 3_600_000.0
BIN = 900_000
DAY = 96


def instant(text):
    at = datetime.fromisoformat(text.replace("Z", "+00:00"))
    return (at if at.tzinfo else at.replace(tzinfo=timezone.utc)).timestamp() * 1000


def ms(times):
    """Milliseconds since 1970 of a column of instants; NaN where there is none."""
    whole = times.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy("datetime64[ms]")
    return np.where(np.isnat(whole), np.nan, whole.astype(np.int64).astype(float))


class Amount:
    """By bin: measured, estimated, and milliseconds covered, estimated, missing; variances of classes and gaps."""

    def __init__(self, n):
        self.m, self.e, self.cov, self.est, self.mis = (np.zeros(n) for _ in range(5))
        self.u2, self.known, self.there = 0.0, True, False

    def __iadd__(self, o):
        for k in ("m", "e", "cov", "est", "mis"):
            setattr(self, k, getattr(self, k) + getattr(o, k))
        self.u2, self.known, self.there = self.u2 + o.u2, self.known and o.known, self.there or o.there
        return self

    @property
    def bins(self):
        return self.m + self.e

    @property
    def value(self):
        return self.bins.sum()

    @property
    def coverage(self):
        whole = (self.cov + self.est + self.mis).sum()
        return self.cov.sum() / whole if whole else 0.0

    @property
    def estimated(self):
        return self.e.sum() / self.value if self.value else 0.0

    @property
    def u95(self):
        return 2 * np.sqrt(self.u2) if self.known else None


def segment(series, counter, factor, device, begin, end, gap_after=20 * 60_000, top=None):
    n = int((end - begin) // BIN)
    out = Amount(n)
    out.there = True
    w0 = max(begin, instant(device["since"])) if "since" in device else begin
    w1 = min(end, instant(device["until"])) if "until" in device else end
    t, v = series.index.to_numpy(float), series.to_numpy(float)
    keep = np.isfinite(v) & (t >= begin - 24 * H) & (t < end + 24 * H)
    if "since" in device:
        keep &= t >= instant(device["since"])
    if "until" in device:
        keep &= t < instant(device["until"])
    t, v = t[keep], v[keep]
    if counter and "initial" in device:
        t, v = np.insert(t, 0, instant(device["since"])), np.insert(v, 0, device["initial"])
        if len(t) > 1 and t[1] == t[0]:
            t, v = np.delete(t, 1), np.delete(v, 1)
    if counter and "last" in device:
        t, v = np.append(t, instant(device["until"])), np.append(v, device["last"])
    factor = factor * device.get("factor", 1.0)
    v = v * factor
    dt = np.diff(t)
    close = dt <= gap_after
    if counter:
        amount = np.diff(v)
        fell = amount < 0
        if top is not None:
            amount = np.where(fell, amount + top * factor, amount)
            fell[:] = False
        whole = close | ((t[:-1] >= w0) & (t[1:] <= w1))
        sound = ~fell
        measured, estimated = sound & whole, sound & ~whole
        rate_after = np.where(sound, amount / dt * H, np.nan)
    else:
        measured, estimated, fell = close, np.zeros(len(dt), bool), np.zeros(len(dt), bool)
    # Elementary stretches: between neighbouring readings and bin edges.
    edges = np.arange(n + 1) * BIN + begin
    cut = np.unique(np.concatenate([t, edges, [w0, w1]]))
    cut = cut[(cut >= w0) & (cut <= w1)]
    middle = (cut[1:] + cut[:-1]) / 2
    which = np.searchsorted(t, middle) - 1
    inside = (which >= 0) & (which < len(dt))
    middle, a, b, which = middle[inside], cut[:-1][inside], cut[1:][inside], which[inside]
    bin_of = ((middle - begin) // BIN).astype(int)
    if counter:
        part = (np.where(fell, 0, amount) / dt)[which] * (b - a)
    else:
        part = (np.interp(a, t, v) + np.interp(b, t, v)) / 2 * (b - a) / H
    add = lambda mask, weight: np.bincount(bin_of[mask], weights=weight[mask], minlength=n)
    out.m += add(measured[which], part)
    out.e += add(estimated[which], part)
    ms = b - a
    out.cov += add((close & ~fell)[which], ms)
    if counter:
        out.est += add((~close & ~fell)[which], ms)
        for i in np.flatnonzero(~fell & ~close & ~whole):
            if max(t[i], w0) < min(t[i + 1], w1):
                out.u2 += amount[i] ** 2 / 12
    # Gaps, as rates on either side and the least that was counted.
    gaps = []
    if counter:
        good = np.flatnonzero(~fell)
        for i in np.flatnonzero(fell):
            before = rate_after[good[good < i][-1]] if (good < i).any() else None
            after = rate_after[good[good > i][0]] if (good > i).any() else None
            share = (min(t[i + 1], w1) - max(t[i], w0)) / dt[i]
            gaps.append((max(t[i], w0), min(t[i + 1], w1), before, after, max(v[i + 1], 0) * share))
        first = rate_after[good[0]] if len(good) else None
        last = rate_after[good[-1]] if len(good) else None
    else:
        for i in np.flatnonzero(~close):
            gaps.append((max(t[i], w0), min(t[i + 1], w1), v[i], v[i + 1], 0.0))
        first, last = (v[0], v[-1]) if len(v) else (None, None)
    if not len(t):
        gaps.append((w0, w1, None, None, 0.0))
    else:
        if t[0] > w0:
            gaps.append((w0, min(t[0], w1), None, first, 0.0))
        if t[-1] < w1:
            gaps.append((max(t[-1], w0), w1, last, None, 0.0))
    gaps.sort(key=lambda g: g[0])
    for g0, g1, before, after, least in gaps:
        if g1 <= g0:
            continue
        lo = np.arange(int((g0 - begin) // BIN), int(-(-(g1 - begin) // BIN)))
        a, b = np.maximum(lo * BIN + begin, g0), np.minimum((lo + 1) * BIN + begin, g1)
        hours = (g1 - g0) / H
        ends = (before if before is not None else after, after if after is not None else before)
        if ends[0] is not None and g1 - g0 <= 2 * H:
            rate = lambda x: ends[0] + (ends[1] - ends[0]) * (x - g0) / (g1 - g0)
            parts = (rate(a) + rate(b)) / 2 * (b - a) / H
            u = abs(ends[1] - ends[0]) / np.sqrt(12) * hours
        else:
            sure = (out.cov == BIN) & (out.est == 0) & (out.mis == 0)
            means, sds = [], []
            for k in lo:
                near = [k + s * d * DAY for d in range(1, 8) for s in (-1, 1)]
                near = [j for j in near if 0 <= j < n and sure[j]]
                means.append(out.m[near].mean() if len(near) >= 3 else np.nan)
                sds.append(out.m[near].std(ddof=1) if len(near) >= 3 else np.nan)
            if np.isnan(means).any():
                out.mis[lo] += b - a
                out.e[lo[0]] += least
                continue
            parts = np.array(means) * (b - a) / BIN
            u = (np.array(sds) * (b - a) / BIN).sum()
        lift = max(least - parts.sum(), 0.0)
        out.e[lo] += parts + lift * (b - a) / (g1 - g0)
        out.est[lo] += b - a
        out.u2 += u * u
    if "class_pct" in device:
        out.u2 += (device["class_pct"] / 100 * abs(out.m.sum())) ** 2 / 3
    else:
        out.known = False
    return out


class Site:
    def __init__(self, root, site, year, racks=True):
        self.zone = ZoneInfo("Europe/Madrid")
        self.begin = datetime(year, 1, 1, tzinfo=self.zone).timestamp() * 1000
        self.end = datetime(year + 1, 1, 1, tzinfo=self.zone).timestamp() * 1000
        self.n = int((self.end - self.begin) // BIN)
        self.root, self.id = root / site, site
        self.file = tomllib.loads((self.root / "report.toml").read_text())
        self.plain = tomllib.loads((self.root / "site.toml").read_text())
        # Names as codes: grouping by text would cost as much as all the rest.
        columns = ["at_ms", "point", "unit", "value", "quality"]
        raw = pq.read_table(root / f"raw-{site}.parquet", columns=columns, read_dictionary=["point", "unit"]).to_pandas()
        still = 16 | 32 | 8192 | 16384
        raw = raw[(raw.quality.to_numpy() & ~still) == 0]
        names, codes = raw.point.cat.categories, raw.point.cat.codes.to_numpy()
        order = np.argsort(codes, kind="stable")
        edges = np.searchsorted(codes[order], np.arange(len(names) + 1))
        at, value = raw.at_ms.to_numpy(float)[order], raw.value.to_numpy(float)[order]
        unit = raw.unit.cat.categories.to_numpy()[raw.unit.cat.codes.to_numpy()[order[edges[:-1]]]]
        self.units = dict(zip(names, unit))
        self.raw = {p: pd.Series(value[a:b], index=at[a:b]) for p, a, b in zip(names, edges[:-1], edges[1:]) if b > a}
        self.roles = {}
        role_of = {"it": "pdu_out", "loss": "loss", "cooling": "cooling"}
        entries = {m["id"]: dict(m) for m in self.plain["meter"]}
        for m in self.file.get("meter", []):
            entries.setdefault(m["id"], {}).update({k: v for k, v in m.items()})
        for m in entries.values():
            role = m.get("role") or role_of[m["boundary"]]
            self.roles.setdefault(role, Amount(self.n))
            path = m["select"]["path"]
            for device in m.get("device", [{}]):
                self.roles[role] += self.amount(path, device)
        if racks:
            self.partition()

    def partition(self):
        part = self.file["partition"][0]
        racks = sorted(p for p in self.raw if p.startswith("Rack/RackPower/"))
        self.racks = Amount(self.n)
        for p in racks:
            self.racks += self.amount(p, {})
        self.gpus = 72 * len(racks)
        self.idle_kw = part["idle_kw_per_gpu"]
        self.allocated = self.amount("Scheduler/GpusAllocated", {})
        self.utilisation = self.amount("Scheduler/Utilisation", {})

    def amount(self, path, device):
        unit = self.units[path]
        factor = 0.06 if unit == "L/min" else 1.0
        top = device.get("rolls_over_at")
        return segment(self.raw[path], unit in ("kWh", "m³", "m3"), factor, device, self.begin, self.end, top=top)

    def role(self, name):
        return self.roles.get(name)

    def total(self, *names):
        out = Amount(self.n)
        for name in names:
            if name in self.roles:
                out += self.roles[name]
        return out

    def edc(self):
        return self.total("supply", "generator", "renewable")

    def parts(self):
        return self.total("pdu_out", "loss", "cooling", "other")

    def answer(self, key):
        return self.file["answers"].get(key)

    def signal(self, name):
        source = self.file["series"][name]
        if "constant" in source:
            return np.full(self.n, source["constant"])
        rows = pd.read_csv(self.root / source["file"])
        text = rows[source["time"]]
        if text.str.endswith("Z").all():
            ats = ms(pd.to_datetime(text, utc=True)).reshape(-1, 1)
        else:
            # A civil time that comes twice is both instants; one that does not exist is none.
            civil = pd.to_datetime(text)
            both = [civil.dt.tz_localize(self.zone, ambiguous=np.full(len(civil), first), nonexistent="NaT") for first in (True, False)]
            ats = np.stack([ms(t) for t in both], axis=1)
        v = np.repeat(rows[source["value"]].to_numpy(float), ats.shape[1])
        ats = ats.ravel()
        v, ats = v[np.isfinite(ats)], ats[np.isfinite(ats)]
        k = (((ats - self.begin) // BIN).astype(int)[:, None] + np.arange(4)).ravel()
        v = np.repeat(v, 4)
        values = np.full(self.n, np.nan)
        values[k[(k >= 0) & (k < self.n)]] = v[(k >= 0) & (k < self.n)]
        filled = values.copy()
        for k in np.flatnonzero(np.isnan(values)):
            near = [k + s * d * DAY for d in range(1, 8) for s in (-1, 1)]
            near = [values[j] for j in near if 0 <= j < self.n and np.isfinite(values[j])]
            filled[k] = np.mean(near) if len(near) >= 3 else np.nanmean(values)
        return filled

    def degree_days(self):
        air = self.amount("Weather/DryBulb", {})
        mean = np.where(air.cov > 0, air.m / np.maximum(air.cov, 1) * H, np.nan)
        local = pd.to_datetime(self.begin + np.arange(self.n) * BIN, unit="ms", utc=True).tz_convert("Europe/Madrid")
        daily = pd.Series(mean, index=local).groupby(local.date).mean()
        return np.maximum(daily.dropna() - 21, 0).sum()


def ratio(a, b, scale=1.0):
    value = scale * a[0] / b[0]
    u = None
    if a[1] is not None and b[1] is not None:
        u = abs(scale / b[0]) * np.hypot(a[1], a[0] / b[0] * b[1])
    return value, u


def figures(sites):
    """(key, figure → (value, 95 % half-width or None))."""
    pair = lambda amounts: (sum(a.value for a in amounts),
                            2 * np.sqrt(sum(a.u2 for a in amounts)) if all(a.known for a in amounts) else None)
    edc = pair([s.edc() for s in sites])
    ups = pair([s.role("ups_out") for s in sites])
    pdu = pair([s.role("pdu_out") for s in sites])
    out = {"EDC": edc, "EIT": ups, "PUE": ratio(edc, ups), "PUE1": ratio(edc, ups), "PUE2": ratio(edc, pdu)}
    out["WIN"] = pair([s.role("water_in") for s in sites])
    out["WIN-POT"] = pair([s.role("water_potable") for s in sites])
    out["WUE"] = ratio(out["WIN"], ups, 1000)
    for key in ("PDIT", "SDC", "SCR", "ERES-GOO", "ERES-PPA", "CBtG", "EDC-BG"):
        out[key] = (sum(s.answer(key) for s in sites), None)
    metered = lambda s, role, key: s.role(role).value if s.role(role) is not None else s.answer(key)
    reuse = sum(metered(s, "reuse_heat", "EREUSE") for s in sites)
    own = sum(metered(s, "renewable", "ERES-OS") for s in sites)
    out["EREUSE"], out["ERES-OS"] = (reuse, None), (own, None)
    res = own + out["ERES-GOO"][0] + out["ERES-PPA"][0]
    out["ERES-TOT"] = (res, None)
    out["REF"], out["ERF"] = (res / edc[0], None), (reuse / edc[0], None)
    out["CDD"] = (sum(s.degree_days() for s in sites) / len(sites), None)
    if len(sites) == 1 and sites[0].role("waste_heat_temperature") is not None:
        a = sites[0].role("waste_heat_temperature")
        out["TWH"] = (a.m.sum() / a.cov.sum() * H, None)
    out["CER"] = (sum(s.role("heat_removed").value for s in sites) / sum(s.role("cooling").value for s in sites), None)
    location = sum((s.role("supply").bins * s.signal("carbon_location")).sum() for s in sites) / 1000
    market = 0.0
    for s in sites:
        bought = s.role("supply").value
        share = max(1 - (s.answer("ERES-GOO") + s.answer("ERES-PPA")) / bought, 0)
        market += (s.role("supply").bins * s.signal("carbon_market")).sum() / 1000 * share
    out["CO2-LOCATION"], out["CO2-MARKET"] = (location, None), (market, None)
    out["CUE-LOCATION"], out["CUE-MARKET"] = (location / ups[0], None), (market / ups[0], None)
    out["COST"] = (sum((s.role("supply").bins * s.signal("price")).sum() for s in sites) / 1000, None)
    return out


def gpu(sites):
    energy, rows, groups, hours = {}, {}, {}, {}
    for s in sites:
        parts = s.parts().bins
        racks = s.racks.bins
        lift = np.divide(parts, racks, out=np.zeros(s.n), where=racks > 0)
        e = racks * lift
        a = s.allocated.bins
        active = a * np.clip(s.utilisation.bins / 0.25 / 100, 0, 1)
        idle = np.clip(s.idle_kw * np.maximum(s.gpus * 0.25 - a, 0), 0, np.maximum(racks, 0))
        jobs = pd.read_csv(s.root / "jobs.csv")
        jobs["x0"] = np.maximum(ms(pd.to_datetime(jobs.start, utc=True, format="ISO8601")), s.begin)
        jobs["x1"] = np.minimum(ms(pd.to_datetime(jobs.end, utc=True, format="ISO8601")), s.end)
        claims, claimed = [], np.zeros(s.n)
        for j in jobs.itertuples():
            x0, x1 = j.x0, j.x1
            if x1 <= x0:
                continue
            k = np.arange(int((x0 - s.begin) // BIN), int(-(-(x1 - s.begin) // BIN)))
            g = j.gpus * (np.minimum((k + 1) * BIN + s.begin, x1) - np.maximum(k * BIN + s.begin, x0)) / H
            claims.append((j, k, g))
            claimed[k] += g
        base = np.maximum(a, claimed)
        work = racks - idle
        per = np.divide(work, base, out=np.zeros(s.n), where=base > 0)
        job_it, useful = 0.0, 0.0
        for j, k, g in claims:
            job_it += (per[k] * g).sum()
            kwh = (per[k] * g * lift[k]).sum()
            useful += g.sum() * (j.state == "COMPLETED")
            old = groups.get(j.group, (0.0, 0.0))
            groups[j.group] = (old[0] + g.sum(), old[1] + kwh)
        co2 = (e * s.signal("carbon_location")).sum()
        energy[s.id] = (e, a, active, useful, co2)
        total = e.sum()
        rows[s.id] = [job_it, racks.sum() - idle.sum() - job_it, idle.sum(), total - racks.sum(), total, s.edc().value]
    scopes = {s.id: [s.id] for s in sites} | {f"{s.id}/main": [s.id] for s in sites}
    if len(sites) > 1:
        scopes["group"] = [s.id for s in sites]
    out = {}
    for scope, ids in scopes.items():
        n = min(len(energy[i][0]) for i in ids)
        e = sum(energy[i][0][:n] for i in ids)
        a, active = sum(energy[i][1][:n] for i in ids), sum(energy[i][2][:n] for i in ids)
        useful, co2 = sum(energy[i][3] for i in ids), sum(energy[i][4] for i in ids)
        hourly = lambda x: np.diff(x[:len(x) // 4 * 4].reshape(-1, 4).sum(1))
        dx, dy = hourly(a), hourly(e)
        out[scope] = {"E-TOTAL": e.sum(), "GPU-H-ALLOCATED": a.sum(), "GPU-H-ACTIVE": active.sum(), "GPU-H-USEFUL": useful,
                      "PER-ALLOCATED": e.sum() / a.sum(), "PER-ACTIVE": e.sum() / active.sum(), "PER-USEFUL": e.sum() / useful,
                      "MARGINAL": (dx * dy).sum() / (dx * dx).sum(), "SCI": co2 / a.sum()}
    return out, rows, groups


def one(root, year, pack, out, files):
    """One pack as `tramuntana report --group` makes it: figures of the group and of each site, as CSV and JSON; with `files` also
    a spreadsheet (openpyxl), a page, and a PDF of its charts (matplotlib)."""
    sites = [Site(root, s, year, racks=pack == "energy-per-gpu-hour") for s in ("hq", "chapel")]
    rows = []
    if pack == "energy-per-gpu-hour":
        by_scope, _, _ = gpu(sites)
        rows = [(scope, key, value, None) for scope, values in by_scope.items() for key, value in values.items()]
    else:
        for scope, members in [("group", sites)] + [(s.id, [s]) for s in sites]:
            rows += [(scope, key, *value) for key, value in figures(members).items()]
    table = pd.DataFrame(rows, columns=["scope", "key", "value", "u95"])
    out.mkdir(parents=True, exist_ok=True)
    table.to_csv(out / "figures.csv", index=False)
    table.to_json(out / "report.json", orient="records")
    if files:
        import matplotlib
        matplotlib.use("Agg")
        from matplotlib import pyplot as plt
        from matplotlib.backends.backend_pdf import PdfPages
        table.to_excel(out / "report.xlsx", index=False)
        table.to_html(out / "report.html", index=False)
        with PdfPages(out / "report.pdf") as pdf:
            for s in sites:
                fig, axes = plt.subplots(2, 1, figsize=(8.3, 11.7))
                axes[0].plot(np.sort(s.parts().bins * 4)[::-1])
                axes[0].set_title(f"{s.id}: load duration, kW")
                axes[1].bar(list(s.roles), [a.value / 1000 for a in s.roles.values()])
                axes[1].set_title(f"{s.id}: by role, MWh or 1,000 m³")
                pdf.savefig(fig)
                plt.close(fig)


def main():
    if sys.argv[1] == "--one":
        return one(Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4], Path(sys.argv[5]), "--files" in sys.argv)
    root, year, reports = Path(sys.argv[1]), int(sys.argv[2]), [Path(p) for p in sys.argv[3:]]
    begun = time.perf_counter()
    sites = {s: Site(root, s, year) for s in ("hq", "chapel")}
    worst, compared, faults = (0.0, ""), 0, []

    def same(name, ours, theirs):
        nonlocal worst, compared
        compared += 1
        if ours is None or theirs is None:
            faults.append(f"{name}: {theirs} here, {ours} in the report")
            return
        off = abs(ours - theirs) / max(abs(theirs), 1e-12) if theirs or ours else 0.0
        worst = max(worst, (off, name))
        if not off <= 1e-6:
            faults.append(f"{name}: {theirs} here, {ours} in the report ({off:.2e})")

    cache = {}
    for folder in reports:
        doc = json.loads((folder / "report.json").read_text())
        shown = {(f["key"], f["scope"]): f for f in doc["figures"]}
        ids = [s.split("(")[-1].rstrip(")") for s in doc["sites"]]
        if doc["pack"] == "energy-per-gpu-hour":
            by_scope, rows, groups = gpu([sites[i] for i in ids])
            for scope, values in by_scope.items():
                if (("E-TOTAL", scope)) not in shown:
                    continue
                for key, value in values.items():
                    same(f"{folder.name} {scope} {key}", shown[key, scope]["value"], value)
            table = {t["id"]: t for t in doc["tables"]}
            for row in table["reconciliation"]["rows"]:
                for name, ours, theirs in zip(table["reconciliation"]["columns"][1:7], row[1:7], rows[row[0]]):
                    same(f"{folder.name} {row[0]} {name}", ours, theirs)
                if not abs(row[8]) <= 0.5:
                    faults.append(f"{folder.name} {row[0]}: jobs, idle and overhead differ from the meter by {row[8]:.3f} %")
            for row in table["groups"]["rows"]:
                same(f"{folder.name} group {row[0]} GPU-h", row[1], groups[row[0]][0])
                same(f"{folder.name} group {row[0]} kWh", row[3], groups[row[0]][1])
            continue
        scopes = {i: [sites[i]] for i in ids}
        if doc["group"]:
            scopes["group"] = [sites[i] for i in ids]
        for scope, members in scopes.items():
            if scope not in cache:
                cache[scope] = figures(members)
            mine = cache[scope]
            for (key, at), f in shown.items():
                if at != scope or f["value"] is None:
                    continue
                if key == "TWH" and key not in mine:
                    continue
                if key not in mine:
                    faults.append(f"{folder.name} {scope} {key}: not recomputed")
                    continue
                same(f"{folder.name} {scope} {key}", f["value"], mine[key][0])
                if mine[key][1] is not None:
                    same(f"{folder.name} {scope} {key} ±", f["uncertainty_95"], mine[key][1])
            q = members[0].role("supply") if len(members) == 1 else None
            if q is not None and "pv" not in str(shown["EDC", scope]["meters"]):
                same(f"{folder.name} {scope} coverage", shown["EDC", scope]["coverage"], q.coverage)
                same(f"{folder.name} {scope} estimated", shown["EDC", scope]["estimated_share"], q.estimated)
    seconds = time.perf_counter() - begun
    print("\n".join(faults))
    print(f"{compared} figures compared, {len(faults)} differ, worst {worst[0]:.2e} ({worst[1]}); pandas took {seconds:.2f} s")
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()

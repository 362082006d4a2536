"""A simulated year of two sites with everything that goes wrong with meters: gaps short and long, resets, a roll-over, a meter
swap with and without its registers, unusable readings, a price file with missing days and wrong clock changes, jobs.

report_year.py DIR [YEAR]: writes DIR/tramuntana.toml, DIR/<site>/{site,report}.toml, series, jobs, and DIR/<site>.parquet
for `tramuntana store import`. Same arguments, same bytes.
"""
import sys
from pathlib import Path
from zoneinfo import ZoneInfo
from datetime import datetime, timedelta, timezone

import numpy as np
import pandas as pd

ZONE = ZoneInfo("Europe/Madrid")
STEP_MS = 900_000


def edge(year):
    return int(datetime(year, 1, 1, tzinfo=ZONE).timestamp() * 1000)


def site_toml(site, racks, cooling):
    text = f'''format = 1
[site]
id = "{site}"
name = "{site.upper()}"
label = "Simulated year, not a real plant"
time_zone = "Europe/Madrid"
[bus]
filter = "BMS/v1/PUB/+/+/+/{site}/#"
[[role]]
name = "dry_bulb"
select = {{ path = "Weather/DryBulb" }}
[[role]]
name = "gpus_allocated"
select = {{ path = "Scheduler/GpusAllocated" }}
[[role]]
name = "gpu_utilisation"
select = {{ path = "Scheduler/Utilisation" }}
[[meter]]
id = "it"
name = "IT distribution"
select = {{ path = "PowerMeter/It" }}
boundary = "it"
[[meter]]
id = "loss"
name = "UPS and PDU losses"
select = {{ path = "PowerMeter/Loss" }}
boundary = "loss"
[[partition]]
id = "main"
name = "{site} partition"
racks = {{ object_type = "Rack", point_type = "RackPower" }}
gpus_per_rack = 72
rack_rating_kw = 132.0
job_classes = ["training"]
'''
    for k in range(cooling):
        text += f'[[meter]]\nid = "cool-{k}"\nname = "Cooling {k}"\nselect = {{ path = "PowerMeter/Cool{k}" }}\nboundary = "cooling"\n'
    return text


def report_toml(site, year, swap, registers):
    at = lambda ms: datetime.fromtimestamp(ms / 1000, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    last, initial = registers
    keep = (f"last = {last}\n", f"initial = {initial}\n") if site == "hq" else ("", "")
    return f'''format = 1
[answers]
NAME = "{site} of the simulated pair"
OWNER = "=HYPERLINK(evil)"
PDIT = {1900.0 if site == "hq" else 900.0}
SDC = 1200.0
SCR = {640.5 if site == "hq" else 120.25}
ERES-GOO = {2.0e6 if site == "hq" else 4.0e5}
ERES-PPA = {1.5e6 if site == "hq" else 0.0}
CBtG = 0
EDC-BG = 0
REFRIGERANTS = ["R1234ze", "R32"]
{'' if site == "hq" else 'ERES-OS = 0' + chr(10) + 'EREUSE = 0' + chr(10)}
[series.carbon_location]
file = "carbon.csv"
time = "utc"
value = "g"
source = "simulated grid mean"
[series.carbon_market]
constant = 281.5
source = "simulated residual mix"
[series.price]
file = "price.csv"
time = "ts_local"
value = "price_eur_mwh"
source = "simulated day-ahead"
[jobs]
file = "jobs.csv"
useful = ["COMPLETED"]
[[partition]]
id = "main"
idle_kw_per_gpu = 0.21
[[meter]]
id = "grid"
name = "Grid supply"
role = "supply"
select = {{ path = "EnergyMeter/Grid" }}
[[meter.device]]
device = "simulated A, no. 1"
class_pct = 0.5
calibrated = "{year - 1}-06-01"
until = "{at(swap)}"
{keep[0]}[[meter.device]]
device = "simulated B, no. 2"
class_pct = 0.2
calibrated = "{year}-02-01"
since = "{at(swap)}"
{keep[1]}factor = 2.0
[[meter]]
id = "it"
[[meter.device]]
device = "simulated PDU meters"
class_pct = 1.0
[[meter]]
id = "ups"
name = "UPS outputs"
role = "ups_out"
select = {{ path = "PowerMeter/UpsOut" }}
[[meter.device]]
device = "simulated"
class_pct = 0.5
[[meter]]
id = "other"
name = "Lighting and offices"
role = "other"
select = {{ path = "PowerMeter/Other" }}
[[meter]]
id = "water"
name = "Water"
role = "water_in"
select = {{ path = "WaterMeter/In" }}
[[meter.device]]
device = "simulated, four digits"
class_pct = 2.0
rolls_over_at = 10000.0
rated = 40.0
[[meter]]
id = "potable"
name = "Potable water"
role = "water_potable"
select = {{ path = "WaterMeter/Potable" }}
[[meter]]
id = "heat"
name = "Heat removed"
role = "heat_removed"
select = {{ path = "HeatMeter/Removed" }}
''' + ('''[[meter]]
id = "reuse"
name = "Heat to the neighbours"
role = "reuse_heat"
select = { path = "HeatMeter/Reuse" }
[[meter]]
id = "pv"
name = "Roof"
role = "renewable"
select = { path = "PowerMeter/Pv" }
[[meter]]
id = "twh"
name = "Heat to the neighbours, temperature"
role = "waste_heat_temperature"
select = { path = "HeatMeter/Temperature" }
''' if site == "hq" else "")


def make(out, year=2024):
    out.mkdir(parents=True, exist_ok=True)
    begin, end = edge(year), edge(year + 1)
    t = np.arange(begin - 4 * STEP_MS, end + 5 * STEP_MS, STEP_MS)
    n = len(t)
    hour = (t / 3.6e6) % 24
    day = (t - begin) / 8.64e7
    sites = ["hq", "chapel"]
    for s, site in enumerate(sites):
        rng = np.random.default_rng([year, s])
        d = out / site
        d.mkdir(exist_ok=True)
        racks = 6 if site == "hq" else 3
        gpus = 72 * racks
        db = 15 + 9 * np.sin(2 * np.pi * (day - 110) / 365) + 5 * np.sin(2 * np.pi * (hour - 9) / 24) + rng.normal(0, 0.6, n)
        # Jobs, and what they allocate.
        jobs, allocated, busy = [], np.zeros(n), np.zeros(n)
        at = begin - 40 * STEP_MS
        for k in range(1500):
            at += int(rng.exponential((end - begin) / 1500))
            size = int(rng.choice([8, 16, 32, 64, 72]))
            length = int(rng.exponential(9.0) * 3.6e6) + 600_000
            a, b = np.searchsorted(t, [at, at + length])
            if allocated[a:b].max(initial=0) + size > gpus or at > end:
                continue
            allocated[a:b] += size
            busy[a:b] += size * rng.uniform(60, 99)
            state = rng.choice(["COMPLETED", "COMPLETED", "COMPLETED", "FAILED", "TIMEOUT"])
            iso = lambda ms: datetime.fromtimestamp(ms / 1000, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
            jobs.append((f"j{k}", "main", rng.choice(["bio", "climate", "@llm"]), size, iso(at), iso(at + length), state))
        pd.DataFrame(jobs, columns=["job", "partition", "group", "gpus", "start", "end", "state"]).to_csv(d / "jobs.csv", index=False)
        utilisation = np.where(allocated > 0, busy / np.maximum(allocated, 1), 0)
        rack = [(0.21 * 72 + 1.05 * allocated / racks * utilisation / 100 * rng.uniform(0.97, 1.03)) + rng.normal(0, 0.3, n) for _ in range(racks)]
        it = np.sum(rack, axis=0) + 22
        loss = 9 + 0.036 * it
        cooling = 4 if site == "hq" else 3
        cool = [(0.012 + 0.004 * k) * it + 0.25 * np.maximum(db - 16, 0) * (k + 1) for k in range(cooling)]
        other = 6 + 2 * (np.abs(hour - 12) < 5)
        pv = np.maximum(0, 80 * np.sin(np.pi * (hour - 6) / 12)) * (site == "hq")
        grid = (it + loss + np.sum(cool, axis=0) + other - pv) * 1.001
        water = 0.2 + 0.06 * np.maximum(db - 12, 0)
        frames = []

        def put(path, unit, values, times=None, quality=None):
            times = t if times is None else times
            frames.append(pd.DataFrame({
                "point": path, "unit": unit, "at_ms": times, "value": values,
                "quality": np.zeros(len(times), np.int32) if quality is None else quality}))

        def silence(spans):
            keep = np.ones(n, bool)
            for a, b in spans:
                keep &= ~((t > begin + a * 3.6e6) & (t < begin + b * 3.6e6))
            return keep

        def counted(rate):
            return np.concatenate([[0], np.cumsum((rate[1:] + rate[:-1]) / 2 * STEP_MS / 3.6e6)])

        # Gaps: one of 45 min, one of a night, one of two weeks and a half, one over the year's end.
        gaps = [(1000.2, 1001.0), (2000, 2009.5), (4000, 4420), (8778, 8790)]
        for k, r in enumerate(rack):
            keep = silence(gaps[:2] if k == 0 else [])
            put(f"Rack/RackPower/{site}-R{k}", "kW", r[keep], t[keep])
        quality = np.zeros(n, np.int32)
        bad = rng.random(n) < 0.002
        quality[bad] = 2  # out of range
        put("PowerMeter/It", "kW", np.where(bad, 1e7, it), quality=quality)
        keep = silence(gaps[:2] + gaps[3:])
        put("PowerMeter/Loss", "kW", loss[keep], t[keep])
        put("PowerMeter/UpsOut", "kW", it * 1.012)
        put("PowerMeter/Other", "kW", other)
        for k, c in enumerate(cool):
            if k == 1:  # a counter, reset twice, once in a silence
                shown = counted(c) + 5000
                for hour_of_reset in (3000.1, 6002):
                    shown = np.where(t >= begin + hour_of_reset * 3.6e6, shown - shown[t < begin + hour_of_reset * 3.6e6][-1] + 0.4, shown)
                keep = silence([(6000, 6007)])
                put(f"PowerMeter/Cool{k}", "kWh", shown[keep], t[keep])
            else:
                keep = silence(gaps[k:k + 1])
                put(f"PowerMeter/Cool{k}", "kW", c[keep], t[keep])
        # The supply's counter: silent for a day, counting on; swapped in May, the new one behind a transformer of 2 to 1.
        swap = begin + int(3333.4 * 3.6e6) // 60_000 * 60_000
        energy = counted(grid)
        at_swap = np.interp(swap, t, energy)
        shown = np.where(t < swap, 700_000 + energy, 17 + (energy - at_swap) / 2)
        keep = silence([(500, 524)])
        put("EnergyMeter/Grid", "kWh", shown[keep], t[keep])
        put("WaterMeter/In", "m3", (9000 + counted(water)) % 10000)
        put("WaterMeter/Potable", "L/min", water * 0.6 / 0.06)
        put("HeatMeter/Removed", "kW", it * 0.97)
        if site == "hq":
            put("HeatMeter/Reuse", "kWh", counted(0.3 * it * (db < 14)))
            put("HeatMeter/Temperature", "C", 38 + rng.normal(0, 1, n))
            put("PowerMeter/Pv", "kW", pv)
        put("Weather/DryBulb", "C", db[silence(gaps[1:2])], t[silence(gaps[1:2])])
        put("Scheduler/GpusAllocated", "1", allocated)
        put("Scheduler/Utilisation", "%", utilisation)
        pd.concat(frames, ignore_index=True).to_parquet(out / f"{site}.parquet", index=False, compression="zstd")
        (d / "site.toml").write_text(site_toml(site, racks, cooling))
        (d / "report.toml").write_text(report_toml(site, year, swap, (round(700_000 + at_swap, 3), 17)))
        # Carbon by the hour in UTC, two days missing; price in civil time: 24 rows a day whatever the clock does, days missing.
        hours = np.arange(begin, end, 3_600_000)
        g = 120 + 60 * np.sin(hours / 3.6e6 / 24 * 2 * np.pi) + rng.normal(0, 5, len(hours))
        keep = ~((hours >= begin + 2400 * 3.6e6) & (hours < begin + 2448 * 3.6e6))
        stamp = [datetime.fromtimestamp(h / 1000, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ") for h in hours[keep]]
        pd.DataFrame({"utc": stamp, "g": g[keep]}).to_csv(d / "carbon.csv", index=False)
        rows = []
        for k in range(366 if year % 4 == 0 else 365):
            if k in (40, 41, 200):
                continue
            date = datetime(year, 1, 1) + timedelta(days=k)
            rows += [(f"{date + timedelta(hours=h):%Y-%m-%d %H:%M:%S}", round(60 + 40 * np.sin(h / 24 * 6.28) + float(rng.normal(0, 8)), 2)) for h in range(24)]
        pd.DataFrame(rows, columns=["ts_local", "price_eur_mwh"]).to_csv(d / "price.csv", index=False)
    (out / "tramuntana.toml").write_text(
        'format = 1\nbroker = "mqtt://127.0.0.1:1883"\nsites = ["hq/site.toml", "chapel/site.toml"]\n')


if __name__ == "__main__":
    make(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 2024)

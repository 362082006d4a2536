#!/usr/bin/env python3
"""Judge of placement: solves the same problems exactly by HiGHS and prints the gap of the answers that came with them.

    judge.py INSTANCES.json [--limit SECONDS]

The gap is of the whole objective that the jobs add (kWh): (ours - best) / best. Each problem is a mixed-integer program:
starts, domains and chunks per rack are integers, the sites' curves are piecewise linear with a binary per segment (they
are not convex). A problem that HiGHS does not close within the limit is judged by its lower bound.
"""
import argparse
import json
import statistics
import sys
import time

import highspy
from curve import piecewise

INF = highspy.kHighsInf


class Model:
    def __init__(self):
        self.cost, self.lo, self.hi, self.kind = [], [], [], []
        self.rows = []

    def var(self, cost, lo, hi, integer):
        self.cost.append(cost)
        self.lo.append(lo)
        self.hi.append(hi)
        self.kind.append(highspy.HighsVarType.kInteger if integer else highspy.HighsVarType.kContinuous)
        return len(self.cost) - 1

    def row(self, lo, hi, terms):
        self.rows.append((lo, hi, terms))

    def solve(self, limit):
        lp = highspy.HighsLp()
        lp.num_col_, lp.num_row_ = len(self.cost), len(self.rows)
        lp.col_cost_, lp.col_lower_, lp.col_upper_ = self.cost, self.lo, self.hi
        lp.integrality_ = self.kind
        lp.row_lower_ = [r[0] for r in self.rows]
        lp.row_upper_ = [r[1] for r in self.rows]
        start, index, value = [0], [], []
        for _, _, terms in self.rows:
            for i, v in terms:
                index.append(i)
                value.append(v)
            start.append(len(index))
        lp.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
        lp.a_matrix_.start_, lp.a_matrix_.index_, lp.a_matrix_.value_ = start, index, value
        h = highspy.Highs()
        h.setOptionValue("output_flag", False)
        h.setOptionValue("threads", 1)
        h.setOptionValue("mip_rel_gap", 1e-5)
        h.setOptionValue("time_limit", float(limit))
        h.passModel(lp)
        h.run()
        info = h.getInfo()
        closed = h.getModelStatus() == highspy.HighsModelStatus.kOptimal
        return (info.objective_function_value if closed else info.mip_dual_bound), closed


def build(p):
    m, h, K = Model(), p["hours"], p["slots"]
    racks, sites = p["racks"], p["sites"]
    free = [[[] for _ in range(K)] for _ in racks]
    caps = [[[] for _ in range(K)] for _ in p["caps"]]
    load = [[[] for _ in range(K)] for _ in sites]
    most = [[0.0] * K for _ in sites]
    for a in p["asks"]:
        mine = [r for r, x in enumerate(racks) if a["partitions"][x["partition"]]]
        chunks, all_h = a["gpus"] // a["chunk"], a["slots"] * h
        out = m.var(a["unplaced"], 0, 1, True)
        choose = [(out, 1.0)]
        domains = {}
        touched = {r: m.var(p["touch_kw"] * all_h, 0, 1, True) for r in mine}
        placed = {r: [] for r in mine}
        for i in sorted({racks[r]["site"] for r in mine}):
            here = [r for r in mine if racks[r]["site"] == i]
            starts = []
            for s in range(a["earliest"], min(a["latest"], K - 1) + 1):
                wait = p["wait_kwh"] * a["gpus"] * (s - a["earliest"]) * h
                tail_h = max(0, s + a["slots"] - K) * h
                x = m.var(wait, 0, 1, True)
                starts.append(x)
                choose.append((x, 1.0))
                sums = [(x, -float(chunks))]
                for r in here:
                    kw = a["chunk"] * a["kw"]
                    n = m.var(kw * (racks[r]["extra"] * all_h + sites[i]["tail"] * tail_h), 0, chunks, True)
                    sums.append((n, 1.0))
                    placed[r].append((n, 1.0))
                    for k in range(s, min(s + a["slots"], K)):
                        free[r][k].append((n, float(a["chunk"])))
                        load[i][k].append((n, kw))
                        for c in racks[r]["caps"]:
                            caps[c][k].append((n, kw))
                m.row(0, 0, sums)
            for k in range(K):
                most[i][k] += a["gpus"] * a["kw"]
            if a["one_domain"]:
                ds = sorted({racks[r]["domain"] for r in here})
                ys = [m.var(0, 0, 1, True) for _ in ds]
                m.row(0, 0, [(x, 1.0) for x in starts] + [(y, -1.0) for y in ys])
                domains.update(zip(ds, ys))
        m.row(1, 1, choose)
        for d, y in domains.items():
            m.row(0, 0, [t for r in mine if racks[r]["domain"] == d for t in placed[r]] + [(y, -float(chunks))])
        for r in mine:
            m.row(-INF, 0, placed[r] + [(touched[r], -float(chunks))])
    for r, x in enumerate(racks):
        for k in range(K):
            if free[r][k]:
                m.row(-INF, x["free"][k], free[r][k])
    for c, room in enumerate(p["caps"]):
        for k in range(K):
            if caps[c][k]:
                m.row(-INF, max(room[k], 0.0) + 1e-7, caps[c][k])
    constant = 0.0
    for i, site in enumerate(sites):
        for k in range(K):
            if not load[i][k]:
                continue
            c, base = site["curves"][k], site["base"][k]
            knots = [c["first"] + c["step"] * j for j in range(len(c["total"]))]
            at = lambda x: piecewise(c, x)
            xs = [base] + [x for x in knots[1:-1] if base + 1e-9 < x < base + most[i][k]] + [base + most[i][k] + 1.0]
            ys = [at(x) for x in xs]
            total, ws = [], []
            for (x0, y0), (x1, y1) in zip(zip(xs, ys), zip(xs[1:], ys[1:])):
                w = m.var(h * y0, 0, 1, True)
                d = m.var(h * (y1 - y0) / (x1 - x0), 0, x1 - x0, False)
                m.row(-INF, 0, [(d, 1.0), (w, -(x1 - x0))])
                ws.append((w, 1.0))
                total += [(w, x0 - base), (d, 1.0)]
            m.row(1, 1, ws)
            m.row(0, 0, load[i][k] + [(v, -q) for v, q in total])
            constant -= h * at(base)
    return m, constant


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("file")
    ap.add_argument("--limit", type=float, default=20)
    args = ap.parse_args()
    gaps, closed_all, worst, took = [], 0, None, 0.0
    for n, p in enumerate(json.load(open(args.file))):
        began = time.time()
        m, constant = build(p)
        best, closed = m.solve(args.limit)
        took += time.time() - began
        best += constant
        gap = (p["ours"] - best) / max(abs(best), 1e-9)
        if gap < -1e-4:
            sys.exit(f"instance {n}: ours {p['ours']:.4f} kWh is below the exact {best:.4f}: the two do not speak of the same problem")
        gaps.append(max(gap, 0.0))
        closed_all += closed
        if worst is None or gap > worst[0]:
            worst = (gap, n)
    print(json.dumps({
        "instances": len(gaps), "closed": closed_all, "mean_gap_pct": 100 * statistics.mean(gaps), "worst_gap_pct": 100 * max(gaps),
        "worst_instance": worst[1], "exact": sum(g < 1e-4 for g in gaps), "highs_seconds": round(took, 2),
    }))


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""The bench's large problem for HiGHS: what a general solver makes of 10,000 nodes and 1,000 jobs, beside our answer.

    peer.py PROBLEM.json [--limit SECONDS]

Rack by rack the problem would have ten million integer columns and some 10^9 entries: it does not fit into memory. So racks are
summed into sites: free GPUs, rack and PDU ratings become sums, surcharges the least of their racks, and a job need not stay in its
domain. Whatever the real problem allows, this one allows: HiGHS has the easier task, and its bound is a lower bound on ours. Starts,
sites and whether a job runs at all are binary; curves are piecewise linear, with a binary a segment.
"""
import argparse
import json
import time

import highspy
import numpy as np
from curve import piecewise

INF = highspy.kHighsInf


class Model:
    """Columns one by one, entries as arrays."""

    def __init__(self):
        self.cost, self.hi, self.kind = [], [], []
        self.lo_row, self.hi_row = [], []
        self.rows, self.cols, self.values = [], [], []

    def var(self, cost, hi, integer):
        self.cost.append(cost)
        self.hi.append(hi)
        self.kind.append(integer)
        return len(self.cost) - 1

    def row(self, lo, hi):
        self.lo_row.append(lo)
        self.hi_row.append(hi)
        return len(self.lo_row) - 1

    def put(self, rows, cols, value):
        rows, cols = np.broadcast_arrays(np.asarray(rows, np.int32), np.asarray(cols, np.int32))
        self.rows.append(rows.ravel())
        self.cols.append(cols.ravel())
        self.values.append(np.broadcast_to(np.asarray(value, float), rows.shape).ravel())

    def solve(self, limit):
        rows, cols, values = (np.concatenate(x) for x in (self.rows, self.cols, self.values))
        order = np.argsort(cols, kind="stable")
        start = np.concatenate([[0], np.cumsum(np.bincount(cols, minlength=len(self.cost)))]).astype(np.int32)
        lp = highspy.HighsLp()
        lp.num_col_, lp.num_row_ = len(self.cost), len(self.lo_row)
        lp.col_cost_, lp.col_lower_, lp.col_upper_ = np.array(self.cost), np.zeros(len(self.cost)), np.array(self.hi)
        lp.integrality_ = [highspy.HighsVarType.kInteger if k else highspy.HighsVarType.kContinuous for k in self.kind]
        lp.row_lower_, lp.row_upper_ = np.array(self.lo_row), np.array(self.hi_row)
        lp.a_matrix_.format_ = highspy.MatrixFormat.kColwise
        lp.a_matrix_.start_, lp.a_matrix_.index_, lp.a_matrix_.value_ = start, rows[order], values[order]
        h = highspy.Highs()
        h.silent()
        h.setOptionValue("threads", 1)
        h.setOptionValue("mip_rel_gap", 1e-3)
        h.setOptionValue("time_limit", float(limit))
        h.passModel(lp)
        began = time.time()
        h.run()
        info = h.getInfo()
        return info.objective_function_value, info.mip_dual_bound, h.modelStatusToString(h.getModelStatus()), time.time() - began, values.size


def build(p):
    m, h, K = Model(), p["hours"], p["slots"]
    racks, caps, sites = p["racks"], np.maximum(np.array(p["caps"]), 0.0), p["sites"]
    # Racks that the same jobs may use at one site.
    pairs = [(r["site"], r["partition"]) for r in racks]
    groups = sorted(set(pairs))
    ours = {g: {r for r, pair in enumerate(pairs) if pair == g} for g in groups}
    users = {}
    for r, x in enumerate(racks):
        for c in x["caps"]:
            users.setdefault(c, set()).add(r)
    limit_rows = lambda kw: np.array([m.row(-INF, v + 1e-6) for v in kw])
    # A cap on all racks of a group holds as it is; caps on fewer are summed: of single racks, and of PDUs.
    wide = {c: limit_rows(caps[c]) for c, rs in users.items() if any(ours[g] <= rs for g in groups)}
    free_row, power_rows = {}, {}
    for g, rs in ours.items():
        free_row[g] = limit_rows([sum(racks[r]["free"][k] for r in rs) for k in range(K)])
        power_rows[g] = [rows for c, rows in wide.items() if rs <= users[c]]
        for single in [True, False]:
            inner = [c for c, u in users.items() if c not in wide and u <= rs and (len(u) == 1) == single]
            if set().union(*(users[c] for c in inner)) == rs:
                power_rows[g].append(limit_rows(sum(caps[c] for c in inner)))
    load_row = [np.array([m.row(0.0, 0.0) for _ in range(K)]) for _ in sites]
    most = np.zeros(len(sites))
    for a in p["asks"]:
        all_h, kw = a["slots"] * h, a["gpus"] * a["kw"]
        choose = m.row(1.0, 1.0)
        m.put(choose, m.var(a["unplaced"], 1.0, True), 1.0)
        for g in (g for g in groups if a["partitions"][g[1]]):
            i, least = g[0], min(racks[r]["extra"] for r in ours[g])
            most[i] += kw
            for s in range(a["earliest"], min(a["latest"], K - 1) + 1):
                wait = p["wait_kwh"] * a["gpus"] * (s - a["earliest"]) * h
                tail_h = max(0, s + a["slots"] - K) * h
                slots = np.arange(s, min(s + a["slots"], K))
                x = m.var(wait + p["touch_kw"] * all_h + kw * (sites[i]["tail"] * tail_h + least * all_h), 1.0, True)
                m.put(choose, x, 1.0)
                m.put(load_row[i][slots], x, kw)
                m.put(free_row[g][slots], x, float(a["gpus"]))
                for rows in power_rows[g]:
                    m.put(rows[slots], x, kw)
    constant = 0.0
    for i, site in enumerate(sites):
        for k in range(K):
            c, base = site["curves"][k], site["base"][k]
            knots = [c["first"] + c["step"] * j for j in range(len(c["total"]))]
            # No load is above what its widest cap leaves, nor above all jobs together.
            room = min([most[i]] + [max(caps[c2][k], 0.0) for c2 in wide if users[c2] <= {r for r, x in enumerate(racks) if x["site"] == i}])
            end = base + room
            xs = [base] + [x for x in knots[1:-1] if base + 1e-9 < x < end] + [end + 1.0]
            ys = [piecewise(c, x) for x in xs]
            one = m.row(1.0, 1.0)
            for (x0, y0), (x1, y1) in zip(zip(xs, ys), zip(xs[1:], ys[1:])):
                w = m.var(h * y0, 1.0, True)
                d = m.var(h * (y1 - y0) / (x1 - x0), x1 - x0, False)
                inside = m.row(-INF, 0.0)
                m.put(inside, d, 1.0)
                m.put(inside, w, -(x1 - x0))
                m.put(one, w, 1.0)
                m.put(load_row[i][k], w, -(x0 - base))
                m.put(load_row[i][k], d, -1.0)
            constant -= h * piecewise(c, base)
    return m, constant


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("file")
    ap.add_argument("--limit", type=float, default=60)
    args = ap.parse_args()
    with open(args.file) as f:
        p = json.load(f)
    began = time.time()
    m, constant = build(p)
    built = time.time() - began
    found, bound, status, took, entries = m.solve(args.limit)
    kwh = lambda v: "none" if abs(v) >= 1e29 else "%.0f kWh" % (v + constant)
    gap = "no bound" if abs(bound) >= 1e29 else "ours is at most %.2f %% above it" % (100 * (p["ours"] / (bound + constant) - 1))
    print(
        "HiGHS, racks summed into sites: %d columns (%d binary), %d entries; built in %.1f s, %s after %.1f s; best found %s, bound %s: %s"
        % (len(m.cost), sum(m.kind), entries, built, status.lower(), took, kwh(found), kwh(bound), gap)
    )


if __name__ == "__main__":
    main()

"""The tick of tests/bench/tick.rs as a convex program: cvxpy with Clarabel, compiled once and solved again with new parameters.

Usage: tick_peer.py PROBLEMS.json [HOW_MANY]. A Python controller would solve both sites in one tick; so does this one.
Prints JSON: milliseconds of each tick (the first, which compiles, apart), and by how much the other side's plans cost more than the optimum.
"""
import json, sys, time
import cvxpy as cp, numpy as np

all_ = json.load(open(sys.argv[1])); many = int(sys.argv[2]) if len(sys.argv) > 2 else 40
LOOPS, STEPS, H = 10, 24, 5 / 60

class Site:
    """One site's program with parameters (DPP: no compilation after the first solve)."""
    def __init__(s, plant):
        T, f = cp.Variable((STEPS, LOOPS)), cp.Variable((STEPS, LOOPS))
        s.T, s.f = T, f
        s.load = cp.Parameter((STEPS, LOOPS), nonneg=True); s.wet = cp.Parameter(STEPS)
        s.T0, s.f0, s.hot0 = cp.Parameter(LOOPS), cp.Parameter(LOOPS), cp.Parameter(LOOPS)
        lift, s.pump, rise = (np.array(plant[k]) for k in ("lift", "pump", "rise"))
        s.lift = lift; keep = np.exp(-1.0)
        need = cp.reshape(s.wet, (STEPS, 1), order="C") @ np.ones((1, LOOPS)) + 6
        # The load times a variable: the parameter multiplies an affine or convex expression, which DPP allows.
        power = cp.sum(s.load) + 0.0018 * cp.sum(cp.multiply(s.load, T - 20)) + cp.sum(cp.multiply(cp.multiply(s.load, np.tile(lift, (STEPS, 1))), s.cold(T, need))) + cp.sum(cp.power(f / 100, 3) @ s.pump)
        limits, hot = [T >= 16, T <= 34, f >= 45, f <= 100], s.hot0
        for k in range(STEPS):
            t0, f0 = (s.T0, s.f0) if k == 0 else (T[k - 1], f[k - 1])
            limits += [cp.abs(T[k] - t0) <= 1, cp.abs(f[k] - f0) <= 5]
            p90 = 1.1 * s.load[k]
            rest = T[k] + 12 + cp.multiply(cp.multiply(rise, p90), 2 - f[k] / 100)
            hot = rest * (1 - keep) + keep * hot
            limits += [hot <= 82]
        s.problem = cp.Problem(cp.Minimize(power * H), limits)
    def cold(s, T, need):
        s.slack = cp.Variable((STEPS, LOOPS), nonneg=True)
        s.slack_holds = s.slack >= need - T
        return s.slack
    def ready(s):
        s.problem = cp.Problem(s.problem.objective, s.problem.constraints + [s.slack_holds]); return s
    def solve(s, p):
        s.load.value = np.array(p["loads_kw"]); s.wet.value = np.array(p["wet_bulb_c"])
        now = np.array(p["in_force"]); s.T0.value, s.f0.value, s.hot0.value = now[0::2], now[1::2], np.array(p["hot"])
        s.problem.solve(solver=cp.CLARABEL)
        return s.problem.value if s.problem.status in ("optimal", "optimal_inaccurate") else float("nan")

sites = [Site(p).ready() for p in all_["plants"]]
dpp = all(s.problem.is_dcp(dpp=True) for s in sites)
ms, gaps, infeasible = [], [], 0
pairs = list(zip(all_["problems"][0::2], all_["problems"][1::2], all_["plan_kwh"][0::2], all_["plan_kwh"][1::2]))
step = max(1, len(pairs) // many)
for a, b, ours_a, ours_b in pairs[::step][:many]:
    began = time.perf_counter()
    best = [sites[0].solve(a), sites[1].solve(b)]
    ms.append(1e3 * (time.perf_counter() - began))
    for ours, v in zip((ours_a, ours_b), best):
        if np.isfinite(v): gaps.append((ours - v) / v)
        else: infeasible += 1
rest = sorted(ms[1:])
print(json.dumps(dict(cvxpy=cp.__version__, dpp=dpp, ticks=len(ms), first_ms=ms[0], p50_ms=float(np.median(rest)), p99_ms=float(np.quantile(rest, .99)), least_ms=rest[0],
    gap_mean_pct=100 * float(np.mean(gaps)), gap_most_pct=100 * float(np.max(gaps)), infeasible=infeasible)))

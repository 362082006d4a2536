//! What moves between two steps, and what that costs.
//!
//! A loop that is asked for colder water must first cool its own volume: exchangers saturate, pumps run full and chillers
//! start for a step, be the move ever so small. So falls and rises of each setpoint count apart, each by whether it moved
//! at all and by how far; so do changes of flows and loads. Rows of a plant that is always on the move then still tell what
//! it needs at rest, and a plan knows what a move costs.
//!
//! Invariant: at rest every feature is zero.

use super::basis::Variables;

/// From this far on a temperature setpoint counts as moved, K; less counts in part.
const EDGE_K: f64 = 0.05;

/// Features of one step.
pub fn len(v: &Variables) -> usize {
    4 * v.temps().count() + 4 * v.flows().count() + v.of_loops()
}

/// Fills the features: per temperature (fell at all, rose at all, by how many K each), per other setpoint (fall, rise, fall
/// and rise of the load per flow: what comes back gets colder or warmer), per load (change). `z`, `before` = variables of
/// this step and of the one before.
pub fn fill(v: &Variables, z: &[f64], before: Option<&[f64]>, out: &mut Vec<f64>) {
    out.clear();
    let Some(before) = before else {
        out.resize(len(v), 0.0);
        return;
    };
    let change = |k: usize| {
        let d = z[k] - before[k];
        if d.is_finite() { d } else { 0.0 }
    };
    for a in v.temps() {
        let d = change(a);
        let (fall, rise) = ((-d).max(0.0), d.max(0.0));
        out.extend([(fall / EDGE_K).min(1.0), (rise / EDGE_K).min(1.0), fall, rise]);
    }
    for f in v.flows() {
        let d = change(f);
        let per_flow = |z: &[f64]| z[v.load_of(f)] / z[f].max(0.05);
        let r = per_flow(z) - per_flow(before);
        let r = if r.is_finite() { r } else { 0.0 };
        out.extend([(-d).max(0.0), d.max(0.0), (-r).max(0.0), r.max(0.0)]);
    }
    out.extend((0..v.of_loops()).map(|l| change(v.load(l))));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rest_is_zero_and_a_small_fall_counts_as_a_fall() {
        let v = Variables {
            scale: vec![1.0, 100.0],
            is_temp: vec![true, false],
            loads: vec![(0, 1000.0)],
            load_of_loop: vec![0],
            acts_on: vec![0, 0],
            ..Variables::default()
        };
        let (mut z, mut before, mut m) = (vec![], vec![], vec![]);
        v.fill(&[24.0, 60.0], &[900.0], 1.0, [20.0, 15.0, 10.0], &mut before);
        fill(&v, &before, Some(&before), &mut m);
        assert_eq!(m, vec![0.0; len(&v)]);
        v.fill(&[23.9, 60.0], &[800.0], 1.0, [20.0, 15.0, 10.0], &mut z);
        fill(&v, &z, Some(&before), &mut m);
        assert_eq!((m[0], m[1]), (1.0, 0.0), "it fell, ever so little");
        assert!((m[2] - 0.1).abs() < 1e-9 && m[6] > 0.0 && m[7] == 0.0 && (m[8] + 0.1).abs() < 1e-9, "{m:?}");
    }
}

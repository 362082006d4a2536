//! Honest errors on one series: strict time split, rolling origin, every model beside the naive ones.
//!
//! The training part is all targets before `from`; scale, trees and the choice of the model come from it alone. In the
//! test part origins roll on: what has become known by then (not more) goes on moving ridges, blend and bands, as it
//! does in service. Figures are over targets that were seen, not filled, and over origins at which everything that the
//! features look back to was there: the same rows for all models.

use super::features::Table;
use super::read::Data;
use super::rows::{FILL_INPUT, FILL_LOAD, Known, fill};
use super::walk::{Made, Members, Parts, Took, Watch, walk};
use super::{Calendar, ForecastError, Row, Series, Spec};
use crate::time::{Span, Timestamp};

/// What is asked.
#[derive(Clone, Debug)]
pub struct Setup {
    pub horizons: Vec<Span>,
    /// How far back features look.
    pub max_lag: Span,
    pub from: Timestamp,
    pub to: Option<Timestamp>,
    pub calendar: Calendar,
    pub members: Members,
    pub seed: u64,
}

/// What one horizon came to.
pub struct Horizon {
    pub ahead: Span,
    /// One row per model, and the seconds it took.
    pub rows: Vec<(Row, Took)>,
    /// Forecasts of the chosen model over the test part.
    pub made: Vec<Made>,
    /// Experts and their share in the blend at the end.
    pub shares: Vec<(&'static str, f64)>,
    /// Features and how much the chosen ridge and the trees lean on them (absolute weight per standard deviation; share
    /// of splits).
    pub leanings: Vec<(String, f64, f64)>,
}

/// What a backtest came to.
pub struct Outcome {
    pub load: Series,
    pub horizons: Vec<Horizon>,
    /// Missing rows of the load and the inputs, and how many of them were filled.
    pub missing: usize,
    pub filled: usize,
}

/// Trains on what lies before `setup.from` and walks the rest. `watch` is the caller's stopwatch.
pub fn backtest(data: &Data, setup: &Setup, watch: Watch) -> Result<Outcome, ForecastError> {
    let mut spec = Spec::new(data.load.step, &setup.horizons, setup.max_lag)?;
    spec.calendar = setup.calendar.clone();
    spec.inputs = data.inputs.iter().map(|(n, _)| n.clone()).collect();
    let clock = spec.calendar.clock()?;
    let row_of = |at: Timestamp| (((at - data.load.start).0 + data.load.step.0 - 1).div_euclid(data.load.step.0)).max(0) as usize;
    let n = data.load.values.len();
    let parts = Parts { from: row_of(setup.from).min(n), to: setup.to.map_or(n, |t| row_of(t).min(n)) };
    if parts.from < 2 || parts.to <= parts.from {
        return Err(ForecastError::Split(format!(
            "the series runs from {} to {}: nothing before --train-until {} or nothing after it",
            data.load.start,
            data.load.end(),
            setup.from
        )));
    }
    let mut load = data.load.clone();
    let missing = n - load.present() + data.inputs.iter().map(|(_, s)| s.values.len() - s.present()).sum::<usize>();
    let mut filled = fill(&mut load.values, FILL_LOAD);
    let inputs: Vec<Series> = (data.inputs.iter())
        .map(|(_, s)| {
            let mut s = s.clone();
            filled += fill(&mut s.values, FILL_INPUT);
            s
        })
        .collect();
    let inputs: Vec<&Series> = inputs.iter().collect();
    let table = Table::new(&spec, &clock, "load", &Known { load: &load, inputs: &inputs, plans: &[] })?;
    let names = spec.names();
    let mut horizons = Vec::with_capacity(spec.horizons.len());
    for h in 0..spec.horizons.len() {
        let w = walk(&spec, &table, &load, &data.load, h, parts, &setup.members, setup.seed, true, watch);
        let ahead = spec.horizons[h];
        let mut rows: Vec<(Row, Took)> = (0..w.models.len())
            .filter(|m| setup.members.0.iter().any(|n| n == w.models[*m]))
            .filter_map(|m| Some((w.sums[m].row("load", ahead, w.models[m], m == w.chosen)?, w.took[m])))
            .collect();
        let split = w.split.and_then(|s| s.row("load", ahead, super::split::NAME, false));
        rows.extend(split.map(|r| (r, Took::default())));
        let mut shares = Vec::new();
        w.lane.blend.weights(&vec![0.0; w.lane.blend.experts()], &mut shares);
        let trees = w.lane.trees.as_ref().map_or_else(|| vec![0.0; names.len()], |t| t.importance(names.len()));
        let ridge = w.lane.ridges.first().map(|r| r.weights.clone()).unwrap_or_default();
        let lean = |j: usize| ridge.get(j + 1).map_or(0.0, |w| w.abs());
        let leanings = names.iter().enumerate().map(|(j, n)| (n.clone(), lean(j), trees[j])).collect();
        horizons.push(Horizon { ahead, rows, made: w.made, shares: w.lane.experts().into_iter().zip(shares).collect(), leanings });
    }
    Ok(Outcome { load: data.load.clone(), horizons, missing, filled })
}

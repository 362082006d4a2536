//! Training of the forecaster that a service uses: one walk per lane through the series (see [`super::walk`]).
//!
//! The last 15 % are the score: walked, not trained on. What the walk leaves at its end is the model, so that weights and
//! bands are as fresh as the data. The same arguments give the same bytes.

use super::features::Table;
use super::forecaster::{Forecaster, LaneModel, Model, Target};
use super::hierarchy::{Tree, Whole};
use super::lane::TREES;
use super::rows::{FILL_INPUT, FILL_LOAD, Known, Plan, fill};
use super::tail::{Tail, WITHIN};
use super::walk::{Members, Parts, walk};
use super::{Calendar, ForecastError, Row, Series, Spec, WeatherSeries};
use crate::time::Span;

/// Horizons of a service's forecaster; those that are no whole number of steps are left out.
pub const HORIZONS: [Span; 7] =
    [Span::minutes(5), Span::minutes(15), Span::minutes(30), Span::hours(1), Span::hours(2), Span::hours(4), Span::hours(6)];
/// Rows with a value below which nothing is trained.
const ROWS_MIN: usize = 48;
/// Share of the series that is trained on; the rest is the score.
const TRAIN: f64 = 0.85;
/// Length of a series that supports looking back a week, and a day; else a few hours.
const WEEK_NEEDS: Span = Span::hours(24 * 14);
const DAY_NEEDS: Span = Span::hours(24 * 3);
const HOURS: Span = Span::hours(6);
/// Share in the blend, of both, below which trees are left out of a stored model: they are most of its bytes.
const TREES_EARN: f64 = 0.05;

/// What to train on.
#[derive(Clone)]
pub struct Training<'a> {
    /// `<name>/<version>`.
    pub name: &'a str,
    /// Series of one grid (start, step, length).
    pub targets: &'a [(String, Series)],
    pub weather: Option<&'a WeatherSeries>,
    /// What is known ahead, by name.
    pub plans: &'a [(&'a str, &'a dyn Plan)],
    pub calendar: Calendar,
    pub horizons: &'a [Span],
    /// Which targets are sums of which.
    pub wholes: &'a [Whole],
    pub members: Members,
    pub seed: u64,
}

impl<'a> Training<'a> {
    pub fn new(name: &'a str, targets: &'a [(String, Series)], weather: Option<&'a WeatherSeries>, seed: u64) -> Training<'a> {
        Training {
            name,
            targets,
            weather,
            plans: &[],
            calendar: Calendar::default(),
            horizons: &HORIZONS,
            wholes: &[],
            members: Members::default(),
            seed,
        }
    }
}

/// Trains a forecaster; its errors on the last part are in [`Forecaster::score`].
pub fn train(t: &Training) -> Result<Forecaster, ForecastError> {
    let (_, first) = t.targets.first().ok_or(ForecastError::NoTargets)?;
    check_name(t.name)?;
    for (target, s) in t.targets {
        let grid = |what| ForecastError::Grid { target: target.clone(), what };
        if s.step != first.step {
            return Err(grid("step"));
        }
        if s.start != first.start || s.values.len() != first.values.len() {
            return Err(grid("start or length"));
        }
        if s.present() < ROWS_MIN {
            return Err(ForecastError::TooShort { target: target.clone(), rows: s.present(), need: ROWS_MIN });
        }
    }
    let rows = first.values.len();
    let parts = Parts { from: (rows as f64 * TRAIN) as usize, to: rows };
    let length = Span(first.step.0.saturating_mul(parts.from as i64));
    let max_lag = if length >= WEEK_NEEDS {
        super::spec::WEEK
    } else if length >= DAY_NEEDS {
        super::spec::DAY
    } else {
        HOURS
    };
    let whole = |h: &&Span| first.step.0 > 0 && h.0 >= first.step.0 && h.0 % first.step.0 == 0;
    let fitting: Vec<Span> = t.horizons.iter().filter(whole).copied().collect();
    let fitting = if fitting.is_empty() { t.horizons.to_vec() } else { fitting };
    let mut spec = Spec::new(first.step, &fitting, max_lag)?;
    spec.calendar = t.calendar.clone();
    spec.plans = t.plans.iter().map(|(n, _)| (*n).to_owned()).collect();
    let names: Vec<String> = t.targets.iter().map(|(n, _)| n.clone()).collect();
    Tree::new(&names, t.wholes).map_err(ForecastError::Hierarchy)?;

    let weather: Vec<Series> = t.weather.map_or_else(Vec::new, |w| vec![w.dry_bulb_c.clone(), w.wet_bulb_c.clone()]);
    let weather: Vec<Series> = weather
        .into_iter()
        .map(|mut s| {
            fill(&mut s.values, FILL_INPUT);
            s
        })
        .collect();
    if !weather.is_empty() {
        spec.inputs = vec!["dry_bulb_c".into(), "wet_bulb_c".into()];
    }
    let inputs: Vec<&Series> = weather.iter().collect();
    let plans: Vec<&dyn Plan> = t.plans.iter().map(|(_, p)| *p).collect();
    let clock = spec.calendar.clock()?;
    let filled: Vec<Series> = (t.targets.iter())
        .map(|(_, s)| {
            let mut s = s.clone();
            fill(&mut s.values, FILL_LOAD);
            s
        })
        .collect();
    let loads: Vec<(&str, &Series)> = t.targets.iter().zip(&filled).map(|((n, _), s)| (n.as_str(), s)).collect();
    let tables = Table::many(&spec, &clock, &loads, &inputs, &plans)?;

    let mut digest = blake3::Hasher::new();
    let mut out = Vec::with_capacity(t.targets.len());
    let mut score: Vec<Row> = Vec::new();
    for (((name, raw), load), table) in t.targets.iter().zip(&filled).zip(&tables) {
        digest.update(name.as_bytes());
        raw.values.iter().for_each(|v| {
            digest.update(&v.to_bits().to_le_bytes());
        });
        let known: Known = Known { load, inputs: &inputs, plans: &plans };
        let mut lanes = Vec::with_capacity(spec.horizons.len());
        for h in 0..spec.horizons.len() {
            let mut w = walk(&spec, table, known.load, raw, h, parts, &t.members, t.seed, false, &|| 0.0);
            score.extend((0..w.models.len()).filter_map(|m| w.sums[m].row(name, spec.horizons[h], w.models[m], m == w.chosen)));
            let mut shares = Vec::new();
            w.lane.blend.weights(&vec![0.0; w.lane.blend.experts()], &mut shares);
            let mut chosen = w.models[w.chosen];
            let trees: f64 = shares.iter().rev().take(TREES.len()).sum();
            if w.lane.with_trees && (w.lane.trees.is_none() || w.lane.rest.is_none() || trees < TREES_EARN && !TREES.contains(&chosen)) {
                w.lane.with_trees = false;
                (w.lane.trees, w.lane.rest) = (None, None);
                TREES.iter().for_each(|_| w.lane.blend.drop_last());
            }
            if TREES.contains(&chosen) && !w.lane.with_trees {
                chosen = "blend";
            }
            w.lane.ridges.iter_mut().for_each(super::ridge::Ridge::freeze);
            lanes.push(LaneModel { lane: w.lane, bands: w.bands, chosen: chosen.to_owned() });
        }
        let mut tails: Vec<Tail> = WITHIN.iter().filter(|s| s.0 % spec.step.0 == 0).map(|s| Tail::new(*s, spec.rows(*s))).collect();
        tails.iter_mut().for_each(|tail| tail.walk(load));
        let least = raw.values.iter().copied().filter(|v| v.is_finite()).fold(f64::INFINITY, f64::min);
        out.push(Target {
            name: name.clone(),
            longest_still_rows: longest_still(&raw.values),
            floor: (least >= 0.0).then_some(0.0),
            lanes,
            tails,
        });
    }
    let model = Model {
        format: super::card::FORMAT,
        name: t.name.to_owned(),
        seed: t.seed,
        features: spec.names(),
        spec,
        trained_from: first.start,
        trained_to: first.time(rows),
        data_digest: digest.finalize().to_hex().to_string(),
        wholes: t.wholes.to_vec(),
        targets: out,
    };
    Forecaster::new(model, score)
}

pub(super) fn check_name(name: &str) -> Result<(), ForecastError> {
    let good = |s: &str| !s.is_empty() && s.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    match name.split_once('/') {
        Some((a, b)) if good(a) && good(b) => Ok(()),
        _ => Err(ForecastError::Name(name.to_owned())),
    }
}

fn longest_still(values: &[f64]) -> usize {
    let (mut longest, mut run, mut before) = (0, 0, f64::NAN);
    for v in values {
        run = if *v == before { run + 1 } else { usize::from(v.is_finite()) };
        before = *v;
        longest = longest.max(run);
    }
    longest
}

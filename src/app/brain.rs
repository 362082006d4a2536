//! One site's thinking: newest readings in, forecast, recommendation, requests and hints out.
//!
//! Words: a *beat* is one advance of the site's clock (a BMS heartbeat); a *tick* is one control step on that clock.
//! Invariants: no I/O and no clock here: the site's time is a parameter, what must be stored or published is returned;
//! a beat without a due tick costs microseconds; a missing model or forecast is a state that is shown, never a stop.

use super::history::HistoryFile;
use super::journal::{Journal, Row};
use super::learner::{Learner, PlantModel, row_of};
use super::placement::{self, Occupied};
use crate::control::controller::HEARTBEAT_LOST;
use crate::control::ledger::{self, Applied};
use crate::control::place::{Board, PriceTrack};
use crate::control::plan::Tuning;
use crate::control::view::{Price, RAMP, combine};
use crate::control::{Bindings, Controller, LoadForecast, ModeEvent, RackView, Recommendation, Request, View, ViewBuilder};
use crate::control::{Entry, Why};
use crate::event::{FORECAST_FALLBACKS, Tally};
use crate::forecast::{Forecast, Forecaster, Series, WeatherSeries, Window, steepest};
use crate::plant::identified::Drift;
use crate::plant::predict::{PlantState, StepInput};
use crate::plant::rows::RowPlan;
use crate::reading::{Latest, PointId};
use crate::signal::tariff::Tariff;
use crate::signal::weather::Weather;
use crate::site::{Catalogue, ClockSource, Combine, MeterBoundary, SiteFile};
use crate::time::{Span, Timestamp};
use crate::units::Kind;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Recommendations kept in memory: what page and API show. Each is filed in the store too, which nobody here reads back.
const RECOMMENDATIONS_MAX: usize = 600;
/// Steps of the plan at most, their least length, and how far the plan looks ahead.
pub const PLAN_STEPS: usize = 24;
pub const PLAN_STEP: Span = Span::minutes(5);
const HORIZON: Span = Span::hours(2);
/// Least distance between linked supply setpoints on a learnt model, K: the approach that plate exchangers are commonly chosen for. Below it pumps and
/// chillers start at the least disturbance, and data from above it do not tell where.
const LEARNT_APPROACH_K: f64 = 2.0;
/// Share of the rises that a load has shown which limits must bear.
const RISE_QUANTILE: f64 = 0.99;
/// Beats further apart than this are a gap, not a pace.
const PACE_MAX: Span = Span::minutes(30);

/// How a site is planned: in steps of its tick, for two hours.
pub fn tuning(site: &SiteFile) -> Tuning {
    let step = Span(site.control.tick().0.max(PLAN_STEP.0));
    let steps = ((HORIZON.0 / step.0) as usize).clamp(6, PLAN_STEPS);
    let approach_k = if site.control.learns() { LEARNT_APPROACH_K } else { Tuning::default().approach_k };
    Tuning { step, steps, approach_k, settle: site.control.settle(), ..Tuning::default() }
}

/// What one beat asks the caller to do.
#[derive(Debug, Default)]
pub struct Beat {
    /// Setpoints to publish: (actuator index, value in canonical units).
    pub requests: Vec<Request>,
    pub recommendation: Option<Recommendation>,
    pub mode_events: Vec<ModeEvent>,
    /// The account of the recommendation before, now that this tick has replaced it.
    pub entry: Option<Entry>,
    pub ticked: bool,
    /// Why nothing is controlled yet, where that is new.
    pub waits_for: Option<String>,
}

/// A site's bindings, models, history and controller.
pub struct Brain {
    pub site: Arc<SiteFile>,
    pub controller: Controller,
    pub model: Option<PlantModel>,
    pub learner: Learner,
    /// Readings from before, until the points that they belong to are known.
    pub history: Option<Arc<HistoryFile>>,
    pub forecaster: Option<Forecaster>,
    pub journal: Journal,
    pub forecasts: Vec<Forecast>,
    /// Forecast of the site's load some time ago, for the report: (made for, p10, p50, p90) half an hour ahead.
    pub past_forecasts: VecDeque<(Timestamp, [f64; 3])>,
    pub recommendations: VecDeque<Recommendation>,
    /// Where jobs may go; none where no model can tell.
    pub board: Option<Arc<Board>>,
    /// How its boards' prices came out.
    prices: PriceTrack,
    /// What a scheduler told of free GPUs and jobs.
    pub occupancy: Option<Occupied>,
    pub drift: Drift,
    pub findings: Vec<String>,
    /// What electricity costs (€/MWh) and emits (g/kWh).
    pub price: Option<Tariff>,
    pub carbon: Option<Tariff>,
    /// Highest power of a tick in the month that began then.
    peak: (Timestamp, f64),
    /// The last verdict on the load model, and when it fell.
    pub model_news: Option<(Timestamp, String)>,
    bindings: Option<Bindings>,
    meters: Vec<Vec<PointId>>,
    racks: Vec<RackPoints>,
    loads: BTreeMap<String, Series>,
    dry_bulb: Series,
    wet_bulb: Series,
    next_tick: Option<Timestamp>,
    /// The next beat ticks, wherever it lies between two ticks.
    at_once: bool,
    last_beat: Option<Timestamp>,
    pace: Span,
    /// What a warming site was last said to wait for.
    waits_for: String,
    /// The recommendation in force and who applied it.
    open: Option<(Recommendation, Option<Applied>)>,
}

/// The points of one rack.
struct RackPoints {
    id: String,
    partition: usize,
    power: PointId,
    supply: Option<PointId>,
    back: Option<PointId>,
}

impl Brain {
    pub fn new(site: Arc<SiteFile>, model: Option<PlantModel>, forecaster: Option<Forecaster>) -> Brain {
        let step = forecaster.as_ref().map_or(PLAN_STEP, Forecaster::step);
        let empty = Series::new(Timestamp(0), step, Vec::new());
        let mut journal = Journal::default();
        journal.keep_for(site.control.tick());
        Brain {
            controller: Controller::with_tuning(&site, Timestamp(0), tuning(&site)),
            learner: Learner::new(Arc::clone(&site), None),
            history: None,
            open: None,
            waits_for: String::new(),
            loads: site.loads().map(|l| (l.to_owned(), empty.clone())).collect(),
            dry_bulb: empty.clone(),
            wet_bulb: empty,
            site,
            model,
            forecaster,
            journal,
            forecasts: Vec::new(),
            past_forecasts: VecDeque::new(),
            recommendations: VecDeque::new(),
            board: None,
            prices: PriceTrack::default(),
            occupancy: None,
            drift: Drift::default(),
            findings: Vec::new(),
            model_news: None,
            price: None,
            carbon: None,
            peak: (Timestamp::MIN, 0.0),
            bindings: None,
            meters: Vec::new(),
            racks: Vec::new(),
            next_tick: None,
            at_once: false,
            last_beat: None,
            pace: Span::ZERO,
        }
    }

    /// Takes the site's clock to `now`: samples, and on a due tick forecasts, plans and recommends.
    pub fn beat(
        &mut self,
        now: Timestamp,
        catalogue: &Catalogue,
        latest: &dyn Fn(PointId) -> Option<Latest>,
        broker_up: bool,
        tally: &Tally,
    ) -> Beat {
        self.rebind(catalogue);
        self.keep_pace(now);
        let Some(bindings) = &self.bindings else { return Beat::default() };
        let mut view = ViewBuilder { site: Arc::clone(&self.site), bindings, now, pace: self.pace }.build(latest, PLAN_STEPS);
        view.link.broker_up = broker_up;
        let sample = self.sample(&view, latest);
        self.journal.sample(sample);
        let tick = self.site.control.tick();
        let at_once = std::mem::take(&mut self.at_once);
        match self.next_tick {
            Some(_) if at_once => return self.tick(now, view, None, catalogue, latest, tally),
            // A clock that was set back far begins anew.
            Some(due) if now < due && due - now <= Span(2 * tick.0) => return Beat::default(),
            _ => self.next_tick = Some(now.floor(tick) + tick),
        }
        let row = self.journal.close(now);
        self.tick(now, view, row, catalogue, latest, tally)
    }

    /// Beats that came with a later one in one batch: no sample and no tick, but a stride that is not mistaken for the plant's pace.
    pub fn passed(&mut self, beats: &[Timestamp]) {
        beats.iter().for_each(|t| self.keep_pace(*t));
    }

    /// Takes charge after another service: the next beat ticks, so that no request lapses. The account of the tick goes on.
    pub fn tick_next(&mut self) {
        self.at_once = true;
    }

    /// Learns how often the site's clock moves.
    fn keep_pace(&mut self, now: Timestamp) {
        if let Some(stride) = self.last_beat.map(|t| now - t).filter(|s| s.0 > 0)
            && (self.pace == Span::ZERO || stride.0 <= 3 * self.pace.0)
        {
            let pace = Span(stride.0.min(PACE_MAX.0));
            if pace == self.pace && pace > self.site.control.tick() {
                self.tick_with(pace);
            }
            self.pace = pace;
            self.journal.gap = Span(pace.0 * 3 / 2);
        }
        self.last_beat = Some(now);
    }

    /// A plant that speaks less often than the site file's tick is controlled when it speaks.
    fn tick_with(&mut self, pace: Span) {
        let mut site = (*self.site).clone();
        site.control.tick_s = u32::try_from(pace.0 / 1000).unwrap_or(site.control.tick_s);
        site.control.valid_s = site.control.valid_s.max(2 * site.control.tick_s);
        self.site = Arc::new(site);
        self.controller.retune(tuning(&self.site));
        self.learner.follow(Arc::clone(&self.site));
        self.journal.keep_for(self.site.control.tick());
    }

    /// How often the site's clock moves; zero before its second beat.
    pub fn pace(&self) -> Span {
        self.pace
    }

    /// The controller's word on what an operator orders between ticks is had through `controller` itself.
    fn rebind(&mut self, catalogue: &Catalogue) {
        if self.bindings.as_ref().is_some_and(|b| b.version == catalogue.version()) {
            return;
        }
        let bindings = Bindings::resolve(&self.site, catalogue);
        self.findings = bindings.findings.clone();
        let plan = RowPlan::new(&self.site, catalogue);
        if plan.unbound(&self.site).is_none()
            && let Some(file) = self.history.take()
        {
            self.learner.begin(file.rows(&self.site, catalogue));
        }
        self.learner.binding = Some(plan.binding().clone());
        self.meters = (self.site.meters.iter())
            .map(|m| catalogue.select(&m.select).filter(|p| p.kind == Kind::Power).map(|p| p.id).collect())
            .collect();
        self.racks.clear();
        for (partition, p) in self.site.partitions.iter().enumerate() {
            for point in catalogue.select(&p.racks) {
                let of_rack = |kind: &str| catalogue.iter().find(|q| q.object_id == point.object_id && q.point_type == kind).map(|q| q.id);
                self.racks.push(RackPoints {
                    id: point.object_id.clone(),
                    partition,
                    power: point.id,
                    supply: of_rack("RackLiquidSupplyTemperature"),
                    back: of_rack("RackLiquidReturnTemperature"),
                });
            }
        }
        self.bindings = Some(bindings);
    }

    fn sample(&self, view: &View, latest: &dyn Fn(PointId) -> Option<Latest>) -> Row {
        let role = |name: &str| view.role(name).value;
        let meters_kw: Vec<f64> = self
            .meters
            .iter()
            .map(|ids| combine(&ids.iter().map(|p| latest(*p)).collect::<Vec<_>>(), Combine::Sum, Kind::Power, view.now).value)
            .collect();
        let sum = |of: MeterBoundary| {
            let parts = self.site.meters.iter().zip(&meters_kw).filter(|(m, _)| m.boundary == of).map(|(_, kw)| *kw);
            parts.fold(None, |sum: Option<f64>, kw| Some(sum.unwrap_or(0.0) + kw)).unwrap_or(f64::NAN)
        };
        Row {
            at: view.now,
            it_kw: sum(MeterBoundary::It),
            cooling_kw: sum(MeterBoundary::Cooling),
            loss_kw: sum(MeterBoundary::Loss),
            gpus: view.gpus_allocated.unwrap_or(f64::NAN),
            dry_bulb_c: view.weather.dry_bulb_c,
            wet_bulb_c: view.weather.wet_bulb_c,
            dew_point_c: role("room_dew_point"),
            loops: self.site.loops.iter().map(|l| [role(&l.supply), role(&l.return_), role(&l.load)]).collect(),
            own_loads_kw: self.site.own_loads().map(role).collect(),
            limits: self
                .site
                .limits
                .iter()
                .map(|l| {
                    let base = l.above.as_ref().map_or(0.0, |r| role(r));
                    [role(&l.role), l.max.map_or(f64::NAN, |m| m + base), l.min.map_or(f64::NAN, |m| m + base)]
                })
                .collect(),
            actuators: view
                .actuators
                .iter()
                .enumerate()
                .map(|(i, a)| {
                    [self.controller.asked(i).map_or(f64::NAN, |(v, _)| v), a.in_force.value, a.measured.map_or(f64::NAN, |m| m.value)]
                })
                .collect(),
            meters_kw,
        }
    }

    fn tick(
        &mut self,
        now: Timestamp,
        mut view: View,
        row: Option<Row>,
        catalogue: &Catalogue,
        latest: &dyn Fn(PointId) -> Option<Latest>,
        tally: &Tally,
    ) -> Beat {
        if let Some(row) = &row {
            self.remember(row);
        }
        let window = Window {
            loads: self.loads.iter().map(|(name, s)| (name.clone(), s.clone())).collect(),
            weather: Some(WeatherSeries { dry_bulb_c: self.dry_bulb.clone(), wet_bulb_c: self.wet_bulb.clone() }),
            plans: Vec::new(),
        };
        if let Some(f) = &mut self.forecaster {
            self.forecasts = f.cycle(now, &window);
        }
        for (l, load) in self.site.loads().zip(&mut view.loads) {
            let shown = self.loads.get(l).map_or(f64::NAN, |s| steepest(s, RAMP, RISE_QUANTILE));
            let now_kw = view.roles.get(l).map_or(f64::NAN, |a| a.value);
            load.ramp_kw = shown.max(self.stepped(l, now_kw));
            // Nobody forecasts it yet: it stays, and may grow by a share.
            load.p90_kw.iter_mut().filter(|kw| kw.is_finite()).for_each(|kw| *kw = self.rated(l, now_kw, *kw));
        }
        for (i, l) in self.site.loads().enumerate() {
            let Some(f) = self.forecasts.iter().find(|f| f.target == l).filter(|f| !f.points.is_empty()) else { continue };
            let ahead = f.every(self.controller.tuning().step, PLAN_STEPS);
            view.loads[i] = LoadForecast {
                p10_kw: ahead.iter().map(|a| a.p10).collect(),
                p50_kw: ahead.iter().map(|a| a.p50).collect(),
                p90_kw: ahead.iter().map(|a| a.p90).collect(),
                ramp_kw: view.loads[i].ramp_kw,
                model: f.model.clone(),
                fallback: f.fallback.clone(),
            };
            if f.fallback.is_some() && i == 0 {
                tally.add(FORECAST_FALLBACKS, &format!("{}/{}", self.site.site.id, f.target), 1);
            }
        }
        if let Some(first) = view.loads.first() {
            let k = 5.min(first.p50_kw.len().saturating_sub(1));
            if let (Some(lo), Some(mid), Some(hi)) = (first.p10_kw.get(k), first.p50_kw.get(k), first.p90_kw.get(k)) {
                self.past_forecasts.push_back((now + Span(PLAN_STEP.0 * (k as i64 + 1)), [*lo, *mid, *hi]));
                if self.past_forecasts.len() > super::journal::ROWS_MAX {
                    self.past_forecasts.pop_front();
                }
            }
        }
        view.weather_forecast =
            (1..=PLAN_STEPS).map(|k| self.weather_ahead(view.weather, now, Span(self.controller.tuning().step.0 * k as i64))).collect();
        let step = self.controller.tuning().step;
        if self.price.is_some() || self.carbon.is_some() {
            let value = |t: &Option<Tariff>, k: usize| t.as_ref().map_or(f64::NAN, |t| 1e-3 * t.at(now + Span(step.0 * k as i64)));
            view.prices =
                (0..PLAN_STEPS).map(|k| Price { eur_per_kwh: value(&self.price, k), kg_co2_per_kwh: value(&self.carbon, k) }).collect();
        }
        if let Some(kw) = row.as_ref().map(|r| r.it_kw + r.cooling_kw + if r.loss_kw.is_finite() { r.loss_kw } else { 0.0 })
            && kw.is_finite()
        {
            let month = now.month_start();
            self.peak = if self.peak.0 == month { (month, self.peak.1.max(kw)) } else { (month, kw) };
        }
        if self.site.control.weights().peak_kw > 0.0 {
            view.peak_kw = self.peak.1;
        }
        if let Some(row) = &row {
            let tick = self.site.control.tick();
            let step = row_of(row, tick, view.weather.dew_point_c, view.role("gpu_utilisation").value);
            if let Some(model) = &mut self.model {
                self.drift = model.observe(&step, tick);
                view.drifted = self.drift.alarm;
            }
            self.learner.push(step);
        }
        let model = self.model.as_ref().map(PlantModel::predict);
        let tick = self.controller.tick(&view, model, tally);
        let racks = self.rack_views(catalogue, latest);
        let outlook = placement::outlook(self, &view, tick.recommendation.as_ref());
        let board = model.and_then(|m| Board::new(&view, &racks, &outlook, m));
        self.board = board.map(|b| {
            let sigma = self.prices.observe(now, &b.slots, b.slot);
            Arc::new(b.doubted(sigma))
        });
        let entry = row.as_ref().and_then(|row| self.settle(row, &view));
        if let Some(r) = &tick.recommendation {
            let applied = match self.controller.approval() {
                Some(a) if r.mode == "advise" => Some(Applied { who: a.who.clone(), at: a.at }),
                _ if matches!(r.mode.as_str(), "auto" | "learning") => Some(Applied { who: "controller".into(), at: now }),
                _ => None,
            };
            self.open = Some((r.clone(), applied));
            if self.recommendations.len() >= RECOMMENDATIONS_MAX {
                self.recommendations.pop_front();
            }
            self.recommendations.push_back(r.clone());
        }
        let waits_for = self.waiting();
        Beat { requests: tick.requests, recommendation: tick.recommendation, mode_events: tick.mode_events, entry, ticked: true, waits_for }
    }

    /// What a warming site waits for, with the selectors that match nothing; none where it was said before.
    fn waiting(&mut self) -> Option<String> {
        let crate::control::Mode::Warming { waiting_for, .. } = self.controller.mode() else { return None };
        let why = waiting_for.iter().map(Why::text).chain(self.findings.iter().cloned());
        let text = why.collect::<Vec<_>>().join("; ");
        if text.is_empty() || text == self.waits_for {
            return None;
        }
        self.waits_for.clone_from(&text);
        Some(text)
    }

    /// A load after the step that the site file says it may take, never beyond the racks' rating; NaN where it says none.
    fn stepped(&self, load: &str, now_kw: f64) -> f64 {
        let share = self.site.control.load_step;
        if share <= 0.0 { f64::NAN } else { self.rated(load, now_kw, now_kw * (1.0 + share)) }
    }

    /// A load that may come, no more than the racks' rating allows, unless it is beyond that now.
    fn rated(&self, load: &str, now_kw: f64, kw: f64) -> f64 {
        let rated = |r: &RackPoints| self.site.partitions.get(r.partition).map_or(0.0, |p| p.rack_rating_kw);
        self.site.rating_kw(load, self.racks.iter().map(rated)).map_or(kw, |rating| kw.min(rating.max(now_kw)))
    }

    /// Closes the account of the recommendation that was in force during a row: what the plant would have used at the
    /// operators' setpoints, by the model, against what the meters say.
    fn settle(&mut self, row: &Row, view: &View) -> Option<Entry> {
        let (r, applied) = self.open.take()?;
        let model = self.model.as_ref()?.predict();
        let tick = self.site.control.tick();
        let step = row_of(row, tick, view.weather.dew_point_c, f64::NAN);
        let input = StepInput {
            span: tick,
            setpoints: self.site.actuators.iter().map(|a| a.default).collect(),
            loads_kw: step.loads_kw,
            weather: step.weather,
            room_dew_point_c: step.room_dew_point_c,
        };
        let mut out = Vec::new();
        // Twice, so that the second one stands there already: getting there is not part of the operators' day.
        model.rollout(&PlantState { in_force: step.in_force, limited: step.limited }, &[input.clone(), input], &mut out);
        let entry = ledger::open(&r, view.now, applied);
        let metered = row.total_kw();
        let baseline = out.last().map_or(f64::NAN, |o| o.total_kw());
        let hours = entry.hours;
        Some(ledger::close(entry, baseline * hours, metered * hours))
    }

    /// No beat has come for `elapsed` on the host's clock: steps the mode without one. Where the site's clock stands
    /// still, this is what hands control back.
    pub fn silent(&mut self, elapsed: Span, broker_up: bool, tally: &Tally) -> Vec<ModeEvent> {
        let Some(last) = self.last_beat else { return Vec::new() };
        if elapsed.0 <= HEARTBEAT_LOST.0.max(self.pace.0 * 5 / 2) {
            return Vec::new();
        }
        let why = match self.site.bus.clock {
            _ if !broker_up => Why::BrokerDown,
            ClockSource::Bms => Why::HeartbeatLost,
            ClockSource::Host | ClockSource::Data => Why::Stale("every reading".into()),
        };
        self.controller.silent(last + elapsed, why, tally)
    }

    fn remember(&mut self, row: &Row) {
        // The weather ahead looks back a day, the forecaster up to a week.
        let back = self.forecaster.as_ref().map_or(Span::ZERO, Forecaster::window).max(Span::hours(25));
        let keep = (back.0 / self.dry_bulb.step.0.max(1)) as usize + 2;
        for (i, l) in self.site.loops.iter().enumerate() {
            // Loops may share a load; the last one pushes the same value again.
            if let (Some(series), Some(values)) = (self.loads.get_mut(&l.load), row.loops.get(i)) {
                series.push(row.at, values[2], keep);
            }
        }
        for (l, kw) in self.site.own_loads().zip(&row.own_loads_kw) {
            if let Some(series) = self.loads.get_mut(l) {
                series.push(row.at, *kw, keep);
            }
        }
        self.dry_bulb.push(row.at, row.dry_bulb_c, keep);
        self.wet_bulb.push(row.at, row.wet_bulb_c, keep);
    }

    /// Weather some time ahead: it changes as it did yesterday; without a yesterday it stays.
    pub(super) fn weather_ahead(&self, weather: Weather, now: Timestamp, ahead: Span) -> Weather {
        let day = Span::hours(24);
        let change = |s: &Series| {
            let d = s.at(now + ahead - day) - s.at(now - day);
            if d.is_finite() { d } else { 0.0 }
        };
        let dry_bulb_c = weather.dry_bulb_c + change(&self.dry_bulb);
        Weather { dry_bulb_c, wet_bulb_c: (weather.wet_bulb_c + change(&self.wet_bulb)).min(dry_bulb_c), dew_point_c: weather.dew_point_c }
    }

    fn rack_views(&self, catalogue: &Catalogue, latest: &dyn Fn(PointId) -> Option<Latest>) -> Vec<RackView> {
        let value = |id: Option<PointId>| id.and_then(latest).filter(|l| l.quality.usable()).map_or(f64::NAN, |l| l.value);
        let told = self.occupancy.as_ref().filter(|o| o.holds(self.last_beat));
        (self.racks.iter())
            .filter_map(|r| {
                let partition = self.site.partitions.get(r.partition)?;
                catalogue.get(r.power)?;
                Some(RackView {
                    id: r.id.clone(),
                    partition: partition.id.clone(),
                    power_kw: value(Some(r.power)),
                    rating_kw: partition.rack_rating_kw,
                    supply_c: value(r.supply),
                    return_c: value(r.back),
                    free_gpus: told.and_then(|o| o.free_on(partition, &r.id)),
                })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn beats_of_one_batch_are_not_a_slow_plant() {
        let site = SiteFile::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("sensors/bsc-hq/site.toml")).unwrap();
        let (tick, mut brain) = (site.control.tick(), Brain::new(Arc::new(site), None, None));
        let at = |n: i64| Timestamp(1_784_000_000_000) + Span(n * tick.0);
        // One service that lags behind takes three beats at once, twice.
        for first in [0, 3, 6] {
            brain.passed(&[at(first), at(first + 1)]);
            brain.keep_pace(at(first + 2));
        }
        assert_eq!((brain.pace, brain.site.control.tick()), (tick, tick));
        assert_eq!(brain.last_beat, Some(at(8)));
    }
}

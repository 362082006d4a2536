//! One site's thinking: newest readings in, forecast, recommendation, requests and hints out.
//!
//! Words: a *beat* is one advance of the site's clock (a BMS heartbeat); a *tick* is one control step on that clock.
//! Invariants: no I/O and no clock here: the site's time is a parameter, what must be stored or published is returned;
//! a beat without a due tick costs microseconds; a missing model or forecast is a state that is shown, never a stop.

use super::journal::{Journal, Row};
use crate::control::view::combine;
use crate::control::{Bindings, Controller, Hints, LoadForecast, ModeEvent, RackView, Recommendation, Request, View, ViewBuilder};
use crate::event::{FORECAST_FALLBACKS, Tally};
use crate::forecast::{Forecast, Forecaster, Series, WeatherSeries, Window};
use crate::plant::identified::{Drift, IdentifiedModel};
use crate::plant::predict::Predict;
use crate::reading::{Latest, PointId};
use crate::signal::weather::Weather;
use crate::site::{Catalogue, Combine, MeterBoundary, SiteFile};
use crate::time::{Span, Timestamp};
use crate::units::Kind;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Recommendations kept in memory; all are in the store.
const RECOMMENDATIONS_MAX: usize = 600;
/// Steps of the plan and their length.
pub const PLAN_STEPS: usize = 24;
pub const PLAN_STEP: Span = Span::minutes(5);

/// What one beat asks the caller to do.
#[derive(Debug, Default)]
pub struct Beat {
    /// Setpoints to publish: (actuator index, value in canonical units).
    pub requests: Vec<Request>,
    pub recommendation: Option<Recommendation>,
    pub mode_events: Vec<ModeEvent>,
    pub ticked: bool,
}

/// A site's bindings, models, history and controller.
pub struct Brain {
    pub site: Arc<SiteFile>,
    pub controller: Controller,
    pub model: Option<IdentifiedModel>,
    pub forecaster: Option<Forecaster>,
    pub journal: Journal,
    pub forecasts: Vec<Forecast>,
    /// Forecast of the site's load some time ago, for the report: (made for, p10, p50, p90) half an hour ahead.
    pub past_forecasts: VecDeque<(Timestamp, [f64; 3])>,
    pub recommendations: VecDeque<Recommendation>,
    pub hints: Vec<Hints>,
    pub drift: Drift,
    pub findings: Vec<String>,
    bindings: Option<Bindings>,
    meters: Vec<Vec<PointId>>,
    racks: Vec<RackPoints>,
    loads: BTreeMap<String, Series>,
    dry_bulb: Series,
    wet_bulb: Series,
    next_tick: Option<Timestamp>,
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
    pub fn new(site: Arc<SiteFile>, model: Option<IdentifiedModel>, forecaster: Option<Forecaster>) -> Brain {
        let step = forecaster.as_ref().map_or(PLAN_STEP, Forecaster::step);
        let empty = Series::new(Timestamp(0), step, Vec::new());
        Brain {
            controller: Controller::new(&site, Timestamp(0)),
            loads: site.loops.iter().map(|l| (l.load.clone(), empty.clone())).collect(),
            dry_bulb: empty.clone(),
            wet_bulb: empty,
            site,
            model,
            forecaster,
            journal: Journal::default(),
            forecasts: Vec::new(),
            past_forecasts: VecDeque::new(),
            recommendations: VecDeque::new(),
            hints: Vec::new(),
            drift: Drift::default(),
            findings: Vec::new(),
            bindings: None,
            meters: Vec::new(),
            racks: Vec::new(),
            next_tick: None,
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
        let Some(bindings) = &self.bindings else { return Beat::default() };
        let mut view = ViewBuilder { site: Arc::clone(&self.site), bindings, now }.build(latest, PLAN_STEPS);
        view.link.broker_up = broker_up;
        let sample = self.sample(&view, latest);
        self.journal.sample(sample);
        let tick = self.site.control.tick();
        match self.next_tick {
            // A clock that was set back far begins anew.
            Some(due) if now < due && due - now <= Span(2 * tick.0) => return Beat::default(),
            _ => self.next_tick = Some(now.floor(tick) + tick),
        }
        self.tick(now, view, catalogue, latest, tally)
    }

    /// The controller's word on what an operator orders between ticks is had through `controller` itself.
    fn rebind(&mut self, catalogue: &Catalogue) {
        if self.bindings.as_ref().is_some_and(|b| b.version == catalogue.version()) {
            return;
        }
        let bindings = Bindings::resolve(&self.site, catalogue);
        self.findings = bindings.findings.clone();
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
        catalogue: &Catalogue,
        latest: &dyn Fn(PointId) -> Option<Latest>,
        tally: &Tally,
    ) -> Beat {
        let row = self.journal.close(now);
        if let Some(row) = &row {
            self.remember(row);
        }
        let window = Window {
            loads: self.loads.iter().map(|(name, s)| (name.clone(), s.clone())).collect(),
            weather: Some(WeatherSeries { dry_bulb_c: self.dry_bulb.clone(), wet_bulb_c: self.wet_bulb.clone() }),
        };
        if let Some(f) = &mut self.forecaster {
            f.settle(now, &window);
            self.forecasts = f.predict(now, &window);
            f.record(&self.forecasts);
        }
        for (i, l) in self.site.loops.iter().enumerate() {
            let Some(f) = self.forecasts.iter().find(|f| f.target == l.load).filter(|f| !f.points.is_empty()) else { continue };
            let ahead = f.every(PLAN_STEP, PLAN_STEPS);
            view.loads[i] = LoadForecast {
                p10_kw: ahead.iter().map(|a| a.p10).collect(),
                p50_kw: ahead.iter().map(|a| a.p50).collect(),
                p90_kw: ahead.iter().map(|a| a.p90).collect(),
                ramp_kw: self.loads.get(&l.load).map_or(f64::NAN, |s| steepest(s, crate::control::view::RAMP)),
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
        view.weather_forecast = (1..=PLAN_STEPS).map(|k| self.weather_ahead(view.weather, now, Span(PLAN_STEP.0 * k as i64))).collect();
        if let (Some(model), Some(row)) = (&mut self.model, &row) {
            let step = identified_row(row, self.site.control.tick(), &view);
            self.drift = model.residual_correct(&step, self.site.control.tick());
            view.drifted = self.drift.alarm;
        }
        let model = self.model.as_ref().map(|m| m as &dyn Predict);
        let tick = self.controller.tick(&view, model, tally);
        let racks = self.rack_views(catalogue, latest);
        self.hints = match model {
            Some(model) => crate::control::place::hints(&view, &racks, model),
            None => Vec::new(),
        };
        if let Some(r) = &tick.recommendation {
            if self.recommendations.len() >= RECOMMENDATIONS_MAX {
                self.recommendations.pop_front();
            }
            self.recommendations.push_back(r.clone());
        }
        Beat { requests: tick.requests, recommendation: tick.recommendation, mode_events: tick.mode_events, ticked: true }
    }

    fn remember(&mut self, row: &Row) {
        let keep = (Span::hours(25).0 / self.dry_bulb.step.0.max(1)) as usize + 2;
        for (i, l) in self.site.loops.iter().enumerate() {
            // Loops may share a load; the last one pushes the same value again.
            if let (Some(series), Some(values)) = (self.loads.get_mut(&l.load), row.loops.get(i)) {
                series.push(row.at, values[2], keep);
            }
        }
        self.dry_bulb.push(row.at, row.dry_bulb_c, keep);
        self.wet_bulb.push(row.at, row.wet_bulb_c, keep);
    }

    /// Weather some time ahead: it changes as it did yesterday; without a yesterday it stays.
    fn weather_ahead(&self, weather: Weather, now: Timestamp, ahead: Span) -> Weather {
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
                    free_gpus: None,
                })
            })
            .collect()
    }
}

/// The newest load and the steepest rise within `within` that the series has seen.
fn steepest(series: &Series, within: Span) -> f64 {
    let n = (within.0 / series.step.0.max(1)).max(1) as usize;
    let v = &series.values;
    let Some(now) = v.iter().rev().find(|v| v.is_finite()) else { return f64::NAN };
    let mut rises: Vec<f64> = (0..v.len().saturating_sub(n))
        .map(|i| v[i + 1..=i + n].iter().copied().fold(f64::NAN, f64::max) - v[i])
        .filter(|r| r.is_finite())
        .collect();
    rises.sort_by(f64::total_cmp);
    let q = rises.get(((rises.len() as f64 * 0.99) as usize).min(rises.len().saturating_sub(1))).copied().unwrap_or(0.0).max(0.0);
    (now + q).min(v.iter().copied().fold(f64::NAN, f64::max).max(*now))
}

fn identified_row(row: &Row, tick: Span, view: &View) -> crate::plant::identified::Row {
    crate::plant::identified::Row {
        at: row.at - tick,
        in_force: row.actuators.iter().map(|a| a[1]).collect(),
        loads_kw: row.loops.iter().map(|l| l[2]).collect(),
        weather: Weather { dry_bulb_c: row.dry_bulb_c, wet_bulb_c: row.wet_bulb_c, dew_point_c: view.weather.dew_point_c },
        room_dew_point_c: row.dew_point_c,
        gpus_allocated: row.gpus,
        gpu_utilisation_pct: view.role("gpu_utilisation").value,
        meters_kw: row.meters_kw.clone(),
        limited: row.limits.iter().map(|l| l[0]).collect(),
    }
}

//! Cross-checks between the points of a site: what one point says, others can deny.
//!
//! Words: a *check* compares roles of the site file; it *fails* after [`BAD_WINDOWS`] windows in a row out of bounds, and is
//! over after one within; a *finding* is a failing check, with the figures that it rests on.
//!
//! ```text
//! balance <loop>   flow × ρ·cp × (return − supply) against the loop's load, as a ratio within the loop's `balance`
//! wet bulb         above the dry bulb, or far from what dry bulb and relative humidity give (Stull 2011, `units::wet_bulb_c`)
//! ```
//!
//! A balance says that one of the loop's points is wrong, not which: all are marked `UNBALANCED`, which leaves them usable.
//! A wet bulb that its relatives deny is marked `CONTRADICTED`: whoever needs one computes it from those two.
//! Invariants: looks at the newest values once a minute of the site's clock, so that a value's way costs one look-up; a
//! balance uses only values of about the same instant, and waits a few batches for them; windows ride out what a loop stores
//! between source and sink; a mark needs two windows, so that a step of load is none.

use crate::event::{CONTRADICTIONS, Tally};
use crate::reading::{Latest, PointId, Quality};
use crate::site::{Catalogue, Combine, SiteFile};
use crate::time::{Span, Timestamp};
use crate::units::{WATER_KW_PER_LPM_K, wet_bulb_c};

/// Time between two looks at the newest values.
const LOOK: Span = Span::minutes(1);
/// Length of a window, and looks that it needs.
const WINDOW: Span = Span::minutes(30);
const LOOKS_MIN: u32 = 3;
/// Windows in a row out of bounds.
const BAD_WINDOWS: u32 = 2;
/// Instants of the values of one balance may lie so far apart (a BMS repeats a still value every 100 s), and so many
/// batches are waited for them.
const SPREAD_MAX: Span = Span::seconds(150);
const WAITS_MAX: u32 = 16;
/// Values older than this say nothing.
const STALE: Span = Span::minutes(20);
/// Below this share of the largest load seen, heat and load are noise.
const LOAD_SHARE_MIN: f64 = 0.05;
/// A wet bulb may be above its dry bulb by so much, and off the computed one by so much: sensors, sun, Stull's formula.
const WET_ABOVE_DRY_K: f64 = 1.0;
const WET_OFF_K: f64 = 4.0;

/// A failing check.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// `balance <loop>` or `wet bulb`.
    pub check: String,
    /// Begin of the first window out of bounds.
    pub since: Timestamp,
    /// The figures, in words.
    pub text: String,
    /// The mark that the check's points carry meanwhile.
    pub mark: Quality,
}

#[derive(Clone, Debug)]
enum Kind {
    /// Supply, return, flow, load; bounds of heat / load.
    Balance { bounds: [f64; 2], load_max_kw: f64 },
    /// Wet bulb, dry bulb, relative humidity.
    WetBulb,
}

#[derive(Clone, Debug)]
struct Check {
    name: String,
    kind: Kind,
    /// Index of each role in the site file.
    roles: Vec<usize>,
    points: Vec<(Combine, Vec<PointId>)>,
    /// Roles, of the ones above, whose points bear the mark.
    marked: usize,
    began: Option<Timestamp>,
    sums: [f64; 4],
    looks: u32,
    /// The last look was counted, or given up.
    looked: bool,
    bad: u32,
    since: Timestamp,
    text: String,
}

/// The checks of one site.
#[derive(Clone, Debug, Default)]
pub struct Relations {
    site: String,
    checks: Vec<Check>,
    roles: Vec<(Combine, crate::site::Selector)>,
    version: Option<u64>,
    due: Option<Timestamp>,
    /// Batches that the look under way has waited for; none is under way at 0.
    waits: u32,
    /// Marks by point; empty while no check fails.
    marks: Vec<Quality>,
}

impl Relations {
    pub fn new(file: &SiteFile) -> Relations {
        let role = |name: &str| file.roles.iter().position(|r| r.name == name);
        let roles = |names: &[&str]| names.iter().map(|n| role(n)).collect::<Option<Vec<_>>>();
        let check = |name: String, kind, roles: Vec<usize>, marked| Check {
            name,
            kind,
            roles,
            points: Vec::new(),
            marked,
            began: None,
            sums: [0.0; 4],
            looks: 0,
            looked: false,
            bad: 0,
            since: Timestamp::MIN,
            text: String::new(),
        };
        let mut checks = Vec::new();
        for l in &file.loops {
            if let (Some(bounds), Some(flow)) = (l.balance, &l.flow)
                && let Some(r) = roles(&[&l.supply, &l.return_, flow, &l.load])
            {
                checks.push(check(format!("balance {}", l.id), Kind::Balance { bounds, load_max_kw: 0.0 }, r, 4));
            }
        }
        if let Some(r) = roles(&["wet_bulb", "dry_bulb", "outdoor_humidity"]) {
            checks.push(check("wet bulb".into(), Kind::WetBulb, r, 1));
        }
        Relations {
            site: file.site.id.clone(),
            checks,
            roles: file.roles.iter().map(|r| (r.combine, r.select.clone())).collect(),
            ..Relations::default()
        }
    }

    pub fn site(&self) -> &str {
        &self.site
    }

    /// The mark that a point bears by the checks.
    #[inline]
    pub fn mark(&self, id: PointId) -> Quality {
        self.marks.get(id.0 as usize).copied().unwrap_or_default()
    }

    /// Is a look due at this time of the site's clock?
    pub fn due(&self, now: Option<Timestamp>) -> bool {
        !self.checks.is_empty() && (self.waits > 0 || now.is_some_and(|n| self.due.is_none_or(|d| n >= d || d - n > LOOK)))
    }

    /// The failing checks.
    pub fn findings(&self) -> impl Iterator<Item = Finding> {
        self.checks.iter().filter(|c| c.bad >= BAD_WINDOWS).map(|c| Finding {
            check: c.name.clone(),
            since: c.since,
            text: c.text.clone(),
            mark: c.mark(),
        })
    }

    /// Looks at the newest values, after a batch.
    pub fn look<'a>(&mut self, now: Timestamp, catalogue: &Catalogue, latest: impl Fn(PointId) -> Option<&'a Latest>, tally: &Tally) {
        if self.waits == 0 {
            self.due = Some(now + LOOK);
            self.checks.iter_mut().for_each(|c| c.looked = false);
        }
        if self.version != Some(catalogue.version()) {
            self.version = Some(catalogue.version());
            for c in &mut self.checks {
                let bind = |r: &usize| {
                    let (combine, select) = &self.roles[*r];
                    (*combine, catalogue.select(select).map(|p| p.id).collect())
                };
                c.points = c.roles.iter().map(bind).collect();
            }
            self.remark(catalogue.len());
        }
        let mut changed = false;
        for c in self.checks.iter_mut().filter(|c| !c.looked) {
            let failing = c.bad >= BAD_WINDOWS;
            c.look(now, &latest);
            if failing != (c.bad >= BAD_WINDOWS) {
                changed = true;
                if !failing {
                    tally.add(CONTRADICTIONS, &format!("{}/{}", self.site, c.name), 1);
                }
            }
        }
        if changed {
            self.remark(catalogue.len());
        }
        let waiting = self.waits < WAITS_MAX && self.checks.iter().any(|c| !c.looked);
        self.waits = if waiting { self.waits + 1 } else { 0 };
    }

    fn remark(&mut self, points: usize) {
        self.marks.clear();
        for c in self.checks.iter().filter(|c| c.bad >= BAD_WINDOWS) {
            self.marks.resize(points, Quality::GOOD);
            for id in c.points.iter().take(c.marked).flat_map(|(_, ids)| ids) {
                if let Some(m) = self.marks.get_mut(id.0 as usize) {
                    *m = m.with(c.mark());
                }
            }
        }
    }
}

impl Check {
    fn mark(&self) -> Quality {
        match self.kind {
            Kind::Balance { .. } => Quality::UNBALANCED,
            Kind::WetBulb => Quality::CONTRADICTED,
        }
    }

    fn look<'a>(&mut self, now: Timestamp, latest: &impl Fn(PointId) -> Option<&'a Latest>) {
        let began = *self.began.get_or_insert(now);
        if now - began >= WINDOW || now < began {
            if self.looks >= LOOKS_MIN {
                self.judge(began);
            }
            (self.began, self.sums, self.looks) = (Some(now), [0.0; 4], 0);
        }
        let mut values = [f64::NAN; 4];
        let mut instants = [Timestamp(i64::MAX), Timestamp::MIN];
        for (v, (combine, ids)) in values.iter_mut().zip(&self.points) {
            *v = combined(*combine, ids, now, latest, &mut instants);
        }
        let apart = matches!(self.kind, Kind::Balance { .. }) && instants[1] - instants[0] > SPREAD_MAX;
        self.looked = !apart;
        if apart {
            return;
        }
        // Without humidity a wet bulb is still never above its dry bulb.
        let needed = match self.kind {
            Kind::Balance { .. } => 4,
            Kind::WetBulb => 2,
        };
        if values[..needed].iter().all(|v| v.is_finite()) {
            self.looks += 1;
            let add = match self.kind {
                Kind::Balance { .. } => [values[2] * WATER_KW_PER_LPM_K * (values[1] - values[0]), values[3], 0.0, 0.0],
                Kind::WetBulb => [values[0], values[1], wet_bulb_c(values[1], values[2]), 0.0],
            };
            for (sum, a) in self.sums.iter_mut().zip(add) {
                *sum += a;
            }
        }
    }

    fn judge(&mut self, began: Timestamp) {
        let n = f64::from(self.looks);
        let [a, b, c, _] = self.sums.map(|s| s / n);
        let fault = match &mut self.kind {
            Kind::Balance { bounds: [lo, hi], load_max_kw } => {
                *load_max_kw = load_max_kw.max(b);
                if b < LOAD_SHARE_MIN * *load_max_kw || b <= 0.0 {
                    return;
                }
                let ratio = a / b;
                (!(*lo..=*hi).contains(&ratio))
                    .then(|| format!("flow × ΔT carries {a:.0} kW of {b:.0} kW of load, {ratio:.2} of it; {lo} to {hi} is plausible"))
            }
            Kind::WetBulb if a > b + WET_ABOVE_DRY_K => Some(format!("the wet bulb ({a:.1} °C) is above the dry bulb ({b:.1} °C)")),
            Kind::WetBulb if (a - c).abs() > WET_OFF_K => Some(format!("the wet bulb is {a:.1} °C, dry bulb and humidity give {c:.1} °C")),
            Kind::WetBulb => None,
        };
        match fault {
            Some(text) => {
                if self.bad == 0 {
                    self.since = began;
                }
                self.bad = self.bad.saturating_add(1);
                self.text = text;
            }
            None => self.bad = 0,
        }
    }
}

/// One number from the points of a role; NaN where one of them says nothing that a check can use.
/// `instants` takes in the oldest and the newest of them.
fn combined<'a>(
    how: Combine,
    ids: &[PointId],
    now: Timestamp,
    latest: &impl Fn(PointId) -> Option<&'a Latest>,
    instants: &mut [Timestamp; 2],
) -> f64 {
    const OWN: Quality = Quality(Quality::UNBALANCED.0 | Quality::CONTRADICTED.0);
    let (mut sum, mut lo, mut hi) = (0.0, f64::INFINITY, f64::NEG_INFINITY);
    for id in ids {
        let Some(l) = latest(*id) else { return f64::NAN };
        if !Quality(l.quality.0 & !OWN.0).usable() || !l.value.is_finite() || now - l.at > STALE {
            return f64::NAN;
        }
        *instants = [instants[0].min(l.at), instants[1].max(l.at)];
        sum += l.value;
        lo = lo.min(l.value);
        hi = hi.max(l.value);
    }
    match how {
        _ if ids.is_empty() => f64::NAN,
        Combine::Sum => sum,
        Combine::Mean => sum / ids.len() as f64,
        Combine::Max => hi,
        Combine::Min => lo,
    }
}

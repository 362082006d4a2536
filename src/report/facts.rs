//! The figures that packs name, worked out of one site's book or of several as a group: sums over sums.
//!
//! Invariants: a sum that lacks one site's part is missing, not smaller; an answer takes the place of a meter only where there
//! is no meter; a figure without a definition here is an answer.

use super::account::{BIN, Quantity};
use super::book::Book;
use super::figure::{Fact, Status};
use super::lang::Lang;
use super::register::{Answer, MeterRole};
use super::series::Series;

/// Base of cooling degree days, °C.
const CDD_BASE_C: f64 = 21.0;

/// A site's E_DC: what is supplied from outside, made by its generators and on site; else the sum of what is behind it.
pub fn e_dc(book: &Book) -> (Quantity, bool) {
    let supply = book.sum(MeterRole::Supply);
    if !supply.is_none() {
        let more = [MeterRole::Generator, MeterRole::Renewable].map(|r| book.sum(r));
        let mut all = supply;
        more.iter().for_each(|q| all.add(q));
        return (all, true);
    }
    (e_parts(book), false)
}

/// The sum of what is behind the supply; nothing where there is no IT meter.
pub fn e_parts(book: &Book) -> Quantity {
    let (mut all, _) = e_it(book, &[MeterRole::PduOut, MeterRole::UpsOut, MeterRole::ItIn]);
    if all.is_none() {
        return all;
    }
    for role in [MeterRole::Loss, MeterRole::Cooling, MeterRole::Other] {
        all.add(&book.sum(role));
    }
    all
}

/// IT energy at the first of the places that has a meter.
pub fn e_it(book: &Book, order: &[MeterRole]) -> (Quantity, MeterRole) {
    for role in order {
        let q = book.sum(*role);
        if !q.is_none() {
            return (q, *role);
        }
    }
    (Quantity::none(book.grid()), order[0])
}

/// Everything that can be asked for of some sites.
pub struct Facts<'a> {
    pub books: Vec<&'a Book>,
    pub lang: Lang,
}

const CATEGORIES: [MeterRole; 3] = [MeterRole::UpsOut, MeterRole::PduOut, MeterRole::ItIn];

impl Facts<'_> {
    /// One figure by its name in the packs; `key` is the answer that may take its place.
    pub fn get(&self, name: &str, key: &str) -> Option<Fact> {
        use MeterRole as M;
        Some(match name {
            "e_dc" => self.e_dc(),
            "e_dc_bg" => self.metered(key, M::Generator, "b_generator"),
            "e_it" => self.e_it_best(),
            "w_in" => self.metered(key, M::WaterIn, "b_water"),
            "w_in_pot" => self.metered(key, M::WaterPotable, "b_water"),
            "e_reuse" => self.metered(key, M::ReuseHeat, "b_heat"),
            "e_res_os" => self.metered(key, M::Renewable, "b_site"),
            "e_res_tot" => self.e_res_tot(),
            "t_wh" => self.temperature(key, M::WasteHeatTemperature, M::ReuseHeat, "EREUSE"),
            "t_in" => self.temperature(key, M::IntakeSetpoint, M::PduOut, "EIT"),
            "cdd" => self.cdd(key),
            "pue" => Fact::ratio(&self.e_dc(), &self.e_it_best(), 1.0),
            "pue1" => self.pue(M::UpsOut, "b_ups_out"),
            "pue2" => self.pue(M::PduOut, "b_pdu_out"),
            "pue3" => self.pue(M::ItIn, "b_it_in"),
            "wue" => Fact::ratio(&self.metered("WIN", M::WaterIn, "b_water"), &self.e_it_best(), 1000.0),
            "erf" => Fact::ratio(&self.metered("EREUSE", M::ReuseHeat, "b_heat"), &self.e_dc(), 1.0),
            "ref" => Fact::ratio(&self.e_res_tot(), &self.e_dc(), 1.0),
            "cer" => Fact::ratio(&self.metered("", M::HeatRemoved, "b_site"), &self.metered("", M::Cooling, "b_site"), 1.0),
            "co2_location" => self.carbon("carbon_location"),
            "co2_market" => self.carbon("carbon_market"),
            "cue_location" => Fact::ratio(&self.carbon("carbon_location"), &self.e_it_best(), 1.0),
            "cue_market" => Fact::ratio(&self.carbon("carbon_market"), &self.e_it_best(), 1.0),
            "itue" => self.itue(),
            "tue" => self.tue(),
            "cost" => self.signal("price", 1e-3),
            _ => return None,
        })
    }

    pub fn e_dc(&self) -> Fact {
        self.each(|b| {
            let (q, metered) = e_dc(b);
            if q.is_none() {
                return Fact::missing(self.lang.say("no_meter", &[&b.id, "supply"]));
            }
            let mut f = Fact::of(&q, self.lang.t(if metered { "b_supply" } else { "b_behind" }), self.lang);
            if !metered {
                f.notes.push(format!("{}: {}", b.id, self.lang.t("parts")));
            }
            f
        })
    }

    /// IT energy at the outermost place that all sites meter, which makes the category.
    fn category(&self) -> MeterRole {
        let there = |role: &&MeterRole| self.books.iter().all(|b| !b.sum(**role).is_none());
        CATEGORIES.iter().find(there).copied().unwrap_or(MeterRole::PduOut)
    }

    pub fn e_it_best(&self) -> Fact {
        let role = self.category();
        let number = (CATEGORIES.iter().position(|c| *c == role).unwrap_or(0) + 1).to_string();
        let mut f = self.metered("EIT", role, &format!("b_{}", role.text()));
        if f.value.is_some() {
            f.notes.push(self.lang.say("cat_note", &[&number]));
        }
        f
    }

    fn pue(&self, role: MeterRole, boundary: &str) -> Fact {
        let it = self.metered("", role, boundary);
        if it.value.is_none() { it } else { Fact::ratio(&self.e_dc(), &it, 1.0) }
    }

    fn itue(&self) -> Fact {
        let compute = self.metered("", MeterRole::Compute, "b_it_in");
        if compute.value.is_none() { compute } else { Fact::ratio(&self.metered("", MeterRole::ItIn, "b_it_in"), &compute, 1.0) }
    }

    /// ITUE × PUE at the equipment's inputs = E_DC / E_compute.
    fn tue(&self) -> Fact {
        let (it, compute) = (self.metered("", MeterRole::ItIn, "b_it_in"), self.metered("", MeterRole::Compute, "b_it_in"));
        if it.value.is_none() {
            return it;
        }
        if compute.value.is_none() { compute } else { Fact::ratio(&self.e_dc(), &compute, 1.0) }
    }

    /// The sum over sites of the meters of a role, or of the sites' answers where they have none.
    pub fn metered(&self, key: &str, role: MeterRole, boundary: &str) -> Fact {
        self.each(|b| {
            let q = b.sum(role);
            if !q.is_none() {
                return Fact::of(&q, self.lang.t(boundary), self.lang);
            }
            self.answer(b, key).unwrap_or_else(|| Fact::missing(self.lang.say("no_meter", &[&b.id, role.text()])))
        })
    }

    fn answer(&self, b: &Book, key: &str) -> Option<Fact> {
        match b.file.answers.get(key)? {
            Answer::Number(v) => {
                Some(Fact { value: Some(*v), status: Some(Status::Answered), boundary: self.lang.t("b_site"), ..Fact::default() })
            }
            _ => None,
        }
    }

    fn answered(&self, key: &str) -> Fact {
        self.each(|b| self.answer(b, key).unwrap_or_else(|| Fact::missing(self.lang.say("answer_me", &[&b.id, key]))))
    }

    /// Adds the sites' facts; one that is missing makes the sum missing, with its reason.
    fn each(&self, f: impl Fn(&Book) -> Fact) -> Fact {
        let facts: Vec<Fact> = self.books.iter().map(|b| f(b)).collect();
        if facts.iter().any(|f| f.value.is_none()) {
            let notes = facts.into_iter().filter(|f| f.value.is_none()).flat_map(|f| f.notes).collect();
            return Fact { notes, ..Fact::default() };
        }
        let mut it = facts.into_iter();
        let first = it.next().unwrap_or_default();
        it.fold(first, |a, b| a.plus(&b))
    }

    fn e_res_tot(&self) -> Fact {
        let parts = [self.answered("ERES-GOO"), self.answered("ERES-PPA"), self.metered("ERES-OS", MeterRole::Renewable, "b_site")];
        if let Some(lacking) = parts.iter().find(|p| p.value.is_none()) {
            return lacking.clone();
        }
        let mut sum = parts[0].plus(&parts[1]).plus(&parts[2]);
        sum.status = Some(Status::Derived);
        // Instruments are counted by paper, not by a meter: their part has no uncertainty of its own.
        sum.u = parts[2].u.or(Some(0.0).filter(|_| parts[2].status == Some(Status::Answered)));
        sum
    }

    /// Time mean of a temperature; over sites weighted by a quantity.
    fn temperature(&self, key: &str, role: MeterRole, weight: MeterRole, weight_key: &str) -> Fact {
        let (mut sum, mut weights) = (0.0, 0.0);
        let mut out = Fact { boundary: self.lang.t("b_site"), status: Some(Status::Metered), ..Fact::default() };
        for b in &self.books {
            let meters: Vec<_> = b.meters.iter().filter(|m| m.role == role && m.mean().is_some()).collect();
            let q = Quantity::sum(b.grid(), meters.iter().map(|m| &m.quantity));
            let mean = if q.covered_h > 0.0 { Some(q.measured / q.covered_h) } else { None };
            let (mean, metered) = match (mean, b.file.answers.get(key)) {
                (Some(m), _) => (m, true),
                (None, Some(Answer::Number(v))) => (*v, false),
                _ => return Fact::missing(self.lang.say("answer_me", &[&b.id, key])),
            };
            if metered {
                out.meters.extend(q.meters.iter().cloned());
                out.coverage = Some(out.coverage.unwrap_or(1.0).min(q.coverage()));
            } else {
                out.status = Some(Status::Answered);
            }
            let w = Facts { books: vec![b], lang: self.lang }.metered(weight_key, weight, "b_site").value.unwrap_or(0.0);
            let w = if self.books.len() == 1 { 1.0 } else { w };
            sum += w * mean;
            weights += w;
        }
        if weights > 0.0 {
            out.value = Some(sum / weights);
            if self.books.len() > 1 {
                out.notes.push(self.lang.say("weighted", &[weight_key]));
            }
            return out;
        }
        Fact::missing(self.lang.say("weighted", &[weight_key]))
    }

    /// Σ over civil days of max(0, daily mean − 21 °C); over sites the mean. Days without readings have none and are said.
    fn cdd(&self, key: &str) -> Fact {
        let mut out = Fact { boundary: self.lang.t("b_outdoor"), status: Some(Status::Metered), ..Fact::default() };
        let mut sum = 0.0;
        for b in &self.books {
            let days = b.period.days();
            let (mut cdd, mut known) = (0.0, 0);
            for d in days.windows(2) {
                let values = &b.dry_bulb_c[b.grid().bin(d[0])..b.grid().bin(d[1]).min(b.dry_bulb_c.len())];
                let good: Vec<f64> = values.iter().copied().filter(|v| v.is_finite()).collect();
                if good.is_empty() {
                    continue;
                }
                known += 1;
                cdd += (good.iter().sum::<f64>() / good.len() as f64 - CDD_BASE_C).max(0.0);
            }
            let all = days.len() - 1;
            if known == 0 {
                match self.answer(b, key) {
                    Some(a) => {
                        out.status = Some(Status::Answered);
                        sum += a.value.unwrap_or(0.0);
                        continue;
                    }
                    None => return Fact::missing(self.lang.say("no_meter", &[&b.id, "dry_bulb"])),
                }
            }
            out.meters.push(format!("{}/dry_bulb", b.id));
            let coverage = known as f64 / all as f64;
            out.coverage = Some(out.coverage.unwrap_or(1.0).min(coverage));
            if known < all {
                out.notes.push(self.lang.say("missing_hours", &[&self.lang.number(100.0 * (1.0 - coverage), 1)]));
            }
            sum += cdd;
        }
        out.value = Some(sum / self.books.len().max(1) as f64);
        if self.books.len() > 1 {
            out.notes.push(self.lang.say("weighted", &["1"]));
        }
        out
    }

    fn carbon(&self, name: &str) -> Fact {
        let mut f = self.signal(name, 1e-3);
        if name == "carbon_market" && f.value.is_some() {
            f.notes.push(self.lang.t("market_note"));
        }
        f
    }

    /// Energy from outside, by bin, times a signal.
    fn signal(&self, name: &str, scale: f64) -> Fact {
        self.each(|b| {
            let Some(series) = series_of(b, name).filter(|s| s.bins.iter().all(|v| v.is_finite())) else {
                return Fact::missing(self.lang.say("no_series", &[&b.id, name]));
            };
            let (q, share) = self.bought(b, name == "carbon_market");
            if q.is_none() {
                return Fact::missing(self.lang.say("no_meter", &[&b.id, "supply"]));
            }
            let value: f64 = q.bins.iter().zip(&series.bins).map(|(e, s)| e * s).sum::<f64>() * share * scale;
            let mut f = Fact::of(&q, self.lang.t("b_supply"), self.lang);
            // The signal itself states no uncertainty: only the energy's is carried over.
            f.u = f.u.map(|u| if q.value() != 0.0 { u / q.value().abs() * value.abs() } else { 0.0 });
            f.value = Some(value);
            f.status = Some(Status::Derived);
            if series.estimated_share() > 0.0 {
                f.notes.push(self.lang.say("signal_filled", &[&self.lang.number(100.0 * series.estimated_share(), 2)]));
            }
            f
        })
    }

    /// Electricity from outside, and the share of it that no instrument covers (market-based).
    fn bought(&self, b: &Book, market: bool) -> (Quantity, f64) {
        let supply = b.sum(MeterRole::Supply);
        let q = if supply.is_none() { e_parts(b) } else { supply };
        let number = |key: &str| match b.file.answers.get(key) {
            Some(Answer::Number(v)) => *v,
            _ => 0.0,
        };
        let covered = if market { number("ERES-GOO") + number("ERES-PPA") } else { 0.0 };
        let share = if q.value() > 0.0 { (1.0 - covered / q.value()).max(0.0) } else { 1.0 };
        (q, share)
    }

    /// kg CO2 by local hour of the mean day.
    pub fn carbon_by_hour(&self, name: &str) -> Option<Vec<(f64, f64)>> {
        let mut kg = [0.0; 24];
        for b in &self.books {
            let series = series_of(b, name)?;
            let (q, share) = self.bought(b, name == "carbon_market");
            let days = b.grid().hours() / 24.0;
            for ((e, s), (hour, _)) in q.bins.iter().zip(&series.bins).zip(&b.clock) {
                kg[usize::from(*hour)] += e * s * share * 1e-3 / days;
            }
        }
        Some(kg.iter().enumerate().map(|(h, v)| (h as f64, *v)).collect())
    }

    /// PUE by classes of 1 K of outdoor air: a sum over a sum in each, of quarter-hours that have both.
    pub fn pue_by_temperature(&self) -> Vec<(f64, f64)> {
        let mut sums = std::collections::BTreeMap::<i64, (f64, f64, usize)>::new();
        let role = self.category();
        for b in &self.books {
            let (dc, _) = e_dc(b);
            let it = b.sum(role);
            for i in 0..b.grid().len() {
                let t = b.dry_bulb_c[i];
                if t.is_finite() && it.bins[i] > 0.0 {
                    let s = sums.entry(t.round() as i64).or_default();
                    *s = (s.0 + dc.bins[i], s.1 + it.bins[i], s.2 + 1);
                }
            }
        }
        let least = (6.0 / BIN.as_hours_f64()) as usize;
        sums.into_iter().filter(|(_, s)| s.2 >= least).map(|(t, s)| (t as f64, s.0 / s.1)).collect()
    }
}

fn series_of<'a>(b: &'a Book, name: &str) -> Option<&'a Series> {
    match name {
        "carbon_location" => b.carbon_location.as_ref(),
        "carbon_market" => b.carbon_market.as_ref(),
        _ => b.price.as_ref(),
    }
}

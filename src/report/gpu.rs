//! Energy per GPU-hour: each partition's part of everything, and who it is charged to.
//!
//! By bin: a partition's energy is that of its racks times (what is behind the supply) / (all racks), so that shared network,
//! storage, cooling and losses go by the racks' energy. Of the racks' energy, what the unallocated GPUs draw at rest is idle; the
//! rest goes to jobs by their GPU-hours. Sums over jobs, idle, overhead and what no job in the file accounts for make the
//! partition's energy; partitions together make the site's, and the supply meter says by how much that is wrong.

use super::account::{BIN, Quantity};
use super::book::{Book, PartitionBook};
use super::facts::{e_dc, e_parts};
use super::figure::{Cell, Fact, Status, Table};
use super::lang::Lang;
use super::register::MeterRole;
use std::collections::{BTreeMap, HashMap};

/// A partition's energy and GPU-hours. kWh and GPU-h.
pub struct Shares {
    pub site: String,
    pub partition: String,
    pub name: String,
    /// By bin, with overhead.
    pub energy: Vec<f64>,
    pub allocated: Vec<f64>,
    pub active: Vec<f64>,
    /// Sums.
    pub jobs_kwh: f64,
    pub unnamed_kwh: f64,
    pub idle_kwh: f64,
    pub overhead_kwh: f64,
    pub useful_h: Option<f64>,
    pub has_gpus: bool,
    pub has_utilisation: bool,
    /// Energy with overhead and GPU-hours by (group, job).
    pub by_job: Vec<JobShare>,
    /// Coverage, estimated share and standard uncertainty, relative, of what it rests on.
    pub coverage: f64,
    pub estimated: f64,
    pub u_rel: Option<f64>,
    pub meters: Vec<String>,
}

/// What a job is charged with: its racks' energy and its part of the overhead, kWh.
#[derive(Clone, Debug)]
pub struct JobShare {
    pub job: String,
    pub group: String,
    pub partition: String,
    pub gpu_h: f64,
    pub useful_h: f64,
    pub kwh: f64,
}

/// Sums of one group of users.
#[derive(Clone, Debug, Default)]
pub struct GroupShare {
    pub gpu_h: f64,
    pub useful_h: f64,
    pub kwh: f64,
}

impl Shares {
    pub fn total(&self) -> f64 {
        self.energy.iter().sum()
    }
}

/// A site's account of GPU-hours.
pub struct SiteShares {
    pub site: String,
    pub partitions: Vec<Shares>,
    /// All that is behind the supply, kWh; the supply meters' own sum, where there are any.
    pub parts_kwh: f64,
    pub supply_kwh: Option<f64>,
}

/// Shares of a site; none where a partition has no racks that are metered, or the site no IT meter.
pub fn shares(book: &Book) -> Option<SiteShares> {
    let parts = e_parts(book);
    if parts.is_none() || book.partitions.is_empty() || book.partitions.iter().any(|p| p.it.is_none()) {
        return None;
    }
    let grid = book.grid();
    let racks = Quantity::sum(grid, book.partitions.iter().map(|p| &p.it));
    let lift: Vec<f64> = parts.bins.iter().zip(&racks.bins).map(|(all, it)| if *it > 0.0 { all / it } else { 0.0 }).collect();
    let (supply, metered) = e_dc(book);
    let u_rel = parts.u().filter(|_| parts.value() > 0.0).map(|u| u / parts.value());
    let partitions = book.partitions.iter().map(|p| partition(book, p, &lift, &parts, u_rel)).collect();
    Some(SiteShares { site: book.id.clone(), partitions, parts_kwh: parts.value(), supply_kwh: metered.then(|| supply.value()) })
}

fn partition(book: &Book, p: &PartitionBook, lift: &[f64], parts: &Quantity, u_rel: Option<f64>) -> Shares {
    let grid = book.grid();
    let h = BIN.as_hours_f64();
    let allocated = p.allocated.bins.clone();
    let idle: Vec<f64> =
        p.it.bins.iter().zip(&allocated).map(|(it, a)| (p.idle_kw_per_gpu * (p.gpus * h - a).max(0.0)).clamp(0.0, it.max(0.0))).collect();
    let work: Vec<f64> = p.it.bins.iter().zip(&idle).map(|(it, i)| it - i).collect();
    let mine: Vec<_> = book.jobs.iter().filter(|j| j.partition == p.id).collect();
    let mut claimed = grid.zeros();
    mine.iter().for_each(|j| j.each(grid, |bin, gpu_h| claimed[bin] += gpu_h));
    // Where the file claims more than the allocation's point says, the file's own sum shares the energy out.
    let base: Vec<f64> = allocated.iter().zip(&claimed).map(|(a, c)| a.max(*c)).collect();
    let useful = book.file.jobs.as_ref().map(|j| j.useful.clone()).unwrap_or_default();
    let is_useful = |state: &str| if useful.is_empty() { state == "COMPLETED" } else { useful.iter().any(|u| u == state) };
    let (mut jobs_it, mut by_job) = (0.0, Vec::with_capacity(mine.len()));
    for j in &mine {
        let (mut gpu_h, mut it, mut kwh) = (0.0, 0.0, 0.0);
        j.each(grid, |bin, g| {
            gpu_h += g;
            if base[bin] > 0.0 {
                let part = work[bin] * g / base[bin];
                it += part;
                kwh += part * lift[bin];
            }
        });
        if gpu_h > 0.0 {
            jobs_it += it;
            let useful_h = if is_useful(&j.state) { gpu_h } else { 0.0 };
            by_job.push(JobShare { job: j.job.clone(), group: j.group.clone(), partition: p.id.clone(), gpu_h, useful_h, kwh });
        }
    }
    let energy: Vec<f64> = p.it.bins.iter().zip(lift).map(|(it, l)| it * l).collect();
    let (it_kwh, idle_kwh) = (p.it.value(), idle.iter().sum::<f64>());
    let mut meters = parts.meters.clone();
    meters.extend([&p.it, &p.allocated, &p.utilisation].into_iter().flat_map(|q| q.meters.iter().cloned()));
    Shares {
        site: book.id.clone(),
        partition: p.id.clone(),
        name: p.name.clone(),
        overhead_kwh: energy.iter().sum::<f64>() - it_kwh,
        energy,
        active: p.active(),
        has_gpus: !p.allocated.is_none(),
        has_utilisation: !p.utilisation.is_none(),
        allocated,
        jobs_kwh: jobs_it,
        unnamed_kwh: it_kwh - idle_kwh - jobs_it,
        idle_kwh,
        useful_h: book.file.jobs.as_ref().map(|_| by_job.iter().map(|j| j.useful_h).sum()),
        by_job,
        coverage: parts.coverage().min(p.it.coverage()),
        estimated: parts.estimated_share().max(p.it.estimated_share()),
        u_rel,
        meters,
    }
}

/// Slope of hourly changes of `y` over those of `x`, its standard error and the number of changes: what one more unit of `x`
/// cost. Changes, so that the season does not pass for an effect. None below a day of changes.
pub fn marginal(x: &[f64], y: &[f64]) -> Option<(f64, f64, usize)> {
    let hours = |v: &[f64]| -> Vec<f64> { v.chunks_exact(4).map(|c| c.iter().sum()).collect() };
    let (x, y) = (hours(x), hours(y));
    let d = |v: &[f64]| -> Vec<f64> { v.windows(2).map(|w| w[1] - w[0]).collect() };
    let (dx, dy) = (d(&x), d(&y));
    let n = dx.len();
    let sxx: f64 = dx.iter().map(|v| v * v).sum();
    if n < 24 || sxx <= 0.0 {
        return None;
    }
    let slope = dx.iter().zip(&dy).map(|(a, b)| a * b).sum::<f64>() / sxx;
    let rss: f64 = dx.iter().zip(&dy).map(|(a, b)| (b - slope * a).powi(2)).sum();
    Some((slope, (rss / (n - 1) as f64 / sxx).sqrt(), n))
}

/// Figures of one scope (a partition, a site, the group): some partitions' shares together.
pub struct Scope<'a> {
    pub parts: Vec<&'a Shares>,
    pub books: Vec<&'a Book>,
    pub lang: Lang,
}

impl Scope<'_> {
    fn sum(&self, f: impl Fn(&Shares) -> &[f64]) -> f64 {
        self.parts.iter().map(|p| f(p).iter().sum::<f64>()).sum()
    }

    fn base(&self, value: Option<f64>, u: Option<f64>, status: Status) -> Fact {
        let mut meters: Vec<String> = self.parts.iter().flat_map(|p| p.meters.iter().cloned()).collect();
        meters.sort();
        meters.dedup();
        Fact {
            value,
            u,
            status: value.map(|_| status),
            coverage: Some(self.parts.iter().map(|p| p.coverage).fold(1.0, f64::min)),
            estimated: Some(self.parts.iter().map(|p| p.estimated).fold(0.0, f64::max)),
            missing: None,
            meters,
            boundary: self.lang.t("b_racks"),
            notes: vec![],
        }
    }

    fn energy(&self) -> Fact {
        let kwh: f64 = self.parts.iter().map(|p| p.total()).sum();
        let u = self.parts.iter().map(|p| p.u_rel.map(|r| r * p.total())).sum::<Option<f64>>();
        self.base(Some(kwh), u, Status::Metered)
    }

    fn hours(&self, which: &str) -> Fact {
        let role = |name: &str| Fact::missing(self.lang.say("no_meter", &[&self.site(), name]));
        let value = match which {
            "allocated" if self.parts.iter().all(|p| p.has_gpus) => Some(self.sum(|p| &p.allocated)),
            "active" if self.parts.iter().all(|p| p.has_gpus && p.has_utilisation) => Some(self.sum(|p| &p.active)),
            "useful" => self.parts.iter().map(|p| p.useful_h).sum(),
            _ => None,
        };
        match (value, which) {
            (Some(v), _) => Fact { u: None, ..self.base(Some(v), None, Status::Metered) },
            (None, "useful") => Fact::missing(self.lang.t("no_jobs")),
            (None, "active") => role("gpu_utilisation"),
            (None, _) => role("gpus_allocated"),
        }
    }

    fn site(&self) -> String {
        self.parts.first().map(|p| p.site.clone()).unwrap_or_default()
    }

    fn per(&self, which: &str) -> Fact {
        let (e, h) = (self.energy(), self.hours(which));
        // GPU-hours are counts: the energy's uncertainty is the ratio's.
        let mut out = Fact::ratio(&e, &Fact { u: Some(0.0), ..h.clone() }, 1.0);
        if h.value.is_none() {
            out.notes = h.notes;
        }
        out
    }

    fn marginal(&self) -> Fact {
        if self.parts.iter().any(|p| !p.has_gpus) {
            return self.hours("allocated");
        }
        let n = self.parts.iter().map(|p| p.energy.len()).min().unwrap_or(0);
        let add = |f: &dyn Fn(&Shares) -> &[f64]| -> Vec<f64> { (0..n).map(|i| self.parts.iter().map(|p| f(p)[i]).sum()).collect() };
        match marginal(&add(&|p| &p.allocated), &add(&|p| &p.energy)) {
            None => self.base(None, None, Status::Derived),
            Some((slope, u, n)) => {
                let mut f = self.base(Some(slope), Some(u), Status::Derived);
                f.notes.push(self.lang.say("marginal_note", &[&n.to_string()]));
                f
            }
        }
    }

    /// Grams of CO2 of the operation per allocated GPU-hour, location-based; M is 0 and said so in the name.
    fn sci(&self) -> Fact {
        let mut grams = 0.0;
        for p in &self.parts {
            let book = self.books.iter().find(|b| b.id == p.site);
            let Some(s) = book.and_then(|b| b.carbon_location.as_ref()).filter(|s| s.bins.iter().all(|v| v.is_finite())) else {
                return Fact::missing(self.lang.say("no_series", &[&p.site, "carbon_location"]));
            };
            grams += p.energy.iter().zip(&s.bins).map(|(e, g)| e * g).sum::<f64>();
        }
        let e = self.energy();
        let u = e.u.zip(e.value).map(|(u, v)| if v > 0.0 { u / v * grams } else { 0.0 });
        let g = self.base(Some(grams), u, Status::Derived);
        Fact::ratio(&g, &Fact { u: Some(0.0), ..self.hours("allocated") }, 1.0)
    }

    pub fn get(&self, name: &str) -> Option<Fact> {
        Some(match name {
            "gpu_energy" => self.energy(),
            "gpu_h_allocated" => self.hours("allocated"),
            "gpu_h_active" => self.hours("active"),
            "gpu_h_useful" => self.hours("useful"),
            "per_allocated" => self.per("allocated"),
            "per_active" => self.per("active"),
            "per_useful" => self.per("useful"),
            "marginal" => self.marginal(),
            "sci" => self.sci(),
            _ => return None,
        })
    }
}

/// Jobs, idle and overhead against the meter, site by site.
pub fn reconciliation(sites: &[SiteShares], lang: Lang) -> Table {
    let names = ["scope", "jobs", "not_in_jobs", "idle", "overhead", "total", "meter_kwh", "difference"];
    let mut columns: Vec<String> = names.map(|k| lang.t(k)).to_vec();
    columns.push(format!("{}, %", lang.t("difference")));
    let rows = sites
        .iter()
        .map(|s| {
            let sum = |f: fn(&Shares) -> f64| s.partitions.iter().map(f).sum::<f64>();
            let parts = [sum(|p| p.jobs_kwh), sum(|p| p.unnamed_kwh), sum(|p| p.idle_kwh), sum(|p| p.overhead_kwh)];
            let total: f64 = parts.iter().sum();
            let meter = s.supply_kwh.unwrap_or(s.parts_kwh);
            let mut row: Vec<Cell> = vec![s.site.as_str().into()];
            row.extend(parts.map(Cell::from));
            row.extend([total, meter, meter - total, 100.0 * (meter - total) / meter].map(Cell::from));
            row
        })
        .collect();
    Table { id: "reconciliation".into(), title: lang.t("reconciliation"), columns, rows }
}

/// Sums by group of users, over all sites.
pub fn groups(sites: &[SiteShares]) -> BTreeMap<String, GroupShare> {
    let mut out = BTreeMap::<String, GroupShare>::new();
    for j in sites.iter().flat_map(|s| &s.partitions).flat_map(|p| &p.by_job) {
        let g = out.entry(j.group.clone()).or_default();
        (g.gpu_h, g.useful_h, g.kwh) = (g.gpu_h + j.gpu_h, g.useful_h + j.useful_h, g.kwh + j.kwh);
    }
    out
}

/// All jobs with what they are charged with, the largest first. A job that ran in several pieces is one row; one identifier
/// at two sites is two jobs.
pub fn jobs(sites: &[SiteShares]) -> Vec<JobShare> {
    let mut all: HashMap<(&str, &str, &str), JobShare> = HashMap::new();
    for (site, j) in sites.iter().flat_map(|s| &s.partitions).flat_map(|p| p.by_job.iter().map(move |j| (p.site.as_str(), j))) {
        let key = (site, j.partition.as_str(), j.job.as_str());
        match all.get_mut(&key) {
            Some(sum) => {
                sum.gpu_h += j.gpu_h;
                sum.useful_h += j.useful_h;
                sum.kwh += j.kwh;
            }
            None => {
                all.insert(key, j.clone());
            }
        }
    }
    let mut out: Vec<JobShare> = all.into_values().collect();
    out.sort_by(|a, b| b.kwh.total_cmp(&a.kwh).then_with(|| a.job.cmp(&b.job)));
    out
}

/// Which roles an overhead is made of, for the balance: (word, kWh).
pub fn balance(book: &Book, lang: Lang) -> Vec<(String, f64)> {
    let sum = |r: MeterRole| book.sum(r).value();
    let (it, _) = super::facts::e_it(book, &[MeterRole::PduOut, MeterRole::UpsOut, MeterRole::ItIn]);
    let parts =
        [("it", it.value()), ("cooling", sum(MeterRole::Cooling)), ("losses", sum(MeterRole::Loss)), ("other", sum(MeterRole::Other))];
    let known: f64 = parts.iter().map(|p| p.1).sum();
    let (dc, metered) = e_dc(book);
    let mut out: Vec<(String, f64)> = parts.iter().map(|(k, v)| (lang.t(k), *v)).collect();
    out.push((lang.t("unattributed"), if metered { dc.value() - known } else { 0.0 }));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_marginal_energy_is_the_slope_of_changes() {
        // 0.8 kWh a GPU-hour on top of 50 kWh an hour that nobody caused, and a season.
        let x: Vec<f64> = (0..400).map(|i| 5.0 + ((i / 4 * 37) % 11) as f64).collect();
        let y: Vec<f64> = x.iter().enumerate().map(|(i, v)| 12.5 + 0.8 * v + 1e-9 * i as f64).collect();
        let (slope, u, n) = marginal(&x, &y).unwrap();
        assert!((slope - 0.8).abs() < 1e-6 && u < 1e-6 && n == 99, "{slope} {u} {n}");
        assert_eq!(marginal(&[1.0; 400], &[1.0; 400]), None);
    }
}

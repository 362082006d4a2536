//! The result of a demo: what `--json` writes and the table shows.
//!
//! An *account* is the energy of one arm over the run; ratios in it follow from its sums. Totals over sites are sums of the
//! sites' sums. The uncertainty of a difference is the 95 % t-interval of its mean over seeds (Student 1908).

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The energy account of one arm.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Account {
    pub it_kwh: f64,
    pub cooling_kwh: f64,
    pub loss_kwh: f64,
    pub gpu_hours: f64,
    /// (IT + cooling + losses) / GPU-hours; absent without GPU-hours.
    pub kwh_per_gpu_hour: Option<f64>,
    /// (IT + cooling + losses) / IT; absent without IT energy.
    pub pue: Option<f64>,
    /// Minutes in which any limit was crossed.
    pub minutes_beyond_limit: f64,
}

impl Account {
    pub fn new(it_kwh: f64, cooling_kwh: f64, loss_kwh: f64, gpu_hours: f64, minutes_beyond_limit: f64) -> Account {
        let total = it_kwh + cooling_kwh + loss_kwh;
        let ratio = |by: f64| (by > 0.0).then(|| total / by);
        Account { it_kwh, cooling_kwh, loss_kwh, gpu_hours, kwh_per_gpu_hour: ratio(gpu_hours), pue: ratio(it_kwh), minutes_beyond_limit }
    }

    /// IT, cooling and losses, kWh.
    pub fn total_kwh(&self) -> f64 {
        self.it_kwh + self.cooling_kwh + self.loss_kwh
    }

    /// Sum over sites; ratios are taken anew.
    pub fn sum<'a>(accounts: impl IntoIterator<Item = &'a Account>) -> Account {
        let mut s = [0.0; 5];
        for a in accounts {
            for (s, v) in s.iter_mut().zip([a.it_kwh, a.cooling_kwh, a.loss_kwh, a.gpu_hours, a.minutes_beyond_limit]) {
                *s += v;
            }
        }
        Account::new(s[0], s[1], s[2], s[3], s[4])
    }
}

/// What went over the bus, and how fast.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Traffic {
    pub readings_in: u64,
    pub readings_refused: u64,
    pub requests: u64,
    pub requests_refused: u64,
    pub requests_clamped: u64,
    pub sim_seconds_per_wall_second: f64,
}

/// Least distance to a limit over the run, in the limit's unit; negative = crossed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Margin {
    pub unit: String,
    pub baseline: Option<f64>,
    pub recommended: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub optimum: Option<f64>,
}

/// One site, or the total.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SiteResult {
    pub baseline: Account,
    pub recommended: Account,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub optimum: Option<Account>,
    #[serde(flatten)]
    pub traffic: Traffic,
    /// By the limit's identifier; in the total by `site/limit`.
    #[serde(default)]
    pub least_margin: BTreeMap<String, Margin>,
}

impl SiteResult {
    pub fn difference(&self) -> Difference {
        Difference::of(&self.baseline, &self.recommended)
    }

    /// Saving of kWh per GPU-hour as a share of the optimum's (1 = all of it). Absent without an optimum or where the
    /// optimum saves nothing.
    pub fn share_of_optimum(&self) -> Option<f64> {
        let best = self.baseline.kwh_per_gpu_hour? - self.optimum.as_ref()?.kwh_per_gpu_hour?;
        (best > 0.0).then_some((self.baseline.kwh_per_gpu_hour? - self.recommended.kwh_per_gpu_hour?) / best)
    }
}

/// Recommended less baseline: negative = saved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    pub it_kwh: f64,
    pub cooling_kwh: f64,
    pub loss_kwh: f64,
    pub gpu_hours: f64,
    pub kwh_per_gpu_hour: Option<f64>,
    pub pue: Option<f64>,
    pub cooling_pct: Option<f64>,
    pub kwh_per_gpu_hour_pct: Option<f64>,
}

impl Difference {
    pub fn of(baseline: &Account, recommended: &Account) -> Difference {
        let (b, r) = (baseline, recommended);
        let pct = |b: f64, r: f64| (b > 0.0).then(|| 100.0 * (r - b) / b);
        Difference {
            it_kwh: r.it_kwh - b.it_kwh,
            cooling_kwh: r.cooling_kwh - b.cooling_kwh,
            loss_kwh: r.loss_kwh - b.loss_kwh,
            gpu_hours: r.gpu_hours - b.gpu_hours,
            kwh_per_gpu_hour: r.kwh_per_gpu_hour.zip(b.kwh_per_gpu_hour).map(|(r, b)| r - b),
            pue: r.pue.zip(b.pue).map(|(r, b)| r - b),
            cooling_pct: pct(b.cooling_kwh, r.cooling_kwh),
            kwh_per_gpu_hour_pct: r.kwh_per_gpu_hour.zip(b.kwh_per_gpu_hour).and_then(|(r, b)| pct(b, r)),
        }
    }

    /// The figures by name, where present.
    pub fn figures(&self) -> Vec<(&'static str, f64)> {
        let all = [
            ("it_kwh", Some(self.it_kwh)),
            ("cooling_kwh", Some(self.cooling_kwh)),
            ("loss_kwh", Some(self.loss_kwh)),
            ("gpu_hours", Some(self.gpu_hours)),
            ("kwh_per_gpu_hour", self.kwh_per_gpu_hour),
            ("pue", self.pue),
            ("cooling_pct", self.cooling_pct),
            ("kwh_per_gpu_hour_pct", self.kwh_per_gpu_hour_pct),
        ];
        all.into_iter().filter_map(|(name, v)| Some((name, v?))).collect()
    }
}

/// One seed of one site (or `total`).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SeedRow {
    pub seed: u64,
    /// Site identifier, or `total`.
    pub site: String,
    pub difference: Difference,
    /// Minutes beyond any limit in each arm.
    pub minutes_beyond_limit_baseline: f64,
    pub minutes_beyond_limit_recommended: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share_of_optimum: Option<f64>,
}

impl SeedRow {
    pub fn new(seed: u64, site: &str, result: &SiteResult) -> SeedRow {
        SeedRow {
            seed,
            site: site.to_owned(),
            difference: result.difference(),
            minutes_beyond_limit_baseline: result.baseline.minutes_beyond_limit,
            minutes_beyond_limit_recommended: result.recommended.minutes_beyond_limit,
            share_of_optimum: result.share_of_optimum(),
        }
    }
}

/// Mean over seeds ± half the width of its 95 % t-interval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    pub mean: f64,
    /// Absent with fewer than two seeds.
    pub half_width_95: Option<f64>,
    pub n: usize,
}

/// 97.5 % quantiles of Student's t for 1 … 30 degrees of freedom.
const T_975: [f64; 30] = [
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093,
    2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
];

impl Interval {
    /// `None` for no values. Beyond 30 degrees of freedom the normal quantile is widened by 1 + 1.55/df.
    pub fn of(values: &[f64]) -> Option<Interval> {
        let n = values.len();
        if n == 0 {
            return None;
        }
        let mean = values.iter().sum::<f64>() / n as f64;
        let half_width_95 = (n > 1).then(|| {
            let df = n - 1;
            let var = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / df as f64;
            let t = T_975.get(df - 1).copied().unwrap_or(1.96 * (1.0 + 1.55 / df as f64 / 1.25));
            t * (var / n as f64).sqrt()
        });
        Some(Interval { mean, half_width_95, n })
    }
}

/// The demo's result, as `--json` writes it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DemoResult {
    pub sites: BTreeMap<String, SiteResult>,
    pub total: SiteResult,
    #[serde(flatten)]
    pub traffic: Traffic,
    /// Per seed and site; empty with one seed.
    #[serde(default)]
    pub seeds: Vec<SeedRow>,
    /// By site (or `total`) and figure of the difference: mean ± interval over the seeds.
    #[serde(default)]
    pub differences: BTreeMap<String, BTreeMap<String, Interval>>,
}

impl DemoResult {
    /// Sums the sites up. `speed` is the run's simulated seconds a wall second (both sites run side by side, so it is not a
    /// sum). `seeds` may hold site rows and `total` rows.
    pub fn assemble(sites: BTreeMap<String, SiteResult>, speed: f64, seeds: Vec<SeedRow>) -> DemoResult {
        let sum = |pick: fn(&Traffic) -> u64| sites.values().map(|s| pick(&s.traffic)).sum();
        let traffic = Traffic {
            readings_in: sum(|t| t.readings_in),
            readings_refused: sum(|t| t.readings_refused),
            requests: sum(|t| t.requests),
            requests_refused: sum(|t| t.requests_refused),
            requests_clamped: sum(|t| t.requests_clamped),
            sim_seconds_per_wall_second: speed,
        };
        let optimum: Option<Vec<&Account>> = sites.values().map(|s| s.optimum.as_ref()).collect();
        let total = SiteResult {
            baseline: Account::sum(sites.values().map(|s| &s.baseline)),
            recommended: Account::sum(sites.values().map(|s| &s.recommended)),
            optimum: optimum.filter(|o| !o.is_empty()).map(Account::sum),
            traffic,
            least_margin: sites
                .iter()
                .flat_map(|(id, s)| s.least_margin.iter().map(move |(l, m)| (format!("{id}/{l}"), m.clone())))
                .collect(),
        };
        let mut values: BTreeMap<String, BTreeMap<String, Vec<f64>>> = BTreeMap::new();
        for row in &seeds {
            for (figure, v) in row.difference.figures() {
                values.entry(row.site.clone()).or_default().entry(figure.to_owned()).or_default().push(v);
            }
        }
        let interval = |by: BTreeMap<String, Vec<f64>>| by.into_iter().filter_map(|(k, v)| Some((k, Interval::of(&v)?))).collect();
        let differences = values.into_iter().map(|(site, by)| (site, interval(by))).collect();
        DemoResult { sites, total, traffic, seeds, differences }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn two_sites() -> BTreeMap<String, SiteResult> {
        let margin = Margin { unit: "K".into(), baseline: Some(3.0), recommended: Some(1.5), optimum: None };
        let hq = SiteResult {
            baseline: Account::new(1000.0, 200.0, 50.0, 500.0, 0.0),
            recommended: Account::new(1000.0, 150.0, 50.0, 500.0, 0.0),
            optimum: Some(Account::new(1000.0, 140.0, 50.0, 500.0, 0.0)),
            traffic: Traffic { readings_in: 7, requests: 3, sim_seconds_per_wall_second: 2000.0, ..Traffic::default() },
            least_margin: [("w32".to_owned(), margin)].into(),
        };
        let chapel = SiteResult {
            baseline: Account::new(100.0, 50.0, 10.0, 20.0, 5.0),
            recommended: Account::new(100.0, 40.0, 10.0, 20.0, 1.0),
            optimum: Some(Account::new(100.0, 38.0, 10.0, 20.0, 0.0)),
            traffic: Traffic { readings_in: 5, readings_refused: 1, requests: 2, requests_clamped: 1, ..Traffic::default() },
            ..SiteResult::default()
        };
        [("hq".to_owned(), hq), ("chapel".to_owned(), chapel)].into()
    }

    #[test]
    fn totals_are_sums_over_sums() {
        let r = DemoResult::assemble(two_sites(), 2000.0, vec![]);
        // (1000+200+50 + 100+50+10) / (500+20) = 1410/520, not the mean of 2.5 and 8.
        assert!((r.total.baseline.kwh_per_gpu_hour.unwrap() - 1410.0 / 520.0).abs() < 1e-12);
        assert!((r.total.baseline.pue.unwrap() - 1410.0 / 1100.0).abs() < 1e-12);
        assert_eq!(r.total.difference().cooling_kwh, -60.0);
        assert!((r.total.difference().cooling_pct.unwrap() + 24.0).abs() < 1e-12);
        // Saved 60 of the optimum's 72 kWh at the same GPU-hours.
        assert!((r.total.share_of_optimum().unwrap() - 60.0 / 72.0).abs() < 1e-12);
        assert_eq!((r.traffic.readings_in, r.traffic.readings_refused, r.traffic.requests_clamped), (12, 1, 1));
        assert_eq!(r.total.baseline.minutes_beyond_limit, 5.0);
        assert!(r.total.least_margin.contains_key("hq/w32"));
        assert_eq!(Account::new(0.0, 1.0, 0.0, 0.0, 0.0).pue, None);
    }

    #[test]
    fn the_interval_is_students() {
        // Mean 3, s² = 2.5, s/√5 = 0.70711, t(4) = 2.776: ± 1.9629.
        let i = Interval::of(&[1.0, 2.0, 3.0, 4.0, 5.0]).unwrap();
        assert_eq!((i.mean, i.n), (3.0, 5));
        assert!((i.half_width_95.unwrap() - 1.962_93).abs() < 1e-4);
        assert_eq!(Interval::of(&[2.0]).unwrap().half_width_95, None);
        assert_eq!(Interval::of(&[]), None);
        // t(60) = 2.000.
        let wide: Vec<f64> = (0..61).map(f64::from).collect();
        let s = (wide.iter().map(|v| (v - 30.0).powi(2)).sum::<f64>() / 60.0 / 61.0).sqrt();
        assert!((Interval::of(&wide).unwrap().half_width_95.unwrap() / s - 2.0).abs() < 0.005);
    }

    #[test]
    fn the_json_is_the_contract() {
        let seeds = two_sites().iter().map(|(id, s)| SeedRow::new(1, id, s)).collect();
        let r = DemoResult::assemble(two_sites(), 2000.0, seeds);
        let json = serde_json::to_value(&r).unwrap();
        for at in ["/sites/hq/baseline/it_kwh", "/total/recommended/pue", "/total/optimum/kwh_per_gpu_hour", "/total/readings_in"] {
            assert!(json.pointer(at).is_some_and(serde_json::Value::is_number), "{at}");
        }
        for key in ["readings_in", "readings_refused", "requests", "requests_refused", "requests_clamped", "sim_seconds_per_wall_second"] {
            assert!(json[key].is_number() && json["sites"]["hq"][key].is_number(), "{key}");
        }
        assert_eq!(json["differences"]["hq"]["cooling_kwh"]["mean"], -50.0);
        assert_eq!(serde_json::from_value::<DemoResult>(json).unwrap(), r);
    }
}

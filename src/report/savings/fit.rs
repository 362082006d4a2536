//! Change-point regression of hourly energy on load and weather.

use crate::time::{Span, Timestamp};
use linfa_linalg::cholesky::*;
use ndarray::{Array1, Array2};
use serde::Serialize;

/// One hour: mean power, kW, of what is saved on, of the load, and the weather, °C.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Row {
    pub at: Timestamp,
    pub power_kw: f64,
    pub load_kw: f64,
    pub weather_c: f64,
}

impl Row {
    fn is_whole(&self) -> bool {
        self.power_kw.is_finite() && self.load_kw.is_finite() && self.weather_c.is_finite()
    }
    /// The UTC day: errors of one day are one observation.
    fn day(&self) -> i64 {
        self.at.0.div_euclid(Span::hours(24).0)
    }
}

/// Terms of a model beside the constant. With weather T above the change point c: (T − c)⁺.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// Load.
    Load,
    /// Load and (T − c)⁺.
    Cooling,
    /// Load, (T − c)⁺ and load × (T − c)⁺.
    CoolingByLoad,
    /// The same with load².
    Curved,
    /// The same with (T − c)⁺².
    CurvedWeather,
    /// The same with (c − T)⁺ instead of the square: a plant that behaves differently on either side.
    TwoSided,
}

impl Form {
    pub const ALL: [Form; 6] = [Form::Load, Form::Cooling, Form::CoolingByLoad, Form::Curved, Form::CurvedWeather, Form::TwoSided];

    fn terms(self, load: f64, weather_c: f64, change_c: f64, out: &mut Vec<f64>) {
        let above = (weather_c - change_c).max(0.0);
        let below = (change_c - weather_c).max(0.0);
        out.clear();
        out.extend([1.0, load]);
        match self {
            Form::Load => {}
            Form::Cooling => out.push(above),
            Form::CoolingByLoad => out.extend([above, load * above]),
            Form::Curved => out.extend([load * load, above, load * above]),
            Form::CurvedWeather => out.extend([load * load, above, load * above, above * above]),
            Form::TwoSided => out.extend([load * load, above, load * above, below, load * below]),
        }
    }
}

/// A fitted baseline.
#[derive(Clone, Debug, Serialize)]
pub struct Fit {
    pub form: Form,
    pub change_point_c: f64,
    /// Load is divided by this.
    pub load_scale_kw: f64,
    pub coefficients: Vec<f64>,
    pub rows: usize,
    pub days: usize,
    pub r2: f64,
    /// Lag-one autocorrelation of the hourly residuals.
    pub rho: f64,
    #[serde(skip)]
    covariance: Array2<f64>,
}

fn inverse(m: &Array2<f64>) -> Option<Array2<f64>> {
    m.invc().ok().filter(|i| i.iter().all(|v| v.is_finite()))
}

impl Fit {
    fn design(&self, r: &Row, x: &mut Vec<f64>) {
        self.form.terms(r.load_kw / self.load_scale_kw, r.weather_c, self.change_point_c, x);
    }

    /// What the baseline says, kW.
    pub fn predict(&self, r: &Row) -> f64 {
        let mut x = Vec::with_capacity(8);
        self.design(r, &mut x);
        x.iter().zip(&self.coefficients).map(|(a, b)| a * b).sum()
    }

    /// Fits one form at one change point.
    pub fn at(rows: &[Row], form: Form, change_point_c: f64) -> Option<Fit> {
        let load_scale_kw = (rows.iter().map(|r| r.load_kw.abs()).sum::<f64>() / rows.len().max(1) as f64).max(1e-9);
        let mut fit = Fit {
            form,
            change_point_c,
            load_scale_kw,
            coefficients: vec![],
            rows: rows.len(),
            days: 0,
            r2: 0.0,
            rho: 0.0,
            covariance: Array2::zeros((0, 0)),
        };
        let mut x = Vec::with_capacity(8);
        fit.design(rows.first()?, &mut x);
        let p = x.len();
        if rows.len() < 4 * p {
            return None;
        }
        let (mut xx, mut xy) = (Array2::<f64>::zeros((p, p)), Array1::<f64>::zeros(p));
        for r in rows {
            fit.design(r, &mut x);
            for i in 0..p {
                xy[i] += x[i] * r.power_kw;
                for j in 0..p {
                    xx[[i, j]] += x[i] * x[j];
                }
            }
        }
        // A term that never moved cannot be told from another: such a form is none.
        let scale: Vec<f64> = (0..p).map(|i| xx[[i, i]].sqrt()).collect();
        if scale.iter().any(|s| *s <= 0.0) {
            return None;
        }
        let scaled = Array2::from_shape_fn((p, p), |(i, j)| xx[[i, j]] / scale[i] / scale[j] + if i == j { 1e-10 } else { 0.0 });
        let inv = inverse(&scaled)?;
        let inv = Array2::from_shape_fn((p, p), |(i, j)| inv[[i, j]] / scale[i] / scale[j]);
        fit.coefficients = inv.dot(&xy).to_vec();
        fit.judge(rows, &inv, p);
        fit.coefficients.iter().all(|c| c.is_finite()).then_some(fit)
    }

    /// R², autocorrelation, covariance of the coefficients.
    fn judge(&mut self, rows: &[Row], inv: &Array2<f64>, p: usize) {
        let mean = rows.iter().map(|r| r.power_kw).sum::<f64>() / rows.len() as f64;
        let mut x = Vec::with_capacity(p);
        let mut scores: Vec<Array1<f64>> = Vec::new();
        let (mut day, mut sse, mut sst, mut lag, mut last) = (i64::MIN, 0.0, 0.0, 0.0, None::<(Timestamp, f64)>);
        for r in rows {
            let e = r.power_kw - self.predict(r);
            sse += e * e;
            sst += (r.power_kw - mean).powi(2);
            if let Some((_, b)) = last.filter(|(t, _)| r.at - *t == Span::hours(1)) {
                lag += e * b;
            }
            last = Some((r.at, e));
            if r.day() != day {
                day = r.day();
                scores.push(Array1::zeros(p));
            }
            self.design(r, &mut x);
            if let Some(s) = scores.last_mut() {
                x.iter().enumerate().for_each(|(i, v)| s[i] += v * e);
            }
        }
        self.days = scores.len();
        self.r2 = if sst > 0.0 { 1.0 - sse / sst } else { 0.0 };
        self.rho = if sse > 0.0 { lag / sse } else { 0.0 };
        let outer = |a: &Array1<f64>, b: &Array1<f64>| Array2::from_shape_fn((p, p), |(i, j)| a[i] * b[j]);
        let mut meat = Array2::<f64>::zeros((p, p));
        const LAGS: usize = 2;
        for k in 0..=LAGS {
            let w = 1.0 - k as f64 / (LAGS + 1) as f64;
            for t in k..scores.len() {
                let o = outer(&scores[t], &scores[t - k]);
                meat = meat + if k == 0 { o } else { (&o + &o.t()) * w };
            }
        }
        let n = scores.len() as f64;
        let small = n / (n - p as f64).max(1.0);
        self.covariance = inv.dot(&meat).dot(inv) * small;
    }

    /// Variance of a sum of predictions that the coefficients' uncertainty makes, kW².
    pub fn sum_variance(&self, rows: &[Row]) -> f64 {
        let p = self.coefficients.len();
        let mut sum = Array1::<f64>::zeros(p);
        let mut x = Vec::with_capacity(p);
        for r in rows {
            self.design(r, &mut x);
            x.iter().enumerate().for_each(|(i, v)| sum[i] += v);
        }
        sum.dot(&self.covariance.dot(&sum)).max(0.0)
    }

    /// Change points that are tried: twelve quantiles of the weather.
    fn change_points(rows: &[Row]) -> Vec<f64> {
        let mut t: Vec<f64> = rows.iter().map(|r| r.weather_c).collect();
        t.sort_by(f64::total_cmp);
        let at = |q: f64| t.get((q * (t.len().max(1) - 1) as f64) as usize).copied().unwrap_or(0.0);
        let mut out: Vec<f64> = (0..12).map(|k| at(0.03 + 0.82 * f64::from(k) / 11.0)).collect();
        out.dedup();
        out
    }

    /// Each form at its best change point with its mean squared error on days that the fit did not see, a richer one priced
    /// for its terms; the best first. Rows must be whole and in order.
    pub fn candidates(rows: &[Row]) -> Vec<(f64, Fit)> {
        let points = Fit::change_points(rows);
        let mut out: Vec<(f64, Fit)> = Vec::new();
        for form in Form::ALL {
            // The change point by least squares, the form by folds.
            let tries = if form == Form::Load { &points[..1.min(points.len())] } else { &points[..] };
            let fits = tries.iter().filter_map(|c| Fit::at(rows, form, *c));
            let Some(fit) = fits.max_by(|a, b| a.r2.total_cmp(&b.r2)) else { continue };
            let Some(errors) = fit.fold_errors(rows) else { continue };
            let mse = errors.iter().map(|e| e.1 * e.1).sum::<f64>() / errors.len() as f64;
            out.push((mse * (1.0 + 0.01 * fit.coefficients.len() as f64), fit));
        }
        out.sort_by(|a, b| a.0.total_cmp(&b.0));
        out
    }

    /// The best of the candidates.
    pub fn best(rows: &[Row]) -> Option<Fit> {
        Fit::candidates(rows).into_iter().next().map(|c| c.1)
    }

    /// Errors (metered − predicted, kW) of rows by fits of this form and change point that did not see their block of days.
    pub fn fold_errors(&self, rows: &[Row]) -> Option<Vec<(Row, f64)>> {
        let mut days: Vec<i64> = rows.iter().map(Row::day).collect();
        days.dedup();
        let folds = (days.len() / 3).clamp(2, 10);
        let mut out = Vec::with_capacity(rows.len());
        for k in 0..folds {
            let (a, b) = (days[k * days.len() / folds], days.get((k + 1) * days.len() / folds).copied().unwrap_or(i64::MAX));
            let held = |r: &&Row| r.day() >= a && r.day() < b;
            let seen: Vec<Row> = rows.iter().filter(|r| !held(r)).copied().collect();
            let fit = Fit::at(&seen, self.form, self.change_point_c)?;
            out.extend(rows.iter().filter(held).map(|r| (*r, r.power_kw - fit.predict(r))));
        }
        Some(out)
    }
}

/// Rows that have everything, in order of time.
pub(super) fn whole(rows: &[Row]) -> Vec<Row> {
    let mut out: Vec<Row> = rows.iter().filter(|r| r.is_whole()).copied().collect();
    out.sort_by_key(|r| r.at);
    out.dedup_by_key(|r| r.at);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_point_is_found() {
        // 20 kW and 4 % of the load, and 3 kW a kelvin above 16 °C.
        let rows: Vec<Row> = (0..24 * 30)
            .map(|h| {
                let (load_kw, weather_c) = (1000.0 + 300.0 * (f64::from(h) * 0.37).sin(), 15.0 + 8.0 * (f64::from(h) * 0.2618).sin());
                let power_kw = 20.0 + 0.04 * load_kw + 3.0 * (weather_c - 16.0).max(0.0);
                Row { at: Timestamp(0) + Span::hours(i64::from(h)), power_kw, load_kw, weather_c }
            })
            .collect();
        let fit = Fit::best(&rows).unwrap();
        assert!(fit.r2 > 0.98, "{fit:?}");
        let fit = Fit::at(&rows, Form::Cooling, 16.0).unwrap();
        assert!((fit.coefficients[2] - 3.0).abs() < 1e-3 && fit.r2 > 0.999_999, "{fit:?}");
    }
}

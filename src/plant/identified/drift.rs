//! Slow drift of the real plant against the model: a bounded bias per output and a CUSUM that tells of it.
//!
//! Words: a *bias* is an exponentially weighted mean of measured minus predicted; *CUSUM* (Page 1954) adds up residuals
//! beyond a slack and raises the alarm past a threshold, both counted in the model's own sigma.
//! Invariant: a bias never exceeds [`BIAS_SIGMAS`] standard deviations; a larger error is for the alarm, not for the bias.

use crate::time::Span;

/// Time constant of the bias.
const FOLLOW: Span = Span::hours(6);
/// Bound of a bias, in sigma.
pub const BIAS_SIGMAS: f64 = 3.0;
/// CUSUM slack and threshold, in sigma, on residuals averaged over half an hour.
const SLACK: f64 = 1.5;
const THRESHOLD: f64 = 12.0;
/// Errors below these are no drift, however sure the model is of itself: a share of the predicted power, and an amount of
/// a limited role in its unit.
const POWER_FLOOR: f64 = 0.25;
const LIMIT_FLOOR: f64 = 4.0;

#[derive(Clone, Debug, Default, PartialEq)]
struct Track {
    bias: f64,
    /// Half-hour mean of the raw residual: sensor noise must not feed the CUSUM.
    short: f64,
    up: f64,
    down: f64,
}

impl Track {
    fn observe(&mut self, span: Span, residual: f64, sigma: f64) {
        let sigma = sigma.max(1e-6);
        if !residual.is_finite() {
            return;
        }
        let share = |tau: Span| 1.0 - (-span.as_secs_f64().max(0.0) / tau.as_secs_f64()).exp();
        self.bias = (self.bias + share(FOLLOW) * (residual - self.bias)).clamp(-BIAS_SIGMAS * sigma, BIAS_SIGMAS * sigma);
        self.short += share(Span::minutes(30)) * (residual - self.short);
        let per_half_hour = span.as_secs_f64() / 1800.0;
        let x = self.short / sigma;
        self.up = (self.up + (x - SLACK) * per_half_hour).clamp(0.0, 10.0 * THRESHOLD);
        self.down = (self.down - (x + SLACK) * per_half_hour).clamp(0.0, 10.0 * THRESHOLD);
    }
    fn cusum(&self) -> f64 {
        self.up.max(self.down)
    }
}

/// Measured minus predicted, followed over time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Residuals {
    cooling: Track,
    loss: Track,
    limits: Vec<Track>,
    rows: u64,
}

/// What the residuals say now.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Drift {
    /// Rows observed.
    pub rows: u64,
    pub cooling_bias_kw: f64,
    pub loss_bias_kw: f64,
    /// Bias of each limited role, in its unit.
    pub limit_bias: Vec<f64>,
    /// Largest CUSUM of cooling power and of any limit, in sigma·half-hours.
    pub cooling_cusum: f64,
    pub limit_cusum: f64,
    /// The plant is no longer the one that the model describes.
    pub alarm: bool,
}

impl Residuals {
    pub(crate) fn cooling_bias_kw(&self) -> f64 {
        self.cooling.bias
    }
    pub(crate) fn loss_bias_kw(&self) -> f64 {
        self.loss.bias
    }
    pub(crate) fn limit_bias(&self, i: usize) -> f64 {
        self.limits.get(i).map_or(0.0, |t| t.bias)
    }

    /// Takes in one step; powers are (predicted, measured) without any bias.
    #[allow(clippy::too_many_arguments, reason = "one row of paired predictions and measurements")]
    pub(crate) fn observe(
        &mut self,
        span: Span,
        cooling: (f64, f64),
        loss: (f64, f64),
        sigma_kw: f64,
        limits: &[f64],
        limited: &[f64],
        limit_sigma: &[f64],
    ) {
        self.rows += 1;
        self.cooling.observe(span, cooling.1 - cooling.0, sigma_kw.max(POWER_FLOOR * cooling.0));
        self.loss.observe(span, loss.1 - loss.0, sigma_kw.max(POWER_FLOOR * loss.0));
        self.limits.resize(limits.len(), Track::default());
        for (i, track) in self.limits.iter_mut().enumerate() {
            let measured = limited.get(i).copied().unwrap_or(f64::NAN);
            track.observe(span, measured - limits[i], limit_sigma.get(i).copied().unwrap_or(1.0).max(LIMIT_FLOOR));
        }
    }

    pub fn drift(&self) -> Drift {
        let limit_cusum = self.limits.iter().map(Track::cusum).fold(0.0, f64::max);
        let cooling_cusum = self.cooling.cusum();
        Drift {
            rows: self.rows,
            cooling_bias_kw: self.cooling.bias,
            loss_bias_kw: self.loss.bias,
            limit_bias: self.limits.iter().map(|t| t.bias).collect(),
            cooling_cusum,
            limit_cusum,
            alarm: cooling_cusum > THRESHOLD || limit_cusum > THRESHOLD,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lasting_offset_is_followed_bounded_and_told() {
        let mut r = Residuals::default();
        for _ in 0..12 * 24 {
            r.observe(Span::minutes(5), (10.0, 20.0), (10.0, 10.0), 4.0, &[50.0], &[50.1], &[1.0]);
        }
        let d = r.drift();
        assert!((d.cooling_bias_kw - 10.0).abs() < 0.4, "{d:?}");
        assert!(d.alarm && d.loss_bias_kw == 0.0 && d.limit_cusum == 0.0, "{d:?}");
        r.observe(Span::hours(48), (10.0, 900.0), (10.0, f64::NAN), 4.0, &[50.0], &[f64::NAN], &[1.0]);
        assert_eq!(r.drift().cooling_bias_kw, 12.0);
    }
}

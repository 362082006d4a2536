//! A model's features and weights laid out for speed: a controller asks for tens of thousands of steps a tick.
//!
//! Invariants: made from a model's features and nothing else, once, when it is first evaluated; indices were checked when
//! the model was read; a feature that is zero (half of all hinges are) costs no weights.

use super::model::IdentifiedModel;
use std::sync::OnceLock;

/// Flat copies of a model's features and linear answers: meters first, then limits.
#[derive(Clone, Debug, Default)]
pub struct Compiled {
    features: Vec<Flat>,
    terms: Vec<(u32, f64)>,
    intercepts: Vec<f64>,
    /// One row of `intercepts.len()` weights per feature.
    weights: Vec<f64>,
}

#[derive(Clone, Copy, Debug)]
struct Flat {
    bias: f64,
    terms: u32,
    /// Variable that multiplies the feature; `u32::MAX` = none.
    times: u32,
    power: u8,
    hinge: bool,
}

impl Compiled {
    fn of(m: &IdentifiedModel) -> Compiled {
        let linear: Vec<_> = m.meters.iter().map(|x| &x.linear).chain(m.limits.iter().map(|x| &x.linear)).collect();
        let mut c = Compiled { intercepts: linear.iter().map(|l| l.intercept).collect(), ..Compiled::default() };
        for (j, f) in m.features.iter().enumerate() {
            let times = f.times.map_or(u32::MAX, u32::from);
            c.features.push(Flat { bias: f.bias, terms: f.weights.len() as u32, times, power: f.power, hinge: f.hinge });
            c.terms.extend(f.weights.iter().map(|&(i, w)| (u32::from(i), w)));
            c.weights.extend(linear.iter().map(|l| l.weights.get(j).copied().unwrap_or(0.0)));
        }
        c
    }

    /// Answers of all meters and limits for variables `z`; `out` is cleared first.
    pub fn answers(&self, z: &[f64], out: &mut Vec<f64>) {
        out.clear();
        out.extend_from_slice(&self.intercepts);
        let mut terms = self.terms.as_slice();
        for (f, weights) in self.features.iter().zip(self.weights.chunks_exact(self.intercepts.len().max(1))) {
            let (own, rest) = terms.split_at(f.terms as usize);
            terms = rest;
            let mut x = own.iter().fold(f.bias, |x, &(i, w)| x + w * z[i as usize]);
            if f.hinge && x <= 0.0 {
                continue;
            }
            x = match f.power {
                1 => x,
                2 => x * x,
                _ => x * x * x,
            };
            if f.times != u32::MAX {
                x *= z[f.times as usize];
            }
            out.iter_mut().zip(weights).for_each(|(y, w)| *y += w * x);
        }
    }
}

/// A model's compiled form, made when first asked for. It says nothing of its own: two cells are always equal.
#[derive(Clone, Debug, Default)]
pub struct Lazily(OnceLock<Compiled>);

impl PartialEq for Lazily {
    fn eq(&self, _: &Lazily) -> bool {
        true
    }
}

impl Lazily {
    pub fn of(&self, m: &IdentifiedModel) -> &Compiled {
        self.0.get_or_init(|| Compiled::of(m))
    }
}

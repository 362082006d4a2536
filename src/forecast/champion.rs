//! Which of two trained models is in force: champion and challenger on the same last window.
//!
//! A challenger is promoted only if it beats the champion where neither was trained; after a promotion the old champion
//! stands by, and takes over again if the new one's errors drift away from what its score promised.

use super::score::Row;
use serde::{Deserialize, Serialize};

/// What a challenger must gain on the champion's mean error.
pub const GAIN: f64 = 0.99;
/// Error in service over that of the score, from which on a model counts as drifted.
pub const DRIFT: f64 = 1.5;

/// Both on the last window.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Standing {
    pub champion: Option<String>,
    pub challenger: String,
    /// Mean over targets and horizons of MAE over that of persistence; below 1 is better than "no change".
    pub champion_score: Option<f64>,
    pub challenger_score: f64,
    pub verdict: Verdict,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The challenger is in force from now on.
    Promoted,
    /// The champion stays.
    Kept,
}

/// Mean over targets and horizons of the chosen model's MAE over persistence's; `None` without rows.
pub fn relative(rows: &[Row]) -> Option<f64> {
    let ratios: Vec<f64> = rows
        .iter()
        .filter(|r| r.chosen)
        .filter_map(|r| {
            let naive = rows.iter().find(|n| n.model == "persistence" && n.target == r.target && n.horizon == r.horizon)?;
            (naive.mae > 0.0).then(|| r.mae / naive.mae)
        })
        .collect();
    (!ratios.is_empty()).then(|| ratios.iter().sum::<f64>() / ratios.len() as f64)
}

/// Compares both scores on the last window.
pub fn judge(champion: Option<(&str, f64)>, challenger: (&str, f64)) -> Standing {
    let better = champion.is_none_or(|(_, c)| challenger.1 < GAIN * c);
    Standing {
        champion: champion.map(|(n, _)| n.to_owned()),
        challenger: challenger.0.to_owned(),
        champion_score: champion.map(|(_, s)| s),
        challenger_score: challenger.1,
        verdict: if better { Verdict::Promoted } else { Verdict::Kept },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_better_is_promoted() {
        assert_eq!(judge(None, ("a/1", 1.2)).verdict, Verdict::Promoted);
        assert_eq!(judge(Some(("a/1", 0.8)), ("a/2", 0.7)).verdict, Verdict::Promoted);
        assert_eq!(judge(Some(("a/1", 0.8)), ("a/2", 0.797)).verdict, Verdict::Kept);
        assert_eq!(judge(Some(("a/1", 0.8)), ("a/2", f64::NAN)).verdict, Verdict::Kept);
    }
}

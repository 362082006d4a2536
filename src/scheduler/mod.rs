//! Placement hints in a scheduler's words. Pure and read-only: text that a person or a later tool may apply.
//!
//! Words: a Slurm node's *Weight* is what Slurm fills first when it is low (slurm.conf, `NodeName … Weight=`).
//! Invariant: hints past their end give nothing.
//! Absent by design: nothing here talks to a scheduler.

use crate::control::place::Hints;
use crate::time::Timestamp;

/// Weight of band 1; each further band adds [`WEIGHT_STEP`].
pub const WEIGHT_BASE: u32 = 100;
pub const WEIGHT_STEP: u32 = 100;

/// Racks for a job class at a site, best first; empty where no fresh hint speaks of them.
pub fn ranked_racks(hints: &[Hints], site: &str, job_class: &str, now: Timestamp) -> Vec<String> {
    let fits = |h: &&Hints| h.site == site && h.job_class == job_class && h.fresh(now);
    let mut racks: Vec<_> = hints.iter().filter(fits).flat_map(|h| &h.racks).filter(|r| r.band < 5).collect();
    racks.sort_by(|a, b| a.rank.cmp(&b.rank).then(a.marginal_kwh_per_gpu_hour.total_cmp(&b.marginal_kwh_per_gpu_hour)));
    racks.into_iter().map(|r| r.rack.clone()).collect()
}

/// Slurm weight suggestions, one line per rack, as comments and commands to read, not to run unread.
pub fn slurm_weights(h: &Hints, now: Timestamp) -> Vec<String> {
    if !h.fresh(now) {
        return vec![format!("# hints of {} for {} ended at {}: nothing suggested", h.site, h.job_class, h.valid_until)];
    }
    let mut lines = vec![format!("# dry run: {} {} for {}, valid until {}", h.site, h.partition, h.job_class, h.valid_until)];
    for r in &h.racks {
        let safe: String = r.rack.chars().filter(|c| c.is_ascii_alphanumeric() || "-_.".contains(*c)).collect();
        let weight = WEIGHT_BASE + WEIGHT_STEP * u32::from(r.band.saturating_sub(1));
        lines.push(format!(
            "scontrol update NodeName={safe} Weight={weight}  # rank {}, {:.3} kWh per GPU-hour, {:.1} kW of headroom",
            r.rank, r.marginal_kwh_per_gpu_hour, r.power_headroom_kw
        ));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::place::RackHint;
    use crate::time::Span;

    fn hints() -> Hints {
        let rack = |id: &str, rank, band| RackHint {
            rack: id.into(),
            rank,
            marginal_kwh_per_gpu_hour: 1.2,
            power_headroom_kw: 10.0,
            thermal_headroom_k: None,
            band,
            reasons: vec![],
        };
        Hints {
            site: "s".into(),
            partition: "p".into(),
            job_class: "training".into(),
            made_at: Timestamp(0),
            valid_until: Timestamp(0) + Span::minutes(15),
            racks: vec![rack("r2", 1, 1), rack("r1", 2, 3), rack("full;rm", 3, 5)],
        }
    }

    #[test]
    fn hints_become_lists_and_weights_and_end() {
        let h = hints();
        assert_eq!(ranked_racks(std::slice::from_ref(&h), "s", "training", Timestamp(1)), ["r2", "r1"]);
        let lines = slurm_weights(&h, Timestamp(1));
        assert!(lines[1].starts_with("scontrol update NodeName=r2 Weight=100 "), "{}", lines[1]);
        assert!(lines[2].contains("NodeName=r1 Weight=300 ") && lines[3].contains("NodeName=fullrm Weight=500 "));
        assert!(ranked_racks(std::slice::from_ref(&h), "s", "training", h.valid_until).is_empty());
        assert_eq!(slurm_weights(&h, h.valid_until).len(), 1);
    }
}

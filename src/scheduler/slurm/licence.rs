//! Power licences: one is one kW that jobs ask for (`sbatch -L power_kw:10`). What may not be drawn now is held back by a reservation
//! of licences alone, so that Slurm starts no more than the headroom bears.
//!
//! Slurm before 23.11 cannot change a licence's count while it runs; a reservation with `Flags=ANY_NODES` it can.
//! Invariants: jobs that run keep theirs; what is held is never more than what is free; it grows at once, and shrinks by whole steps.

/// The reservation that holds them.
pub const RESERVATION: &str = "tramuntana_power";
/// Steps of what is held, as parts of all licences.
const STEPS: u32 = 50;

/// Counts of one licence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Licence {
    pub total: u32,
    pub used: u32,
}

fn field<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    line.split_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
}

/// One licence from `scontrol show license --oneliner`.
pub fn parse(text: &str, name: &str) -> Option<Licence> {
    let line = text.lines().find(|l| field(l, "LicenseName") == Some(name))?;
    Some(Licence { total: field(line, "Total")?.parse().ok()?, used: field(line, "Used")?.parse().ok()? })
}

/// What our reservation holds, from `scontrol show reservation --oneliner`; `None` = it is not there.
pub fn held(text: &str, name: &str) -> Option<u32> {
    let line = text.lines().find(|l| field(l, "ReservationName") == Some(RESERVATION))?;
    let own = |l: &str| l.split_once(':').filter(|(n, _)| *n == name).and_then(|(_, n)| n.parse().ok());
    Some(field(line, "Licenses").into_iter().flat_map(|l| l.split(',')).find_map(own).unwrap_or(0))
}

/// Licences to hold so that at most `headroom_kw` may be added (`None` = nothing bounds it), given what is held now.
pub fn hold(l: Licence, headroom_kw: Option<f64>, held: u32) -> u32 {
    let free = l.total.saturating_sub(l.used);
    let step = (l.total / STEPS).max(1);
    // The cast cuts off, and a negative or unknown headroom is 0.
    let may = headroom_kw.map_or(free, |kw| kw as u32);
    let want = free.saturating_sub(may).div_ceil(step).saturating_mul(step).min(free);
    // A step less, asked for now and again the other way, would be set at every look.
    if want < held && held - want <= step && want > 0 { held.min(free) } else { want }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn held_is_what_the_headroom_does_not_bear() {
        let text = "LicenseName=matlab Total=5 Used=0 Free=5 Reserved=0 Remote=no\nLicenseName=power_kw Total=1000 Used=300 Free=700 Reserved=60 Remote=no\n";
        let l = parse(text, "power_kw").unwrap();
        assert_eq!(l, Licence { total: 1000, used: 300 });
        assert_eq!(parse(text, "power"), None);
        assert_eq!(
            [hold(l, Some(200.0), 0), hold(l, Some(195.0), 0), hold(l, Some(-5.0), 0), hold(l, Some(f64::NAN), 0)],
            [500, 520, 700, 700]
        );
        assert_eq!([hold(l, None, 500), hold(l, Some(1e9), 500), hold(l, Some(205.0), 520), hold(l, Some(250.0), 520)], [0, 0, 520, 460]);
        let shown = "ReservationName=tramuntana_power StartTime=2026-11-29T07:02:00 Nodes=(null) Licenses=a:1,power_kw:60 State=ACTIVE";
        assert_eq!((held(shown, "power_kw"), held(shown, "b"), held("No reservations in the system", "a")), (Some(60), Some(0), None));
    }
}

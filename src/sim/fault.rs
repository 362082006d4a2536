//! Faults of a campaign: what can break, where, when and by how much, drawn from a seed.
//!
//! Words: a *fault* strikes at `from` and is over at `to`; the *victim* of a sensor fault is a point, a *swap* has two. A fault
//! touches what sensors say ([`Striking::sensed`]), what metadata say ([`metadata`]), the hall itself ([`Striking::trouble`]), the
//! operator's switch or the bus; never the controller.
//! Invariants: the same kind, seed and hall give the same fault; a hall that is run with and without us meets the same one.

use super::hall::{Hall, Trouble};
use crate::plant::twin::{Outage, Sensed, SimPoint, SimPointKind, Source, TwinSpec};
use crate::time::{Span, Timestamp};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};
use serde::{Deserialize, Serialize};

/// What can go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// A sensor stands still at its last value.
    Stuck,
    /// A sensor walks away steadily.
    Drifting,
    /// A sensor's noise grows a hundredfold.
    Noisy,
    /// A sensor says nothing.
    Missing,
    /// Two sensors of one unit are exchanged.
    Swapped,
    /// One of two pumps of a CDU or of the facility water stops.
    LostPump,
    /// A CDU stops; the others carry its racks.
    LostCdu,
    /// Nothing passes between us and the building management system.
    BrokerLost,
    /// All racks' power rises by 60 % within 5 min, up to their rating.
    LoadStep,
    /// Outdoor air warms by 8 K within two hours, at the same relative humidity.
    HeatWave,
    /// From the beginning a point's metadata lie: a wrong unit, another point's meaning, or nothing at all.
    WrongMetadata,
    /// The operators switch us off.
    KickedOut,
}

impl FaultKind {
    pub const ALL: [FaultKind; 12] = [
        FaultKind::Stuck,
        FaultKind::Drifting,
        FaultKind::Noisy,
        FaultKind::Missing,
        FaultKind::Swapped,
        FaultKind::LostPump,
        FaultKind::LostCdu,
        FaultKind::BrokerLost,
        FaultKind::LoadStep,
        FaultKind::HeatWave,
        FaultKind::WrongMetadata,
        FaultKind::KickedOut,
    ];

    pub fn name(self) -> &'static str {
        match self {
            FaultKind::Stuck => "stuck sensor",
            FaultKind::Drifting => "drifting sensor",
            FaultKind::Noisy => "noisy sensor",
            FaultKind::Missing => "missing sensor",
            FaultKind::Swapped => "swapped sensors",
            FaultKind::LostPump => "lost pump",
            FaultKind::LostCdu => "lost CDU",
            FaultKind::BrokerLost => "broker lost",
            FaultKind::LoadStep => "load +60 % in 5 min",
            FaultKind::HeatWave => "heat wave +8 K",
            FaultKind::WrongMetadata => "wrong metadata",
            FaultKind::KickedOut => "kicked out",
        }
    }
}

/// How a point's metadata lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lie {
    /// °C is called °F, kW is called W, any other unit is left out.
    Unit,
    /// The metadata of the second victim.
    Exchanged,
    /// No metadata come.
    Absent,
}

/// One fault.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fault {
    pub kind: FaultKind,
    pub from: Timestamp,
    pub to: Timestamp,
    /// Indices of points.
    pub victims: Vec<usize>,
    /// What it is, for the table.
    pub what: String,
    /// Drift, unit per hour; noise, unit; pump or CDU index; most of the design flow that is left.
    pub size: f64,
    pub lie: Option<Lie>,
    /// The broker keeps our session over the outage and delivers what it kept.
    pub session_kept: bool,
}

/// Is a point one whose value means something to control? Rack and tray detail is left to the many.
fn matters(p: &SimPoint) -> bool {
    p.kind == SimPointKind::Measured
        && !matches!(
            p.source,
            Source::Tray(..)
                | Source::RackDp(_)
                | Source::RackValve(_)
                | Source::RackLeak(_)
                | Source::RackSupply(_)
                | Source::RackReturn(_)
                | Source::RackFlow(_)
                | Source::RackPower(1..)
                | Source::Constant(_)
                | Source::AiStatus
                | Source::None
        )
}

fn unit(p: &SimPoint) -> &str {
    p.metadata["engUnit"].as_str().unwrap_or("")
}

impl Fault {
    /// Draws a fault for a hall: it strikes between `from` and an hour later.
    pub fn draw(kind: FaultKind, seed: u64, hall: &Hall, from: Timestamp) -> Fault {
        let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 0x6661_756c_7400 ^ ((kind as u64) << 48));
        let points = hall.points();
        let from = from + Span::minutes(rng.random_range(0..60));
        let mut fault = Fault {
            kind,
            from,
            to: from + Span::minutes(rng.random_range(60..240)),
            victims: vec![],
            what: String::new(),
            size: 0.0,
            lie: None,
            session_kept: false,
        };
        let candidates: Vec<usize> = (0..points.len()).filter(|i| matters(&points[*i])).collect();
        let one = |rng: &mut ChaCha8Rng, of: &[usize]| of[rng.random_range(0..of.len().max(1))];
        let path = |i: usize| points[i].path.clone();
        match kind {
            FaultKind::Stuck | FaultKind::Missing => {
                fault.victims = vec![one(&mut rng, &candidates)];
                fault.what = path(fault.victims[0]);
            }
            FaultKind::Drifting | FaultKind::Noisy => {
                let analogue: Vec<usize> = candidates.iter().copied().filter(|i| !unit(&points[*i]).is_empty()).collect();
                let i = one(&mut rng, &analogue);
                fault.victims = vec![i];
                let sign = if rng.random_bool(0.5) { 1.0 } else { -1.0 };
                // Kelvin an hour, or a share of a percentage or power that is of that order.
                let scale = if unit(&points[i]) == "C" { 1.0 } else { 5.0 };
                fault.size = match kind {
                    FaultKind::Drifting => sign * scale * rng.random_range(1.0..8.0),
                    _ => scale * rng.random_range(1.0..5.0),
                };
                let per = if kind == FaultKind::Drifting { "/h" } else { " of noise" };
                fault.what = format!("{} {:+.1} {}{per}", path(i), fault.size, unit(&points[i]));
            }
            FaultKind::Swapped => {
                let i = one(&mut rng, &candidates);
                let like: Vec<usize> = candidates.iter().copied().filter(|j| *j != i && unit(&points[*j]) == unit(&points[i])).collect();
                fault.victims = if like.is_empty() { vec![i, i] } else { vec![i, one(&mut rng, &like)] };
                fault.what = format!("{} <-> {}", path(fault.victims[0]), path(fault.victims[1]));
            }
            FaultKind::LostPump => {
                let cdus = hall.spec().cdus.len();
                let which = rng.random_range(0..=cdus);
                fault.victims = vec![which];
                fault.size = if which == cdus { 0.6 } else { 0.55 };
                fault.what =
                    if which == cdus { "one facility water pump".into() } else { format!("one pump of {}", hall.spec().cdus[which].id) };
            }
            FaultKind::LostCdu => {
                let which = rng.random_range(0..hall.spec().cdus.len());
                fault.victims = vec![which];
                fault.what = hall.spec().cdus[which].id.clone();
            }
            FaultKind::BrokerLost => {
                let seconds = (rng.random_range(0.0..1.0) * (6.0_f64 * 3600.0).ln()).exp().round().max(1.0);
                fault.to = fault.from + Span::seconds(seconds as i64);
                fault.session_kept = rng.random_bool(0.5);
                fault.what = format!("{seconds:.0} s, session {}", if fault.session_kept { "kept" } else { "lost" });
            }
            FaultKind::LoadStep => {
                fault.size = 0.6;
                fault.what = "all racks".into();
            }
            FaultKind::HeatWave => {
                fault.size = 8.0;
                fault.to = fault.from + Span::hours(5);
                fault.what = "outdoor air".into();
            }
            FaultKind::WrongMetadata => {
                (fault.from, fault.to) = (hall.start(), hall.start() + hall.span());
                let i = one(&mut rng, &candidates);
                let like: Vec<usize> = candidates.iter().copied().filter(|j| *j != i && unit(&points[*j]) == unit(&points[i])).collect();
                let lie = [Lie::Unit, Lie::Exchanged, Lie::Absent][rng.random_range(0..3)];
                fault.victims = match lie {
                    Lie::Exchanged if !like.is_empty() => vec![i, one(&mut rng, &like)],
                    _ => vec![i],
                };
                fault.lie = Some(if lie == Lie::Exchanged && like.is_empty() { Lie::Absent } else { lie });
                fault.what = format!("{:?}: {}", lie, fault.victims.iter().map(|i| path(*i)).collect::<Vec<_>>().join(" as "));
            }
            FaultKind::KickedOut => fault.what = "the operators' switch".into(),
        }
        fault
    }

    pub fn strikes(&self, now: Timestamp) -> bool {
        self.from <= now && now < self.to
    }

    /// Metadata of a point as they are published: `None` = they never come.
    pub fn metadata(&self, i: usize, points: &[SimPoint]) -> Option<serde_json::Value> {
        let own = points[i].metadata.clone();
        let Some(lie) = self.lie.filter(|_| self.victims.contains(&i)) else { return Some(own) };
        match lie {
            Lie::Absent => None,
            Lie::Exchanged => {
                let other = if self.victims[0] == i { self.victims.get(1) } else { self.victims.first() };
                // The path tells object and point type too: what is exchanged is what a point is said to serve.
                let mut said = own;
                let theirs = &points[*other?].metadata;
                for key in ["objectName", "objectId", "processArea", "servesId", "isSetpoint"] {
                    match theirs.get(key) {
                        Some(v) => said[key] = v.clone(),
                        None => {
                            said.as_object_mut().map(|o| o.remove(key));
                        }
                    }
                }
                Some(said)
            }
            Lie::Unit => {
                let mut said = own;
                match said["engUnit"].as_str() {
                    Some("C") => said["engUnit"] = "F".into(),
                    Some("kW") => said["engUnit"] = "W".into(),
                    _ => {
                        said.as_object_mut().map(|o| o.remove("engUnit"));
                    }
                }
                Some(said)
            }
        }
    }
}

/// A fault at work on one hall.
#[derive(Clone, Debug)]
pub struct Striking {
    fault: Fault,
    rng: ChaCha8Rng,
    /// What the victims said when it struck.
    held: Vec<Option<f64>>,
}

impl Striking {
    pub fn new(fault: Fault, seed: u64) -> Striking {
        Striking { held: vec![None; fault.victims.len()], fault, rng: ChaCha8Rng::seed_from_u64(seed ^ 0x6e6f_6973_6500) }
    }

    pub fn fault(&self) -> &Fault {
        &self.fault
    }

    /// What is wrong with the hall at an instant.
    pub fn trouble(&self, spec: &TwinSpec, now: Timestamp) -> Trouble {
        let f = &self.fault;
        if !f.strikes(now) {
            return Trouble::default();
        }
        let risen = |over: Span| ((now - f.from).as_secs_f64() / over.as_secs_f64()).min(1.0);
        match f.kind {
            FaultKind::LoadStep => Trouble { load_rise: f.size * risen(Span::minutes(5)), ..Trouble::default() },
            FaultKind::HeatWave => Trouble { warmer_k: f.size * risen(Span::hours(2)), ..Trouble::default() },
            FaultKind::LostPump if f.victims[0] == spec.cdus.len() => {
                Trouble { outage: Outage { fws_flow_max: Some(f.size), ..Outage::default() }, ..Trouble::default() }
            }
            FaultKind::LostPump | FaultKind::LostCdu => {
                let cdu_flow_max = (0..spec.cdus.len()).map(|c| if c == f.victims[0] { f.size } else { 1.0 }).collect();
                Trouble { outage: Outage { cdu_flow_max, fws_flow_max: None }, ..Trouble::default() }
            }
            _ => Trouble::default(),
        }
    }

    pub fn enabled(&self, now: Timestamp) -> bool {
        !(self.fault.kind == FaultKind::KickedOut && self.fault.strikes(now))
    }

    pub fn bus_up(&self, now: Timestamp) -> bool {
        !(self.fault.kind == FaultKind::BrokerLost && self.fault.strikes(now))
    }

    /// Bends what the sensors say.
    pub fn sensed(&mut self, now: Timestamp, sensed: &mut [Sensed]) {
        let f = &self.fault;
        if !f.strikes(now) || sensed.is_empty() {
            return;
        }
        match f.kind {
            FaultKind::Stuck | FaultKind::Drifting | FaultKind::Noisy | FaultKind::Missing => {
                for (held, i) in self.held.iter_mut().zip(&f.victims) {
                    let Some(s) = sensed.get_mut(*i) else { continue };
                    let first = *held.get_or_insert(s.value);
                    match f.kind {
                        FaultKind::Stuck => s.value = first,
                        FaultKind::Drifting => s.value += f.size * (now - f.from).as_hours_f64(),
                        FaultKind::Noisy => {
                            let noise: f64 = StandardNormal.sample(&mut self.rng);
                            s.value += f.size * noise;
                        }
                        _ => s.dropped = true,
                    }
                }
            }
            FaultKind::Swapped => {
                if let [a, b] = f.victims[..]
                    && a < sensed.len()
                    && b < sensed.len()
                {
                    sensed.swap(a, b);
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stuck(victims: Vec<usize>, kind: FaultKind) -> Striking {
        let (from, to) = (Timestamp(0) + Span::hours(1), Timestamp(0) + Span::hours(2));
        Striking::new(Fault { kind, from, to, victims, what: String::new(), size: 2.0, lie: None, session_kept: false }, 1)
    }

    #[test]
    fn a_sensor_fault_bends_its_victim_while_it_lasts_and_nothing_else() {
        let row = |v: f64| vec![Sensed { value: v, quality: 1, dropped: false }, Sensed { value: 7.0, quality: 1, dropped: false }];
        let at = |m| Timestamp(0) + Span::minutes(m);
        let mut s = stuck(vec![0], FaultKind::Stuck);
        let said = |s: &mut Striking, m, v| {
            let mut r = row(v);
            s.sensed(at(m), &mut r);
            (r[0].value, r[1].value, r[0].dropped)
        };
        assert_eq!(said(&mut s, 59, 1.0), (1.0, 7.0, false));
        assert_eq!(said(&mut s, 60, 2.0), (2.0, 7.0, false));
        assert_eq!(said(&mut s, 90, 3.0), (2.0, 7.0, false));
        assert_eq!(said(&mut s, 120, 3.0), (3.0, 7.0, false));
        assert_eq!(said(&mut stuck(vec![0], FaultKind::Drifting), 90, 3.0), (4.0, 7.0, false));
        assert_eq!(said(&mut stuck(vec![0, 1], FaultKind::Swapped), 90, 3.0), (7.0, 3.0, false));
        assert!(said(&mut stuck(vec![0], FaultKind::Missing), 90, 3.0).2);
        assert!(!stuck(vec![], FaultKind::KickedOut).enabled(at(90)) && !stuck(vec![], FaultKind::BrokerLost).bus_up(at(90)));
    }
}

//! A simulated site: plant, guardrails of its BMS, scheduler, energy account.

mod account;
mod guard;
mod trouble;
mod work;

pub use account::Account;
pub use guard::HallActuator;
pub use trouble::Trouble;
pub use work::{Placement, Running, Scenario, Work};

use crate::plant::twin::{Beside, Sensed, Sensors, SimPoint, Truth, Twin, TwinSpec};
use crate::time::{Span, Timestamp};
use guard::Guard;
use std::sync::Arc;

/// Warm-up that the account leaves out.
pub const WARM_UP: Span = Span::hours(1);

/// A simulated site. Cloning it forks the future: the search for the optimum does.
#[derive(Clone, Debug)]
pub struct Hall {
    scenario: Arc<Scenario>,
    twin: Twin,
    sensors: Sensors,
    guard: Guard,
    work: work::Floor,
    account: Account,
    now: Timestamp,
    dynamic_kw: Vec<f64>,
    trouble: Trouble,
}

impl Hall {
    pub fn new(spec: Arc<TwinSpec>, scenario: Scenario) -> Hall {
        let twin = Twin::new(Arc::clone(&spec));
        let sensors = Sensors::new(&twin, scenario.seed);
        let now = scenario.start;
        let work = work::Floor::new(&spec, &scenario);
        Hall {
            guard: Guard::new(&spec),
            account: Account::new(&spec),
            dynamic_kw: vec![0.0; spec.racks()],
            trouble: Trouble::default(),
            scenario: Arc::new(scenario),
            twin,
            sensors,
            work,
            now,
        }
    }

    pub fn now(&self) -> Timestamp {
        self.now
    }
    pub fn start(&self) -> Timestamp {
        self.scenario.start
    }
    /// Length of the run: the scenario's, or the recording's where that is shorter.
    pub fn span(&self) -> Span {
        self.scenario.length()
    }
    pub fn done(&self) -> bool {
        self.now - self.scenario.start >= self.span()
    }
    pub fn spec(&self) -> &Arc<TwinSpec> {
        self.twin.spec()
    }
    pub fn step_span(&self) -> Span {
        Span::seconds(i64::from(self.spec().step_s))
    }
    pub fn truth(&self) -> &Truth {
        self.twin.truth()
    }
    pub fn account(&self) -> &Account {
        &self.account
    }
    pub fn points(&self) -> &[SimPoint] {
        self.sensors.points()
    }
    pub fn actuators(&self) -> &[HallActuator] {
        self.guard.actuators()
    }
    pub fn rack_ids(&self) -> &[String] {
        self.work.rack_ids()
    }
    pub fn enabled(&self) -> bool {
        self.guard.enabled
    }

    /// Takes a setpoint request as a BMS does: it keeps the authority over bounds, slew and time.
    pub fn request(&mut self, index: usize, value: f64) {
        self.guard.request(index, value, self.now);
    }

    /// The operator's switch: off kicks the integration out, and setpoints go back to their defaults.
    pub fn set_enabled(&mut self, on: bool) {
        self.guard.enabled = on;
    }

    /// What goes wrong in the plant and around it from the next step on.
    pub fn set_trouble(&mut self, trouble: Trouble) {
        self.twin.set_outage(trouble.outage.clone());
        self.trouble = trouble;
    }

    /// Which limits, in the order of the twin's file, are passed now: bit `i` for limit `i`.
    pub fn beyond(&self) -> u32 {
        account::beyond(self.twin.spec(), self.twin.truth(), self.guard.in_force())
    }

    /// True value of a limit of the twin's file, and its distance to the limit (negative = beyond).
    pub fn limited(&self, id: &str) -> Option<(f64, f64)> {
        account::limited(self.twin.spec(), id, self.twin.truth(), self.guard.in_force())
    }

    /// Reads every sensor at the current instant.
    pub fn sense(&mut self, out: &mut Vec<Sensed>) {
        let beside = Beside {
            gpus_allocated: self.work.gpus_allocated(),
            utilisation_pct: self.work.utilisation_pct(),
            in_force: self.guard.in_force(),
            enabled: self.guard.enabled,
        };
        self.sensors.read(&self.twin, &beside, out);
    }

    /// One step of the plant: guardrails move the setpoints, jobs start and end, the plant answers, the account is kept.
    pub fn advance(&mut self, placement: &mut Placement) {
        let span = self.step_span();
        self.guard.tick(self.now, span);
        self.work.tick(&self.scenario, self.now, placement, &mut self.dynamic_kw);
        self.trouble.load(self.twin.spec(), |rack| self.twin.group_of(rack), &mut self.dynamic_kw);
        let weather = self.trouble.weather(self.scenario.weather.at(self.now));
        self.twin.step(span.as_secs_f64(), &self.guard.in_force(), &self.dynamic_kw, weather);
        if self.now - self.scenario.start >= WARM_UP {
            self.account.add(self.twin.spec(), self.twin.truth(), span, self.work.gpus_allocated(), self.guard.in_force());
        }
        self.account.requests = self.guard.stats;
        self.now += span;
    }

    /// One step with the racks' power given by somebody else: [`super::fleet`] places jobs over several halls. Each rack's
    /// power at a chip temperature of 50 °C, kW; GPUs that jobs hold, and how busy they are, %.
    pub fn advance_given(&mut self, rack_kw: &[f64], gpus: u32, utilisation_pct: f64) {
        let span = self.step_span();
        self.guard.tick(self.now, span);
        self.work.set(gpus, utilisation_pct);
        let weather = self.scenario.weather.at(self.now);
        self.twin.step(span.as_secs_f64(), &self.guard.in_force(), rack_kw, weather);
        if self.now - self.scenario.start >= WARM_UP {
            self.account.add(self.twin.spec(), self.twin.truth(), span, gpus, self.guard.in_force());
        }
        self.account.requests = self.guard.stats;
        self.now += span;
    }

    /// The plant changes (a distribution unit fouls): the same racks and machines with other parameters.
    pub fn respec(&mut self, spec: Arc<TwinSpec>) {
        self.twin.respec(spec);
    }

    /// Runs to the end with what is in force, first fit.
    pub fn run_fixed(mut self) -> Hall {
        while !self.done() {
            self.advance(&mut Placement::FirstFit);
        }
        self
    }
}

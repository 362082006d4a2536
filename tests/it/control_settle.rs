//! Setpoints that creep, reserves that grow with a rise, and values that do not follow their setpoint.

use super::control::{SITE, Simple, aged, view};
use std::path::Path;
use std::sync::Arc;
use tramuntana::control::Controller;
use tramuntana::control::plan::{Plan, Start, Tuning, plan};
use tramuntana::control::view::View;
use tramuntana::event::Tally;
use tramuntana::plant::predict::{Fit, Outcome, PlantState, Predict, StepInput};
use tramuntana::site::SiteFile;
use tramuntana::time::{Span, Timestamp};

fn start(at: [f64; 2], settled: Option<[f64; 2]>, pin: Option<f64>) -> Start {
    Start {
        base: at.to_vec(),
        reach: at.iter().map(|v| (v - 1.0, v + 1.0)).collect(),
        fixed: vec![pin, None],
        prior: None,
        settled: settled.map(|s| s.to_vec()),
        surprise: vec![],
    }
}

fn planned(v: &View, s: &Start, settle: Span) -> Plan {
    let tuning = Tuning { switch_share: 0.0, worth_share: 0.0, settle, ..Tuning::default() };
    plan(v, s, &Simple::new(), &tuning).expect("a plan")
}

#[test]
fn a_temperature_goes_a_part_of_the_way_to_the_optimum_each_tick() {
    let at = [22.0, 80.0];
    let v = view(Timestamp(0), at, 800.0, 19.0, 12.0);
    let best = planned(&v, &start(at, None, None), Span(0));
    let far = best.targets[0] - at[0];
    assert!(far.abs() > 0.5, "the optimum is elsewhere: {:?}", best.targets);
    let crept = planned(&v, &start(at, Some(at), None), Span::hours(1));
    let share = 1.0 - (-5.0_f64 / 60.0).exp();
    assert!((crept.settled[0] - (at[0] + share * far)).abs() < 1e-9, "{:?} of {:?}", crept.settled, best.targets);
    assert!((crept.first[0] - crept.settled[0]).abs() < 1e-9, "and asks for it, though it is less than a step: {:?}", crept.first);
    // Again and again from where it came to, it arrives.
    let (mut from, mut settled) = (at, at);
    for _ in 0..80 {
        let v = view(Timestamp(0), from, 800.0, 19.0, 12.0);
        let p = planned(&v, &start(from, Some(settled), None), Span::hours(1));
        settled = [p.settled[0], p.settled[1]];
        from = [p.first[0], p.first[1]];
    }
    assert!((from[0] - best.targets[0]).abs() < 0.5, "{from:?} against {:?}", best.targets);
}

#[test]
fn a_pin_and_a_limit_are_not_waited_for() {
    let at = [22.0, 80.0];
    let v = view(Timestamp(0), at, 800.0, 19.0, 12.0);
    let pinned = planned(&v, &start(at, Some(at), Some(22.75)), Span::hours(1));
    assert!((pinned.targets[0] - 22.75).abs() < 1e-9, "{:?}", pinned.targets);
    // The dew point has risen over what was settled on: 22.0 + 1.5 + 0.3 is the least.
    let v = view(Timestamp(0), [23.5, 80.0], 800.0, 19.0, 22.0);
    let quick = planned(&v, &start([23.5, 80.0], None, None), Span(0));
    let crept = planned(&v, &start([23.5, 80.0], Some([20.0, 80.0]), None), Span::hours(1));
    assert!(crept.excess <= quick.excess + 1e-6, "{} against {}", crept.excess, quick.excess);
    assert!(crept.first[0] >= quick.first[0] - 1e-9, "{:?} against {:?}", crept.first, quick.first);
}

#[test]
fn a_reserve_at_a_limit_of_a_setpoint_is_no_trouble() {
    let text = SITE.replace("id = \"dew\"\n", "id = \"dew\"\nreserve = [{ loss = \"a fan\", flat = 1.0 }]\n");
    assert_ne!(text, SITE);
    let at = [22.0, 80.0];
    let mut v = view(Timestamp(0), at, 800.0, 19.0, 12.0);
    let without = planned(&v, &start(at, None, None), Span(0));
    v.site = Arc::new(SiteFile::parse(Path::new("test/site.toml"), &text).expect("a site file"));
    let with = planned(&v, &start(at, None, None), Span(0));
    assert_eq!(with.targets, without.targets, "a setpoint far from its limit keeps what it was");
}

#[test]
fn a_reserve_grows_with_the_rise_over_the_coolant() {
    let with = |lines: &str| {
        let text = SITE.replace("max = 83.0\n", &format!("max = 83.0\n{lines}"));
        SiteFile::parse(Path::new("test/site.toml"), &text)
    };
    let reserved = with("reserve = [{ loss = \"a pump\", share = 0.6, over = \"water\" }]\n").expect("a site file");
    let at = [30.0, 60.0];
    let mut v = view(Timestamp(0), at, 1000.0, 26.0, 12.0);
    let free = planned(&v, &start(at, None, None), Span(0));
    v.site = Arc::new(reserved);
    let kept = planned(&v, &start(at, None, None), Span(0));
    // What the GPU comes to at the targets, reckoned by hand.
    let gpu = |t: &[f64]| t[0] + 22.0 / (t[1] / 100.0).powf(0.7) + 12.0;
    let room = |t: &[f64]| 83.0 - gpu(t) - 0.6 * (gpu(t) - t[0]);
    assert!(room(&free.targets) < 0.0, "without the reserve the plan goes beyond it: {:?}", free.targets);
    assert!(room(&kept.targets) > -1e-6, "with it, it does not: {:?}, room {:.2}", kept.targets, room(&kept.targets));
    // Where the pump that is left still gives the flow that is asked, its loss takes nothing.
    let left = with("reserve = [{ loss = \"a pump\", share = 0.6, over = \"water\", left = { by = \"flow\", reach = 70 } }]\n")
        .expect("a site file");
    // Two losses do not add up: the larger counts.
    let both =
        with("reserve = [{ loss = \"a CDU\", flat = 20.0 }, { loss = \"a pump\", share = 0.6, over = \"water\" }]\n").expect("a site file");
    for (value, kept) in [(75.0, 27.0), (50.0, 20.0)] {
        let found = both.limits[0].reserve_at(value, |_| Some(30.0));
        assert!((found - kept).abs() < 1e-9, "{value} °C: {found}");
    }
    v.site = Arc::new(left);
    let slow = planned(&v, &start(at, None, None), Span(0));
    assert!(slow.plan_kwh <= kept.plan_kwh + 1e-6, "less to keep cannot cost more: {} against {}", slow.plan_kwh, kept.plan_kwh);
    let why = with("reserve = [{ loss = \"a pump\", share = 0.6 }]\n").expect_err("is refused").to_string();
    assert!(why.contains("test/site.toml: limit \"gpu\": reserve \"a pump\": `share` and `over` belong together"), "{why}");
}

#[test]
fn a_loss_that_the_operators_would_not_survive_is_no_reason_to_run_colder_than_they_do() {
    let text = SITE.replace("max = 83.0\n", "max = 83.0\nreserve = [{ loss = \"everything\", flat = 40.0 }]\n");
    let at = [22.0, 100.0];
    let mut v = view(Timestamp(0), at, 1000.0, 19.0, 12.0);
    v.site = Arc::new(SiteFile::parse(Path::new("test/site.toml"), &text).expect("a site file"));
    let p = planned(&v, &start(at, None, None), Span(0));
    // At their setpoints, 22 °C and 100 %, the GPU is at 56 °C: 13 K of the 40 are missing. In full they would want 43 °C.
    let gpu = p.targets[0] + 22.0 / (p.targets[1] / 100.0).powf(0.7) + 12.0;
    assert!(p.feasible() && gpu <= 56.0 + 1e-6 && gpu > 50.0, "{gpu:.1} °C at {:?}, excess {}", p.targets, p.excess);
    assert_eq!(p.reserved.as_ref().map(|(i, loss, kept)| (*i, loss.as_str(), kept.round())), Some((0, "everything", 27.0)));
}

/// As [`Simple`], with the water's own upper limit after its two.
struct WithWater(Simple);

impl Predict for WithWater {
    fn rollout(&self, state: &PlantState, steps: &[StepInput], out: &mut Vec<Outcome>) {
        self.0.rollout(state, steps, out);
        for (o, step) in out.iter_mut().zip(steps) {
            o.limited.push(step.setpoints[0]);
            o.limited_sigma.push(0.4);
        }
    }
    fn fit(&self) -> &Fit {
        self.0.fit()
    }
    fn name(&self) -> &str {
        "with-water/1"
    }
}

/// Half an hour and more of ticks with the water at `measured` whatever is asked; what is asked at the end.
fn asked_after(measured: impl Fn(f64) -> f64) -> f64 {
    let limit = "[[limit]]\nid = \"w32\"\nname = \"W32\"\nrole = \"supply\"\nmax = 32.0\nmargin = 0.5\nactuator = \"water\"\n[[partition]]";
    let site = Arc::new(SiteFile::parse(Path::new("test/site.toml"), &SITE.replace("[[partition]]", limit)).expect("a site file"));
    let (model, tally) = (WithWater(Simple::new()), Tally::new());
    let mut c = Controller::new(&site, Timestamp(0));
    let mut at = [30.0, 80.0];
    for k in 0..12 {
        let now = Timestamp(0) + Span::minutes(5 * k);
        let mut v = view(now, at, 600.0, 27.0, 12.0);
        v.site = Arc::clone(&site);
        v.roles.insert("supply".into(), aged(measured(at[0]), now));
        c.tick(&v, Some(&model), &tally).requests.iter().for_each(|r| at[r.actuator] = r.value);
    }
    at[0]
}

#[test]
fn water_that_stays_warmer_than_its_setpoint_is_asked_to_be_colder_before_its_limit() {
    // A trim chiller that cannot start for so little: the water is at 31.8 °C, half a kelvin and less from its limit, while 30 is asked.
    let stuck = asked_after(|_| 31.8);
    let follows = asked_after(|asked| asked);
    assert!(stuck < 28.5, "it asks for less and less: {stuck}");
    assert!(follows > 30.5, "and where the water follows, it goes as near as its margin: {follows}");
}

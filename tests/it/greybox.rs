//! Integration tests of the grey-box model: what it learns from a short telemetry, what it refuses, what it keeps on disk.

use std::path::Path;
use std::sync::Arc;
use tramuntana::plant::greybox::{self, FitError};
use tramuntana::plant::identified::{Binding, Row};
use tramuntana::plant::predict::{PlantState, Predict, StepInput};
use tramuntana::plant::twin::TwinSpec;
use tramuntana::sim::excite::{STEP, record, scenario};
use tramuntana::site::SiteFile;
use tramuntana::time::{Span, Timestamp};

fn telemetry() -> (SiteFile, Binding, Vec<Row>) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("sensors/torre-girona");
    let site = SiteFile::load(&dir.join("site.toml")).expect("the shipped site");
    let spec = Arc::new(TwinSpec::load(&dir.join("twin.toml")).expect("the shipped twin"));
    let start = Timestamp::parse("2026-07-01").expect("a date");
    let (binding, rows) = record(&site, &spec, scenario(&spec, 5, start, Span::hours(36), 0.0)).expect("telemetry");
    (site, binding, rows)
}

#[test]
fn a_day_and_a_half_of_an_excited_plant_is_enough_for_the_gates() {
    let (site, binding, rows) = telemetry();
    let model = greybox::fit(&rows, STEP, &site, &binding, "torre-girona-learnt/0").expect("a fit");
    greybox::report(&model, &site).lines.iter().for_each(|l| println!("{l}"));
    assert!(model.fit().usable(), "{:?}", model.fit());
    assert!(model.it.leak.error > 0.0);
    let again = greybox::fit(&rows, STEP, &site, &binding, "torre-girona-learnt/0").expect("a fit");
    assert_eq!(model, again, "the same rows give the same model");

    // Along an axis power can only fall: a warmer facility water never costs cooling power, all else equal.
    let row = rows.last().expect("rows");
    let fws = site.actuators.iter().position(|a| a.id == "fws-supply").expect("an actuator");
    let cooling = |fws_c: f64| {
        let mut setpoints = row.in_force.clone();
        setpoints[fws] = fws_c;
        let input = StepInput {
            span: STEP,
            setpoints: setpoints.clone(),
            loads_kw: row.loads_kw.clone(),
            weather: row.weather,
            room_dew_point_c: row.room_dew_point_c,
        };
        let mut out = Vec::new();
        model.rollout(&PlantState { in_force: setpoints, limited: row.limited.clone() }, &[input], &mut out);
        assert!(out[0].total_kw().is_finite() && out[0].cooling_kw >= 0.0);
        out[0].cooling_kw
    };
    let (cold, warm) = (cooling(14.0), cooling(26.0));
    println!("cooling at 14 °C facility water {cold:.1} kW, at 26 °C {warm:.1} kW");
    assert!(warm < cold);

    let root = std::env::temp_dir().join(format!("tramuntana-greybox-{}", std::process::id()));
    let mut kept = model.clone();
    let dir = greybox::save(&mut kept, &site, &root).expect("saved");
    assert_eq!(greybox::newest(&root, &site).expect("read").expect("there"), kept);
    assert!(std::fs::read_to_string(dir.join("card.toml")).expect("a card").contains("leak_pct_per_k"));
    let mut other = site.clone();
    other.actuators.swap(0, 1);
    let (file, text) = (dir.join("model.json"), std::fs::read_to_string(dir.join("model.json")).expect("a model"));
    let newer = text.replacen("\"format\":1", "\"format\":2", 1);
    assert_ne!(text, newer);
    std::fs::write(&file, newer).expect("written");
    let refused = greybox::load(&dir, &site).expect_err("a newer format").to_string();
    assert!(refused.contains("format 2") && refused.contains("learnt anew"), "{refused}");
    // One from before there were formats is of the first.
    std::fs::write(&file, text.replacen("\"format\":1,", "", 1)).expect("written");
    greybox::load(&dir, &site).expect("of the first format");
    let refused = greybox::load(&dir, &other).expect_err("another plant").to_string();
    assert!(refused.contains("another plant"), "{refused}");
    std::fs::remove_dir_all(&root).expect("removed");
}

#[test]
fn what_never_moved_is_not_identified() {
    let (site, binding, mut rows) = telemetry();
    let still = rows[0].in_force.clone();
    rows.iter_mut().for_each(|r| r.in_force.clone_from(&still));
    assert_eq!(greybox::fit(&rows, STEP, &site, &binding, "x/0").expect_err("stood still"), FitError::NeverMoved);
    rows.truncate(10);
    assert_eq!(greybox::fit(&rows, STEP, &site, &binding, "x/0").expect_err("too few"), FitError::TooFew { rows: 10 });
}

//! A limit that hangs on a load of its own: one rack decides how hot the hottest chip is, the sum how much cooling takes.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::path::Path;
use tramuntana::plant::greybox;
use tramuntana::plant::identified::{self, Binding, Dataset, Row};
use tramuntana::plant::predict::{Outcome, PlantState, Predict, StepInput};
use tramuntana::signal::weather::Weather;
use tramuntana::site::SiteFile;
use tramuntana::time::{Span, Timestamp};

const SITE: &str = r#"
format = 1
site = { id = "hall", name = "Hall", time_zone = "Europe/Madrid" }
bus = { filter = "BMS/#" }
role = [
  { name = "supply", select = { point_type = "a" } }, { name = "load", select = { point_type = "c" }, combine = "sum" },
  { name = "fullest", select = { point_type = "c" }, combine = "max" }, { name = "chip", select = { point_type = "d" } },
]
loop = [{ id = "tcs", name = "TCS", supply = "supply", return = "supply", load = "load" }]
limit = [{ id = "chip", name = "Chip", role = "chip", max = 80.0, margin = 3.0, load = "fullest" }]
meter = [
  { id = "it", name = "IT", select = { point_type = "m1" }, boundary = "it" },
  { id = "cooling", name = "Cooling", select = { point_type = "m2" }, boundary = "cooling" },
]
partition = [{ id = "p", name = "P", racks = { point_type = "c" }, gpus_per_rack = 8, rack_rating_kw = 100.0, job_classes = [] }]
[[actuator]]
id = "water"
name = "Water"
loop = "tcs"
request = { eng_unit = "C" }
in_force = { eng_unit = "C" }
lo = 18.0
hi = 40.0
default = 25.0
slew_per_min = 0.5
slew_per_10min = 2.0
step = 0.25
[[actuator]]
id = "flow"
name = "Flow"
loop = "tcs"
request = { eng_unit = "%" }
in_force = { eng_unit = "%" }
lo = 50.0
hi = 100.0
default = 100.0
slew_per_min = 5.0
slew_per_10min = 20.0
step = 1.0
"#;

fn site() -> SiteFile {
    SiteFile::parse(Path::new("hall/site.toml"), SITE).expect("a site file")
}

fn chip_c(water: f64, flow_pct: f64, fullest_kw: f64) -> f64 {
    water + 5.0 + 0.3 * fullest_kw * (flow_pct / 100.0).powf(-0.6)
}

fn cooling_kw(water: f64, flow_pct: f64, load_kw: f64) -> f64 {
    30.0 * (flow_pct / 100.0).powi(3) + 0.1 * load_kw * (1.0 - (water - 18.0) / 40.0)
}

/// Ten racks: their sum and the fullest of them go their own ways.
fn rows() -> Vec<Row> {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let (mut s, mut sum, mut fullest) = ([25.0, 100.0], 500.0_f64, 80.0_f64);
    let row = |i: i64| {
        if i % 6 == 0 {
            s = [rng.random_range(18.0..40.0), rng.random_range(50.0..100.0)];
        }
        sum = (sum + rng.random_range(-25.0..25.0)).clamp(300.0, 800.0);
        fullest = (fullest + rng.random_range(-6.0..6.0)).clamp(60.0, 100.0);
        let mut noisy = |v: f64| v * (1.0 + rng.random_range(-0.003..0.003));
        Row {
            at: Timestamp(i * 300_000),
            in_force: s.to_vec(),
            loads_kw: vec![noisy(sum), noisy(fullest)],
            weather: Weather {
                dry_bulb_c: 20.0 + 5.0 * (i as f64 / 46.0).sin(),
                wet_bulb_c: 15.0 + 3.0 * (i as f64 / 46.0).sin(),
                dew_point_c: 11.0,
            },
            room_dew_point_c: 11.0,
            gpus_allocated: 80.0,
            gpu_utilisation_pct: 70.0,
            meters_kw: vec![noisy(sum), noisy(cooling_kw(s[0], s[1], sum))],
            limited: vec![noisy(chip_c(s[0], s[1], fullest))],
        }
    };
    (0..12 * 288).map(row).collect()
}

fn outcome(model: &dyn Predict, loads_kw: [f64; 2]) -> Outcome {
    let setpoints = vec![28.0, 75.0];
    let weather = Weather { dry_bulb_c: 20.0, wet_bulb_c: 15.0, dew_point_c: 11.0 };
    let state = PlantState { in_force: setpoints.clone(), limited: vec![f64::NAN] };
    let step = StepInput { span: Span::minutes(5), setpoints, loads_kw: loads_kw.to_vec(), weather, room_dew_point_c: 11.0 };
    let mut out = vec![];
    model.rollout(&state, &[step], &mut out);
    out.remove(0)
}

/// The chip follows the fullest rack alone, power the sum alone.
fn judge(model: &dyn Predict) {
    let at = |sum, fullest| outcome(model, [sum, fullest]);
    for (sum, fullest) in [(400.0, 70.0), (400.0, 95.0), (700.0, 70.0), (700.0, 95.0)] {
        let (o, truth) = (at(sum, fullest), chip_c(28.0, 75.0, fullest));
        assert!(
            (o.limited[0] - truth).abs() < 1.5,
            "{}, sum {sum}, fullest {fullest}: {:.1} °C, truly {truth:.1}",
            model.name(),
            o.limited[0]
        );
        assert!(o.limited_sigma[0] < 1.5, "{}: sure of it: {:.2}", model.name(), o.limited_sigma[0]);
    }
    let (idle, full) = (at(600.0, 65.0), at(600.0, 98.0));
    assert!((idle.cooling_kw - full.cooling_kw).abs() < 1e-9 && (idle.it_kw - full.it_kw).abs() < 1e-9, "{idle:?} {full:?}");
}

#[test]
fn both_kinds_of_model_tell_one_rack_from_the_sum() {
    let (site, rows) = (site(), rows());
    let binding = Binding::of(&site);
    assert_eq!((binding.loads(), binding.own_loads.clone()), (2, vec!["fullest".to_owned()]));
    judge(&greybox::fit(&rows, Span::minutes(5), &site, &binding, "hall-learnt/0").expect("a fit"));
    let data = Dataset { binding, step: Span::minutes(5), about: "ten racks".into(), segments: vec![rows] };
    let model = identified::fit(&data, &site, "hall-plant/1", 3).expect("a fit");
    judge(&model);
    // A model that knows the fullest rack is not one of a site that does not tell it.
    let without = SiteFile::parse(Path::new("hall/site.toml"), &SITE.replace(", load = \"fullest\"", "")).expect("a site file");
    assert!(Binding::of(&without).differs(&data.binding).is_some_and(|why| why.contains("loads of limits")));
}

#[test]
fn a_load_of_its_own_comes_after_the_loops_and_is_rated_by_how_it_combines() {
    let site = site();
    assert_eq!((site.loads().collect::<Vec<_>>(), site.own_loads().collect::<Vec<_>>()), (vec!["load", "fullest"], vec!["fullest"]));
    let racks = || [100.0; 10].into_iter();
    assert_eq!((site.rating_kw("load", racks()), site.rating_kw("fullest", racks())), (Some(1000.0), Some(100.0)));
    assert_eq!(site.rating_kw("load", std::iter::empty()), None, "no racks, no rating");
    // The load of a loop is no second one.
    let shared = SiteFile::parse(Path::new("x"), &SITE.replace("load = \"fullest\"", "load = \"load\"")).expect("a site file");
    assert!(shared.own_loads().next().is_none() && shared.loads().eq(["load"]));
    let why =
        SiteFile::parse(Path::new("x"), &SITE.replace("load = \"fullest\"", "load = \"fulest\"")).expect_err("is refused").to_string();
    assert!(why.contains("limit \"chip\"") && why.contains("no role is named \"fulest\""), "{why}");
}

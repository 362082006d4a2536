//! A small fault campaign: each kind of fault once, and the cases that broke a limit before the controller was mended.

use std::path::{Path, PathBuf};
use tramuntana::app::campaign::{self, Case};
use tramuntana::app::config::{Config, Overrides};
use tramuntana::sim::fault::FaultKind;

#[test]
fn each_kind_of_fault_meets_each_site() {
    for words in [vec![], vec!["pump".to_owned()], vec!["lost".to_owned()]] {
        let cases = campaign::cases(4 * FaultKind::ALL.len(), 1, &words);
        let of = |site: &str, kind: FaultKind| cases.iter().filter(|c| c.site == site && c.kind == kind).count();
        for kind in FaultKind::ALL.into_iter().filter(|k| cases.iter().any(|c| c.kind == *k)) {
            let (here, there) = (of("bsc-hq", kind), of("torre-girona", kind));
            assert!(here > 0 && here.abs_diff(there) <= 1, "{words:?} {}: {here} and {there}", kind.name());
        }
    }
}

#[test]
fn no_fault_makes_us_break_a_limit() {
    let mut outcomes = campaign::run(FaultKind::ALL.len(), 1, &[], &|_| {}).expect("a campaign");
    let nowhere = PathBuf::from("/nonexistent/tramuntana-campaign");
    let overrides = Overrides { data_dir: Some(nowhere), ..Overrides::default() };
    let config = Config::load(Path::new("sensors/tramuntana.toml"), &overrides).expect("the shipped configuration");
    for (site, kind, seed) in [
        ("torre-girona", FaultKind::LostPump, 17),
        ("bsc-hq", FaultKind::LostPump, 10),
        ("torre-girona", FaultKind::LoadStep, 18),
        ("bsc-hq", FaultKind::LostPump, 1001),
        ("bsc-hq", FaultKind::LostCdu, 1016),
    ] {
        outcomes.push(campaign::run_one(&config, &Case { site, kind, seed }).expect("a run"));
    }
    println!("{}", campaign::text(&outcomes));
    let (broken, ticks, kicked) = campaign::worst(&outcomes);
    assert_eq!((broken, kicked), (0, 0), "limits broken by us; requests while kicked out");
    assert!(ticks <= 2.0, "hand-back took {ticks} ticks");
    let reacted = outcomes.iter().filter(|o| o.hand_back_ticks.is_some()).count();
    assert!(reacted >= 1 && outcomes.iter().all(|o| o.requests.made > 0), "control was at work, and handed back where it had to");
    assert!(outcomes.iter().all(|o| o.kwh.0 < o.kwh.1), "control saved something in every run");
}

//! Integration tests of `api`: every route over a real listener, against a backend of made-up but plausible data.

use serde_json::{Value, json};
use std::io::Read;
use std::sync::Arc;
use tramuntana::api::chart::*;
use tramuntana::api::model::*;
use tramuntana::api::{Backend, Fault, OPENMETRICS, SeriesQuery, router};

const NOW: i64 = 1_784_030_400_000; // 2026-07-14T12:00:00Z
const STEP: i64 = 300_000;

/// Two sites over a day; nothing but this file's own arithmetic.
struct Fake {
    changes: tokio::sync::watch::Sender<u64>,
    hints_ended: bool,
}

fn wave(at: i64, lag_h: f64) -> f64 {
    ((at as f64 / 3.6e6 - lag_h) * std::f64::consts::TAU / 24.0).sin()
}
fn wobble(at: i64, salt: i64) -> f64 {
    ((at / STEP + salt).wrapping_mul(2_654_435_761).rem_euclid(1000)) as f64 / 500.0 - 1.0
}
fn line(at: &[i64], f: impl Fn(i64) -> f64) -> Line {
    at.iter().map(|t| Some((f(*t) * 100.0).round() / 100.0)).collect()
}

impl Fake {
    fn new(hints_ended: bool) -> Arc<Fake> {
        Arc::new(Fake { changes: tokio::sync::watch::Sender::new(1), hints_ended })
    }
    fn site(&self, hq: bool) -> SiteStatus {
        SiteStatus {
            id: if hq { "bsc-hq" } else { "torre-girona" }.into(),
            name: if hq { "Headquarters data centre" } else { "Torre Girona chapel" }.into(),
            label: "representative, not BSC's plant".into(),
            time_zone: "Europe/Madrid".into(),
            mode: if hq { "auto" } else { "advise" }.into(),
            mode_why: "models fit, data fresh".into(),
            clock: Some(NOW),
            clock_age_s: Some(4.0),
            link: Link { state: "up".into(), why: String::new(), since: Some(NOW - 7_200_000) },
            broker: "mqtt://tramuntana@broker:1883".into(),
            points: if hq { 612 } else { 388 },
            readings_in: if hq { 1_482_113 } else { 903_127 },
            readings_refused: if hq { 0 } else { 12 },
            it_kw: Some(if hq { 2214.0 } else { 1031.0 }),
            cooling_kw: Some(if hq { 171.0 } else { 148.0 }),
            loss_kw: Some(92.0),
            pue_now: Some(if hq { 1.119 } else { 1.187 }),
            gpus_allocated: Some(if hq { 1296.0 } else { 704.0 }),
            kwh_per_gpu_hour_now: Some(1.911),
            kwh_per_gpu_hour_today: Some(1.923),
            baseline_kwh_per_gpu_hour_today: hq.then_some(1.968),
            baseline_cooling_kw: hq.then_some(214.0),
            baseline_about: if hq { "twin with the operators' fixed setpoints, same seed" } else { "" }.into(),
            recommendation: Some(if hq { "r-hq-7" } else { "r-tg-3" }.into()),
            alarms: if hq {
                vec![]
            } else {
                vec![Alarm {
                    id: "stale".into(),
                    severity: Severity::Warning,
                    since: Some(NOW - 1_500_000),
                    text: "rear-door supply sensor 4 is frozen".into(),
                    action: "It is aged to its worst case; have the sensor looked at.".into(),
                    acknowledged_by: None,
                }]
            },
            ..SiteStatus::default()
        }
    }
    fn rec(&self, hq: bool) -> Recommendation {
        Recommendation {
            id: if hq { "r-hq-7" } else { "r-tg-3" }.into(),
            site: self.site(hq).id,
            parent: Some("r-before".into()),
            made_at: NOW - 60_000,
            valid_until: NOW + 1_740_000,
            mode: if hq { "auto" } else { "advise" }.into(),
            state: if hq { "published" } else { "waiting" }.into(),
            can_approve: !hq,
            items: vec![Item {
                actuator: "tcs".into(),
                name: "TCS supply".into(),
                unit: "°C".into(),
                from: 32.0,
                asked: 33.5,
                target: 36.0,
                reason: "The dry coolers carry the whole heat at 36 °C; the trim chiller can rest until 16:00.".into(),
            }],
            withheld: vec![WithheldItem {
                actuator: "rear".into(),
                name: "Rear-door supply".into(),
                unit: "°C".into(),
                asked: 15.5,
                reason: "Room dew point 14.1 °C + 2 K stands at 16.1 °C.".into(),
            }],
            expects: Expectation {
                horizon_h: 6.0,
                plan_kwh: 14_812.0,
                saves_vs_fixed_kwh: 236.0,
                saves_vs_hold_kwh: 71.0,
                plus_minus_kwh: 38.0,
                kwh_per_gpu_hour: Some(1.904),
                least_margin: Some(1.4),
                least_margin_unit: "K".into(),
                least_margin_limit: "FWS supply, ASHRAE W40".into(),
                feasible: true,
                ..Expectation::default()
            },
            explanation:
                "Outdoor air stays below 27 °C until the evening, so warmer water saves the chiller more than leakage and pumps cost."
                    .into(),
            inputs: "b3:1f0c".into(),
            approved_by: None,
        }
    }
}

impl Backend for Fake {
    fn sites(&self) -> Vec<SiteStatus> {
        vec![self.site(true), self.site(false)]
    }
    fn points(&self, site: &str) -> Vec<PointRow> {
        let n = match site {
            "bsc-hq" => 30,
            "torre-girona" => 20,
            _ => 0,
        };
        let row = |i: u32| PointRow {
            site: site.into(),
            id: i,
            path: format!("CDU/LiquidTemperature/{site}/CDU{i:02}"),
            object_type: if i.is_multiple_of(2) { "CDU" } else { "Rack" }.into(),
            point_type: "LiquidTemperature".into(),
            process_area: vec!["Secondary".into(), "Supply".into()],
            kind: "temperature".into(),
            unit: "°C".into(),
            eng_unit: "F".into(),
            object_name: format!("CDU {i}"),
            last_value: Some(31.5 + f64::from(i) / 10.0),
            last_at: Some(NOW - 3000),
            age_s: Some(3.0),
            quality: "good".into(),
            ..PointRow::default()
        };
        (0..n).map(row).collect()
    }
    fn series(&self, q: &SeriesQuery) -> Result<Vec<SeriesRow>, Fault> {
        let n = (q.to - q.from).0 / q.step.0;
        let row = |i: i64| {
            let at = q.from.0 + i * q.step.0;
            let mean = 32.0 + 2.0 * wave(at, 9.0) + 0.2 * wobble(at, 1);
            SeriesRow { at, mean: Some(mean), min: Some(mean - 0.3), max: Some(mean + 0.3), count: 30, quality: "good".into() }
        };
        Ok((0..n).map(row).collect())
    }
    fn overview(&self, site: &str, hours: f64) -> Result<Overview, Fault> {
        let hq = site == "bsc-hq";
        let n = (hours * 3.6e6) as i64 / STEP;
        let at: Vec<i64> = (0..=n).map(|i| NOW - (n - i) * STEP).collect();
        let scale = if hq { 2200.0 } else { 1020.0 };
        let load = |t: i64| scale * (1.0 + 0.06 * wave(t, 8.0) + 0.012 * wobble(t, 3));
        let ahead: Vec<i64> = (0..=24).map(|i| NOW + i * 900_000).collect();
        let p50: Vec<f64> = ahead.iter().map(|t| scale * (1.0 + 0.06 * wave(*t, 8.0))).collect();
        let wide = |sign: f64| p50.iter().enumerate().map(|(i, v)| v * (1.0 + sign * (0.01 + 0.0015 * i as f64))).collect();
        let band = Band {
            made_at: NOW,
            model: "elastic-net/1".into(),
            fallback: (!hq).then(|| "less than two days of history".into()),
            p10: wide(-1.0),
            p90: wide(1.0),
            p50: p50.clone(),
            at: ahead,
        };
        let asked = |t: i64| if t > NOW - 6 * 3_600_000 { 35.0 } else { 32.0 };
        let loops = |id: &str, name: &str, base: f64| LoopChart {
            id: id.into(),
            name: name.into(),
            supply_c: line(&at, |t| base + 0.6 * wave(t, 10.0) + 0.1 * wobble(t, 5)),
            return_c: line(&at, |t| base + 9.0 + 0.8 * wave(t, 9.0) + 0.1 * wobble(t, 6)),
            load_kw: line(&at, load),
            forecast: Some(band.clone()),
        };
        Ok(Overview {
            site: site.into(),
            now: Some(NOW),
            step_s: 300,
            it_kw: line(&at, load),
            cooling_kw: line(&at, |t| scale * 0.08 * (1.0 + 0.3 * wave(t, 9.0))),
            loss_kw: line(&at, |t| load(t) * 0.04),
            baseline_cooling_kw: if hq { line(&at, |t| scale * 0.1 * (1.0 + 0.3 * wave(t, 9.0))) } else { vec![] },
            kwh_per_gpu_hour: line(&at, |t| 1.91 + 0.03 * wave(t, 9.0)),
            load_kw: line(&at, load),
            forecast: Some(band.clone()),
            loops: vec![loops("tcs", "Technology cooling loop", 34.0), loops("rear", "Rear-door loop", 17.5)],
            limits: vec![
                LimitChart {
                    id: "w40".into(),
                    name: "FWS supply, ASHRAE W40".into(),
                    unit: "°C".into(),
                    loop_id: Some("tcs".into()),
                    value: vec![None; at.len()],
                    max: line(&at, |_| 40.0),
                    min: vec![],
                    source: "ASHRAE".into(),
                },
                LimitChart {
                    id: "dew".into(),
                    name: "Dew point + 2 K".into(),
                    unit: "°C".into(),
                    loop_id: Some("rear".into()),
                    value: vec![None; at.len()],
                    max: vec![],
                    min: line(&at, |t| 15.5 + 0.7 * wave(t, 5.0)),
                    source: "condensation".into(),
                },
            ],
            actuators: vec![ActuatorChart {
                id: "tcs".into(),
                name: "TCS supply setpoint".into(),
                loop_id: "tcs".into(),
                unit: "°C".into(),
                lo: 25.0,
                hi: 42.0,
                default: 32.0,
                asked: line(&at, asked),
                in_force: line(&at, |t| asked(t - 600_000)),
                measured: line(&at, |t| asked(t - 1_200_000) + 0.15 * wobble(t, 8)),
                pinned: None,
            }],
            at,
        })
    }
    fn forecasts(&self, site: &str) -> Vec<ForecastRow> {
        vec![ForecastRow {
            site: site.into(),
            loop_id: "tcs".into(),
            ahead_s: 300,
            p10_kw: 1.0,
            p50_kw: 2.0,
            p90_kw: 3.0,
            ..Default::default()
        }]
    }
    fn recommendations(&self, site: &str, limit: usize) -> Vec<Recommendation> {
        vec![self.rec(site == "bsc-hq")].into_iter().take(limit).collect()
    }
    fn recommendation(&self, id: &str) -> Option<Recommendation> {
        [self.rec(true), self.rec(false)].into_iter().find(|r| r.id == id)
    }
    fn approve(&self, id: &str, act: &Act) -> Result<Done, Fault> {
        match self.recommendation(id) {
            Some(r) if r.can_approve => Ok(Done { text: format!("{id} approved by {}", act.who) }),
            _ => Err(Fault::conflict(format!("{id} does not wait for approval"), "see its state")),
        }
    }
    fn set_mode(&self, site: &str, act: &ModeAct) -> Result<Done, Fault> {
        self.changes.send_modify(|n| *n += 1);
        Ok(Done { text: format!("{site}: {} by {}", act.mode, act.who) })
    }
    fn hold(&self, site: &str, act: &HoldAct) -> Result<Done, Fault> {
        Ok(Done { text: format!("{site}: hold {}", act.hold) })
    }
    fn pin(&self, _: &str, act: &PinAct) -> Result<Done, Fault> {
        match act.value {
            Some(v) if !(25.0..=42.0).contains(&v) => {
                Err(Fault::invalid("value", format!("{v} °C is outside 25–42 °C"), "choose one within"))
            }
            _ => Ok(Done { text: act.actuator.clone() }),
        }
    }
    fn hints(&self, site: &str, job_class: Option<&str>) -> Option<Hints> {
        let rack = |rank: u32| Hint {
            rank,
            partition: "train".into(),
            rack: format!("RACK{rank:02}"),
            job_class: "training".into(),
            gpus_free: Some(72),
            marginal_kwh_per_gpu_hour: 1.7 + f64::from(rank) / 50.0,
            marginal_sigma: Some(0.02),
            reason: "coolest loop with room to its limit".into(),
            ..Hint::default()
        };
        let racks = (1..=6).map(rack).filter(|h| job_class.is_none_or(|c| c == h.job_class)).collect();
        let valid_until = if self.hints_ended { NOW - 1 } else { NOW + 900_000 };
        Some(Hints { site: site.into(), made_at: NOW - 60_000, valid_until, now: NOW, racks, ..Hints::default() })
    }
    fn kpis(&self) -> Vec<Kpi> {
        vec![Kpi { site: "bsc-hq".into(), period: "today".into(), it_kwh: 100.0, coverage: 0.98, ..Default::default() }]
    }
    fn health(&self) -> Health {
        Health { alive: true, ready: !self.hints_ended, why_not: vec![], mirror: None, version: "0".into() }
    }
    fn refusals(&self, _: usize) -> Vec<Refusal> {
        vec![Refusal { site: "bsc-hq".into(), format: "dsx".into(), reason: "not-json".into(), ..Default::default() }]
    }
    fn demo(&self) -> Option<Value> {
        None
    }
    fn tally(&self) -> Vec<(&'static str, String, u64)> {
        use tramuntana::event::*;
        vec![
            (READINGS_STORED, "bsc-hq".into(), 1_482_113),
            (READINGS_STORED, "torre-girona".into(), 903_127),
            (REFUSED, "dsx/a \"quoted\\ label\nof two lines".into(), 12),
        ]
    }
    fn gauges(&self) -> Vec<Gauge> {
        let up = |site: &str| Gauge {
            name: "tramuntana_link_up",
            help: "1 while the site's broker is connected",
            labels: vec![("site", site.into())],
            value: 1.0,
        };
        vec![up("bsc-hq"), up("torre-girona")]
    }
    fn changes(&self) -> tokio::sync::watch::Receiver<u64> {
        self.changes.subscribe()
    }
}

/// Serves a backend on a free port for as long as the value lives.
struct Served {
    base: String,
    _runtime: tokio::runtime::Runtime,
}

fn serve(backend: Arc<dyn Backend>) -> Served {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    runtime.spawn(async move { axum::serve(listener, router(backend)).await });
    Served { base, _runtime: runtime }
}

struct Answer {
    status: u16,
    headers: ureq::http::HeaderMap,
    text: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|e| panic!("{e}: {}", self.text))
    }
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |v| v.to_str().unwrap())
    }
    /// Asserts that this is a problem document of `status` that names `field`.
    fn problem(&self, status: u16, field: &str) -> Value {
        assert_eq!(self.status, status, "{}", self.text);
        assert_eq!(self.header("content-type"), "application/problem+json");
        let p = self.json();
        assert_eq!(p["status"], status);
        assert!(!p["detail"].as_str().unwrap().is_empty() && !p["mend"].as_str().unwrap().is_empty());
        assert_eq!(p["field"].as_str().unwrap_or(""), field);
        p
    }
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder().http_status_as_error(false).build().into()
}
fn answer(r: ureq::http::Response<ureq::Body>) -> Answer {
    let (parts, body) = r.into_parts();
    let mut text = String::new();
    body.into_reader().read_to_string(&mut text).unwrap();
    Answer { status: parts.status.as_u16(), headers: parts.headers, text }
}
impl Served {
    fn get(&self, path: &str) -> Answer {
        answer(agent().get(format!("{}{path}", self.base)).call().unwrap())
    }
    fn get_with(&self, path: &str, name: &str, value: &str) -> Answer {
        answer(agent().get(format!("{}{path}", self.base)).header(name, value).call().unwrap())
    }
    fn post(&self, path: &str, body: &str) -> Answer {
        answer(agent().post(format!("{}{path}", self.base)).header("content-type", "application/json").send(body).unwrap())
    }
}

#[test]
fn sites_and_charts_are_served_and_unknown_sites_name_the_known() {
    let s = serve(Fake::new(false));
    let sites = s.get("/api/v1/sites").json();
    assert_eq!(sites.as_array().unwrap().len(), 2);
    assert_eq!(sites[0]["broker"], "mqtt://tramuntana@broker:1883");
    assert_eq!(s.get("/api/v1/sites/bsc-hq").json()["points"], 612);
    let p = s.get("/api/v1/sites/atlantis").problem(404, "site");
    assert!(p["mend"].as_str().unwrap().contains("bsc-hq, torre-girona"));
    let o: Overview = serde_json::from_value(s.get("/api/v1/sites/bsc-hq/overview?hours=6").json()).unwrap();
    assert_eq!(o.at.len(), 73);
    assert!(o.loops.iter().all(|l| l.supply_c.len() == o.at.len() && l.return_c.len() == o.at.len()));
    s.get("/api/v1/sites/bsc-hq/overview?hours=1000").problem(400, "hours");
    s.get("/api/v2/sites").problem(404, "");
    s.post("/api/v1/sites", "{}").problem(405, "");
}

#[test]
fn pages_of_points_cover_each_point_once() {
    let s = serve(Fake::new(false));
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page: PointPage = serde_json::from_value(s.get(&format!("/api/v1/points?limit=7{cursor}")).json()).unwrap();
        assert_eq!(page.total, 50);
        seen.extend(page.points.iter().map(|p| (p.site.clone(), p.id)));
        match page.next {
            Some(n) => cursor = format!("&cursor={n}"),
            None => break,
        }
    }
    let expected: Vec<(String, u32)> =
        (0..30).map(|i| ("bsc-hq".to_owned(), i)).chain((0..20).map(|i| ("torre-girona".to_owned(), i))).collect();
    assert_eq!(seen, expected);
    assert_eq!(s.get("/api/v1/points?site=bsc-hq&object_type=cdu").json()["total"], 15);
    assert_eq!(s.get("/api/v1/points?q=cdu07%20secondary").json()["total"], 2);
    s.get("/api/v1/points?limit=0").problem(400, "limit");
    s.get("/api/v1/points?cursor=x").problem(400, "cursor");
    s.get("/api/v1/points?colour=red").problem(400, "colour");
}

#[test]
fn series_take_rfc_3339_or_epoch_ms_and_name_what_is_wrong() {
    let s = serve(Fake::new(false));
    let by_text = s.get("/api/v1/series?site=bsc-hq&point=3&from=2026-07-14T11:00:00Z&to=2026-07-14T12:00:00Z&step=5min").json();
    let by_ms =
        s.get(&format!("/api/v1/series?site=bsc-hq&point=CDU/LiquidTemperature/bsc-hq/CDU03&from={}&to={NOW}&step=300", NOW - 3_600_000));
    assert_eq!(by_text, by_ms.json());
    assert_eq!(by_text["rows"].as_array().unwrap().len(), 12);
    assert_eq!(by_text["unit"], "°C");
    assert_eq!(s.get("/api/v1/series?site=bsc-hq&point=3").json()["step_s"], 300.0);
    for (query, status, field) in [
        ("point=3", 400, "site"),
        ("site=bsc-hq", 400, "point"),
        ("site=bsc-hq&point=999", 404, "point"),
        ("site=bsc-hq&point=3&from=noon", 400, "from"),
        ("site=bsc-hq&point=3&to=1&from=2", 400, "to"),
        ("site=bsc-hq&point=3&step=0", 400, "step"),
        ("site=bsc-hq&point=3&from=2020-01-01&to=2026-01-01&step=1s", 400, "step"),
    ] {
        s.get(&format!("/api/v1/series?{query}")).problem(status, field);
    }
}

#[test]
fn hints_carry_a_tag_and_are_never_served_past_their_limit() {
    let s = serve(Fake::new(false));
    let first = s.get("/api/v1/placement/hints?site=bsc-hq");
    assert_eq!((first.status, first.json()["racks"].as_array().unwrap().len()), (200, 6));
    let tag = first.header("etag").to_owned();
    let again = s.get_with("/api/v1/placement/hints?site=bsc-hq", "if-none-match", &tag);
    assert_eq!((again.status, again.text.as_str(), again.header("etag")), (304, "", tag.as_str()));
    let other = s.get_with("/api/v1/placement/hints?site=bsc-hq&job_class=inference", "if-none-match", &tag);
    assert_eq!(other.status, 200);
    let ended = serve(Fake::new(true));
    let p = ended.get_with("/api/v1/placement/hints?site=bsc-hq", "if-none-match", &tag).problem(503, "");
    assert!(p["detail"].as_str().unwrap().contains("ended at 2026-07-14T11:59:59"));
}

#[test]
fn hints_are_waited_for() {
    let s = serve(Fake::new(false));
    let tag = s.get("/api/v1/placement/hints?site=bsc-hq").header("etag").to_owned();
    let began = std::time::Instant::now();
    let same = s.get_with("/api/v1/placement/hints?site=bsc-hq&wait=0.4", "if-none-match", &tag);
    assert_eq!(same.status, 304);
    assert!(began.elapsed().as_millis() >= 400);
    s.get("/api/v1/placement/hints?site=bsc-hq&wait=60").problem(400, "wait");
    assert_eq!(s.get("/api/v1/placement/hints?site=bsc-hq&wait=5").status, 200);
}

#[test]
fn jobs_that_cannot_be_are_refused_by_field() {
    let s = serve(Fake::new(false));
    let rank = |body: &str| s.post("/api/v1/placement/rank", body);
    let one = |job: &str| rank(&format!("{{\"jobs\":[{{\"gpus\":8,\"duration_h\":1}},{job}]}}"));
    for (job, field) in [
        (r#"{"gpus":0,"duration_h":1}"#, "jobs[1].gpus"),
        (r#"{"gpus":-8,"duration_h":1}"#, "jobs[1].gpus"),
        (r#"{"gpus":1e30,"duration_h":1}"#, "jobs[1].gpus"),
        (r#"{"gpus":2.5,"duration_h":1}"#, "jobs[1].gpus"),
        (r#"{"duration_h":1}"#, "jobs[1].gpus"),
        (r#"{"nodes":3,"gpus_per_node":4,"gpus":13,"duration_h":1}"#, "jobs[1].gpus"),
        (r#"{"nodes":1e6,"gpus_per_node":4096,"duration_h":1}"#, "jobs[1].nodes"),
        (r#"{"gpus":8,"duration_h":0}"#, "jobs[1].duration_h"),
        (r#"{"gpus":8,"duration_h":-1}"#, "jobs[1].duration_h"),
        (r#"{"gpus":8,"duration_h":1e9}"#, "jobs[1].duration_h"),
        (r#"{"gpus":8,"duration_h":1,"earliest_h":2,"latest_h":1}"#, "jobs[1].latest_h"),
        (r#"{"gpus":8,"duration_h":1,"kw_per_gpu":-1}"#, "jobs[1].kw_per_gpu"),
        (r#"{"gpus":8,"duration_h":1,"profile_kw":[1,-1]}"#, "jobs[1].profile_kw[1]"),
        (r#"{"gpus":"8","duration_h":1}"#, "jobs[1].gpus"),
        (r#"{"gpus":8,"duration_h":1,"colour":"red"}"#, "jobs[1].colour"),
        (r#"{"gpus":8,"duration_h":1,"own_place":{"site":"a","racks":[{"rack":"r","gpus":7}]}}"#, "jobs[1].own_place"),
        (r#"{"gpus":8,"duration_h":1,"own_place":{"site":"a","racks":[]}}"#, "jobs[1].own_place"),
        (r#"{"gpus":8,"duration_h":1,"own_place":{"site":"a","racks":[{"rack":"r","gpus":-8}]}}"#, "jobs[1].own_place.racks[0].gpus"),
    ] {
        one(job).problem(400, field);
    }
    rank(r#"{"jobs":[{"id":"a","gpus":8,"duration_h":1},{"id":"a","gpus":8,"duration_h":1}]}"#).problem(400, "jobs[1].id");
    rank(r#"{"jobs":[]}"#).problem(400, "jobs");
    rank(r#"{"jobs":[{"gpus":8,"duration_h":1}],"site":"atlantis"}"#).problem(404, "site");
    rank(r#"{"jobs":[{"gpus":8,"duration_h":1}],"topology":"x"}"#).problem(400, "topology");
    rank("not json").problem(400, "body");
    // JSON knows neither; a number beyond what a double holds is none.
    for number in ["NaN", "Infinity", "-Infinity", "1e999"] {
        rank(&format!("{{\"jobs\":[{{\"gpus\":{number},\"duration_h\":1}}]}}")).problem(400, "body");
        rank(&format!("{{\"jobs\":[{{\"gpus\":1,\"duration_h\":{number}}}]}}")).problem(400, "body");
    }
    let many = format!("{{\"jobs\":[{}]}}", vec![r#"{"gpus":8,"duration_h":1}"#; 100_000].join(","));
    let p = rank(&many).problem(400, "jobs");
    assert!(p["detail"].as_str().unwrap().contains("100000 jobs; one request takes 1 to 10000"), "{p}");
    // What is sound reaches the backend, which has no sites here.
    one(r#"{"nodes":2,"gpus_per_node":4,"gpus":8,"duration_h":1.5,"earliest_h":1,"latest_h":3}"#).problem(503, "");
}

#[test]
fn acts_need_a_name_and_a_sound_body() {
    let s = serve(Fake::new(false));
    let approve = |id: &str, body: Value| s.post(&format!("/api/v1/recommendations/{id}/approve"), &body.to_string());
    assert_eq!(approve("r-tg-3", json!({"who": "Núria", "why": "looks right"})).json()["text"], "r-tg-3 approved by Núria");
    approve("r-hq-7", json!({"who": "Núria"})).problem(409, "");
    approve("r-x", json!({"who": "Núria"})).problem(404, "id");
    approve("r-tg-3", json!({"who": "  "})).problem(400, "who");
    approve("r-tg-3", json!({"who": "a", "whi": 1})).problem(400, "body");
    approve("r-tg-3", json!({"who": "a".repeat(20_000)})).problem(413, "");
    s.post("/api/v1/sites/bsc-hq/mode", r#"{"mode":"auto","who":"#).problem(400, "body");
    s.post("/api/v1/sites/bsc-hq/mode", r#"{"mode":"fail-safe","who":"a"}"#).problem(400, "mode");
    assert_eq!(s.post("/api/v1/sites/bsc-hq/mode", r#"{"mode":"leave","who":"a"}"#).status, 200);
    assert_eq!(s.post("/api/v1/sites/bsc-hq/hold", r#"{"hold":true,"who":"a"}"#).status, 200);
    assert_eq!(s.post("/api/v1/sites/bsc-hq/pin", r#"{"actuator":"tcs","value":30,"who":"a"}"#).status, 200);
    s.post("/api/v1/sites/bsc-hq/pin", r#"{"actuator":"tcs","value":99,"who":"a"}"#).problem(400, "value");
    let form = agent().post(format!("{}/api/v1/sites/bsc-hq/hold", s.base)).header("content-type", "text/plain").send("{}").unwrap();
    answer(form).problem(415, "body");
}

#[test]
fn the_rest_answers_in_its_shape() {
    let s = serve(Fake::new(false));
    assert_eq!(s.get("/api/v1/forecasts").json()[1]["loop"], "tcs");
    assert_eq!(s.get("/api/v1/recommendations?site=bsc-hq").json()[0]["id"], "r-hq-7");
    assert_eq!(s.get("/api/v1/recommendations/r-hq-7").json()["withheld"][0]["actuator"], "rear");
    assert_eq!(s.get("/api/v1/kpis").json()[0]["period"], "today");
    assert_eq!(s.get("/api/v1/refusals?limit=5").json()[0]["reason"], "not-json");
    assert_eq!(s.get("/api/v1/demo").json(), serde_json::Value::Null);
    assert_eq!(s.get("/api/v1/health").status, 200);
    assert_eq!(serve(Fake::new(true)).get("/api/v1/health").status, 503);
    for (path, kind) in [
        ("/", "text/html"),
        ("/words.js", "text/javascript"),
        ("/draw.js", "text/javascript"),
        ("/plant.js", "text/javascript"),
        ("/trend.js", "text/javascript"),
        ("/app.js", "text/javascript"),
        ("/style.css", "text/css"),
    ] {
        let a = s.get(path);
        assert!(a.status == 200 && a.header("content-type").starts_with(kind) && a.text.len() > 1000, "{path}");
        assert!(!a.text.contains("https://"), "{path} must not reach outside");
    }
}

#[test]
fn the_event_stream_gives_the_newest_state_and_waits_for_the_next() {
    let fake = Fake::new(false);
    let s = serve(fake.clone());
    let first = s.get("/api/v1/events");
    assert_eq!(first.header("content-type"), "text/event-stream");
    assert!(first.text.contains("\nid: 1\nevent: sites\ndata: [{"), "{}", first.text);
    assert!(first.text.ends_with("\n\n"));
    // Waiting on event 1: the answer comes when the counter moves, and carries 2.
    let waiting = std::thread::scope(|scope| {
        let t = scope.spawn(|| s.get_with("/api/v1/events", "last-event-id", "1"));
        s.post("/api/v1/sites/bsc-hq/mode", r#"{"mode":"advise","who":"a"}"#);
        t.join().unwrap()
    });
    assert!(waiting.text.contains("\nid: 2\n"), "{}", waiting.text);
}

/// The routes as `src/api/mod.rs` writes them: (method, path).
fn routes_in_source() -> Vec<(String, String)> {
    let source = include_str!("../../src/api/mod.rs");
    let mut out = Vec::new();
    for part in source.split(".route(\"").skip(1) {
        let (path, rest) = part.split_once('"').unwrap();
        let handlers = rest.lines().next().unwrap();
        let methods = ["get", "post"].into_iter().filter(|m| handlers.contains(&format!("{m}(")));
        out.extend(methods.map(|m| (m.to_owned(), path.to_owned())));
    }
    out
}

#[test]
fn openapi_has_every_route_and_every_reference_resolves() {
    let s = serve(Fake::new(false));
    let doc = s.get("/api/v1/openapi.json").json();
    assert!(doc["openapi"].as_str().unwrap().starts_with("3.1"));
    let routes = routes_in_source();
    assert_eq!(routes.len(), 36);
    for (method, path) in &routes {
        assert!(doc["paths"][path][method].is_object(), "{method} {path} is not in openapi.json");
    }
    let documented: usize = doc["paths"].as_object().unwrap().values().map(|p| p.as_object().unwrap().len()).sum();
    assert_eq!(documented, routes.len());
    fn check(v: &Value, doc: &Value) {
        match v {
            Value::Object(m) => {
                if let Some(r) = m.get("$ref").and_then(Value::as_str) {
                    assert!(doc.pointer(r.trim_start_matches('#')).is_some(), "{r} leads nowhere");
                }
                m.values().for_each(|v| check(v, doc));
            }
            Value::Array(a) => a.iter().for_each(|v| check(v, doc)),
            _ => {}
        }
    }
    check(&doc, &doc);
}

/// A strict reader of the OpenMetrics subset that we write: (sample name, labels, value). Panics on a breach.
fn parse_openmetrics(text: &str) -> Vec<(String, Vec<(String, String)>, f64)> {
    assert!(text.ends_with("# EOF\n") && text.matches("# EOF").count() == 1);
    let (mut kinds, mut out, mut family) = (std::collections::BTreeMap::new(), Vec::new(), String::new());
    let name_ok = |n: &str| {
        !n.is_empty() && n.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == ':') && !n.as_bytes()[0].is_ascii_digit()
    };
    for line in text.trim_end_matches("# EOF\n").lines() {
        if let Some(meta) = line.strip_prefix("# ") {
            let (keyword, rest) = meta.split_once(' ').unwrap();
            let (name, value) = rest.split_once(' ').unwrap();
            assert!(name_ok(name) && ["HELP", "TYPE", "UNIT"].contains(&keyword), "{line}");
            if keyword == "TYPE" {
                assert!(kinds.insert(name.to_owned(), value.to_owned()).is_none(), "TYPE twice: {line}");
            }
            family = name.to_owned();
            continue;
        }
        let end = line.find(['{', ' ']).unwrap();
        let name = &line[..end];
        assert!(name_ok(name), "{line}");
        let mut labels = Vec::new();
        let mut rest = &line[end..];
        if let Some(mut r) = rest.strip_prefix('{') {
            while !r.starts_with('}') {
                let (key, after) = r.split_once("=\"").unwrap();
                assert!(name_ok(key), "{line}");
                let (mut value, mut escaped, mut close) = (String::new(), false, None);
                for (i, c) in after.char_indices() {
                    match (escaped, c) {
                        (true, 'n') => value.push('\n'),
                        (true, '"' | '\\') => value.push(c),
                        (true, _) => panic!("bad escape: {line}"),
                        (false, '\\') => {}
                        (false, '"') => {
                            close = Some(i);
                            break;
                        }
                        (false, _) => value.push(c),
                    }
                    escaped = !escaped && c == '\\';
                }
                labels.push((key.to_owned(), value));
                r = &after[close.unwrap() + 1..];
                r = r.strip_prefix(',').unwrap_or(r);
            }
            rest = &r[1..];
        }
        let value: f64 = rest.strip_prefix(' ').unwrap().parse().unwrap_or_else(|_| panic!("{line}"));
        match kinds.get(&family).map(String::as_str) {
            Some("counter") => assert!(name == format!("{family}_total") && value >= 0.0, "{line}"),
            Some("gauge") => assert_eq!(name, family),
            other => panic!("{other:?}: {line}"),
        }
        out.push((name.to_owned(), labels, value));
    }
    out
}

#[test]
fn metrics_are_strict_openmetrics() {
    let s = serve(Fake::new(false));
    let a = s.get("/metrics");
    assert_eq!(a.header("content-type"), OPENMETRICS);
    let rows = parse_openmetrics(&a.text);
    let stored: f64 = rows.iter().filter(|r| r.0 == "tramuntana_readings_stored_total").map(|r| r.2).sum();
    assert_eq!(stored, 2_385_240.0);
    let odd = rows.iter().find(|r| r.0 == "tramuntana_refused_total").unwrap();
    assert_eq!(odd.1, vec![("label".to_owned(), "dsx/a \"quoted\\ label\nof two lines".to_owned())]);
    assert!(rows.iter().any(|r| r.0 == "tramuntana_link_up" && r.1 == [("site".into(), "torre-girona".into())] && r.2 == 1.0));
}

/// Serves the made-up sites for looking at the page: `SERVE_SECONDS=60 cargo test --release --test it serve_fake -- --ignored --nocapture`.
#[test]
#[ignore = "stays up for SERVE_SECONDS; for looking at the page"]
fn serve_fake() {
    let fake = Fake::new(false);
    let s = serve(fake.clone());
    println!("{}", s.base);
    let seconds = std::env::var("SERVE_SECONDS").ok().and_then(|v| v.parse().ok()).unwrap_or(30);
    for _ in 0..seconds * 4 {
        fake.changes.send_modify(|n| *n += 1);
        std::thread::sleep(std::time::Duration::from_millis(250));
    }
}

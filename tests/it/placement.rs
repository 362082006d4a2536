//! Integration tests of `control::place`: against an exact solver, against random problems, boards, shedding.

#[path = "../bench/placement/instances.rs"]
mod instances;

use crate::common::{Kept, command, free_port, get, mosquitto, repository, scratch, serve, wait};
use instances::{Size, problem, small, text};
use tramuntana::control::place::audit;
use tramuntana::control::place::solve::{Effort, solve};

/// Instances that the exact solver judges.
const JUDGED: u64 = 60;

#[test]
fn schedules_break_nothing_and_are_repeatable() {
    for seed in 0..80 {
        let p = small(seed);
        let s = solve(&p, Effort::default());
        assert!(audit::faults(&p, &s).is_empty(), "seed {seed}: {:?}", audit::faults(&p, &s));
        assert!((audit::cost_kwh(&p, &s) - s.cost_kwh).abs() < 1e-9);
        assert_eq!(s, solve(&p, Effort::default()), "seed {seed}");
    }
    let size = Size { sites: 2, domains: 20, racks: 4, nodes: 4, slots: 12, jobs: 150, job_nodes: 12 };
    let p = problem(5, size);
    let s = solve(&p, Effort { work: 2_000_000, rounds: 500 });
    assert!(audit::faults(&p, &s).is_empty(), "{:?}", audit::faults(&p, &s));
    assert!(s.places.iter().flatten().count() > 100, "{}", s.places.iter().flatten().count());
}

#[test]
fn the_search_is_near_the_exact_optimum() {
    let Some(python) = std::env::var_os("TRAMUNTANA_PYTHON") else {
        println!("SKIPPED: TRAMUNTANA_PYTHON is not set; tests/run sets up HiGHS");
        return;
    };
    let has = std::process::Command::new(&python).args(["-c", "import highspy"]).output().is_ok_and(|o| o.status.success());
    if !has {
        println!("SKIPPED: highspy is not installed");
        return;
    }
    let solved: Vec<_> = (0..JUDGED)
        .map(|seed| {
            let p = small(seed);
            let s = solve(&p, Effort::default());
            text(&p, &s)
        })
        .collect();
    let file = scratch("placement").join("instances.json");
    std::fs::write(&file, serde_json::to_string(&solved).expect("JSON")).expect("written");
    let judge = repository().join("tests/bench/placement/judge.py");
    let out = std::process::Command::new(&python).arg(judge).arg(&file).output().expect("python starts");
    let said = String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success(), "{said}{}", String::from_utf8_lossy(&out.stderr));
    println!("placement against HiGHS: {said}");
    let line = said.lines().rfind(|l| l.starts_with('{')).expect("the judge's line");
    let v: serde_json::Value = serde_json::from_str(line).expect("JSON");
    let number = |key: &str| v[key].as_f64().expect("a number");
    assert!(number("mean_gap_pct") <= 1.0 && number("worst_gap_pct") <= 3.0, "{said}");
    assert!(number("instances") >= 50.0 && number("closed") >= 50.0, "{said}");
}

fn post(url: &str, body: &serde_json::Value) -> (u16, serde_json::Value) {
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let mut answer = agent.post(url).send_json(body).expect("an answer");
    (answer.status().as_u16(), answer.body_mut().read_json().expect("JSON"))
}

/// A simulated plant on Mosquitto, the service, and what schedulers ask of it.
#[test]
fn a_service_ranks_jobs_and_answers_schedulers() {
    use serde_json::json;
    let dir = scratch("placement-service");
    let port = free_port();
    let Some(_broker) = mosquitto(&dir, port, "allow_anonymous true") else { return };
    let broker = format!("mqtt://127.0.0.1:{port}");
    let service = serve("sensors/tramuntana.toml", &broker, &dir.join("data"));
    let mut plant = command(&["simulate", "--broker", &broker, "--pace", "100000", "--span", "40min"]);
    let child = plant.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::null()).spawn().expect("a plant");
    let _plant = Kept(child);
    let url = format!("{}/api/v1/placement", service.api);
    wait("hints", || get(&format!("{url}/hints?site=bsc-hq")).is_some());
    let hints = get(&format!("{url}/hints?site=bsc-hq")).expect("hints");
    assert_eq!((hints["version"].as_u64(), hints["racks"].as_array().map(Vec::len)), (Some(1), Some(16)), "{hints}");
    assert_eq!(hints["ahead"].as_array().map(Vec::len), Some(24));
    let marginal = hints["ahead"][0]["marginal_kw_per_kw"].as_f64().expect("a number");
    assert!((1.0..2.0).contains(&marginal), "{marginal}");
    assert!(hints["ahead"][0]["average_kwh_per_gpu_hour"].as_f64().is_some_and(|v| v > 0.5), "{}", hints["ahead"][0]);
    let bands: Vec<u64> = hints["racks"].as_array().unwrap().iter().filter_map(|r| r["band"].as_u64()).collect();
    assert!(bands.iter().all(|b| (1..=5).contains(b)) && bands.contains(&1), "{bands:?}");
    assert!(get(&format!("{url}/hints?site=torre-girona")).is_none(), "a site without telemetry has no hints");

    // The scheduler tells which GPUs are free; jobs are then placed on them alone.
    let racks: Vec<String> = hints["racks"].as_array().unwrap().iter().map(|r| r["rack"].as_str().unwrap().to_owned()).collect();
    let nodes: Vec<_> = racks.iter().map(|r| json!({"node": r, "gpus_free": if r.ends_with("T03") { 72 } else { 8 }})).collect();
    let told = json!({"site": "bsc-hq", "source": "test", "nodes": nodes, "jobs": [{"id": "7", "nodes": [racks[0]], "gpus": 64}]});
    assert_eq!(post(&format!("{url}/occupancy"), &told).0, 200);
    wait("a board with them", || {
        get(&format!("{url}/hints?site=bsc-hq"))
            .is_some_and(|h| h["racks"].as_array().unwrap().iter().all(|r| r["gpus_free_estimated"] == false))
    });
    let ask = json!({"jobs": [
        {"id": "whole", "gpus": 72, "duration_h": 2, "job_class": "training", "latest_h": 1, "kw_per_gpu": 0.02},
        {"id": "small", "gpus": 4, "duration_h": 1.5, "partitions": ["training"]},
        {"id": "none", "gpus": 5000, "duration_h": 1}]});
    let (status, answer) = post(&format!("{url}/rank"), &ask);
    assert_eq!(status, 200, "{answer}");
    let whole = &answer["jobs"][0]["places"][0];
    assert_eq!(whole["racks"], json!([{"rack": "bsc-hq-T03", "gpus": 72}]), "{answer}");
    // 72 GPUs of 20 W for two hours, and what cooling and losses add.
    assert!(whole["kwh"].as_f64().is_some_and(|k| (2.88..4.5).contains(&k)), "{whole}");
    assert!(whole["g_co2"].as_f64().is_some() && !whole["binds"].as_str().unwrap().is_empty());
    assert!(!answer["jobs"][1]["places"].as_array().unwrap().is_empty());
    assert!(answer["jobs"][2]["notes"][0].as_str().unwrap().contains("5000 GPUs asked for"), "{}", answer["jobs"][2]);
    assert!(answer["left_out"].to_string().contains("torre-girona"));
    let stale = json!({"site": "bsc-hq", "topology": "0123", "jobs": [{"gpus": 1, "duration_h": 1}]});
    assert_eq!(post(&format!("{url}/rank"), &stale).0, 409);
    let stranger = json!({"jobs": [{"gpus": 1, "duration_h": 1, "partitions": ["gold"]}]});
    let (status, p) = post(&format!("{url}/rank"), &stranger);
    assert_eq!((status, p["field"].as_str()), (400, Some("jobs[0].partitions")), "{p}");

    // What a kube-scheduler sends with nodeCacheCapable: true.
    let pod = json!({"metadata": {"name": "p", "namespace": "default"}, "spec": {"containers": [{"name": "c", "resources": {"limits": {"nvidia.com/gpu": "4"}}}]}});
    let message = json!({"Pod": pod, "Nodes": null, "NodeNames": ["bsc-hq-T01", "bsc-hq-T02", "elsewhere"]});
    let (status, f) = post(&format!("{}/k8s/filter", service.api), &message);
    assert_eq!((status, f["Error"].as_str()), (200, Some("")), "{f}");
    assert!(f["NodeNames"].as_array().unwrap().contains(&json!("elsewhere")), "{f}");
    let (_, scores) = post(&format!("{}/k8s/prioritize", service.api), &message);
    assert_eq!(
        (scores.as_array().map(Vec::len), scores[2]["Host"].as_str(), scores[2]["Score"].as_i64()),
        (Some(3), Some("elsewhere"), Some(5)),
        "{scores}"
    );
    assert_eq!(post(&format!("{}/k8s/filter", service.api), &json!({"Pod": pod})).0, 400);
    let labels = command(&["kubernetes", "labels", "--api", &service.api, "--site", "bsc-hq"]).output().expect("it runs");
    // Node names of this site are in capitals, which Kubernetes does not know.
    assert!(String::from_utf8_lossy(&labels.stdout).contains("no Kubernetes node name"), "{labels:?}");
    let line = ureq::get(format!("{url}/slurm?partition=training")).call().expect("a line").body_mut().read_to_string().expect("text");
    assert!(line.contains("kWh/GPU-h at bsc-hq"), "{line}");

    // The plant stops: its clock stands, and hints end all the same.
    drop(_plant);
}

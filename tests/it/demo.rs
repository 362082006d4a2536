//! Integration tests of `demo`: the binary as a user runs it.

use serde_json::Value;
use std::path::PathBuf;
use std::process::{Command, Output};

fn tramuntana(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tramuntana")).args(args).current_dir(env!("CARGO_MANIFEST_DIR")).output().expect("the binary starts")
}

fn scratch(name: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("tramuntana-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).expect("a scratch folder");
    dir
}

#[test]
fn two_sites_run_through_the_bus_and_the_table_is_whole() {
    let dir = scratch("demo");
    let json = dir.join("demo.json");
    let (data, file) = (dir.to_string_lossy().into_owned(), json.to_string_lossy().into_owned());
    let out = tramuntana(&["demo", "--span", "4h", "--exit", "--listen", "127.0.0.1:0", "--data-dir", &data, "--json", &file]);
    let (stdout, stderr) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success(), "{stderr}");
    assert!(stdout.contains("kWh per GPU-hour") && !stdout.contains("without an echo"), "{stdout}\n{stderr}");
    let v: Value = serde_json::from_str(&std::fs::read_to_string(&json).expect("the file")).expect("JSON");
    for part in [&v["sites"]["bsc-hq"], &v["sites"]["torre-girona"], &v["total"]] {
        for arm in ["baseline", "recommended"] {
            for key in ["it_kwh", "cooling_kwh", "loss_kwh", "gpu_hours", "kwh_per_gpu_hour", "pue", "minutes_beyond_limit"] {
                assert!(part[arm][key].is_number(), "{arm}.{key} of {part}");
            }
        }
        assert_eq!(part["baseline"]["gpu_hours"], part["recommended"]["gpu_hours"]);
        assert_eq!(part["recommended"]["minutes_beyond_limit"], 0.0);
        assert!(part["readings_in"].as_u64() > Some(10_000) && part["requests"].as_u64() > Some(50), "{part}");
        for key in ["readings_refused", "requests_refused", "requests_clamped"] {
            assert_eq!(part[key], 0, "{key}");
        }
        let total =
            |arm: &str| ["it_kwh", "cooling_kwh", "loss_kwh"].iter().map(|k| part[arm][k].as_f64().unwrap_or(f64::NAN)).sum::<f64>();
        let ratio = part["baseline"]["kwh_per_gpu_hour"].as_f64().unwrap_or(f64::NAN);
        assert!((total("baseline") / part["baseline"]["gpu_hours"].as_f64().unwrap_or(f64::NAN) / ratio - 1.0).abs() < 1e-9);
    }
    for site in ["bsc-hq", "torre-girona"] {
        for file in ["run.svg", "run.png", "index.html"] {
            assert!(dir.join("report").join(site).join(file).metadata().is_ok_and(|m| m.len() > 1000), "{site}/{file}");
        }
    }
    std::fs::remove_dir_all(&dir).expect("scratch goes");
}

#[test]
fn a_taken_port_and_a_broken_load_file_are_one_clear_error_each() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = taken.local_addr().expect("its address").to_string();
    let out = tramuntana(&["demo", "--exit", "--listen", &addr]);
    let why = String::from_utf8_lossy(&out.stderr);
    assert!(!out.status.success() && why.contains(&addr) && why.contains("--listen"), "{why}");
    assert_eq!(why.trim().lines().count(), 1, "{why}");

    let dir = scratch("load");
    for (name, text, parts) in [
        ("text.csv", "t_s,a_w\n0,1\n15,warm\n", ["line 3", "\"a_w\"", "warm"]),
        ("unit.csv", "t_s,a_btu\n0,1\n15,2\n", ["line 1", "\"a_btu\"", "kW"]),
        ("gap.csv", "t_s,a_w\n0,1\n15,2\n60,3\n", ["line 4", "\"t_s\"", "gap"]),
        ("column.csv", "time,a_w\n0,1\n15,2\n", ["t_s", "time, a_w", "column.csv"]),
    ] {
        let path = dir.join(name);
        std::fs::write(&path, text).expect("written");
        let out = tramuntana(&["demo", "--exit", "--listen", "127.0.0.1:0", "--load", &path.to_string_lossy()]);
        let why = String::from_utf8_lossy(&out.stderr);
        assert!(!out.status.success() && parts.iter().all(|p| why.contains(p)), "{name}: {why}");
    }
    std::fs::remove_dir_all(&dir).expect("scratch goes");
}

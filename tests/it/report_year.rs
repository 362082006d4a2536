//! A simulated year of two sites through the program, and every figure again by pandas; files opened by others' tools.

use crate::common::{command, repository, scratch};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The Python of the test environment with these packages; `None`, said as SKIPPED, where it is not there.
fn python(packages: &str) -> Option<PathBuf> {
    let venv = std::env::var_os("TRAMUNTANA_VENV")
        .map_or_else(|| PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache/tramuntana-test-venv"), PathBuf::from);
    let python = std::env::var_os("TRAMUNTANA_PYTHON").map_or_else(|| venv.join("bin/python"), PathBuf::from);
    let there = Command::new(&python).args(["-c", &format!("import {packages}")]).output().is_ok_and(|o| o.status.success());
    if !there {
        println!("SKIPPED: no Python with {packages}");
    }
    there.then_some(python)
}

fn run(mut c: Command) -> String {
    let o = c.output().expect("it starts");
    let text = format!("{}{}", String::from_utf8_lossy(&o.stdout), String::from_utf8_lossy(&o.stderr));
    assert!(o.status.success(), "{c:?}\n{text}");
    text
}

fn peer(python: &Path, script: &str, args: &[&str]) -> String {
    let mut c = Command::new(python);
    c.arg(repository().join("tests/it/peers").join(script)).args(args);
    run(c)
}

fn ours(args: &[&str]) -> String {
    run(command(args))
}

struct Year {
    dir: PathBuf,
    python: PathBuf,
}

impl Year {
    /// A simulated 2024, a leap year, in a store.
    fn make(name: &str) -> Option<Year> {
        let python = python("pandas, pyarrow, jsonschema")?;
        let dir = scratch(name);
        peer(&python, "report_year.py", &[&dir.to_string_lossy(), "2024"]);
        let year = Year { dir, python };
        for site in ["hq", "chapel"] {
            ours(&["store", "import", "--data-dir", &year.path("data"), "--site", site, &year.path(&format!("{site}.parquet"))]);
        }
        Some(year)
    }

    fn path(&self, name: &str) -> String {
        self.dir.join(name).to_string_lossy().into_owned()
    }

    fn report(&self, args: &[&str], out: &str) -> String {
        let (config, data, out) = (self.path("tramuntana.toml"), self.path("data"), self.path(out));
        let mut all = vec!["report", "--config", &config, "--data-dir", &data, "--out", &out];
        all.extend(args);
        ours(&all)
    }

    fn json(&self, out: &str) -> Value {
        let text = std::fs::read(self.dir.join(out).join("report.json")).expect("a report");
        serde_json::from_slice(&text).expect("JSON")
    }
}

impl Drop for Year {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn figure<'a>(doc: &'a Value, key: &str, scope: &str) -> &'a Value {
    let all = doc["figures"].as_array().expect("figures");
    all.iter().find(|f| f["key"] == key && f["scope"] == scope).unwrap_or_else(|| panic!("no {key} of {scope}"))
}

#[test]
fn every_figure_of_a_year_is_what_pandas_makes_of_the_readings() {
    let Some(year) = Year::make("report-year") else { return };
    for pack in ["eu-2024-1364", "iso-30134", "energy-per-gpu-hour"] {
        year.report(&["--pack", pack, "--year", "2024", "--group"], pack);
    }
    year.report(&["--pack", "eu-2024-1364", "--year", "2024", "--site", "hq", "--lang", "es"], "hq");
    for site in ["hq", "chapel"] {
        let out = year.path(&format!("raw-{site}.parquet"));
        ours(&["store", "export", "--data-dir", &year.path("data"), "--site", site, "--out", &out]);
    }
    let reports = ["eu-2024-1364", "iso-30134", "energy-per-gpu-hour", "hq"].map(|p| year.path(p));
    let mut args: Vec<&str> = vec![];
    let root = year.dir.to_string_lossy().into_owned();
    args.extend([root.as_str(), "2024"]);
    args.extend(reports.iter().map(String::as_str));
    let said = peer(&year.python, "report_check.py", &args);
    println!("{}", said.trim());
    assert!(said.contains(" 0 differ"), "{said}");

    // All fields of the law are there; what nobody answered is missing, not left out, and says where to answer it.
    let doc = year.json("eu-2024-1364");
    let lau = figure(&doc, "LAU", "group");
    assert_eq!((lau["status"].as_str(), &lau["value"]), (Some("missing"), &Value::Null));
    assert!(lau["note"].as_str().is_some_and(|n| n.contains("sensors/hq/report.toml")), "{lau}");
    assert!(doc["notes"].to_string().contains("2024-03-31 02:00:00") && doc["notes"].to_string().contains("2024-10-27 02:00:00"));
    assert_eq!(figure(&doc, "SDC", "group")["value"], 2400.0);

    // Others' tools read the files.
    let csv = std::fs::read_to_string(year.dir.join("eu-2024-1364/figures.csv")).expect("a CSV");
    assert!(csv.contains("'=HYPERLINK") && !csv.contains(",=HYPERLINK"), "a formula got through");
    let pdf = std::fs::read(year.dir.join("eu-2024-1364/report.pdf")).expect("a PDF");
    assert!(pdf.starts_with(b"%PDF-"));
    peer(&year.python, "report_files.py", &reports.each_ref().map(String::as_str));
}

#[test]
fn a_correction_is_a_new_version_with_its_changes() {
    let Some(year) = Year::make("report-version") else { return };
    let args = ["--pack", "eu-2024-1364", "--period", "2024-02-01..2024-03-01", "--site", "chapel"];
    year.report(&args, "out");
    year.report(&args, "out");
    assert_eq!(year.json("out")["version"], 1, "made again without a change it is the same version");
    let file = year.dir.join("chapel/report.toml");
    let text = std::fs::read_to_string(&file).expect("readable");
    std::fs::write(&file, text.replace("SDC = 1200.0", "SDC = 1234.5\nLAU = \"08019\"")).expect("written");
    let said = year.report(&args, "out");
    assert!(said.contains("version 2") && said.contains("changes since version 1"), "{said}");
    let doc = year.json("out");
    let changes = doc["changes"].as_array().expect("changes").iter().filter(|c| c["what"] == "value");
    let changes: Vec<_> =
        changes.map(|c| (c["key"].as_str().unwrap(), c["before"].as_str().unwrap(), c["after"].as_str().unwrap())).collect();
    assert_eq!(changes, [("LAU", "missing", "08019"), ("SDC", "1200", "1234.5")]);
    assert!(year.dir.join("out/version-1/report.pdf").exists() && year.dir.join("out/changes.csv").exists());
    // February of a leap year.
    assert_eq!(figure(&doc, "EDC", "chapel")["to"], "2024-03-01T00:00:00+01:00");
    let mut c = command(&["report", "--pack", "iso-30134", "--year", "2024", "--site", "chapel"]);
    c.args(["--config", &year.path("tramuntana.toml"), "--data-dir", &year.path("data"), "--out", &year.path("out")]);
    let o = c.output().expect("it starts");
    assert!(!o.status.success() && String::from_utf8_lossy(&o.stderr).contains("holds another report"));
}

#[test]
fn the_site_model_is_brick_and_haystack() {
    let Some(year) = Year::make("report-model") else { return };
    let Some(_) = python("rdflib, brickschema") else { return };
    let (config, data) = (year.path("tramuntana.toml"), year.path("data"));
    for (format, out) in [("brick", "hq.ttl"), ("haystack", "hq.json")] {
        let out = year.path(out);
        ours(&["export-model", "--site", "hq", "--format", format, "--config", &config, "--data-dir", &data, "--out", &out]);
    }
    println!("{}", peer(&year.python, "report_model.py", &[&year.path("hq.ttl"), &year.path("hq.json")]).trim());
}

#[test]
fn savings_are_refused_where_the_data_carry_no_claim() {
    let dir = scratch("report-savings");
    let file = dir.join("plant.csv");
    let row = |h: i32| {
        let (load, air) = (900.0 + 200.0 * (f64::from(h) * 0.261).sin(), 18.0 + 7.0 * (f64::from(h) * 0.2618).cos());
        let noise = 5.0 * (f64::from(h) * 1.7).sin();
        let power = 30.0 + 0.05 * load + 2.0 * (air - 15.0).max(0.0) + noise;
        // From day 30 on a tenth less.
        let power = if h >= 720 { 0.9 * power } else { power };
        format!("{},{power},{load},{air}\n", jiff::Timestamp::from_second(1_735_689_600 + 3600 * i64::from(h)).unwrap())
    };
    let text: String = std::iter::once("time,power_kw,load_kw,weather_c\n".to_owned()).chain((0..1440).map(row)).collect();
    std::fs::write(&file, text).expect("written");
    let file = file.to_string_lossy().into_owned();
    let out = dir.join("out").to_string_lossy().into_owned();
    let said = ours(&[
        "verify-savings",
        "--file",
        &file,
        "--baseline-period",
        "2025-01-01..2025-01-31",
        "--reporting-period",
        "2025-01-31..2025-03-02",
        "--leave-out",
        "2025-02-10..2025-02-11=pump exchanged",
        "--out",
        &out,
    ]);
    assert!(said.contains(": a saving") && said.contains("pump exchanged") && said.contains("24 hours left out"), "{said}");
    let doc: Value = serde_json::from_slice(&std::fs::read(dir.join("out/report.json")).expect("a report")).expect("JSON");
    let share = figure(&doc, "SAVING-SHARE", "plant.csv");
    assert!((share["value"].as_f64().unwrap_or_default() - 10.0).abs() < share["uncertainty_95"].as_f64().unwrap_or_default(), "{share}");
    let o = command(&[
        "verify-savings",
        "--file",
        &file,
        "--baseline-period",
        "2025-01-01..2025-01-04",
        "--reporting-period",
        "2025-02-01..2025-03-01",
    ])
    .output()
    .expect("it starts");
    let why = String::from_utf8_lossy(&o.stderr).into_owned();
    assert!(!o.status.success() && why.contains("no saving is claimed") && why.contains("14 are needed"), "{why}");
    let _ = std::fs::remove_dir_all(dir);
}

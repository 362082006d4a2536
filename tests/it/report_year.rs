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

    // Each figure names the text that defines it.
    let cites = |pack: &str, key: &str| figure(&year.json(pack), key, "group")["citation"].as_str().unwrap_or_default().to_owned();
    for (pack, key, text) in [
        ("eu-2024-1364", "EDC", "Commission Delegated Regulation (EU) 2024/1364, Annex II, 1"),
        ("eu-2024-1364", "PUE", "Commission Delegated Regulation (EU) 2024/1364, Annex III"),
        ("iso-30134", "PUE1", "ISO/IEC 30134-2:2016, category 1"),
        ("iso-30134", "CER", "ISO/IEC 30134-7:2023"),
        ("iso-30134", "CO2-MARKET", "GHG Protocol Scope 2 Guidance (2015)"),
        ("energy-per-gpu-hour", "SCI", "ISO/IEC 21031:2024 (SCI), R = GPU-hour"),
    ] {
        assert_eq!(cites(pack, key), text);
    }
    // What people read in another language is in it: notes of the account too.
    let hq = year.json("hq");
    assert!(hq["notes"].to_string().contains("horas que el cambio de hora se salta") && !hq["notes"].to_string().contains("had no value"));

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

/// Two applied recommendations, one by +2 of ±3 and one by −5 of ±4 kWh off; one that nobody applied; one of the month after.
#[test]
fn the_ledger_is_reconciled_with_what_the_meters_verify() {
    use tramuntana::store::{Embedded, Store};
    use tramuntana::time::Timestamp;
    let Some(year) = Year::make("report-ledger") else { return };
    let store = Embedded::open(&year.dir.join("data")).expect("the store");
    for (id, at, predicted, plus_minus, realised) in [
        ("a", "2024-02-03T00:00:00Z", 10.0, 3.0, Some(12.0)),
        ("b", "2024-02-04T00:00:00Z", 20.0, 4.0, Some(15.0)),
        ("c", "2024-02-05T00:00:00Z", 5.0, 1.0, None),
        ("d", "2024-03-05T00:00:00Z", 70.0, 1.0, Some(70.0)),
    ] {
        let at = Timestamp::parse(at).expect("an instant");
        let entry = serde_json::json!({
            "recommendation": id, "site": "chapel", "made_at": at.0, "predicted_kwh": predicted, "plus_minus_kwh": plus_minus, "hours": 0.5,
            "applied": realised.map(|_: f64| serde_json::json!({ "who": "controller", "at": at.0 })), "realised_kwh": realised,
            "forgone_kwh": if realised.is_some() { 0.0 } else { predicted },
        });
        store.put_record("ledger", "chapel", at, id, entry.to_string().as_bytes()).expect("filed");
    }
    store.sync().expect("on disk");
    drop(store);
    let (config, data, out) = (year.path("tramuntana.toml"), year.path("data"), year.path("savings"));
    let mut c = command(&["verify-savings", "--site", "chapel", "--config", &config, "--data-dir", &data, "--out", &out, "--lang", "ca"]);
    c.args(["--baseline-period", "2024-01-01..2024-02-01", "--reporting-period", "2024-02-01..2024-03-01"]);
    let o = c.output().expect("it starts");
    let said = String::from_utf8_lossy(&o.stdout).into_owned();
    let line = "ledger: 3 recommendations, 2 applied and scored over 1.0 h: predicted 30.0 kWh, realised by the plant's model 27.0 kWh, error -3.0 kWh (-10.0 %), 1 of 2 within their own ±; forgone 5.0 kWh";
    assert!(said.contains(line), "{said}{}", String::from_utf8_lossy(&o.stderr));
    let doc = year.json("savings");
    let table = doc["tables"].as_array().expect("tables").iter().find(|t| t["id"] == "ledger").expect("a ledger");
    let rows: Vec<f64> = table["rows"].as_array().expect("rows").iter().map(|r| r[1].as_f64().unwrap_or(f64::NAN)).collect();
    assert_eq!(rows[..8], [3.0, 2.0, 1.0, 30.0, 27.0, -3.0, -10.0, 1.0], "{table}");
    // Verified less realised, where a saving may be stated at all.
    assert_eq!(rows[8], 5.0);
    assert!(rows[9].is_nan() == rows[10].is_nan() && (rows[9].is_nan() || (rows[10] - (rows[9] - 27.0)).abs() < 1e-9), "{table}");
    assert!(table["title"].as_str().is_some_and(|t| t.starts_with("Llibre")), "{table}");
}

#[test]
fn the_site_model_is_brick_and_haystack() {
    let Some(year) = Year::make("report-model") else { return };
    let Some(_) = python("rdflib, brickschema, pyshacl") else { return };
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

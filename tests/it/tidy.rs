//! The house rules that a machine can keep: floors, clocks, seeds, tasks, file sizes, module docs.

use std::fs;
use std::path::{Path, PathBuf};

/// Floor of each module, as `src/lib.rs` draws them.
const FLOORS: [(u8, &[&str]); 6] = [
    (0, &["units", "time", "event", "id"]),
    (1, &["site", "reading", "signal", "cell"]),
    (2, &["plant", "forecast", "ingest", "store", "influx"]),
    (3, &["control"]),
    (4, &["sim", "api", "report", "scheduler"]),
    (5, &["app"]),
];

fn floor(module: &str) -> Option<u8> {
    FLOORS.iter().find(|(_, names)| names.contains(&module)).map(|(f, _)| *f)
}

fn sources() -> Vec<(String, PathBuf, String)> {
    fn walk(dir: &Path, out: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).expect("src is readable").flatten() {
            let path = entry.path();
            if path.is_dir() {
                walk(&path, out);
            } else if path.extension().is_some_and(|e| e == "rs") {
                out.push(path);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    walk(&root, &mut paths);
    paths.sort();
    paths
        .into_iter()
        .filter(|p| !p.ends_with("src/lib.rs") && !p.ends_with("src/main.rs"))
        .map(|p| {
            let relative = p.strip_prefix(&root).expect("under src");
            let module = relative.components().next().expect("a first part").as_os_str().to_string_lossy().replace(".rs", "");
            let text = fs::read_to_string(&p).expect("readable");
            (module, relative.to_owned(), text)
        })
        .collect()
}

/// The code of a file without comments and without its unit tests.
fn code(text: &str) -> String {
    let body = text.split("#[cfg(test)]").next().unwrap_or("");
    body.lines().filter(|l| !l.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_module_names_only_lower_floors_and_never_a_sibling() {
    let mut faults = Vec::new();
    for (module, path, text) in sources() {
        let Some(here) = floor(&module) else {
            faults.push(format!("{}: module {module} is on no floor; place it in src/lib.rs and in this test", path.display()));
            continue;
        };
        for (line, l) in code(&text).lines().enumerate() {
            for part in l.split("crate::").skip(1) {
                let named: String = part.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                if named != module && floor(&named).is_some_and(|there| there >= here) {
                    faults.push(format!("{}: {module} (floor {here}) names {named}: code line {}", path.display(), line + 1));
                }
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn below_app_nothing_reads_a_clock_makes_a_seed_or_spawns() {
    let banned = [
        "Instant::now",
        "SystemTime::now",
        "Timestamp::now",
        "Zoned::now",
        "tokio::spawn",
        "thread::spawn",
        "from_os_rng",
        "from_entropy",
        "rand::rng()",
    ];
    let mut faults = Vec::new();
    for (module, path, text) in sources() {
        if module == "app" {
            continue;
        }
        for word in banned {
            if code(&text).contains(word) {
                faults.push(format!("{}: {word}", path.display()));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn control_knows_neither_files_nor_frames() {
    for (module, path, text) in sources() {
        if module == "control" {
            for word in ["std::fs", "polars", "tokio", "linfa", "std::net"] {
                assert!(!code(&text).contains(word), "{} uses {word}", path.display());
            }
        }
    }
}

#[test]
fn every_file_opens_with_its_purpose_and_stays_one_room() {
    for (_, path, text) in sources() {
        assert!(text.starts_with("//!"), "{} has no module doc", path.display());
        assert!(text.lines().count() <= 700, "{} has {} lines: two rooms in one", path.display(), text.lines().count());
    }
}

#[test]
fn only_whitelisted_names_stand_at_the_top() {
    let allowed = ["Cargo.toml", "Cargo.lock", "LICENSE", "README.md", "src", "models", "sensors", "dashboards", "tests"];
    let made = ["target", "tramuntana-data"];
    for entry in fs::read_dir(env!("CARGO_MANIFEST_DIR")).expect("readable").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        assert!(name.starts_with('.') || allowed.contains(&&*name) || made.contains(&&*name), "{name} does not belong at the top level");
    }
}

//! `store import|export|inspect|verify|compact`: the data directory by hand, while no service has it open. `backup` and
//! `restore` are in [`super::backup`].

use super::cli::{StoreArgs, StoreCommand, StoreExport, StoreImport};
use super::config::{Config, Overrides};
use crate::ingest::decode::{self, Batch as Decoded, Value};
use crate::reading::{PointId, Quality, Reading};
use crate::site::{Catalogue, Point, Selector, Source};
use crate::store::exchange::{CsvExport, Export, Intake, ParquetExport, Sample, import_csv, import_parquet};
use crate::store::{Embedded, Store};
use crate::time::{Span, Timestamp};
use crate::units::{Kind, Unit};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

/// Readings appended at once by an import.
const BATCH: usize = 8192;
/// Refusals that are shown; all are counted.
const SHOWN: u64 = 5;

/// Runs a `store` command.
pub fn run(args: StoreArgs) -> Result<(), String> {
    match &args.command {
        StoreCommand::Backup { to } => return super::backup::backup(&args.data_dir, to),
        StoreCommand::Restore { from } => {
            super::backup::restore(from, &args.data_dir)?;
            let store = Embedded::open(&args.data_dir).map_err(|e| e.to_string())?;
            return inspect(&store, true, false);
        }
        _ => {}
    }
    if !args.data_dir.join("FORMAT").exists() && !matches!(args.command, StoreCommand::Import(_)) {
        return Err(format!("{}: no data directory; name it with --data-dir", args.data_dir.display()));
    }
    let store = Embedded::open(&args.data_dir).map_err(|e| e.to_string())?;
    match args.command {
        StoreCommand::Import(a) => import(&store, &a),
        StoreCommand::Export(a) => export(&store, &a),
        StoreCommand::Inspect { json } => inspect(&store, false, json),
        StoreCommand::Verify { json } => inspect(&store, true, json),
        StoreCommand::Compact { before } => compact(&store, before.as_deref()),
        // Seen to above, without opening the store first.
        StoreCommand::Backup { .. } | StoreCommand::Restore { .. } => Ok(()),
    }
}

/// An import on its way: points by path, readings that wait for their append.
struct Filing<'s> {
    store: &'s Embedded,
    site: String,
    catalogue: Catalogue,
    new_points: bool,
    waiting: Vec<Reading>,
    stored: u64,
    duplicates: u64,
    refused: u64,
}

impl Filing<'_> {
    fn flush(&mut self) -> Result<(), String> {
        if std::mem::take(&mut self.new_points) {
            self.store.put_catalogue(&self.site, &self.catalogue).map_err(|e| e.to_string())?;
        }
        let done = self.store.append(&self.site, &self.waiting).map_err(|e| e.to_string())?;
        self.waiting.clear();
        self.stored += done.stored;
        self.duplicates += done.duplicates;
        Ok(())
    }

    /// The number and unit of a path; a new one becomes a point that says no more than its name and unit.
    fn point(&mut self, sample: &Sample) -> Result<(PointId, Unit), String> {
        let unit = match sample.unit.as_str() {
            "" => None,
            text => Some(Unit::parse(text).ok_or_else(|| format!("unit {text:?} is not known"))?),
        };
        if let Some(known) = self.catalogue.id(&sample.path).and_then(|id| self.catalogue.get(id)) {
            let kind = known.kind;
            return match unit {
                None => Ok((known.id, Unit::plain(kind))),
                Some(unit) if unit.kind == kind => Ok((known.id, unit)),
                Some(_) => Err(format!("unit {:?} is not one of {:?}, which the point measures", sample.unit, kind)),
            };
        }
        let mut parts = sample.path.splitn(3, '/');
        let (object_type, point_type) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let kind = unit.map_or(Kind::Opaque, |u| u.kind);
        let point = Point {
            id: PointId(0),
            path: sample.path.clone(),
            object_type: if point_type.is_empty() { "GenericObject".into() } else { object_type.into() },
            point_type: if point_type.is_empty() { object_type.into() } else { point_type.into() },
            kind,
            eng_unit: sample.unit.clone(),
            state_text: Vec::new(),
            object_name: String::new(),
            object_id: String::new(),
            associated: false,
            serves_id: Vec::new(),
            process_area: Vec::new(),
            is_setpoint: false,
            integration: String::new(),
            scope: String::new(),
            phase: String::new(),
        };
        let (id, _) = self.catalogue.upsert(point).ok_or("the site has as many points as it may have")?;
        self.new_points = true;
        Ok((id, unit.unwrap_or(Unit::plain(kind))))
    }
}

impl Intake for Filing<'_> {
    fn take(&mut self, sample: Sample) -> Result<(), String> {
        match self.point(&sample) {
            Ok((point, unit)) => {
                let value = sample.value * unit.scale + unit.offset;
                self.waiting.push(Reading { point, at: sample.at.at, ns: sample.at.ns, value, quality: sample.quality });
            }
            Err(why) => self.refuse(0, format!("{}: {why}", sample.path)),
        }
        if self.waiting.len() >= BATCH { self.flush() } else { Ok(()) }
    }

    fn refuse(&mut self, place: u64, why: String) {
        self.refused += 1;
        if self.refused <= SHOWN {
            eprintln!("refused{}: {why}", if place > 0 { format!(", row {place}") } else { String::new() });
        }
    }
}

fn import(store: &Embedded, a: &StoreImport) -> Result<(), String> {
    let catalogue = store.catalogue(&a.site).map_err(|e| e.to_string())?;
    let mut filing =
        Filing { store, site: a.site.clone(), catalogue, new_points: false, waiting: Vec::new(), stored: 0, duplicates: 0, refused: 0 };
    for path in &a.files {
        let in_file = |why: String| format!("{}: {why}", path.display());
        let file = File::open(path).map_err(|e| in_file(format!("cannot be opened: {e}")))?;
        match extension(path) {
            "csv" => import_csv(file, &mut filing).map_err(in_file)?,
            "parquet" => import_parquet(file, &mut filing).map_err(in_file)?,
            "lp" | "line" => import_line(file, &mut filing).map_err(in_file)?,
            other => return Err(in_file(format!("{other:?} is not read; give .csv, .parquet, or .lp (line protocol)"))),
        }
        filing.flush().map_err(in_file)?;
    }
    store.sync().map_err(|e| e.to_string())?;
    println!("{}: {} readings stored, {} were there already, {} refused", a.site, filing.stored, filing.duplicates, filing.refused);
    Ok(())
}

/// Influx line protocol, as `influx export` and VictoriaMetrics write it, in nanoseconds: a field is a point
/// `<measurement and tags>/<field>` without a unit.
fn import_line(file: File, filing: &mut Filing) -> Result<(), String> {
    let source: Source = toml::from_str("filter = '#'\nformat = 'line'").map_err(|e| e.to_string())?;
    let mut reader = BufReader::new(file);
    let (mut line, mut place) = (Vec::new(), 0);
    loop {
        line.clear();
        place += 1;
        if reader.read_until(b'\n', &mut line).map_err(|e| e.to_string())? == 0 {
            return Ok(());
        }
        let mut batch = Decoded::default();
        if let Err(why) = decode::decode(&source, "", &line, &mut batch) {
            filing.refuse(place, why.into());
            continue;
        }
        for (why, _) in &batch.refusals {
            filing.refuse(place, (*why).into());
        }
        for sample in &batch.samples {
            let series = sample.series.and_then(|s| batch.series.get(s as usize)).map_or("", |s| s);
            let (value, quality) = match &sample.value {
                Value::Number(v) => (*v, sample.marks),
                Value::Null => (f64::NAN, sample.marks.with(Quality::NO_VALUE)),
                Value::Text(_) => {
                    filing.refuse(place, format!("{}: a text is no reading", &*sample.key));
                    continue;
                }
            };
            match sample.at {
                Some(at) => filing.take(Sample { path: format!("{series}/{}", &*sample.key), unit: String::new(), at, value, quality })?,
                None => filing.refuse(place, "it has no timestamp".into()),
            }
        }
    }
}

fn extension(path: &Path) -> &str {
    path.extension().and_then(|x| x.to_str()).unwrap_or_default()
}

/// The points that an export means: by path, by selector fields, by role of a site file; all where nothing is given.
fn chosen(a: &StoreExport, catalogue: &Catalogue) -> Result<Vec<PointId>, String> {
    let mut ids: Vec<PointId> = Vec::new();
    for path in &a.points {
        ids.push(catalogue.id(path).ok_or_else(|| format!("--point {path:?}: not a point of {}; `store inspect` lists them", a.site))?);
    }
    if !a.roles.is_empty() {
        let config = a.config.as_deref().ok_or("--role needs --config, whose site file says what the role means")?;
        let config = Config::load(config, &Overrides::default()).map_err(|e| e.to_string())?;
        let site = config.sites.iter().find(|s| s.file.site.id == a.site).ok_or_else(|| format!("{}: not in the configuration", a.site))?;
        for name in &a.roles {
            let role = site.file.role(name).ok_or_else(|| format!("--role {name:?}: not in the site file of {}", a.site))?;
            ids.extend(catalogue.select(&role.select).map(|p| p.id));
        }
    }
    let select = Selector { object_type: a.object_type.clone(), point_type: a.point_type.clone(), ..Selector::default() };
    if !select.is_empty() {
        ids.extend(catalogue.select(&select).map(|p| p.id));
    } else if a.points.is_empty() && a.roles.is_empty() {
        ids.extend(catalogue.iter().map(|p| p.id));
    }
    ids.sort_unstable();
    ids.dedup();
    Ok(ids)
}

fn export(store: &Embedded, a: &StoreExport) -> Result<(), String> {
    let sites = store.sites().map_err(|e| e.to_string())?;
    if !sites.contains(&a.site) {
        return Err(format!("--site {:?}: not in this directory, which has {}", a.site, sites.join(", ")));
    }
    let catalogue = store.catalogue(&a.site).map_err(|e| e.to_string())?;
    let ids = chosen(a, &catalogue)?;
    let instant = |name: &str, text: &Option<String>, otherwise: Timestamp| match text {
        None => Ok(otherwise),
        Some(t) => Timestamp::parse(t).ok_or_else(|| format!("--{name} {t:?}: give a date or an instant, such as 2026-07-14T12:00:00Z")),
    };
    let (from, to) = (instant("from", &a.from, Timestamp(-(1 << 60)))?, instant("to", &a.to, Timestamp(1 << 60))?);
    let step = match &a.step {
        None => None,
        Some(t) => Some(Span::parse(t).filter(|s| s.0 > 0).ok_or_else(|| format!("--step {t:?}: give a length of time, such as 5min"))?),
    };
    let stdout = a.out.as_os_str() == "-";
    let create = || File::create(&a.out).map_err(|e| format!("{}: cannot be written: {e}", a.out.display()));
    let mut out: Box<dyn Export> = match extension(&a.out) {
        _ if stdout => Box::new(CsvExport::new(std::io::stdout().lock(), step.is_some())?),
        "csv" => Box::new(CsvExport::new(std::io::BufWriter::new(create()?), step.is_some())?),
        "parquet" => Box::new(ParquetExport::new(create()?, step.is_some())?),
        other => return Err(format!("--out {other:?}: give a file that ends in .csv or .parquet, or `-`")),
    };
    let (mut written, mut fault) = (0_u64, None);
    let point = |id: PointId| catalogue.get(id);
    let walked = match step {
        None => store.rows_each(&a.site, &ids, from, to, &mut |id, rows| {
            written += rows.len() as u64;
            fault = point(id).and_then(|p| out.rows(p, rows).err());
            fault.is_none()
        }),
        Some(step) => store.series_each(&a.site, &ids, from, to, step, &mut |id, steps| {
            written += steps.len() as u64;
            fault = point(id).and_then(|p| out.steps(p, steps).err());
            fault.is_none()
        }),
    };
    walked.map_err(|e| e.to_string())?;
    if let Some(why) = fault {
        return Err(format!("{}: {why}", a.out.display()));
    }
    out.finish()?;
    if !stdout {
        println!("{}: {written} rows of {} points", a.out.display(), ids.len());
    }
    Ok(())
}

fn inspect(store: &Embedded, deep: bool, json: bool) -> Result<(), String> {
    let mut faults = 0;
    let mut all = serde_json::Map::new();
    for site in store.sites().map_err(|e| e.to_string())? {
        let mut reports = store.inspect(&site, deep).map_err(|e| e.to_string())?;
        reports.push(store.inspect_hot(&site).map_err(|e| e.to_string())?);
        let points = store.catalogue(&site).map_err(|e| e.to_string())?.len();
        faults += reports.iter().filter(|r| r.fault.is_some()).count();
        if json {
            all.insert(site, serde_json::json!({ "points": points, "files": reports }));
            continue;
        }
        println!("site {site}: {points} points");
        for r in &reports {
            let each = if r.rows > 0 && r.bytes > 0 { format!("{:.2}", r.bytes as f64 / r.rows as f64) } else { String::new() };
            let state = r.fault.as_deref().unwrap_or(if deep { "ok" } else { "" });
            println!("  {:<10} {:<3} {:>12} rows {:>12} bytes {each:>6} {state}", r.day, r.tier, r.rows, r.bytes);
        }
    }
    let stats = store.stats();
    if json {
        all.insert("hot_bytes".into(), stats.hot_bytes.into());
        all.insert("sealed_bytes".into(), stats.sealed_bytes.into());
        println!("{}", serde_json::Value::Object(all));
    } else {
        println!("hot {} bytes, sealed {} bytes, {} days", stats.hot_bytes, stats.sealed_bytes, stats.sealed_days);
    }
    if faults > 0 { Err(format!("{faults} damaged; restore those from a copy")) } else { Ok(()) }
}

fn compact(store: &Embedded, before: Option<&str>) -> Result<(), String> {
    let before = match before {
        None => Timestamp(1 << 60),
        Some(t) => Timestamp::parse(t).ok_or_else(|| format!("--before {t:?}: give a date, such as 2026-07-14"))?,
    };
    for site in store.sites().map_err(|e| e.to_string())? {
        for (day, rows) in store.seal_before(&site, before).map_err(|e| e.to_string())? {
            println!("{site}: sealed {day}: {rows} readings");
        }
    }
    store.compact().map_err(|e| e.to_string())?;
    let stats = store.stats();
    println!("hot {} bytes, sealed {} bytes, {} days", stats.hot_bytes, stats.sealed_bytes, stats.sealed_days);
    Ok(())
}

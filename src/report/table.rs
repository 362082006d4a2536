//! The demo's table as plain text: per site and in total.

use super::result::{Account, DemoResult, SiteResult};

/// Rows of one site's table: the head first, then a name and one cell per column. `key` is the site's identifier or `total`.
pub fn rows(result: &DemoResult, key: &str) -> Vec<Vec<String>> {
    let Some(site) = (if key == "total" { Some(&result.total) } else { result.sites.get(key) }) else { return Vec::new() };
    let with_optimum = site.optimum.is_some();
    let text = |s: &str| s.to_owned();
    let mut head = vec![text(key), text("baseline"), text("recommended")];
    if with_optimum {
        head.push(text("optimum"));
    }
    head.push(text("difference"));
    let columns = head.len();
    let mut out = vec![head];
    let intervals = result.differences.get(key);
    let mut energy = |name: &str, figure: &str, digits: usize, pick: fn(&Account) -> Option<f64>| {
        let cell = |a: &Account| pick(a).map_or_else(|| text("-"), |v| number(v, digits));
        let mut row = vec![text(name), cell(&site.baseline), cell(&site.recommended)];
        row.extend(site.optimum.as_ref().map(&cell));
        let this = pick(&site.recommended).zip(pick(&site.baseline)).map(|(r, b)| (r - b, 100.0 * (r - b) / b));
        row.push(match (intervals.and_then(|i| i.get(figure)), this) {
            (Some(i), _) if i.half_width_95.is_some() => {
                format!("{} ± {} ({} seeds)", signed(i.mean, digits), number(i.half_width_95.unwrap_or(0.0), digits), i.n)
            }
            (_, Some((d, pct))) if pct.is_finite() => format!("{} ({} %)", signed(d, digits), signed(pct, 2)),
            (_, Some((d, _))) => signed(d, digits),
            _ => text("-"),
        });
        out.push(row);
    };
    energy("IT, kWh", "it_kwh", 1, |a| Some(a.it_kwh));
    energy("cooling, kWh", "cooling_kwh", 1, |a| Some(a.cooling_kwh));
    energy("losses, kWh", "loss_kwh", 1, |a| Some(a.loss_kwh));
    energy("GPU-hours", "gpu_hours", 1, |a| Some(a.gpu_hours));
    energy("kWh per GPU-hour", "kwh_per_gpu_hour", 4, |a| a.kwh_per_gpu_hour);
    energy("PUE", "pue", 4, |a| a.pue);
    let minutes = |a: &Account| number(a.minutes_beyond_limit, 1);
    let mut row = vec![text("minutes beyond a limit"), minutes(&site.baseline), minutes(&site.recommended)];
    row.extend(site.optimum.as_ref().map(minutes));
    row.push(signed(site.recommended.minutes_beyond_limit - site.baseline.minutes_beyond_limit, 1));
    out.push(row);
    for (figure, name) in [("cooling_pct", "cooling, %"), ("kwh_per_gpu_hour_pct", "kWh per GPU-hour, %")] {
        if let Some(i) = intervals.and_then(|i| i.get(figure)).filter(|i| i.half_width_95.is_some()) {
            let mut row = vec![text(name); 1];
            row.resize(columns - 1, String::new());
            row.push(format!("{} ± {} ({} seeds)", signed(i.mean, 2), number(i.half_width_95.unwrap_or(0.0), 2), i.n));
            out.push(row);
        }
    }
    for (limit, m) in &site.least_margin {
        let cell = |v: Option<f64>| v.map_or_else(|| text("-"), |v| signed(v, 2));
        let mut row = vec![format!("least margin {limit}, {}", m.unit), cell(m.baseline), cell(m.recommended)];
        if with_optimum {
            row.push(cell(m.optimum));
        }
        row.push(m.recommended.zip(m.baseline).map_or_else(|| text("-"), |(r, b)| signed(r - b, 2)));
        out.push(row);
    }
    if let Some(share) = site.share_of_optimum() {
        out.push(single(columns, "saving, share of the optimum's", format!("{:.1} %", 100.0 * share)));
    }
    traffic(site, columns, &mut out);
    out
}

/// A row whose value stands in the column of the recommended arm.
fn single(columns: usize, name: &str, value: String) -> Vec<String> {
    let mut row = vec![name.to_owned(), String::new(), value];
    row.resize(columns, String::new());
    row
}

fn traffic(site: &SiteResult, columns: usize, out: &mut Vec<Vec<String>>) {
    let t = &site.traffic;
    for (name, value) in [
        ("readings in", t.readings_in),
        ("readings refused", t.readings_refused),
        ("requests made", t.requests),
        ("requests refused", t.requests_refused),
        ("requests clamped", t.requests_clamped),
    ] {
        out.push(single(columns, name, number(value as f64, 0)));
    }
    out.push(single(columns, "simulated s a wall s", number(t.sim_seconds_per_wall_second, 0)));
}

/// All sites and the total, for a terminal.
pub fn text(result: &DemoResult) -> String {
    let keys = result.sites.keys().map(String::as_str).chain(std::iter::once("total"));
    let tables: Vec<Vec<Vec<String>>> = keys.map(|k| rows(result, k)).collect();
    let columns = tables.iter().flatten().map(Vec::len).max().unwrap_or(0);
    let width = |c: usize| tables.iter().flatten().filter_map(|r| r.get(c)).map(|s| s.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut out = String::new();
    for table in &tables {
        for (i, row) in table.iter().enumerate() {
            let cells: Vec<String> = row
                .iter()
                .zip(&widths)
                .enumerate()
                .map(|(c, (s, w))| {
                    let pad = " ".repeat(w.saturating_sub(s.chars().count()));
                    if c == 0 { format!("{s}{pad}") } else { format!("{pad}{s}") }
                })
                .collect();
            let line = cells.join("  ");
            out.push_str(line.trim_end());
            out.push('\n');
            if i == 0 {
                out.push_str(&"─".repeat(line.chars().count()));
                out.push('\n');
            }
        }
        out.push('\n');
    }
    out
}

fn signed(v: f64, digits: usize) -> String {
    let text = number(v.abs(), digits);
    let zero = text.chars().all(|c| matches!(c, '0' | '.' | ' '));
    match (zero, v < 0.0) {
        (true, _) => text,
        (_, true) => format!("−{text}"),
        _ => format!("+{text}"),
    }
}

/// Digits in groups of three, parted by a thin blank.
pub(super) fn number(v: f64, digits: usize) -> String {
    if !v.is_finite() {
        return "-".into();
    }
    let text = format!("{:.digits$}", v.abs());
    let (whole, rest) = text.split_once('.').map_or((text.as_str(), ""), |(a, b)| (a, b));
    let mut grouped = String::new();
    for (i, c) in whole.chars().enumerate() {
        if i > 0 && (whole.len() - i) % 3 == 0 {
            grouped.push(' ');
        }
        grouped.push(c);
    }
    let sign = if v < 0.0 { "−" } else { "" };
    if rest.is_empty() { format!("{sign}{grouped}") } else { format!("{sign}{grouped}.{rest}") }
}

#[cfg(test)]
mod tests {
    use super::super::result::SeedRow;
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(number(1_234_567.891, 1), "1 234 567.9");
        assert_eq!(number(-999.0, 0), "−999");
        assert_eq!(signed(-0.004, 2), "0.00");
        assert_eq!(signed(12.0, 1), "+12.0");
    }

    #[test]
    fn the_table_has_every_row() {
        let account = |c: f64| Account::new(1000.0, c, 50.0, 500.0, 0.0);
        let site = |c: f64| SiteResult {
            baseline: account(200.0),
            recommended: account(c),
            optimum: Some(account(140.0)),
            ..SiteResult::default()
        };
        let seeds = vec![SeedRow::new(1, "hq", &site(150.0)), SeedRow::new(2, "hq", &site(152.0))];
        let r = DemoResult::assemble([("hq".to_owned(), site(150.0))].into(), 1800.0, seeds);
        let t = text(&r);
        let line = |start: &str| t.lines().find(|l| l.starts_with(start)).unwrap_or_else(|| panic!("{start} in\n{t}")).to_owned();
        // Differences −50 and −48: mean −49, s = √2, ± 12.706 · √2/√2 = 12.7.
        assert!(line("cooling, kWh").contains("−49.0 ± 12.7 (2 seeds)"), "{t}");
        assert!(line("kWh per GPU-hour ").contains("2.5000"), "{t}");
        assert!(line("saving, share").contains("83.3 %"), "{t}");
        for row in ["IT, kWh", "losses, kWh", "GPU-hours", "PUE", "minutes beyond", "readings in", "requests clamped", "simulated s"] {
            line(row);
        }
        // The total has one run, no seeds of its own: its difference in per cent.
        assert!(t.contains("−50.0 (−25.00 %)"), "{t}");
    }
}

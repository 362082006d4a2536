//! What is wrong with a site at this moment: by its own rules (`[[alert]]`), and what every site is watched for.

use super::book::Condition;
use crate::api::model::{Severity, SiteStatus};
use crate::app::site_task::{Core, SiteShared};
use crate::control::view::combine;
use crate::site::{Alert, AlertSeverity, ClockSource, Role};
use crate::time::{Span, Timestamp};
use std::sync::atomic::Ordering;

/// A site whose clock has stood still this long, and for two and a half of its beats, is said to be silent, s of the host's clock.
const SILENT_S: f64 = 60.0;
/// Space on the store's file system below which somebody has to make room soon, and now, bytes.
const SPACE_LOW: u64 = 4 << 30;
const SPACE_OUT: u64 = 1 << 30;

/// What is wrong with a site and what to do about it.
pub(super) fn conditions(
    s: &SiteShared,
    core: &Core,
    status: &SiteStatus,
    free: Option<u64>,
    is_up: &dyn Fn(&str) -> bool,
) -> Vec<Condition> {
    let mut list = Vec::new();
    let mut add = |id: &str, severity, since: Option<i64>, text: String, action: &str| {
        let since = since.map(Timestamp);
        list.push(Condition { id: id.into(), severity, since, text, action: action.into(), lasting: Span::ZERO });
    };
    if status.link.state == "down" {
        add(
            "broker",
            Severity::Critical,
            status.link.since,
            status.link.why.clone(),
            "check the broker and the network; it is tried again by itself",
        );
    }
    let trouble = s.trouble();
    if !trouble.is_empty() {
        add(
            "store",
            Severity::Critical,
            None,
            trouble,
            "free space in the data directory; nothing is acknowledged until then, the broker keeps it",
        );
    }
    if let Some(free) = free.filter(|f| *f < SPACE_LOW) {
        let severity = if free < SPACE_OUT { Severity::Critical } else { Severity::Warning };
        let text = format!("{:.1} GB are left on the disk of the data directory", free as f64 / 1e9);
        add("disk", severity, None, text, "make room, or shorten [store] raw_days; nothing is acknowledged once it is full");
    }
    if s.over.load(Ordering::Relaxed) {
        add(
            "over",
            Severity::Notice,
            None,
            "the simulated days are over; this is their last state".into(),
            "start the demo again, or serve a plant",
        );
    } else if status.link.state == "up"
        && let Some((text, action)) = silent(s.site.bus.clock, status.clock_age_s, core.brain.pace())
    {
        add("silent", Severity::Warning, None, text.into(), action);
    }
    if let Some(m) = s.mirror.as_ref().map(|m| m.state()).filter(|m| matches!(m.state, "waiting" | "refused")) {
        let action =
            if m.state == "refused" { "mend [influx] of the configuration, or the server" } else { "none: it is tried again by itself" };
        let severity = if m.state == "refused" { Severity::Warning } else { Severity::Notice };
        add("influx", severity, m.since.map(|t| t.0), m.why, action);
    }
    for f in core.ingest.findings() {
        let action = "compare the points with a hand-held instrument; the values are marked until they agree again";
        add(
            &format!("check-{}", f.check.replace(' ', "-")),
            Severity::Warning,
            Some(f.since.0),
            format!("{}: {}", f.check, f.text),
            action,
        );
    }
    let brain = &core.brain;
    if !s.site.actuators.is_empty() {
        if brain.model.is_none() {
            add(
                "plant-model",
                Severity::Notice,
                None,
                "there is no plant model: nothing is recommended".into(),
                "identify the plant: tramuntana identify",
            );
        }
        if brain.drift.alarm {
            add(
                "drift",
                Severity::Warning,
                None,
                "the plant answers differently than its model".into(),
                "identify the plant again; look for fouling or a stuck valve",
            );
        }
        if matches!(status.mode.as_str(), "guarded" | "fail-safe") {
            add(
                "mode",
                Severity::Warning,
                None,
                format!("{}: {}", status.mode, status.mode_why),
                "control comes back by itself when the cause is gone",
            );
        }
    }
    if let Some(row) = &brain.journal.last {
        for (limit, [value, max, min]) in s.site.limits.iter().zip(&row.limits) {
            if *value > *max || *value < *min {
                add(
                    &format!("limit-{}", limit.id),
                    Severity::Critical,
                    Some(row.at.0),
                    format!("{} is beyond its limit: {value:.1}", limit.name),
                    "leave auto and look at the plant",
                );
            }
        }
    }
    if core.ingest.clock().is_some() {
        for (i, finding) in brain.findings.iter().take(3).enumerate() {
            add(
                &format!("binding-{}", i + 1),
                Severity::Notice,
                None,
                finding.clone(),
                "mend the site file's selector, or the point's metadata",
            );
        }
    }
    if let (Some((at, news)), Some(now)) = (&brain.model_news, core.ingest.clock())
        && now - *at < Span::hours(24)
    {
        add("load-model", Severity::Notice, None, news.clone(), "none: the better of both is in force");
    }
    if let Some(f) = brain.forecasts.iter().find(|f| f.fallback.is_some()) {
        add(
            "forecast",
            Severity::Notice,
            None,
            format!("forecast of {}: {}", f.target, f.fallback.clone().unwrap_or_default()),
            "none: a naive forecast stands in",
        );
    }
    list.extend(ruled(s, core, is_up));
    list
}

/// What a site's silence is called and what to do about it, where it lasts; `age_s` is since its clock moved.
fn silent(clock: ClockSource, age_s: Option<f64>, pace: Span) -> Option<(&'static str, &'static str)> {
    age_s.filter(|a| *a > SILENT_S.max(2.5 * pace.as_secs_f64()))?;
    match clock {
        ClockSource::Bms => {
            Some(("the site's clock stands still: no heartbeat comes", "check the building management system's MQTT client"))
        }
        // What has spoken once may have been retained by the broker: its pace is not known yet.
        ClockSource::Host if pace == Span::ZERO => None,
        ClockSource::Host => Some(("nothing comes from the site", "check what publishes its points, and the site file's topic filters")),
        // Between two parts of a replay such a clock stands still, and nothing is wrong.
        ClockSource::Data => None,
    }
}

/// The site file's own rules.
fn ruled(s: &SiteShared, core: &Core, is_up: &dyn Fn(&str) -> bool) -> Vec<Condition> {
    let Some(now) = core.ingest.clock() else { return Vec::new() };
    let value = |role: &Role| {
        let points: Vec<_> = core.ingest.catalogue().select(&role.select).map(|p| (p.id, p.kind)).collect();
        let latest: Vec<_> = points.iter().map(|(id, _)| core.ingest.good(*id).copied()).collect();
        let kind = points.first()?.1;
        let aged = combine(&latest, role.combine, kind, now);
        aged.is_known().then_some((aged.value, kind.unit()))
    };
    let find = |name: &str| s.site.role(name).and_then(value);
    let judge = |rule: &Alert| {
        let id = format!("alert-{}", rule.id);
        let (v, unit) = find(&rule.role)?;
        let counted = match &rule.above {
            Some(role) => v - find(role)?.0,
            None => v,
        };
        let bound = if rule.max.is_some_and(|m| counted > m) { rule.max } else { rule.min.or(rule.max) }?;
        let severity = match rule.severity {
            AlertSeverity::Notice => Severity::Notice,
            AlertSeverity::Warning => Severity::Warning,
            AlertSeverity::Critical => Severity::Critical,
        };
        rule.holds(counted, is_up(&id)).then(|| Condition {
            id,
            severity,
            since: None,
            text: format!("{}: {counted:.1} {unit} (threshold {bound} {unit})", rule.name),
            action: rule.action.clone(),
            lasting: Span::seconds(i64::from(rule.for_s)),
        })
    };
    s.site.alerts.iter().filter_map(judge).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_told_in_the_words_of_the_clock_that_stands_still() {
        let minute = Span::minutes(1);
        let text = |clock, age_s: f64, pace| silent(clock, Some(age_s), pace).map(|s| s.0);
        assert!(text(ClockSource::Bms, 151.0, minute).is_some_and(|t| t.contains("heartbeat")));
        assert!(text(ClockSource::Host, 151.0, minute).is_some_and(|t| !t.contains("heartbeat")));
        assert_eq!(text(ClockSource::Host, 149.0, minute), None, "two and a half of its beats");
        assert_eq!(text(ClockSource::Host, 1e6, Span::ZERO), None, "its pace is not known");
        assert_eq!(text(ClockSource::Data, 1e6, minute), None);
        assert_eq!(silent(ClockSource::Bms, None, minute), None, "it has never spoken");
    }
}

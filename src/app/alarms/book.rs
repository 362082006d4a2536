//! Which alarms of a site are up, since when, and who has seen them.
//!
//! Words: a *condition* is what is wrong at this moment; it is *raised* as an alarm once it has lasted; an
//! *acknowledgement* says that somebody has seen it, and silences it for notifications until it has cleared.
//! Invariants: one alarm an identifier; a condition that flickers stays one alarm (it clears after [`CALM`] looks without
//! it); at most [`ALARMS_MAX`] are kept, the rest is counted ([`Book::left_out`]).
//! Absent by design: no clock: `now` and the pace of looks are the caller's.

use crate::api::model::{Alarm, Severity};
use crate::time::{Span, Timestamp};
use std::collections::BTreeMap;

/// Looks in a row without its condition before an alarm clears.
const CALM: u32 = 5;
/// Alarms of one site at once.
const ALARMS_MAX: usize = 200;

/// What is wrong now.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    pub id: String,
    pub severity: Severity,
    /// Since when, where the condition itself knows.
    pub since: Option<Timestamp>,
    pub text: String,
    pub action: String,
    /// How long it must last before it is raised.
    pub lasting: Span,
}

/// What a look changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Raised,
    Cleared,
}

struct Entry {
    first: Timestamp,
    raised: bool,
    calm: u32,
    alarm: Alarm,
}

/// The alarms of one site.
#[derive(Default)]
pub struct Book {
    entries: BTreeMap<String, Entry>,
    left_out: usize,
}

impl Book {
    /// Takes in what is wrong at `now`; returns what was raised or cleared.
    pub fn look(&mut self, now: Timestamp, conditions: Vec<Condition>) -> Vec<(Change, Alarm)> {
        let mut changes = Vec::new();
        self.left_out = 0;
        for entry in self.entries.values_mut() {
            entry.calm += 1;
        }
        for c in conditions {
            if !self.entries.contains_key(&c.id) && self.entries.len() >= ALARMS_MAX {
                self.left_out += 1;
                continue;
            }
            let entry = self.entries.entry(c.id.clone()).or_insert_with(|| Entry {
                first: c.since.unwrap_or(now),
                raised: false,
                calm: 0,
                alarm: Alarm {
                    id: c.id,
                    severity: c.severity,
                    since: None,
                    text: String::new(),
                    action: String::new(),
                    acknowledged_by: None,
                },
            });
            entry.calm = 0;
            let worse = rank(c.severity) > rank(entry.alarm.severity);
            entry.alarm = Alarm {
                severity: c.severity,
                since: Some(entry.first.0),
                text: c.text,
                action: c.action,
                // What has become worse wants to be seen again.
                acknowledged_by: entry.alarm.acknowledged_by.take().filter(|_| !worse),
                id: std::mem::take(&mut entry.alarm.id),
            };
            // `first` may be on the host's clock and `now` on a site's that stands still: what need not last is raised all the same.
            let lasted = c.lasting.0 == 0 || now - entry.first >= c.lasting;
            if (!entry.raised && lasted) || (entry.raised && worse) {
                entry.raised = true;
                changes.push((Change::Raised, entry.alarm.clone()));
            }
        }
        self.entries.retain(|_, e| {
            // What was never raised leaves no trace.
            let over = e.calm >= if e.raised { CALM } else { 1 };
            if over && e.raised {
                changes.push((Change::Cleared, e.alarm.clone()));
            }
            !over
        });
        changes
    }

    /// Conditions that the last look had no room for.
    pub fn left_out(&self) -> usize {
        self.left_out
    }

    /// Is an alarm up? Decides the hysteresis of its rule.
    pub fn is_up(&self, id: &str) -> bool {
        self.entries.get(id).is_some_and(|e| e.raised)
    }

    /// Somebody has seen it. None where no such alarm is up.
    pub fn acknowledge(&mut self, id: &str, who: &str) -> Option<Alarm> {
        let entry = self.entries.get_mut(id).filter(|e| e.raised)?;
        entry.alarm.acknowledged_by = Some(who.to_owned());
        Some(entry.alarm.clone())
    }

    /// The alarms that are up, worst first.
    pub fn up(&self) -> Vec<Alarm> {
        let mut list: Vec<Alarm> = self.entries.values().filter(|e| e.raised).map(|e| e.alarm.clone()).collect();
        list.sort_by_key(|a| (std::cmp::Reverse(rank(a.severity)), a.since));
        list
    }
}

fn rank(s: Severity) -> u8 {
    match s {
        Severity::Notice => 0,
        Severity::Warning => 1,
        Severity::Critical => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn condition(severity: Severity, lasting_s: i64) -> Condition {
        let lasting = Span::seconds(lasting_s);
        Condition { id: "leak".into(), severity, since: None, text: "wet".into(), action: "look".into(), lasting }
    }
    fn at(s: i64) -> Timestamp {
        Timestamp(s * 1000)
    }

    #[test]
    fn it_is_raised_once_it_has_lasted_and_cleared_once_calm() {
        let mut book = Book::default();
        assert!(book.look(at(0), vec![condition(Severity::Warning, 10)]).is_empty());
        assert!(book.up().is_empty());
        assert_eq!(book.look(at(10), vec![condition(Severity::Warning, 10)])[0].0, Change::Raised);
        assert_eq!(book.up()[0].since, Some(0), "since it began, not since it was raised");
        // A flicker is no second alarm.
        assert!(book.look(at(11), vec![]).is_empty());
        assert!(book.look(at(12), vec![condition(Severity::Warning, 10)]).is_empty());
        let cleared: Vec<_> = (13..13 + i64::from(CALM)).flat_map(|s| book.look(at(s), vec![])).collect();
        assert_eq!(cleared.len(), 1);
        assert!(book.up().is_empty());
        // What did not last leaves no trace.
        book.look(at(20), vec![condition(Severity::Warning, 10)]);
        assert!(book.look(at(21), vec![]).is_empty());
        assert!(book.look(at(31), vec![condition(Severity::Warning, 10)]).is_empty(), "it begins anew");
    }

    #[test]
    fn what_need_not_last_is_raised_on_a_clock_that_stands_still() {
        let mut book = Book::default();
        let broker = Condition { since: Some(at(100)), ..condition(Severity::Critical, 0) };
        assert_eq!(book.look(at(50), vec![broker])[0].0, Change::Raised);
        assert_eq!(book.up()[0].since, Some(100_000));
    }

    #[test]
    fn what_becomes_worse_is_raised_again_and_wants_to_be_seen_again() {
        let mut book = Book::default();
        book.look(at(0), vec![condition(Severity::Warning, 0)]);
        assert!(book.acknowledge("leak", "Maria").is_some() && book.acknowledge("fire", "Maria").is_none());
        assert!(book.look(at(1), vec![condition(Severity::Warning, 0)]).is_empty());
        assert_eq!(book.up()[0].acknowledged_by.as_deref(), Some("Maria"));
        assert_eq!(book.look(at(2), vec![condition(Severity::Critical, 0)]).len(), 1);
        assert_eq!(book.up()[0].acknowledged_by, None);
    }

    #[test]
    fn a_thousand_alarms_do_not_grow_memory() {
        let mut book = Book::default();
        let many = (0..1000).map(|i| Condition { id: format!("a{i}"), ..condition(Severity::Notice, 0) }).collect();
        assert_eq!(book.look(at(0), many).len(), ALARMS_MAX);
        assert_eq!(book.left_out(), 1000 - ALARMS_MAX);
    }
}

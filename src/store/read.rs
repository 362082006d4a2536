//! Reading: one walk over hot and sealed rows, day by day and point by point, for rows and for steps alike.
//!
//! Words: a *stretch* is a span of time with one sealed day, or with none. Within a stretch the points come in rising
//! order, so that each file is read once, front to back; over all, a point's rows come in order of time.
//! Steps are made where the rows are: of a sealed day's ready-made steps where they fit and the day has no late rows,
//! else of its rows. Memory: one row group, one point's rows of a day, and the rows that the head held at the beginning.

use super::embedded::Embedded;
use super::hot::{DAY, Hot};
use super::sealed::{Cursor, Tier};
use super::{Row, Step, Steps, StoreError};
use crate::reading::PointId;
use crate::time::{Span, Timestamp};
use std::collections::HashMap;
use std::sync::Arc;

/// What is seen of the hot rows from the beginning of a walk to its end.
pub(super) struct HotView {
    hot: Arc<Hot>,
    snapshot: fjall::Snapshot,
    number: u16,
    head: HashMap<PointId, Vec<Row>>,
}

impl HotView {
    /// Streams the hot rows of a point with `from <= at < to`, in order of time, until `f` says false: chunk by chunk, those of
    /// the head in their places. Returns what `f` said last.
    fn each(&self, point: PointId, from: Timestamp, to: Timestamp, f: &mut dyn FnMut(&[Row]) -> bool) -> Result<bool, StoreError> {
        let within = |rows: &[Row]| (rows.partition_point(|r| r.at < from), rows.partition_point(|r| r.at < to));
        let mut head: &[Row] = self.head.get(&point).map_or(&[], |h| {
            let (a, b) = within(h);
            &h[a..b.max(a)]
        });
        for chunk in self.hot.chunks(&self.snapshot, self.number, point, from, to) {
            let (_, chunk) = chunk?;
            let (a, b) = within(&chunk);
            let rows = &chunk[a..b.max(a)];
            let Some(last) = rows.last() else { continue };
            let before = head.partition_point(|r| r.stamp() < last.stamp());
            let (late, rest) = head.split_at(before);
            head = rest;
            let go_on = if late.is_empty() { f(rows) } else { f(&merged(rows, late)) };
            if !go_on {
                return Ok(false);
            }
        }
        Ok(head.is_empty() || f(head))
    }

    /// Hot rows of a point with `from <= at < to`, in order of time.
    pub fn rows(&self, point: PointId, from: Timestamp, to: Timestamp) -> Result<Vec<Row>, StoreError> {
        let mut all = Vec::new();
        self.each(point, from, to, &mut |rows| {
            all.extend_from_slice(rows);
            true
        })?;
        Ok(all)
    }
}

/// Two lists in order of time as one; of two rows of one instant the first list's stays.
pub(super) fn merged(first: &[Row], second: &[Row]) -> Vec<Row> {
    let mut out = Vec::with_capacity(first.len() + second.len());
    let mut rest = second;
    for row in first {
        let n = rest.partition_point(|r| r.stamp() < row.stamp());
        out.extend_from_slice(&rest[..n]);
        rest = &rest[n..];
        if rest.first().is_some_and(|r| r.stamp() == row.stamp()) {
            rest = &rest[1..];
        }
        out.push(*row);
    }
    out.extend_from_slice(rest);
    out
}

/// Rows, or steps that were made before.
enum Part<'a> {
    Rows(&'a [Row]),
    Steps(&'a [Step]),
}

impl Embedded {
    pub(super) fn view(&self, site: &str, points: &[PointId], from: Timestamp, to: Timestamp) -> Result<HotView, StoreError> {
        let hot = self.hot()?;
        self.with_site(site, |state, number, known| {
            // Under one lock: what leaves the head for a chunk between the two would be seen in neither.
            let snapshot = hot.snapshot();
            let waiting = state.head.of(number, known);
            let head = points.iter().filter_map(|p| Some((*p, waiting.get(p.0 as usize)?.range(from, to)))).filter(|(_, r)| !r.is_empty());
            Ok(HotView { snapshot, number, head: head.collect(), hot: Arc::clone(&hot) })
        })
    }

    /// The stretches of `from..to`, each with its sealed day.
    fn stretches(&self, site: &str, from: Timestamp, to: Timestamp) -> Result<Vec<(Timestamp, Timestamp, Option<String>)>, StoreError> {
        let mut out = Vec::new();
        let mut at = from;
        for day in self.sealed.all_days(site)? {
            let Some(start) = Timestamp::parse(&day) else { continue };
            let (a, b) = (start.max(at), (start + DAY).min(to));
            if a >= b {
                continue;
            }
            if at < a {
                out.push((at, a, None));
            }
            out.push((a, b, Some(day)));
            at = b;
        }
        if at < to {
            out.push((at, to, None));
        }
        Ok(out)
    }

    /// Calls `f` with the place of each point in `points` and its rows or steps, in order of time, until it says false.
    fn walk(
        &self,
        site: &str,
        points: &[PointId],
        from: Timestamp,
        to: Timestamp,
        step: Option<Span>,
        f: &mut dyn FnMut(usize, Part) -> bool,
    ) -> Result<(), StoreError> {
        let mut order: Vec<usize> = (0..points.len()).collect();
        order.sort_by_key(|i| points[*i]);
        // First what is hot, then the days: a day that is sealed meanwhile is seen in both, never in neither.
        let view = self.view(site, points, from, to)?;
        for (a, b, day) in self.stretches(site, from, to)? {
            let Some(day) = day else {
                for &i in &order {
                    if !view.each(points[i], a, b, &mut |rows| f(i, Part::Rows(rows)))? {
                        return Ok(());
                    }
                }
                continue;
            };
            let mut raw = Cursor::<Row>::open(&self.sealed.path(site, Tier::Raw, &day))?;
            // Where raw rows are kept of some points only, those have them, and the others have steps.
            let thinned = raw.as_ref().is_some_and(|r| r.table().note(super::retain::KEPT).is_some());
            let mut steps = match self.tier(site, &day, a, b, step, raw.is_some() && !thinned) {
                Some(tier) => Cursor::<Step>::open(&self.sealed.path(site, tier, &day))?,
                None => None,
            };
            for &i in &order {
                let point = points[i];
                let hot = view.rows(point, a, b)?;
                let ready = steps.as_mut().filter(|_| hot.is_empty());
                let go_on = match (ready, &mut raw) {
                    (Some(steps), None) => f(i, Part::Steps(steps.take(point, a, b)?)),
                    (Some(steps), Some(_)) if !thinned => f(i, Part::Steps(steps.take(point, a, b)?)),
                    (Some(steps), Some(raw)) => match raw.take(point, a, b)? {
                        [] => f(i, Part::Steps(steps.take(point, a, b)?)),
                        rows => f(i, Part::Rows(rows)),
                    },
                    (None, Some(raw)) => {
                        let sealed = raw.take(point, a, b)?;
                        if hot.is_empty() { f(i, Part::Rows(sealed)) } else { f(i, Part::Rows(&merged(sealed, &hot))) }
                    }
                    (None, None) => f(i, Part::Rows(&hot)),
                };
                if !go_on {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// The ready-made steps that serve a query: the coarsest that fit; where the raw rows are gone (or all but the meters'), the
    /// finest there are.
    fn tier(&self, site: &str, day: &str, a: Timestamp, b: Timestamp, step: Option<Span>, raw: bool) -> Option<Tier> {
        let step = step?;
        let there = |t: &Tier| self.sealed.has(site, *t, day);
        let whole = |t: &Tier| a.floor(t.step()) == a && b.floor(t.step()) == b;
        let fits = [Tier::Hour, Tier::FiveMinutes, Tier::Minute].into_iter().find(|t| t.serves(step) && whole(t) && there(t));
        fits.or_else(|| [Tier::Minute, Tier::FiveMinutes, Tier::Hour].into_iter().find(|t| !raw && there(t)))
    }

    pub(super) fn walk_rows(
        &self,
        site: &str,
        points: &[PointId],
        from: Timestamp,
        to: Timestamp,
        f: &mut dyn FnMut(PointId, &[Row]) -> bool,
    ) -> Result<(), StoreError> {
        self.walk(site, points, from, to, None, &mut |i, part| match part {
            Part::Rows([]) | Part::Steps(_) => true,
            Part::Rows(rows) => f(points[i], rows),
        })
    }

    pub(super) fn walk_series(
        &self,
        site: &str,
        points: &[PointId],
        from: Timestamp,
        to: Timestamp,
        step: Span,
        f: &mut dyn FnMut(PointId, &[Step]) -> bool,
    ) -> Result<(), StoreError> {
        let mut open: Vec<Steps> = points.iter().map(|_| Steps::new(step)).collect();
        let mut done = Vec::new();
        let mut stopped = false;
        self.walk(site, points, from, to, Some(step), &mut |i, part| {
            match part {
                Part::Rows(rows) => rows.iter().for_each(|r| open[i].push(*r)),
                Part::Steps(steps) => steps.iter().for_each(|s| open[i].push_step(s)),
            }
            open[i].drain(&mut done);
            stopped = !done.is_empty() && !f(points[i], &done);
            done.clear();
            !stopped
        })?;
        for (point, steps) in points.iter().zip(open) {
            let last = steps.finish();
            if stopped || (!last.is_empty() && !f(*point, &last)) {
                break;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reading::Quality;

    #[test]
    fn of_two_rows_of_one_instant_the_sealed_one_stays() {
        let rows = |list: &[(i64, f64)]| -> Vec<Row> {
            list.iter().map(|(t, v)| Row { at: Timestamp(*t), ns: 0, value: *v, quality: Quality::GOOD }).collect()
        };
        let both = merged(&rows(&[(1, 1.0), (3, 1.0), (5, 1.0)]), &rows(&[(0, 2.0), (3, 2.0), (4, 2.0), (9, 2.0)]));
        assert_eq!(both, rows(&[(0, 2.0), (1, 1.0), (3, 1.0), (4, 2.0), (5, 1.0), (9, 2.0)]));
    }
}

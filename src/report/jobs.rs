//! Jobs as the scheduler's accounting has them (`sacct`, or a Kubernetes batch log, exported to CSV).
//!
//! Columns: `job`, `partition`, `group` (account, project, anything that energy is charged to), `gpus`, `start`, `end`, `state`.
//! Times with an offset are instants; without one they are civil times of the site's zone. A job without an end still runs.

use super::account::Grid;
use crate::signal::SignalError;
use crate::signal::dated::instant;
use crate::signal::table::Table;
use crate::time::Timestamp;
use jiff::tz::TimeZone;
use std::path::Path;

/// One job.
#[derive(Clone, Debug, PartialEq)]
pub struct JobRow {
    pub job: String,
    pub partition: String,
    pub group: String,
    pub gpus: f64,
    pub start: Timestamp,
    pub end: Option<Timestamp>,
    pub state: String,
}

impl JobRow {
    /// GPU-hours by bin of the period.
    pub fn each(&self, grid: Grid, mut f: impl FnMut(usize, f64)) {
        let gpus = self.gpus;
        grid.pieces(self.start, self.end.unwrap_or(grid.to), |bin, a, b| f(bin, gpus * (b - a).as_hours_f64()));
    }
}

/// Reads a file of jobs.
pub fn load(path: &Path, zone: &TimeZone) -> Result<Vec<JobRow>, SignalError> {
    let table = Table::load(path)?;
    let columns = ["job", "partition", "group", "gpus", "start", "end", "state"];
    let mut at = [0; 7];
    for (slot, name) in at.iter_mut().zip(columns) {
        *slot = table.column(name, "jobs have the columns job, partition, group, gpus, start, end, state")?;
    }
    let [job, partition, group, gpus, start, end, state] = at;
    let time = |row: usize, column: usize| -> Result<Option<Timestamp>, SignalError> {
        let text = table.text(row, column);
        if text.is_empty() || text.eq_ignore_ascii_case("unknown") {
            return Ok(None);
        }
        instant(text, zone).map(Some).ok_or_else(|| table.cell(row, column, format!("{text:?} is no time")))
    };
    (0..table.len())
        .map(|i| {
            let text = |c| table.text(i, c).to_owned();
            let starts =
                time(i, start)?.ok_or_else(|| table.cell(i, start, "is empty; a job that has not started does not belong here".into()))?;
            Ok(JobRow {
                job: text(job),
                partition: text(partition),
                group: text(group),
                gpus: table.number(i, gpus)?,
                start: starts,
                end: time(i, end)?,
                state: text(state),
            })
        })
        .collect()
}

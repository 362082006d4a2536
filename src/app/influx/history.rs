//! History that the embedded store does not have, from InfluxDB 2.

use crate::influx::{Target, line, read};
use crate::site::Point;
use crate::store::Step;
use crate::time::{Span, Timestamp};
use std::time::Duration;
use tokio::runtime::Handle;

/// Longest time that a question may take; the API's own limit is 30 s, one request's 20 s.
const TIMEOUT: Duration = Duration::from_secs(25);

/// Asks one server.
#[derive(Clone, Debug)]
pub struct History {
    target: Target,
}

impl History {
    pub fn new(target: Target) -> History {
        History { target }
    }

    /// Steps of one point with `from <= at < to`. Blocks; needs a multi-thread runtime.
    pub fn series(&self, site: &str, point: &Point, from: Timestamp, to: Timestamp, step: Span) -> Result<Vec<Step>, String> {
        let asked = read::series(self.target.clone(), site.to_owned(), line::path_tag(point), from, to, step);
        let steps = self.ask(asked)?;
        let number = |n: u64, v: f64| if n > 0 { v } else { f64::NAN };
        Ok((steps.into_iter())
            .map(|(at, b)| Step {
                at,
                mean: number(b.count, b.sum / b.count.max(1) as f64),
                min: number(b.count, b.min),
                max: number(b.count, b.max),
                count: u32::try_from(b.count).unwrap_or(u32::MAX),
                quality: b.quality,
            })
            .collect())
    }

    /// The client unwraps what a server sends: its panic stays in the task and is an error here.
    fn ask<T: Send + 'static>(&self, asked: impl Future<Output = Result<T, String>> + Send + 'static) -> Result<T, String> {
        let handle = Handle::current();
        let task = handle.spawn(tokio::time::timeout(TIMEOUT, asked));
        match tokio::task::block_in_place(|| handle.block_on(task)) {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(format!("{} has not answered within {} s", self.target.url, TIMEOUT.as_secs())),
            Err(_) => Err(format!("{}: its answer is not what an InfluxDB 2 sends", self.target.url)),
        }
    }
}

//! InfluxDB 2, as a mirror of the readings and as a history that can be read.
//!
//! Words: a *series* is one point of one site, as a measurement (what is measured) with tags (site, object type, point type,
//! object, path); the [`Outbox`] is the queue on disk between the embedded store and the server; a *batch* is what one
//! request carries.
//!
//! ```text
//! store ──► Outbox (arrival order, survives kill -9) ──► line ──► write ──► /api/v2/write     (the task is app's)
//! question ──► flux ──► read (crate influxdb2) ──► /api/v2/query ──► steps
//! ```
//!
//! Invariants: a reading is in the outbox only after the store has it, and leaves it only after the server has it; sending
//! twice is harmless, since (series, timestamp) is the server's key; no job or step identifier becomes a tag; every text that
//! comes from outside is escaped in one place, [`line`] or [`flux`]; queues and answers are bounded.
//!
//! What the crate `influxdb2` 0.5 is used for and what not: it reads (`query_raw`, [`read`]) and tells health. It does not
//! write, because it compresses only streams of its own points, keeps the header `Retry-After` from its caller, and leaves
//! line breaks and a trailing backslash in tags unescaped; [`write`] is a request of `ureq`, which is here anyway. It
//! unwraps what a server sends (an empty number, a broken CSV) and so panics: [`read`] is called in a task of its own, where a
//! panic is an error like any other.

pub mod flux;
pub mod line;
mod outbox;
pub mod read;
pub mod write;

pub use outbox::{Batch, Cursor, Outbox, OutboxReader};

/// Where the server is and who we are to it.
#[derive(Clone, PartialEq, Eq)]
pub struct Target {
    /// `http://host:8086` or `https://…`, without a path.
    pub url: String,
    pub org: String,
    pub bucket: String,
    pub token: String,
    /// PEM text of the authority that signed the server's certificate; the public ones where absent.
    pub authority: Option<String>,
}

/// The token never shows.
impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} org {:?} bucket {:?}", self.url, self.org, self.bucket)
    }
}

//! Wire formats: bytes to meaning. How a payload is decoded is chosen by the site's topic filter, never by sniffing.
//!
//! Invariants: every decoder is pure and total (no input panics, nothing is dropped without a reason); a refusal's reason
//! is a static text, so that counters stay bounded; the unit is converted here, once.

pub mod dsx;

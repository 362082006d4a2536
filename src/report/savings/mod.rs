//! What was saved: metered energy of a reporting period against what a model of a baseline period says that it would have been.
//!
//! Method: IPMVP Core Concepts 2022, option B (the cooling plant's meters) or C (the site's), adjusted by regression; gates of
//! ASHRAE Guideline 14-2014 on hourly data. Words: a *row* is an hour with energy, load and weather, all measured; *baseline* rows
//! are from before the change, *reporting* rows from after it; a *fold* is a block of days that a fit did not see.
//!
//! The interval: variance of the sum of hourly errors over the reporting period, by the long-run variance of the folds' daily
//! errors (their autocorrelation included), and that of the coefficients, by a covariance that stands up to autocorrelation
//! (Newey & West 1987, on daily scores), and the spread between the forms that do about as well on days that no fit saw; all on the
//! baseline alone; Student's t of the days.
//! Invariants: nothing of the reporting period chooses the model; where a gate fails, no saving is stated, and the reasons are.

mod fit;
mod reconcile;
mod verdict;

pub use fit::{Fit, Form, Row};
pub use reconcile::Reconciliation;
pub use verdict::{Gates, Limits, Month, Verdict, verify};

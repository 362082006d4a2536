//! Where and when to place jobs: the least energy under every limit of plant, power and network.
//!
//! ```text
//! view + model + racks -> outlook (what a load costs, what can be cooled, per slot) -> board (racks, caps, bands)
//! boards + jobs        -> problem -> solve -> ranked places        board -> shed (what to take off before a limit)
//! ```
//!
//! Words: a *board* is one site's state for placing, with a time limit; an *ask* is a job; a *slot* is one step of the
//! outlook. Two sites are one problem with two boards; a site without a fresh board is left out, and the other stands
//! alone.
//! Invariants: nothing here is served beyond its end; constraints are hard; the same inputs give the same places; the
//! search is bounded by counted work, never by a clock; every schedule can be checked by [`audit`], which shares no code
//! with the search.

pub mod audit;
pub mod board;
pub mod outlook;
pub mod price;
pub mod problem;
pub mod rank;
pub mod shed;
pub mod solve;
pub mod state;

pub use board::{Board, BoardRack, RackView, VALID};
pub use outlook::Outlook;
pub use price::PriceTrack;
pub use rank::{JobAsk, rank};

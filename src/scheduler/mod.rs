//! Placement hints in the words of Slurm and Kubernetes: what to set, what a message asks, what to answer.
//!
//! Words: a node's *band* is its rack's, 1 = best … 5 = no room; a *keeper* holds the bands that nodes carry in Slurm and
//! what they carried before.
//! Invariants: hints past their end give nothing; every change can be taken back, because the original is kept first; a
//! node changes its band at most once in [`slurm::keeper::DWELL`].
//! Absent by design: nothing here talks to a scheduler, reads a clock or a file; `app` does.

pub mod kubernetes;
pub mod slurm;

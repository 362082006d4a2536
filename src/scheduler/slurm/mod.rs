//! Slurm: its nodes and jobs as its commands print them, and the weights that we keep on nodes.

pub mod job;
pub mod keeper;
pub mod licence;
pub mod node;

pub use job::Job;
pub use keeper::{Change, Keeper};
pub use node::Node;

//! The `tramuntana` command.
fn main() {}

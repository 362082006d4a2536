//! placeholder
use super::cli::DemoArgs;
pub fn run(_: DemoArgs) -> Result<(), String> { Err(String::new()) }
pub fn redraw(_: &std::path::Path, _: &std::path::Path) -> Result<(), String> { Err(String::new()) }

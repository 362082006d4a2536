//! The `tramuntana` command: everything is in the library's `app`.

fn main() -> std::process::ExitCode {
    tramuntana::app::main()
}

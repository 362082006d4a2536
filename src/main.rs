//! The `tramuntana` command: everything is in the library's `app`.

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    tramuntana::app::main()
}

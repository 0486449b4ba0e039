//! A shim alone, for machines and tests that do not run it out of the platform's own binary.

fn main() {
    runtime::shim_main(std::env::args_os().skip(1))
}

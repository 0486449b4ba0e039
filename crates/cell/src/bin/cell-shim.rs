//! A shim alone, for tests of this crate: the platform's binary is its own shim.

fn main() {
    runtime::shim_main(std::env::args_os().skip(1))
}

//! The process that unpacks, alone, for tests and benchmarks of this crate: the platform's binary is its own.

fn main() {
    rootfs::unpack_main(std::env::args_os().skip(1))
}

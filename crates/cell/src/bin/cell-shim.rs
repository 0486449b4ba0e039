//! The processes a cell starts, alone, for tests of this crate: the platform's binary is its own.

fn main() {
    let mut args = std::env::args_os().skip(1);
    match args.next() {
        Some(what) if what == "unpack" => cell::unpack_main(args),
        _ => cell::shim_main(args),
    }
}

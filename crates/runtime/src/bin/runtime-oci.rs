//! The OCI command line alone, for tests; the platform's own binary has it as `slipway runtime`.

fn main() {
    runtime::command_main(&["runtime-oci"], std::env::args_os().skip(1))
}

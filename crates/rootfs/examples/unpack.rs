//! Times one unpacking, or the decompression alone that bounds it from below.
//!
//! ```text
//! unpack layer STORE BLOB DIFF-ID     unpacks a blob into a store, as the daemon does
//! unpack floor BLOB                   decompresses it, on one thread, to nowhere
//! ```
//!
//! Prints seconds of wall clock and of CPU time, of this process and of those it started.

use std::error::Error;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use model::{Compression, Digest, Layer};
use rootfs::{LayerStore, Origin, UnpackLimits, Unpacker};

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    let words: Vec<&str> = args.iter().filter_map(|arg| arg.to_str()).collect();
    let begin = Instant::now();
    match words.as_slice() {
        ["unpack", ..] => rootfs::unpack_main(args.into_iter().skip(1)),
        ["layer", store, blob, diff_id] => layer(Path::new(store), Path::new(blob), &diff_id.parse()?)?,
        ["floor", blob] => {
            let blob = io::BufReader::with_capacity(256 << 10, File::open(blob)?);
            let mut plain = flate2::bufread::MultiGzDecoder::new(blob);
            let mut chunk = vec![0; 256 << 10];
            while io::Read::read(&mut plain, &mut chunk)? > 0 {}
        }
        _ => return Err("usage: unpack layer STORE BLOB DIFF-ID | unpack floor BLOB".into()),
    }
    let wall = begin.elapsed();
    println!("wall={:.3} cpu={:.3}", wall.as_secs_f64(), cpu()?.as_secs_f64());
    Ok(())
}

fn layer(store: &Path, blob: &Path, diff_id: &Digest) -> Result<(), Box<dyn Error>> {
    let unpacker = Unpacker::new(vec!["/proc/self/exe".into(), "unpack".into()]);
    let store = LayerStore::open(store, unpacker)?;
    let layer = Layer {
        digest: diff_id.clone(),
        diff_id: diff_id.clone(),
        size: fs::metadata(blob)?.len(),
        compression: Compression::Gzip,
    };
    let origin = Origin::new("bench/layer").ok_or("not a name")?;
    let limits = UnpackLimits {
        max_bytes: 16 << 30,
        max_entries: 2_000_000,
    };
    store.unpack(&layer, &origin, File::open(blob)?, limits)?;
    Ok(())
}

/// CPU time of this process and of its children that ended, from fields 14 to 17 of `/proc/self/stat`, in ticks of
/// 10 ms.
fn cpu() -> io::Result<Duration> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let (_, rest) = stat.rsplit_once(')').unwrap_or_default();
    let ticks = rest.split_ascii_whitespace().skip(11).take(4);
    Ok(Duration::from_millis(
        ticks.filter_map(|ticks| ticks.parse::<u64>().ok()).sum::<u64>() * 10,
    ))
}

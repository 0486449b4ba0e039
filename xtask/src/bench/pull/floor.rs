//! What no pull can go below: the layers inflated into nothing, at the parallelism of the layers.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Context;

use crate::bench::process;

const CHUNK: usize = 128 * 1024;

/// Inflates the files, as many at a time as there are CPUs, with the library the platform unpacks layers with.
///
/// # Errors
/// When a file cannot be read or is no gzip.
pub fn inflate(files: &[&str]) -> anyhow::Result<()> {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let work = || -> anyhow::Result<()> {
            while let Some(file) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
                inflate_one(Path::new(file)).with_context(|| format!("cannot inflate {file}"))?;
            }
            Ok(())
        };
        let threads: Vec<_> = (0..process::cpus().min(files.len()))
            .map(|_| scope.spawn(work))
            .collect();
        threads.into_iter().try_for_each(|thread| {
            thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    })
}

fn inflate_one(file: &Path) -> anyhow::Result<()> {
    let packed = BufReader::with_capacity(CHUNK, File::open(file)?);
    let mut plain = flate2::bufread::MultiGzDecoder::new(packed);
    let mut buffer = vec![0; CHUNK];
    while plain.read(&mut buffer)? > 0 {}
    Ok(())
}

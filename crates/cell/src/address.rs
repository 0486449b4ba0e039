//! An instance's address before its container exists: the environment names it, and is fixed when the container is
//! made, but the network gives addresses to network namespaces only.
//!
//! So it is attached to a namespace that lives for a moment; the network keeps the address for the same id when it
//! moves into the container.

use std::net::Ipv4Addr;
use std::sync::mpsc;
use std::thread;

use network::{Error, Network};

/// The address container `id` will have. Blocks for some milliseconds.
pub(crate) fn reserve(network: &Network, id: &str) -> Result<Ipv4Addr, Error> {
    let failed = |source| Error::System {
        what: "make a network namespace for a moment",
        source,
    };
    thread::scope(|scope| {
        let (tell, told) = mpsc::sync_channel(1);
        let (done, until) = mpsc::sync_channel::<()>(1);
        // A thread of its own: it cannot go back to where it was, and takes the namespace with it.
        let holder = thread::Builder::new().name("address".to_owned());
        let held = holder.spawn_scoped(scope, move || {
            let made = sys::netns::unshare().map(|()| rustix::thread::gettid().as_raw_nonzero().get());
            // Whoever asked waits for both, and ends this by dropping its end.
            let _ = tell.send(made);
            let _ = until.recv();
        });
        held.map_err(failed)?;
        let made = told.recv().expect("the thread tells before it ends");
        let thread = u32::try_from(made.map_err(failed)?).unwrap_or(0);
        let attached = network.attach(id, thread);
        drop(done);
        attached.map(|attached| attached.address)
    })
}

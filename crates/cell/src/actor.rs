//! The one task that acts on an instance, from acceptance to its end. `phase` has the drawing.
//!
//! Others only signal: `stop`, and `hurry` for those who cannot wait out the grace period. When the daemon ends, this
//! task is dropped wherever it is; the container goes on, and `recovery` picks it up.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use base::Report;
use runtime::{ExitCause, State};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};
use wire::v1;

use crate::container::{self, LOG_POSITION};
use crate::elapsed;
use crate::health::{
    Budget, Check, First, Never, follow_readiness, listening_hint, until_healthy, until_unhealthy,
};
use crate::host::Host;
use crate::instance::Instance;
use crate::layers::Wanted;
use crate::logs::{Output, Pump, Stream};
use crate::outcome::{self, Failure, Why};
use crate::phase::{Event, Phase, Readiness};

/// How long routers have to see that an instance is not ready any more, before it is asked to end.
const DRAIN: Duration = Duration::from_millis(100);
/// Pause between looks at the requests in flight.
const DRAIN_LOOK: Duration = Duration::from_millis(50);
/// Longest wait for requests in flight. Streams and sockets that stay open are cut when the program ends.
const LONGEST_DRAIN: Duration = Duration::from_secs(5);
/// Between SIGTERM and SIGKILL, unless the spec says more (diego-release:jobs/rep/spec).
const GRACE: Duration = Duration::from_secs(10);
/// How long a killed container may take to be gone.
const KILLED_WITHIN: Duration = Duration::from_secs(30);
/// Between attempts to hear of a container's end.
const RETRY: Duration = Duration::from_secs(1);

/// Where an actor begins.
#[derive(Clone, Debug)]
pub(crate) enum Begin {
    /// Nothing of it exists, or what exists is half made and goes first.
    Anew,
    /// Its program runs, or ran until a moment ago; the address when it is known.
    Adopted(Option<Ipv4Addr>),
    /// It has ended like this; what is left of it goes.
    Over(v1::Exit),
}

/// Runs an instance to its end.
pub(crate) async fn live(host: Arc<Host>, instance: Arc<Instance>, begin: Begin) {
    let actor = Actor { host, instance };
    let exit = match begin {
        Begin::Anew => actor.bring_up().await,
        Begin::Adopted(address) => actor.resume(address).await,
        Begin::Over(exit) => exit,
    };
    actor.finish(exit).await;
}

struct Actor {
    host: Arc<Host>,
    instance: Arc<Instance>,
}

/// How a container's program ended, and what is to be said about it.
struct End {
    exit: runtime::Exit,
    why: Why,
    note: String,
}

impl Actor {
    /// From acceptance to the end.
    async fn bring_up(&self) -> v1::Exit {
        let (id, guid) = (&self.host.settings.cell_id, self.instance.guid());
        self.say(&format!("Cell {id} creating container for instance {guid}"));
        match self.make().await {
            Ok(Some(address)) => {
                self.say(&format!(
                    "Cell {id} successfully created container for instance {guid}"
                ));
                self.run(address).await
            }
            Ok(None) => outcome::stopped_early(),
            Err(failure) => {
                let reason = &failure.reason;
                self.say(&format!(
                    "Cell {id} failed to create container for instance {guid}: {reason}"
                ));
                info!(instance = guid, reason, "an instance could not be started");
                failure.exit()
            }
        }
    }

    /// Layers and container; `None` when a stop came in between.
    async fn make(&self) -> Result<Option<Ipv4Addr>, Failure> {
        let (host, instance) = (&self.host, &self.instance);
        instance.advance(host, Event::Fetch).await;
        let image = instance.spec.image.clone().unwrap_or_default();
        let tell = |text: &str| self.say(text);
        let fetched = host.fetcher.ensure(Wanted {
            image: &image,
            layers: &instance.layers,
            disk_bytes: instance.disk_bytes(),
            tell: &tell,
        });
        // Cancel-safe: see `ensure`.
        let fetched = tokio::select! {
            biased;
            () = instance.stop.cancelled() => return Ok(None),
            fetched = fetched => fetched,
        };
        fetched?;
        instance.drop_secrets();
        instance.advance(host, Event::Prepare).await;
        if instance.stop.is_cancelled() {
            return Ok(None);
        }
        let address = container::build(host, instance).await?;
        Ok((!instance.stop.is_cancelled()).then_some(address))
    }

    /// Starts the program of a container that was made, and attends to it.
    async fn run(&self, address: Ipv4Addr) -> v1::Exit {
        let output = self.pump();
        // Noted before it happens: what ended without this note never ran.
        self.instance.advance(&self.host, Event::Start(address)).await;
        match self.host.runtime.start(self.instance.guid()).await {
            // How it failed is in the container's exit record.
            Ok(()) | Err(runtime::Error::Start { .. }) => {}
            Err(error) => {
                let reason = format!("failed to start container: {}", Report(&error));
                return Failure::platform(reason).exit();
            }
        }
        self.attend(address, output, First::AfterInterval).await
    }

    /// Goes on with a container of an earlier daemon, in whatever phase it was.
    async fn resume(&self, address: Option<Ipv4Addr>) -> v1::Exit {
        let output = self.pump();
        let address = self
            .repair_network()
            .await
            .or(address)
            .unwrap_or(Ipv4Addr::UNSPECIFIED);
        if self.instance.phase().address().is_none() && !self.instance.stop.is_cancelled() {
            // It was started by the daemon before, which did not get to note it.
            for event in [Event::Fetch, Event::Prepare, Event::Start(address)] {
                self.instance.advance(&self.host, event).await;
            }
        }
        self.attend(address, output, First::AtOnce).await
    }

    async fn repair_network(&self) -> Option<Ipv4Addr> {
        let State::Running { pid, .. } = self.host.runtime.state(self.instance.guid()).await.ok()? else {
            return None;
        };
        match container::reattach(&self.host, self.instance.guid(), pid).await {
            Ok(address) => Some(address),
            Err(error) => {
                let guid = self.instance.guid();
                warn!(instance = guid, error = %Report(&error), "cannot repair the network of an instance");
                None
            }
        }
    }

    /// From the running program to its end.
    async fn attend(&self, address: Ipv4Addr, output: Output, first: First) -> v1::Exit {
        let end = self.watch(address, first).await;
        let last_lines = output.last_lines().await;
        let line = outcome::exit_line(&end.exit, &end.note);
        self.instance.voice.aside(&line, Stream::Out);
        outcome::ended(self.instance.voice.app_source(), &end.why, &end.exit, last_lines)
    }

    /// Health from the first check on, until the program has ended, for whatever reason.
    async fn watch(&self, address: Ipv4Addr, first: First) -> End {
        let spec = &self.instance.spec;
        let alive = Check::new(spec.health_check.as_ref(), &spec.ports, address);
        let ready = Check::new(spec.readiness_check.as_ref(), &spec.ports, address);
        if matches!(self.instance.phase(), Phase::Starting { .. }) {
            // Cancel-safe, all three: each only waits and asks.
            tokio::select! {
                biased;
                exit = self.exited() => return self.by_itself(exit),
                () = self.instance.stop.cancelled() => return self.stop().await,
                healthy = self.become_healthy(&alive) => {
                    if let Err(reason) = healthy {
                        return self.give_up(reason).await;
                    }
                }
            }
            let readiness = if ready.asks() {
                Readiness::NotReady
            } else {
                Readiness::Ready
            };
            self.instance.advance(&self.host, Event::Healthy(readiness)).await;
        }
        if self.instance.stop.is_cancelled() {
            return self.stop().await;
        }
        self.keep_watch(&alive, &ready, first).await
    }

    /// A healthy instance, until its end.
    async fn keep_watch(&self, alive: &Check, ready: &Check, first: First) -> End {
        let initial = match self.instance.phase().readiness() {
            Readiness::Ready => Ok(Readiness::Ready),
            Readiness::NotReady => Err(String::new()),
        };
        if ready.asks() {
            self.say("Starting readiness health monitoring of container");
        }
        let (sender, mut changes) = watch::channel(initial);
        let mut exited = std::pin::pin!(self.exited());
        let mut unhealthy = std::pin::pin!(until_unhealthy(alive, first));
        let mut readiness = std::pin::pin!(follow_readiness(ready, &sender));
        loop {
            // Cancel-safe: the pinned futures live on, `changed` and `cancelled` say so.
            tokio::select! {
                biased;
                exit = &mut exited => return self.by_itself(exit),
                () = self.instance.stop.cancelled() => return self.stop().await,
                reason = &mut unhealthy => {
                    self.instance.voice.health(&format!("Liveness check unsuccessful: {reason}"));
                    self.say("Container became unhealthy");
                    return self.give_up(format!("Instance became unhealthy: {reason}")).await;
                }
                Ok(()) = changes.changed() => {
                    let answer = changes.borrow_and_update().clone();
                    self.tell_readiness(answer).await;
                }
                () = &mut readiness => {}
            }
        }
    }

    async fn tell_readiness(&self, answer: Result<Readiness, String>) {
        let readiness = match answer {
            Ok(readiness) => {
                self.say(
                    "Container passed the readiness health check. Container marked ready and added to route pool.",
                );
                readiness
            }
            Err(reason) => {
                self.instance
                    .voice
                    .health(&format!("Readiness check unsuccessful: {reason}"));
                self.say(
                    "Container failed the readiness health check. Container marked not ready and removed from route \
                     pool.",
                );
                Readiness::NotReady
            }
        };
        self.instance.advance(&self.host, Event::Ready(readiness)).await;
    }

    /// The first health check, or why it never passed.
    async fn become_healthy(&self, check: &Check) -> Result<(), String> {
        let budget = match self.instance.spec.start_timeout_ms {
            0 => model::HealthCheck::START_TIMEOUT,
            millis => Duration::from_millis(millis),
        };
        self.say("Starting health monitoring of container");
        let Err(Never { attempts, last }) = until_healthy(check, Budget(budget)).await else {
            self.say("Container became healthy");
            return Ok(());
        };
        let after = elapsed::text(budget);
        let hint = self.hint(check).await;
        self.instance.voice.health(&format!(
            "Timed out after {after} ({attempts} attempts) waiting for startup check to succeed: {last}{hint}"
        ));
        self.say(&format!(
            "Failed after {after}: startup health check never passed."
        ));
        Err(format!("Instance never healthy after {after}: {last}{hint}"))
    }

    /// What the app listens on instead, if that explains something.
    async fn hint(&self, check: &Check) -> String {
        let state = self.host.runtime.state(self.instance.guid()).await;
        let Ok(State::Running { pid, .. }) = state else {
            return String::new();
        };
        let pid = u32::try_from(pid).unwrap_or(0);
        let listening = self.host.blocking(move |_| network::listening_ports(pid)).await;
        listening.map_or(String::new(), |listening| {
            listening_hint(&check.ports(), &listening)
        })
    }

    fn by_itself(&self, exit: runtime::Exit) -> End {
        let (why, note) = (Why::Exited, String::new());
        End { exit, why, note }
    }

    /// Ends an instance that is not well: no requests any more, then as for a stop.
    async fn give_up(&self, reason: String) -> End {
        if self.instance.phase().readiness() == Readiness::Ready {
            let not_ready = Event::Ready(Readiness::NotReady);
            self.instance.advance(&self.host, not_ready).await;
        }
        let (exit, note) = self.end_program().await;
        let why = Why::Unhealthy(reason);
        End { exit, why, note }
    }

    /// Ends an instance that was asked to: first the routers, then the program.
    async fn stop(&self) -> End {
        let was_ready = self.instance.phase().readiness() == Readiness::Ready;
        let (id, guid) = (&self.host.settings.cell_id, self.instance.guid());
        self.say(&format!("Cell {id} stopping instance {guid}"));
        self.instance.advance(&self.host, Event::Stop).await;
        if was_ready {
            self.drain().await;
        }
        let (exit, note) = self.end_program().await;
        let why = Why::Stopped;
        End { exit, why, note }
    }

    /// Lets requests in flight finish: no router sends new ones by now, and routers have closed idle connections.
    async fn drain(&self) {
        let ports: Vec<u16> = self
            .instance
            .spec
            .ports
            .iter()
            .filter_map(|port| u16::try_from(*port).ok())
            .collect();
        let Ok(State::Running { pid, .. }) = self.host.runtime.state(self.instance.guid()).await else {
            return;
        };
        let pid = u32::try_from(pid).unwrap_or(0);
        let drained = async {
            sleep(DRAIN).await;
            loop {
                let ports = ports.clone();
                let served = self
                    .host
                    .blocking(move |_| network::connections_served(pid, &ports))
                    .await;
                if served.is_ok_and(|count| count > 0) {
                    sleep(DRAIN_LOOK).await;
                } else {
                    return;
                }
            }
        };
        // Cancel-safe, both: nothing but looking and waiting.
        tokio::select! {
            _ = timeout(LONGEST_DRAIN, drained) => {}
            () = self.instance.hurry.cancelled() => {}
        }
    }

    /// Signal, grace, kill. The note says when the grace was not enough.
    async fn end_program(&self) -> (runtime::Exit, String) {
        let guid = self.instance.guid();
        match self.host.runtime.stop(guid).await {
            Ok(()) => {}
            Err(runtime::Error::State { .. }) => debug!(instance = guid, "the program has ended already"),
            // Its end is waited for in vain then, and it is killed.
            Err(error) => warn!(instance = guid, error = %Report(&error), "cannot ask a program to end"),
        }
        let grace = match self.instance.spec.grace_ms {
            0 => GRACE,
            millis => Duration::from_millis(millis),
        };
        // Cancel-safe, all three: nothing but waiting.
        tokio::select! {
            biased;
            exit = self.exited() => return (exit, String::new()),
            () = sleep(grace) => {}
            () = self.instance.hurry.cancelled() => {}
        }
        if let Err(error) = self.host.runtime.kill(guid).await {
            warn!(instance = guid, error = %Report(&error), "cannot kill a container; removing it");
        }
        let note = format!(" (exceeded {} graceful shutdown interval)", elapsed::text(grace));
        match timeout(KILLED_WITHIN, self.exited()).await {
            Ok(exit) => (exit, note),
            Err(_) => (self.lost(), note),
        }
    }

    /// How the program ended. Cancel-safe.
    async fn exited(&self) -> runtime::Exit {
        loop {
            match self.host.runtime.wait(self.instance.guid()).await {
                Ok(exit) => return exit,
                Err(runtime::Error::NotFound { .. }) => return self.lost(),
                Err(error) => {
                    let guid = self.instance.guid();
                    warn!(instance = guid, error = %Report(&error), "cannot wait for a container; trying again");
                    sleep(RETRY).await;
                }
            }
        }
    }

    /// The end of a container nobody saw end.
    fn lost(&self) -> runtime::Exit {
        runtime::Exit {
            cause: ExitCause::Lost,
            out_of_memory: false,
            at: self.host.settings.clock.now(),
        }
    }

    /// Keeps the end, leaves nothing, tells it.
    async fn finish(&self, exit: v1::Exit) {
        let (host, instance) = (&self.host, &self.instance);
        let (id, guid) = (&host.settings.cell_id, instance.guid());
        instance.keep_end(host, &exit).await;
        let used = Arc::clone(instance);
        host.blocking(move |host| host.note_use(&used)).await;
        self.say(&format!("Cell {id} destroying container for instance {guid}"));
        if container::dismantle(host, guid).await.is_ok() {
            self.say(&format!(
                "Cell {id} successfully destroyed container for instance {guid}"
            ));
            // Ids of something that may still be there are nobody else's.
            host.ids.release(instance.first_host_id);
        }
        instance.advance(host, Event::End(exit)).await;
        instance.ended.cancel();
    }

    fn pump(&self) -> Output {
        let instance = &self.instance;
        let pump = Pump {
            runtime: self.host.runtime.clone(),
            id: instance.guid().to_owned(),
            voice: instance.voice.clone(),
            meter: Arc::clone(&instance.meter),
            note: instance.dir.join(LOG_POSITION),
            bytes_per_second: instance.spec.log_rate_limit_bytes_per_second,
        };
        pump.start(&self.host.tasks)
    }

    fn say(&self, text: &str) {
        self.instance.voice.cell(text);
    }
}

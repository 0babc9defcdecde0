//! Signals of a running gateway, on a thread of their own: the workers may all be busy or blocked when one comes.
//!
//! SIGTERM and SIGINT ask for a drain; the second of them ends the process at once with the account. SIGHUP
//! has the configuration read again. SIGQUIT tells what every task waits for and goes on. SIGUSR1 and SIGUSR2, whose default
//! is death without a word, are answered with a line.

use std::io;
use std::process;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::cli::Exit;
use crate::core::stage::host::Host;
use crate::telemetry::{balance, waits};

/// How long the last line may take to be written: standard error may be a pipe that nobody reads.
const LAST_LINE: Duration = Duration::from_secs(1);

/// Which signal asked for the end; nothing until one does.
#[derive(Clone)]
pub struct StopSignal(watch::Receiver<Option<&'static str>>);

impl StopSignal {
    /// Until SIGTERM or SIGINT came; its name.
    pub async fn asked(&mut self) -> &'static str {
        match self.0.wait_for(Option::is_some).await {
            Ok(name) => name.unwrap_or_default(),
            // The listening thread lives as long as the process.
            Err(_) => std::future::pending().await,
        }
    }
}

/// Counts SIGHUPs. Several that come before anybody looks are one.
pub struct HangUps(watch::Receiver<u64>);

impl HangUps {
    /// Until one came since the last look.
    pub async fn next(&mut self) {
        if self.0.changed().await.is_err() {
            // The listening thread lives as long as the process.
            std::future::pending::<()>().await;
        }
    }
}

/// Begins to listen; returns once no signal can end the process unheard.
pub fn listen(host: Arc<Host>) -> io::Result<(StopSignal, HangUps)> {
    let (stop, asked) = watch::channel(None);
    let (hung_up, hang_ups) = watch::channel(0);
    let (ready, is_ready) = std::sync::mpsc::sync_channel(1);
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
        match runtime.and_then(|runtime| Listener::new(&runtime).map(|listener| (runtime, listener))) {
            Ok((runtime, listener)) => {
                let _ = ready.send(Ok(()));
                runtime.block_on(listener.run(&host, &stop, &hung_up));
            }
            Err(error) => drop(ready.send(Err(error))),
        }
    })?;
    is_ready.recv().map_err(io::Error::other)??;
    Ok((StopSignal(asked), HangUps(hang_ups)))
}

struct Listener {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
    quit: Signal,
    user1: Signal,
    user2: Signal,
}

impl Listener {
    fn new(runtime: &tokio::runtime::Runtime) -> io::Result<Listener> {
        let _context = runtime.enter();
        Ok(Listener {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
            quit: signal(SignalKind::quit())?,
            user1: signal(SignalKind::user_defined1())?,
            user2: signal(SignalKind::user_defined2())?,
        })
    }

    async fn run(mut self, host: &Host, stop: &watch::Sender<Option<&'static str>>, hung_up: &watch::Sender<u64>) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => end("SIGTERM", host, stop),
                _ = self.interrupt.recv() => end("SIGINT", host, stop),
                _ = self.hang_up.recv() => {
                    tracing::info!("SIGHUP: the configuration is read again");
                    hung_up.send_modify(|count| *count += 1);
                }
                _ = self.quit.recv() => {
                    tracing::info!("SIGQUIT: this is what every task waits for; podgate keeps running");
                    waits::lines(host).iter().for_each(|line| tracing::info!("{line}"));
                }
                _ = self.user1.recv() => nothing_bound("SIGUSR1"),
                _ = self.user2.recv() => nothing_bound("SIGUSR2"),
            }
        }
    }
}

fn nothing_bound(name: &str) {
    tracing::info!("{name}: does nothing here; SIGQUIT tells what every task waits for, SIGTERM drains and ends");
}

/// The first asks for the drain, the next ends the process.
fn end(name: &'static str, host: &Host, stop: &watch::Sender<Option<&'static str>>) {
    if stop.send_if_modified(|asked| asked.replace(name).is_none()) {
        return tracing::info!("{name}: draining; a second signal exits at once");
    }
    let sheets = host.balance.sheets();
    let exit = if sheets.values().any(|sheet| sheet.lost_at_stop() > 0) { Exit::Lost } else { Exit::Ok };
    // Whoever asks twice is not kept waiting by a standard error that is full.
    let _ = thread::Builder::new().spawn(move || {
        thread::sleep(LAST_LINE);
        process::exit(exit as i32)
    });
    tracing::warn!("{name} again: exiting at once; what is held in memory is lost");
    tracing::info!("{}", balance::line(&sheets));
    process::exit(exit as i32)
}

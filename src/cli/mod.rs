//! The command line: one file per subcommand. Prints through `telemetry::stdout`; exit codes in one place.

pub mod accept;
pub mod ask;
mod authenticators;
pub mod command_line;
pub mod demo;
pub mod describe;
pub mod doctor;
pub mod elastic;
pub mod env;
pub mod loadgen;
pub mod ottl;
pub mod print_config;
pub mod rbac;
pub mod reload;
pub mod replay;
pub mod run;
pub mod signals;
pub mod sources;
pub mod trial;
pub mod validate;
pub mod wal;
pub mod what_if;

/// How the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Ok = 0,
    Failure = 1,
    Usage = 2,
    /// Ended as asked, and items were lost by it: the last line names them.
    Lost = 3,
    Configuration = 78,
    /// The program that this process was to become cannot be started; a shell's code for it.
    NoProgram = 127,
}

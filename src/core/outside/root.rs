//! Another root folder: how a program of the node is started from an image that has none.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

/// Makes `root` the root folder of this process, and the process the program, which is named by its path below `root`. Returns
/// only where that failed. It wants CAP_SYS_CHROOT (chroot(2)).
pub fn become_within(root: &Path, program: &OsString, arguments: &[OsString]) -> io::Error {
    let entered = rustix::process::chroot(root).map_err(io::Error::from).and_then(|()| std::env::set_current_dir("/"));
    entered.err().unwrap_or_else(|| Command::new(program).args(arguments).exec())
}

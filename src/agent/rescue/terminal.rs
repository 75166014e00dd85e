//! Pseudo-terminals: opened, sized, read and written without blocking; and made a session's own.
#![expect(
    unsafe_code,
    reason = "ioctls with an int or a plain struct on open descriptors, and what runs between fork and exec"
)]

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::libc;
use nix::pty::{Winsize, openpty};
use nix::sys::signal::{SigHandler, Signal};
use tokio::io::unix::AsyncFd;

mod raw {
    nix::ioctl_write_ptr_bad!(set_size, nix::libc::TIOCSWINSZ, nix::pty::Winsize);
    nix::ioctl_write_int_bad!(set_controlling, nix::libc::TIOCSCTTY);
}

/// A window's size in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    columns: u16,
    rows: u16,
}

impl Size {
    /// From a client, which may say anything.
    pub fn new(columns: u32, rows: u32) -> Self {
        let fit = |count| u16::try_from(count).unwrap_or(u16::MAX);
        Self { columns: fit(columns), rows: fit(rows) }
    }

    fn winsize(self) -> Winsize {
        Winsize { ws_row: self.rows, ws_col: self.columns, ws_xpixel: 0, ws_ypixel: 0 }
    }
}

/// Our end of a pseudo-terminal.
#[derive(Debug)]
pub struct Master(AsyncFd<OwnedFd>);

impl Master {
    /// A new terminal, and the end for the process that is to have it.
    pub fn open(size: Size) -> io::Result<(Self, OwnedFd)> {
        let pty = openpty(&size.winsize(), None)?;
        for end in [&pty.master, &pty.slave] {
            fcntl(end, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
        }
        fcntl(&pty.master, FcntlArg::F_SETFL(OFlag::O_RDWR | OFlag::O_NONBLOCK))?;
        // SAFETY: an `OwnedFd` names the same open descriptor until it is dropped.
        let master = unsafe { AsyncFd::register(pty.master) }?;
        Ok((Self(master), pty.slave))
    }

    /// Gives the window another size; the process is told by SIGWINCH.
    pub fn resize(&self, size: Size) -> io::Result<()> {
        let size = size.winsize();
        // SAFETY: the kernel reads one winsize.
        unsafe { raw::set_size(self.0.as_raw_fd(), &raw const size) }?;
        Ok(())
    }

    /// Reads what the process writes; 0 when nobody has the other end any more.
    pub async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let mut ready = self.0.readable().await?;
            match ready.try_io(|fd| nix::unistd::read(fd.as_fd(), buffer).map_err(Into::into)) {
                Ok(Err(error)) if error.raw_os_error() == Some(libc::EIO) => return Ok(0),
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(result) => return result,
                Err(_) => {}
            }
        }
    }

    /// Writes all of `bytes`, as if they were typed.
    pub async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let mut ready = self.0.writable().await?;
            match ready.try_io(|fd| nix::unistd::write(fd.as_fd(), bytes).map_err(Into::into)) {
                Ok(Ok(written)) => bytes = bytes.get(written..).unwrap_or_default(),
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(Err(error)) => return Err(error),
                Err(_) => {}
            }
        }
        Ok(())
    }
}

/// What a shell wants to hear, and would not when whoever started us had it ignored.
const DEFAULT: [Signal; 8] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
    Signal::SIGTSTP,
    Signal::SIGTTIN,
    Signal::SIGTTOU,
    Signal::SIGCHLD,
];

/// For a new process before it becomes its program: a session of its own, and the terminal on its standard
/// input as the controlling one. Nothing here allocates, as is due between fork and exec.
fn own_session(terminal: Option<Steal>) -> io::Result<()> {
    for signal in DEFAULT {
        // SAFETY: no handler is installed, only the default put back.
        unsafe { nix::sys::signal::signal(signal, SigHandler::SigDfl) }?;
    }
    nix::unistd::setsid()?;
    if let Some(steal) = terminal {
        // SAFETY: the argument is an int.
        unsafe { raw::set_controlling(0, libc::c_int::from(steal == Steal::Yes)) }?;
    }
    Ok(())
}

/// Whether a terminal is taken from a session that has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Steal {
    /// It is.
    Yes,
    /// It is nobody's yet.
    No,
}

/// Lets `command` run in a session of its own, with the terminal on its standard input when it has one.
pub fn in_own_session(command: &mut tokio::process::Command, terminal: Option<Steal>) {
    // SAFETY: `own_session` makes a few system calls and touches no memory of others.
    unsafe { command.pre_exec(move || own_session(terminal)) };
}

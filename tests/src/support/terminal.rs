//! A terminal with a program in it, as somebody who looks at it sees it.

use std::{
    fs::File,
    io::Read as _,
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::{ffi::OsStrExt as _, fs::OpenOptionsExt as _},
    },
    path::Path,
    process::{Child, Command},
    sync::{Arc, Mutex},
    thread,
};

use rustix::{
    fs::OFlags,
    process::Signal,
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{Termios, Winsize, tcgetattr, tcsetwinsize},
};

use super::{Process, eventually};

/// Rows: more than any test needs.
const ROWS: u16 = 30;

/// A terminal with a program in it, which is ended when it is dropped.
pub struct Terminal {
    child: Child,
    /// The program's end.
    end: OwnedFd,
    screen: Arc<Mutex<vt100::Parser>>,
    /// How it was before the program began.
    before: Termios,
}

impl Terminal {
    /// A program in a terminal that is so many columns wide.
    pub fn run(command: &mut Command, columns: u16) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let path = Path::new(std::ffi::OsStr::from_bytes(name.to_bytes()));
        let flags = OFlags::NOCTTY.bits().cast_signed();
        let end: OwnedFd =
            File::options().read(true).write(true).custom_flags(flags).open(path).unwrap().into();
        tcsetwinsize(&end, size(columns)).unwrap();
        let before = tcgetattr(&end).unwrap();
        let own = || end.try_clone().unwrap();
        let child = command.stdin(own()).stdout(own()).stderr(own()).spawn().unwrap();
        let screen = Arc::new(Mutex::new(vt100::Parser::new(ROWS, columns, 0)));
        let (mut written, shown) = (File::from(master), Arc::clone(&screen));
        // Until nobody has the program's end open.
        drop(thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(read @ 1..) = written.read(&mut bytes) {
                shown.lock().unwrap().process(&bytes[..read]);
            }
        }));
        Self { child, end, screen, before }
    }

    /// It is made wider or narrower.
    pub fn resize(&self, columns: u16) {
        self.screen.lock().unwrap().screen_mut().set_size(ROWS, columns);
        tcsetwinsize(self.end.as_fd(), size(columns)).unwrap();
    }

    /// The lines that are not empty, as they stand there.
    pub fn lines(&self) -> Vec<String> {
        let screen = self.screen.lock().unwrap();
        let (_, columns) = screen.screen().size();
        let rows = screen.screen().rows(0, columns);
        rows.map(|row| row.trim_end().to_owned()).filter(|row| !row.is_empty()).collect()
    }

    /// Waits until the lines are so.
    #[track_caller]
    pub fn until(&self, what: &str, holds: impl Fn(&[String]) -> bool) -> Vec<String> {
        eventually(what, || Some(self.lines()).filter(|lines| holds(lines)))
    }

    /// Something on it has a colour.
    pub fn has_colours(&self) -> bool {
        let screen = self.screen.lock().unwrap();
        let (rows, columns) = screen.screen().size();
        let mut cells = (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column)));
        cells.any(|(row, column)| {
            let cell = screen.screen().cell(row, column);
            cell.is_some_and(|cell| cell.fgcolor() != vt100::Color::Default)
        })
    }

    /// What Ctrl-C does. Afterwards the program has ended.
    pub fn interrupt(&mut self) {
        Process::new(self.child.id()).signal(Signal::INT);
        eventually("it ends", || self.child.try_wait().unwrap());
    }

    /// Whoever uses it next finds it as it was, with a cursor that can be seen.
    pub fn is_as_it_was(&self) -> bool {
        let now = tcgetattr(&self.end).unwrap();
        let modes = |it: &Termios| (it.input_modes, it.output_modes, it.control_modes, it.local_modes);
        modes(&now) == modes(&self.before) && !self.screen.lock().unwrap().screen().hide_cursor()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn size(columns: u16) -> Winsize {
    Winsize { ws_row: ROWS, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
}

//! A terminal, and a person at it.

#![allow(dead_code)]

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

use super::cli::HANGS;

/// What nobody tells is looked at so often.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// A program that runs at a terminal of its own.
pub struct AtTerminal {
    child: Child,
    keyboard: File,
    /// The program's side, which shows how the terminal is set.
    line: OwnedFd,
    screen: Receiver<Vec<u8>>,
    seen: Vec<u8>,
    /// What was seen up to here was waited for.
    at: usize,
}

impl AtTerminal {
    /// Starts the command with all its streams at a new terminal, which controls it.
    pub fn start(command: &Command) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let line = rustix::fs::open(name.as_c_str(), flags, Mode::empty()).unwrap();
        tcsetwinsize(&line, Winsize { ws_row: 24, ws_col: 100, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
        let stream = || Stdio::from(line.try_clone().unwrap());
        let mut at_terminal = Command::new("setsid");
        at_terminal.args(["--ctty", "--wait"]).arg(command.get_program()).args(command.get_args());
        at_terminal.env_clear().env("TERM", "xterm");
        at_terminal.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        if let Some(folder) = command.get_current_dir() {
            at_terminal.current_dir(folder);
        }
        at_terminal.stdin(stream()).stdout(stream()).stderr(stream());
        let child = at_terminal.spawn().unwrap();
        let keyboard = File::from(master);
        let mut shown = keyboard.try_clone().unwrap();
        let (show, screen) = mpsc::channel();
        thread::spawn(move || {
            let mut piece = [0; 4096];
            // A terminal that nobody uses any more fails.
            while let Ok(bytes @ 1..) = shown.read(&mut piece) {
                if show.send(piece[..bytes].to_vec()).is_err() {
                    break;
                }
            }
        });
        Self { child, keyboard, line, screen, seen: Vec::new(), at: 0 }
    }

    /// Waits for words on the screen, behind those waited for before.
    #[track_caller]
    pub fn wait_for(&mut self, words: &str) {
        let end = Instant::now() + HANGS;
        loop {
            let new = String::from_utf8_lossy(&self.seen[self.at..]).into_owned();
            if let Some(found) = new.find(words) {
                self.at += found + words.len();
                return;
            }
            match self.screen.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(piece) => self.seen.extend(piece),
                Err(_) => {
                    panic!("no `{words}` on the screen: {}", new.chars().take(2000).collect::<String>())
                }
            }
        }
    }

    /// Types at the keyboard.
    pub fn enter(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits until the terminal hides what is typed.
    pub fn wait_until_hidden(&self) {
        let end = Instant::now() + HANGS;
        while self.shows_what_is_typed() {
            assert!(Instant::now() < end, "what is typed is shown: {}", self.screen());
            thread::sleep(LOOK_AGAIN);
        }
    }

    pub fn shows_what_is_typed(&self) -> bool {
        tcgetattr(&self.line).unwrap().local_modes.contains(LocalModes::ECHO)
    }

    /// All that the screen showed so far.
    pub fn screen(&self) -> String {
        String::from_utf8_lossy(&self.seen).into_owned()
    }

    /// Waits for the program's end; its exit code.
    #[track_caller]
    pub fn end(&mut self) -> Option<i32> {
        let end = Instant::now() + HANGS;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < end, "it does not end: {}", self.screen());
            while let Ok(piece) = self.screen.try_recv() {
                self.seen.extend(piece);
            }
            thread::sleep(LOOK_AGAIN);
        };
        // All that it wrote is in the terminal's queue by now.
        while let Ok(piece) = self.screen.recv_timeout(Duration::from_millis(100)) {
            self.seen.extend(piece);
        }
        status.code()
    }
}

impl Drop for AtTerminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

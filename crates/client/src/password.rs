//! Reading a password from a terminal without showing it.
//!
//! The terminal is put into a mode in which keys arrive one by one and an interrupt is a key like any other, so that
//! whatever ends the reading also gives the terminal back as it was. (With the interrupt left to the kernel, Ctrl-C
//! would leave a shell that no longer shows what is typed.)

use std::io;
use std::os::fd::AsFd;

use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};

use crate::Secret;

/// The longest password that is read, in bytes.
const LONGEST: usize = 4096;

/// Reads a line without echo; none at the end of the input.
///
/// # Errors
/// `Interrupted` for Ctrl-C, and those of the terminal.
pub fn read_hidden(terminal: impl AsFd) -> io::Result<Option<Secret>> {
    let hidden = Hidden::begin(terminal.as_fd())?;
    let mut line = Vec::new();
    loop {
        let mut byte = [0];
        let count = match rustix::io::read(hidden.terminal, &mut byte) {
            Err(rustix::io::Errno::INTR) => continue,
            outcome => outcome?,
        };
        let step = if count == 0 {
            Step::End
        } else {
            press(&mut line, byte[0])
        };
        match step {
            Step::More => {}
            Step::Done => return Ok(Some(text(line)?)),
            Step::End if line.is_empty() => return Ok(None),
            Step::End => return Ok(Some(text(line)?)),
            Step::Interrupted => return Err(io::ErrorKind::Interrupted.into()),
        }
    }
}

fn text(line: Vec<u8>) -> io::Result<Secret> {
    let text = String::from_utf8(line);
    text.map(Secret::new)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "the password is no UTF-8 text"))
}

/// A terminal that shows nothing; it gets its modes back when this is dropped.
struct Hidden<'a> {
    terminal: rustix::fd::BorrowedFd<'a>,
    before: Termios,
}

impl<'a> Hidden<'a> {
    fn begin(terminal: rustix::fd::BorrowedFd<'a>) -> io::Result<Self> {
        let before = tcgetattr(terminal)?;
        let mut modes = before.clone();
        modes
            .local_modes
            .remove(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG);
        modes.special_codes[SpecialCodeIndex::VMIN] = 1;
        modes.special_codes[SpecialCodeIndex::VTIME] = 0;
        tcsetattr(terminal, OptionalActions::Drain, &modes)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Hidden<'_> {
    fn drop(&mut self) {
        // Nothing can be done about a terminal that has gone away.
        let _ = tcsetattr(self.terminal, OptionalActions::Drain, &self.before);
    }
}

/// What a key means for the reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    More,
    Done,
    End,
    Interrupted,
}

/// Applies a key to the line.
fn press(line: &mut Vec<u8>, key: u8) -> Step {
    const CTRL_C: u8 = 0x03;
    const CTRL_D: u8 = 0x04;
    const CTRL_U: u8 = 0x15;
    const BACKSPACE: [u8; 2] = [0x08, 0x7f];
    match key {
        b'\r' | b'\n' => return Step::Done,
        CTRL_C => return Step::Interrupted,
        CTRL_D => return Step::End,
        CTRL_U => line.clear(),
        key if BACKSPACE.contains(&key) => {
            // A character of several bytes goes as a whole: its last bytes are 10xxxxxx.
            while line.pop().is_some_and(|byte| byte & 0b1100_0000 == 0b1000_0000) {}
        }
        key if line.len() < LONGEST => line.push(key),
        _ => {}
    }
    Step::More
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fd::OwnedFd;
    use rustix::fs::{Mode, OFlags, open};
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

    fn terminal() -> (OwnedFd, OwnedFd) {
        let keyboard = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&keyboard).unwrap();
        unlockpt(&keyboard).unwrap();
        let name = ptsname(&keyboard, Vec::new()).unwrap();
        let program = open(name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
        (keyboard, program)
    }

    /// Types keys once the terminal has stopped showing them.
    fn typed(keys: &'static [u8]) -> (io::Result<Option<Secret>>, String) {
        let (keyboard, program) = terminal();
        let before = tcgetattr(&program).unwrap().local_modes;
        let answer = std::thread::scope(|scope| {
            let reader = scope.spawn(|| read_hidden(&program));
            while tcgetattr(&program)
                .unwrap()
                .local_modes
                .contains(LocalModes::ECHO)
            {
                std::thread::yield_now();
            }
            rustix::io::write(&keyboard, keys).unwrap();
            reader.join().unwrap()
        });
        assert_eq!(tcgetattr(&program).unwrap().local_modes, before);
        rustix::io::write(&program, b"|").unwrap();
        let mut shown = [0; 64];
        let count = rustix::io::read(&keyboard, &mut shown).unwrap();
        (answer, String::from_utf8(shown[..count].to_vec()).unwrap())
    }

    #[test]
    fn nothing_is_shown_and_the_terminal_comes_back() {
        let (answer, shown) = typed(b"s3cret\r");
        assert_eq!(answer.unwrap().unwrap().reveal(), "s3cret");
        assert_eq!(shown, "|");
    }

    #[test]
    fn an_interrupt_gives_the_terminal_back_too() {
        let (answer, shown) = typed(b"s3c\x03");
        assert_eq!(answer.unwrap_err().kind(), io::ErrorKind::Interrupted);
        assert_eq!(shown, "|");
        assert_eq!(typed(b"\x04").0.unwrap(), None);
    }

    #[test]
    fn mistakes_can_be_taken_back() {
        let (answer, _) = typed("wrong\x15aü\x7f\u{e9}x\x08\n".as_bytes());
        assert_eq!(answer.unwrap().unwrap().reveal(), "a\u{e9}");
    }
}

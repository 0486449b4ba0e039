//! Speaking to the person: results on standard output, errors and warnings on standard error, progress on a terminal.
//!
//! All writing goes through one lock, and around a drawn spinner, so that lines never mix. A reader that went away
//! (a closed pipe) is remembered, not an error: see [`Ui::is_deaf`].

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use console::Style;
use indicatif::{ProgressBar, ProgressStyle};

use crate::environment::{Streams, Terminal};
use crate::error::Error;

/// The conversation with the user.
pub struct Ui {
    streams: Mutex<Streams>,
    spinner: Mutex<Option<ProgressBar>>,
    colour: bool,
    /// Which streams are terminals.
    pub terminal: Terminal,
    deaf: AtomicBool,
}

#[derive(Clone, Copy)]
enum Stream {
    Out,
    Err,
}

impl Ui {
    /// A conversation over these streams.
    pub fn new(streams: Streams, terminal: Terminal, colour: bool) -> Self {
        Self {
            streams: Mutex::new(streams),
            spinner: Mutex::new(None),
            colour,
            terminal,
            deaf: AtomicBool::new(false),
        }
    }

    /// Prints a line of result.
    pub fn line(&self, text: &str) {
        self.write(Stream::Out, text, true);
    }

    /// Prints bytes as they are.
    pub fn raw(&self, bytes: &[u8]) {
        self.suspended(|| self.note(self.streams().out.write_all(bytes)));
    }

    /// Prints a line on standard error.
    pub fn error_line(&self, text: &str) {
        self.write(Stream::Err, text, true);
    }

    /// Prints a warning on standard error.
    pub fn warn(&self, text: &str) {
        self.write(Stream::Err, &self.paint(text, &Style::new().yellow()), true);
    }

    /// Prints the green `OK` that ends most commands, and an empty line.
    pub fn ok(&self) {
        self.line(&format!("{}\n", self.paint("OK", &Style::new().green().bold())));
    }

    /// Prints why a command failed, and `FAILED`.
    pub fn fail(&self, error: &Error) {
        self.calm();
        self.error_line(&error.to_string());
        self.line(&self.paint("FAILED", &Style::new().red().bold()));
        self.flush();
    }

    /// Prints a question without a line end.
    pub fn ask(&self, question: &str) {
        self.write(Stream::Out, question, false);
        self.flush();
    }

    /// Reads one line of an answer; none at the end of the input.
    pub fn answer(&self) -> io::Result<Option<String>> {
        let mut line = String::new();
        let read = self.streams().input.read_line(&mut line)?;
        Ok((read > 0).then(|| line.trim_end_matches(['\r', '\n']).to_owned()))
    }

    /// A name within a sentence, highlighted.
    pub fn name(&self, text: &str) -> String {
        self.paint(text, &Style::new().cyan().bold())
    }

    /// A heading.
    pub fn bold(&self, text: &str) -> String {
        self.paint(text, &Style::new().bold())
    }

    /// Something bad within normal output.
    pub fn red(&self, text: &str) -> String {
        self.paint(text, &Style::new().red())
    }

    /// Something new within normal output.
    pub fn green(&self, text: &str) -> String {
        self.paint(text, &Style::new().green())
    }

    fn paint(&self, text: &str, style: &Style) -> String {
        if self.colour {
            style.clone().force_styling(true).apply_to(text).to_string()
        } else {
            text.to_owned()
        }
    }

    /// Says what is being waited for: a spinner on a terminal, else a line whenever it changes.
    pub fn waiting(&self, text: &str) {
        if !self.terminal.error {
            self.line(text);
            return;
        }
        let mut spinner = self.spinner.lock().expect("no holder of this lock panics");
        let bar = spinner.get_or_insert_with(|| {
            let bar = ProgressBar::new_spinner();
            if let Ok(style) = ProgressStyle::with_template("   {spinner} {msg} {elapsed}") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        });
        bar.set_message(text.to_owned());
    }

    /// As [`Ui::waiting`], for what has been said already: nothing but a spinner.
    pub fn waiting_quietly(&self, text: &str) {
        if self.terminal.error {
            self.waiting(text);
        }
    }

    /// Takes the spinner away.
    pub fn calm(&self) {
        if let Some(bar) = self.spinner.lock().expect("no holder of this lock panics").take() {
            bar.finish_and_clear();
        }
    }

    /// Whether nobody reads the output any more; endless commands then stop.
    pub fn is_deaf(&self) -> bool {
        self.deaf.load(Ordering::Relaxed)
    }

    /// Hands everything written to the system.
    pub fn flush(&self) {
        let mut streams = self.streams();
        self.note(streams.out.flush());
        self.note(streams.err.flush());
    }

    fn write(&self, stream: Stream, text: &str, end: bool) {
        self.suspended(|| {
            let mut streams = self.streams();
            let target = match stream {
                Stream::Out => &mut streams.out,
                Stream::Err => &mut streams.err,
            };
            let end = if end { "\n" } else { "" };
            self.note(target.write_all(format!("{text}{end}").as_bytes()));
        });
    }

    fn suspended(&self, write: impl FnOnce()) {
        let bar = self
            .spinner
            .lock()
            .expect("no holder of this lock panics")
            .clone();
        match bar {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }

    fn note(&self, result: io::Result<()>) {
        if result.is_err() {
            self.deaf.store(true, Ordering::Relaxed);
        }
    }

    fn streams(&self) -> MutexGuard<'_, Streams> {
        self.streams.lock().expect("no holder of this lock panics")
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use std::io::Cursor;
    use std::sync::Arc;

    #[derive(Clone, Default)]
    pub struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Shared {
        pub fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What `speak` prints on standard output, without colour.
    pub fn captured(speak: impl FnOnce(&Ui)) -> String {
        conversation("", speak).0
    }

    /// What `speak` prints on both streams when the user types `input`.
    pub fn conversation(input: &str, speak: impl FnOnce(&Ui)) -> (String, String) {
        let (out, err) = (Shared::default(), Shared::default());
        let streams = Streams {
            input: Box::new(Cursor::new(input.to_owned())),
            out: Box::new(out.clone()),
            err: Box::new(err.clone()),
        };
        speak(&Ui::new(streams, Terminal::default(), false));
        (out.text(), err.text())
    }

    #[test]
    fn failures_go_to_both_streams() {
        let (out, err) = conversation("", |ui| ui.fail(&Error::message("App 'x' not found.")));
        assert_eq!((out.as_str(), err.as_str()), ("FAILED\n", "App 'x' not found.\n"));
    }

    #[test]
    fn colour_is_only_for_those_who_want_it() {
        let ui = Ui::new(Streams::closed(), Terminal::default(), true);
        assert!(ui.name("x").contains('\u{1b}'));
        assert_eq!(captured(|ui| ui.line(&ui.name("x"))), "x\n");
    }
}

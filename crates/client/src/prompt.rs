//! Questions: a text, a password without echo, yes or no, one of several.

use crate::Secret;
use crate::error::{Error, Result};
use crate::password::read_hidden;
use crate::ui::Ui;

impl Ui {
    /// Asks for a text until one is given.
    ///
    /// # Errors
    /// When the input ends.
    pub fn prompt_text(&self, label: &str) -> Result<String> {
        loop {
            self.ask(&format!("{label}: "));
            match self
                .answer()
                .map_err(|e| Error::io("cannot read the answer", e))?
            {
                Some(text) if !text.is_empty() => return Ok(text),
                Some(_) => {}
                None => return Err(nobody(label)),
            }
        }
    }

    /// Asks for a password; on a terminal it is not shown.
    ///
    /// # Errors
    /// When the input ends or the question is interrupted.
    pub fn prompt_password(&self, label: &str) -> Result<Secret> {
        self.ask(&format!("{label}: "));
        let answer = if self.terminal.input {
            read_hidden(std::io::stdin())
        } else {
            self.answer().map(|line| line.map(Secret::new))
        };
        self.line("");
        match answer {
            Ok(Some(secret)) if !secret.is_empty() => Ok(secret),
            Ok(_) => Err(nobody(label)),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => Err(Error::Interrupted),
            Err(error) => Err(Error::io("cannot read the answer", error)),
        }
    }

    /// Asks yes or no; no answer is no.
    ///
    /// # Errors
    /// When the input cannot be read.
    pub fn confirm(&self, question: &str) -> Result<bool> {
        loop {
            self.ask(&format!("{question} [yN]: "));
            let answer = self
                .answer()
                .map_err(|e| Error::io("cannot read the answer", e))?;
            match answer.as_deref().map(str::to_ascii_lowercase).as_deref() {
                Some("y" | "yes") => return Ok(true),
                Some("" | "n" | "no") | None => return Ok(false),
                Some(_) => self.line("invalid input (not y, n, yes, or no)"),
            }
        }
    }

    /// Lets the user choose by number or by name; enter or the end of the input skips.
    ///
    /// # Errors
    /// When the input cannot be read.
    pub fn choose<'a>(&self, label: &str, choices: &[&'a str]) -> Result<Option<&'a str>> {
        self.line(&format!(
            "Select {}:",
            if label == "Org" { "an org" } else { "a space" }
        ));
        for (index, choice) in choices.iter().enumerate() {
            self.line(&format!("{}. {choice}", index + 1));
        }
        loop {
            self.ask(&format!("\n{label} (enter to skip): "));
            let answer = self
                .answer()
                .map_err(|e| Error::io("cannot read the answer", e))?;
            let Some(answer) = answer.filter(|answer| !answer.is_empty()) else {
                self.line("");
                return Ok(None);
            };
            let numbered = answer
                .parse::<usize>()
                .ok()
                .and_then(|n| choices.get(n.checked_sub(1)?));
            if let Some(choice) = numbered.or_else(|| choices.iter().find(|choice| **choice == answer)) {
                return Ok(Some(choice));
            }
        }
    }
}

fn nobody(label: &str) -> Error {
    Error::message(format!(
        "{label} was asked for, but the input has ended: give it as a flag or in the environment"
    ))
}

#[cfg(test)]
mod tests {
    use crate::ui::tests::conversation;

    #[test]
    fn yes_is_only_yes() {
        for (typed, meant) in [
            ("y\n", true),
            ("YES\n", true),
            ("\n", false),
            ("", false),
            ("what\ny\n", true),
        ] {
            conversation(typed, |ui| {
                assert_eq!(ui.confirm("Really?").unwrap(), meant, "{typed:?}")
            });
        }
    }

    #[test]
    fn choices_are_numbers_or_names() {
        for (typed, chosen) in [
            ("2\n", Some("b")),
            ("a\n", Some("a")),
            ("0\n9\n\n", None),
            ("", None),
        ] {
            conversation(typed, |ui| {
                assert_eq!(ui.choose("Org", &["a", "b"]).unwrap(), chosen, "{typed:?}")
            });
        }
    }

    #[test]
    fn a_password_is_not_echoed() {
        let (out, _) = conversation("s3cret\n", |ui| {
            assert_eq!(ui.prompt_password("Password").unwrap().reveal(), "s3cret")
        });
        assert_eq!(out, "Password: \n");
        conversation("", |ui| assert!(ui.prompt_password("Password").is_err()));
    }
}
